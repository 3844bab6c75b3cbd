/* The hosts that take a domain's mail, best first, with their addresses: the resolver's answer, shared by the
 * domain, its site and the connections that were planned from it. Counted references; the content does not change
 * after it was sorted, but for the note which address failed lately. */
#ifndef MAIL_MX_H
#define MAIL_MX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define MX_NAME_MAX 255
#define MX_HOSTS_MAX 64
#define MX_ADDRS_MAX 64

enum mx_kind {
	MX_RECORDS = 1, /* from MX records */
	MX_IMPLICIT,    /* no MX: the domain's own addresses */
	MX_LITERAL,     /* [192.0.2.1] */
	MX_RELAY        /* relayhost: the administrator named it, no check for ourselves or prohibited ranges */
};

struct mx_addr {
	int family; /* AF_INET, AF_INET6 */
	uint8_t ip[16];
	int64_t bad_until; /* loop_now(): failed lately, others are tried first */
};

#define MX_TLSA_MAX 32
#define MX_TLSA_DATA_MAX 2048 /* octets; a whole certificate may be more, and is not used then */

struct mx_tlsa { /* RFC 6698 section 2.1 */
	uint8_t usage, selector, matching;
	uint16_t len;
	uint8_t *data;
};

enum mx_dane {
	MX_DANE_NONE,   /* no TLSA records, or none that DNSSEC vouches for: not a matter of DANE */
	MX_DANE_RECORDS,/* there are some, authenticated */
	MX_DANE_FAILED  /* whether there are any could not be found out: not to be used (RFC 7672 section 2.1.3) */
};

enum mx_sts { /* what the domain's MTA-STS policy (RFC 8461) says of a host */
	MX_STS_NONE,           /* nothing: no policy, or one of mode none */
	MX_STS_TESTING,        /* it is one of the domain's; nothing depends on that, but it is reported */
	MX_STS_TESTING_NOT,    /* it is none of them */
	MX_STS_ENFORCE,        /* it is one of the domain's: only with a certificate for its name */
	MX_STS_ENFORCE_NOT     /* it is none of them: not to be used */
};

struct mx_host {
	char *name;
	uint16_t pref;
	struct mx_addr *addrs;
	unsigned n_addrs;
	uint8_t dane; /* enum mx_dane */
	char *tlsa_base; /* whose TLSA records these are: where its CNAME leads to; NULL: the host's own */
	struct mx_tlsa *tlsa;
	unsigned n_tlsa;
	uint8_t sts; /* enum mx_sts */
};

struct mx_list {
	unsigned refs;
	enum mx_kind kind;
	bool is_secure; /* DNSSEC vouches for the set of hosts, and TLSA records were asked for */
	uint16_t port; /* of relayhost; 0: the path's */
	struct mx_host *hosts;
	unsigned n_hosts;
};

struct mx_list *mx_list_new(enum mx_kind);
struct mx_list *mx_list_ref(struct mx_list *);
void mx_list_unref(struct mx_list **);
/* The host's index; an equal name keeps the better preference. -1 beyond MX_HOSTS_MAX. */
int mx_list_add(struct mx_list *, const char *name, uint16_t pref);
/* Ignored beyond MX_ADDRS_MAX, and if it is there already. */
void mx_host_add(struct mx_host *, int family, const uint8_t *ip);
/* A copy of the data; ignored beyond MX_TLSA_MAX, and if it is longer than MX_TLSA_DATA_MAX. */
void mx_host_add_tlsa(struct mx_host *, const struct mx_tlsa *);
/* By preference, then by name. */
void mx_list_sort(struct mx_list *);
bool mx_list_has_family(const struct mx_list *, int family);
void mx_addr_sockaddr(const struct mx_addr *, uint16_t port, struct sockaddr_storage *, socklen_t *);

#endif
