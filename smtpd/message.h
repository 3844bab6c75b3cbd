/* A received message on its way to the spool: what is written (body, headers, envelope) and what became of it. */
#ifndef SMTPD_MESSAGE_H
#define SMTPD_MESSAGE_H

#include <stdbool.h>
#include <bsd/sys/queue.h>

#include "mail/envelope.h"
#include "mail/params.h"
#include "mail/queue_link.h"
#include "mail/record.h"
#include "mail/token.h"

#include "smtpd/content.h"
#include "smtpd/user.h"

struct large;
struct message;

enum message_result {
	MESSAGE_DURABLE,
	MESSAGE_NO_SPACE, /* 452 4.3.1 */
	MESSAGE_BROKEN,   /* 451 4.3.0: the storage failed */
	MESSAGE_WAITED    /* 451 4.3.0: no segment came in time */
};
typedef void message_done_fn(struct message *, enum message_result, void *arg);

struct message {
	TAILQ_ENTRY(message) entry;
	struct record rec;
	struct wbuf body, head, env;
	struct envelope *envelope;
	struct large *large; /* the body, but for what is in `body`, is in a segment of its own already; owned */
	uint8_t fixed[RECORD_HDR];
	int64_t give_up;     /* loop_now() when waiting for a segment ends */
	bool is_waiting;
	message_done_fn *done;
	void *arg;
};
TAILQ_HEAD(message_list, message);

/* Facts of the session that the trace header, the envelope and the decisions need. Borrowed for the call. */
struct message_context {
	const struct params *params;
	const struct user *user;     /* NULL: not authenticated */
	bool is_trusted;             /* mynetworks or authenticated: an origin, not a relay */
	bool is_utf8;                /* SMTPUTF8 was declared */
	const char *helo;
	const char *client;          /* address, text */
	bool is_ipv6;
	const char *protocol;        /* "ESMTPSA" */
	const char *tls_version, *tls_cipher; /* NULL without TLS */
	const char *session;
	const struct token_signer *token; /* NULL: not known yet */
	int64_t now;                 /* wall ms */
};

/* Makes the message out of the content and the envelope of a transaction; takes both over (content is left empty, *ep
 * NULL). NULL and a whole reply in *reply_r (static) if it must be refused; *ep is kept then. */
struct message *message_new(const struct message_context *, struct content *, struct envelope **ep,
    const char **reply_r);
/* With a `large` still attached: a broken invariant (spool_cancel() first). */
void message_free(struct message **);
/* Octets on the wire. */
uint64_t message_content_len(const struct message *);

#endif
