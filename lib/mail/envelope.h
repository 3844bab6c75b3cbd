/* The envelope of a message, as it stands in a spool record and in the notice that smtpd sends to queued: one
 * encoding, one decoder, which validates (no CR, LF, NUL; lengths; counts). */
#ifndef MAIL_ENVELOPE_H
#define MAIL_ENVELOPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/wire.h"
#include "mail/msgid.h"

#define ENVELOPE_MAX_RCPTS 65535
#define ENVELOPE_MAX_BYTES (32u << 20)
#define META_MAX 72
#define META_POLICY_MAX 64 /* of them policy's; keys of our own begin with '@' */

/* RFC 3461 NOTIFY */
enum { NOTIFY_DEFAULT = 0, NOTIFY_NEVER = 1, NOTIFY_SUCCESS = 2, NOTIFY_FAILURE = 4, NOTIFY_DELAY = 8 };
enum { RET_DEFAULT = 0, RET_FULL = 1, RET_HDRS = 2 };
/* What the message needs of the next hop, and facts that save work. */
enum {
	MSG_8BIT = 1 << 0,      /* content has octets over 127 */
	MSG_SMTPUTF8 = 1 << 1,  /* declared, and needed: an address or the header block is not ASCII */
	MSG_HAS_DOTS = 1 << 2,  /* some line begins with '.', so DATA must stuff */
	MSG_NO_EOL = 1 << 3,    /* unused on the wire: content that came by BDAT without a final CRLF got one */
	MSG_LARGE = 1 << 4,     /* alone in its segment */
	MSG_GENERATED = 1 << 5  /* written by us (DSN) */
};

struct rcpt {
	char *address;
	char *orcpt;    /* decoded "rfc822;a@b", NULL if none */
	uint8_t notify;
};

struct meta {
	char *key;
	char *value;
};

struct envelope {
	struct msgid id;
	int64_t received; /* wall ms */
	char *sender;     /* "" is the null reverse-path */
	char *envid;      /* RFC 3461, decoded; NULL */
	uint8_t ret;
	uint32_t flags;   /* MSG_* */
	char *tenant;     /* NULL if none */
	char *campaign;
	char *queue;      /* set_meta('queue'): overrides the queue name; NULL */
	char *auth_user;  /* NULL */
	char *client;     /* address of the client, text */
	char *helo;
	char *session;    /* session_id of the Reception */
	char *message_id; /* value of the Message-ID header, NULL if none */
	struct rcpt *rcpts;
	uint32_t n_rcpts;
	struct meta *meta; /* further meta keys of policy */
	uint32_t n_meta;
	int64_t first_attempt; /* wall ms; not before (X-Schedule); 0: at once */
	int64_t expires;       /* wall ms, in place of the queue's max_age; 0: not said */
};

struct envelope *envelope_new(void);
void envelope_free(struct envelope **);
void envelope_add_rcpt(struct envelope *, const char *address, const char *orcpt, uint8_t notify);
void envelope_set_meta(struct envelope *, const char *key, const char *value);
void envelope_encode(const struct envelope *, struct wbuf *);
/* NULL and *err_r (static) if malformed. The caller frees. */
struct envelope *envelope_decode(const void *, size_t, const char **err_r) __attribute__((warn_unused_result));

#endif
