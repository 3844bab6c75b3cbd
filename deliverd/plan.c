/* Which addresses to try (plan.h), in the net process. The addresses are what strangers put into DNS: ourselves,
 * loopback and private ranges are not gone to (RFC 5321 section 5.1, RFC 7505; reliability of others' networks)
 * unless the administrator allowed it. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cidr.h"
#include "base/xalloc.h"
#include "deliverd/plan.h"
#include "deliverd/tls_need.h"

/* Why addresses were left out. */
struct counts {
	unsigned self, prohibited, skipped, family, none, forbidden;
};

static void
shuffle(struct target *v, unsigned n)
{
	struct target t;
	unsigned i, j;

	for (i = n; i > 1; i--) {
		j = arc4random_uniform(i);
		t = v[i - 1];
		v[i - 1] = v[j];
		v[j] = t;
	}
}

static bool
port_is_ours(const struct net *net, uint16_t port)
{
	const struct conf_addrs *listen = &net->params->smtpd_listen;
	size_t i;
	uint16_t p;

	for (i = 0; i < listen->n; i++) {
		p = listen->v[i].sa.ss_family == AF_INET ? ((const struct sockaddr_in *)&listen->v[i].sa)->sin_port :
		    ((const struct sockaddr_in6 *)&listen->v[i].sa)->sin6_port;
		if (ntohs(p) == port)
			return true;
	}
	return port == 25;
}

/* An address that we send from, or listen on, at a port where our own smtpd answers. */
static bool
addr_is_ours(const struct path *p, const struct mx_addr *a)
{
	const struct policy *policy = p->net->policy;
	const struct policy_pool *pool;
	struct sockaddr_storage ss, own;
	socklen_t len;
	size_t i, j;

	if (!port_is_ours(p->net, p->limits.port))
		return false;
	mx_addr_sockaddr(a, 0, &ss, &len);
	for (i = 0; i < policy_pool_count(policy); i++) {
		pool = policy_pool_at(policy, i);
		for (j = 0; j < pool->n_entries; j++)
			if (pool->entries[j].source->source_address != NULL &&
			    sockaddr_parse(pool->entries[j].source->source_address, 0, &own, &len) == 0 &&
			    sockaddr_equal_addr((struct sockaddr *)&ss, (struct sockaddr *)&own))
				return true;
	}
	for (i = 0; i < p->net->params->smtpd_listen.n; i++)
		if (sockaddr_equal_addr((struct sockaddr *)&ss,
		    (struct sockaddr *)&p->net->params->smtpd_listen.v[i].sa))
			return true;
	return false;
}

static bool
host_is_ours(const struct path *p, const struct mx_host *h)
{
	unsigned i;

	if (strcasecmp(h->name, p->net->params->myhostname) == 0)
		return true;
	for (i = 0; i < h->n_addrs; i++)
		if (addr_is_ours(p, &h->addrs[i]))
			return true;
	return false;
}

/* How many of the hosts may be used: those that are better than the best one that is ourselves (RFC 5321 section
 * 5.1). */
static unsigned
hosts_before_self(const struct path *p, const struct mx_list *mx)
{
	unsigned i;

	if (mx->kind == MX_RELAY)
		return mx->n_hosts;
	for (i = 0; i < mx->n_hosts; i++)
		if (host_is_ours(p, &mx->hosts[i]))
			break;
	if (i == mx->n_hosts)
		return i;
	while (i > 0 && mx->hosts[i - 1].pref == mx->hosts[i].pref)
		i--;
	return i;
}

/* Of the two families, what ip_lookup_strategy leaves. */
static bool
family_is_wanted(const struct path *p, const struct mx_host *h, int family)
{
	unsigned i;

	switch (p->config.ip_lookup_strategy) {
	case IP_LOOKUP_4:
		return family == AF_INET;
	case IP_LOOKUP_6:
		return family == AF_INET6;
	case IP_LOOKUP_6_THEN_4:
	case IP_LOOKUP_4_THEN_6: /* the other one only for hosts that have none of this */
		if (family == (p->config.ip_lookup_strategy == IP_LOOKUP_4_THEN_6 ? AF_INET : AF_INET6))
			return true;
		for (i = 0; i < h->n_addrs; i++)
			if (h->addrs[i].family != family && source_has_family(p->source, h->addrs[i].family))
				return false;
		return true;
	default:
		return true;
	}
}

static void
add_host(const struct path *p, struct plan *plan, struct mx_host *h, struct counts *c)
{
	struct sockaddr_storage ss;
	unsigned first = plan->n, i;
	socklen_t len;

	if (tls_need_forbids(p, h)) {
		c->forbidden++;
		return;
	}
	if (h->n_addrs == 0)
		c->none++;
	for (i = 0; i < h->n_addrs; i++) {
		if (!source_has_family(p->source, h->addrs[i].family) ||
		    !family_is_wanted(p, h, h->addrs[i].family)) {
			c->family++;
			continue;
		}
		mx_addr_sockaddr(&h->addrs[i], p->limits.port, &ss, &len);
		if (plan->mx->kind != MX_RELAY && cidr_list_match(p->limits.prohibited, (struct sockaddr *)&ss)) {
			c->prohibited++;
			continue;
		}
		if (p->config.has_skip_hosts && cidr_list_match(&p->config.skip_hosts, (struct sockaddr *)&ss)) {
			c->skipped++;
			continue;
		}
		plan->v[plan->n++] = (struct target){ h, &h->addrs[i] };
	}
	shuffle(plan->v + first, plan->n - first);
}

/* Hosts of one preference are taken in random order; their addresses stay together. */
static void
add_preference(const struct path *p, struct plan *plan, unsigned from, unsigned to, struct counts *c)
{
	struct target order[MX_HOSTS_MAX];
	unsigned i, n = 0;

	for (i = from; i < to; i++)
		order[n++] = (struct target){ &plan->mx->hosts[i], NULL };
	shuffle(order, n);
	for (i = 0; i < n; i++)
		add_host(p, plan, order[i].host, c);
}

/* What failed in the last minute goes to the end, in the same order. */
static void
move_bad_last(struct plan *plan, int64_t now)
{
	struct target *bad = xcalloc(plan->n, sizeof(*bad));
	unsigned i, n_good = 0, n_bad = 0;

	for (i = 0; i < plan->n; i++) {
		if (plan->v[i].addr->bad_until > now)
			bad[n_bad++] = plan->v[i];
		else
			plan->v[n_good++] = plan->v[i];
	}
	memcpy(plan->v + n_good, bad, n_bad * sizeof(*bad));
	free(bad);
}

/* The host that was spoken to last comes first (reconnect_strategy). */
static void
move_again_first(const struct path *p, struct plan *plan)
{
	struct target t;
	unsigned i;

	for (i = 0; i < plan->n && p->again_host != NULL; i++)
		if (strcasecmp(plan->v[i].host->name, p->again_host) == 0) {
			t = plan->v[i];
			memmove(plan->v + 1, plan->v, i * sizeof(plan->v[0]));
			plan->v[0] = t;
			return;
		}
}

static struct outcome
explain_empty(const struct counts *c)
{
	struct outcome o;

	if (c->self > 0 && c->prohibited == 0 && c->family == 0 && c->forbidden == 0)
		return outcome_local(PHASE_DNS, 550, "5.4.6", "mail for this domain loops back to this host");
	if (c->forbidden > 0) {
		o = outcome_local(PHASE_DNS, 451, "4.4.4",
		    "the domain's MTA-STS policy is to be enforced, and names none of the mail exchangers that can be "
		    "used");
		o.is_forbidden = true;
		return o;
	}
	if (c->family > 0)
		return outcome_local(PHASE_CONNECT, 451, "4.4.4",
		    "the destination has no address of the source's family");
	if (c->skipped > 0)
		return outcome_local(PHASE_DNS, 451, "4.4.4", "the destination's hosts are all in skip_hosts");
	if (c->prohibited > 0)
		return outcome_local(PHASE_DNS, 550, "5.4.4", "the destination's addresses are in prohibited_hosts");
	return outcome_local(PHASE_DNS, 451, "4.4.4", "no mail exchanger has a usable address");
}

struct plan *
plan_new(const struct path *p, struct outcome *why)
{
	struct mx_list *mx = p->site->mx;
	struct counts c = { 0 };
	unsigned usable = hosts_before_self(p, mx), n = 0, i, j;
	struct plan *plan;

	for (i = 0; i < usable; i++)
		n += mx->hosts[i].n_addrs;
	plan = xcalloc(1, sizeof(*plan) + n * sizeof(plan->v[0]));
	plan->mx = mx_list_ref(mx);
	plan->port = p->limits.port;
	c.self = mx->n_hosts - usable;
	for (i = 0; i < usable; i = j) {
		for (j = i + 1; j < usable && mx->hosts[j].pref == mx->hosts[i].pref; j++)
			;
		add_preference(p, plan, i, j, &c);
	}
	if (plan->n == 0) {
		*why = explain_empty(&c);
		plan_free(&plan);
		return NULL;
	}
	move_bad_last(plan, loop_now(p->net->loop));
	move_again_first(p, plan);
	if (plan->n > (unsigned)p->net->params->smtp_address_limit)
		plan->n = (unsigned)p->net->params->smtp_address_limit;
	return plan;
}

void
plan_free(struct plan **pp)
{
	struct plan *p = *pp;

	*pp = NULL;
	if (p == NULL)
		return;
	mx_list_unref(&p->mx);
	free(p);
}
