/* The list of overrides in deliverd. queued keeps no more than 10,000, most of them for queues, which it does not tell;
 * what it says is checked like any frame. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/xalloc.h"

#include "deliverd/overrides.h"

#define OVERRIDES_MAX 20000

struct entry {
	UT_hash_handle hh;
	struct override o;
	bool is_stale;
};

struct imposed {
	struct entry *all;
	uint64_t generation;
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
imposed_free(struct imposed **setp)
{
	struct entry *e, *next;

	if (*setp == NULL)
		return;
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
	set->generation++;
	if (e != NULL) {
		override_clear(&e->o);
		e->o = o; /* its number is the same */
		e->is_stale = false;
		return 0;
	}
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
		entry_free(set, e);
		set->generation++;
	}
}

uint64_t
imposed_generation(const struct imposed *set)
{
	return set->generation;
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
