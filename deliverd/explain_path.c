/* Paths in an explanation (explain_path.h): what holds a path, by whom that was said, how much of it is used. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "deliverd/explain_path.h"
#include "deliverd/guard.h"
#include "deliverd/origin.h"
#include "deliverd/overrides.h"
#include "deliverd/path.h"
#include "deliverd/qlink.h"

void
explain_provider(const struct site *site, const char *domain, struct json *json)
{
	const char *hosts[MX_HOSTS_MAX];
	struct shaping_path at = { .domain = domain, .site = site->name, .mx = hosts };

	for (; at.n_mx < site->mx->n_hosts; at.n_mx++)
		hosts[at.n_mx] = site->mx->hosts[at.n_mx].name;
	json_str(json, "provider", site->net->shaping == NULL ? NULL : shaping_provider(site->net->shaping, &at));
}

static void
put_settings(const struct path *p, struct json *json)
{
	char *value, *origin;
	size_t i;

	json_arr(json, "settings");
	for (i = 0; i < policy_path_count(); i++) {
		if ((value = policy_path_text(&p->config, i)) == NULL)
			continue;
		origin = origin_text(p, i);
		json_obj(json, NULL);
		json_str(json, "name", policy_path_name(i));
		json_str(json, "value", value);
		json_str(json, "origin", origin);
		json_obj_end(json);
		free(origin);
		free(value);
	}
	json_arr_end(json);
}

/* The limits in force, with how much of each is used; shared ones by their name. */
static void
put_limits(const struct path *p, struct json *json)
{
	const struct limit *l;
	char text[256], use[48];
	unsigned kind, i;

	json_arr(json, "limits");
	(void)snprintf(text, sizeof(text), "%u connections, %u by success so far", p->limits.connections, p->window);
	(void)snprintf(use, sizeof(use), "%u in use", p->n_conns);
	json_obj(json, NULL);
	json_str(json, "name", p->name);
	json_str(json, "value", text);
	json_str(json, "use", use);
	json_obj_end(json);
	for (kind = 0; kind < LIMIT_KINDS; kind++)
		for (i = 0; i < p->sets[kind].n; i++) {
			l = p->sets[kind].v[i];
			if (kind == LIMIT_CONNS && l->refs == 1 && strncmp(l->name, "path ", 5) == 0)
				continue; /* that is the first line */
			limit_text(l, text, sizeof(text));
			if (kind == LIMIT_CONNS)
				(void)snprintf(use, sizeof(use), "%u in use", l->n_conns);
			else
				(void)snprintf(use, sizeof(use), "%.0f %% used", 100 * limit_fill(l));
			json_obj(json, NULL);
			json_str(json, "name", l->name);
			json_str(json, "value", text);
			json_str(json, "use", use);
			json_obj_end(json);
		}
	json_arr_end(json);
}

/* Why nothing leaves by this path now, malloced, and for how long (ms; -1: not known); NULL: it may. */
static char *
waits_because(const struct path *p, const struct override *suspended, int64_t *wait_r)
{
	int64_t now = loop_now(p->net->loop);
	struct path_stats st;
	char text[256];

	*wait_r = -1;
	if (suspended != NULL) {
		if (suspended->expires > 0)
			*wait_r = suspended->expires - loop_wall(p->net->loop);
		return imposed_text(suspended);
	}
	path_stats(p, &st);
	if (p->rest_until > now) {
		*wait_r = p->rest_until - now;
		return xasprintf("%u connections in a row failed", p->n_failures);
	}
	if (st.blocked != NULL) {
		*wait_r = st.wait_ms;
		limit_text(st.blocked, text, sizeof(text));
		return xstrdup(text);
	}
	if (p->open_after > now && p->n_conns == p->n_quitting) {
		*wait_r = p->open_after - now;
		return xstrdup("the last connection failed");
	}
	return NULL;
}

static void
put_state(struct path *p, const struct explain_who *who, struct json *json)
{
	const struct override *suspended;
	struct override_target t;
	char *why, *text;
	int64_t wait;

	path_target(p, NULL, &t);
	t.domain = who->domain;
	t.tenant = who->tenant;
	t.campaign = who->campaign;
	suspended = imposed_suspends(qlink_imposed(p->net->queue), &t);
	why = waits_because(p, suspended, &wait);
	json_str(json, "waits", why);
	if (why != NULL && wait >= 0)
		json_int(json, "wait_ms", wait);
	free(why);
	if (p->last_code != 0) {
		text = xasprintf("%u %s", p->last_code, p->last_text);
		json_str(json, "last_reply", text);
		free(text);
	}
}

void
explain_source_row(struct site *site, struct source *s, const struct explain_who *who, struct json *json)
{
	struct path *p = path_get(site, s, who->domain);
	bool is_ready = path_prepare(p) == 0;

	json_obj(json, NULL);
	json_str(json, "kind", "source");
	json_str(json, "name", s->name);
	json_str(json, "address", s->address != NULL ? s->address : "unspecified");
	json_int(json, "weight", s->weight);
	json_str(json, "path", p->name);
	json_str(json, "out", !source_is_in(s) ? s->out_reason : !source_fits(s, site->mx) ?
	    "the destination has no address of its family" : !is_ready ? "the policy for this path failed" : NULL);
	json_int(json, "connections", p->n_conns);
	json_int(json, "ready", p->n_ready);
	guard_explain(s, site, json);
	if (is_ready) {
		put_state(p, who, json);
		put_limits(p, json);
		put_settings(p, json);
	}
	json_obj_end(json);
}
