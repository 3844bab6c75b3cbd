/* One outbound SMTP connection of a path: it tries the addresses of its plan until one greets it, then carries one
 * transaction after the other. Three files: conn.c (transport, TLS, deadlines, which address), client.c (greeting to
 * AUTH, and the table of steps), client_tx.c (transactions). A connection belongs to its path; whoever gets
 * `false` back from a function here must not touch it again. */
#ifndef DELIVERD_CONN_H
#define DELIVERD_CONN_H

#include "base/io.h"
#include "deliverd/content.h"
#include "deliverd/plan.h"
#include "deliverd/tls_need.h"

enum step { STEP_CONNECT, STEP_BANNER, STEP_EHLO, STEP_HELO, STEP_STARTTLS, STEP_TLS, STEP_AUTH, STEP_QUIT, STEP_IDLE,
	STEP_RSET, STEP_MAIL, STEP_RCPT, STEP_DATA, STEP_BODY, STEP_DOT, STEPS };

enum { CAP_PIPELINING = 1, CAP_8BITMIME = 2, CAP_SMTPUTF8 = 4, CAP_SIZE = 8, CAP_DSN = 16, CAP_STARTTLS = 32,
    CAP_ENHANCED = 64, CAP_AUTH = 128, CAP_AUTH_PLAIN = 256 };

/* A transaction: one message for items[0..n), in the order of their RCPT commands. Items that have their result are
 * NULL. */
struct tx {
	struct item **items;
	unsigned n, size;
	unsigned next_rcpt; /* whose reply is due */
	unsigned n_left;    /* items without a result */
	unsigned n_taken;   /* recipients that the server took */
	size_t group_len;   /* of a pipelined group of commands */
	bool is_pipelined;
	bool is_written;    /* the peer may have heard of it */
	unsigned counted;   /* by this generation of the path's message rates; to be given back if it is not written */
	bool is_answered_early; /* the server spoke before it had all of the content */
	struct content *content; /* while it is being sent */
	int64_t started;         /* loop_now() */
};

struct conn {
	TAILQ_ENTRY(conn) path_link, all_link, path_idle_link, idle_link;
	struct path *path;
	struct net *net;
	struct io *io;
	struct plan *plan;
	unsigned at; /* in plan */
	enum step step;
	bool is_dialled;    /* some host heard of it */
	bool is_open;       /* greeted: counts as healthy */
	struct tls_need need; /* of this address */
	bool is_in_clear;   /* no STARTTLS with this address: its handshake failed */
	bool is_closing;    /* after this transaction */
	bool needs_rset;
	uint32_t caps;
	uint64_t peer_size; /* SIZE limit, 0: none said */
	unsigned n_tx;
	int64_t ready_at; /* loop_now(): it was connected and greeted */
	struct reply reply;
	struct tx tx;
	/* for events */
	char session[37];
	char source_text[56], peer_addr[46];
	const char *tls_version, *tls_cipher, *tls_verified;
	int64_t step_started;
	uint32_t connect_ms, tls_ms; /* of this connection; reported with its first transaction */
	/* the failure to get an open connection that is reported, copied, and where it happened */
	struct outcome failure;
	char *failure_text;
	unsigned failure_at;
	int connect_error;   /* errno of the last address that could not be connected to */
	char failure_source[56], failure_addr[46];
};

/* Starts connecting; takes over the plan. May fail at once, through path_round_failed() or source_out(). */
void conn_open(struct path *, struct plan *);
/* Politely (QUIT; it is gone when that is answered, and counts against the limits until then) or at once. Its items
 * must have been dealt with. */
void conn_close(struct conn **, bool is_polite);
void conn_set_step(struct conn *, enum step);
/* This address is no use: the next one. */
bool conn_next(struct conn *, const struct outcome *why);
/* The same address again, without TLS. */
bool conn_retry_in_clear(struct conn *, const char *why);
void conn_note_broken_tls(struct conn *);
/* The connection broke under a transaction; the same one goes to the next address, if there is one. */
bool conn_has_next(const struct conn *);
bool conn_go_on(struct conn *);
/* Greeted and ready for mail. */
bool conn_ready(struct conn *);
/* Nothing to do for now; closes it if its time is over. */
bool conn_idle(struct conn *);
void conn_leave_idle(struct conn *);
bool conn_starttls(struct conn *);
const struct mx_host *conn_host(const struct conn *);

/* client.c. All return false if the connection is gone. */
bool client_start(struct conn *);
bool client_input(struct conn *);
bool client_tls_ready(struct conn *);
/* The transport failed, or the deadline passed: what it means depends on the step. */
bool client_lost(struct conn *, const char *why, bool is_timeout);
/* The reply that was read last, as a failure. */
struct outcome client_reply_outcome(const struct conn *, const char *command);
/* What a step is called and how long its reply may take. */
struct step_def {
	enum phase phase;
	enum path_timeout timeout;
	const char *waits_for;
	bool (*on_reply)(struct conn *);
};
extern const struct step_def client_steps[STEPS];

/* client_tx.c */
/* Takes items from the path's ready queue and begins. False if there was nothing that could be sent here. */
bool client_tx_begin(struct conn *);
bool client_on_rset(struct conn *);
bool client_on_mail(struct conn *);
bool client_on_rcpt(struct conn *);
bool client_on_data(struct conn *);
bool client_on_body(struct conn *); /* a reply before the content was finished */
bool client_on_dot(struct conn *);
bool client_body_drained(struct conn *);
bool client_tx_lost(struct conn *, const char *why, bool is_timeout);
/* All items of the transaction that have no result yet get this one. */
void client_tx_settle(struct conn *, const struct outcome *);
/* The role stops: hands the items back and closes, unless their content is under way. */
bool client_tx_abandon(struct conn *);
void client_tx_clear(struct conn *);
/* Whether return paths of this sender are to name the recipient (VERP), and with which domain. NULL: no. The null
 * sender stays what it is. */
const struct policy_sender_domain *client_verp_of(const struct net *, const char *sender);

#endif
