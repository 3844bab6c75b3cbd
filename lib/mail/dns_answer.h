/* Decoder of DNS answers as they come off the wire (RFC 1035 section 4, RFC 3596): the few record types that mail
 * needs. Pure and bounds-checked; every truncation is a test and it is fuzzed: no length field is believed. */
#ifndef MAIL_DNS_ANSWER_H
#define MAIL_DNS_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_TYPE_A 1
#define DNS_TYPE_NS 2
#define DNS_TYPE_CNAME 5
#define DNS_TYPE_SOA 6
#define DNS_TYPE_PTR 12
#define DNS_TYPE_MX 15
#define DNS_TYPE_TXT 16
#define DNS_TYPE_AAAA 28
#define DNS_TYPE_TLSA 52
#define DNS_RRS_MAX 64    /* more are ignored */
#define DNS_CNAMES_MAX 8
#define DNS_NAME_MAX 255  /* text, without a final dot */

struct dns_rr {
	uint16_t pref;               /* MX */
	uint8_t ip[16];              /* A, AAAA */
	uint16_t rdata, rdlen;       /* TXT, TLSA: where it stands in the packet */
	char name[DNS_NAME_MAX + 1]; /* MX, PTR: lower case; "" is the root */
};

struct dns_answer {
	unsigned n;
	bool is_alias;      /* a CNAME leads to the records, or to none */
	char final[DNS_NAME_MAX + 1]; /* that name, behind the last CNAME */
	unsigned n_skipped; /* of the type, but with a name that is no host name, or too many */
	uint32_t ttl;       /* least of the records used, CNAMEs included; UINT32_MAX without any */
	struct dns_rr rr[DNS_RRS_MAX];
};

/* The records of `type` (A, AAAA, MX, TXT, TLSA or PTR; class IN) that the question's name leads to, CNAMEs followed.
 * 0, or -1 and *err_r. */
int dns_answer_parse(const uint8_t *pkt, size_t len, uint16_t type, struct dns_answer *out, const char **err_r)
    __attribute__((warn_unused_result));
/* The strings of a TXT record put together, any octets, cut at size; how many. */
size_t dns_answer_txt(const uint8_t *pkt, const struct dns_rr *, char *out, size_t size);

#endif
