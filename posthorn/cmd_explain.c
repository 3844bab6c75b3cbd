/* posthorn explain: what would happen to mail for an address now, and why. The rows come from queued and from the
 * deliverd of the pool; what is concluded from all of them together is said here, in one sentence. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/xalloc.h"

#include "adm_client.h"
#include "admin.h"
#include "human.h"

#define EXPLAIN_TIMEOUT 60000 /* ms of silence: the name service may take its time */
#define LABEL 18
#define MAIN "main.cf" /* with the line, if it is in the file */

struct explained {
	json_t *queue, *destination, *sources; /* the last is an array */
	bool is_all;
};

static const char *
text_of(const json_t *row, const char *key)
{
	const char *s = json_string_value(json_object_get(row, key));

	return s != NULL ? s : "";
}

static json_int_t
int_of(const json_t *row, const char *key)
{
	return json_integer_value(json_object_get(row, key));
}

static bool
explain_on_row(json_t *row, const char *text, void *arg)
{
	const char *kind = text_of(row, "kind");
	struct explained *x = arg;

	(void)text;
	if (strcmp(kind, "queue") == 0) {
		json_decref(x->queue);
		x->queue = json_incref(row);
	} else if (strcmp(kind, "destination") == 0) {
		json_decref(x->destination);
		x->destination = json_incref(row);
	} else {
		json_array_append(x->sources, row);
	}
	return true;
}

/* "label             text", cleaned; nothing if there is no text. */
static void
print_line(const char *label, const char *text)
{
	char *clean;

	if (text == NULL || *text == '\0')
		return;
	clean = human_clean(text);
	printf("  %-*s%s\n", LABEL, label, clean);
	free(clean);
}

/* Members of an array, one below the other, as made by fn. */
static void
print_list(const char *label, const json_t *array, char *(*fn)(const json_t *))
{
	for (size_t i = 0; i < json_array_size(array); i++) {
		char *text = fn(json_array_get(array, i));

		print_line(i == 0 ? label : "", text);
		free(text);
	}
}

/* "connection_limit 5, 3 in use (shaping.lua:12, provider google)" */
static char *
setting_text(const json_t *s)
{
	const char *use = text_of(s, "use"), *origin = text_of(s, "origin");

	return xasprintf("%s %s%s%s%s%s%s", text_of(s, "name"), text_of(s, "value"), *use != '\0' ? ", " : "", use,
	    *origin != '\0' ? " (" : "", origin, *origin != '\0' ? ")" : "");
}

static char *
override_text(const json_t *o)
{
	return xasprintf("#%lld %s", (long long)int_of(o, "id"), text_of(o, "text"));
}

static char *
host_text(const json_t *h)
{
	const json_t *addresses = json_object_get(h, "addresses");
	char *text = xasprintf("%lld %s", (long long)int_of(h, "preference"), text_of(h, "host"));

	for (size_t i = 0; i < json_array_size(addresses); i++) {
		const char *a = json_string_value(json_array_get(addresses, i));
		char *more = xasprintf("%s %s", text, a != NULL ? a : "");

		free(text);
		text = more;
	}
	return text;
}

static char *
plain_text(const json_t *s)
{
	return xstrdup(json_is_string(s) ? json_string_value(s) : "");
}

static void
print_queue(const json_t *q)
{
	char *text, *address = human_clean(text_of(q, "address"));
	char count[HUMAN_TEXT], held[HUMAN_TEXT];

	puts(address);
	free(address);
	human_count(int_of(q, "messages"), count);
	human_count(int_of(q, "held"), held);
	text = xasprintf("%s: %s messages%s%s%s", text_of(q, "queue"), count, int_of(q, "held") > 0 ? ", " : "",
	    int_of(q, "held") > 0 ? held : "", int_of(q, "held") > 0 ? " held" : "");
	print_line("queue", text);
	free(text);
	print_line("waits because", text_of(q, "reason"));
	text = xasprintf("%s%s%s%s", text_of(q, "pool"), *text_of(q, "pool_origin") != '\0' ? " (" : "",
	    text_of(q, "pool_origin"), *text_of(q, "pool_origin") != '\0' ? ")" : "");
	print_line("pool", text);
	free(text);
	print_line("fallback pool", text_of(q, "fallback_pool"));
	print_line("priority", text_of(q, "priority"));
	print_list("retry schedule", json_object_get(q, "schedule"), plain_text);
	print_list("settings", json_object_get(q, "settings"), setting_text);
	print_list("limits", json_object_get(q, "limits"), setting_text);
	print_list("overrides", json_object_get(q, "overrides"), override_text);
	print_line("suppressed", text_of(q, "suppressed"));
}

static void
print_mta_sts(const json_t *k)
{
	char *text, life[HUMAN_TEXT];

	if (k == NULL)
		return;
	if (*text_of(k, "mode") != '\0') {
		human_age(int_of(k, "expires_s") * 1000, life);
		text = xasprintf("%s, id %s, for %s more: %s", text_of(k, "mode"), text_of(k, "id"), life,
		    text_of(k, "mx"));
		print_line("MTA-STS", text);
		free(text);
	}
	print_line("MTA-STS problem", text_of(k, "problem"));
}

static void
print_destination(const json_t *d)
{
	if (d == NULL)
		return;
	putchar('\n');
	print_line("destination", text_of(d, "domain"));
	print_line("error", text_of(d, "error"));
	print_line("site", text_of(d, "site"));
	print_line("provider", text_of(d, "provider"));
	print_line("found by", text_of(d, "found_by"));
	print_mta_sts(json_object_get(d, "mta_sts"));
	print_list("hosts", json_object_get(d, "mx"), host_text);
}

/* What nobody said for this destination in particular is left out. */
static void
print_settings(const json_t *array, bool is_all)
{
	json_t *some = json_array();

	for (size_t i = 0; i < json_array_size(array); i++)
		if (is_all || strncmp(text_of(json_array_get(array, i), "origin"), MAIN, strlen(MAIN)) != 0)
			json_array_append(some, json_array_get(array, i));
	print_list("settings", some, setting_text);
	json_decref(some);
}

static void
print_source(const json_t *s, bool is_all)
{
	char *text;

	putchar('\n');
	text = xasprintf("%s %s, weight %lld", text_of(s, "name"), text_of(s, "address"),
	    (long long)int_of(s, "weight"));
	print_line("source", text);
	free(text);
	print_line("out because", text_of(s, "out"));
	print_line("waits because", text_of(s, "waits"));
	text = xasprintf("%lld connections, %lld messages ready", (long long)int_of(s, "connections"),
	    (long long)int_of(s, "ready"));
	print_line("path", text);
	free(text);
	print_line("last reply", text_of(s, "last_reply"));
	print_line("guard", text_of(s, "guard"));
	print_list("held senders", json_object_get(s, "held_senders"), plain_text);
	print_list("limits", json_object_get(s, "limits"), setting_text);
	print_settings(json_object_get(s, "settings"), is_all);
	print_list("overrides", json_object_get(s, "overrides"), override_text);
}

/* "from ip-1 or ip-2": those that could take a message now; NULL if there is none. */
static char *
sources_ready(const json_t *sources)
{
	char *list = NULL, *more;

	for (size_t i = 0; i < json_array_size(sources); i++) {
		const json_t *s = json_array_get(sources, i);

		if (*text_of(s, "out") != '\0' || *text_of(s, "waits") != '\0')
			continue;
		more = list == NULL ? xstrdup(text_of(s, "name")) : xasprintf("%s or %s", list, text_of(s, "name"));
		free(list);
		list = more;
	}
	return list;
}

/* The shortest wait of a source that is not out for good, ms; -1: none says. */
static json_int_t
shortest_wait(const json_t *sources)
{
	json_int_t best = -1;

	for (size_t i = 0; i < json_array_size(sources); i++) {
		const json_t *w = json_object_get(json_array_get(sources, i), "wait_ms");

		if (json_is_integer(w) && (best == -1 || json_integer_value(w) < best))
			best = json_integer_value(w);
	}
	return best;
}

static char *
conclusion_sources(const struct explained *x)
{
	char *ready = sources_ready(x->sources), *text, age[HUMAN_TEXT];
	json_int_t wait = shortest_wait(x->sources);

	if (ready != NULL)
		text = xasprintf("The next message would go at once, from %s.", ready);
	else if (json_array_size(x->sources) == 0)
		text = xstrdup("The pool has no source: mail waits.");
	else if (wait >= 0) {
		human_age(wait, age);
		text = xasprintf("The next message would go in %s: %s.", age,
		    text_of(json_array_get(x->sources, 0), *text_of(json_array_get(x->sources, 0), "out") != '\0' ?
		    "out" : "waits"));
	} else
		text = xasprintf("Mail waits: %s.", text_of(json_array_get(x->sources, 0),
		    *text_of(json_array_get(x->sources, 0), "out") != '\0' ? "out" : "waits"));
	free(ready);
	return text;
}

/* In one sentence, malloced. */
static char *
conclusion(const struct explained *x)
{
	const char *reason = text_of(x->queue, "reason"), *error = text_of(x->destination, "error");
	json_int_t code = int_of(x->destination, "code");

	if (*text_of(x->queue, "suppressed") != '\0')
		return xasprintf("Mail is not sent: %s.", text_of(x->queue, "suppressed"));
	if (*reason != '\0')
		return xasprintf("Mail waits: %s.", reason);
	if (x->destination == NULL)
		return xstrdup("Mail waits.");
	if (*error != '\0' && code >= 500)
		return xasprintf("Mail would bounce at once: %s.", error);
	if (*error != '\0')
		return xasprintf("Mail would wait and be tried again: %s.", error);
	return conclusion_sources(x);
}

static void
explain_print(const struct admin *adm, const struct explained *x)
{
	char *text = conclusion(x), *clean;
	json_t *all;

	if (adm->json) {
		all = json_pack("{s:O, s:O?, s:O, s:s}", "queue", x->queue, "destination", x->destination, "sources",
		    x->sources, "conclusion", text);
		json_dumpf(all, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(all);
	} else {
		print_queue(x->queue);
		print_destination(x->destination);
		for (size_t i = 0; i < json_array_size(x->sources); i++)
			print_source(json_array_get(x->sources, i), x->is_all);
		clean = human_clean(text);
		printf("\n%s\n", clean);
		free(clean);
	}
	free(text);
}

static int
explain_ask(struct admin *adm, const struct ql_admin *req, bool is_all)
{
	struct explained x = { NULL, NULL, json_array(), is_all };
	char *dir = adm_run_directory(adm), *err = NULL;
	struct adm_client *c = NULL;
	int rv = -1;

	if (dir != NULL && (c = adm_connect(dir, ADM_QUEUED, NULL, &err)) != NULL)
		rv = adm_ask(c, req, EXPLAIN_TIMEOUT, explain_on_row, &x, &err);
	adm_disconnect(&c);
	if (x.queue != NULL)
		explain_print(adm, &x);
	if (rv != 0 && dir != NULL)
		adm_fail("%s", err != NULL && *err != '\0' ? err : "the answer is incomplete");
	free(err);
	free(dir);
	json_decref(x.queue);
	json_decref(x.destination);
	json_decref(x.sources);
	return rv == 0 ? ADM_OK : ADM_FAILED;
}

int
cmd_explain(struct admin *adm, int argc, char **argv)
{
	static const struct option options[] = {
		{ "tenant", required_argument, NULL, 't' },
		{ "campaign", required_argument, NULL, 'c' },
		{ "source", required_argument, NULL, 's' },
		{ "sender-domain", required_argument, NULL, 'd' },
		{ "all", no_argument, NULL, 'a' },
		{ NULL, 0, NULL, 0 }
	};
	struct ql_admin req;
	bool is_all = false;
	int opt, rv = ADM_OK;

	adm_request_init(&req, "explain");
	optind = 0;
	opterr = 0;
	while (rv == ADM_OK && (opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == '?')
			rv = adm_usage("explain", "unknown option or missing value: `%s'", argv[optind - 1]);
		else if (opt == 'a')
			is_all = true;
		else
			adm_request_add(&req, opt == 't' ? "tenant" : opt == 'c' ? "campaign" : opt == 'd' ?
			    "sender_domain" : "source", optarg);
	}
	if (rv == ADM_OK && optind + 1 != argc)
		rv = adm_usage("explain", "explain which address?");
	if (rv == ADM_OK) {
		adm_request_add(&req, "address", argv[optind]);
		rv = explain_ask(adm, &req, is_all);
	}
	ql_admin_clear(&req);
	return rv;
}
