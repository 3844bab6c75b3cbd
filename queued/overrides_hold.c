/* What overrides do to queues: a suspended one is not offered, and what is with a consumer is called back; nothing of
 * that is an attempt, so attempts and back-off stay as they are (KumoMTA makes a TransientFailure of each, and a
 * suspension of five minutes can cost hours). What waits leaves memory, and its queue sleeps until the override ends;
 * then the queues wake one after the other. A bounce ends what is there, in bounded steps, and what arrives. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/names.h"

#include "queued/changes.h"
#include "queued/consumer.h"
#include "queued/events.h"
#include "queued/overrides.h"
#include "queued/queued.h"
#include "queued/result.h"
#include "queued/sched.h"
#include "queued/squeue.h"
#include "queued/throttle.h"
#include "queued/wake.h"

#define STEP_ROWS 1000
#define STEP_MATCHES 200
#define RELEASE_EACH_MS 2  /* between two messages */
#define SCOPE_PARTS 4
#define SCOPE_KEY_MAX (SCOPE_PARTS * (OVERRIDE_TEXT_MAX + 1))

/* --- which apply to a queue: the 16 scopes that can cover it are looked up, however many there are --- */

/* "pool\ndomain\ntenant\ncampaign" of those parts that are in mask. False: one of them is not known, or too long. */
static bool
scope_key(const char *const v[SCOPE_PARTS], unsigned mask, char out[SCOPE_KEY_MAX], size_t *len_r)
{
	size_t len = 0, n, i;
	unsigned p;

	for (p = 0; p < SCOPE_PARTS; p++) {
		if ((mask & 1u << p) != 0) {
			if (v[p] == NULL || (n = strlen(v[p])) > OVERRIDE_TEXT_MAX)
				return false;
			for (i = 0; i < n; i++)
				out[len + i] = p == 1 && v[p][i] >= 'A' && v[p][i] <= 'Z'
				    ? (char)(v[p][i] + 32) : v[p][i];
			len += n;
		}
		out[len++] = '\n';
	}
	*len_r = len;
	return true;
}

static struct scope *
scope_find(struct overrides *set, const char *const v[SCOPE_PARTS], unsigned mask)
{
	char key[SCOPE_KEY_MAX];
	struct scope *s;
	size_t len;

	if (!scope_key(v, mask, key, &len))
		return NULL;
	HASH_FIND(hh, set->scopes, key, len, s);
	return s;
}

static void
scope_add(struct overrides *set, struct effect *ef)
{
	const struct override_scope *of = &ef->o.scope;
	const char *const v[SCOPE_PARTS] = { of->pool, of->domain, of->tenant, of->campaign };
	unsigned mask = (of->pool != NULL) | (of->domain != NULL) << 1 | (of->tenant != NULL) << 2 |
	    (of->campaign != NULL) << 3;
	struct scope *s = scope_find(set, v, mask);
	char key[SCOPE_KEY_MAX];
	size_t len;

	if (s == NULL) {
		s = xcalloc(1, sizeof(*s));
		(void)scope_key(v, mask, key, &len);
		s->key = xmemdup0(key, len);
		TAILQ_INIT(&s->effects);
		HASH_ADD_KEYPTR(hh, set->scopes, s->key, len, s);
	}
	TAILQ_INSERT_TAIL(&s->effects, ef, of_scope);
}

static void
scope_remove(struct overrides *set, struct effect *ef)
{
	const struct override_scope *of = &ef->o.scope;
	const char *const v[SCOPE_PARTS] = { of->pool, of->domain, of->tenant, of->campaign };
	unsigned mask = (of->pool != NULL) | (of->domain != NULL) << 1 | (of->tenant != NULL) << 2 |
	    (of->campaign != NULL) << 3;
	struct scope *s = scope_find(set, v, mask);

	TAILQ_REMOVE(&s->effects, ef, of_scope);
	if (!TAILQ_EMPTY(&s->effects))
		return;
	HASH_DEL(set->scopes, s);
	free(s->key);
	free(s);
}

static struct effect *
longest_of(struct overrides *set, const struct squeue *sq, enum override_kind kind)
{
	const char *const v[SCOPE_PARTS] = { sq->pool == NULL ? NULL : sq->pool->name, sq->domain, sq->tenant,
		sq->campaign };
	struct effect *ef, *best = NULL;
	struct scope *s;
	unsigned mask;

	if (set == NULL || set->scopes == NULL)
		return NULL;
	for (mask = 0; mask < 1u << SCOPE_PARTS; mask++) {
		if ((s = scope_find(set, v, mask)) == NULL)
			continue;
		TAILQ_FOREACH(ef, &s->effects, of_scope)
			if (ef->o.kind == kind && (best == NULL || ef->o.expires == 0 ||
			    (best->o.expires != 0 && ef->o.expires > best->o.expires)))
				best = ef;
	}
	return best;
}

bool
overrides_queue_rate(struct overrides *set, const char *setting, const struct override_target *t, struct rate *out)
{
	const char *const v[SCOPE_PARTS] = { t->pool, t->domain, t->tenant, t->campaign };
	struct effect *ef;
	struct scope *s;
	struct rate rate;
	bool found = false;
	unsigned mask;

	if (set == NULL || set->scopes == NULL)
		return false;
	for (mask = 0; mask < 1u << SCOPE_PARTS; mask++) {
		if ((s = scope_find(set, v, mask)) == NULL)
			continue;
		TAILQ_FOREACH(ef, &s->effects, of_scope) {
			if (ef->o.kind != OVERRIDE_LIMIT || strcmp(ef->o.setting, setting) != 0 ||
			    rate_parse(ef->o.value, RATE_PACED, &rate) != NULL ||
			    (found && !rate_is_stricter(&rate, out)))
				continue;
			*out = rate;
			found = true;
		}
	}
	return found;
}

void
overrides_look(struct queued *q, struct squeue *sq)
{
	const struct effect *ef = longest_of(q->overrides, sq, OVERRIDE_SUSPEND);

	sq->held_by = ef == NULL ? 0 : ef->o.id;
}

char *
overrides_why(struct queued *q, const struct squeue *sq)
{
	const struct effect *ef = sq->held_by == 0 ? NULL : overrides_find(q->overrides, sq->held_by);

	return ef == NULL ? NULL : xasprintf("suspended by override %" PRIu64 " (%s): %s", ef->o.id, ef->o.made_by,
	    ef->o.reason);
}

static bool
is_kept_here(const struct override *o)
{
	return o->kind == OVERRIDE_BOUNCE || override_is_queue_rate(o) ||
	    (o->kind == OVERRIDE_SUSPEND && override_is_of_queue(&o->scope));
}

char *
overrides_path_why(struct queued *q, const struct squeue *sq)
{
	struct override_target t = { .pool = sq->pool == NULL ? NULL : sq->pool->name, .domain = sq->domain,
		.tenant = sq->tenant, .campaign = sq->campaign };
	struct effect *ef, *next, *found = NULL;
	struct override_scope s;
	unsigned n = 0;

	HASH_ITER(hh, q->overrides->by_id, ef, next) {
		s = ef->o.scope;
		s.source = s.site = s.provider = NULL;
		if (!ef->is_live || is_kept_here(&ef->o) ||
		    !override_matches(&s, &t))
			continue;
		found = ef;
		if (++n > 1)
			break;
	}
	if (found == NULL)
		return NULL;
	return xasprintf("its path is %s by %soverride %" PRIu64 " (%s): %s",
	    found->o.kind == OVERRIDE_LIMIT ? "limited" : "suspended", n > 1 ? "overrides, such as " : "",
	    found->o.id, found->o.made_by, found->o.reason);
}

/* What path a queue takes is not known here: all that the rest of the scope names ask again. */
void
overrides_path_released(struct overrides *set, const struct override_scope *of)
{
	struct override_scope scope = *of;

	set->has_ended = true;
	set->path_ended = loop_now(set->q->loop);
	scope.source = scope.site = scope.provider = NULL;
	if (set->has_path_waits)
		overrides_sweep_add(set, 0, &scope);
}

bool
overrides_path_ended(const struct overrides *set, const struct qenv *e)
{
	return set->has_ended && e->offered <= set->path_ended;
}

const char *
overrides_bounce_reason(struct queued *q, const struct squeue *sq)
{
	const struct effect *ef = longest_of(q->overrides, sq, OVERRIDE_BOUNCE);

	return ef == NULL ? NULL : ef->o.reason;
}

/* --- suspending and resuming --- */

/* Once for each message: later ones of its records would say the same. */
static void
log_delayed(struct queued *q, struct qenv *e)
{
	char *why;

	if ((e->flags & ENV_DELAY_LOGGED) != 0 || e->msg->env == NULL || (why = overrides_why(q, e->queue)) == NULL)
		return;
	e->flags |= ENV_DELAY_LOGGED;
	changes_add(q->changes, e);
	events_delayed(q, e, why);
	free(why);
}

static void
call_back(struct queued *q)
{
	struct qenv *e, *next;

	if (q->mem->n_inflight == 0)
		return;
	HASH_ITER(hh, q->mem->envelopes, e, next)
		if (e->state == ENVELOPE_INFLIGHT && e->queue->held_by != 0)
			consumer_cancel(e->with->consumer, e);
}

static bool
is_about(const struct override_scope *scope, const struct squeue *sq)
{
	struct override_target t = { .pool = sq->pool == NULL ? NULL : sq->pool->name, .domain = sq->domain,
		.tenant = sq->tenant, .campaign = sq->campaign };

	return override_matches(scope, &t);
}

/* A suspension of that began, or (NULL) some have ended: every queue in memory that it is about is looked at again;
 * those that sleep will be when they wake. */
static void
reconsider(struct queued *q, const struct override_scope *scope)
{
	bool any_held = false;
	struct squeue *sq, *next;
	struct qenv *e;
	uint64_t was;

	HASH_ITER(hh, q->queues->by_name, sq, next) {
		if (scope != NULL && !is_about(scope, sq))
			continue;
		sq->refs++;
		was = sq->held_by;
		overrides_look(q, sq);
		if (sq->held_by != 0 && was == 0) {
			any_held = true;
			TAILQ_FOREACH(e, &sq->ready, link)
				log_delayed(q, e);
		} else if (sq->held_by == 0 && was != 0 && sq->window > WINDOW_START) {
			sq->window = WINDOW_START; /* it has to earn a larger one again */
		}
		squeue_update(q->queues, sq);
		sq->refs--;
		squeue_release(q->queues, sq);
	}
	if (any_held)
		call_back(q);
}

static void
wake_suspended(struct queued *q)
{
	wake_noted_slowly(q->wake, WAKE_SUSPENDED, queue_now(q));
	loop_again(q->loop);
}

/* Those that sleep may belong to a pool now that is not suspended; without a suspension of a pool nothing changed. */
void
overrides_rerouted(struct queued *q)
{
	const struct scope *s;
	const struct effect *ef;

	if (q->overrides == NULL)
		return;
	for (s = q->overrides->scopes; s != NULL; s = s->hh.next)
		TAILQ_FOREACH(ef, &s->effects, of_scope)
			if (ef->o.kind == OVERRIDE_SUSPEND && ef->o.scope.pool != NULL) {
				wake_suspended(q);
				return;
			}
}

void
overrides_link(struct queued *q, struct effect *ef)
{
	struct overrides *set = q->overrides;

	ef->is_live = true;
	if (!is_kept_here(&ef->o)) {
		set->n_paths++;
		return;
	}
	scope_add(set, ef);
	if (ef->o.kind == OVERRIDE_SUSPEND)
		reconsider(q, &ef->o.scope);
	else if (ef->o.kind == OVERRIDE_LIMIT)
		throttles_dissolve(q);
	else
		overrides_sweep_add(set, ef->o.id, &ef->o.scope);
}

void
overrides_forget(struct overrides *set, struct effect *ef)
{
	ef->is_live = false;
	if (is_kept_here(&ef->o))
		scope_remove(set, ef);
	else
		set->n_paths--;
}

void
overrides_unlink(struct queued *q, struct effect *ef)
{
	overrides_forget(q->overrides, ef);
	if (ef->o.kind == OVERRIDE_LIMIT && is_kept_here(&ef->o))
		throttles_dissolve(q);
	if (ef->o.kind != OVERRIDE_SUSPEND || !is_kept_here(&ef->o))
		return;
	/* Many may end at once: then it is one look at all queues. */
	q->overrides->has_resumed = true;
	loop_again(q->loop);
}

bool
overrides_intake(struct queued *q, struct qenv *e)
{
	struct effect *ef = longest_of(q->overrides, e->queue, OVERRIDE_BOUNCE);

	if (ef != NULL) {
		ef->o.hits++;
		result_admin_bounce(q, e, ef->o.reason, ef->o.is_quiet);
		return true;
	}
	log_delayed(q, e);
	return false;
}

bool
overrides_returned(struct queued *q, struct qenv *e)
{
	if (e->queue->held_by != 0) {
		(void)message_envelope(q->mem, e->msg, &(const char *){ NULL });
		log_delayed(q, e);
		qenv_set_state(q->mem, e, ENVELOPE_READY);
		changes_add(q->changes, e); /* so that it leaves memory with the commit */
		return true;
	}
	if (e->flags & ENV_PATH_WAIT)
		q->overrides->has_path_waits = true;
	return false;
}

/* --- walks --- */

void
overrides_sweep_add(struct overrides *set, uint64_t id, const struct override_scope *scope)
{
	struct sweep *s;

	TAILQ_FOREACH(s, &set->sweeps, next)
		if (id == 0 && s->id == 0 && !s->has_queue_cursor && override_scope_equals(&s->scope, scope))
			return; /* it has not begun */
	s = xcalloc(1, sizeof(*s));
	s->id = id;
	override_scope_copy(&s->scope, scope);
	TAILQ_INSERT_TAIL(&set->sweeps, s, next);
	loop_again(set->q->loop);
}

static void
sweep_free(struct overrides *set, struct sweep *s)
{
	TAILQ_REMOVE(&set->sweeps, s, next);
	override_scope_clear(&s->scope);
	free(s);
}

void
overrides_sweeps_clear(struct overrides *set)
{
	struct sweep *s, *next;

	TAILQ_FOREACH_SAFE(s, &set->sweeps, next, next)
		sweep_free(set, s);
}

static bool
sweep_matches(struct queued *q, const struct sweep *s, uint32_t id, const char *name)
{
	struct override_target t = { .pool = s->scope.pool };
	char *domain, *tenant, *campaign;
	struct squeue *sq;
	bool yes;

	queue_name_split(name, &campaign, &tenant, &domain);
	t.domain = domain;
	t.tenant = tenant;
	t.campaign = campaign;
	yes = override_matches(&s->scope, &t);
	free(domain);
	free(tenant);
	free(campaign);
	if (!yes || s->scope.pool == NULL)
		return yes;
	/* Its pool is policy's to say. */
	if ((sq = squeue_by_id(q->queues, id)) == NULL)
		return false;
	yes = sq->pool != NULL && strcmp(sq->pool->name, s->scope.pool) == 0;
	squeue_release(q->queues, sq);
	return yes;
}

/* The next queue that matches into s->queue. False at the end. */
static bool
sweep_next_queue(struct queued *q, struct sweep *s, unsigned *rows)
{
	struct queue_row row;
	char *name;
	MDB_val k, v;

	for (; *rows > 0 && s->queue == 0; --*rows) {
		store_read_begin(q->store);
		if (!store_seek(q->store, DB_QUEUE, s->queue_cursor, 4, s->has_queue_cursor, &k, &v) ||
		    !store_queue_row(&k, &v, &row)) {
			store_read_end(q->store);
			return false;
		}
		memcpy(s->queue_cursor, k.mv_data, 4);
		s->has_queue_cursor = true;
		name = xmemdup0(row.name.base, row.name.len);
		store_read_end(q->store);
		if (sweep_matches(q, s, row.id, name)) {
			s->queue = row.id;
			due_key_pack(row.id, 0, NULL, s->at);
		}
		free(name);
	}
	return true;
}

/* The next envelope of s->queue. False behind its last. */
static bool
sweep_next_row(struct queued *q, struct sweep *s, uint16_t *flags_r)
{
	struct env_row row;
	bool found;
	MDB_val k, v;

	store_read_begin(q->store);
	found = store_seek(q->store, DB_DUE, s->at, DUE_KEY_LEN, true, &k, &v) && k.mv_size == DUE_KEY_LEN &&
	    due_key_queue(&k) == s->queue;
	if (found) {
		memcpy(s->at, k.mv_data, DUE_KEY_LEN);
		*flags_r = s->id == 0 && store_get_env(q->store, s->at + DUE_KEY_LEN - ENV_KEY_LEN, &row) ? row.flags
		    : 0;
	}
	store_read_end(q->store);
	return found;
}

static void
bounce_one(struct queued *q, struct effect *ef, struct qenv *e)
{
	ef->o.hits++;
	if (e->state == ENVELOPE_INFLIGHT) {
		e->order = ef->o.is_quiet ? ORDER_BOUNCE_QUIET : ORDER_BOUNCE;
		consumer_cancel(e->with->consumer, e);
	} else {
		result_admin_bounce(q, e, ef->o.reason, ef->o.is_quiet);
	}
}

/* True: something was done. */
static bool
sweep_envelope(struct queued *q, struct sweep *s, struct qenv *e)
{
	struct effect *ef = s->id == 0 ? NULL : overrides_find(q->overrides, s->id);

	if (e->state == ENVELOPE_DONE)
		return false;
	if (ef != NULL) {
		bounce_one(q, ef, e);
		return true;
	}
	if (e->state != ENVELOPE_DEFERRED || (e->flags & ENV_HELD) != 0)
		return false;
	e->flags &= (uint16_t)~(ENV_PATH_WAIT | ENV_DELAY_LOGGED);
	result_defer(q, e, queue_now(q) + (int64_t)(s->n_done++ * RELEASE_EACH_MS));
	return true;
}

static bool
sweep_one(struct queued *q, struct sweep *s, uint16_t flags)
{
	const uint8_t *key = s->at + DUE_KEY_LEN - ENV_KEY_LEN;
	struct qenv *e = qenv_find_key(q->mem, key);

	if (s->id == 0 && ((e == NULL ? flags : e->flags) & ENV_PATH_WAIT) == 0)
		return false;
	if (s->id == 0 && e == NULL && (flags & ENV_HELD) != 0)
		return false;
	if (e == NULL && (e = qenv_load(q->mem, key)) == NULL)
		return false;
	return sweep_envelope(q, s, e);
}

/* True when it is at its end. */
static bool
sweep_step(struct queued *q, struct sweep *s)
{
	unsigned rows = STEP_ROWS, matches = 0;
	uint16_t flags = 0;

	if (s->id != 0 && overrides_find(q->overrides, s->id) == NULL)
		return true; /* cancelled meanwhile */
	while (rows > 0 && matches < STEP_MATCHES) {
		if (s->queue == 0 && !sweep_next_queue(q, s, &rows))
			return true;
		if (s->queue == 0)
			return false;
		rows--;
		if (!sweep_next_row(q, s, &flags))
			s->queue = 0;
		else
			matches += sweep_one(q, s, flags);
	}
	return false;
}

void
overrides_turn(struct queued *q)
{
	struct overrides *set = q->overrides;
	struct sweep *s = TAILQ_FIRST(&set->sweeps);

	if (set->has_resumed) {
		set->has_resumed = false;
		reconsider(q, NULL);
		wake_suspended(q);
	}
	if (s == NULL || queued_is_stuck(q) || q->changes->n_dirty > COMMIT_CHANGES)
		return;
	/* The index has everything that it is to find. */
	if (!s->has_queue_cursor && changes_commit(q->changes) == -1)
		return;
	if (sweep_step(q, s))
		sweep_free(set, s);
	loop_again(q->loop);
}
