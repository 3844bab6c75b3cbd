/* A request to put an address on the suppression list: what queued (bounces), fblproc (complaints) and bouncerd
 * (bounces that came as mail) have to say to the list's only writer, which is bouncerd. One encoding, for frames
 * (QL_SUPPRESS) and for the rows of queued's outbox. Applying a request twice is the same as once. */
#ifndef MAIL_SUPPRESS_REQUEST_H
#define MAIL_SUPPRESS_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/wire.h"
#include "mail/codec.h"
#include "mail/msgid.h"

enum suppress_scope { SUPPRESS_GLOBAL = 1, SUPPRESS_TENANT, SUPPRESS_SENDER_DOMAIN, SUPPRESS_SCOPES };
enum suppress_reason { SUPPRESS_HARD_BOUNCE = 1, SUPPRESS_COMPLAINT, SUPPRESS_UNSUBSCRIBE, SUPPRESS_MANUAL,
	SUPPRESS_IMPORTED, SUPPRESS_REASONS };
enum suppress_origin { SUPPRESS_BY_REPLY = 1, SUPPRESS_BY_BOUNCE_MAIL, SUPPRESS_BY_REPORT, SUPPRESS_BY_ADMIN,
	SUPPRESS_ORIGINS };

/* "global", "tenant", "sender-domain"; "hard-bounce", "complaint", "unsubscribe", "manual", "imported"; "reply",
 * "bounce-mail", "report", "admin". [0]: "unknown". */
extern const char *const suppress_scope_names[SUPPRESS_SCOPES];
extern const char *const suppress_reason_names[SUPPRESS_REASONS];
extern const char *const suppress_origin_names[SUPPRESS_ORIGINS];

#define SUPPRESS_NOTE_MAX 1024
#define SUPPRESS_THRESHOLD_MAX 100

struct suppress_request {
	char *address;       /* "user@domain", or a whole domain: "example.net" */
	uint8_t scope;
	char *scope_value;   /* the tenant or the sender's domain; NULL if and only if the scope is global */
	uint8_t reason;
	uint8_t origin;
	char *class;         /* of the bounce or the report: "InvalidRecipient"; NULL */
	char *cause;         /* "rcpt_unknown"; NULL */
	char *note;          /* the evidence: the reply, who reported; NULL */
	struct msgid event;  /* the message that it is about; zeros: none */
	int64_t when;        /* of the event, wall ms */
	int64_t expires;     /* of the entry, wall ms; 0: never */
	/* A request that is one of several: the entry is made by the threshold-th of them (each of another event) about
	 * this address, scope and cause within `within` ms, and only if the first is at least `spread` ms older. 0, 1:
	 * at once. */
	uint16_t threshold;
	int64_t within, spread;
};

/* Never 0; the same for the same address, scope, reason, cause and event: tells a request that is said again (after a
 * crash of either side) from another one. */
uint64_t suppress_request_serial(const struct suppress_request *);
/* What is there but makes no sense (no address, no value of its scope, an expiry before the event): NULL, or a sentence
 * (static). What this calls wrong is refused by the decoder. */
const char *suppress_request_check(const struct suppress_request *);
void suppress_request_encode(const struct suppress_request *, struct wbuf *);
/* 0, or -1 if malformed: then nothing is left to free. The reader must end with the request. */
int suppress_request_decode(struct rbuf *, struct suppress_request *) __attribute__((warn_unused_result));
void suppress_request_clear(struct suppress_request *);

/* The frame QL_SUPPRESS: a number of whoever says it, which QL_SUPPRESSED names, then the request. */
void ql_suppress_encode(uint64_t number, const struct suppress_request *, struct wbuf *);
int ql_suppress_decode(struct rbuf *, uint64_t *number, struct suppress_request *)
    __attribute__((warn_unused_result));
#define QL_MAX_SUPPRESS 4096u

#endif
