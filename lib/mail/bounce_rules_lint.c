/* What is wrong with bounce rules that can be loaded (`posthorn bounce check', tests): rules that are dead or shadowed,
 * patterns that cost too much, suppressions that a veto always takes away, providers that nobody knows. The samples
 * that rules carry are the evidence, so a rule without one is a finding, too. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/bounce_private.h"

#define COSTLY_STEPS 5000u /* from one start, of 4 KiB: far less than what stops a match in earnest */

struct lint {
	const struct bounce_rules *rs;
	struct conf_errors *found;
};

#define FIND(l, r, ...) conf_error_add((l)->found, (r)->file, (r)->line, __VA_ARGS__)

static const char *
rule_name(const struct bounce_rule *r)
{
	return r->cause != NULL ? r->cause->name : r->pattern.text != NULL ? "veto" : "on";
}

/* The sample as a reply that the rule's conditions can hold for. malloced. */
static char *
sample_reply(const struct bounce_rule *r, const struct bounce_sample *s, struct bounce_reply *out)
{
	char *buf = xmalloc(strlen(s->text) + 1), *text = xstrdup(s->text);

	bounce_lines_unfold(text);
	bounce_reply_parse(text, strlen(text), buf, out);
	free(text);
	out->provider = r->n_providers > 0 ? r->providers[0] : NULL;
	for (out->phase = 0; r->phases != 0 && (r->phases & 1u << out->phase) == 0; out->phase++)
		;
	return buf;
}

static void
sample_lint(const struct lint *l, const struct bounce_rule *r, const struct bounce_sample *s)
{
	struct pattern_subject su;
	struct bounce_reply reply;
	struct enhanced_code status;
	struct bounce_verdict v;
	char *buf = sample_reply(r, s, &reply);
	bool hits;

	bounce_prepare(&reply, &su, &status);
	hits = bounce_rule_try(l->rs, r, &reply, &status, &su) == PATTERN_HITS;
	bounce_classify(l->rs, &reply, &v);
	if (s->is_counter) {
		if (hits)
			FIND(l, r, "%s hits '%.200s' (line %u), which it must not", rule_name(r), s->text, s->line);
	} else if (!hits) {
		FIND(l, r, "%s does not hit its sample '%.200s' (line %u)%s", rule_name(r), s->text, s->line,
		    r->pattern.text != NULL && strstr(r->pattern.text, "\\\\") != NULL ? "; a backslash is doubled"
		    : "");
	} else if (r->cause != NULL && v.rule.line != r->line && v.rule.file == r->file) {
		FIND(l, r, "%s is shadowed by %s in line %u for its sample '%.200s'", rule_name(r), v.cause->name,
		    v.rule.line, s->text);
	} else if (r->cause != NULL && r->is_suppressing && v.rule.file == r->file && v.veto.file != NULL) {
		FIND(l, r, "%s would suppress, but for its sample '%.200s' the veto in %s:%u says no", rule_name(r),
		    s->text, v.veto.file, v.veto.line);
	}
	free(buf);
}

/* The unit again and again, behind what the pattern may begin with, and then something that lets it fail late and what
 * it needs, so that it is tried at all. */
static bool
is_costly(const struct bounce_rule *r, const struct pattern_matcher *strict, const char *unit, const char *begin,
    const char *end)
{
	char text[PATTERN_SUBJECT_MAX];
	struct pattern_subject su;
	size_t len = strlen(unit), n = strlen(begin), end_len = strlen(end);

	if (len == 0 || n + len + end_len >= sizeof(text))
		return false;
	memcpy(text, begin, n);
	for (; n + len + 1 + end_len < sizeof(text); n += len)
		memcpy(text + n, unit, len);
	text[n++] = '!';
	memcpy(text + n, end, end_len);
	pattern_subject_set(&su, text, n + end_len);
	return pattern_try(&r->pattern, &su, strict) == PATTERN_GIVES_UP;
}

static bool
is_costly_with(const struct bounce_rule *r, const struct pattern_matcher *strict, const char *begin, const char *end)
{
	static const char *const units[] = { "a", "0", " ", "a ", "ab1.", "[", "<", "(", "@ ", "-", "=" };
	size_t i;

	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (is_costly(r, strict, units[i], begin, end))
			return true;
	for (i = 0; i < r->pattern.n_literals; i++)
		if (is_costly(r, strict, r->pattern.literals[i].text, begin, end))
			return true;
	return is_costly(r, strict, end, "", "");
}

static void
cost_lint(const struct lint *l, const struct bounce_rule *r, const struct pattern_matcher *strict)
{
	const char *literal;
	bool is_bad;
	size_t i;

	if (r->pattern.text == NULL)
		return;
	literal = r->pattern.n_literals > 0 ? r->pattern.literals[0].text : "";
	is_bad = is_costly_with(r, strict, literal, literal);
	for (i = 0; !is_bad && i < r->n_samples; i++)
		is_bad = is_costly_with(r, strict, "", r->samples[i].text);
	if (is_bad)
		FIND(l, r, "%s is too costly: its pattern takes more than %u steps for some texts; it has a repeat "
		    "within a repeat, or several without bounds", rule_name(r), COSTLY_STEPS);
}

static void
providers_lint(const struct lint *l, const struct bounce_rule *r, bool (*is_provider)(void *, const char *), void *ud)
{
	for (size_t i = 0; i < r->n_providers; i++)
		if (!is_provider(ud, r->providers[i]))
			FIND(l, r, "%s is for the provider %s, which the shaping data do not know", rule_name(r),
			    r->providers[i]);
}

/* A line above, of the same file and without conditions, that covers everything. */
static void
on_lint(const struct lint *l, const struct bounce_on *on)
{
	const struct bounce_on *above;
	const struct bounce_cause *c;
	size_t i;

	for (above = l->rs->ons; above < on; above++) {
		const struct bounce_rule *w = &above->when;

		if (w->file != on->when.file || w->n_codes > 0 || w->n_statuses > 0 || w->n_providers > 0 ||
		    w->phases != 0)
			continue;
		for (i = 0; (c = bounce_cause_at(i)) != NULL; i++)
			if (bounce_on_covers(on, c) && !bounce_on_covers(above, c))
				break;
		if (c != NULL)
			continue;
		FIND(l, &on->when, "this line never says what is to be done: line %u does", w->line);
		return;
	}
}

void
bounce_rules_lint(const struct bounce_rules *rs, bool (*is_provider)(void *, const char *), void *ud,
    struct conf_errors *found)
{
	struct lint l = { rs, found };
	struct pattern_matcher strict;
	size_t i, k;

	pattern_matcher_init(&strict, COSTLY_STEPS, 1000, 1024);
	for (i = 0; i < rs->n_rules + rs->n_vetoes; i++) {
		const struct bounce_rule *r = i < rs->n_rules ? &rs->rules[i] : &rs->vetoes[i - rs->n_rules];
		size_t n_real = 0;

		for (k = 0; k < r->n_samples; k++) {
			sample_lint(&l, r, &r->samples[k]);
			n_real += !r->samples[k].is_counter;
		}
		if (n_real == 0)
			FIND(&l, r, "%s has no sample of what it hits", rule_name(r));
		cost_lint(&l, r, &strict);
		if (is_provider != NULL)
			providers_lint(&l, r, is_provider, ud);
	}
	for (i = 0; i < rs->n_ons; i++) {
		on_lint(&l, &rs->ons[i]);
		if (is_provider != NULL)
			providers_lint(&l, &rs->ons[i].when, is_provider, ud);
	}
	pattern_matcher_clear(&strict);
}
