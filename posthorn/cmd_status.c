/* posthorn status: the supervisor's view of the daemons and queued's view of the queue, in one. Either may be
 * missing: without a supervisor systemd runs the daemons, without queued the queue is away. Exit status 1 unless
 * everything serves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#include "adm_client.h"
#include "admin.h"
#include "human.h"
#include "status_queue.h"

struct status {
	json_t *supervisor, *daemons, *queue;
	char *supervisor_err, *queue_err;
	bool has_supervisor;
	bool is_supervised; /* there is one, even if it does not answer */
};

static bool
status_on_supervisor(json_t *row, const char *text, void *arg)
{
	struct status *st = arg;
	const char *kind = json_string_value(json_object_get(row, "kind"));

	(void)text;
	if (kind != NULL && strcmp(kind, "supervisor") == 0) {
		json_decref(st->supervisor);
		st->supervisor = json_incref(row);
	} else {
		json_array_append(st->daemons, row);
	}
	return true;
}

static bool
status_on_queue(json_t *row, const char *text, void *arg)
{
	struct status *st = arg;

	(void)text;
	json_object_update(st->queue, row);
	return true;
}

/* Asks one of the two; its sentence in *err_r if it failed. */
static bool
status_ask(const char *dir, enum adm_peer peer, adm_row_fn *fn, struct status *st, char **err_r)
{
	bool is_absent = false;
	struct adm_client *c = adm_connect(dir, peer, &is_absent, err_r);
	struct ql_admin req;
	int rv;

	if (peer == ADM_SUPERVISOR)
		st->is_supervised = !is_absent;
	if (c == NULL)
		return false;
	adm_request_init(&req, "status");
	rv = adm_ask(c, &req, ADM_TIMEOUT, fn, st, err_r);
	ql_admin_clear(&req);
	adm_disconnect(&c);
	if (rv == 0) {
		free(*err_r);
		*err_r = NULL;
	}
	return rv == 0;
}

static int64_t
int_of(const json_t *row, const char *key)
{
	return json_integer_value(json_object_get(row, key));
}

static const char *
str_of(const json_t *row, const char *key)
{
	const char *s = json_string_value(json_object_get(row, key));

	return s != NULL ? s : "";
}

static void
status_row(struct table *t, const json_t *d)
{
	char age[HUMAN_TEXT] = "-", rss[HUMAN_TEXT] = "-", ago[HUMAN_TEXT];

	table_cell(t, str_of(d, "name"));
	table_cell(t, str_of(d, "state"));
	if (json_object_get(d, "pid") != NULL) {
		human_age(int_of(d, "uptime_ms"), age);
		human_size(int_of(d, "memory"), rss);
		table_cellf(t, "%lld", (long long)int_of(d, "pid"));
	} else {
		table_cell(t, "-");
	}
	table_cell(t, age);
	table_cell(t, rss);
	table_cellf(t, "%lld", (long long)int_of(d, "restarts"));
	table_cellf(t, "%lld", (long long)int_of(d, "generation"));
	if (*str_of(d, "last_exit") != '\0') {
		human_age(int_of(d, "last_exit_ms_ago"), ago);
		table_cellf(t, "%s, %s ago", str_of(d, "last_exit"), ago);
	} else {
		table_cell(t, "-");
	}
}

static void
status_print_generation(const json_t *sup)
{
	char age[HUMAN_TEXT];

	human_age(int_of(sup, "generation_ms_ago"), age);
	printf("configuration: generation %lld for %s (%s)\n", (long long)int_of(sup, "generation"), age,
	    str_of(sup, "generation_by"));
	if (int_of(sup, "disk_errors") == 0)
		return;
	human_age(int_of(sup, "disk_errors_ms_ago"), age);
	printf("the files on disk have %lld errors since %s; generation %lld stays in force\n",
	    (long long)int_of(sup, "disk_errors"), age, (long long)int_of(sup, "generation"));
}

static void
status_print_daemons(const struct status *st)
{
	static const char *const headings[] = { "DAEMON", "STATE", ">PID", ">UPTIME", ">MEMORY", ">RESTARTS",
		">GENERATION",
		"LAST EXIT", NULL };
	struct table *t = table_new(headings);
	const json_t *listen = json_object_get(st->supervisor, "listen");
	char age[HUMAN_TEXT];

	human_age(int_of(st->supervisor, "uptime_ms"), age);
	printf("posthorn %s, %s for %s, pid %lld, %s\n", str_of(st->supervisor, "version"),
	    str_of(st->supervisor, "state"), age,
	    (long long)int_of(st->supervisor, "pid"), str_of(st->supervisor, "config_directory"));
	for (size_t i = 0; i < json_array_size(listen); i++) {
		const json_t *l = json_array_get(listen, i);

		printf("%s%s (%s)", i == 0 ? "listening on " : ", ", str_of(l, "address"), str_of(l, "name"));
	}
	printf("%s\n", json_array_size(listen) > 0 ? "\n" : "");
	status_print_generation(st->supervisor);
	for (size_t i = 0; i < json_array_size(st->daemons); i++)
		status_row(t, json_array_get(st->daemons, i));
	table_print(t, stdout);
	table_free(&t);
}

static bool
status_is_good(const struct status *st)
{
	if (st->queue_err != NULL || (st->is_supervised && !st->has_supervisor))
		return false;
	for (size_t i = 0; i < json_array_size(st->daemons); i++) {
		if (strcmp(str_of(json_array_get(st->daemons, i), "state"), "ready") != 0)
			return false;
	}
	return true;
}

static void
status_print_json(const struct status *st)
{
	json_t *all = json_object();
	char *text;

	json_object_set_new(all, "ok", json_boolean(status_is_good(st)));
	json_object_set(all, "supervisor", st->has_supervisor ? st->supervisor : json_null());
	json_object_set(all, "daemons", st->daemons);
	json_object_set(all, "queue", st->queue_err == NULL ? st->queue : json_null());
	text = json_dumps(all, JSON_COMPACT | JSON_PRESERVE_ORDER);
	printf("%s\n", text);
	free(text);
	json_decref(all);
}

static int
status_show(const struct admin *adm, const struct status *st)
{
	if (!st->has_supervisor && st->queue_err != NULL)
		return adm_fail("%s", st->supervisor_err);
	if (adm->json) {
		status_print_json(st);
	} else {
		if (st->has_supervisor)
			status_print_daemons(st);
		else if (!st->is_supervised)
			printf("no supervisor: the daemons run on their own; see `systemctl status posthorn.target "
			    "'posthorn-*''\n");
		if (st->queue_err == NULL)
			status_queue_print(st->queue);
	}
	if (st->queue_err != NULL)
		return adm_fail("queued: %s", st->queue_err);
	if (st->is_supervised && !st->has_supervisor)
		return adm_fail("%s", st->supervisor_err != NULL ? st->supervisor_err :
		    "the supervisor does not answer");
	return status_is_good(st) ? ADM_OK : adm_fail("not all daemons are ready");
}

int
cmd_status(struct admin *adm, int argc, char **argv)
{
	struct status st = { 0 };
	char *dir;
	int rv;

	(void)argv;
	if (argc > 1)
		return adm_usage("status", "status takes no arguments");
	if ((dir = adm_run_directory(adm)) == NULL)
		return ADM_FAILED;
	st.daemons = json_array();
	st.queue = json_object();
	st.has_supervisor = status_ask(dir, ADM_SUPERVISOR, status_on_supervisor, &st, &st.supervisor_err);
	if (!status_ask(dir, ADM_QUEUED, status_on_queue, &st, &st.queue_err) && st.queue_err == NULL)
		st.queue_err = xstrdup("no answer");
	rv = status_show(adm, &st);
	json_decref(st.supervisor);
	json_decref(st.daemons);
	json_decref(st.queue);
	free(st.supervisor_err);
	free(st.queue_err);
	free(dir);
	return rv;
}
