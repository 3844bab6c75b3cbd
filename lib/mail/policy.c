/* policy.lua as a whole: loading, validation of what its definitions say together, look-ups. Any daemon that has
 * events to ask, and `posthorn check`. A new policy is built beside the old one and is used only if it has no error
 * at all: an unknown source or pool found here is mail that never left from the wrong address. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/slurp.h"
#include "base/suggest.h"
#include "base/xalloc.h"
#include "mail/policy_private.h"

struct chunk {
	const char *text;
	size_t len;
	const char *name;
};

static int
chunk_run(lua_State *L)
{
	const struct chunk *c = lua_touserdata(L, 1);

	if (luaL_loadbufferx(L, c->text, c->len, c->name, "t") != LUA_OK)
		return lua_error(L);
	lua_call(L, 0, 0);
	return 0;
}

/* "policy.lua:12: sentence" is file, line and sentence. */
static void
lua_error_add(struct policy *p, const char *err)
{
	size_t len = strlen(p->chunk);
	unsigned line = 0;
	const char *s;

	if (strncmp(err, p->chunk, len) != 0 || err[len] != ':') {
		conf_error_add(p->errs, p->file, 0, "%s", err);
		return;
	}
	for (s = err + len + 1; isdigit((unsigned char)*s); s++)
		line = line * 10 + (unsigned)(*s - '0');
	while (*s == ':' || *s == ' ')
		s++;
	conf_error_add(p->errs, p->file, line, "%s", s);
}

/* Whether it ran to its end. */
static bool
chunk_load(struct policy *p, const char *text, size_t len)
{
	char *name = xasprintf("@%s", p->chunk), *err;
	struct chunk c = { .text = text, .len = len, .name = name };
	bool is_done;

	err = policy_run(p, chunk_run, &c, POLICY_LOAD_MS);
	if (!(is_done = err == NULL))
		lua_error_add(p, err);
	free(err);
	free(name);
	return is_done;
}

static struct source_def *
source_find(const struct policy *p, const char *name)
{
	size_t i;

	for (i = 0; i < p->n_sources; i++)
		if (strcmp(p->sources[i]->source.name, name) == 0)
			return p->sources[i];
	return NULL;
}

static void
source_unknown(struct policy *p, const struct pool_def *d, const char *name)
{
	struct suggest s;
	size_t i;

	suggest_init(&s, name);
	for (i = 0; i < p->n_sources; i++)
		suggest_consider(&s, p->sources[i]->source.name);
	conf_error_add(p->errs, p->file, d->line, "the pool '%s' names the unknown source '%s'" SUGGEST_FMT,
	    d->pool.name, name, SUGGEST_ARGS(s.best));
}

static void
entry_resolve(struct policy *p, struct pool_def *d, const struct entry_def *e)
{
	struct source_def *src = source_find(p, e->name);
	struct policy_pool_entry *out;

	if (src == NULL) {
		source_unknown(p, d, e->name);
		return;
	}
	if (src->pool == &d->pool) {
		conf_error_add(p->errs, p->file, d->line, "the pool '%s' names the source '%s' twice", d->pool.name,
		    e->name);
		return;
	}
	if (src->pool != NULL) {
		conf_error_add(p->errs, p->file, d->line,
		    "the source '%s' is in two pools, '%s' and '%s'; a source belongs to exactly one", e->name,
		    src->pool->name,
		    d->pool.name);
		return;
	}
	src->pool = &d->pool;
	out = &d->pool.entries[d->pool.n_entries++];
	out->source = &src->source;
	out->weight = (uint32_t)e->weight;
}

static bool
all_named(const struct policy *p)
{
	size_t i;

	for (i = 0; i < p->n_sources; i++)
		if (p->sources[i]->source.name == NULL)
			return false;
	for (i = 0; i < p->n_pools; i++)
		if (p->pools[i]->pool.name == NULL)
			return false;
	return true;
}

/* Links pools and sources, and says what does not fit. Every name is there. is_clean: no error so far; what is
 * missing may otherwise be the consequence of one. */
static void
pools_resolve(struct policy *p, bool is_clean)
{
	struct pool_def *d;
	size_t i, j;

	for (i = 0; i < p->n_pools; i++) {
		d = p->pools[i];
		d->pool.entries = xcalloc(d->n_entries > 0 ? d->n_entries : 1, sizeof(*d->pool.entries));
		for (j = 0; j < d->n_entries; j++)
			if (d->entries[j].name != NULL)
				entry_resolve(p, d, &d->entries[j]);
	}
	for (i = 0; is_clean && i < p->n_sources; i++)
		if (p->sources[i]->pool == NULL)
			conf_error_add(p->errs, p->file, p->sources[i]->line,
			    "the source '%s' is in no pool: nothing would ever leave from it",
			    p->sources[i]->source.name);
	if (is_clean && p->n_pools > 1 && p->handlers[POLICY_GET_EGRESS_POOL].ref == LUA_NOREF &&
	    p->handlers[POLICY_GET_QUEUE_CONFIG].ref == LUA_NOREF)
		conf_error_add(p->errs, p->file, 0,
		    "there are %zu pools, but neither get_egress_pool nor get_queue_config to choose "
		    "among them", p->n_pools);
}

static const struct pool_def *
pool_def_find(const struct policy *p, const char *name)
{
	size_t i;

	for (i = 0; i < p->n_pools; i++)
		if (strcmp(p->pools[i]->pool.name, name) == 0)
			return p->pools[i];
	return NULL;
}

static void
fallback_unknown(struct policy *p, const struct pool_def *d)
{
	struct suggest s;
	size_t i;

	suggest_init(&s, d->pool.fallback);
	for (i = 0; i < p->n_pools; i++)
		suggest_consider(&s, p->pools[i]->pool.name);
	conf_error_add(p->errs, p->file, d->line, "the pool '%s' falls back to the unknown pool '%s'" SUGGEST_FMT,
	    d->pool.name, d->pool.fallback, SUGGEST_ARGS(s.best));
}

/* Each fallback exists, and no chain of them comes back to where it began. */
static void
fallbacks_check(struct policy *p)
{
	const struct pool_def *d;
	size_t i, hops;

	for (i = 0; i < p->n_pools; i++) {
		d = p->pools[i];
		for (hops = 0; d != NULL && d->pool.fallback != NULL && hops <= p->n_pools; hops++)
			d = pool_def_find(p, d->pool.fallback);
		if (d == NULL && hops == 1)
			fallback_unknown(p, p->pools[i]);
		else if (hops > p->n_pools)
			conf_error_add(p->errs, p->file, p->pools[i]->line,
			    "the fallback of the pool '%s' leads in a circle", p->pools[i]->pool.name);
	}
}

static int
pool_cmp(const void *a, const void *b)
{
	return strcmp((*(struct pool_def *const *)a)->pool.name, (*(struct pool_def *const *)b)->pool.name);
}

static int
listener_cmp(const void *a, const void *b)
{
	return strcmp((*(struct listener_def *const *)a)->domain.name, (*(struct listener_def *const *)b)->domain.name);
}

/* Only for a policy without errors: every name is there. */
static void
indexes_build(struct policy *p)
{
	size_t i;

	p->by_name = xcalloc(p->n_pools > 0 ? p->n_pools : 1, sizeof(struct pool_def *));
	for (i = 0; i < p->n_pools; i++)
		p->by_name[i] = p->pools[i];
	qsort(p->by_name, p->n_pools, sizeof(struct pool_def *), pool_cmp);
	policy_dkim_index(p);
	policy_unsubscribe_index(p);
	if (p->n_listeners > 0)
		qsort(p->listeners, p->n_listeners, sizeof(struct listener_def *), listener_cmp);
	for (i = 1; i < p->n_listeners; i++)
		if (listener_cmp(&p->listeners[i - 1], &p->listeners[i]) == 0)
			conf_error_add(p->errs, p->file, p->listeners[i]->line,
			    "the listener domain '%s' is defined twice: here and in line %u",
			    p->listeners[i]->domain.name,
			    p->listeners[i - 1]->line);
	policy_senders_index(p);
}

struct policy *
policy_new(const char *file, struct conf_errors *errs)
{
	struct policy *p = xcalloc(1, sizeof(*p));
	const char *slash;
	int i;

	p->file = xstrdup(file);
	slash = strrchr(p->file, '/');
	p->chunk = slash != NULL ? slash + 1 : p->file;
	p->errs = errs;
	for (i = 0; i < POLICY_EVENTS; i++)
		p->handlers[i].ref = LUA_NOREF;
	return p;
}

bool
policy_file_run(struct policy *p)
{
	bool is_done = false;
	size_t len;
	char *text;

	if ((text = slurp(p->file, POLICY_FILE_MAX, &len)) == NULL) {
		conf_error_add(p->errs, p->file, 0, "cannot be read: %s", strerror(errno));
		return false;
	}
	p->asks_auth = memmem(text, len, "spf", 3) != NULL || memmem(text, len, "dkim_verify", 11) != NULL ||
	    memmem(text, len, "arc_", 4) != NULL;
	if (policy_sandbox_open(p) != 0)
		conf_error_add(p->errs, p->file, 0, "out of memory");
	else
		is_done = chunk_load(p, text, len);
	free(text);
	return is_done;
}

struct policy *
policy_load(const char *file, struct conf_errors *errs)
{
	struct policy *p = policy_new(file, errs);
	size_t before = errs->n;
	bool is_done = policy_file_run(p);

	/* After an error in the middle everything behind it is missing; what that implies is no news. */
	if (is_done && all_named(p)) {
		pools_resolve(p, errs->n == before);
		fallbacks_check(p);
	}
	if (errs->n == before)
		indexes_build(p);
	if (errs->n > before)
		policy_free(&p);
	else
		p->errs = NULL;
	return p;
}

static void
definitions_free(struct policy *p)
{
	size_t i, j;

	for (i = 0; i < p->n_sources; i++) {
		free(p->sources[i]->source.name);
		free(p->sources[i]->source.source_address);
		free(p->sources[i]->source.ehlo_domain);
		free(p->sources[i]);
	}
	for (i = 0; i < p->n_pools; i++) {
		for (j = 0; j < p->pools[i]->n_entries; j++)
			free(p->pools[i]->entries[j].name);
		free(p->pools[i]->entries);
		free(p->pools[i]->pool.entries);
		free(p->pools[i]->pool.name);
		free(p->pools[i]->pool.fallback);
		free(p->pools[i]);
	}
	for (i = 0; i < p->n_listeners; i++) {
		free(p->listeners[i]->domain.name);
		free(p->listeners[i]);
	}
	for (i = 0; i < p->n_map_dirs; i++)
		free(p->map_dirs[i]);
	free(p->map_dirs);
	free(p->sources);
	free(p->pools);
	free(p->by_name);
	free(p->listeners);
	policy_senders_free(p);
	policy_dkim_free(p);
	policy_feedback_free(p);
	policy_unsubscribe_free(p);
}

void
policy_free(struct policy **pp)
{
	struct policy *p = *pp;

	if (p == NULL)
		return;
	policy_tasks_free(p);
	policy_sandbox_close(p);
	definitions_free(p);
	free(p->file);
	free(p);
	*pp = NULL;
}

size_t
policy_pool_count(const struct policy *p)
{
	return p->n_pools;
}

const struct policy_pool *
policy_pool_at(const struct policy *p, size_t i)
{
	return &p->pools[i]->pool;
}

const struct policy_pool *
policy_only_pool(const struct policy *p)
{
	return p->n_pools == 1 ? &p->pools[0]->pool : NULL;
}

const struct policy_pool *
policy_pool_find(const struct policy *p, const char *name)
{
	size_t lo = 0, hi = p->n_pools, mid;
	int cmp;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if ((cmp = strcmp(name, p->by_name[mid]->pool.name)) == 0)
			return &p->by_name[mid]->pool;
		if (cmp < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

bool
policy_guards(const struct policy *p, bool by_default)
{
	size_t i;

	for (i = 0; i < p->n_pools; i++)
		if (p->pools[i]->pool.guard == -1 ? by_default : p->pools[i]->pool.guard != 0)
			return true;
	return false;
}

static const struct policy_listener_domain *
listener_find(const struct policy *p, const char *domain)
{
	size_t lo = 0, hi = p->n_listeners, mid;
	int cmp;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if ((cmp = strcasecmp(domain, p->listeners[mid]->domain.name)) == 0)
			return &p->listeners[mid]->domain;
		if (cmp < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

const struct policy_listener_domain *
policy_listener_domain(const struct policy *p, const char *domain)
{
	const struct policy_listener_domain *d = listener_find(p, domain);

	return d != NULL ? d : listener_find(p, "*");
}

bool
policy_has_listeners(const struct policy *p)
{
	return p->n_listeners > 0;
}

bool
policy_has(const struct policy *p, const char *event)
{
	int i;

	for (i = 0; i < POLICY_EVENTS; i++)
		if (strcmp(policy_event_names[i], event) == 0)
			return p->handlers[i].ref != LUA_NOREF;
	return false;
}

char *
policy_where(const struct policy *p, const char *event)
{
	int i;

	for (i = 0; i < POLICY_EVENTS; i++)
		if (strcmp(policy_event_names[i], event) == 0 && p->handlers[i].ref != LUA_NOREF)
			return xasprintf("%s:%u, %s", p->chunk, p->handlers[i].line, event);
	return xstrdup("");
}
