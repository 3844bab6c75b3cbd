/* A received message on its way to the spool: what is written (body, headers, envelope) and what became of it. */
#ifndef SMTPD_MESSAGE_H
#define SMTPD_MESSAGE_H

#include <stdbool.h>
#include <bsd/sys/queue.h>

#include "mail/envelope.h"
#include "mail/params.h"
#include "mail/policy_call.h"
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
	struct wbuf body, head;
	struct wbuf env;     /* encoded by message_seal() */
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
	const struct wbuf *auth;     /* a whole Authentication-Results field, or empty; NULL: none */
	const struct policy *policy;      /* NULL: none */
	int64_t now;                 /* wall ms */
};

/* A message in the making, while policy sees it: envelope and header block are there, trace fields are not. */
struct draft *draft_new(void);
void draft_free(struct draft **);
/* 0, or -1 and a whole reply in *reply_r (valid until the next call) if the message must be refused. msg shows content
 * and envelope, which stay the caller's. */
int draft_begin(struct draft *, const struct message_context *, struct content *, struct envelope *,
    const char **reply_r)
    __attribute__((warn_unused_result));
struct policy_msg *draft_msg(struct draft *);
/* The content is another now: msg shows that. */
void draft_content(struct draft *, const struct content *);
/* Makes the message of it, with what policy changed; takes content and envelope over. NULL and a reply as above; *ep is
 * kept then. */
struct message *draft_end(struct draft *, const struct message_context *, struct content *, struct envelope **ep,
    const char **reply_r);

/* All of that at once. Makes the message out of the content and the envelope of a transaction; takes both over (content
 * is left empty, *ep NULL). NULL and a whole reply in *reply_r (valid until the next call) if it must be refused; *ep
 * is kept then. */
struct message *message_new(const struct message_context *, struct content *, struct envelope **ep,
    const char **reply_r);
/* With a `large` still attached: a broken invariant (spool_cancel() first). */
void message_free(struct message **);
/* The header block is final, signatures and all; the envelope is encoded now, as the spool takes it, on request with
 * what the header says of the author (mail/author.h). */
void message_seal(struct message *, bool note_author);
/* Octets on the wire. */
uint64_t message_content_len(const struct message *);

#endif
