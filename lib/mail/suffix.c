/* suffix.h. The file is Mozilla's (publicsuffix.org/list): a rule a line, of labels; "*." stands for any label, "!"
 * takes a name out of such a rule; the longest rule that matches counts, and without any, "*". Rules with letters
 * beyond ASCII are left out: the names that are looked up are ASCII, and the list has comments, not rules, with their
 * A-labels, which are read as rules therefore. Looked up by strangers' names in smtpd's check role, read before its
 * jail. */
#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/slurp.h"
#include "base/xalloc.h"
#include "mail/suffix.h"

#define FILE_MAX (8u << 20)

struct rule {
	const char *name;
	bool is_wildcard, is_exception;
};

struct suffix_list {
	char *text;
	struct rule *rules; /* sorted by name */
	size_t n;
};

static int
rule_cmp(const void *a, const void *b)
{
	return strcasecmp(((const struct rule *)a)->name, ((const struct rule *)b)->name);
}

static void
add(struct suffix_list *l, char *word)
{
	struct rule r = { .name = word };
	char *p;

	if (*word == '!') {
		r.is_exception = true;
		r.name++;
	} else if (strncmp(word, "*.", 2) == 0) {
		r.is_wildcard = true;
		r.name += 2;
	}
	for (p = word; *p != '\0'; p++)
		if ((unsigned char)*p >= 0x80)
			return;
	for (; p > word && p[-1] == '.'; p--)
		p[-1] = '\0';
	if (*r.name == '\0')
		return;
	if ((l->n & (l->n - 1)) == 0)
		l->rules = xreallocarray(l->rules, l->n == 0 ? 1 : 2 * l->n, sizeof(*l->rules));
	l->rules[l->n++] = r;
}

/* "// xn--p1ai ("rf", Cyrillic) : RU": the rule itself, in the next line, is not ASCII. */
static void
line_read(struct suffix_list *l, char *line)
{
	if (strncmp(line, "// xn--", 7) == 0)
		line += 3;
	else if (line[0] == '/' && line[1] == '/')
		return;
	line[strcspn(line, " \t\r")] = '\0';
	if (*line != '\0')
		add(l, line);
}

struct suffix_list *
suffix_list_read(char *text)
{
	struct suffix_list *l = xcalloc(1, sizeof(*l));
	char *line = text, *next;

	l->text = text;
	for (; line != NULL; line = next) {
		if ((next = strchr(line, '\n')) != NULL)
			*next++ = '\0';
		line_read(l, line);
	}
	if (l->n > 0)
		qsort(l->rules, l->n, sizeof(*l->rules), rule_cmp);
	return l;
}

struct suffix_list *
suffix_list_load(const char *path, char **err_r)
{
	size_t len;
	char *text = slurp(path, FILE_MAX, &len);

	if (text == NULL) {
		*err_r = xasprintf("%s: %s", path, strerror(errno));
		return NULL;
	}
	return suffix_list_read(text);
}

void
suffix_list_free(struct suffix_list **lp)
{
	struct suffix_list *l = *lp;

	*lp = NULL;
	if (l == NULL)
		return;
	free(l->text);
	free(l->rules);
	free(l);
}

size_t
suffix_list_count(const struct suffix_list *l)
{
	return l == NULL ? 0 : l->n;
}

/* Whether there is a rule of that kind for exactly this name; names may have rules of several kinds. */
static bool
has_rule(const struct suffix_list *l, const char *name, bool is_wildcard, bool is_exception)
{
	const struct rule key = { .name = name }, *r;

	if (l->n == 0 || (r = bsearch(&key, l->rules, l->n, sizeof(*l->rules), rule_cmp)) == NULL)
		return false;
	while (r > l->rules && strcasecmp(r[-1].name, name) == 0)
		r--;
	for (; r < l->rules + l->n && strcasecmp(r->name, name) == 0; r++)
		if (r->is_wildcard == is_wildcard && r->is_exception == is_exception)
			return true;
	return false;
}

/* From the longest tail to the shortest: the first that is a public suffix, and what is one label longer. */
const char *
suffix_organization(const struct suffix_list *l, const char *domain)
{
	const char *longer = domain, *tail, *dot;

	if (l == NULL)
		return domain;
	for (tail = domain; (dot = strchr(tail, '.')) != NULL; longer = tail, tail = dot + 1) {
		if (has_rule(l, tail, false, true))
			return tail; /* the exception is a domain, its parent the suffix */
		if (has_rule(l, tail, false, false) || has_rule(l, dot + 1, true, false))
			return longer;
	}
	/* One label: a public suffix, listed or not. */
	return longer;
}
