/* Patterns with a literal in front of them (pattern.h). */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/pattern.h"

#define LITERAL_MIN 3
#define LITERALS_MAX 100
#define NESTING_MAX 20

/* Texts of which one must be in whatever is hit. Empty: nothing is known. */
struct set {
	char **v;
	size_t n;
	size_t shortest;
};

/* Where the reading of a pattern is; it understands plain characters, escaped punctuation, classes, groups, quantifiers
 * and alternatives. Whatever else there is makes it give up, which only costs time. */
struct parse {
	const char *s;
	unsigned depth;
	bool gives_up;
};

static void
set_clear(struct set *set)
{
	for (size_t i = 0; i < set->n; i++)
		free(set->v[i]);
	free(set->v);
	memset(set, 0, sizeof(*set));
}

static void
set_add(struct set *set, char *literal)
{
	size_t len = strlen(literal);

	set->shortest = set->n == 0 || len < set->shortest ? len : set->shortest;
	set->v = xreallocarray(set->v, set->n + 1, sizeof(*set->v));
	set->v[set->n++] = literal;
}

/* Keeps the better of two, of which both must be met. */
static void
set_choose(struct set *best, struct set *other)
{
	if (other->n > 0 && (best->n == 0 || other->shortest > best->shortest ||
	    (other->shortest == best->shortest && other->n < best->n))) {
		set_clear(best);
		*best = *other;
	} else {
		set_clear(other);
	}
	memset(other, 0, sizeof(*other));
}

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

/* Steps over a quantifier. True if what is in front of it may be missing. */
static bool
quantifier_skip(struct parse *p)
{
	bool is_optional = *p->s == '?' || *p->s == '*' || *p->s == '{';

	if (*p->s == '{') {
		while (*p->s != '\0' && *p->s != '}')
			p->s++;
		p->s += *p->s == '}';
	} else if (*p->s != '\0' && strchr("?*+", *p->s) != NULL) {
		p->s++;
	} else {
		return false;
	}
	if (*p->s == '?' || *p->s == '+') /* lazy, possessive */
		p->s++;
	return is_optional;
}

struct run {
	char text[PATTERN_MAX + 1];
	size_t n;
};

static void
run_end(struct run *run, struct set *best)
{
	struct set one = { NULL, 0, 0 };

	if (run->n >= LITERAL_MIN) {
		set_add(&one, xmemdup0(run->text, run->n));
		set_choose(best, &one);
	}
	run->n = 0;
}

static struct set alternatives(struct parse *);

static void
group(struct parse *p, struct set *best)
{
	struct set inner = { NULL, 0, 0 };
	bool counts = true;

	p->s++;
	if (*p->s == '*' || p->depth >= NESTING_MAX) {
		p->gives_up = true;
		return;
	}
	if (*p->s == '?') {
		counts = p->s[1] == ':';
		if (!counts && strchr("=!<", p->s[1]) == NULL) {
			p->gives_up = true; /* an option such as (?x) */
			return;
		}
		p->s += 2;
	}
	p->depth++;
	inner = alternatives(p);
	p->depth--;
	p->s += *p->s == ')';
	if (quantifier_skip(p) || !counts)
		set_clear(&inner);
	set_choose(best, &inner);
}

/* An escape: true if it stands for a character, which is *c. */
static bool
escape(struct parse *p, char *c)
{
	*c = p->s[1];
	if (*c == '\0' || (!ispunct((unsigned char)*c) && strchr("bBdDsSwW", *c) == NULL)) {
		p->gives_up = true;
		return false;
	}
	p->s += 2;
	return ispunct((unsigned char)*c);
}

/* One branch of alternatives. */
static struct set
branch(struct parse *p)
{
	struct set best = { NULL, 0, 0 };
	struct run run = { .n = 0 };
	bool is_char;
	char c;

	while (!p->gives_up && *p->s != '\0' && *p->s != '|' && *p->s != ')') {
		c = *p->s;
		if (c == '(') {
			run_end(&run, &best);
			group(p, &best);
			continue;
		}
		if (c == '\\') {
			is_char = escape(p, &c);
		} else if (c == '[') {
			is_char = false;
			p->s = class_end(p->s);
		} else {
			is_char = strchr(".^$", c) == NULL;
			p->s++;
		}
		if (!is_char)
			run_end(&run, &best);
		else
			run.text[run.n++] = (char)tolower((unsigned char)c);
		if (*p->s != '\0' && strchr("?*+{", *p->s) != NULL) {
			run.n -= is_char && *p->s != '+';
			run_end(&run, &best);
			(void)quantifier_skip(p);
		}
	}
	run_end(&run, &best);
	return best;
}

static struct set
alternatives(struct parse *p)
{
	struct set all = branch(p), one;
	bool is_known = all.n > 0;
	size_t i;

	while (!p->gives_up && *p->s == '|') {
		p->s++;
		one = branch(p);
		is_known = is_known && one.n > 0 && all.n + one.n <= LITERALS_MAX;
		for (i = 0; is_known && i < one.n; i++)
			set_add(&all, xstrdup(one.v[i]));
		set_clear(&one);
	}
	if (!is_known)
		set_clear(&all);
	return all;
}

static struct set
literals_of(const char *pattern)
{
	struct parse p = { .s = strncmp(pattern, "(?i)", 4) == 0 ? pattern + 4 : pattern };
	struct set set = alternatives(&p);

	if (p.gives_up || *p.s != '\0')
		set_clear(&set);
	return set;
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
	struct set set;
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
	set = literals_of(text);
	p->literals = xcalloc(set.n + 1, sizeof(*p->literals));
	for (p->n_literals = 0; p->n_literals < set.n; p->n_literals++) {
		const char *l = set.v[p->n_literals];

		p->literals[p->n_literals].text = xstrdup(l);
		p->literals[p->n_literals].gram = gram(l + strlen(l) - LITERAL_MIN);
	}
	set_clear(&set);
	p->is_literal = p->n_literals == 1 && (options & PCRE2_CASELESS) && is_plain(text);
	return NULL;
}

void
pattern_clear(struct pattern *p)
{
	pcre2_code_free(p->code);
	free(p->text);
	for (size_t i = 0; i < p->n_literals; i++)
		free(p->literals[i].text);
	free(p->literals);
	memset(p, 0, sizeof(*p));
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
has_gram(const struct pattern_subject *su, uint32_t g)
{
	return (su->grams[g / 8] & (1u << g % 8)) != 0;
}

static bool
has_literal(const struct pattern_subject *su, const struct pattern_literal *l)
{
	const char *s;

	/* From the end: there they differ more than at the beginning. */
	if (!has_gram(su, l->gram))
		return false;
	for (s = l->text + strlen(l->text) - LITERAL_MIN - 1; s >= l->text; s--)
		if (!has_gram(su, gram(s)))
			return false;
	return strstr(su->lower, l->text) != NULL;
}

static bool
has_any_literal(const struct pattern *p, const struct pattern_subject *su)
{
	for (size_t i = 0; i < p->n_literals; i++)
		if (has_literal(su, &p->literals[i]))
			return true;
	return p->n_literals == 0;
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

	if (!has_any_literal(p, su))
		return PATTERN_MISSES;
	if (p->is_literal)
		return PATTERN_HITS;
	rc = pcre2_match(p->code, (PCRE2_SPTR)su->text, su->len, 0, 0, m->hit, m->limits);
	return rc >= 0 ? PATTERN_HITS : rc == PCRE2_ERROR_NOMATCH ? PATTERN_MISSES : PATTERN_GIVES_UP;
}
