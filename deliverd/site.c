/* Sites and their names (site.h), in the net process. Host names come from strangers' DNS through the dns role;
 * their syntax was checked at the link. */
#include <bsd/string.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cidr.h"
#include "base/xalloc.h"
#include "deliverd/guard.h"
#include "deliverd/overrides.h"
#include "deliverd/path.h"
#include "deliverd/site.h"

#define LABELS_MAX 128
#define SELECT_WAIT_MAX_MS 3600000

static int
site_cmp(const struct site *a, const struct site *b)
{
	return strcmp(a->key, b->key);
}

RB_GENERATE(site_tree, site, by_key, site_cmp)

struct labels {
	const char *v[LABELS_MAX]; /* from the right */
	size_t len[LABELS_MAX];
	unsigned n;
};

static void
split_labels(const char *name, struct labels *l)
{
	const char *end = name + strlen(name), *p = end;

	l->n = 0;
	while (p > name && l->n < LABELS_MAX) {
		p--;
		if (*p != '.' && p != name)
			continue;
		l->v[l->n] = *p == '.' ? p + 1 : p;
		l->len[l->n] = (size_t)(end - l->v[l->n]);
		l->n++;
		end = p;
	}
}

static int
text_cmp(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The pattern of the labels at position `at` from the right: "example", "(mx1|mx2)", with '?' if some host has none
 * there. */
static char *
label_pattern(const struct labels *hosts, unsigned n_hosts, unsigned at)
{
	char *texts[MX_HOSTS_MAX] = { NULL }, out[SITE_NAME_MAX * 2] = "";
	bool is_optional = false;
	unsigned n = 0, i, kept = 0;

	for (i = 0; i < n_hosts; i++) {
		if (at < hosts[i].n)
			texts[n++] = xmemdup0(hosts[i].v[at], hosts[i].len[at]);
		else
			is_optional = true;
	}
	qsort(texts, n, sizeof(texts[0]), text_cmp);
	for (i = 0; i < n; i++)
		if (i == 0 || strcmp(texts[i], texts[i - 1]) != 0) {
			strlcat(out, kept++ > 0 ? "|" : "(", sizeof(out));
			strlcat(out, texts[i], sizeof(out));
		}
	strlcat(out, is_optional ? ")?" : ")", sizeof(out));
	for (i = 0; i < n; i++)
		free(texts[i]);
	if (kept > 1 || is_optional)
		return xstrdup(out);
	return xmemdup0(out + 1, strlen(out) - 2);
}

void
site_name_make(const struct mx_list *mx, char *out, size_t size)
{
	struct labels *hosts = xcalloc(mx->n_hosts, sizeof(*hosts));
	char *name = xstrdup(""), *label, *longer;
	unsigned i, depth = 0;

	for (i = 0; i < mx->n_hosts; i++) {
		split_labels(mx->hosts[i].name, &hosts[i]);
		if (hosts[i].n > depth)
			depth = hosts[i].n;
	}
	for (i = 0; i < depth && strlen(name) < size; i++) {
		label = label_pattern(hosts, mx->n_hosts, i);
		longer = xasprintf("%s%s%s", label, i > 0 ? "." : "", name);
		free(label);
		free(name);
		name = longer;
	}
	free(hosts);
	if (strlen(name) < size)
		strlcpy(out, name, size);
	else
		snprintf(out, size, "%s(+%u)", mx->hosts[0].name, mx->n_hosts - 1);
	free(name);
}

/* The host names, sorted, joined, with the port that was said for them; the name of what is no host set. And whether
 * DNSSEC vouches for the hosts, and what the domain's MTA-STS policy says of each: a connection that was not made by
 * TLSA records, or not with the certificate that a policy wants, is not for mail that has to go by them. */
static const char *const sts_marks[] = { [MX_STS_NONE] = "", [MX_STS_TESTING] = "?", [MX_STS_TESTING_NOT] = "?-",
	[MX_STS_ENFORCE] = "*", [MX_STS_ENFORCE_NOT] = "*-" };

static char *
site_key(const struct mx_list *mx, const char *name)
{
	char *names[MX_HOSTS_MAX] = { NULL }, *list, *key, *p;
	const char *mark = mx->is_secure ? "!" : "";
	size_t len = 1;
	unsigned i;

	if (name != NULL && (mx->kind == MX_RELAY || mx->kind == MX_LITERAL))
		return xasprintf("=%s%s", name, mark);
	for (i = 0; i < mx->n_hosts; i++) {
		names[i] = xasprintf("%s%s", mx->hosts[i].name, sts_marks[mx->hosts[i].sts]);
		len += strlen(names[i]) + 1;
	}
	qsort(names, mx->n_hosts, sizeof(names[0]), text_cmp);
	p = list = xmalloc(len);
	*p = '\0';
	for (i = 0; i < mx->n_hosts; i++) {
		p = stpcpy(p, names[i]);
		*p++ = ',';
		free(names[i]);
	}
	*p = '\0';
	key = xasprintf("%s:%u%s", list, mx->port, mark);
	free(list);
	return key;
}

static struct site *
site_new(struct net *net, char *key, const struct mx_list *mx, const char *name)
{
	struct site *site = xcalloc(1, sizeof(*site));
	char made[SITE_NAME_MAX];

	site->net = net;
	site->key = key;
	if (name == NULL) {
		site_name_make(mx, made, sizeof(made));
		name = made;
	}
	site->name = xstrdup(name);
	RB_INSERT(site_tree, &net->sites, site);
	return site;
}

/* A relayhost is ours, and judges nobody by the address that its mail comes from. */
static bool
has_public_address(const struct mx_list *mx)
{
	struct sockaddr_storage ss;
	socklen_t len;
	unsigned i, k;

	for (i = 0; mx->kind != MX_RELAY && i < mx->n_hosts; i++)
		for (k = 0; k < mx->hosts[i].n_addrs; k++) {
			mx_addr_sockaddr(&mx->hosts[i].addrs[k], 0, &ss, &len);
			if (sockaddr_is_public((const struct sockaddr *)&ss))
				return true;
		}
	return false;
}

struct site *
site_get(struct net *net, struct mx_list *mx, const char *name)
{
	struct site find = { .key = site_key(mx, name) }, *site;

	site = RB_FIND(site_tree, &net->sites, &find);
	if (site == NULL)
		site = site_new(net, find.key, mx, name);
	else
		free(find.key);
	mx_list_ref(mx);
	mx_list_unref(&site->mx);
	site->mx = mx;
	site->is_public = has_public_address(mx);
	return site_ref(site);
}

struct site *
site_ref(struct site *site)
{
	site->refs++;
	return site;
}

void
site_unref(struct site **sp)
{
	struct site *site = *sp;

	*sp = NULL;
	if (site == NULL || --site->refs > 0)
		return;
	RB_REMOVE(site_tree, &site->net->sites, site);
	mx_list_unref(&site->mx);
	free(site->shares);
	free(site->key);
	free(site->name);
	free(site);
}

/* What is in the way of sources that would do, and of which of them for the shortest time. */
struct obstacle {
	const struct limit *limit;
	const struct override *held_by;
	int64_t wait;
	bool is_imposed; /* an override has a part in it */
};

static void
note_obstacle(struct obstacle *first, const struct limit *l, const struct override *o, int64_t wait)
{
	if ((first->limit != NULL || first->held_by != NULL) && wait >= first->wait)
		return;
	first->limit = l;
	first->held_by = o;
	first->wait = wait;
}

/* Whether this source may be chosen now: by overrides, by its selection rates. */
static bool
may_select(struct path *p, struct item *it, struct obstacle *first)
{
	int64_t now = loop_wall(p->net->loop), ms;
	const struct override *o;
	struct limit *l;

	it->selected = 0;
	if (path_prepare(p) == -1)
		return true; /* that is said when it is about to send */
	if ((o = path_held_by(p, it->job)) != NULL) {
		first->is_imposed = true;
		note_obstacle(first, NULL, o, o->expires == 0 ? INT64_MAX : o->expires > now ? o->expires - now : 0);
		return false;
	}
	first->is_imposed |= p->n_imposed > 0;
	if (p->sets[LIMIT_SELECT].n == 0)
		return true;
	ms = limit_set_take(&p->sets[LIMIT_SELECT], NULL, &l);
	it->selected = ms == 0 ? p->generation : 0;
	if (ms > 0)
		note_obstacle(first, l, NULL, ms);
	return ms == 0;
}

static void
obstacle_text(const struct obstacle *first, char *text, size_t size)
{
	char what[384], *why;

	if (first->held_by != NULL) {
		why = imposed_text(first->held_by);
		strlcpy(text, why, size);
		free(why);
	} else {
		limit_text(first->limit, what, sizeof(what));
		snprintf(text, size, "no source of the pool may be chosen now: %s", what);
	}
}

static struct outcome
nothing_to_choose(struct site *site, bool is_out, const struct obstacle *first, char *text, size_t size)
{
	struct outcome o;
	struct source *s;

	if (first->limit != NULL || first->held_by != NULL) {
		obstacle_text(first, text, size);
		/* When an override ends, queued offers again what it held; the rest may change without a word. */
		o = outcome_returned(text, first->wait < SELECT_WAIT_MAX_MS ? (uint32_t)(first->wait / 1000 + 1) :
		    SELECT_WAIT_MAX_MS / 1000);
		if (first->is_imposed)
			o.enhanced = QL_IMPOSED;
		return o;
	}
	if (!is_out)
		return outcome_local(PHASE_CONNECT, 451, "4.4.4",
		    "no source of the pool has an address family of the destination");
	snprintf(text, size, "no source of the pool can be used");
	TAILQ_FOREACH(s, &site->net->sources, link)
		if (s->out_reason != NULL)
			snprintf(text, size, "no source of the pool can be used: %s", s->out_reason);
	return outcome_returned(text, SOURCE_OUT_MS / 1000);
}

void
site_add(struct site *site, struct item *it)
{
	struct obstacle first = { NULL, NULL, 0, false };
	char text[1024];
	struct outcome o;
	struct source *s;
	struct path *p;
	bool is_out;

	paths_follow_imposed(site->net); /* frames of this turn */
	source_choice(site);
	while ((s = source_choose(site, &it->env.msg, &is_out)) != NULL) {
		p = path_get(site, s, it->job->q.domain);
		if (may_select(p, it, &first)) {
			if (guard_admits(p, it))
				path_add(p, it);
			return;
		}
		source_refuse(site, s);
	}
	o = nothing_to_choose(site, is_out, &first, text, sizeof(text));
	item_finish(site->net, it, &o, NULL, NULL);
}
