/* Events of policy with objects (a message, a connection) and with questions to name servers in them: those of smtpd,
 * and whatever else hands a message to Lua. The handler runs in a Lua thread that the host made; when it asks a name
 * server the thread waits, everything else of the process goes on, and the host hears later.
 *
 * What the objects show is plain data of the host's, below: Lua changes it in place and notes what it changed. An
 * object is good during its event only; using it afterwards is an error in policy. */
#ifndef MAIL_POLICY_CALL_H
#define MAIL_POLICY_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "base/wire.h"
#include "mail/authres.h"
#include "mail/dns_client.h"
#include "mail/envelope.h"
#include "mail/policy.h"

/* The keys of conn_meta that the host answers. */
enum policy_conn_key {
	CONN_RECEIVED_FROM,
	CONN_RECEIVED_VIA,
	CONN_HOSTNAME,
	CONN_EHLO_DOMAIN,
	CONN_AUTHN_ID,
	CONN_AUTHZ_ID,
	CONN_TLS_CIPHER,
	CONN_TLS_PROTOCOL_VERSION,
	CONN_RECEPTION_PROTOCOL,
	CONN_KEYS
};
extern const char *const policy_conn_keys[CONN_KEYS + 1];

struct policy_conn {
	/* In buf, or elsewhere; NULL: there is none. */
	const char *(*get)(void *arg, enum policy_conn_key, char *buf, size_t size);
	void *arg;
	struct meta *meta; /* what policy has set: as long as the connection */
	uint32_t n_meta;
};

/* What policy has set, or NULL. */
const char *policy_conn_meta(const struct policy_conn *, const char *key);
void policy_conn_clear(struct policy_conn *);

struct arc_order; /* arc.h */

enum {
	POLICY_MSG_SENDER = 1 << 0,
	POLICY_MSG_RCPTS = 1 << 1,
	POLICY_MSG_QUEUE = 1 << 2, /* tenant, campaign, queue, routing domain */
	POLICY_MSG_META = 1 << 3,
	POLICY_MSG_SCHEDULE = 1 << 4,
	POLICY_MSG_HEAD = 1 << 5   /* `head` is another now */
};

#define POLICY_SIGNERS_MAX 8

struct policy_msg {
	struct envelope *env;   /* the host's; changed in place */
	const char *head;       /* header block, its blank line included if there is one; NULL: not to be had here */
	size_t head_len;
	const uint8_t *body;    /* NULL: not in memory */
	size_t body_len;
	bool is_queued;         /* accepted long since: its sender and its schedule are fixed */
	bool is_utf8;           /* addresses and header may be UTF-8 */
	uint32_t max_rcpts;     /* for set_recipient; 0: recipients are fixed */
	uint16_t num_attempts;
	int64_t now;            /* wall ms */
	/* Replaces all content; head, head_len, body and body_len are the new ones afterwards. NULL: not to be had
	 * here. 0, or -1 and a sentence (static). */
	int (*set_data)(void *arg, const char *p, size_t len, const char **err_r);
	void *arg;
	const struct auth_results *auth; /* of the message as it came; NULL: not looked at */
	/* Lua's */
	unsigned changed;       /* POLICY_MSG_* */
	struct wbuf edited, scratch;
	char *routing_domain;   /* policy_msg_settle() makes a queue name of it */
	struct dkim_signer *signers[POLICY_SIGNERS_MAX]; /* the message is to be signed by them; references */
	size_t n_signers;
	struct auth_arc arc;    /* of the message as it came; result 0: nobody has asked */
	struct arc_order *seal; /* the ARC set that the message is to have; NULL: none */
};

/* After the event: makes env->queue of a routing domain. */
void policy_msg_settle(struct policy_msg *);
void policy_msg_clear(struct policy_msg *);
/* Renders the queue a recipient goes to: env->queue, or of its parts. domain: the recipient's. */
void policy_msg_queue_name(const struct policy_msg *, const char *domain, char *out, size_t size);

enum policy_call_id {
	POLICY_ON_CONNECT,  /* conn */
	POLICY_ON_EHLO,     /* domain, conn */
	POLICY_ON_AUTH,     /* authz, authc, password, conn */
	POLICY_ON_MAIL,     /* address, conn */
	POLICY_ON_RCPT,     /* address, conn */
	POLICY_ON_MESSAGE,  /* msg, conn: the last of smtpd's */
	POLICY_ON_REQUEUE,  /* msg, response, insert_context, increment_attempts, delay; queued's, as the next */
	POLICY_ON_REBIND,   /* msg, data */
	POLICY_CALLS
};

enum policy_outcome {
	POLICY_PASSED,  /* went to its end, or there is no handler */
	POLICY_REJECTED,/* kumo.reject, kumo.disconnect: `line` is the reply */
	POLICY_FAILED   /* an error, logged: `line` is the reply */
};

#define POLICY_LINE_MAX 512

struct policy_verdict {
	enum policy_outcome outcome;
	bool is_last;   /* the connection ends with it */
	int8_t answer;  /* POLICY_ON_AUTH: 1 true, 0 false, -1 nothing said */
	char line[POLICY_LINE_MAX]; /* "550 5.7.1 text" without a line end */
};

struct policy_call {
	enum policy_call_id id;
	const char *text[3];      /* domain, address; authz, authc, password; response, insert context */
	double delay;             /* POLICY_ON_REQUEUE: seconds until the next attempt */
	const struct meta *data;  /* POLICY_ON_REBIND */
	uint32_t n_data;
	struct policy_conn *conn;
	struct policy_msg *msg;
};

struct policy_task;
/* The verdict is valid during the call; the task is gone. */
typedef void policy_task_fn(const struct policy_verdict *, void *arg);

/* Where events that wait live; dns may be NULL (then every question is answered with an error). question_ms: for one
 * answer. */
void policy_set_host(struct policy *, struct loop *, struct dns_client *dns, int64_t question_ms);
/* Who checks SPF, DKIM and ARC for events. The functions return the open request (NULL: not now), fn is called later,
 * never before; cancel forgets it. message: policy_msg.arg. */
typedef void policy_auth_fn(const struct auth_results *, void *arg);
struct policy_auth_query {
	const char *client, *helo, *sender; /* sender "": the HELO name is asked about */
};
struct policy_auth_ops {
	void *(*spf)(void *host, const struct policy_auth_query *, policy_auth_fn *, void *arg);
	void *(*dkim)(void *host, void *message, policy_auth_fn *, void *arg);
	void *(*arc)(void *host, void *message, policy_auth_fn *, void *arg);
	void (*cancel)(void *host, void *request);
};
void policy_set_auth(struct policy *, const struct policy_auth_ops *, void *host);
bool policy_answers(const struct policy *, enum policy_call_id);
/* Whether there is a handler for any of smtpd's. */
bool policy_answers_any(const struct policy *);
/* NULL: the event is over, *v says how. Otherwise it waits, what `call` points to must stay, and fn is called later,
 * never before this returns. */
struct policy_task *policy_call(struct policy *, const struct policy_call *call, struct policy_verdict *v,
    policy_task_fn *fn, void *arg) __attribute__((warn_unused_result));
/* The session has ended: forgets the event. */
void policy_cancel(struct policy_task **);

#endif
