/* Verification of DKIM signatures (RFC 6376, RFC 8463) with libopendkim: one message, whose keys somebody else looks
 * up. */
#ifndef SMTPD_CHECK_DKIM_H
#define SMTPD_CHECK_DKIM_H

#include "mail/authres.h"
#include "mail/dns_link.h"

#define CHECK_FIELDS_MAX 1000     /* fields of a header block */
#define CHECK_NAME_LEN_MAX 256    /* octets of a field's name */
#define CHECK_SIGNATURE_LEN_MAX (8u << 10) /* octets of a DKIM-Signature field */

struct check_dkim_library;
struct check_dkim;

/* NULL: libopendkim cannot be used. */
struct check_dkim_library *check_dkim_library_new(void);
void check_dkim_library_free(struct check_dkim_library **);

/* The header block is read during the call. At most AUTH_SIGNATURES_MAX signatures, from the top, are looked at. */
struct check_dkim *check_dkim_new(struct check_dkim_library *, const char *head, size_t len);
void check_dkim_free(struct check_dkim **);
/* The name whose TXT records are to be known for the i'th signature (i < AUTH_SIGNATURES_MAX); NULL: none. */
const char *check_dkim_key_name(const struct check_dkim *, unsigned i);
/* The answer; NULL: there is none in time. */
void check_dkim_key(struct check_dkim *, unsigned i, const struct dns_reply *);
/* The body, in pieces of any size. */
void check_dkim_body(struct check_dkim *, const void *, size_t);
/* All of it is there, and all keys that will come. Fills in dkim, signatures, n_signatures. Once. */
void check_dkim_end(struct check_dkim *, struct auth_results *);

#endif
