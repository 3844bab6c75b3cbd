/* The overrides in force (mail/override.h): kept in memory and in the index, ended by the queue's clock, told to
 * consumers, and what those of whole queues do to them. Others (the admin command, automation) make and end them
 * here. */
#ifndef QUEUED_OVERRIDES_H
#define QUEUED_OVERRIDES_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>

#include "base/json.h"
#include "base/loop.h"
#include "mail/override.h"
#include "queued/message.h"

#define OVERRIDES_MAX 10000
#define OVERRIDES_OF_RULES_MAX 9500 /* automation leaves some for people */

struct client;

/* One override, and where it is found. Times in it are of the queue's clock. */
struct effect {
	UT_hash_handle hh;  /* by number */
	UT_hash_handle hkey;
	struct override o;
	char *key;          /* who made it, what, where: one effect each */
	bool is_dirty, is_live; /* live: applied, not only recorded */
	struct watch *watch; /* gradual: whether mail goes through; NULL */
	int64_t stepped;    /* gradual: when the present step began */
	TAILQ_ENTRY(effect) dirty;
	TAILQ_ENTRY(effect) of_scope;
};
TAILQ_HEAD(effect_list, effect);

/* Effects of queues, by their scope. */
struct scope {
	UT_hash_handle hh;
	char *key;
	struct effect_list effects;
};

/* When mail last went through what a gradual limit is for. */
struct watch {
	UT_hash_handle hh;
	char *key;
	unsigned refs;
	int64_t last_success;
};

/* A walk through queues after a change: mail is bounced, or what waited for a path is due again. */
struct sweep {
	TAILQ_ENTRY(sweep) next;
	uint64_t id; /* of a BOUNCE; 0: release */
	struct override_scope scope;
	bool has_queue_cursor;
	uint8_t queue_cursor[4];
	uint32_t queue; /* 0: none */
	uint8_t at[DUE_KEY_LEN];
	uint64_t n_done;
};

struct overrides {
	struct queued *q;
	struct effect *by_id, *by_key;
	struct scope *scopes;
	struct watch *watches;
	uint64_t next_id;
	bool next_dirty;
	TAILQ_HEAD(dirty_effects, effect) dirty;
	uint64_t *gone; /* rows to be deleted */
	size_t n_gone, gone_cap;
	struct timer timer;
	uint32_t n_paths;         /* live ones of paths */
	bool has_resumed;         /* suspensions of queues have ended: their queues are to be looked at */
	bool has_path_waits;      /* mail may wait because of one of them */
	bool has_ended;           /* one, or was raised, */
	int64_t path_ended;       /* at this loop_now() */
	TAILQ_HEAD(sweep_list, sweep) sweeps;
	uint64_t n_refused;
	int64_t refused_logged;   /* loop_now */
};

/* Reads the index. */
struct overrides *overrides_new(struct queued *, bool is_empty);
void overrides_free(struct overrides **);
/* Bounded work that is left over; called on every turn. */
void overrides_turn(struct queued *);

/* Part of a commit: to be written at all; writing; it is durable now. */
bool overrides_are_dirty(const struct overrides *);
int overrides_store(struct queued *);
void overrides_stored(struct queued *);

/* All that a consumer acts on, after its WELCOME. */
void overrides_tell(struct queued *, struct client *);

/* Makes one, or changes the one that the same maker made of the same kind for the same scope (and setting). `o` is
 * taken over; expires is of the queue's clock. is_rule: never shortens, counts a hit, puts a raised limit back to its
 * first value. NULL and a malloced sentence if there are too many. */
struct effect *overrides_put(struct queued *, struct override *o, bool is_rule, char **err_r);
struct effect *overrides_find(struct overrides *, uint64_t id);
/* Ends it; why: "cancelled by root", "expired". */
void overrides_end(struct queued *, struct effect **, const char *why);
/* Something of it was changed in place (a limit raised). */
void overrides_changed(struct queued *, struct effect *);
uint64_t overrides_count(const struct overrides *, bool is_dry_run);
void overrides_json(struct queued *, const struct effect *, struct json *);

/* overrides_hold.c: the effects on queues. */
struct squeue;
void overrides_link(struct queued *, struct effect *);   /* it is in force */
void overrides_unlink(struct queued *, struct effect *); /* no longer */
void overrides_forget(struct overrides *, struct effect *); /* likewise, without consequences */
void overrides_look(struct queued *, struct squeue *);   /* sets its held_by */
void overrides_rerouted(struct queued *);                /* queues may be of other pools now */
/* "suspended by override 12: ...", malloced; NULL: not suspended. */
char *overrides_why(struct queued *, const struct squeue *) __attribute__((warn_unused_result));
/* A new envelope: true if it was bounced. Says so in the log if it will wait. */
bool overrides_intake(struct queued *, struct qenv *);
/* Given back without an attempt: true if it waits because of a suspension of its queue. */
bool overrides_returned(struct queued *, struct qenv *);
/* Why mail that was given back may wait, for people: which path it takes is not known here. malloced; NULL: none that
 * it could take has an override. */
char *overrides_path_why(struct queued *, const struct squeue *) __attribute__((warn_unused_result));
/* One of a path has ended or changed: what waits because of one is offered again. */
void overrides_path_released(struct overrides *, const struct override_scope *);
/* Whether that has happened since it was offered: deliverd did not know of it then. */
bool overrides_path_ended(const struct overrides *, const struct qenv *);
/* Why what is bounced of this queue is; NULL: no BOUNCE covers it. */
const char *overrides_bounce_reason(struct queued *, const struct squeue *);
/* The strictest rate that the overrides say for a queue's tenant or campaign: true if there is one. */
bool overrides_queue_rate(struct overrides *, const char *setting, const struct override_target *, struct rate *);
void overrides_sweep_add(struct overrides *, uint64_t id, const struct override_scope *);
void overrides_sweeps_clear(struct overrides *);

#endif
