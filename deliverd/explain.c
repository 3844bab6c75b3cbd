/* Explanations (explain.h), in the net process. queued's question is an operator's; the answer is text for their
 * terminal, in which names and replies are a stranger's: the writer of JSON escapes them, and the admin command cleans
 * them again. */
#include <stdlib.h>
#include <string.h>

#include "base/cidr.h"
#include "base/xalloc.h"
#include "deliverd/explain.h"
#include "deliverd/explain_path.h"
#include "deliverd/path.h"
#include "deliverd/qlink.h"
#include "deliverd/resolve.h"
#include "deliverd/source.h"
#include "deliverd/sts_peer.h"

struct explain {
	struct net *net;
	uint32_t id;
	char *domain;
	char *source;  /* NULL: all */
	char *tenant, *campaign;
};

static void
explain_free(struct explain *x)
{
	free(x->domain);
	free(x->source);
	free(x->tenant);
	free(x->campaign);
	free(x);
}

static void
put_hosts(struct json *json, const struct mx_list *mx)
{
	struct sockaddr_storage ss;
	socklen_t len;
	char text[46];
	unsigned i, j;

	json_arr(json, "mx");
	for (i = 0; i < mx->n_hosts; i++) {
		json_obj(json, NULL);
		json_str(json, "host", mx->hosts[i].name);
		json_int(json, "preference", mx->hosts[i].pref);
		if (mx->hosts[i].sts != MX_STS_NONE)
			json_bool(json, "in_mta_sts_policy", mx->hosts[i].sts == MX_STS_ENFORCE ||
			    mx->hosts[i].sts == MX_STS_TESTING);
		json_arr(json, "addresses");
		for (j = 0; j < mx->hosts[i].n_addrs; j++) {
			mx_addr_sockaddr(&mx->hosts[i].addrs[j], 0, &ss, &len);
			sockaddr_text((const struct sockaddr *)&ss, text);
			json_str(json, NULL, text);
		}
		json_arr_end(json);
		json_obj_end(json);
	}
	json_arr_end(json);
}

static void
put_sts(struct explain *x, struct json *json)
{
	const struct sts_known *k = resolver_sts(x->net->resolver, x->domain);

	if (k == NULL || (!k->is_known && k->why == NULL))
		return;
	json_obj(json, "mta_sts");
	json_str(json, "mode", k->is_known ? sts_mode_names[k->mode] : NULL);
	json_str(json, "id", k->is_known ? k->id : NULL);
	json_str(json, "mx", k->mx);
	if (k->is_known)
		json_int(json, "expires_s", (k->expires - loop_wall(x->net->loop)) / 1000);
	json_str(json, "problem", k->why);
	json_obj_end(json);
}

static void
answer_destination(struct explain *x, const struct site *site, const struct outcome *failure)
{
	static const char *const kinds[] = { [MX_RECORDS] = "MX records",
		[MX_IMPLICIT] = "no MX: the domain's addresses",
		[MX_LITERAL] = "address literal", [MX_RELAY] = "relayhost" };
	char code[32];
	struct json json;

	json_init(&json);
	json_obj(&json, NULL);
	json_str(&json, "kind", "destination");
	json_str(&json, "domain", x->domain);
	if (site != NULL) {
		json_str(&json, "site", site->name);
		json_str(&json, "found_by", kinds[site->mx->kind]);
		explain_provider(site, x->domain, &json);
		put_sts(x, &json);
		put_hosts(&json, site->mx);
	} else {
		enhanced_format(&failure->enhanced, code);
		json_str(&json, "error", failure->text);
		json_int(&json, "code", failure->code);
		json_str(&json, "enhanced_code", code);
	}
	json_obj_end(&json);
	qlink_answer(x->net->queue, x->id, &json);
	json_clear(&json);
}

static void
answer_sources(struct explain *x, struct site *site)
{
	struct explain_who who = { .domain = x->domain, .tenant = x->tenant, .campaign = x->campaign };
	struct source *s;
	struct json json;
	unsigned n = 0;

	json_init(&json);
	TAILQ_FOREACH(s, &x->net->sources, link) {
		if (x->source != NULL && strcmp(x->source, s->name) != 0)
			continue;
		n++;
		explain_source_row(site, s, &who, &json);
		qlink_answer(x->net->queue, x->id, &json);
	}
	json_clear(&json);
	qlink_answer_end(x->net->queue, x->id, n > 0 || x->source == NULL ? 0 : 1,
	    n > 0 || x->source == NULL ? "" : "the pool of this queue has no such source");
}

static void
on_found(const struct site *site, const struct outcome *failure, void *arg)
{
	struct explain *x = arg;

	if (site == NULL && failure == NULL) { /* we are going: there is nobody to answer any more */
		explain_free(x);
		return;
	}
	answer_destination(x, site, failure);
	if (site != NULL)
		answer_sources(x, (struct site *)(uintptr_t)site);
	else
		qlink_answer_end(x->net->queue, x->id, 0, "");
	explain_free(x);
}

void
explain_start(struct net *net, uint32_t id, const struct ql_admin *ask)
{
	struct explain *x = xcalloc(1, sizeof(*x));
	const struct meta *a;
	uint32_t i;
	char **into;

	x->net = net;
	x->id = id;
	for (i = 0; i < ask->n_args; i++) {
		a = &ask->args[i];
		into = strcmp(a->key, "domain") == 0 ? &x->domain : strcmp(a->key, "source") == 0 ? &x->source :
		    strcmp(a->key, "tenant") == 0 ? &x->tenant : strcmp(a->key, "campaign") == 0 ? &x->campaign : NULL;
		if (into == NULL || a->value[0] == '\0')
			continue;
		free(*into);
		*into = xstrdup(a->value);
	}
	if (strcmp(ask->verb, "explain") != 0 || x->domain == NULL) {
		qlink_answer_end(net->queue, id, 1, "deliverd does not know this question");
		explain_free(x);
		return;
	}
	resolver_find(net->resolver, x->domain, on_found, x);
}
