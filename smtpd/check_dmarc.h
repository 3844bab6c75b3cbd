/* DMARC (RFC 7489): does what was authenticated belong to the author whom the reader sees? */
#ifndef SMTPD_CHECK_DMARC_H
#define SMTPD_CHECK_DMARC_H

#include "mail/authres.h"
#include "mail/dns_link.h"

/* The domain of the one author of a message, in lower case. NULL; or why there is none. */
const char *check_dmarc_author(const char *head, size_t len, char out[AUTH_DOMAIN_MAX + 1]);
/* Fills in dmarc.result, policy and reason by r's other results and the answer to _dmarc.DOMAIN, where `at` is that
 * domain: dmarc.domain or its organizational domain. False: there is no record, nothing was changed. */
bool check_dmarc_judge(struct auth_results *r, const struct dns_reply *, const char *at);

#endif
