/* What is in memory of a message (shared by its recipients) and of one recipient: the envelope. An envelope is here
 * only while it is fresh, due within its queue's window, given to a consumer, or changed since the last commit. */
#ifndef QUEUED_MESSAGE_H
#define QUEUED_MESSAGE_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>

#include "mail/envelope.h"
#include "queued/store.h"

struct consumer_seg;
struct rebind;
struct rebound;
struct queued;
struct segment;
struct squeue;
struct notice;

struct message {
	UT_hash_handle hh;
	struct msgid id;
	struct segment *seg;
	struct record rec;
	bool has_rec;           /* rec was read (it is known by offset only until then) */
	struct envelope *env;   /* NULL: not read yet */
	uint32_t refs;
	TAILQ_ENTRY(message) lru; /* while refs is 0 */
	TAILQ_HEAD(notice_chain, notice) notices; /* DSN parts waiting to be written */
	TAILQ_ENTRY(message) noticed;
};

/* READY: due, in its queue's list. INFLIGHT: with a consumer. DEFERRED: has a due time; leaves memory with the next
 * commit. HELD: by an operator; likewise. DONE: finished; leaves memory at once, or with the commit that deletes
 * its rows. */
enum env_state { ENVELOPE_READY, ENVELOPE_INFLIGHT, ENVELOPE_DEFERRED, ENVELOPE_HELD, ENVELOPE_DONE };
extern const char *const env_state_names[];

/* What an operator asked for while the envelope was with a consumer. */
enum env_order { ORDER_NONE, ORDER_HOLD, ORDER_RETRY, ORDER_BOUNCE, ORDER_BOUNCE_QUIET, ORDER_DELETE, ORDER_REBIND };

struct qenv {
	UT_hash_handle hh;
	uint8_t key[ENV_KEY_LEN];
	uint16_t rcpt;
	uint16_t attempts;
	uint16_t flags;           /* ENV_* of the row */
	uint8_t state;            /* enum env_state */
	uint8_t order;            /* enum env_order */
	uint8_t returns;          /* in a row, soon after being offered */
	bool is_dirty, is_stored;
	bool is_overdue;          /* expired while in flight */
	uint8_t awaits_notice;    /* DSN parts about it that are not durable yet */
	struct message *msg;
	struct squeue *queue;
	struct squeue *stored_in;  /* where its rows are, while that is another queue; referred to */
	struct rebound *rebound;   /* NULL: as it was accepted */
	struct rebind *rebind;     /* with ORDER_REBIND: where to */
	struct consumer_seg *with; /* INFLIGHT */
	TAILQ_ENTRY(qenv) link;   /* in queue->ready or the consumer's list */
	TAILQ_ENTRY(qenv) dirty;
	int64_t due, expires;
	int64_t offered;          /* loop_now */
	int64_t born;             /* when it came, of the queue's clock; 0: not known, its expiry stays what it is */
	int64_t stored_due, stored_expires; /* what its rows say */
	bool stored_held;
	uint16_t code;            /* last failure */
	struct enhanced_code enhanced;
	char *text;               /* NULL: none yet */
};
TAILQ_HEAD(qenv_list, qenv);

struct memory {
	struct queued *q;
	struct message *messages;
	struct qenv *envelopes;
	TAILQ_HEAD(idle_list, message) idle; /* no references; kept a while */
	uint32_t n_idle;
	uint64_t idle_bytes;
	uint64_t n_envelopes, n_ready, n_inflight;
};

struct memory *memory_new(struct queued *);
void memory_free(struct memory **);

struct message *message_find(struct memory *, const struct msgid *);
/* A message object; env (may be NULL) is taken over. */
struct message *message_new(struct memory *, struct segment *, const struct record *, struct envelope *env);
/* By what a row says: from memory, or a new object whose record is read when needed. */
struct message *message_at(struct memory *, const struct msgid *, struct segment *, uint64_t offset);
void message_ref(struct memory *, struct message *);
void message_unref(struct memory *, struct message *);
/* Makes msg->env present. NULL and *err_r (static) if the record cannot be read. */
const struct envelope *message_envelope(struct memory *, struct message *, const char **err_r);
/* Drops idle objects that point to this segment. */
void message_drop_idle(struct memory *, const struct segment *);

struct qenv *qenv_find(struct memory *, const struct envid *);
struct qenv *qenv_find_key(struct memory *, const uint8_t key[ENV_KEY_LEN]);
/* A new envelope in state DEFERRED, in no list; refers to msg. */
struct qenv *qenv_new(struct memory *, struct message *, uint16_t rcpt, struct squeue *);
/* From the index, with message and queue found or made; NULL if it is not there or unreadable. */
struct qenv *qenv_load(struct memory *, const uint8_t key[ENV_KEY_LEN]);
/* Out of all lists but dirty, which must not hold it. */
void qenv_free(struct memory *, struct qenv **);
/* Leaves its present state's lists and counts and enters the other. */
void qenv_set_state(struct memory *, struct qenv *, enum env_state);
void qenv_set_failure(struct qenv *, uint16_t code, const struct enhanced_code *, const char *text);
void qenv_id(const struct qenv *, struct envid *);
/* Into another queue; not while it is in flight. Its rows follow with the commit. */
void qenv_move(struct memory *, struct qenv *, struct squeue *);
/* As it is now: the record's, or what an operator or policy made of it. They need msg->env. */
const char *qenv_tenant(const struct qenv *);
const char *qenv_campaign(const struct qenv *);
const struct meta *qenv_meta(const struct qenv *, uint32_t *n_r);
const char *qenv_address(const struct qenv *); /* its recipient; needs msg->env */

#endif
