/* Patterns with a literal in front of them (pattern.h). */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/pattern.h"

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
	char run[PATTERN_MAX + 1], best[PATTERN_MAX + 1] = "";
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

/* Nothing but characters that mean themselves. */
static bool
is_plain(const char *pattern)
{
	return strpbrk(pattern, "\\[](){}.^$?*+|") == NULL;
}

char *
pattern_compile(struct pattern *p, const char *text, uint32_t options)
{
	PCRE2_UCHAR why[256];
	PCRE2_SIZE at = 0;
	int err = 0;

	if (strlen(text) > PATTERN_MAX)
		return xasprintf("the pattern '%.40s...' is longer than %d characters", text, PATTERN_MAX);
	p->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_NEVER_BACKSLASH_C | options, &err, &at,
	    NULL);
	if (p->code == NULL) {
		if (pcre2_get_error_message(err, why, sizeof(why)) < 0)
			memcpy(why, "invalid", sizeof("invalid"));
		return xasprintf("the pattern '%.200s' is wrong at character %zu: %s", text, at + 1, (char *)why);
	}
	p->text = xstrdup(text);
	p->literal = literal_of(text);
	p->is_literal = p->literal != NULL && (options & PCRE2_CASELESS) && is_plain(text);
	return NULL;
}

void
pattern_clear(struct pattern *p)
{
	pcre2_code_free(p->code);
	free(p->text);
	free(p->literal);
	memset(p, 0, sizeof(*p));
}

#define GRAM_BITS 15u
_Static_assert(sizeof(((struct pattern_subject *)NULL)->grams) == (1u << GRAM_BITS) / 8, "a bit for each hash");

static uint32_t
gram(const char *s)
{
	uint32_t v = (uint32_t)(unsigned char)s[0] | (uint32_t)(unsigned char)s[1] << 8 |
	    (uint32_t)(unsigned char)s[2] << 16;

	return (v * 2654435761u) >> (32u - GRAM_BITS);
}

void
pattern_subject_set(struct pattern_subject *su, const char *text, size_t len)
{
	uint32_t g;
	size_t i;

	for (su->len = 0; su->len < len && su->len < PATTERN_SUBJECT_MAX; su->len++) {
		char c = text[su->len];

		c = c == '\n' || c == '\r' || c == '\t' || c == '\0' ? ' ' : c;
		su->text[su->len] = c;
		su->lower[su->len] = (char)tolower((unsigned char)c);
	}
	su->text[su->len] = su->lower[su->len] = '\0';
	memset(su->grams, 0, sizeof(su->grams));
	for (i = 0; i + LITERAL_MIN <= su->len; i++) {
		g = gram(su->lower + i);
		su->grams[g / 8] |= (uint8_t)(1u << g % 8);
	}
}

static bool
has_literal(const struct pattern_subject *su, const char *literal)
{
	const char *s;
	uint32_t g;

	/* From the end: there they differ more than at the beginning. */
	for (s = literal + strlen(literal) - LITERAL_MIN; s >= literal; s--) {
		g = gram(s);
		if ((su->grams[g / 8] & (1u << g % 8)) == 0)
			return false;
	}
	return strstr(su->lower, literal) != NULL;
}

void
pattern_matcher_init(struct pattern_matcher *m, uint32_t steps, uint32_t depth, uint32_t heap_kib)
{
	m->limits = pcre2_match_context_create(NULL);
	m->hit = pcre2_match_data_create(1, NULL);
	if (m->limits == NULL || m->hit == NULL)
		panic("patterns: out of memory");
	pcre2_set_match_limit(m->limits, steps);
	pcre2_set_depth_limit(m->limits, depth);
	pcre2_set_heap_limit(m->limits, heap_kib);
}

void
pattern_matcher_clear(struct pattern_matcher *m)
{
	pcre2_match_context_free(m->limits);
	pcre2_match_data_free(m->hit);
	memset(m, 0, sizeof(*m));
}

enum pattern_outcome
pattern_try(const struct pattern *p, const struct pattern_subject *su, const struct pattern_matcher *m)
{
	int rc;

	if (p->literal != NULL && !has_literal(su, p->literal))
		return PATTERN_MISSES;
	if (p->is_literal)
		return PATTERN_HITS;
	rc = pcre2_match(p->code, (PCRE2_SPTR)su->text, su->len, 0, 0, m->hit, m->limits);
	return rc >= 0 ? PATTERN_HITS : rc == PCRE2_ERROR_NOMATCH ? PATTERN_MISSES : PATTERN_GIVES_UP;
}
