/* The author's domain and the signatures of a message (author.h). The header block is a stranger's: what is not a
 * domain or a selector is passed over, and all that is kept is bounded. */
#include <bsd/string.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/author.h"
#include "mail/header.h"
#include "mail/tags.h"

static const char field_name[] = "DKIM-Signature";

/* " d:s" to the line, once. */
static void
signature_add(const struct header_field *f, char out[AUTHOR_MAX])
{
	char *value = xmalloc(f->value.len + 1), domain[DKIM_DOMAIN_MAX + 2], selector[DKIM_SELECTOR_MAX + 2];
	char item[DKIM_DOMAIN_MAX + DKIM_SELECTOR_MAX + 4];
	const char *had;
	size_t len;

	header_value(f, value, f->value.len + 1);
	tag_value(value, "d", domain, sizeof(domain));
	tag_value(value, "s", selector, sizeof(selector));
	free(value);
	if (strlen(domain) > DKIM_DOMAIN_MAX || !address_domain_valid(domain, false) || *domain == '[' ||
	    !dkim_selector_valid(selector))
		return;
	len = (size_t)snprintf(item, sizeof(item), " %s:%s", domain, selector);
	had = strstr(out, item);
	if (had != NULL && (had[len] == '\0' || had[len] == ' '))
		return;
	if (strlen(out) + len < AUTHOR_MAX)
		strlcat(out, item, AUTHOR_MAX);
}

void
author_write(const char *head, size_t len, char out[AUTHOR_MAX])
{
	char domain[DKIM_DOMAIN_MAX + 1];
	struct header_iter it;
	struct header_field f;
	unsigned n = 0;

	if (header_count(head, len, "From") != 1 || !dkim_author_domain(head, len, domain, sizeof(domain)) ||
	    *domain == '[')
		strlcpy(domain, "-", sizeof(domain));
	strlcpy(out, domain, AUTHOR_MAX);
	header_iter_init(&it, head, len);
	while (n < AUTHOR_SIGNATURES_MAX && header_next(&it, &f)) {
		if (f.name.len != sizeof(field_name) - 1 || !header_name_is(&f, field_name))
			continue;
		signature_add(&f, out);
		n++;
	}
}

const char *
author_of(const struct meta *meta, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (meta[i].key[0] == '@' && strcmp(meta[i].key, AUTHOR_META) == 0)
			return meta[i].value;
	return NULL;
}

/* The word at *p into out, behind it *p. False: it is too long, or there is none. */
static bool
word(const char **p, const char *ends, char *out, size_t size)
{
	size_t len = strcspn(*p, ends);

	if (len == 0 || len >= size)
		return false;
	memcpy(out, *p, len);
	out[len] = '\0';
	*p += len;
	return true;
}

bool
author_read(const char *line, char domain[DKIM_DOMAIN_MAX + 1], struct author_signature v[AUTHOR_SIGNATURES_MAX],
    unsigned *n_r)
{
	const char *p = line;

	*n_r = 0;
	if (!word(&p, " ", domain, DKIM_DOMAIN_MAX + 1))
		return false;
	for (; *p == ' ' && *n_r < AUTHOR_SIGNATURES_MAX; ++*n_r) {
		p++;
		if (!word(&p, " :", v[*n_r].domain, sizeof(v->domain)) || *p++ != ':' ||
		    !word(&p, " :", v[*n_r].selector, sizeof(v->selector)))
			return false;
	}
	return *p == '\0';
}
