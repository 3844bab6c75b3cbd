/* Sources of the pool (source.h), in the net process. Which address mail leaves from is a promise: every road that
 * does not end in a bound socket ends in "not sent". */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "mail/dns_link.h"
#include "deliverd/path.h"
#include "deliverd/source.h"

static struct source *
source_new(const struct policy_source *def)
{
	struct source *s = xcalloc(1, sizeof(*s));

	s->refs = 1;
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
	s->out_until = 0;
	if (!source_probe(s)) {
		log_warn("source %s: its address %s is not on this host, nothing is sent from it", s->name, s->address);
		s->out_until = loop_now(net->loop) + SOURCE_OUT_MS;
	}
}

static void
drop_gone(struct net *net)
{
	struct source *s, *next;

	TAILQ_FOREACH_SAFE(s, &net->sources, link, next) {
		if (!s->is_gone)
			continue;
		TAILQ_REMOVE(&net->sources, s, link);
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
			s = source_new(pool->entries[i].source);
			TAILQ_INSERT_TAIL(&net->sources, s, link);
		}
		source_set(net, s, &pool->entries[i]);
	}
	drop_gone(net);
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
	struct path *p, *next;

	log_warn("source %s: its address %s is not on this host, its mail goes to other sources or back", s->name,
	    s->address);
	s->out_until = loop_now(net->loop) + SOURCE_OUT_MS;
	for (p = RB_MIN(path_tree, &net->paths); p != NULL; p = next) {
		next = RB_NEXT(path_tree, &net->paths, p);
		if (p->source == s)
			path_reassign(p);
	}
}

/* Back in use if its address has come back. */
static bool
source_is_in(struct net *net, struct source *s)
{
	if (s->out_until == 0)
		return true;
	if (loop_now(net->loop) < s->out_until)
		return false;
	if (!source_probe(s)) {
		s->out_until = loop_now(net->loop) + SOURCE_OUT_MS;
		return false;
	}
	log_info("source %s: its address %s is there now", s->name, s->address);
	s->out_until = 0;
	return true;
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

struct source *
source_choose(struct site *site, const struct msgid *msg, bool *is_out_r)
{
	struct site_share *best = NULL, *sh;
	int64_t total = 0;
	unsigned i;

	*is_out_r = false;
	shares_refresh(site);
	if (site->last_source != NULL && site->last_left > 0 && msgid_cmp(&site->last_msg, msg) == 0 &&
	    source_is_in(site->net, site->last_source) && source_fits(site->last_source, site->mx)) {
		site->last_left--;
		return site->last_source;
	}
	for (i = 0; i < site->n_shares; i++) {
		sh = &site->shares[i];
		if (!source_fits(sh->source, site->mx))
			continue;
		if (!source_is_in(site->net, sh->source)) {
			*is_out_r = true;
			continue;
		}
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
