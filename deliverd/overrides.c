/* The list of overrides in deliverd. queued keeps no more than 10,000, most of them for queues, which it does not tell;
 * what it says is checked like any frame. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/xalloc.h"

#include "deliverd/overrides.h"

#define OVERRIDES_MAX 20000
#define CHANGES_MAX 64 /* in a turn; beyond that everything is looked at */

struct entry {
	UT_hash_handle hh;
	struct override o;
	bool is_stale;
};

struct change {
	struct override_scope scope;
	uint8_t kind;
};

struct imposed {
	struct entry *all;
	uint64_t generation;
	struct change changes[CHANGES_MAX];
	unsigned n_changes; /* since imposed_seen(); more than CHANGES_MAX: not noted one by one */
};

struct imposed *
imposed_new(void)
{
	return xcalloc(1, sizeof(struct imposed));
}

static void
entry_free(struct imposed *set, struct entry *e)
{
	HASH_DEL(set->all, e);
	override_clear(&e->o);
	free(e);
}

void
imposed_seen(struct imposed *set)
{
	unsigned i;

	for (i = 0; i < set->n_changes && i < CHANGES_MAX; i++)
		override_scope_clear(&set->changes[i].scope);
	set->n_changes = 0;
}

static void
note_change(struct imposed *set, const struct override *o)
{
	set->generation++;
	if (o->is_dry_run || set->n_changes > CHANGES_MAX)
		return;
	if (set->n_changes < CHANGES_MAX) {
		override_scope_copy(&set->changes[set->n_changes].scope, &o->scope);
		set->changes[set->n_changes].kind = o->kind;
	}
	set->n_changes++;
}

void
imposed_free(struct imposed **setp)
{
	struct entry *e, *next;

	if (*setp == NULL)
		return;
	imposed_seen(*setp);
	HASH_ITER(hh, (*setp)->all, e, next)
		entry_free(*setp, e);
	free(*setp);
	*setp = NULL;
}

void
imposed_welcome(struct imposed *set)
{
	struct entry *e;

	for (e = set->all; e != NULL; e = e->hh.next)
		e->is_stale = true;
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* To paths: their words and ends may differ. */
static bool
is_the_same(const struct override *a, const struct override *b)
{
	return a->kind == b->kind && a->is_dry_run == b->is_dry_run && same_text(a->setting, b->setting) &&
	    same_text(a->value, b->value) && override_scope_equals(&a->scope, &b->scope);
}

int
imposed_said(struct imposed *set, struct rbuf *r)
{
	struct override o;
	struct entry *e;

	if (override_decode(r, &o) == -1)
		return -1;
	HASH_FIND(hh, set->all, &o.id, sizeof(o.id), e);
	if (e == NULL && HASH_COUNT(set->all) >= OVERRIDES_MAX) {
		override_clear(&o);
		return -1;
	}
	if (e != NULL) {
		if (!is_the_same(&e->o, &o)) {
			note_change(set, &e->o);
			note_change(set, &o);
		}
		override_clear(&e->o);
		e->o = o; /* its number is the same */
		e->is_stale = false;
		return 0;
	}
	note_change(set, &o);
	e = xcalloc(1, sizeof(*e));
	e->o = o;
	HASH_ADD(hh, set->all, o.id, sizeof(e->o.id), e);
	return 0;
}

void
imposed_ended(struct imposed *set, uint64_t id)
{
	struct entry *e, *next;

	HASH_ITER(hh, set->all, e, next) {
		if (id == 0 ? !e->is_stale : e->o.id != id)
			continue;
		note_change(set, &e->o);
		entry_free(set, e);
	}
}

uint64_t
imposed_generation(const struct imposed *set)
{
	return set->generation;
}

bool
imposed_has_changed(const struct imposed *set)
{
	return set->n_changes > 0;
}

bool
imposed_limits_changed(const struct imposed *set)
{
	unsigned i;

	for (i = 0; i < set->n_changes && i < CHANGES_MAX; i++)
		if (set->changes[i].kind == OVERRIDE_LIMIT)
			return true;
	return set->n_changes > CHANGES_MAX;
}

/* Whether it is about mail of that path, all of it or some. */
static bool
is_of_path(const struct override_scope *scope, const struct override_target *path)
{
	struct override_scope s = *scope;

	s.domain = s.tenant = s.campaign = NULL;
	return override_matches(&s, path);
}

unsigned
imposed_touches(const struct imposed *set, const struct override_target *path)
{
	unsigned i, touched = 0;

	if (set->n_changes > CHANGES_MAX)
		return IMPOSED_LIMITS | IMPOSED_HOLDS;
	for (i = 0; i < set->n_changes; i++)
		if (is_of_path(&set->changes[i].scope, path))
			touched |= set->changes[i].kind == OVERRIDE_LIMIT ? IMPOSED_LIMITS : IMPOSED_HOLDS;
	return touched;
}

unsigned
imposed_holds(const struct imposed *set, const struct override_target *path, uint64_t **ids_r)
{
	const struct entry *e;
	unsigned n = 0;

	*ids_r = NULL;
	for (e = set->all; e != NULL; e = e->hh.next) {
		if (e->o.kind != OVERRIDE_SUSPEND || e->o.is_dry_run || !is_of_path(&e->o.scope, path))
			continue;
		*ids_r = xreallocarray(*ids_r, n + 1, sizeof(**ids_r));
		(*ids_r)[n++] = e->o.id;
	}
	return n;
}

const struct override *
imposed_find(const struct imposed *set, uint64_t id)
{
	const struct entry *e;

	HASH_FIND(hh, set->all, &id, sizeof(id), e);
	return e == NULL ? NULL : &e->o;
}

const struct override *
imposed_longest(const struct imposed *set, const uint64_t *ids, unsigned n, const struct override_target *t)
{
	const struct override *best = NULL, *o;
	unsigned i;

	for (i = 0; i < n; i++)
		if ((o = imposed_find(set, ids[i])) != NULL && override_matches(&o->scope, t) && (best == NULL ||
		    o->expires == 0 || (best->expires != 0 && o->expires > best->expires)))
			best = o;
	return best;
}

const struct override *
imposed_suspends(const struct imposed *set, const struct override_target *t)
{
	const struct override *best = NULL;
	const struct entry *e;

	for (e = set->all; e != NULL; e = e->hh.next) {
		if (e->o.kind != OVERRIDE_SUSPEND || e->o.is_dry_run || !override_matches(&e->o.scope, t))
			continue;
		if (best == NULL || e->o.expires == 0 || (best->expires != 0 && e->o.expires > best->expires))
			best = &e->o;
	}
	return best;
}

void
imposed_apply(const struct imposed *set, const struct override_target *t, struct policy_path_config *config,
    uint64_t ids[POLICY_PATH_FIELDS_MAX])
{
	const struct entry *e;

	if (ids != NULL)
		memset(ids, 0, POLICY_PATH_FIELDS_MAX * sizeof(*ids));
	for (e = set->all; e != NULL; e = e->hh.next)
		if (e->o.kind == OVERRIDE_LIMIT && !e->o.is_dry_run && !override_is_queue_rate(&e->o) &&
		    override_matches(&e->o.scope, t) && override_apply(&e->o, config) && ids != NULL)
			ids[policy_path_find(e->o.setting)] = e->o.id;
}

char *
imposed_text(const struct override *o)
{
	return xasprintf("suspended by override %" PRIu64 " (%s): %s", o->id, o->made_by, o->reason);
}

char *
imposed_origin(const struct override *o)
{
	if (o == NULL)
		return xstrdup("override");
	return xasprintf("override %" PRIu64 " (%s): %s", o->id, o->made_by, o->reason);
}
