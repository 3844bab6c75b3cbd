/* The steps of a lookup (dns_lookup.h), in the dns process. Hostile input: packets, decoded by dns_answer.c;
 * everything that an answer may multiply (hosts, addresses, CNAMEs) is capped. RFC 5321 section 5.1, RFC 7505 (null
 * MX). */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unbound-event.h>
#include <unbound.h>

#include "base/xalloc.h"
#include "mail/dns_lookup.h"

#define RCODE_NOERROR 0
#define RCODE_NXDOMAIN 3
#define TTL_NEGATIVE 60
#define TTL_TEMPORARY 5
#define BOGUS 1 /* of libunbound's secure flag; 0: no validation is possible */
#define SECURE 2
#define TLSA_ROOM (128u << 10) /* octets of all hosts' records: the answer has to fit into its frame, DNS_ANSWER_MAX */
#define STS_LATE_MS 5000
#define STS_ADDRS_MAX 16
#define TLSA_BESIDE 8 /* octets of a record in the frame, beside its data */

/* Lives until its last question to the library is answered, even if the asker was told earlier that time is up. */
struct lookup {
	struct loop *loop;
	struct ub_ctx *ub;
	struct dns_ask ask;
	dns_lookup_fn *done;
	void *arg;
	struct timer timer;
	unsigned n_open;     /* questions to the library, and one for each function that still works on this */
	bool is_answered;
	bool was_temporary;  /* some address question failed */
	bool was_insecure, was_bogus;
	uint32_t ttl;
	char problem[128];   /* of the last temporary failure */
	struct mx_list *mx;
	bool has_asked_tlsa[MX_HOSTS_MAX];
	size_t tlsa_used; /* of TLSA_ROOM */
	struct dns_reply found; /* DNS_WANT_RECORDS */
	/* MTA-STS: no mail waits for long for who does not answer this, nor is its failure one of the rest. */
	unsigned n_sts;      /* of n_open */
	bool is_sts_late;    /* nothing else is open */
	uint8_t sts;         /* DNS_STS_* */
	char sts_id[STS_ID_MAX + 1];
	struct mx_list *sts_host;
};

struct question {
	struct lookup *l;
	uint16_t type;
	int host; /* index in mx; -1: the first question, of the name itself */
	bool is_sts;
};

static void lookup_query(struct lookup *, const char *name, uint16_t type, int host);

static void lookup_answer(struct lookup *, enum dns_status, const char *text, uint32_t ttl);

static void
lookup_release(struct lookup *l)
{
	if (--l->n_open > 0)
		return;
	timer_cancel(&l->timer);
	mx_list_unref(&l->mx);
	mx_list_unref(&l->sts_host);
	dns_reply_clear(&l->found);
	free(l);
}

static void
lookup_answer(struct lookup *l, enum dns_status status, const char *text, uint32_t ttl)
{
	struct dns_reply reply = { .status = (uint8_t)status, .ttl = ttl };
	char buf[DNS_TEXT_MAX];

	if (l->is_answered)
		return;
	l->is_answered = true;
	timer_cancel(&l->timer);
	if (status == DNS_TEMPORARY ? l->was_bogus : !l->was_insecure)
		reply.security = status == DNS_TEMPORARY ? DNS_BOGUS : DNS_SECURE;
	if (status == DNS_OK) {
		reply.mx = l->mx;
		if (l->n_sts > 0 && l->sts == DNS_STS_NONE)
			l->sts = DNS_STS_FAILED;
		reply.sts = l->sts;
		memcpy(reply.sts_id, l->sts_id, sizeof(reply.sts_id));
		reply.sts_host = l->sts_host;
		reply.records = l->found.records;
		reply.n_records = l->found.n_records;
	} else {
		snprintf(buf, sizeof(buf), "%s: %s", l->ask.name, text);
		reply.text = buf;
	}
	l->done(&reply, l->arg);
}

static void lookup_conclude(struct lookup *);

static void
lookup_timeout(void *arg)
{
	struct lookup *l = arg;
	unsigned i;

	if (l->is_sts_late) {
		lookup_conclude(l);
		return;
	}
	l->was_insecure = true; /* what has not come is not secure either */
	/* Some addresses are better than none: one host's dead name server does not hold up the others. */
	for (i = 0; l->mx != NULL && i < l->mx->n_hosts; i++)
		if (l->mx->hosts[i].n_addrs > 0) {
			lookup_answer(l, DNS_OK, NULL, TTL_TEMPORARY);
			return;
		}
	lookup_answer(l, DNS_TEMPORARY, "name service timeout", TTL_TEMPORARY);
}

static void on_dns(void *, int, void *, int, int, char *, int);

static void
ask_library(struct lookup *l, const char *name, uint16_t type, int host, bool is_sts)
{
	struct question *q = xcalloc(1, sizeof(*q));
	int r;

	q->l = l;
	q->type = type;
	q->host = host;
	q->is_sts = is_sts;
	l->n_open++;
	l->n_sts += is_sts;
	r = ub_resolve_event(l->ub, name, type, 1, q, on_dns, NULL);
	if (r == 0)
		return; /* and on_dns may have been called already */
	if (is_sts) {
		l->n_sts--;
		l->sts = l->sts == DNS_STS_NONE ? DNS_STS_FAILED : l->sts;
		free(q);
		l->n_open--;
		return;
	}
	snprintf(l->problem, sizeof(l->problem), "%s", ub_strerror(r));
	l->was_temporary = true;
	free(q);
	l->n_open--; /* never the last: whoever asks holds one */
}

static void
lookup_query(struct lookup *l, const char *name, uint16_t type, int host)
{
	ask_library(l, name, type, host, false);
}

/* RFC 8461 section 3.1. */
static void
ask_sts(struct lookup *l)
{
	char name[MX_NAME_MAX + 16];

	(void)snprintf(name, sizeof(name), "_mta-sts.%s", l->ask.name);
	if (dns_name_valid(name))
		ask_library(l, name, DNS_TYPE_TXT, -1, true);
}

/* One record that counts, or none at all; then the addresses of the policy's host. */
static void
take_sts_txt(struct lookup *l, const struct dns_answer *a, const uint8_t *packet)
{
	char text[DNS_RECORD_MAX], id[STS_ID_MAX + 1], name[MX_NAME_MAX + 16];
	unsigned i, n_ours = 0;
	bool is_good = false;
	size_t n;

	for (i = 0; i < a->n; i++) {
		n = dns_answer_txt(packet, &a->rr[i], text, sizeof(text));
		if (!sts_txt_is_ours(text, n))
			continue;
		n_ours++;
		is_good = sts_txt_parse(text, n, id);
	}
	(void)snprintf(name, sizeof(name), "mta-sts.%s", l->ask.name);
	if (n_ours != 1 || !is_good || !dns_name_valid(name))
		return;
	l->sts = DNS_STS_FOUND;
	memcpy(l->sts_id, id, sizeof(id));
	if (a->ttl < l->ttl)
		l->ttl = a->ttl;
	l->sts_host = mx_list_new(MX_IMPLICIT);
	(void)mx_list_add(l->sts_host, name, 0);
	/* Not by the families of the sources: policies are fetched from any address. */
	ask_library(l, name, DNS_TYPE_A, 0, true);
	ask_library(l, name, DNS_TYPE_AAAA, 0, true);
}

/* Whatever goes wrong here leaves things as they were without (section 3.1): a policy that is known stays in force. */
static void
take_sts_answer(struct lookup *l, const struct question *q, int rcode, const uint8_t *packet, int len, int sec)
{
	struct dns_answer a;
	const char *err;
	unsigned i;

	l->n_sts--;
	if (l->is_answered || (rcode == RCODE_NXDOMAIN && sec != BOGUS))
		return;
	if (rcode != RCODE_NOERROR || sec == BOGUS || dns_answer_parse(packet, (size_t)len, q->type, &a, &err) == -1) {
		if (q->type == DNS_TYPE_TXT)
			l->sts = DNS_STS_FAILED;
		return;
	}
	if (q->type == DNS_TYPE_TXT)
		take_sts_txt(l, &a, packet);
	else
		for (i = 0; i < a.n && l->sts_host->hosts[0].n_addrs < STS_ADDRS_MAX; i++)
			mx_host_add(&l->sts_host->hosts[0], q->type == DNS_TYPE_A ? AF_INET : AF_INET6, a.rr[i].ip);
}

/* Asks for the addresses of every host. */
static void
lookup_addresses(struct lookup *l)
{
	unsigned i;

	for (i = 0; i < l->mx->n_hosts; i++) {
		if (l->ask.families & DNS_FAMILY_4)
			lookup_query(l, l->mx->hosts[i].name, DNS_TYPE_A, (int)i);
		if (l->ask.families & DNS_FAMILY_6)
			lookup_query(l, l->mx->hosts[i].name, DNS_TYPE_AAAA, (int)i);
	}
}

static bool
is_localhost(const char *name)
{
	size_t n = strlen(name);

	return strcmp(name, "localhost") == 0 || strcmp(name, "localhost.localdomain") == 0 ||
	    (n > 10 && strcmp(name + n - 10, ".localhost") == 0);
}

enum dns_status
dns_mx_hosts(const struct dns_answer *a, unsigned limit, struct mx_list **mxp)
{
	struct mx_list *mx;
	unsigned i;

	if (a->n == 0)
		return a->n_skipped > 0 ? DNS_NULL_MX : DNS_NO_ADDRESS;
	mx = mx_list_new(MX_RECORDS);
	for (i = 0; i < a->n; i++)
		if (a->rr[i].name[0] != '\0' && !is_localhost(a->rr[i].name) && dns_name_valid(a->rr[i].name))
			(void)mx_list_add(mx, a->rr[i].name, a->rr[i].pref);
	mx_list_sort(mx);
	while (mx->n_hosts > limit)
		free(mx->hosts[--mx->n_hosts].name);
	if (mx->n_hosts == 0) {
		mx_list_unref(&mx);
		return DNS_NULL_MX;
	}
	*mxp = mx;
	return DNS_OK;
}

static void
take_mx(struct lookup *l, const struct dns_answer *a, int sec)
{
	switch (dns_mx_hosts(a, l->ask.mx_limit > 0 ? l->ask.mx_limit : 1, &l->mx)) {
	case DNS_OK:
		break;
	case DNS_NO_ADDRESS:
		l->mx = mx_list_new(MX_IMPLICIT);
		(void)mx_list_add(l->mx, l->ask.name, 0);
		break;
	default:
		lookup_answer(l, DNS_NULL_MX, "domain does not accept mail (null MX)", a->ttl);
		return;
	}
	l->mx->is_secure = l->ask.tlsa_port != 0 && sec == SECURE;
	lookup_addresses(l);
}

static void
take_addresses(struct lookup *l, const struct dns_answer *a, uint16_t type, struct mx_host *h)
{
	unsigned i;

	for (i = 0; i < a->n && h->n_addrs < l->ask.addr_limit; i++)
		mx_host_add(h, type == DNS_TYPE_A ? AF_INET : AF_INET6, a->rr[i].ip);
}

/* TLSA records at a name of the host. It counts as failed until there is an answer. */
static void
ask_tlsa_at(struct lookup *l, const char *base, int host)
{
	struct mx_host *h = &l->mx->hosts[host];
	char name[MX_NAME_MAX + 16];

	h->dane = MX_DANE_NONE;
	(void)snprintf(name, sizeof(name), "_%u._tcp.%s", (unsigned)l->ask.tlsa_port, base);
	if (!dns_name_valid(name))
		return;
	h->dane = MX_DANE_FAILED;
	lookup_query(l, name, DNS_TYPE_TLSA, host);
}

/* There are none at that name, or none that DNSSEC vouches for: the host's own is next. */
static void
no_tlsa(struct lookup *l, int host)
{
	struct mx_host *h = &l->mx->hosts[host];

	h->dane = MX_DANE_NONE;
	if (h->tlsa_base == NULL)
		return;
	free(h->tlsa_base);
	h->tlsa_base = NULL;
	ask_tlsa_at(l, h->name, host);
}

/* TLSA records of a host (RFC 7672 section 2.2): where the host's addresses are signed, or an alias, which may be
 * signed although what it leads to is not; elsewhere nobody is asked, as name servers of unsigned zones often cannot
 * cope with the question. Of an alias all of which is signed, those at the name that it leads to come first (section
 * 2.2.2); if there are none, those at its own. */
static void
ask_tlsa(struct lookup *l, const struct dns_answer *a, int sec, int host)
{
	struct mx_host *h = &l->mx->hosts[host];

	if (l->ask.tlsa_port == 0 || !l->mx->is_secure || (sec != SECURE && !a->is_alias) || l->has_asked_tlsa[host])
		return;
	l->has_asked_tlsa[host] = true;
	if (a->is_alias && sec == SECURE && dns_name_valid(a->final))
		h->tlsa_base = xstrdup(a->final);
	ask_tlsa_at(l, h->tlsa_base != NULL ? h->tlsa_base : h->name, host);
	if (h->tlsa_base != NULL && h->dane == MX_DANE_NONE)
		no_tlsa(l, host); /* too long a name to have any */
}

/* Whether they still fit. A host whose records do not is one that cannot be known. */
static bool
tlsa_fits(struct lookup *l, const struct dns_answer *a)
{
	size_t size = 0;
	unsigned i;

	for (i = 0; i < a->n; i++)
		size += a->rr[i].rdlen + TLSA_BESIDE;
	if (size > TLSA_ROOM - l->tlsa_used)
		return false;
	l->tlsa_used += size;
	return true;
}

static void
take_tlsa(struct lookup *l, int host, const struct dns_answer *a, int sec, const uint8_t *packet)
{
	struct mx_host *h = &l->mx->hosts[host];
	struct mx_tlsa t;
	unsigned i;

	if (sec == SECURE && !tlsa_fits(l, a))
		return; /* it stays failed */
	if (sec != SECURE || a->n == 0) {
		no_tlsa(l, host);
		return;
	}
	for (i = 0; i < a->n; i++) {
		t.usage = packet[a->rr[i].rdata];
		t.selector = packet[a->rr[i].rdata + 1];
		t.matching = packet[a->rr[i].rdata + 2];
		t.len = (uint16_t)(a->rr[i].rdlen - 3);
		t.data = (uint8_t *)(uintptr_t)(packet + a->rr[i].rdata + 3);
		mx_host_add_tlsa(h, &t);
		h->dane = MX_DANE_RECORDS;
	}
	/* Records that are there, but too long to be kept: not one that can be matched. */
	if (h->dane == MX_DANE_RECORDS && h->n_tlsa == 0)
		h->dane = MX_DANE_FAILED;
}

static void
take_records(struct lookup *l, const struct dns_answer *a, uint16_t type, const uint8_t *packet)
{
	char text[DNS_RECORD_MAX];
	unsigned i;
	size_t n;

	for (i = 0; i < a->n; i++) {
		if (type == DNS_TYPE_TXT)
			n = dns_answer_txt(packet, &a->rr[i], text, sizeof(text));
		else if (type == DNS_TYPE_A || type == DNS_TYPE_AAAA)
			n = strlen(inet_ntop(type == DNS_TYPE_A ? AF_INET : AF_INET6, a->rr[i].ip, text, sizeof(text)));
		else
			n = strlen(memcpy(text, a->rr[i].name, sizeof(a->rr[i].name)));
		dns_reply_add(&l->found, a->rr[i].pref, xmemdup0(text, n), n);
	}
	lookup_answer(l, DNS_OK, NULL, l->ttl);
}

/* All address questions are answered. */
static void
lookup_conclude(struct lookup *l)
{
	unsigned i;

	if (l->is_answered)
		return;
	for (i = 0; l->mx != NULL && i < l->mx->n_hosts; i++)
		if (l->mx->hosts[i].n_addrs > 0) {
			lookup_answer(l, DNS_OK, NULL, l->was_temporary ? TTL_TEMPORARY : l->ttl);
			return;
		}
	if (l->was_temporary)
		lookup_answer(l, DNS_TEMPORARY, l->problem, TTL_TEMPORARY);
	else
		lookup_answer(l, DNS_NO_ADDRESS,
		    l->mx != NULL && l->mx->kind == MX_RECORDS ? "no mail exchanger has an address" :
		    "neither mail exchanger nor address", TTL_NEGATIVE);
}

/* The library gives a rcode of 0 with a cached failure: the packet's own counts as well. */
static int
real_rcode(int rcode, const uint8_t *packet, int len)
{
	if (rcode != RCODE_NOERROR)
		return rcode;
	return len >= 12 ? packet[3] & 0x0f : 2;
}

static void
take_answer(struct lookup *l, const struct question *q, int rcode, const uint8_t *packet, int len, int sec,
    const char *why)
{
	const char *err = NULL;
	struct dns_answer a;

	rcode = real_rcode(rcode, packet, len);
	if (q->is_sts) {
		take_sts_answer(l, q, rcode, packet, len, sec);
		return;
	}
	if (l->is_answered)
		return;
	l->was_insecure |= sec != SECURE;
	l->was_bogus |= sec == BOGUS;
	if (q->type == DNS_TYPE_TLSA && rcode == RCODE_NXDOMAIN && sec != BOGUS) {
		no_tlsa(l, q->host);
		return;
	}
	if (rcode == RCODE_NXDOMAIN && sec != BOGUS) {
		if (q->host == -1)
			lookup_answer(l, DNS_NXDOMAIN, "no such domain", TTL_NEGATIVE);
		return;
	}
	if (sec == BOGUS)
		err = why != NULL ? why : "DNSSEC validation failed";
	else if (rcode != RCODE_NOERROR)
		err = "name service failure";
	else if (dns_answer_parse(packet, (size_t)len, q->type, &a, &err) == 0)
		err = NULL;
	if (err != NULL) {
		l->was_temporary = true; /* of a TLSA question: the host stays failed, and is asked for again soon */
		snprintf(l->problem, sizeof(l->problem), "%s", err);
		return;
	}
	if (a.ttl < l->ttl)
		l->ttl = a.ttl;
	if (l->ask.want == DNS_WANT_RECORDS)
		take_records(l, &a, q->type, packet);
	else if (q->host == -1)
		take_mx(l, &a, sec);
	else if (q->type == DNS_TYPE_TLSA)
		take_tlsa(l, q->host, &a, sec, packet);
	else {
		take_addresses(l, &a, q->type, &l->mx->hosts[q->host]);
		ask_tlsa(l, &a, sec, q->host);
	}
}

/* An answer less is open; ours is one of them still. */
static void
lookup_step(struct lookup *l)
{
	if (l->n_open == 1) {
		lookup_conclude(l);
	} else if (l->n_open == 1 + l->n_sts && !l->is_sts_late && !l->is_answered) {
		l->is_sts_late = true;
		if (l->ask.timeout > STS_LATE_MS)
			timer_set(&l->timer, STS_LATE_MS);
	}
}

static void
on_dns(void *arg, int rcode, void *packet, int len, int sec, char *why, int was_ratelimited)
{
	struct question *q = arg;
	struct lookup *l = q->l;

	(void)was_ratelimited;
	take_answer(l, q, rcode, packet, packet != NULL ? len : 0, sec, why);
	free(q);
	lookup_step(l);
	lookup_release(l);
}

void
dns_lookup_start(struct loop *loop, struct ub_ctx *ub, const struct dns_ask *ask, dns_lookup_fn *done, void *arg)
{
	struct lookup *l = xcalloc(1, sizeof(*l));

	l->loop = loop;
	l->ub = ub;
	l->ask = *ask;
	l->done = done;
	l->arg = arg;
	l->ttl = 3600;
	l->n_open = 1; /* ours, so that answers during this call find it whole */
	timer_init(&l->timer, loop, lookup_timeout, l);
	timer_set(&l->timer, ask->timeout);
	if (ask->want == DNS_WANT_RECORDS) {
		lookup_query(l, ask->name, ask->type, -1);
	} else if (ask->want == DNS_WANT_MX) {
		if (ask->wants_sts)
			ask_sts(l);
		lookup_query(l, ask->name, DNS_TYPE_MX, -1);
	} else {
		l->mx = mx_list_new(MX_IMPLICIT);
		(void)mx_list_add(l->mx, ask->name, 0);
		lookup_addresses(l);
	}
	lookup_step(l);
	lookup_release(l);
}
