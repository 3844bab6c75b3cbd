/* The session as its own files see it: session.c (life, events, dispatch), reply.c, transaction.c and the verbs in
 * cmd_*.c. */
#ifndef SMTPD_SESSION_PRIVATE_H
#define SMTPD_SESSION_PRIVATE_H

#include <bsd/sys/tree.h>

#include "base/io.h"
#include "mail/address.h"
#include "mail/policy_call.h"

#include "smtpd/content.h"
#include "smtpd/message.h"
#include "smtpd/session.h"
#include "smtpd/sign.h"

/* Which step function looks at the input. Lines are read in COMMAND and AUTH only, content in DATA and BDAT only. */
enum session_state {
	ST_GREETING,  /* the banner is not out yet (no segment, or TLS from the start) */
	ST_HANDSHAKE, /* nothing is read but by TLS */
	ST_COMMAND,
	ST_AUTH,      /* the answer to a 334 */
	ST_DATA,
	ST_BDAT,      /* octets of a chunk */
	ST_STATES
};

/* Why the session does not look at its input now. */
enum session_wait {
	WAIT_NONE,
	WAIT_AUTH,    /* the helper's answer */
	WAIT_POLICY,  /* an event that asks name servers */
	WAIT_SIGN,    /* the message is being signed */
	WAIT_COMMIT,  /* the message is in the spool's hands */
	WAIT_LARGE,   /* a segment for a large body */
	WAIT_FLOW,    /* queued holds new mail back */
	WAIT_RATE,    /* the user's rate */
	WAIT_PENALTY, /* too many errors: a second's pause */
	WAIT_OUTPUT,  /* the client does not read its replies */
	WAIT_CHECK    /* who sent the message is being looked at */
};

enum auth_step { AUTH_STEP_PLAIN, AUTH_STEP_NAME, AUTH_STEP_PASSWORD };

struct tx_rcpt {
	RB_ENTRY(tx_rcpt) entry;
	const char *address; /* the envelope's */
};
RB_HEAD(tx_rcpt_tree, tx_rcpt);

typedef void event_then_fn(struct session *, const struct policy_verdict *);

/* A recipient that policy is asked about. */
struct rcpt_asked {
	char *address, *orcpt;
	uint8_t notify;
};

/* Credentials that policy is asked about. */
struct auth_asked {
	char *authz, *name, *password;
};

struct draft;

/* A mail transaction. tx_reset() is the only way out of one. */
struct tx {
	struct envelope *env;        /* NULL: no MAIL yet */
	struct tx_rcpt_tree rcpts;
	uint32_t n_refused;          /* RCPTs that were refused */
	uint32_t n_suppressed;       /* of these, as no mistake of the client's */
	uint32_t n_over;             /* RCPTs beyond the limit */
	bool has_rate;               /* a message was taken of the user's rate and is not accepted yet */
	bool is_utf8;                /* SMTPUTF8 declared */
	bool has_content;            /* DATA or BDAT has begun: content is in use */
	bool is_bdat, is_bdat_last, is_bdat_failed;
	uint64_t chunk_left;         /* octets of the current chunk still to come */
	const char *chunk_reply;     /* whole reply due after the chunk; NULL: judge by content */
	int64_t data_start;          /* loop_now() */
	uint64_t data_octets;
	size_t counted;              /* of this content in worker.content_bytes */
	struct content content;
	struct large *large;
	struct rcpt_asked asked;     /* while policy is asked */
	struct draft *draft;         /* while policy sees the message */
	struct sign_bodies bodies;   /* of what went to `large` */
	struct message *unsigned_message;
	struct signing *signing;     /* of that one */
	struct message *message;     /* in the spool's hands */
	struct verification *verification; /* under way */
	struct auth_results *auth;   /* what it said; NULL: nothing */
	struct wbuf auth_field;      /* the same for readers */
};

struct session {
	TAILQ_ENTRY(session) entry;
	struct worker *worker;
	struct io *io;
	struct timer pause;          /* WAIT_RATE, WAIT_PENALTY, WAIT_FLOW's end */
	enum listener_kind kind;
	enum session_state state;
	enum session_wait wait;
	bool is_dead;                /* to be freed at the end of the entry point */
	bool is_eof;
	bool is_counted;
	bool is_esmtp;
	bool is_authenticated;
	bool is_mynetworks;          /* the client address is in mynetworks */
	bool may_xclient;            /* the connecting address is listed */
	char session_id[37];
	char client[46];
	struct sockaddr_storage peer;
	char *helo;                  /* NULL: no HELO yet */
	struct user user;            /* if is_authenticated */
	unsigned errors, junk, messages;
	unsigned auth_failures;
	uint8_t auth_last[16];       /* digest of the last refused credentials */
	bool has_auth_last;
	enum auth_step auth_step;
	char *auth_name;             /* between the two steps of LOGIN, and while the helper checks */
	struct auth_request *auth_request;
	struct auth_asked auth_asked;
	char *authz;                 /* for whom the user acts, if policy allowed it; NULL: for itself */
	struct policy_conn conn;     /* what policy knows of the connection */
	struct policy_task *task;    /* WAIT_POLICY */
	event_then_fn *then;         /* and what comes after it */
	char *then_command;
	int64_t hold_since;          /* loop_now() when this command began to wait; 0: it does not */
	int64_t since;               /* loop_now() when state or wait changed last */
	const char *command;         /* for the event log: what is being answered */
	struct tx tx;
};

/* session.c */
void session_set_state(struct session *, enum session_state);
void session_set_wait(struct session *, enum session_wait);
/* Sends what is pending and ends the session (at the end of the entry point). */
void session_drop(struct session *);
void session_pause(struct session *, enum session_wait, int64_t ms);
int64_t session_command_timeout(const struct session *);
/* After an answer that came from elsewhere: go on with the input. */
void session_continue(struct session *);
bool session_is_trusted(const struct session *);
bool session_is_submission(const struct session *);
const char *session_protocol(const struct session *);
/* Forgets what the client said, as after STARTTLS and XCLIENT. */
void session_forget(struct session *);
/* Asks policy about the connection, then the banner. */
void session_greet(struct session *);
/* Ends an entry point: frees the session if it is dead. */
void session_settle(struct session *);

/* reply.c */
/* A reply line of ours, "550 5.1.1 No such user", into its parts, which point into it. */
void reply_to_event(const char *line, struct event_record *);
void reply_plain(struct session *, const char *line); /* "250 2.0.0 Ok", CRLF is added; may hold several lines */
void reply_fmt(struct session *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* An error reply: Rejection event, error count, penalty. rcpt: NULL or the recipient it is about. */
void reply_reject(struct session *, enum phase, const char *rcpt, const char *line);
/* A recipient that is suppressed: refused and recorded as that, but no mistake of the client's. */
void reply_suppressed(struct session *, const char *rcpt, const char *line);
void reply_reject_fmt(struct session *, enum phase, const char *rcpt, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The same, and the connection ends. */
void reply_drop(struct session *, enum phase, const char *line);
/* A useless command: counted. False: that was too much, the session ends. */
bool reply_junk(struct session *);
void reply_reception(struct session *, const struct message *, const char *reply_text);

/* transaction.c */
void tx_init(struct tx *);
void tx_reset(struct session *);
/* false: a duplicate, nothing was added. */
bool tx_add_rcpt(struct session *, const char *address, const char *orcpt, uint8_t notify);
void tx_asked_clear(struct tx *);
/* Before MAIL: takes one of the user's rate. 0, or how long to wait (ms). */
int64_t tx_take_rate(struct session *);
void tx_content_begin(struct session *);
/* Moves a big body to its segment. False: the session waits for one. */
bool tx_stream(struct session *);
/* All content is there: hands the message to the spool or refuses it; the transaction is over in either case. */
void tx_finish(struct session *);
/* A segment may have come for a session in WAIT_LARGE. */
void tx_retry_large(struct session *);

/* The verbs. Each is called with the text behind the verb, without leading space; s->worker->line is the whole line. */
typedef void cmd_fn(struct session *, const char *args);
cmd_fn cmd_helo, cmd_ehlo, cmd_mail, cmd_rcpt, cmd_data, cmd_bdat, cmd_rset, cmd_noop, cmd_quit, cmd_vrfy, cmd_expn,
    cmd_help,
    cmd_auth, cmd_starttls, cmd_xclient;

/* Steps: false when there is nothing more to do with the input at hand. */
bool command_step(struct session *);
bool auth_step(struct session *);
bool data_step(struct session *);
bool bdat_step(struct session *);
/* The DATA phase goes too slowly or takes too long: the session was dropped. */
bool data_is_too_slow(struct session *);
void auth_timeout(struct session *);
void auth_asked_clear(struct session *);

#endif
