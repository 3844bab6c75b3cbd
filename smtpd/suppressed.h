/* The suppression list at RCPT. */
#ifndef SMTPD_SUPPRESSED_H
#define SMTPD_SUPPRESSED_H

#include <stdbool.h>

struct session;

/* True if the recipient was refused (and that said). Only where smtpd_suppressed or the user says so: otherwise it is
 * accepted, and queued ends it with an AdminBounce record. The tenant is looked at if the user is bound to one; what
 * the header says of it comes too late for a reply, and is queued's to look at. */
bool suppressed_refused(struct session *, const char *rcpt);

#endif
