/* Replies of strangers against the patterns of shaping data. Any process that has shaping loaded. */
#include <stdlib.h>
#include <string.h>

#include "mail/shaping_private.h"

static bool
rule_hits(const struct shaping *s, const struct rule_def *d, const struct pattern_subject *r)
{
	size_t i;

	for (i = 0; i < d->n_patterns; i++)
		if (pattern_try(&d->patterns[i], r, &s->matcher) == PATTERN_HITS)
			return true;
	return false;
}

bool
shaping_rule_hits(const struct shaping *s, const struct rule_def *d, const char *reply)
{
	struct pattern_subject r;

	pattern_subject_set(&r, reply, strlen(reply));
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
	struct pattern_subject r;

	pattern_subject_set(&r, reply, strlen(reply));
	for (i = 0; i < n_layers; i++)
		for (j = 0; j < layers[i]->n_rules && n < max; j++) {
			const struct rule_def *d = layers[i]->rules[j];

			if ((!is_internal || d->rule.match_internal) && rule_hits(s, d, &r) &&
			    !is_removed(layers, i, n_layers, d->name))
				out[n++] = &d->rule;
		}
	return n;
}
