/* The set of overrides: numbers, rows in the index, expiry, what consumers are told, events. What is in force at
 * the end of one run is in force at the beginning of the next, before anything is offered. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/automation.h"
#include "queued/changes.h"
#include "queued/consumer.h"
#include "queued/events.h"
#include "queued/link.h"
#include "queued/overrides.h"
#include "queued/queued.h"

#define ARM_MAX_MS 30000
#define REFUSED_LOG_MS 60000

static void overrides_arm(struct overrides *);

/* Whether deliverd acts on it. */
static bool
is_of_path(const struct override *o)
{
	return o->kind == OVERRIDE_LIMIT ? !override_is_queue_rate(o)
	    : o->kind == OVERRIDE_SUSPEND && !override_is_of_queue(&o->scope);
}

static char *
effect_key(const struct override *o)
{
	char *scope = override_scope_text(&o->scope);
	char *key = xasprintf("%s\n%s\n%s\n%s", o->made_by, override_kind_name(o->kind),
	    o->setting == NULL ? "" : o->setting, scope);

	free(scope);
	return key;
}

static struct effect *
effect_add(struct overrides *set, struct override *o)
{
	struct effect *ef = xcalloc(1, sizeof(*ef));

	ef->o = *o;
	memset(o, 0, sizeof(*o));
	ef->key = effect_key(&ef->o);
	HASH_ADD(hh, set->by_id, o.id, sizeof(ef->o.id), ef);
	HASH_ADD_KEYPTR(hkey, set->by_key, ef->key, strlen(ef->key), ef);
	ef->stepped = ef->o.expires;
	automation_watch(set->q, ef);
	return ef;
}

static void
effect_free(struct overrides *set, struct effect *ef)
{
	if (ef->is_dirty)
		TAILQ_REMOVE(&set->dirty, ef, dirty);
	HASH_DELETE(hh, set->by_id, ef);
	HASH_DELETE(hkey, set->by_key, ef);
	automation_unwatch(set->q, ef);
	override_clear(&ef->o);
	free(ef->key);
	free(ef);
}

/* A row that this release cannot read says something that it does not know how to apply: it goes, with a word. */
static void
load_row(struct overrides *set, uint64_t id, const struct slice *encoded)
{
	struct override o;
	struct rbuf r;
	char *key;
	struct effect *ef;

	rbuf_init(&r, encoded->base, encoded->len);
	if (override_decode(&r, &o) == -1 || o.id != id) {
		log_warn("override %" PRIu64 " is dropped: it was made by another release, and this one cannot "
		    "apply it", id);
		set->gone = xreallocarray(set->gone, set->n_gone + 1, sizeof(*set->gone));
		set->gone_cap = set->n_gone + 1;
		set->gone[set->n_gone++] = id;
		return;
	}
	key = effect_key(&o);
	HASH_FIND(hkey, set->by_key, key, strlen(key), ef);
	free(key);
	if (ef == NULL)
		effect_add(set, &o);
	else
		override_clear(&o);
}

static void
overrides_load(struct overrides *set)
{
	struct store *st = set->q->store;
	uint8_t key[OVERRIDE_KEY_LEN] = { 0 };
	struct slice encoded;
	bool more;
	uint64_t id;
	MDB_val k, v;

	store_read_begin(st);
	if (store_get(st, DB_META, "next_override", 13, &v) && v.mv_size == sizeof(set->next_id))
		memcpy(&set->next_id, v.mv_data, sizeof(set->next_id));
	for (more = store_seek(st, DB_OVERRIDE, key, sizeof(key), false, &k, &v); more;
	    more = store_seek(st, DB_OVERRIDE, key, sizeof(key), true, &k, &v)) {
		if (!store_override_row(&k, &v, &id, &encoded))
			store_broken(st, "a row of override fails its checksum", MDB_CORRUPTED);
		memcpy(key, k.mv_data, sizeof(key));
		load_row(set, id, &encoded);
	}
	store_read_end(st);
}

static void
on_timer(void *arg)
{
	struct overrides *set = arg;
	int64_t now = queue_now(set->q);
	struct effect *ef, *next;

	HASH_ITER(hh, set->by_id, ef, next)
		if (ef->o.expires != 0 && ef->o.expires <= now && !automation_raise(set->q, ef))
			overrides_end(set->q, &ef, "expired");
	overrides_arm(set);
}

static void
overrides_arm(struct overrides *set)
{
	int64_t first = INT64_MAX, delay;
	struct effect *ef, *next;

	HASH_ITER(hh, set->by_id, ef, next)
		if (ef->o.expires != 0 && ef->o.expires < first)
			first = ef->o.expires;
	if (first == INT64_MAX) {
		timer_cancel(&set->timer);
		return;
	}
	delay = first - queue_now(set->q);
	timer_set(&set->timer, delay < 1 ? 1 : delay > ARM_MAX_MS ? ARM_MAX_MS : delay);
}

/* Sooner than what is set: a flood of replies must not look through all of them each time. */
static void
overrides_arm_for(struct overrides *set, int64_t expires)
{
	int64_t delay = expires - queue_now(set->q);

	if (expires == 0)
		return;
	delay = delay < 1 ? 1 : delay > ARM_MAX_MS ? ARM_MAX_MS : delay;
	if (!timer_is_set(&set->timer) || loop_now(set->q->loop) + delay < set->timer.deadline)
		timer_set(&set->timer, delay);
}

struct overrides *
overrides_new(struct queued *q, bool is_empty)
{
	struct overrides *set = xcalloc(1, sizeof(*set));
	struct effect *ef, *next;

	set->q = q;
	q->overrides = set;
	TAILQ_INIT(&set->dirty);
	TAILQ_INIT(&set->sweeps);
	timer_init(&set->timer, q->loop, on_timer, set);
	/* Numbers stay unique also when an index was lost: people and logs know them. */
	set->next_id = is_empty && HASH_COUNT(q->segs->all) > 0 ? (uint64_t)(loop_wall(q->loop) / 1000) : 1;
	overrides_load(set);
	HASH_ITER(hh, set->by_id, ef, next)
		if (!ef->o.is_dry_run)
			overrides_link(q, ef);
	set->has_path_waits = set->n_paths > 0;
	if (set->by_id != NULL)
		log_info("overrides in force: %u", HASH_COUNT(set->by_id));
	overrides_arm(set);
	return set;
}

void
overrides_free(struct overrides **setp)
{
	struct overrides *set = *setp;
	struct effect *ef, *next;

	if (set == NULL)
		return;
	overrides_sweeps_clear(set);
	HASH_ITER(hh, set->by_id, ef, next) {
		if (ef->is_live)
			overrides_forget(set, ef);
		effect_free(set, ef);
	}
	timer_cancel(&set->timer);
	free(set->gone);
	free(set);
	*setp = NULL;
}

/* --- the index --- */

static void
effect_dirty(struct queued *q, struct effect *ef)
{
	if (!ef->is_dirty) {
		ef->is_dirty = true;
		TAILQ_INSERT_TAIL(&q->overrides->dirty, ef, dirty);
	}
	changes_poke(q->changes);
}

bool
overrides_are_dirty(const struct overrides *set)
{
	return !TAILQ_EMPTY(&set->dirty) || set->n_gone > 0 || set->next_dirty;
}

int
overrides_store(struct queued *q)
{
	struct overrides *set = q->overrides;
	struct effect *ef;
	size_t i;
	int rc;

	for (i = 0; i < set->n_gone; i++)
		if ((rc = store_del_override(q->store, set->gone[i])) != 0)
			return rc;
	TAILQ_FOREACH(ef, &set->dirty, dirty)
		if ((rc = store_put_override(q->store, &ef->o)) != 0)
			return rc;
	if (!set->next_dirty)
		return 0;
	return store_put(q->store, DB_META, "next_override", 13, &set->next_id, sizeof(set->next_id));
}

void
overrides_stored(struct queued *q)
{
	struct overrides *set = q->overrides;
	struct effect *ef;

	while ((ef = TAILQ_FIRST(&set->dirty)) != NULL) {
		TAILQ_REMOVE(&set->dirty, ef, dirty);
		ef->is_dirty = false;
	}
	set->n_gone = 0;
	set->next_dirty = false;
}

/* --- consumers --- */

static void
tell_one(struct queued *q, struct client *cl, const struct effect *ef)
{
	struct wbuf *out = &q->clients->out;
	struct override o = ef->o;

	o.created = queue_wall(q, o.created);
	o.expires = queue_wall(q, o.expires);
	wbuf_reset(out);
	override_encode(&o, out);
	ipc_send(cl->ipc, QL_OVERRIDE, 0, out, -1);
}

static void
tell_end(struct queued *q, struct client *cl, uint64_t id)
{
	struct wbuf *out = &q->clients->out;

	wbuf_reset(out);
	ql_u64_encode(id, out);
	ipc_send(cl->ipc, QL_OVERRIDE_END, 0, out, -1);
}

void
overrides_tell(struct queued *q, struct client *cl)
{
	struct effect *ef, *next;

	HASH_ITER(hh, q->overrides->by_id, ef, next)
		if (ef->is_live && is_of_path(&ef->o))
			tell_one(q, cl, ef);
	tell_end(q, cl, 0);
}

/* It began or changed; or it has ended, also by becoming one that is only recorded. */
static void
tell_all(struct queued *q, const struct effect *ef, bool has_ended)
{
	struct client *cl;

	if (q->clients == NULL || !is_of_path(&ef->o))
		return;
	TAILQ_FOREACH(cl, &q->clients->all, next) {
		if (cl->consumer == NULL || cl->consumer->is_stage)
			continue;
		if (has_ended)
			tell_end(q, cl, ef->o.id);
		else
			tell_one(q, cl, ef);
	}
}

/* --- beginning, changing, ending --- */

static void
announce(struct queued *q, const struct effect *ef, const char *action, const char *why)
{
	char *scope = override_scope_text(&ef->o.scope);

	log_info("override %" PRIu64 " %s%s: %s %s%s%s%s%s by=\"%s\" %s", ef->o.id, action,
	    ef->o.is_dry_run ? " (dry run)" : "", override_kind_name(ef->o.kind), scope,
	    ef->o.setting == NULL ? "" : " ", ef->o.setting == NULL ? "" : ef->o.setting,
	    ef->o.setting == NULL ? "" : "=", ef->o.setting == NULL ? "" : ef->o.value, ef->o.made_by, why);
	free(scope);
	events_override(q, ef, action, why);
}

static void
set_live(struct queued *q, struct effect *ef, bool live)
{
	if (live && !ef->is_live)
		overrides_link(q, ef);
	else if (!live && ef->is_live)
		overrides_unlink(q, ef);
}

void
overrides_changed(struct queued *q, struct effect *ef)
{
	bool was_live = ef->is_live;

	effect_dirty(q, ef);
	set_live(q, ef, !ef->o.is_dry_run);
	if (ef->is_live || was_live)
		tell_all(q, ef, !ef->is_live);
	if (was_live && is_of_path(&ef->o) && (ef->o.kind == OVERRIDE_LIMIT || !ef->is_live))
		overrides_path_released(q->overrides, &ef->o.scope);
	announce(q, ef, "changed", ef->o.reason);
	overrides_arm_for(q->overrides, ef->o.expires);
}

void
overrides_end(struct queued *q, struct effect **efp, const char *why)
{
	struct overrides *set = q->overrides;
	struct effect *ef = *efp;
	bool is_path;

	*efp = NULL;
	is_path = ef->is_live && is_of_path(&ef->o);
	announce(q, ef, "ended", why);
	if (ef->is_live)
		tell_all(q, ef, true);
	set_live(q, ef, false);
	if (set->n_gone == set->gone_cap) {
		set->gone_cap = set->gone_cap == 0 ? 64 : 2 * set->gone_cap;
		set->gone = xreallocarray(set->gone, set->gone_cap, sizeof(*set->gone));
	}
	set->gone[set->n_gone++] = ef->o.id;
	changes_poke(q->changes);
	if (is_path) {
		overrides_path_released(set, &ef->o.scope);
		set->has_path_waits = set->n_paths > 0;
	}
	effect_free(set, ef);
}

static struct effect *
overrides_begin(struct queued *q, struct override *o)
{
	struct overrides *set = q->overrides;
	struct effect *ef;

	o->id = set->next_id++;
	set->next_dirty = true;
	o->created = queue_now(q);
	ef = effect_add(set, o);
	effect_dirty(q, ef);
	set_live(q, ef, !ef->o.is_dry_run);
	if (ef->is_live)
		tell_all(q, ef, false);
	announce(q, ef, "begun", ef->o.reason);
	overrides_arm_for(set, ef->o.expires);
	return ef;
}

static bool
text_differs(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a != b : strcmp(a, b) != 0;
}

static void
swap(char **a, char **b)
{
	char *was = *a;

	*a = *b;
	*b = was;
}

/* The same again: later end, newer words. What applies changes only if the value or the dry run does. */
static void
overrides_refresh(struct queued *q, struct effect *ef, struct override *o, bool is_rule)
{
	const char *first = ef->o.first_value != NULL ? ef->o.first_value : ef->o.value;
	bool is_changed = ef->o.is_dry_run != o->is_dry_run || text_differs(ef->o.value, o->value) || !is_rule;

	/* A rule whose value was changed by a reload: from now on that is the first. */
	if (text_differs(first, o->value) || ef->o.step > 0)
		swap(&ef->o.value, &o->value);
	free(ef->o.first_value);
	ef->o.first_value = NULL;
	ef->o.step = 0;
	ef->o.hits += is_rule;
	ef->o.is_dry_run = o->is_dry_run;
	ef->o.is_gradual = o->is_gradual;
	ef->o.is_quiet = o->is_quiet;
	ef->o.step_every = o->step_every;
	if (!is_rule || (ef->o.expires != 0 && (o->expires == 0 || o->expires > ef->o.expires)))
		ef->o.expires = o->expires;
	ef->stepped = ef->o.expires;
	swap(&ef->o.reason, &o->reason);
	swap(&ef->o.evidence, &o->evidence);
	override_clear(o);
	if (is_changed) {
		overrides_changed(q, ef);
		return;
	}
	effect_dirty(q, ef);
	overrides_arm_for(q->overrides, ef->o.expires);
}

struct effect *
overrides_put(struct queued *q, struct override *o, bool is_rule, char **err_r)
{
	struct overrides *set = q->overrides;
	unsigned most = is_rule ? OVERRIDES_OF_RULES_MAX : OVERRIDES_MAX;
	struct effect *ef;
	char *key = effect_key(o);

	HASH_FIND(hkey, set->by_key, key, strlen(key), ef);
	free(key);
	if (ef != NULL) {
		overrides_refresh(q, ef, o, is_rule);
		return ef;
	}
	if (HASH_COUNT(set->by_id) < most)
		return overrides_begin(q, o);
	override_clear(o);
	set->n_refused++;
	*err_r = xasprintf("there are %u overrides already, and no more than %u are kept: cancel some, or wait",
	    HASH_COUNT(set->by_id), most);
	if (set->n_refused == 1 || loop_now(q->loop) - set->refused_logged > REFUSED_LOG_MS) {
		set->refused_logged = loop_now(q->loop);
		log_error("%s; refused so far: %" PRIu64, *err_r, set->n_refused);
	}
	return NULL;
}

struct effect *
overrides_find(struct overrides *set, uint64_t id)
{
	struct effect *ef;

	HASH_FIND(hh, set->by_id, &id, sizeof(id), ef);
	return ef;
}

uint64_t
overrides_count(const struct overrides *set, bool is_dry_run)
{
	const struct effect *ef;
	uint64_t n = 0;

	for (ef = set->by_id; ef != NULL; ef = ef->hh.next)
		n += ef->o.is_dry_run == is_dry_run;
	return n;
}

void
overrides_json(struct queued *q, const struct effect *ef, struct json *j)
{
	const struct override *o = &ef->o;
	struct override_scope scope = o->scope;
	char *text = override_scope_text(&scope);
	unsigned i;

	json_obj(j, NULL);
	json_int(j, "id", (int64_t)o->id);
	json_str(j, "kind", override_kind_name(o->kind));
	json_str(j, "scope", text);
	for (i = 0; override_scope_name(i) != NULL; i++)
		json_str(j, override_scope_name(i), *override_scope_part(&scope, i));
	json_str(j, "setting", o->setting);
	json_str(j, "value", o->value);
	json_str(j, "first_value", o->first_value);
	json_str(j, "reason", o->reason);
	json_str(j, "made_by", o->made_by);
	json_str(j, "evidence", o->evidence);
	json_bool(j, "is_dry_run", o->is_dry_run);
	json_bool(j, "is_gradual", o->is_gradual);
	json_bool(j, "is_quiet", o->is_quiet);
	json_int(j, "step", o->step);
	json_int(j, "step_every", o->step_every);
	json_int(j, "hits", (int64_t)o->hits);
	json_int(j, "created", queue_wall(q, o->created));
	if (o->expires == 0) {
		json_none(j, "expires");
		json_none(j, "remaining");
	} else {
		json_int(j, "expires", queue_wall(q, o->expires));
		json_int(j, "remaining", o->expires > queue_now(q) ? o->expires - queue_now(q) : 0);
	}
	json_obj_end(j);
	free(text);
}
