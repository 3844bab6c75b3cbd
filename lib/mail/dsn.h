/* Delivery status notifications that we write: RFC 3461 (what was asked for), 3462/6522 (multipart/report), 3464
 * (fields), 6533 (SMTPUTF8). Builds content only; the caller gives it to the queue as a message with null sender. */
#ifndef MAIL_DSN_H
#define MAIL_DSN_H

#include "base/wire.h"
#include "mail/envelope.h"
#include "mail/reply.h"

enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_DELIVERED, DSN_RELAYED };

struct dsn_rcpt {
	const char *address;
	const char *orcpt; /* NULL */
	enum dsn_action action;
	struct enhanced_code status;
	const char *remote_mta; /* NULL */
	const char *diagnostic; /* the peer's reply, "550 5.1.1 text"; NULL */
	const char *hint;       /* what it means, for programs that know words only: a comment behind it; NULL */
	bool is_local;          /* the text is ours: no Diagnostic-Code "smtp;" */
	int64_t last_attempt;   /* wall ms */
	int64_t will_retry_until;/* wall ms, 0 */
};

struct dsn {
	const struct msgid *id; /* of the DSN */
	const char *reporting_mta; /* myhostname */
	const struct envelope *about;  /* its sender is not "": nobody answers the null sender */
	const struct dsn_rcpt *rcpts;
	unsigned n_rcpts;
	struct slice headers; /* of the original */
	struct slice body;    /* of the original; empty unless RET=FULL and small enough */
	int64_t now;
};

/* Whether RFC 3461 NOTIFY (and the default) asks for this action. */
bool dsn_wanted(uint8_t notify, enum dsn_action);
/* Appends the header block to *headers_r (blank line included) and the body to *body_r. */
void dsn_build(const struct dsn *, struct wbuf *headers_r, struct wbuf *body_r);

#endif
