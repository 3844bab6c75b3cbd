/* A scanner for address lists (see the header). Input is a header of the message that a local program pipes in, so it
 * may be anything: every loop advances, nesting of comments is a counter, the result is checked by address_parse().
 * RFC 5322 3.2.2, 3.4, 4.4. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/address.h"

#include "addrlist.h"

struct item {
	char *text; /* what stands outside of comments, or, once '<' was seen, inside of the brackets */
	size_t len;
	bool in_angle, had_angle;
};

static void
item_put(struct item *it, const char *s, size_t n)
{
	/* Behind "<...>" only a comment or nothing may follow; a name before it is dropped when '<' comes. */
	if (it->had_angle && !it->in_angle)
		return;
	memcpy(it->text + it->len, s, n);
	it->len += n;
}

/* Length of the quoted string, comment or domain literal that begins at s; to the end of the text if it is never
 * closed. */
static size_t
skip_quoted(const char *s, char open, char close)
{
	size_t depth = 0, i = 0;

	for (; s[i] != '\0'; i++) {
		if (s[i] == '\\' && s[i + 1] != '\0')
			i++;
		else if (s[i] == close && (--depth == 0 || open == close) && i > 0)
			return i + 1;
		else if (s[i] == open)
			depth++;
	}
	return i;
}

/* The item is complete: checks and adds it. */
static int
item_end(struct item *it, const char *domain, struct addrlist *out, const char **err_r)
{
	char canonical[ADDRESS_MAX], *full, *begin = it->text;
	int rv = 0;

	it->text[it->len] = '\0';
	/* A source route, "@a,@b:user@c", is forgotten (RFC 5321 C). */
	if (it->had_angle && *begin == '@' && strchr(begin, ':') != NULL)
		begin = strchr(begin, ':') + 1;
	if (*begin == '\0' && !it->had_angle)
		goto out;
	full = *address_domain(begin) != '\0' ? xstrdup(begin) : xasprintf("%s@%s", begin, domain);
	if (*begin == '\0' || address_parse(full, true, canonical) == -1) {
		*err_r = "not an e-mail address";
		rv = -1;
	} else {
		out->v = xreallocarray(out->v, out->n + 1, sizeof(*out->v));
		out->v[out->n++] = xstrdup(canonical);
	}
	free(full);
out:
	it->len = 0;
	it->in_angle = it->had_angle = false;
	return rv;
}

/* One token at *p; moves *p behind it. */
static int
addrlist_token(const char **p, struct item *it, const char *domain, struct addrlist *out, const char **err_r)
{
	const char *s = *p;
	size_t n = 1;
	int rv = 0;

	switch (*s) {
	case '(':
		n = skip_quoted(s, '(', ')');
		break;
	case '"':
		n = skip_quoted(s, '"', '"');
		item_put(it, s, n);
		break;
	case '[':
		n = skip_quoted(s, '[', ']');
		item_put(it, s, n);
		break;
	case '<':
		it->len = 0;
		it->in_angle = it->had_angle = true;
		break;
	case '>':
		it->in_angle = false;
		break;
	case ':': /* the end of a group's name, or inside of a route */
		if (it->in_angle)
			item_put(it, s, 1);
		else
			it->len = 0;
		break;
	case ',':
	case ';':
		if (it->in_angle)
			item_put(it, s, 1);
		else
			rv = item_end(it, domain, out, err_r);
		break;
	case ' ':
	case '\t':
	case '\r':
	case '\n':
		break;
	default:
		n = strcspn(s, "(\"[<>:,; \t\r\n");
		item_put(it, s, n);
	}
	*p = s + n;
	return rv;
}

int
addrlist_parse(const char *text, const char *domain, struct addrlist *out, const char **err_r)
{
	struct item it = { .text = xmalloc(strlen(text) + 1) };
	int rv = 0;

	for (const char *p = text; *p != '\0' && rv == 0;)
		rv = addrlist_token(&p, &it, domain, out, err_r);
	if (rv == 0)
		rv = item_end(&it, domain, out, err_r);
	free(it.text);
	return rv;
}

void
addrlist_clear(struct addrlist *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	l->v = NULL;
	l->n = 0;
}
