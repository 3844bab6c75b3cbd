/* posthorn suspend, resume, limit, bounce, overrides: what holds for a while over what policy and shaping data say. Put
 * together here, judged by queued. */
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/timefmt.h"
#include "base/xalloc.h"

#include "adm_client.h"
#include "admin.h"
#include "human.h"
#include "rows.h"

#define MANY_TIMEOUT 60000 /* ms */

static const struct row_col list_cols[] = {
	{ ">ID", "id", NULL, ROW_NUMBER },
	{ "KIND", "kind", NULL, ROW_TEXT },
	{ "SCOPE", "scope", NULL, ROW_TEXT },
	{ "SETTING", "what", NULL, ROW_TEXT },
	{ ">ENDS", "expires", NULL, ROW_AHEAD },
	{ ">HITS", "hits", NULL, ROW_COUNT },
	{ "BY", "made_by", NULL, ROW_TEXT },
	{ "REASON", "reason", NULL, ROW_TEXT },
	{ NULL, NULL, NULL, ROW_TEXT },
};

struct override_run {
	const struct admin *adm;
	struct rows *rows;
	size_t n;
	int64_t cancelled;
	bool is_show;
};

static const char *
str_of(const json_t *row, const char *key)
{
	const char *s = json_string_value(json_object_get(row, key));

	return s == NULL ? "" : s;
}

/* Two fields of the row as one column: "connection_limit=1", and whether it is only recorded. */
static void
add_what(json_t *row)
{
	bool is_dry = json_is_true(json_object_get(row, "is_dry_run"));
	char *text;

	if (*str_of(row, "setting") == '\0' && !is_dry)
		return;
	text = xasprintf("%s%s%s%s", str_of(row, "setting"), *str_of(row, "setting") == '\0' ? "" : "=",
	    str_of(row, "value"), !is_dry ? "" : *str_of(row, "setting") == '\0' ? "(dry run)" : " (dry run)");
	json_object_set_new(row, "what", json_string(text));
	free(text);
}

static void
print_line(const char *name, const char *value)
{
	char *clean;

	if (*value == '\0')
		return;
	clean = human_clean(value);
	printf("%-12s %s\n", name, clean);
	free(clean);
}

static void
print_time(const char *name, const json_t *row, const char *key, const char *never)
{
	const json_t *v = json_object_get(row, key);
	char when[HUMAN_TEXT];

	if (!json_is_integer(v)) {
		print_line(name, never);
		return;
	}
	human_time(json_integer_value(v), when);
	print_line(name, when);
}

static void
print_override(const json_t *row, bool is_first)
{
	char text[HUMAN_TEXT];

	if (!is_first)
		putchar('\n');
	printf("override     %lld\n", (long long)json_integer_value(json_object_get(row, "id")));
	print_line("kind", str_of(row, "kind"));
	print_line("scope", str_of(row, "scope"));
	print_line("setting", str_of(row, "what"));
	print_line("at first", str_of(row, "first_value"));
	print_line("reason", str_of(row, "reason"));
	print_line("made by", str_of(row, "made_by"));
	print_line("evidence", str_of(row, "evidence"));
	print_time("since", row, "created", "");
	print_time("ends", row, "expires", "when it is cancelled");
	human_count(json_integer_value(json_object_get(row, "hits")), text);
	print_line("hits", text);
	if (json_is_true(json_object_get(row, "is_gradual")))
		print_line("then", "raised step by step while mail goes through");
}

static bool
on_row(json_t *row, const char *text, void *arg)
{
	struct override_run *run = arg;
	const json_t *cancelled = json_object_get(row, "cancelled");

	if (json_object_get(row, "progress") != NULL)
		return true;
	run->n++;
	run->cancelled += json_integer_value(cancelled);
	if (run->adm->json) {
		printf("%s\n", text);
		return true;
	}
	if (cancelled != NULL)
		return true;
	add_what(row);
	if (run->rows != NULL)
		rows_add(run->rows, row);
	else if (run->is_show)
		print_override(row, run->n == 1);
	else
		printf("override %lld: %s %s%s%s\n", (long long)json_integer_value(json_object_get(row, "id")),
		    str_of(row, "kind"), str_of(row, "scope"), *str_of(row, "what") == '\0' ? "" : ": ",
		    str_of(row, "what"));
	return true;
}

static int
override_ask(struct admin *adm, const char *verb, const struct ql_admin *req)
{
	struct override_run run = { .adm = adm, .is_show = strcmp(req->verb, "override.show") == 0 };
	char *dir = adm_run_directory(adm), *text = NULL;
	bool is_list = strcmp(req->verb, "override.list") == 0;
	struct adm_client *c;
	int rv;

	if (dir == NULL)
		return ADM_FAILED;
	if ((c = adm_connect(dir, ADM_QUEUED, NULL, &text)) == NULL) {
		rv = adm_fail("%s", text);
	} else {
		if (is_list && !adm->json)
			run.rows = rows_new(list_cols, wall_ms());
		rv = adm_ask(c, req, MANY_TIMEOUT, on_row, &run, &text);
		if (run.rows != NULL)
			rows_end(&run.rows);
		if (rv != 0)
			rv = adm_fail("%s: %s", verb, text);
		else if (is_list && run.n == 0 && !adm->json)
			printf("no overrides are in force\n");
		else if (run.cancelled > 0 && !adm->json)
			printf("%lld override%s cancelled\n", (long long)run.cancelled, run.cancelled == 1 ? "" : "s");
		adm_disconnect(&c);
	}
	free(text);
	free(dir);
	return rv;
}

/* Who it is that asks, for the record only: what is allowed was decided by the system. */
static void
add_user(struct ql_admin *req)
{
	const char *sudo = getuid() == 0 ? getenv("SUDO_USER") : NULL;
	const struct passwd *pw = getpwuid(getuid());
	char *user = sudo != NULL && *sudo != '\0' ? xasprintf("admin %s", sudo)
	    : pw != NULL ? xasprintf("admin %s", pw->pw_name) : xasprintf("admin uid %u", getuid());

	adm_request_add(req, "user", user);
	free(user);
}

/* 'ip-1->(mx1|mx2).example.net', as the event log has it. */
static int
add_path(struct ql_admin *req, const char *verb, const char *path)
{
	const char *arrow = strstr(path, "->");
	char *source;

	if (arrow == NULL || arrow == path || arrow[2] == '\0')
		return adm_usage(verb, "--path wants SOURCE->SITE, in quotes");
	source = xmemdup0(path, (size_t)(arrow - path));
	adm_request_add(req, "source", source);
	adm_request_add(req, "site", arrow + 2);
	free(source);
	return ADM_OK;
}

static const struct option options[] = {
	{ "source", required_argument, NULL, 's' },
	{ "site", required_argument, NULL, 's' },
	{ "path", required_argument, NULL, 'p' },
	{ "provider", required_argument, NULL, 's' },
	{ "pool", required_argument, NULL, 's' },
	{ "domain", required_argument, NULL, 's' },
	{ "tenant", required_argument, NULL, 's' },
	{ "campaign", required_argument, NULL, 's' },
	{ "everything", no_argument, NULL, 'e' },
	{ "duration", required_argument, NULL, 'd' },
	{ "until", required_argument, NULL, 'u' },
	{ "reason", required_argument, NULL, 's' },
	{ "rule", required_argument, NULL, 's' },
	{ "quiet", no_argument, NULL, 'q' },
	{ NULL, 0, NULL, 0 },
};

static int
override_option(struct ql_admin *req, const char *verb, int opt, const char *name)
{
	switch (opt) {
	case 'p':
		return add_path(req, verb, optarg);
	case 'e':
		adm_request_add(req, "everything", "yes");
		return ADM_OK;
	case 'q':
		if (strcmp(verb, "bounce") != 0)
			return adm_usage(verb, "--quiet belongs to bounce");
		adm_request_add(req, "quiet", "yes");
		return ADM_OK;
	case 'u':
		if (strcmp(optarg, "cancelled") != 0)
			return adm_usage(verb, "--until knows only `cancelled'; --duration says how long");
		adm_request_add(req, "duration", optarg);
		return ADM_OK;
	case 's':
	case 'd':
		if (*optarg == '\0')
			return adm_usage(verb, "--%s is empty", name);
		adm_request_add(req, name, optarg);
		return ADM_OK;
	default:
		return adm_usage(verb, NULL);
	}
}

static int
override_options(struct ql_admin *req, const char *verb, int argc, char **argv)
{
	int opt, at = 0, rv;

	while ((opt = getopt_long(argc, argv, "", options, &at)) != -1)
		if ((rv = override_option(req, verb, opt, opt == '?' ? "" : options[at].name)) != ADM_OK)
			return rv;
	return ADM_OK;
}

/* connection_limit=1 */
static int
add_setting(struct ql_admin *req, const char *verb, const char *arg)
{
	const char *equals = strchr(arg, '=');
	struct meta *m;

	if (strcmp(verb, "limit") != 0)
		return adm_usage(verb, "unexpected argument `%s'", arg);
	if (equals == NULL || equals == arg || equals[1] == '\0')
		return adm_usage(verb, "`%s' is not SETTING=VALUE", arg);
	adm_request_add(req, "set.", equals + 1);
	m = &req->args[req->n_args - 1];
	free(m->key);
	m->key = xasprintf("set.%.*s", (int)(equals - arg), arg);
	return ADM_OK;
}

static int
override_verb(struct admin *adm, const char *verb, const char *request, const char *kind, int argc, char **argv)
{
	struct ql_admin req;
	int rv;

	adm_request_init(&req, request);
	if (kind != NULL)
		adm_request_add(&req, "kind", kind);
	add_user(&req);
	rv = override_options(&req, verb, argc, argv);
	while (rv == ADM_OK && optind < argc)
		rv = add_setting(&req, verb, argv[optind++]);
	if (rv == ADM_OK)
		rv = override_ask(adm, verb, &req);
	ql_admin_clear(&req);
	return rv;
}

int
cmd_suspend(struct admin *adm, int argc, char **argv)
{
	return override_verb(adm, "suspend", "override.put", "suspend", argc, argv);
}

int
cmd_resume(struct admin *adm, int argc, char **argv)
{
	return override_verb(adm, "resume", "override.resume", NULL, argc, argv);
}

int
cmd_limit(struct admin *adm, int argc, char **argv)
{
	return override_verb(adm, "limit", "override.put", "limit", argc, argv);
}

int
cmd_bounce(struct admin *adm, int argc, char **argv)
{
	if (argc > 1 && (strcmp(argv[1], "classify") == 0 || strcmp(argv[1], "check") == 0))
		return cmd_bounce_rules(adm, argc - 1, argv + 1);
	return override_verb(adm, "bounce", "override.put", "bounce", argc, argv);
}

int
cmd_overrides(struct admin *adm, int argc, char **argv)
{
	const char *what = argc < 2 ? "list" : argv[1];
	struct ql_admin req;
	char *request;
	int rv = ADM_OK;

	if (strcmp(what, "list") != 0 && strcmp(what, "show") != 0 && strcmp(what, "cancel") != 0)
		return adm_usage("overrides", what[0] == '-' ? NULL : "there is no verb `overrides %s'", what);
	request = xasprintf("override.%s", what);
	adm_request_init(&req, request);
	free(request);
	if (strcmp(what, "cancel") == 0)
		add_user(&req);
	if (argc > 2)
		rv = override_options(&req, "overrides", argc - 1, argv + 1);
	for (int i = optind; argc > 2 && rv == ADM_OK && i < argc - 1; i++)
		adm_request_add(&req, "id", argv[1 + i]);
	if (rv == ADM_OK && strcmp(what, "list") == 0 && argc > 2)
		rv = adm_usage("overrides", "list takes no arguments");
	if (rv == ADM_OK)
		rv = override_ask(adm, "overrides", &req);
	ql_admin_clear(&req);
	return rv;
}
