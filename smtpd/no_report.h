/* Mail from outside whose recipients are all at listener domains that take nothing but reports: what is plainly none is
 * refused at the end of data, so that its sender learns of it (nobody would be told later). */
#ifndef SMTPD_NO_REPORT_H
#define SMTPD_NO_REPORT_H

#include <stdbool.h>

#include "mail/envelope.h"
#include "mail/params.h"
#include "mail/policy.h"

/* A whole reply, static, or NULL: it may be a report, or may be relayed. policy may be NULL. */
const char *no_report(const struct params *, const struct policy *, const struct envelope *, const char *head,
    size_t len);

#endif
