/* The DNS record of a DKIM key (RFC 6376 section 3.6.1): as it is to be published, and whether what is published is
 * it. */
#ifndef POSTHORN_DKIM_RECORD_H
#define POSTHORN_DKIM_RECORD_H

#include "mail/dkim_key.h"
#include "mail/dns_link.h"

/* "v=DKIM1; k=rsa; p=...". malloced. */
char *dkim_record_text(const struct dkim_key *);
/* The name, without a final dot. malloced. */
char *dkim_record_name(const char *selector, const char *domain);
/* NULL: the answer holds the key's record and no other; or what is wrong, in a sentence. malloced. *is_testing_r: its
 * domain says that it is only testing. */
char *dkim_record_compare(const struct dkim_key *, const struct dns_reply *, bool *is_testing_r);

#endif
