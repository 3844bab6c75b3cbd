/* What became of TLS with a host: a TlsSession record for each attempt, from which reports to receivers are made (RFC
 * 8460, posthorn tlsrpt). Only if there are to be any (tls_report_contact). */
#ifndef DELIVERD_TLS_REPORT_H
#define DELIVERD_TLS_REPORT_H

#include "deliverd/conn.h"

/* The handshake is done: a success, or what testing found. */
void tls_report_ready(const struct conn *);
/* It failed: why is a sentence. */
void tls_report_failed(const struct conn *, const char *why);
/* No STARTTLS. */
void tls_report_absent(const struct conn *);
/* The host must not be used: its TLSA records cannot be had. */
void tls_report_unusable(const struct conn *, const char *why);
/* The domain's MTA-STS policy names none of the hosts. */
void tls_report_forbidden(struct path *, const char *why);

#endif
