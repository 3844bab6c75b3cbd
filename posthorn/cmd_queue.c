/* posthorn queue: asks queued, shows what it answers. Filters are checked here for presence only; queued decides what
 * they match. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/xalloc.h"

#include "adm_client.h"
#include "admin.h"
#include "queue_show.h"
#include "rows.h"

#define QUEUE_TIMEOUT 600000 /* ms: filters may match little in a long queue */

struct queue_run {
	const struct admin *adm;
	struct rows *rows;
	size_t n;
	json_t *last; /* of a change: what was done */
};

static const struct row_col summary_cols[] = {
	{ "QUEUE", "queue", NULL, ROW_TEXT },
	{ "POOL", "pool", NULL, ROW_TEXT },
	{ ">TOTAL", "messages", NULL, ROW_COUNT },
	{ ">DUE", "due", NULL, ROW_COUNT },
	{ ">OUT", "outstanding", NULL, ROW_COUNT },
	{ ">DEFERRED", "deferred", NULL, ROW_COUNT },
	{ ">HELD", "held", NULL, ROW_COUNT },
	{ ">OLDEST", "oldest", NULL, ROW_AGO },
	{ ">NEXT", "next_attempt", NULL, ROW_AHEAD },
	{ "LAST FAILURE", "last_failure", "reason", ROW_TEXT },
	{ NULL, NULL, NULL, ROW_TEXT },
};
static const struct row_col list_cols[] = {
	{ "ID", "id", NULL, ROW_TEXT },
	{ "STATE", "state", NULL, ROW_TEXT },
	{ ">AGE", "received", NULL, ROW_AGO },
	{ ">SIZE", "size", NULL, ROW_SIZE },
	{ ">TRIES", "attempts", NULL, ROW_NUMBER },
	{ ">NEXT", "next_attempt", NULL, ROW_AHEAD },
	{ "SENDER", "sender", NULL, ROW_ADDRESS },
	{ "RECIPIENT", "recipient", NULL, ROW_TEXT },
	{ "LAST FAILURE", "last_failure", "reason", ROW_TEXT },
	{ NULL, NULL, NULL, ROW_TEXT },
};

static const struct queue_verb {
	const char *name, *request, *done; /* done: "12 envelopes held"; NULL: it only looks */
	const struct row_col *cols;
	const char *nothing;
} queue_verbs[] = {
	{ "summary", "queue.summary", NULL, summary_cols, "the queue is empty" },
	{ "list", "queue.list", NULL, list_cols, "nothing in the queue matches" },
	{ "show", "queue.show", NULL, NULL, "there is no such message in the queue" },
	{ "hold", "queue.hold", "held", NULL, NULL },
	{ "release", "queue.release", "released", NULL, NULL },
	{ "retry", "queue.retry", "due now", NULL, NULL },
	{ "bounce", "queue.bounce", "bounced", NULL, NULL },
	{ "delete", "queue.delete", "deleted", NULL, NULL },
	{ "rebind", "queue.rebind", "rebound", NULL, NULL },
};

static const struct queue_verb *
queue_verb_find(const char *name)
{
	for (size_t i = 0; i < sizeof(queue_verbs) / sizeof(queue_verbs[0]); i++) {
		if (strcmp(queue_verbs[i].name, name) == 0)
			return &queue_verbs[i];
	}
	return NULL;
}

static bool
queue_on_row(json_t *row, const char *text, void *arg)
{
	struct queue_run *run = arg;

	run->n++;
	if (run->adm->json)
		printf("%s\n", text);
	else if (run->rows != NULL)
		rows_add(run->rows, row);
	json_decref(run->last);
	run->last = json_incref(row);
	return true;
}

static bool
queue_on_show(json_t *row, const char *text, void *arg)
{
	struct queue_run *run = arg;

	run->n++;
	if (run->adm->json)
		printf("%s\n", text);
	else
		queue_show_print(row, run->n == 1, wall_ms());
	return true;
}

/* "12 recipients held, 2 of them when their attempt ends" */
static void
queue_print_done(const json_t *row, const char *done)
{
	char count[HUMAN_TEXT];
	int64_t n = json_integer_value(json_object_get(row, "count")),
	    later = json_integer_value(json_object_get(row, "cancelling")),
	    failed = json_integer_value(json_object_get(row, "failed"));

	human_count(n, count);
	printf("%s recipient%s %s", count, n == 1 ? "" : "s", done);
	human_count(later, count);
	if (later > 0)
		printf(", %s of them unless the attempt under way succeeds", count);
	human_count(failed, count);
	if (failed > 0)
		printf("; %s could not be and stayed where they were: see the log", count);
	putchar('\n');
}

/* What to say in the end. */
static int
queue_result(const struct queue_run *run, const struct queue_verb *verb, int rv, const char *sentence)
{
	if (rv != 0)
		return adm_fail("queue %s: %s", verb->name, sentence);
	if (verb->done != NULL && !run->adm->json)
		queue_print_done(run->last, verb->done);
	else if (run->n == 0 && strcmp(verb->name, "show") == 0)
		return adm_fail("%s", verb->nothing);
	else if (run->n == 0 && verb->done == NULL && !run->adm->json)
		printf("%s\n", verb->nothing);
	return ADM_OK;
}

static int
queue_ask(struct admin *adm, const struct queue_verb *verb, const struct ql_admin *req)
{
	struct queue_run run = { .adm = adm };
	char *dir = adm_run_directory(adm), *text = NULL;
	struct adm_client *c;
	int rv;

	if (dir == NULL)
		return ADM_FAILED;
	if ((c = adm_connect(dir, ADM_QUEUED, NULL, &text)) == NULL) {
		rv = adm_fail("%s", text);
	} else {
		if (verb->cols != NULL && !adm->json)
			run.rows = rows_new(verb->cols, wall_ms());
		rv = adm_ask(c, req, QUEUE_TIMEOUT, strcmp(verb->name, "show") == 0 ? queue_on_show : queue_on_row,
		    &run, &text);
		if (run.rows != NULL)
			rows_end(&run.rows);
		rv = queue_result(&run, verb, rv, text);
		adm_disconnect(&c);
	}
	json_decref(run.last);
	free(text);
	free(dir);
	return rv;
}

/* Options of rebind alone. */
enum { OPT_DOMAIN = 1000, OPT_TENANT, OPT_CAMPAIGN, OPT_QUEUE, OPT_SET, OPT_ASK, OPT_FLUSH };

static void
rebind_add(struct ql_admin *req, const char *key, size_t len, const char *value)
{
	char *name = xasprintf("set.%.*s", (int)len, key);

	adm_request_add(req, name, value);
	free(name);
}

static int
rebind_option(struct ql_admin *req, int opt, const char *value)
{
	static const char *const keys[] = { "routing_domain", "tenant", "campaign", "queue" };
	const char *equals;

	if (opt == OPT_ASK || opt == OPT_FLUSH) {
		adm_request_add(req, opt == OPT_ASK ? "trigger_rebind_event" : "always_flush", "yes");
	} else if (opt == OPT_SET) {
		equals = strchr(value, '=');
		if (equals == NULL || equals == value)
			return adm_usage("queue", "--set wants KEY=VALUE, not `%s'", value);
		rebind_add(req, value, (size_t)(equals - value), equals + 1);
	} else {
		rebind_add(req, keys[opt - OPT_DOMAIN], strlen(keys[opt - OPT_DOMAIN]), value);
	}
	return ADM_OK;
}

/* Options into the request; counts the filters. */
static int
queue_options(struct ql_admin *req, int argc, char **argv, unsigned *filters, bool *all)
{
	static const struct option options[] = {
		{ "domain", required_argument, NULL, 'd' },
		{ "tenant", required_argument, NULL, 't' },
		{ "campaign", required_argument, NULL, 'c' },
		{ "recipient", required_argument, NULL, 'r' },
		{ "sender", required_argument, NULL, 's' },
		{ "id", required_argument, NULL, 'i' },
		{ "reason", required_argument, NULL, 'R' },
		{ "to-domain", required_argument, NULL, OPT_DOMAIN },
		{ "routing-domain", required_argument, NULL, OPT_DOMAIN },
		{ "to-tenant", required_argument, NULL, OPT_TENANT },
		{ "to-campaign", required_argument, NULL, OPT_CAMPAIGN },
		{ "to-queue", required_argument, NULL, OPT_QUEUE },
		{ "set", required_argument, NULL, OPT_SET },
		{ "trigger-rebind-event", no_argument, NULL, OPT_ASK },
		{ "always-flush", no_argument, NULL, OPT_FLUSH },
		{ "suppress-logging", no_argument, NULL, 'q' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "all", no_argument, NULL, 'a' },
		{ NULL, 0, NULL, 0 },
	};
	int opt, at = 0, rv;

	while ((opt = getopt_long(argc, argv, "n:", options, &at)) != -1) {
		switch (opt) {
		case 'a':
			*all = true;
			break;
		case 'q':
			adm_request_add(req, "quiet", "yes");
			break;
		case 'n':
			if (strspn(optarg, "0123456789") != strlen(optarg) || *optarg == '\0')
				return adm_usage("queue", "-n wants a number");
			adm_request_add(req, "limit", optarg);
			break;
		case '?':
			return adm_usage("queue", NULL);
		default:
			if (opt >= OPT_DOMAIN) {
				if ((rv = rebind_option(req, opt, optarg)) != ADM_OK)
					return rv;
				break;
			}
			if (*optarg == '\0')
				return adm_usage("queue", "--%s is empty", options[at].name);
			adm_request_add(req, options[at].name, optarg);
			*filters += opt != 'R';
		}
	}
	return ADM_OK;
}

static int
queue_run(struct admin *adm, const struct queue_verb *verb, int argc, char **argv)
{
	struct ql_admin req;
	unsigned filters = 0;
	bool all = false;
	int rv;

	adm_request_init(&req, verb->request);
	rv = queue_options(&req, argc, argv, &filters, &all);
	if (rv == ADM_OK && optind + 1 == argc) { /* a message id needs no option */
		adm_request_add(&req, "id", argv[optind++]);
		filters++;
	}
	if (rv == ADM_OK && optind != argc)
		rv = adm_usage("queue", "unexpected argument `%s'", argv[optind]);
	if (rv == ADM_OK && strcmp(verb->name, "show") == 0 && filters == 0)
		rv = adm_usage("queue", "show which message?");
	if (rv == ADM_OK && verb->done != NULL && filters == 0 && !all)
		rv = adm_usage("queue", "%s wants a filter, or --all", verb->name);
	if (rv == ADM_OK && verb->done != NULL && filters > 0 && all)
		rv = adm_usage("queue", "--all and a filter exclude each other");
	if (rv == ADM_OK && all)
		adm_request_add(&req, "all", "yes");
	if (rv == ADM_OK && strcmp(verb->name, "show") == 0)
		adm_request_add(&req, "headers", "yes");
	if (rv == ADM_OK)
		rv = queue_ask(adm, verb, &req);
	ql_admin_clear(&req);
	return rv;
}

int
cmd_queue(struct admin *adm, int argc, char **argv)
{
	const struct queue_verb *verb;
	char summary[] = "summary";
	char *only[] = { summary, NULL };

	if (argc < 2)
		return queue_run(adm, queue_verb_find("summary"), 1, only);
	if (argv[1][0] == '-') /* filters for the summary */
		return queue_run(adm, queue_verb_find("summary"), argc, argv);
	if ((verb = queue_verb_find(argv[1])) == NULL)
		return adm_usage("queue", "there is no verb `queue %s'", argv[1]);
	return queue_run(adm, verb, argc - 1, argv + 1);
}
