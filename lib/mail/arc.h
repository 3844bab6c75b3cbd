/* ARC (RFC 8617): the sets that those who handled a message before have left in its header, and the set that we add.
 * Without keys, as mail/dkim.h: here is what is covered and in which form; signatures are made by whoever holds the
 * private key, and verified with arc_verify_hash(). */
#ifndef MAIL_ARC_H
#define MAIL_ARC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/wire.h"
#include "mail/dkim.h"

#define ARC_SETS_MAX 50         /* RFC 8617 section 4.2.1 */
#define ARC_FIELD_MAX (16u << 10) /* octets of one field of a set */
#define ARC_NAMES_MAX 256       /* names in h= */
#define ARC_SIGNATURE_MAX 1024  /* octets: RSA of 8192 bits */

/* Chain validation status, cv=. */
enum arc_cv { ARC_CV_NONE = 1, ARC_CV_PASS, ARC_CV_FAIL, ARC_CVS };
extern const char *const arc_cv_names[ARC_CVS];

/* What is to be verified: a seal, or the message signature of the newest set. */
struct arc_signature {
	char domain[DKIM_DOMAIN_MAX + 1], selector[DKIM_DOMAIN_MAX + 1];
	uint8_t algorithm;       /* enum dkim_algorithm */
	uint8_t hash[DKIM_HASH]; /* of what it covers */
	uint8_t signature[ARC_SIGNATURE_MAX];
	size_t len;
};

struct arc_chain {
	unsigned n;          /* sets; 0 without a problem: the message has none */
	unsigned highest;    /* instance that occurs anywhere, as far as it can be read: ours is the next */
	const char *problem; /* why the chain is broken whatever its signatures are (static); NULL: they decide */
	bool is_ended;       /* the newest set says cv=fail: nobody adds to it */
	struct arc_signature seals[ARC_SETS_MAX]; /* by instance, from 1 at 0 */
	struct arc_signature message; /* the newest message signature */
	uint8_t body;        /* enum dkim_canon: how it sees the body */
	uint8_t body_hash[DKIM_HASH]; /* what it says of the body */
};

/* Reads the sets in a header block: a stranger's octets. now: seconds. Nothing points into head afterwards. */
void arc_chain_read(struct arc_chain *, const char *head, size_t len, int64_t now);
/* Whether key, the text of a key record (RFC 6376 section 3.6.1), says that the signature is one of the hash. NULL: it
 * does; or why not (static). */
const char *arc_verify_hash(const struct arc_signature *, const char *key);

/* A set that is to be added to a message, when everything else about it is done. */
struct arc_order {
	struct dkim_signer *signer;
	unsigned instance;
	enum arc_cv cv;
	struct wbuf results; /* the whole ARC-Authentication-Results field */
};

struct arc_order *arc_order_new(struct dkim_signer *, unsigned instance, enum arc_cv);
void arc_order_free(struct arc_order **);
/* Appends the ARC-Message-Signature up to "b=", for dkim_field_end(), and computes what is to be signed, as
 * dkim_field_begin() does. */
int arc_message_begin(const struct arc_order *, enum dkim_algorithm, const char *selector, const char *head, size_t len,
    const uint8_t body_hash[DKIM_HASH], int64_t now, struct wbuf *field, uint8_t hash[DKIM_HASH])
    __attribute__((warn_unused_result));
/* The same of the ARC-Seal. message: the whole ARC-Message-Signature field. -1: the sets in head are not those that
 * the order is for. */
int arc_seal_begin(const struct arc_order *, enum dkim_algorithm, const char *selector, const char *head, size_t len,
    const struct wbuf *message, int64_t now, struct wbuf *field, uint8_t hash[DKIM_HASH])
    __attribute__((warn_unused_result));

#endif
