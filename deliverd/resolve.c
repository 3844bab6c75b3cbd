/* From domains to sites (resolve.h), in the net process. Hostile: domain names (canonical, from envelopes) and the
 * dns role's answers, which dns_link.c validates. RFC 5321 section 5.1, RFC 7505. */
#include <bsd/string.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cidr.h"
#include "base/ipc.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "mail/dns_client.h"
#include "mail/dns_link.h"
#include "mail/names.h"
#include "mail/idna.h"
#include "deliverd/resolve.h"
#include "deliverd/result.h"
#include "deliverd/site.h"
#include "deliverd/source.h"
#include "deliverd/sts_peer.h"

#define TTL_MIN 5
#define TLSA_PORT 25 /* RFC 7672: of the service, also where the administrator connects to another port */
#define TTL_MAX 3600
#define DESTS_MAX 20000
#define SLOT_BITS 10
#define OPEN_MAX (1u << SLOT_BITS) /* questions with the dns role; others wait for their turn */
#define GRACE_MS 2000 /* over dns_timeout, for the dns role to say itself that it ran out */

enum dest_state { DEST_ASKING, DEST_KNOWN, DEST_FAILED, DEST_NO_SOURCE };

/* Somebody who wants to know, without mail. */
struct dest_query {
	TAILQ_ENTRY(dest_query) link;
	resolver_fn *fn;
	void *arg;
};
TAILQ_HEAD(dest_query_list, dest_query);

struct dest {
	RB_ENTRY(dest) by_name;
	TAILQ_ENTRY(dest) link; /* oldest question first */
	TAILQ_ENTRY(dest) turn_link;
	struct resolver *r;
	char *name;   /* domain, or the relayhost's text after '>' */
	enum dest_state state;
	bool is_stale;/* reload: to be asked anew */
	bool is_asked;/* the question is with the dns role: in a slot */
	bool is_in_turn;
	unsigned n_deaths; /* of the dns role over it */
	uint32_t id;  /* of the question: a number, and its slot */
	int64_t asked;
	int64_t expires;
	uint16_t port; /* said with the name; 0: the path's */
	bool is_relay;
	struct site *site;
	struct outcome failure;
	char *failure_text;
	struct timer timer;
	/* MTA-STS: the name service's answer while the domain's policy is being asked for, and the policy. */
	char *domain; /* as it was asked for; NULL: not by MX */
	struct sts_request *sts_request;
	struct mx_list *held;
	uint32_t held_ttl;
	struct sts_known sts;
	struct item_list waiting;
	struct dest_query_list queries;
};

RB_HEAD(dest_tree, dest);
TAILQ_HEAD(dest_list, dest);

struct resolver {
	struct net *net;
	struct ipc *peer;
	struct dest_tree dests;
	struct dest_list order;
	unsigned n_dests;
	struct dest_list turn; /* wait for a slot */
	struct dest *slots[OPEN_MAX];
	uint16_t free_slots[OPEN_MAX];
	unsigned n_free;
	uint32_t last_id;
	struct sts_peer *sts;
};

static int
dest_cmp(const struct dest *a, const struct dest *b)
{
	return strcmp(a->name, b->name);
}

RB_PROTOTYPE(dest_tree, dest, by_name, dest_cmp)
RB_GENERATE(dest_tree, dest, by_name, dest_cmp)

static void
slot_take(struct dest *d)
{
	struct resolver *r = d->r;
	uint16_t slot = r->free_slots[--r->n_free];

	d->id = (++r->last_id << SLOT_BITS | slot) & ~DNS_CLIENT_IDS;
	d->is_asked = true;
	r->slots[slot] = d;
}

static void
slot_leave(struct dest *d)
{
	struct resolver *r = d->r;
	uint16_t slot = d->id & (OPEN_MAX - 1);

	if (!d->is_asked)
		return;
	d->is_asked = false;
	r->slots[slot] = NULL;
	r->free_slots[r->n_free++] = slot;
}

static void
turn_leave(struct dest *d)
{
	if (!d->is_in_turn)
		return;
	TAILQ_REMOVE(&d->r->turn, d, turn_link);
	d->is_in_turn = false;
}

/* No policy is waited for any more. */
static void
sts_leave(struct dest *d)
{
	sts_peer_cancel(d->r->sts, &d->sts_request);
	mx_list_unref(&d->held);
}

static void
dest_answer(struct dest *d, const struct site *site, const struct outcome *failure)
{
	struct dest_query *x;

	while ((x = TAILQ_FIRST(&d->queries)) != NULL) {
		TAILQ_REMOVE(&d->queries, x, link);
		x->fn(site, failure, x->arg);
		free(x);
	}
}

static void
dest_free(struct dest *d)
{
	dest_answer(d, NULL, NULL);
	slot_leave(d);
	turn_leave(d);
	RB_REMOVE(dest_tree, &d->r->dests, d);
	TAILQ_REMOVE(&d->r->order, d, link);
	d->r->n_dests--;
	timer_cancel(&d->timer);
	sts_leave(d);
	sts_known_clear(&d->sts);
	free(d->domain);
	site_unref(&d->site);
	free(d->failure_text);
	free(d->name);
	free(d);
}

void
dest_remove(struct dest *d, struct item *it)
{
	TAILQ_REMOVE(&d->waiting, it, link);
}

/* Passes on everybody who waits. */
static void
dest_settle(struct dest *d)
{
	struct net *net = d->r->net;
	uint32_t waited = (uint32_t)(loop_now(net->loop) - d->asked);
	struct outcome stopping = outcome_returned("deliverd is stopping", 0);
	struct outcome no_source = outcome_returned("the pool has no source", SOURCE_OUT_MS / 1000);
	struct item *it;

	timer_cancel(&d->timer);
	slot_leave(d);
	sts_leave(d);
	d->n_deaths = 0;
	while ((it = TAILQ_FIRST(&d->waiting)) != NULL) {
		item_unlink(it);
		it->job->dns_ms = waited;
		if (net->is_stopping)
			item_finish(net, it, &stopping, NULL, NULL);
		else if (d->state == DEST_KNOWN)
			site_add(d->site, it);
		else if (d->state == DEST_NO_SOURCE)
			item_finish(net, it, &no_source, NULL, NULL);
		else
			item_finish(net, it, &d->failure, NULL, NULL);
	}
	dest_answer(d, d->state == DEST_KNOWN ? d->site : NULL,
	    d->state == DEST_KNOWN ? NULL : d->state == DEST_NO_SOURCE ? &no_source : &d->failure);
}

static void
dest_expire_in(struct dest *d, uint32_t ttl)
{
	if (ttl < TTL_MIN)
		ttl = TTL_MIN;
	if (ttl > TTL_MAX)
		ttl = TTL_MAX;
	d->expires = loop_now(d->r->net->loop) + (int64_t)ttl * 1000;
	d->is_stale = false;
}

static void
dest_fail(struct dest *d, uint16_t code, const char *status, const char *text, uint32_t ttl)
{
	free(d->failure_text);
	d->failure_text = xstrdup(text);
	d->failure = outcome_local(PHASE_DNS, code, status, d->failure_text);
	d->state = DEST_FAILED;
	dest_expire_in(d, ttl);
	dest_settle(d);
}

/* mx is not taken over. */
static void
dest_know(struct dest *d, struct mx_list *mx, const char *site_name, uint32_t ttl)
{
	struct site *site = site_get(d->r->net, mx, site_name);

	site_unref(&d->site);
	d->site = site;
	d->state = DEST_KNOWN;
	dest_expire_in(d, ttl);
	dest_settle(d);
}

static void
dest_know_relay(struct dest *d, struct mx_list *mx, uint32_t ttl)
{
	char name[SITE_NAME_MAX];

	mx->kind = MX_RELAY;
	mx->port = d->port;
	snprintf(name, sizeof(name), "%s", d->name + 1);
	dest_know(d, mx, name, ttl);
}

/* A destination with a port of its own is another site than the same hosts without. */
static void
dest_know_port(struct dest *d, struct mx_list *mx, uint32_t ttl)
{
	char name[SITE_NAME_MAX], hosts[SITE_NAME_MAX - sizeof(":65535")];

	if (d->port == 0) {
		dest_know(d, mx, NULL, ttl);
		return;
	}
	mx->port = d->port;
	site_name_make(mx, hosts, sizeof(hosts));
	(void)snprintf(name, sizeof(name), "%s:%u", hosts, d->port);
	dest_know(d, mx, name, ttl);
}

/* [192.0.2.1] and [IPv6:2001:db8::1] (RFC 5321 section 4.1.3). */
static void
dest_literal(struct dest *d, const char *text, size_t len)
{
	char addr[64], shown[128];
	struct sockaddr_storage ss;
	struct mx_list *mx;
	socklen_t salen;
	int at;

	if (len > 5 && strncasecmp(text, "IPv6:", 5) == 0) {
		text += 5;
		len -= 5;
	}
	snprintf(addr, sizeof(addr), "%.*s", (int)(len < sizeof(addr) ? len : sizeof(addr) - 1), text);
	if (sockaddr_parse(addr, 0, &ss, &salen) == -1) {
		dest_fail(d, 550, "5.1.2", "not an address literal that we know", TTL_MAX);
		return;
	}
	snprintf(shown, sizeof(shown), "%s", d->name);
	mx = mx_list_new(MX_LITERAL);
	mx->port = d->port;
	at = mx_list_add(mx, addr, 0);
	mx_host_add(&mx->hosts[at], ss.ss_family, ss.ss_family == AF_INET ?
	    (const uint8_t *)&((struct sockaddr_in *)&ss)->sin_addr :
	    (const uint8_t *)&((struct sockaddr_in6 *)&ss)->sin6_addr);
	if (d->is_relay)
		dest_know_relay(d, mx, TTL_MAX);
	else
		dest_know(d, mx, shown, TTL_MAX);
	mx_list_unref(&mx);
}

static void ask_waiting(struct resolver *);

static void
on_timeout(void *arg)
{
	struct dest *d = arg;

	dest_fail(d, 451, "4.4.3", d->sts_request != NULL ? "the MTA-STS policy of the domain could not be looked up" :
	    "the name service does not answer", TTL_MIN);
	ask_waiting(d->r);
}

static void
dest_send(struct dest *d, enum dns_want want, const char *name)
{
	const struct params *p = d->r->net->params;
	struct dns_ask ask = { .want = (uint8_t)want, .families = d->r->net->families,
		.mx_limit = (uint16_t)(p->smtp_mx_limit < MX_HOSTS_MAX ? p->smtp_mx_limit : MX_HOSTS_MAX),
		.addr_limit = 16, .timeout = (uint32_t)p->dns_timeout,
		.tlsa_port = want == DNS_WANT_MX ? TLSA_PORT : 0,
		.wants_sts = want == DNS_WANT_MX && !d->is_relay && p->mta_sts };
	struct wbuf w;

	if (strlcpy(ask.name, name, sizeof(ask.name)) >= sizeof(ask.name) || !dns_name_valid(ask.name)) {
		dest_fail(d, 550, "5.1.2", "not a domain name", TTL_MAX);
		return;
	}
	if (ask.families == 0) {
		/* The pool is gone from the policy: without a family to ask for, no domain would have an address,
		 * and all this mail would bounce. */
		d->state = DEST_NO_SOURCE;
		d->is_stale = true;
		dest_settle(d);
		return;
	}
	if (d->r->n_free == 0) {
		d->is_in_turn = true;
		TAILQ_INSERT_TAIL(&d->r->turn, d, turn_link);
		return;
	}
	timer_set(&d->timer, p->dns_timeout + GRACE_MS);
	if (d->r->peer == NULL) /* between two dns roles: asked when the next one is there */
		return;
	slot_take(d);
	free(d->domain);
	d->domain = xstrdup(ask.name);
	wbuf_init(&w);
	dns_ask_encode(&ask, &w);
	ipc_send(d->r->peer, DNS_ASK, d->id, &w, -1);
	wbuf_clear(&w);
}

static void
ask_relay(struct dest *d)
{
	bool use_mx;
	char *host;

	if (params_relayhost_parse(d->name + 1, &host, &d->port, &use_mx) == -1) {
		dest_fail(d, 451, "4.3.5", "relayhost is not a host", TTL_MIN);
		return;
	}
	d->is_relay = true;
	if (!use_mx && (!dns_name_valid(host) || strspn(host, "0123456789.") == strlen(host)))
		dest_literal(d, host, strlen(host));
	else
		dest_send(d, use_mx ? DNS_WANT_MX : DNS_WANT_HOST, host);
	free(host);
}

static void
dest_ask(struct dest *d)
{
	char ascii[MX_NAME_MAX + 1], host[MX_NAME_MAX + 64];
	size_t len;

	slot_leave(d);
	turn_leave(d);
	sts_leave(d);
	sts_known_clear(&d->sts);
	d->state = DEST_ASKING;
	d->is_stale = false;
	TAILQ_REMOVE(&d->r->order, d, link);
	TAILQ_INSERT_TAIL(&d->r->order, d, link);
	if (d->name[0] == '>') {
		ask_relay(d);
		return;
	}
	len = destination_host(d->name, &d->port);
	(void)snprintf(host, sizeof(host), "%.*s", (int)len, d->name);
	if (host[0] == '[' && len > 2 && host[len - 1] == ']')
		dest_literal(d, host + 1, len - 2);
	else if (idna_to_ascii(host, ascii, sizeof(ascii)) == -1)
		dest_fail(d, 550, "5.1.2", "not a domain name", TTL_MAX);
	else
		dest_send(d, DNS_WANT_MX, ascii);
}

/* Slots have become free. */
static void
ask_waiting(struct resolver *r)
{
	struct dest *d;

	while (r->n_free > 0 && (d = TAILQ_FIRST(&r->turn)) != NULL)
		dest_ask(d);
}

/* Makes room by dropping the one whose answer is oldest, if nobody waits for it. */
static void
keep_bounded(struct resolver *r)
{
	struct dest *d, *next;
	unsigned tries = 16;

	TAILQ_FOREACH_SAFE(d, &r->order, link, next) {
		if (r->n_dests < DESTS_MAX || tries-- == 0)
			return;
		if (d->state != DEST_ASKING)
			dest_free(d);
	}
}

static struct dest *
dest_get(struct resolver *r, const char *name)
{
	struct dest find = { .name = (char *)(uintptr_t)name }, *d;

	d = RB_FIND(dest_tree, &r->dests, &find);
	if (d != NULL)
		return d;
	keep_bounded(r);
	d = xcalloc(1, sizeof(*d));
	d->r = r;
	d->name = xstrdup(name);
	d->state = DEST_FAILED;
	d->is_stale = true;
	TAILQ_INIT(&d->waiting);
	TAILQ_INIT(&d->queries);
	timer_init(&d->timer, r->net->loop, on_timeout, d);
	RB_INSERT(dest_tree, &r->dests, d);
	TAILQ_INSERT_TAIL(&r->order, d, link);
	r->n_dests++;
	return d;
}

static struct dest *
dest_for(struct resolver *r, const char *domain)
{
	const char *relay = r->net->params->relayhost;
	char name[MX_NAME_MAX + 64];

	if (relay[0] != '\0')
		snprintf(name, sizeof(name), ">%s", relay);
	else
		snprintf(name, sizeof(name), "%s", domain);
	return dest_get(r, name);
}

static bool
dest_is_known(const struct dest *d)
{
	return d->state != DEST_ASKING && !d->is_stale && loop_now(d->r->net->loop) < d->expires;
}

/* Settles it, now or when the answer comes. is_known: it need not be asked. */
static void
dest_go_on(struct dest *d, bool is_known)
{
	if (d->state != DEST_ASKING)
		d->asked = loop_now(d->r->net->loop);
	if (is_known)
		dest_settle(d); /* nobody waited */
	else if (d->state != DEST_ASKING)
		dest_ask(d);
}

void
resolver_find(struct resolver *r, const char *domain, resolver_fn *fn, void *arg)
{
	struct dest *d = dest_for(r, domain);
	struct dest_query *x = xcalloc(1, sizeof(*x));
	bool is_known = dest_is_known(d);

	x->fn = fn;
	x->arg = arg;
	TAILQ_INSERT_TAIL(&d->queries, x, link);
	dest_go_on(d, is_known);
}

void
resolver_route(struct resolver *r, struct job *job)
{
	struct outcome stopping = outcome_returned("deliverd is stopping", 0);
	unsigned n = job->n_open, i;
	struct dest *d;
	bool is_known;

	if (r->net->is_stopping) {
		for (i = 0; i < n; i++)
			item_finish(r->net, &job->items[i], &stopping, NULL, NULL);
		return;
	}
	d = dest_for(r, job->q.domain);
	is_known = dest_is_known(d);
	for (i = 0; i < n; i++) {
		job->items[i].state = ITEM_RESOLVING;
		job->items[i].dest = d;
		TAILQ_INSERT_TAIL(&d->waiting, &job->items[i], link);
	}
	dest_go_on(d, is_known);
}

static struct dest *
dest_by_id(struct resolver *r, uint32_t id)
{
	struct dest *d = r->slots[id & (OPEN_MAX - 1)];

	return d != NULL && d->id == id ? d : NULL;
}

static void
on_policy(const struct sts_answer *a, void *arg)
{
	struct dest *d = arg;

	d->sts_request = NULL;
	if (d->is_stale) {
		dest_ask(d);
		return;
	}
	if (a == NULL || a->found == STS_FOUND_LATER) {
		dest_fail(d, 451, "4.4.3", a == NULL ? "the MTA-STS policy of the domain could not be looked up: the "
		    "process that does this failed" : "the MTA-STS policy of the domain could not be looked up: too "
		    "many are being fetched", TTL_MIN);
		return;
	}
	sts_apply(a, d->held, &d->sts);
	dest_know_port(d, d->held, d->held_ttl);
}

/* Asks for the policy, which may be in force without any word in DNS (RFC 8461 section 3.1). */
static void
dest_ask_policy(struct dest *d, const struct dns_reply *a)
{
	const struct params *p = d->r->net->params;
	struct sts_ask ask = { .is_refresh = TAILQ_EMPTY(&d->waiting) };
	const struct mx_host *h = a->sts == DNS_STS_FOUND ? &a->sts_host->hosts[0] : NULL;
	struct sockaddr_storage ss;
	socklen_t len;
	unsigned i;
	char *c;

	strlcpy(ask.domain, d->domain, sizeof(ask.domain));
	for (c = ask.domain; *c != '\0'; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c + ('a' - 'A'));
	if (h != NULL) {
		memcpy(ask.id, a->sts_id, sizeof(ask.id));
		ask.host = mx_list_new(MX_IMPLICIT);
		(void)mx_list_add(ask.host, h->name, 0);
		for (i = 0; i < h->n_addrs; i++) {
			mx_addr_sockaddr(&h->addrs[i], 0, &ss, &len);
			if (!cidr_list_match(&p->prohibited_hosts, (const struct sockaddr *)&ss))
				mx_host_add(&ask.host->hosts[0], h->addrs[i].family, h->addrs[i].ip);
		}
	}
	slot_leave(d);
	d->held = mx_list_ref(a->mx);
	d->held_ttl = a->ttl;
	timer_set(&d->timer, 2 * p->mta_sts_timeout + GRACE_MS); /* it may have to wait for its turn */
	d->sts_request = sts_peer_ask(d->r->sts, &ask, on_policy, d);
	mx_list_unref(&ask.host);
}

static void
take_reply(struct dest *d, const struct dns_reply *a)
{
	switch (a->status) {
	case DNS_OK:
		if (d->is_relay)
			dest_know_relay(d, a->mx, a->ttl);
		else if (d->r->net->params->mta_sts)
			dest_ask_policy(d, a);
		else
			dest_know_port(d, a->mx, a->ttl);
		break;
	case DNS_NXDOMAIN:
		dest_fail(d, d->is_relay ? 451 : 550, d->is_relay ? "4.4.4" : "5.1.2", a->text, a->ttl);
		break;
	case DNS_NULL_MX:
		dest_fail(d, 556, "5.1.10", a->text, a->ttl);
		break;
	case DNS_NO_ADDRESS:
		dest_fail(d, d->is_relay ? 451 : 550, d->is_relay ? "4.4.4" : "5.4.4", a->text, a->ttl);
		break;
	default:
		dest_fail(d, 451, "4.4.3", a->text, TTL_MIN);
		break;
	}
}

static void
on_answer(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct resolver *r = arg;
	struct dns_reply a;
	struct dest *d;

	bool is_records = (m->id & DNS_CLIENT_IDS) != 0;

	if (dns_reply_decode(&m->body, &a) == -1 || (is_records ? a.mx != NULL : a.status == DNS_OK && a.mx == NULL)) {
		dns_reply_clear(&a);
		ipc_reject(ipc, "malformed answer");
		return;
	}
	if (is_records) {
		dns_client_answer(r->net->dns, m->id, &a);
		dns_reply_clear(&a);
		return;
	}
	d = dest_by_id(r, m->id);
	if (d != NULL && d->is_stale) /* reloaded since: other families or limits were asked for */
		dest_ask(d);
	else if (d != NULL)
		take_reply(d, &a);
	dns_reply_clear(&a);
	ask_waiting(r);
}

/* One of the open questions may have killed it: each is asked once more, and fails if that ends in the same way. */
static void
on_peer_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct resolver *r = arg;
	struct dest *d, *next;

	(void)ipc;
	log_info("dns role is gone: %s", why);
	r->peer = NULL;
	dns_client_share(r->net->dns, NULL);
	TAILQ_FOREACH_SAFE(d, &r->order, link, next) {
		if (d->state != DEST_ASKING || !d->is_asked)
			continue;
		slot_leave(d);
		if (++d->n_deaths > 1)
			dest_fail(d, 451, "4.4.3", "the resolver failed", TTL_MIN);
	}
}

static const struct ipc_rule rules[] = {
	{ DNS_ANSWER, false, DNS_ANSWER_MAX, "answer", on_answer },
};
static const struct ipc_ops ops = { rules, sizeof(rules) / sizeof(rules[0]), on_peer_gone };

void
resolver_set_peer(struct resolver *r, int fd)
{
	struct dest *d, *next;
	unsigned n;

	if (r->peer != NULL) {
		ipc_close(&r->peer);
		on_peer_gone(NULL, "replaced", r);
	}
	r->peer = ipc_new(r->net->loop, fd, &ops, r);
	dns_client_share(r->net->dns, r->peer);
	/* Asking moves a dest to the end of the order. */
	n = r->n_dests;
	for (d = TAILQ_FIRST(&r->order); n-- > 0; d = next) {
		next = TAILQ_NEXT(d, link);
		if (d->state == DEST_ASKING && !d->is_asked && !d->is_in_turn && d->sts_request == NULL)
			dest_ask(d);
	}
	ask_waiting(r);
}

void
resolver_forget(struct resolver *r)
{
	struct dest *d;

	TAILQ_FOREACH(d, &r->order, link)
		d->is_stale = true;
}

void
resolver_sweep(struct resolver *r)
{
	int64_t now = loop_now(r->net->loop);
	struct dest *d, *next;

	TAILQ_FOREACH_SAFE(d, &r->order, link, next)
		if (d->state != DEST_ASKING && (d->is_stale || d->expires < now))
			dest_free(d);
}

static void
on_refreshed(const struct site *site, const struct outcome *failure, void *arg)
{
	(void)site, (void)failure, (void)arg;
}

/* Asking is all it takes; what was learnt within the hour is not asked for again. */
static void
on_refresh(const char *domain, void *arg)
{
	struct resolver *r = arg;

	if (!r->net->is_stopping && r->net->params->relayhost[0] == '\0' && r->net->params->mta_sts)
		resolver_find(r, domain, on_refreshed, NULL);
}

void
resolver_set_sts_peer(struct resolver *r, int fd)
{
	sts_peer_set(r->sts, fd);
}

const struct sts_known *
resolver_sts(struct resolver *r, const char *domain)
{
	struct dest find = { .name = (char *)(uintptr_t)domain }, *d = RB_FIND(dest_tree, &r->dests, &find);

	return d != NULL && d->state == DEST_KNOWN && !d->is_relay ? &d->sts : NULL;
}

struct resolver *
resolver_new(struct net *net)
{
	struct resolver *r = xcalloc(1, sizeof(*r));

	r->net = net;
	r->sts = sts_peer_new(net->loop, on_refresh, r);
	RB_INIT(&r->dests);
	TAILQ_INIT(&r->order);
	TAILQ_INIT(&r->turn);
	for (r->n_free = 0; r->n_free < OPEN_MAX; r->n_free++)
		r->free_slots[r->n_free] = (uint16_t)r->n_free;
	return r;
}

void
resolver_free(struct resolver **rp)
{
	struct resolver *r = *rp;
	struct dest *d, *next;

	*rp = NULL;
	if (r == NULL)
		return;
	TAILQ_FOREACH_SAFE(d, &r->order, link, next)
		dest_free(d);
	dns_client_share(r->net->dns, NULL);
	ipc_close(&r->peer);
	sts_peer_free(&r->sts);
	free(r);
}
