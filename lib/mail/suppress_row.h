/* A row of the suppression list: what is suppressed, for whom, why, since when; and how it is written. One row for each
 * address (or domain) and scope.
 *
 * Comparison: a domain in lower case as A-labels (mail/idna.h); a local part without regard to the case of ASCII
 * letters, though RFC 5321 would let a host tell Bob from bob: nobody does, and one who bounced or complained as
 * Bob@example.com does not want mail as bob@example.com either. Nothing else is taken to be the same: neither dots nor
 * "+tag" are, since what they mean is the receiver's affair. A domain's row is of that domain, not of those below it.
 *
 * Key: domain NUL local-part NUL scope (an octet) value-of-the-scope; a domain's row has no local part. Rows of a
 * domain are neighbours, and so are those of an address. A key that begins with NUL is the store's own
 * (suppress_store.h). */
#ifndef MAIL_SUPPRESS_ROW_H
#define MAIL_SUPPRESS_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "mail/address.h"
#include "mail/suppress_request.h"

#define SUPPRESS_KEY_MAX 511    /* LMDB's */
#define SUPPRESS_ADDRESS_MAX 254 /* octets: what fits into a path of RFC 5321, and with any scope into a key */
#define SUPPRESS_VALUE_MAX 1400 /* a row stays in its page */
#define SUPPRESS_SOURCE_MAX 64

struct suppress_key {
	uint8_t b[SUPPRESS_KEY_MAX];
	size_t len;
};

struct suppress_row {
	struct suppress_request r; /* without threshold: it is past it. Address and scope value as they are compared */
	int64_t added;             /* wall ms */
	char *source;              /* what was imported: "mailgun"; NULL */
};

/* The form in which it is compared, of an address or of a domain ("example.net", "@example.net"). 0; -1 and a static
 * sentence. */
int suppress_target(const char *text, char out[ADDRESS_MAX], const char **err_r) __attribute__((warn_unused_result));
/* The same of a scope's value (NULL: global); out of 254 octets. */
int suppress_scope_value(unsigned scope, const char *text, char out[ADDRESS_MAX], const char **err_r)
    __attribute__((warn_unused_result));
/* Of texts in the form in which they are compared. The prefix that all rows of the target begin with. */
void suppress_key_prefix(struct suppress_key *, const char *target);
void suppress_key_scope(struct suppress_key *, unsigned scope, const char *value);

/* Normalises r.address and r.scope_value in place, and cuts texts that are too long. 0; -1 and a static sentence. */
int suppress_row_settle(struct suppress_row *, const char **err_r) __attribute__((warn_unused_result));
void suppress_row_encode(const struct suppress_row *, struct suppress_key *, struct wbuf *);
/* 0, or -1 if malformed: then nothing is left to free. */
int suppress_row_decode(const void *key, size_t keylen, const void *value, size_t len, struct suppress_row *)
    __attribute__((warn_unused_result));
/* 0: never. Without decoding the rest; -1 if malformed. */
int64_t suppress_row_expires(const void *value, size_t len);
void suppress_row_clear(struct suppress_row *);
/* {"address":...}: one object, its members only if json is inside of one already (name NULL: at the top). */
void suppress_row_json(const struct suppress_row *, struct json *);
/* "suppressed: hard-bounce (rcpt_unknown) since 2026-05-03T10:11:12Z, scope tenant acme, message 0123..., note":
 * malloced; for people. */
char *suppress_row_text(const struct suppress_row *) __attribute__((warn_unused_result));

unsigned suppress_word(const char *const *names, unsigned n, const char *word); /* 0: none */

#endif
