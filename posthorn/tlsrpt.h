/* Reports on TLS to the receivers who ask for them (RFC 8460): the parts of `posthorn tlsrpt`. */
#ifndef POSTHORN_TLSRPT_H
#define POSTHORN_TLSRPT_H

#include <jansson.h>
#include <stdint.h>

#include "mail/params.h"

#include "addrlist.h"

struct tlsrpt_day {
	char text[16];  /* "2026-11-25" */
	int64_t begin;  /* seconds; it ends a day later */
};

/* A day (UTC); NULL: yesterday. False: no day. */
bool tlsrpt_day(const char *text, int64_t now, struct tlsrpt_day *);
/* What the event log says of that day, by domain: { policy type: { success, details: { key: failure-detail } } }. NULL
 * after a sentence. */
json_t *tlsrpt_collect(const struct params *, const struct tlsrpt_day *);
/* The report to a domain (section 4.4), from its part of that. */
json_t *tlsrpt_report(const struct params *, const struct tlsrpt_day *, const char *domain, json_t *collected);
/* Who wants it: addresses of the mailto: URIs in a TXT record of _smtp._tls.DOMAIN. False: it is no such record. */
bool tlsrpt_receivers(const char *txt, size_t len, struct addrlist *out);
/* Submits it to our own smtpd (section 5.3). An exit status of sysexits.h. */
int tlsrpt_send(const struct params *, const char *config_dir, const struct tlsrpt_day *, const char *domain,
    const json_t *report, const struct addrlist *to);

#endif
