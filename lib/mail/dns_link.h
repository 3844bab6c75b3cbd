/* What a role asks its dns role, and what it is told: types, one encoder and one decoder each, used by both
 * ends. The frame's request id ties an answer to its question. The asker treats answers as requests to be
 * validated: the dns role is the one that may have been broken into. */
#ifndef MAIL_DNS_LINK_H
#define MAIL_DNS_LINK_H

#include "base/wire.h"
#include "mail/mx.h"
#include "mail/sts_policy.h"

enum dns_type { DNS_ASK = 1, DNS_ANSWER };
#define DNS_ASK_MAX 512u
#define DNS_ANSWER_MAX (256u << 10)
#define DNS_TEXT_MAX 512u

enum dns_want {
	DNS_WANT_MX = 1, /* who takes the mail of the name, with addresses */
	DNS_WANT_HOST,   /* its addresses */
	DNS_WANT_RECORDS /* its records of one type */
};
enum { DNS_FAMILY_4 = 1, DNS_FAMILY_6 = 2 };

struct dns_ask {
	uint8_t want;
	uint8_t families;   /* which addresses are of use: DNS_FAMILY_* */
	uint16_t mx_limit;  /* hosts */
	uint16_t addr_limit;/* addresses of each */
	uint32_t timeout;   /* ms */
	char name[MX_NAME_MAX + 1]; /* dns_name_valid(); with DNS_WANT_RECORDS dns_name_askable() does */
	uint16_t tlsa_port; /* TLSA records of the hosts for this port are wanted (RFC 7672); 0: not */
	uint16_t type;      /* DNS_WANT_RECORDS: DNS_TYPE_* of dns_answer.h; else 0 */
	uint8_t wants_sts;  /* DNS_WANT_MX: the name's MTA-STS record too, and where its policy is (RFC 8461) */
};

enum dns_sts {
	DNS_STS_NONE,  /* there is no record, or none that counts */
	DNS_STS_FOUND,
	DNS_STS_FAILED /* could not be found out */
};

enum dns_status {
	DNS_OK = 1,
	DNS_NXDOMAIN,   /* the name does not exist */
	DNS_NULL_MX,    /* RFC 7505, or MX pointing at localhost */
	DNS_NO_ADDRESS, /* it exists, but nothing there has an address */
	DNS_TEMPORARY   /* SERVFAIL, timeout, bogus */
};

enum dns_security {
	DNS_INSECURE, /* not signed, or nobody validates */
	DNS_SECURE,   /* all of the answer is signed and validated (RFC 4035), that there is nothing too */
	DNS_BOGUS     /* with DNS_TEMPORARY: the signatures are wrong */
};

#define DNS_RECORDS_MAX 64
#define DNS_RECORD_MAX 2048 /* octets of one; a longer TXT is cut */

struct dns_record {
	uint16_t pref; /* MX */
	char *text;    /* an address, a name, or any octets (TXT), with a NUL behind them */
	size_t len;
};

struct dns_reply {
	uint8_t status;
	uint8_t security;   /* DNS_SECURE...: of the worst of the answers that it is made of */
	uint32_t ttl;       /* seconds */
	char *text;         /* a sentence if not DNS_OK */
	struct dns_record *records; /* answer to DNS_WANT_RECORDS; there may be none */
	unsigned n_records;
	/* Set exactly if DNS_OK and the question was another; hosts without address are kept (they belong to the
	 * name of the site). */
	struct mx_list *mx;
	/* With mx, if it was wanted. */
	uint8_t sts; /* DNS_STS_* */
	char sts_id[STS_ID_MAX + 1];
	struct mx_list *sts_host; /* DNS_STS_FOUND: mta-sts.NAME, with what addresses it has */
};

void dns_ask_encode(const struct dns_ask *, struct wbuf *);
int dns_ask_decode(struct rbuf *, struct dns_ask *) __attribute__((warn_unused_result));
void dns_reply_encode(const struct dns_reply *, struct wbuf *);
/* 0, or -1 if malformed (then nothing is left to free). */
int dns_reply_decode(struct rbuf *, struct dns_reply *) __attribute__((warn_unused_result));
/* Takes over text, malloced; beyond DNS_RECORDS_MAX it is freed. */
void dns_reply_add(struct dns_reply *, uint16_t pref, char *text, size_t len);
void dns_reply_clear(struct dns_reply *);
/* Letters, digits, '-', '_', '.': no empty label, at most 253 characters. */
bool dns_name_valid(const char *);
/* The same of any printable ASCII but the backslash: SPF makes names of local parts of addresses and such like. */
bool dns_name_askable(const char *);

#endif
