/* Verification of the chain of ARC sets of one message (RFC 8617), whose keys somebody else looks up. */
#ifndef SMTPD_CHECK_ARC_H
#define SMTPD_CHECK_ARC_H

#include "mail/authres.h"
#include "mail/dns_link.h"

#define CHECK_ARC_KEYS (50 + 1) /* of the seals, and of the newest message signature */

struct check_arc;

/* The header block is read during the call. now: seconds. */
struct check_arc *check_arc_new(const char *head, size_t len, int64_t now);
void check_arc_free(struct check_arc **);
/* The next name whose TXT records are to be known, and its number (below CHECK_ARC_KEYS); NULL: none is left. A name
 * that several signatures say comes once. */
const char *check_arc_ask(struct check_arc *, unsigned *number_r);
/* The answer; NULL: there is none in time. */
void check_arc_key(struct check_arc *, unsigned number, const struct dns_reply *);
/* The body, in pieces of any size. */
void check_arc_body(struct check_arc *, const void *, size_t);
/* All of it is there, and all keys that will come. Once. */
void check_arc_end(struct check_arc *, struct auth_arc *);

#endif
