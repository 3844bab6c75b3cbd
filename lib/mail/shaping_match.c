/* Replies of strangers against the patterns of shaping data. Any process that has shaping loaded. A pattern is tried
 * only if a literal that it needs is in the reply, and then with limits on steps, depth and memory: whatever the reply
 * says, it costs bounded time. No JIT: the daemons' sandbox forbids memory that can be written and executed. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/reply.h"
#include "mail/shaping_private.h"

#define LITERAL_MIN 3

/* Behind the class that begins at s ("["). */
static const char *
class_end(const char *s)
{
	s++;
	if (*s == '^')
		s++;
	if (*s == ']')
		s++;
	for (; *s != '\0' && *s != ']'; s++)
		if (*s == '\\' && s[1] != '\0')
			s++;
		else if (s[0] == '[' && s[1] == ':' && strstr(s, ":]") != NULL)
			s = strstr(s, ":]") + 1;
	return *s == ']' ? s + 1 : s;
}

/* Behind the group that begins at s ("("). */
static const char *
group_end(const char *s)
{
	unsigned depth = 0;

	while (*s != '\0') {
		if (*s == '\\' && s[1] != '\0') {
			s += 2;
		} else if (*s == '[') {
			s = class_end(s);
		} else if (*s++ == '(') {
			depth++;
		} else if (s[-1] == ')' && --depth == 0) {
			return s;
		}
	}
	return s;
}

/* The longest text that anything the pattern hits must contain, lower case; NULL if none was found. Understands plain
 * characters, escaped punctuation, classes and groups (whose content it does not use); whatever else there is makes it
 * give up, which only costs time. */
static char *
literal_of(const char *pattern)
{
	char run[SHAPING_PATTERN_MAX + 1], best[SHAPING_PATTERN_MAX + 1] = "";
	const char *s = strncmp(pattern, "(?i)", 4) == 0 ? pattern + 4 : pattern;
	size_t n = 0;
	char c;

	if (strstr(s, "\\Q") != NULL || strstr(s, "(*") != NULL)
		return NULL;
	for (;;) {
		c = *s;
		if (c == '|' || (c == '(' && s[1] == '?' && strchr(":=!<", s[2]) == NULL))
			return NULL; /* alternatives; an option such as (?x) */
		if (c == '\\' && s[1] != '\0' && ispunct((unsigned char)s[1])) {
			run[n++] = s[1];
			s += 2;
		} else if (c != '\0' && strchr("\\[(.^$?*+{", c) == NULL) {
			run[n++] = (char)tolower((unsigned char)c);
			s++;
		} else {
			/* A quantifier may take the character before it away. */
			if (n > 0 && (c == '?' || c == '*' || c == '{'))
				n--;
			run[n] = '\0';
			if (n > strlen(best))
				memcpy(best, run, n + 1);
			n = 0;
			if (c == '\0')
				break;
			if (c == '\\' && s[1] != 'b' && s[1] != 'd' && s[1] != 's' && s[1] != 'w' && s[1] != 'S' &&
			    s[1] != 'D')
				return NULL;
			s = c == '[' ? class_end(s) : c == '(' ? group_end(s) : c == '\\' ? s + 2 : s + 1;
			if (c == '{') {
				while (*s != '\0' && *s != '}')
					s++;
				s += *s == '}';
			}
		}
	}
	return strlen(best) >= LITERAL_MIN ? xstrdup(best) : NULL;
}

char *
shaping_pattern_compile(struct pattern *p, const char *text)
{
	PCRE2_UCHAR why[256];
	PCRE2_SIZE at = 0;
	int err = 0;

	if (strlen(text) > SHAPING_PATTERN_MAX)
		return xasprintf("the pattern '%.40s...' is longer than %d characters", text, SHAPING_PATTERN_MAX);
	p->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_NEVER_BACKSLASH_C, &err, &at, NULL);
	if (p->code == NULL) {
		if (pcre2_get_error_message(err, why, sizeof(why)) < 0)
			memcpy(why, "invalid", sizeof("invalid"));
		return xasprintf("the pattern '%.200s' is wrong at character %zu: %s", text, at + 1, (char *)why);
	}
	p->text = xstrdup(text);
	p->literal = literal_of(text);
	return NULL;
}

void
shaping_pattern_clear(struct pattern *p)
{
	pcre2_code_free(p->code);
	free(p->text);
	free(p->literal);
	memset(p, 0, sizeof(*p));
}

struct reply_text {
	char text[REPLY_TEXT_MAX + 1], lower[REPLY_TEXT_MAX + 1];
	size_t len;
};

/* One line, bounded. */
static void
reply_take(struct reply_text *r, const char *reply)
{
	for (r->len = 0; reply[r->len] != '\0' && r->len < REPLY_TEXT_MAX; r->len++) {
		char c = reply[r->len];

		c = c == '\n' || c == '\r' || c == '\t' ? ' ' : c;
		r->text[r->len] = c;
		r->lower[r->len] = (char)tolower((unsigned char)c);
	}
	r->text[r->len] = r->lower[r->len] = '\0';
}

static bool
rule_hits(const struct shaping *s, const struct rule_def *d, const struct reply_text *r)
{
	const struct pattern *p;
	size_t i;

	for (i = 0; i < d->n_patterns; i++) {
		p = &d->patterns[i];
		if (p->literal != NULL && strstr(r->lower, p->literal) == NULL)
			continue;
		if (pcre2_match(p->code, (PCRE2_SPTR)r->text, r->len, 0, 0, s->hit, s->limits) >= 0)
			return true;
	}
	return false;
}

bool
shaping_rule_hits(const struct shaping *s, const struct rule_def *d, const char *reply)
{
	struct reply_text r;

	reply_take(&r, reply);
	return rule_hits(s, d, &r);
}

/* Whether a later layer of the path takes the rule away. */
static bool
is_removed(const struct block *const *layers, size_t i, size_t n, const char *name)
{
	for (i++; i < n; i++)
		if (layers[i]->removes_all || shaping_strs_has(&layers[i]->removed, name))
			return true;
	return false;
}

size_t
shaping_match(const struct shaping *s, const struct shaping_path *path, const char *reply, bool is_internal,
    const struct shaping_rule **out, size_t max)
{
	const struct block *layers[SHAPING_APPLY_MAX];
	size_t i, j, n_layers = shaping_layers(s, path, layers), n = 0;
	struct reply_text r;

	reply_take(&r, reply);
	for (i = 0; i < n_layers; i++)
		for (j = 0; j < layers[i]->n_rules && n < max; j++) {
			const struct rule_def *d = layers[i]->rules[j];

			if ((!is_internal || d->rule.match_internal) && rule_hits(s, d, &r) &&
			    !is_removed(layers, i, n_layers, d->name))
				out[n++] = &d->rule;
		}
	return n;
}
