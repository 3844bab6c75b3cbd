/* Shaping data as a whole (shaping.h): files, layers, and what applies to a path. Any process that sends or counts, and
 * `posthorn shaping`. Lua is gone once the files are read; what stays is plain data, asked for each new path. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/shaping_private.h"

#define MATCH_STEPS 10000     /* of PCRE2, for each place in the reply where a match may begin */
#define MATCH_DEPTH 500
#define MATCH_HEAP_KIB 1024

void
shaping_strs_add(struct conf_strs *l, const char *s)
{
	l->v = xreallocarray(l->v, l->n + 1, sizeof(char *));
	l->v[l->n++] = xstrdup(s);
}

void
shaping_strs_clear(struct conf_strs *l)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	*l = (struct conf_strs){ NULL, 0 };
}

bool
shaping_strs_has(const struct conf_strs *l, const char *s)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		if (strcmp(l->v[i], s) == 0)
			return true;
	return false;
}

static void
rule_free(struct rule_def *d)
{
	size_t i;

	for (i = 0; i < d->rule.n_actions; i++)
		free((char *)(uintptr_t)d->actions[i].value);
	for (i = 0; i < d->n_patterns; i++)
		pattern_clear(&d->patterns[i]);
	free(d->actions);
	free(d->patterns);
	shaping_strs_clear(&d->samples);
	shaping_strs_clear(&d->not_samples);
	free(d->name);
	free(d->id);
	free(d);
}

static void
source_free(struct source_block *s)
{
	policy_path_config_clear(&s->settings.config);
	free(s->name);
	free(s->layer);
	free(s);
}

/* But not the rules, which a layer only refers to. */
static void
layer_free(struct block *b)
{
	size_t i;

	policy_path_config_clear(&b->settings.config);
	for (i = 0; i < b->n_match; i++)
		free(b->match[i].text);
	for (i = 0; i < b->n_sources; i++)
		source_free(b->sources[i]);
	for (i = 0; i < b->n_known; i++) {
		free(b->known[i].domain);
		shaping_strs_clear(&b->known[i].mx);
	}
	shaping_strs_clear(&b->removed);
	free(b->match);
	free(b->rules);
	free(b->sources);
	free(b->known);
	free(b->name);
	free(b->layer);
	free(b);
}

void
shaping_block_free(struct block *b)
{
	size_t i;

	for (i = 0; i < b->n_rules; i++)
		rule_free(b->rules[i]);
	layer_free(b);
}

static void
layers_free(struct blocks *l)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		layer_free(l->v[i]);
	free(l->v);
}

void
shaping_free(struct shaping **sp)
{
	struct shaping *s = *sp;
	size_t i;

	if (s == NULL)
		return;
	shaping_index_free(s);
	if (s->base != NULL)
		layer_free(s->base);
	layers_free(&s->providers);
	layers_free(&s->sites);
	layers_free(&s->domains);
	for (i = 0; i < s->said.n; i++)
		shaping_block_free(s->said.v[i]);
	free(s->said.v);
	for (i = 0; i < s->n_files; i++)
		free(s->files[i]);
	free(s->files);
	free(s->by_id);
	pattern_matcher_clear(&s->matcher);
	free(s);
	*sp = NULL;
}

/* Building the layers. */

static void
settings_lay(struct settings *into, const struct settings *from, const struct shaping_origin *origin)
{
	size_t i;

	for (i = 0; i < policy_path_count(); i++) {
		if (from->unset[i]) {
			policy_path_unset(&into->config, i);
			into->origins[i] = NULL;
			into->unset[i] = true;
		}
		if (policy_path_is_set(&from->config, i)) {
			policy_path_merge(&into->config, &from->config, i);
			into->origins[i] = origin;
		}
	}
}

static void
sources_lay(struct block *into, const struct block *from)
{
	struct source_block *s;
	size_t i, j;

	for (i = 0; i < from->n_sources; i++) {
		for (j = 0; j < into->n_sources && strcmp(into->sources[j]->name, from->sources[i]->name) != 0; j++)
			;
		if (j == into->n_sources) {
			s = xcalloc(1, sizeof(*s));
			policy_path_config_init(&s->settings.config);
			s->name = xstrdup(from->sources[i]->name);
			into->sources = xreallocarray(into->sources, j + 1, sizeof(struct source_block *));
			into->sources[into->n_sources++] = s;
		}
		settings_lay(&into->sources[j]->settings, &from->sources[i]->settings, &from->sources[i]->origin);
	}
}

static void
rule_out(struct block *layer, size_t i)
{
	layer->rules[i]->is_replaced = true;
	memmove(&layer->rules[i], &layer->rules[i + 1], (layer->n_rules - i - 1) * sizeof(struct rule_def *));
	layer->n_rules--;
}

static void
rules_lay(struct block *into, const struct block *from)
{
	size_t i, j;

	for (i = into->n_rules; i-- > 0;)
		if (from->removes_all || shaping_strs_has(&from->removed, into->rules[i]->name))
			rule_out(into, i);
	into->removes_all = into->removes_all || from->removes_all;
	for (i = 0; i < from->removed.n; i++)
		shaping_strs_add(&into->removed, from->removed.v[i]);
	for (i = 0; i < from->n_rules; i++) {
		for (j = into->n_rules; j-- > 0;)
			if (strcmp(into->rules[j]->name, from->rules[i]->name) == 0)
				rule_out(into, j);
		into->rules = xreallocarray(into->rules, into->n_rules + 1, sizeof(struct rule_def *));
		into->rules[into->n_rules++] = from->rules[i];
	}
}

static void
match_lay(struct block *into, const struct block *from)
{
	size_t i, j;

	for (i = 0; i < from->n_match; i++) {
		into->match = xreallocarray(into->match, into->n_match + 1, sizeof(*into->match));
		into->match[into->n_match] = from->match[i];
		into->match[into->n_match++].text = xstrdup(from->match[i].text);
	}
	for (i = 0; i < from->n_known; i++) {
		struct known *k;

		into->known = xreallocarray(into->known, into->n_known + 1, sizeof(*into->known));
		k = &into->known[into->n_known++];
		*k = (struct known){ .domain = xstrdup(from->known[i].domain) };
		for (j = 0; j < from->known[i].mx.n; j++)
			shaping_strs_add(&k->mx, from->known[i].mx.v[j]);
	}
}

static struct block *
layer_new(const struct block *from)
{
	struct block *b = xcalloc(1, sizeof(*b));

	policy_path_config_init(&b->settings.config);
	b->kind = from->kind;
	b->name = xstrdup(from->name);
	b->layer = xstrdup(from->layer);
	b->origin = from->origin; /* the block outlives the layer */
	return b;
}

/* The layer that a block belongs to: where it is, or where a new one goes. */
static struct block **
layer_slot(struct shaping *s, const struct block *said)
{
	struct blocks *l = said->kind == LAYER_PROVIDER ? &s->providers : said->kind == LAYER_SITE ? &s->sites :
	    &s->domains;
	size_t i;

	if (said->kind == LAYER_DEFAULT)
		return &s->base;
	for (i = 0; i < l->n; i++)
		if (strcmp(l->v[i]->name, said->name) == 0)
			return &l->v[i];
	l->v = xreallocarray(l->v, l->n + 1, sizeof(struct block *));
	l->v[l->n] = NULL;
	return &l->v[l->n++];
}

static void
said_lay(struct shaping *s, const struct block *said)
{
	struct block **slot = layer_slot(s, said), *b;
	size_t i, field = (size_t)policy_path_find("provider_name");

	if (*slot != NULL && said->is_replacing) {
		for (i = 0; i < (*slot)->n_rules; i++)
			(*slot)->rules[i]->is_replaced = true;
		layer_free(*slot);
		*slot = NULL;
	}
	if (*slot == NULL) {
		*slot = layer_new(said);
		if (said->kind == LAYER_PROVIDER) {
			(*slot)->settings.config.provider_name = xstrdup(said->name);
			(*slot)->settings.origins[field] = &said->origin;
		}
	}
	b = *slot;
	settings_lay(&b->settings, &said->settings, &said->origin);
	sources_lay(b, said);
	match_lay(b, said);
	rules_lay(b, said);
}

static int
id_cmp(const void *a, const void *b)
{
	return strcmp((*(struct rule_def *const *)a)->id, (*(struct rule_def *const *)b)->id);
}

static int
block_cmp(const void *a, const void *b)
{
	return strcmp((*(struct block *const *)a)->name, (*(struct block *const *)b)->name);
}

/* "google/unusual-rate"; a domain has a dot, and a site says that it is one. */
static void
rules_index(struct shaping *s, struct block *b)
{
	size_t i;

	for (i = 0; i < b->n_rules; i++) {
		struct rule_def *d = b->rules[i];

		d->id = xasprintf("%s%s/%s", b->kind == LAYER_SITE ? "site:" : b->kind == LAYER_DOMAIN ? "domain:" : "",
		    b->name, d->name);
		d->rule.name = d->name;
		d->rule.id = d->id;
		d->rule.actions = d->actions;
		s->by_id = xreallocarray(s->by_id, s->n_ids + 1, sizeof(struct rule_def *));
		s->by_id[s->n_ids++] = d;
	}
}

static void
layers_build(struct shaping *s)
{
	size_t i;

	for (i = 0; i < s->said.n; i++)
		said_lay(s, s->said.v[i]);
	if (s->base != NULL)
		rules_index(s, s->base);
	for (i = 0; i < s->providers.n; i++)
		rules_index(s, s->providers.v[i]);
	for (i = 0; i < s->sites.n; i++)
		rules_index(s, s->sites.v[i]);
	for (i = 0; i < s->domains.n; i++)
		rules_index(s, s->domains.v[i]);
	if (s->n_ids > 0)
		qsort(s->by_id, s->n_ids, sizeof(struct rule_def *), id_cmp);
	if (s->domains.n > 0)
		qsort(s->domains.v, s->domains.n, sizeof(struct block *), block_cmp);
	shaping_index_build(s);
}

struct shaping *
shaping_load(const struct conf_strs *files, struct conf_errors *errs)
{
	struct shaping *s = xcalloc(1, sizeof(*s));
	size_t i, before = errs->n;
	struct policy *jail;

	pattern_matcher_init(&s->matcher, MATCH_STEPS, MATCH_DEPTH, MATCH_HEAP_KIB);
	for (i = 0; files != NULL && i < files->n; i++) {
		if (i == SHAPING_FILES_MAX) {
			conf_error_add(errs, files->v[i], 0, "is one of more than %d files of shaping data",
			    SHAPING_FILES_MAX);
			break;
		}
		s->files = xreallocarray(s->files, s->n_files + 1, sizeof(char *));
		s->files[s->n_files++] = xstrdup(files->v[i]);
		jail = policy_new(files->v[i], errs);
		jail->shaping = s;
		(void)policy_file_run(jail); /* errors are counted below */
		policy_free(&jail);
	}
	if (errs->n > before)
		shaping_free(&s);
	else
		layers_build(s);
	return s;
}

/* Which layers apply to a path. */

static bool
is_suffix(const char *name, const char *suffix)
{
	size_t n = strlen(name), k = strlen(suffix);

	if (n > 0 && name[n - 1] == '.')
		n--;
	return n >= k && strncasecmp(name + n - k, suffix, k) == 0 && (n == k || name[n - k - 1] == '.');
}

/* The length of the longest MX rule that a host meets; whole host names count for more. */
static size_t
host_meets(const struct block *b, const char *host)
{
	size_t i, len, best = 0;

	for (i = 0; i < b->n_match; i++) {
		const struct match_rule *m = &b->match[i];

		if (m->kind == MATCH_DOMAIN_SUFFIX || !is_suffix(host, m->text))
			continue;
		len = strlen(m->text);
		if (m->kind == MATCH_MX_HOST) {
			if (strncasecmp(host, m->text, len) != 0)
				continue;
			len += 1000;
		}
		best = len > best ? len : best;
	}
	return best;
}

size_t
shaping_meets(const struct block *b, const struct shaping_path *path)
{
	size_t i, len, best = 0, least = SIZE_MAX;

	for (i = 0; i < b->n_match; i++)
		if (b->match[i].kind == MATCH_DOMAIN_SUFFIX && path->domain != NULL &&
		    is_suffix(path->domain, b->match[i].text) && (len = strlen(b->match[i].text) + 2000) > best)
			best = len;
	for (i = 0; i < path->n_mx && least > 0; i++) {
		len = host_meets(b, path->mx[i]);
		least = len < least ? len : least;
	}
	return best > 0 ? best : path->n_mx > 0 ? least : 0;
}

static const struct block *
domain_of(const struct shaping *s, const char *name)
{
	size_t lo = 0, hi = s->domains.n, mid;
	int cmp;

	while (name != NULL && lo < hi) {
		mid = lo + (hi - lo) / 2;
		if ((cmp = strcasecmp(name, s->domains.v[mid]->name)) == 0)
			return s->domains.v[mid];
		if (cmp < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

size_t
shaping_layers(const struct shaping *s, const struct shaping_path *path, const struct block *out[SHAPING_APPLY_MAX])
{
	size_t sites[SHAPING_APPLY_MAX - 3], i, n = 0, n_sites = shaping_index_sites(s, path, sites,
	    SHAPING_APPLY_MAX - 3); /* room for the three others */
	const struct block *b;

	if (s->base != NULL)
		out[n++] = s->base;
	if ((b = shaping_index_provider(s, path)) != NULL)
		out[n++] = b;
	for (i = 0; i < n_sites; i++)
		out[n++] = s->sites.v[sites[i]];
	if ((b = domain_of(s, path->domain)) != NULL)
		out[n++] = b;
	return n;
}

const struct source_block *
shaping_source(const struct block *b, const char *name)
{
	size_t i;

	for (i = 0; name != NULL && i < b->n_sources; i++)
		if (strcmp(b->sources[i]->name, name) == 0)
			return b->sources[i];
	return NULL;
}

const char *
shaping_provider(const struct shaping *s, const struct shaping_path *path)
{
	const struct block *b = shaping_index_provider(s, path);

	return b != NULL ? b->name : NULL;
}

bool
shaping_has_provider(const struct shaping *s, const char *name)
{
	for (size_t i = 0; i < s->providers.n; i++)
		if (strcmp(s->providers.v[i]->name, name) == 0)
			return true;
	return false;
}

bool
shaping_known(const struct shaping *s, size_t i, struct shaping_known *out)
{
	const struct block *b;
	size_t k;

	for (k = 0; k < s->providers.n; k++) {
		b = s->providers.v[k];
		if (i < b->n_known) {
			*out = (struct shaping_known){ b->name, b->known[i].domain, &b->origin };
			return true;
		}
		i -= b->n_known;
	}
	return false;
}

static void
out_lay(struct shaping_settings *out, const struct settings *from)
{
	size_t i;

	for (i = 0; i < policy_path_count(); i++) {
		if (from->unset[i]) {
			policy_path_unset(&out->config, i);
			out->origins[i] = NULL;
		}
		if (policy_path_is_set(&from->config, i)) {
			policy_path_merge(&out->config, &from->config, i);
			out->origins[i] = from->origins[i];
		}
	}
}

/* Default and provider, each with its source; sites and domain; then what these say of the source. */
void
shaping_settings(const struct shaping *s, const struct shaping_path *path, struct shaping_settings *out)
{
	const struct block *layers[SHAPING_APPLY_MAX];
	const struct source_block *src;
	size_t i, n = shaping_layers(s, path, layers);

	memset(out, 0, sizeof(*out));
	policy_path_config_init(&out->config);
	for (i = 0; i < n; i++) {
		out_lay(out, &layers[i]->settings);
		if (layers[i]->kind <= LAYER_PROVIDER && (src = shaping_source(layers[i], path->source)) != NULL)
			out_lay(out, &src->settings);
	}
	for (i = 0; i < n; i++)
		if (layers[i]->kind > LAYER_PROVIDER && (src = shaping_source(layers[i], path->source)) != NULL)
			out_lay(out, &src->settings);
}

const struct shaping_rule *
shaping_rule_find(const struct shaping *s, const char *id)
{
	size_t lo = 0, hi = s->n_ids, mid;
	int cmp;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if ((cmp = strcmp(id, s->by_id[mid]->id)) == 0)
			return &s->by_id[mid]->rule;
		if (cmp < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

void
shaping_each_config(const struct shaping *s, shaping_config_fn *fn, void *arg)
{
	const struct block *b;
	size_t i, j;

	for (i = 0; i < s->said.n; i++) {
		b = s->said.v[i];
		fn(&b->settings.config, &b->origin, arg);
		for (j = 0; j < b->n_sources; j++)
			fn(&b->sources[j]->settings.config, &b->sources[j]->origin, arg);
	}
}
