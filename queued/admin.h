/* An operator's request while it is being answered: at most one for each connection, worked on in bounded steps. */
#ifndef QUEUED_ADMIN_H
#define QUEUED_ADMIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "queued/link.h"
#include "queued/message.h"

enum admin_action { ADMIN_OVERRIDES, ADMIN_LIST, ADMIN_SHOW, ADMIN_SUMMARY, ADMIN_HOLD, ADMIN_RELEASE,
    ADMIN_RETRY, ADMIN_BOUNCE, ADMIN_DELETE, ADMIN_REBIND };

struct admin_filter {
	char *domain, *tenant, *campaign, *recipient, *sender; /* NULL: any */
	struct msgid id;
	bool has_id;
	bool is_any; /* at least one is set */
};

struct admin_job {
	struct client *client;
	uint32_t request;
	enum admin_action action;
	struct admin_filter filter;
	char *reason;
	bool is_quiet, want_headers;
	struct rebind *rebind;
	unsigned overruns;   /* messages for which rebind_message used up its time */
	const char *refusal; /* how it ends; NULL: well */
	uint64_t limit;    /* rows; 0: none */
	uint64_t count, cancelling, failed;
	int64_t last_sent; /* loop_now of the last row */
	uint8_t cursor[ENV_KEY_LEN]; /* the envelope that was looked at last */
	bool has_cursor, is_waiting;
	/* A walk by queues (summary, and filters that name some): the last queue that was looked at, the one whose rows
	 * are being walked (0: none), and its last row. */
	uint8_t queue_cursor[4];
	bool has_queue_cursor;
	uint32_t queue;
	uint8_t queue_at[DUE_KEY_LEN];
	struct admin_tally {
		uint64_t due, deferred, counted;
		int64_t oldest, next;
	} tally;
	uint64_t last_override;
	struct json json;
};

/* What is known of an envelope, in memory or not. */
struct admin_view {
	uint8_t key[ENV_KEY_LEN];
	struct envid id;
	const struct qenv *e; /* NULL: only in the index */
	struct squeue *sq;
	struct message *msg;  /* referred to; NULL: unreadable segment */
	bool is_read; /* admin_view_read() was called */
	const char *unreadable; /* why msg->env is not there; NULL */
	int state;            /* enum env_state */
	uint16_t attempts, flags, code;
	int64_t due, expires;
	char text[FAIL_TEXT_MAX + 1];
};

void admin_send_json(struct admin_job *);
void admin_end(struct admin_job **, uint8_t status, const char *sentence);
/* admin_queue.c: 1 when it is done, 0 to be called again. */
int admin_queue_step(struct queued *, struct admin_job *);
int admin_summary_step(struct queued *, struct admin_job *);
/* admin_view.c */
bool admin_view_open(struct queued *, const uint8_t key[ENV_KEY_LEN], struct admin_view *);
/* Makes msg->env present, from the segment if need be: only for what is shown, or filtered by address. */
void admin_view_read(struct queued *, struct admin_view *);
void admin_view_close(struct queued *, struct admin_view *);
bool admin_filter_set(struct admin_filter *, const char *key, const char *value, bool *is_known_r);
void admin_filter_clear(struct admin_filter *);
bool admin_filter_match_queue(const struct admin_filter *, const struct squeue *);
bool admin_filter_has_queue(const struct admin_filter *); /* domain, tenant or campaign */
bool admin_filter_match(struct queued *, const struct admin_filter *, struct admin_view *);
void admin_view_json(struct queued *, const struct admin_view *, bool is_full, struct json *);
void admin_view_headers(struct queued *, const struct admin_view *, struct json *);
/* All requests, a step each; called on every turn. */
void admin_turn(struct queued *);
/* admin_override.c: the verbs override.* but for the list, which is worked on in steps. */
void admin_override(struct client *, uint32_t request, const struct ql_admin *);
int admin_overrides_step(struct queued *, struct admin_job *);
void admin_send_end(struct client *, uint32_t request, uint8_t status, const char *sentence);
/* admin_status.c */
void admin_status_json(struct queued *, struct json *);

#endif
