/* Sources of the pool (source.h), in the net process. Which address mail leaves from is a promise: every road that
 * does not end in a bound socket ends in "not sent". */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "mail/dns_link.h"
#include "deliverd/path.h"
#include "deliverd/qlink.h"
#include "deliverd/source.h"

#define FAILURES_OUT 5 /* connections in a row */

static void
write_event(const struct source *s, enum event_type type, uint16_t code, const char *text)
{
	struct event_record ev = { .type = type, .egress_pool = s->net->pool_name, .egress_source = s->name,
		.source_address = s->address, .code = code, .content = text, .is_local = true };

	if (s->net->events != NULL)
		eventlog_write(s->net->events, &ev);
}

/* Out of use, with its waiting mail moved; the first time with a record. Each further time in a row it is left alone
 * for longer. */
static void __attribute__((format(printf, 4, 5)))
take_out(struct net *net, struct source *s, int64_t first_ms, const char *fmt, ...)
{
	bool is_new = s->out_until == 0;
	struct path *p;
	va_list ap;
	char text[512];

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	free(s->out_reason);
	s->out_reason = xstrdup(text);
	s->out_ms = is_new ? first_ms : s->out_ms * 2;
	if (s->out_ms > SOURCE_OUT_MAX_MS && s->out_ms > first_ms)
		s->out_ms = first_ms > SOURCE_OUT_MAX_MS ? first_ms : SOURCE_OUT_MAX_MS;
	s->is_probing = s->is_trying = false;
	s->out_until = loop_now(net->loop) + s->out_ms;
	timer_set(&s->timer, s->out_ms);
	if (!is_new)
		log_debug("%s", text);
	if (is_new) {
		log_warn("%s: its mail goes to other sources or back", text);
		write_event(s, EV_SOURCE_OUT, 451, text);
	}
	sources_tell(net, false);
	/* Only marked: each moves its mail when it is its turn. */
	RB_FOREACH(p, path_tree, &net->paths)
		if (p->source == s)
			path_dirty(p);
}

static void
put_in(struct source *s)
{
	char text[256];

	(void)snprintf(text, sizeof(text), "source %s can be used again", s->name);
	log_info("%s", text);
	s->out_until = s->out_ms = 0;
	s->is_probing = s->is_trying = false;
	free(s->out_reason);
	s->out_reason = NULL;
	s->n_failures = s->n_unreachable = s->n_sites = 0;
	timer_cancel(&s->timer);
	write_event(s, EV_SOURCE_IN, 250, text);
	sources_tell(s->net, false);
}

/* Another try: the address is there, or one connection shows it. */
static void
on_timer(void *arg)
{
	struct source *s = arg;

	if (!source_probe(s)) {
		take_out(s->net, s, SOURCE_OUT_MS, "source %s: its address %s is not on this host", s->name,
		    s->address);
	} else if (s->n_failures == 0) {
		put_in(s);
	} else {
		s->is_probing = true;
		sources_tell(s->net, false);
	}
}

static struct source *
source_new(struct net *net, const struct policy_source *def)
{
	struct source *s = xcalloc(1, sizeof(*s));

	s->refs = 1;
	s->net = net;
	timer_init(&s->timer, net->loop, on_timer, s);
	s->name = xstrdup(def->name);
	s->address = def->source_address != NULL ? xstrdup(def->source_address) : NULL;
	if (s->address != NULL && sockaddr_parse(s->address, 0, &s->sa, &s->salen) == -1)
		panic("source %s: policy let the address '%s' pass", s->name, s->address);
	return s;
}

void
source_unref(struct source **sp)
{
	struct source *s = *sp;

	*sp = NULL;
	if (s == NULL || --s->refs > 0)
		return;
	free(s->name);
	free(s->address);
	timer_cancel(&s->timer);
	free(s->out_reason);
	free(s->ehlo);
	free(s);
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* The object of before, if it sends from the same address still. */
static struct source *
source_find(struct net *net, const struct policy_source *def)
{
	struct source *s;

	TAILQ_FOREACH(s, &net->sources, link)
		if (strcmp(s->name, def->name) == 0 && same_text(s->address, def->source_address))
			return s;
	return NULL;
}

static void
source_set(struct net *net, struct source *s, const struct policy_pool_entry *e)
{
	free(s->ehlo);
	s->ehlo = e->source->ehlo_domain != NULL ? xstrdup(e->source->ehlo_domain) : NULL;
	s->remote_port = e->source->remote_port;
	s->weight = e->weight > 0 ? e->weight : 1;
	s->is_gone = false;
	if (source_has_family(s, AF_INET))
		net->families |= DNS_FAMILY_4;
	if (source_has_family(s, AF_INET6))
		net->families |= DNS_FAMILY_6;
	/* What is out for another reason stays so; its timer runs. */
	if (!source_probe(s))
		source_out(net, s);
	else if (s->n_failures == 0 && s->out_until != 0)
		put_in(s);
}

static void
drop_gone(struct net *net)
{
	struct source *s, *next;

	TAILQ_FOREACH_SAFE(s, &net->sources, link, next) {
		if (!s->is_gone)
			continue;
		TAILQ_REMOVE(&net->sources, s, link);
		timer_cancel(&s->timer);
		source_unref(&s);
	}
}

void
sources_load(struct net *net)
{
	const struct policy_pool *pool = policy_pool_find(net->policy, net->pool_name);
	struct source *s;
	size_t i;

	net->families = 0;
	TAILQ_FOREACH(s, &net->sources, link)
		s->is_gone = true;
	if (pool == NULL)
		log_warn("pool %s is not in the policy any more: its mail is handed back", net->pool_name);
	for (i = 0; pool != NULL && i < pool->n_entries; i++) {
		s = source_find(net, pool->entries[i].source);
		if (s == NULL) {
			s = source_new(net, pool->entries[i].source);
			TAILQ_INSERT_TAIL(&net->sources, s, link);
		}
		source_set(net, s, &pool->entries[i]);
	}
	drop_gone(net);
	sources_tell(net, false);
}

void
sources_clear(struct net *net)
{
	struct source *s;

	TAILQ_FOREACH(s, &net->sources, link)
		s->is_gone = true;
	drop_gone(net);
}

bool
source_has_family(const struct source *s, int family)
{
	return s->salen == 0 || s->sa.ss_family == family;
}

bool
source_fits(const struct source *s, const struct mx_list *mx)
{
	if (s->salen == 0)
		return true;
	return mx_list_has_family(mx, s->sa.ss_family);
}

bool
source_probe(const struct source *s)
{
	int fd, r;

	if (s->salen == 0)
		return true;
	fd = socket(s->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd == -1)
		return errno != EAFNOSUPPORT;
	r = bind(fd, (const struct sockaddr *)&s->sa, s->salen);
	if (r == -1 && errno != EADDRNOTAVAIL && errno != EAFNOSUPPORT && errno != EINVAL)
		r = 0; /* trouble of another kind shows when it is used */
	close(fd);
	return r == 0;
}

void
source_out(struct net *net, struct source *s)
{
	if (!source_is_in(s)) /* known: its next try may be what leaves it alone for longer */
		return;
	take_out(net, s, SOURCE_OUT_MS, "source %s: its address %s is not on this host", s->name, s->address);
}

static bool
is_unreachable(int error)
{
	return error == ENETUNREACH || error == EHOSTUNREACH || error == EADDRNOTAVAIL || error == EACCES ||
	    error == EPERM || error == ENETDOWN;
}

/* Another source of the pool reaches a site that this one does not. */
static bool
others_succeed(const struct source *s)
{
	struct source *other;
	struct path find, *p;
	unsigned i;

	memset(&find, 0, sizeof(find));
	for (i = 0; i < s->n_sites; i++)
		TAILQ_FOREACH(other, &s->net->sources, link) {
			find.site = (struct site *)(uintptr_t)s->failed_sites[i];
			find.source = other;
			p = other != s ? RB_FIND(path_tree, &s->net->paths, &find) : NULL;
			if (p != NULL && p->connected_at > s->first_failed)
				return true;
		}
	return false;
}

bool
source_connect_failed(struct path *p, int error)
{
	struct source *s = p->source;
	unsigned i, n_paths = s->refs - 1;

	if (s->salen == 0 || s->is_gone)
		return false;
	if (s->n_failures++ == 0)
		s->first_failed = loop_now(s->net->loop);
	s->n_unreachable += is_unreachable(error);
	for (i = 0; i < s->n_sites && s->failed_sites[i] != p->site; i++)
		;
	if (i == s->n_sites && i < SOURCE_SITES)
		s->failed_sites[s->n_sites++] = p->site;
	if (!source_is_in(s)) /* this one was on its way before */
		return true;
	if (s->is_probing) {
		take_out(s->net, s, SOURCE_OUT_MS, "source %s: it still cannot connect anywhere (%s)", s->name,
		    strerror(error));
		return true;
	}
	if (s->n_failures < FAILURES_OUT || s->n_sites < (n_paths < SOURCE_SITES ? n_paths : SOURCE_SITES))
		return false;
	if (s->n_unreachable < s->n_failures && !others_succeed(s))
		return false;
	take_out(s->net, s, SOURCE_OUT_MS, "source %s: %u connections in a row failed, to all sites (%s)", s->name,
	    s->n_failures, strerror(error));
	return true;
}

void
source_connected(struct path *p)
{
	struct source *s = p->source;

	p->connected_at = loop_now(s->net->loop);
	s->n_failures = s->n_unreachable = s->n_sites = 0;
	if (s->out_until != 0)
		put_in(s);
}

bool
source_is_in(const struct source *s)
{
	return s->out_until == 0 || s->is_probing;
}

void
sources_tell(struct net *net, bool again)
{
	const char *reason = "the pool has no source";
	bool is_out = true;
	struct source *s;

	TAILQ_FOREACH(s, &net->sources, link) {
		if (s->is_gone)
			continue;
		if (source_is_in(s))
			is_out = false;
		else if (s->out_reason != NULL)
			reason = s->out_reason;
	}
	if (net->queue == NULL || (is_out == net->is_pool_out && !again))
		return;
	net->is_pool_out = is_out;
	qlink_pool(net->queue, !is_out, is_out ? reason : "a source can be used");
}

void
sources_retry(struct net *net)
{
	struct source *s;

	TAILQ_FOREACH(s, &net->sources, link)
		if (!source_is_in(s))
			timer_set(&s->timer, 0);
}

/* The site's shares follow the sources of this generation. */
static void
shares_refresh(struct site *site)
{
	struct source *s;
	unsigned n = 0;

	if (site->generation == site->net->generation)
		return;
	TAILQ_FOREACH(s, &site->net->sources, link)
		n++;
	free(site->shares);
	site->shares = xcalloc(n > 0 ? n : 1, sizeof(*site->shares));
	site->n_shares = n;
	n = 0;
	TAILQ_FOREACH(s, &site->net->sources, link)
		site->shares[n++].source = s;
	site->generation = site->net->generation;
	site->last_source = NULL;
}

void
source_choice(struct site *site)
{
	site->choice++;
}

void
source_refuse(struct site *site, const struct source *s)
{
	unsigned i;

	for (i = 0; i < site->n_shares; i++)
		if (site->shares[i].source == s)
			site->shares[i].refused = site->choice;
}

static bool
is_refused(const struct site *site, const struct source *s)
{
	unsigned i;

	for (i = 0; i < site->n_shares; i++)
		if (site->shares[i].source == s)
			return site->shares[i].refused == site->choice;
	return false;
}

struct source *
source_choose(struct site *site, const struct msgid *msg, bool *is_out_r)
{
	struct site_share *best = NULL, *sh;
	int64_t total = 0;
	unsigned i;

	*is_out_r = false;
	shares_refresh(site);
	if (site->last_source != NULL && site->last_left > 0 && msgid_cmp(&site->last_msg, msg) == 0 &&
	    source_is_in(site->last_source) && !is_refused(site, site->last_source) &&
	    source_fits(site->last_source, site->mx)) {
		site->last_left--;
		return site->last_source;
	}
	for (i = 0; i < site->n_shares; i++) {
		sh = &site->shares[i];
		if (!source_fits(sh->source, site->mx))
			continue;
		if (!source_is_in(sh->source)) {
			*is_out_r = true;
			continue;
		}
		if (sh->refused == site->choice)
			continue;
		sh->credit += sh->source->weight;
		total += sh->source->weight;
		if (best == NULL || sh->credit > best->credit)
			best = sh;
	}
	if (best == NULL) {
		*is_out_r = *is_out_r || site->n_shares == 0;
		return NULL;
	}
	best->credit -= total;
	site->last_msg = *msg;
	site->last_source = best->source;
	site->last_left = (unsigned)site->net->params->smtp_recipient_limit - 1;
	return best->source;
}
