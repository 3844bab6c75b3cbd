/* What is dead or shadowed in shaping data, found without a network (`posthorn shaping check`, unit tests): providers
 * that match nothing, patterns that miss their own samples, rules that swallow the samples of others. */
#include <string.h>

#include "mail/shaping_private.h"

#define FINDING(f, o, ...) conf_error_add((f), (o)->file, (o)->line, __VA_ARGS__)

static void
match_lint(const struct shaping *s, size_t n, struct conf_errors *f)
{
	const struct block *b = s->said.v[n];
	size_t i, j, k;

	for (i = 0; i < b->n_match; i++) {
		const struct match_rule *m = &b->match[i];

		if (m->had_dot)
			FINDING(f, &b->origin, "%s: match '%s.' has a dot at its end, which no host name has; taken "
			    "without", b->layer, m->text);
		for (j = 0; b->kind == LAYER_PROVIDER && j < n; j++) {
			const struct block *o = s->said.v[j];

			for (k = 0; o->kind == LAYER_PROVIDER && strcmp(o->name, b->name) != 0 && k < o->n_match; k++)
				if (o->match[k].kind == m->kind && strcmp(o->match[k].text, m->text) == 0)
					FINDING(f, &b->origin, "%s and %s (%s:%u) both match '%s'; only the one said "
					    "last counts", b->layer, o->layer, o->origin.file, o->origin.line, m->text);
		}
	}
}

static void
provider_lint(const struct shaping *s, const struct block *b, struct conf_errors *f)
{
	size_t i, n_proven = 0;

	if (b->n_match == 0)
		FINDING(f, &b->origin, "%s has no match: nothing it says ever applies", b->layer);
	for (i = 0; i < b->n_known; i++) {
		const struct known *k = &b->known[i];
		struct shaping_path path = { .domain = k->domain, .mx = (const char *const *)k->mx.v, .n_mx = k->mx.n };
		const char *found = shaping_provider(s, &path);

		if (k->mx.n == 0 && found == NULL)
			continue; /* only the DNS knows */
		n_proven++;
		if (found == NULL || strcmp(found, b->name) != 0)
			FINDING(f, &b->origin, "%s: its known domain %s with MX %s falls %s%s", b->layer, k->domain,
			    k->mx.n > 0 ? k->mx.v[0] : "(none)", found != NULL ? "to " : "to no provider",
			    found != NULL ? found : "");
	}
	if (b->n_match > 0 && n_proven == 0)
		FINDING(f, &b->origin, "%s has no known domain with MX host names: nothing proves that its "
		    "match is right", b->layer);
}

static bool
is_double_escaped(const struct rule_def *d)
{
	size_t i;

	for (i = 0; i < d->n_patterns; i++)
		if (strstr(d->patterns[i].text, "\\\\") != NULL)
			return true;
	return false;
}

static void
actions_lint(const struct block *b, const struct rule_def *d, struct conf_errors *f)
{
	bool is_wide = d->rule.scope == SCOPE_PROVIDER || d->rule.scope == SCOPE_PROVIDER_TOTAL;
	size_t i;

	for (i = 0; i < d->rule.n_actions; i++) {
		const struct shaping_action *a = &d->rule.actions[i];

		if (a->type != ACTION_SET_CONFIG)
			continue;
		if (!is_wide && strncmp(policy_path_name((size_t)a->field), "provider_", 9) == 0)
			FINDING(f, &d->rule.origin, "%s: the rule '%s' sets %s, a limit of the whole provider, in a "
			    "narrower scope", b->layer, d->name, policy_path_name((size_t)a->field));
	}
	if (is_wide && b->kind == LAYER_DOMAIN)
		FINDING(f, &d->rule.origin, "%s: the rule '%s' of one domain has a provider as its scope", b->layer,
		    d->name);
}

/* Each pattern must hit one of the samples; each sample must be hit. */
static void
rule_lint(const struct shaping *s, const struct block *b, const struct rule_def *d, struct conf_errors *f)
{
	size_t i, j;

	if (d->samples.n == 0)
		FINDING(f, &d->rule.origin, "%s: the rule '%s' has no samples: nothing proves that it ever hits",
		    b->layer, d->name);
	for (i = 0; i < d->samples.n; i++)
		if (!shaping_rule_hits(s, d, d->samples.v[i]))
			FINDING(f, &d->rule.origin, "%s: the rule '%s' does not hit its sample '%.80s'%s", b->layer,
			    d->name, d->samples.v[i], is_double_escaped(d) ? "; a backslash is doubled once too often" :
			    "");
	for (i = 0; i < d->n_patterns && d->samples.n > 0; i++) {
		struct rule_def one = { .patterns = &d->patterns[i], .n_patterns = 1 };

		for (j = 0; j < d->samples.n && !shaping_rule_hits(s, &one, d->samples.v[j]); j++)
			;
		if (j == d->samples.n && d->n_patterns > 1)
			FINDING(f, &d->rule.origin, "%s: the rule '%s': the pattern '%.80s' hits none of its samples",
			    b->layer, d->name, d->patterns[i].text);
	}
	for (i = 0; i < d->not_samples.n; i++)
		if (shaping_rule_hits(s, d, d->not_samples.v[i]))
			FINDING(f, &d->rule.origin, "%s: the rule '%s' hits '%.80s', which it must not", b->layer,
			    d->name, d->not_samples.v[i]);
	actions_lint(b, d, f);
}

static bool
same_pattern(const struct rule_def *a, const struct rule_def *b)
{
	size_t i, j;

	for (i = 0; i < a->n_patterns; i++)
		for (j = 0; j < b->n_patterns; j++)
			if (strcmp(a->patterns[i].text, b->patterns[j].text) == 0)
				return true;
	return false;
}

/* The rules of a layer, which may come from several files, among each other. */
static void
layer_lint(const struct shaping *s, const struct block *b, struct conf_errors *f)
{
	size_t i, j, k;

	for (i = 0; i < b->n_rules; i++)
		rule_lint(s, b, b->rules[i], f);
	for (i = 0; i < b->n_rules; i++)
		for (j = 0; j < b->n_rules; j++) {
			const struct rule_def *one = b->rules[i], *other = b->rules[j];

			if (i == j)
				continue;
			if (j > i && same_pattern(one, other)) {
				FINDING(f, &other->rule.origin, "%s: the rules '%s' and '%s' have the same pattern",
				    b->layer, one->name, other->name);
				continue;
			}
			for (k = 0; k < other->samples.n && !shaping_rule_hits(s, one, other->samples.v[k]); k++)
				;
			if (k < other->samples.n && !same_pattern(one, other))
				FINDING(f, &one->rule.origin, "%s: the rule '%s' also hits '%.80s', a sample of '%s'",
				    b->layer, one->name, other->samples.v[k], other->name);
		}
}

/* A misspelt name in remove_rules leaves a rule in force. */
static void
removed_lint(const struct shaping *s, const struct block *b, struct conf_errors *f)
{
	size_t i, j, k;

	for (i = 0; i < b->removed.n; i++) {
		bool is_found = false;

		for (j = 0; j < s->said.n && !is_found; j++)
			for (k = 0; s->said.v[j] != b && k < s->said.v[j]->n_rules; k++)
				is_found = is_found || strcmp(s->said.v[j]->rules[k]->name, b->removed.v[i]) == 0;
		if (!is_found)
			FINDING(f, &b->origin, "%s: remove_rules: there is no rule '%s'", b->layer, b->removed.v[i]);
	}
}

static void
layers_lint(const struct shaping *s, const struct blocks *l, struct conf_errors *f)
{
	size_t i;

	for (i = 0; i < l->n; i++) {
		if (l->v[i]->kind == LAYER_PROVIDER)
			provider_lint(s, l->v[i], f);
		layer_lint(s, l->v[i], f);
	}
}

void
shaping_lint(const struct shaping *s, struct conf_errors *findings)
{
	struct blocks base = { (struct block *[]){ s->base }, s->base != NULL };
	size_t i;

	for (i = 0; i < s->said.n; i++) {
		match_lint(s, i, findings);
		removed_lint(s, s->said.v[i], findings);
	}
	layers_lint(s, &base, findings);
	layers_lint(s, &s->providers, findings);
	layers_lint(s, &s->sites, findings);
	layers_lint(s, &s->domains, findings);
}
