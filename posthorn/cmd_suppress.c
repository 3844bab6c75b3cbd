/* posthorn suppress: the suppression list, by way of bouncerd, which alone writes it. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/xalloc.h"
#include "mail/suppress_row.h"

#include "human.h"
#include "rows.h"
#include "suppress.h"

static const struct row_col list_cols[] = {
	{ "ADDRESS", "address", NULL, ROW_TEXT },
	{ "SCOPE", "scope", NULL, ROW_TEXT },
	{ "FOR", "scope_value", NULL, ROW_TEXT },
	{ "REASON", "reason", NULL, ROW_TEXT },
	{ "SINCE", "event_time", NULL, ROW_TEXT },
	{ "UNTIL", "expires", NULL, ROW_TEXT },
	{ "EVENT", "event_id", NULL, ROW_TEXT },
	{ "NOTE", "note", NULL, ROW_TEXT },
	{ NULL, NULL, NULL, ROW_TEXT },
};

struct suppress_run {
	const struct admin *adm;
	struct rows *rows;
	size_t n, n_in_force;
	bool is_check;
};

struct adm_client *
suppress_connect(const struct admin *adm)
{
	char *dir = adm_run_directory(adm), *text = NULL;
	struct adm_client *c;

	if (dir == NULL)
		return NULL;
	if ((c = adm_connect(dir, ADM_BOUNCERD, NULL, &text)) == NULL)
		adm_fail("%s", text);
	free(text);
	free(dir);
	return c;
}

void
suppress_add_filter(struct ql_admin *req, const struct suppress_args *a)
{
	const char *const pairs[][2] = { { "tenant", a->tenant }, { "sender_domain", a->sender_domain },
		{ "reason", a->reason }, { "scope", a->scope }, { "domain", a->domain }, { "limit", a->limit },
		{ "note", a->note }, { "all_scopes", a->all_scopes ? "yes" : NULL },
		{ "expired", a->expired ? "yes" : NULL } };
	char *when;

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		if (pairs[i][1] != NULL)
			adm_request_add(req, pairs[i][0], pairs[i][1]);
	if (a->expires != 0) {
		when = xasprintf("%lld", (long long)a->expires);
		adm_request_add(req, "expires", when);
		free(when);
	}
}

static const char *
str_of(const json_t *row, const char *key)
{
	const char *s = json_string_value(json_object_get(row, key));

	return s == NULL ? "" : s;
}

static void
print_line(const char *name, const char *value)
{
	char *clean;

	if (*value == '\0')
		return;
	clean = human_clean(value);
	printf("  %-12s %s\n", name, clean);
	free(clean);
}

static void
print_found(const json_t *row)
{
	char *clean = human_clean(str_of(row, "address"));

	printf("%s is %s\n", clean, json_is_true(json_object_get(row, "in_force")) ? "suppressed" :
	    "on the list, but that has expired");
	free(clean);
	print_line("scope", str_of(row, "scope"));
	print_line("for", str_of(row, "scope_value"));
	print_line("reason", str_of(row, "reason"));
	print_line("class", str_of(row, "class"));
	print_line("cause", str_of(row, "cause"));
	print_line("since", str_of(row, "event_time"));
	print_line("until", str_of(row, "expires"));
	print_line("noted", str_of(row, "added"));
	print_line("by", str_of(row, "origin"));
	print_line("imported", str_of(row, "source"));
	print_line("event", str_of(row, "event_id"));
	print_line("note", str_of(row, "note"));
}

static bool
on_row(json_t *row, const char *text, void *arg)
{
	struct suppress_run *run = arg;
	const json_t *removed = json_object_get(row, "removed");
	char *clean;

	run->n++;
	run->n_in_force += json_is_true(json_object_get(row, "in_force"));
	if (run->adm->json) {
		printf("%s\n", text);
	} else if (run->rows != NULL) {
		rows_add(run->rows, row);
	} else if (run->is_check) {
		print_found(row);
	} else {
		clean = human_clean(str_of(row, "address"));
		if (removed != NULL && json_integer_value(removed) == 0)
			printf("%s: was not on the list in that scope\n", clean);
		else if (removed != NULL)
			printf("%s: removed\n", clean);
		else
			printf("%s: %s\n", clean, str_of(row, "result"));
		free(clean);
	}
	return true;
}

static int
suppress_ask(struct suppress_run *run, const struct ql_admin *req)
{
	struct adm_client *c = suppress_connect(run->adm);
	char *text = NULL;
	int rv;

	if (c == NULL)
		return ADM_FAILED;
	rv = adm_ask(c, req, SUPPRESS_TIMEOUT, on_row, run, &text);
	if (rv != 0)
		rv = adm_fail("suppress: %s", text);
	free(text);
	adm_disconnect(&c);
	return rv;
}

static int
suppress_change(const struct admin *adm, const char *verb, const struct suppress_args *a, int argc, char **argv)
{
	struct suppress_run run = { .adm = adm, .is_check = strcmp(verb, "suppress.check") == 0 };
	struct ql_admin req;
	int rv;

	if (argc == 0)
		return adm_usage("suppress", "which address?");
	adm_request_init(&req, verb);
	suppress_add_filter(&req, a);
	for (int i = 0; i < argc; i++)
		adm_request_add(&req, "address", argv[i]);
	rv = suppress_ask(&run, &req);
	ql_admin_clear(&req);
	if (rv == ADM_OK && run.is_check && run.n == 0 && !adm->json)
		printf("%s is not suppressed\n", argv[0]);
	return rv;
}

static int
suppress_list(const struct admin *adm, const struct suppress_args *a)
{
	struct suppress_run run = { .adm = adm };
	struct ql_admin req;
	int rv;

	adm_request_init(&req, "suppress.list");
	suppress_add_filter(&req, a);
	if (!adm->json)
		run.rows = rows_new(list_cols, wall_ms());
	rv = suppress_ask(&run, &req);
	if (run.rows != NULL)
		rows_end(&run.rows);
	if (rv == ADM_OK && run.n == 0 && !adm->json)
		printf("nothing is suppressed\n");
	ql_admin_clear(&req);
	return rv;
}

static bool
on_stats(json_t *row, const char *text, void *arg)
{
	const struct admin *adm = arg;
	char size[HUMAN_TEXT], count[HUMAN_TEXT];

	if (adm->json) {
		printf("%s\n", text);
		return true;
	}
	human_count(json_integer_value(json_object_get(row, "total")), count);
	human_size(json_integer_value(json_object_get(row, "bytes")), size);
	printf("%s addresses and domains, %s on disk\n", count, size);
	for (unsigned i = 1; i < SUPPRESS_SCOPES; i++) {
		const json_t *scope = json_object_get(row, suppress_scope_names[i]);

		for (unsigned k = 1; k < SUPPRESS_REASONS; k++) {
			json_int_t n = json_integer_value(json_object_get(scope, suppress_reason_names[k]));

			human_count(n, count);
			if (n > 0)
				printf("  %-14s %-12s %14s\n", suppress_scope_names[i],
				    suppress_reason_names[k], count);
		}
	}
	return true;
}

static int
suppress_stats(const struct admin *adm)
{
	struct adm_client *c = suppress_connect(adm);
	struct admin copy = *adm;
	struct ql_admin req;
	char *text = NULL;
	int rv;

	if (c == NULL)
		return ADM_FAILED;
	adm_request_init(&req, "suppress.stats");
	rv = adm_ask(c, &req, SUPPRESS_TIMEOUT, on_stats, &copy, &text);
	if (rv != 0)
		rv = adm_fail("suppress: %s", text);
	free(text);
	ql_admin_clear(&req);
	adm_disconnect(&c);
	return rv;
}

/* "30d", or a time: "2027-01-01". */
static int
take_expiry(struct suppress_args *a, const char *text)
{
	int64_t age;

	if (strcmp(text, "never") == 0) {
		a->expires = 0;
		return ADM_OK;
	}
	if (human_parse_age(text, &age) == 0 && age > 0) {
		a->expires = wall_ms() + age;
		return ADM_OK;
	}
	return adm_usage("suppress", "--expires wants a time from now, such as 90d, or `never'");
}

static const struct option options[] = {
	{ "tenant", required_argument, NULL, 't' },
	{ "sender-domain", required_argument, NULL, 's' },
	{ "reason", required_argument, NULL, 'r' },
	{ "scope", required_argument, NULL, 'S' },
	{ "domain", required_argument, NULL, 'd' },
	{ "note", required_argument, NULL, 'n' },
	{ "limit", required_argument, NULL, 'l' },
	{ "expires", required_argument, NULL, 'e' },
	{ "format", required_argument, NULL, 'f' },
	{ "output", required_argument, NULL, 'o' },
	{ "all-scopes", no_argument, NULL, 'a' },
	{ "expired", no_argument, NULL, 'x' },
	{ NULL, 0, NULL, 0 },
};

static int
take_option(struct suppress_args *a, int opt)
{
	const char **const places[256] = { ['t'] = &a->tenant, ['s'] = &a->sender_domain, ['r'] = &a->reason,
		['S'] = &a->scope, ['d'] = &a->domain, ['n'] = &a->note, ['l'] = &a->limit, ['f'] = &a->format,
		['o'] = &a->output };

	if (opt == 'a')
		a->all_scopes = true;
	else if (opt == 'x')
		a->expired = true;
	else if (opt == 'e')
		return take_expiry(a, optarg);
	else if (opt > 0 && opt < 256 && places[opt] != NULL && *optarg != '\0')
		*places[opt] = optarg;
	else
		return adm_usage("suppress", "unknown option or missing value");
	return ADM_OK;
}

static int
check_args(const struct suppress_args *a)
{
	if (a->reason != NULL && suppress_word(suppress_reason_names, SUPPRESS_REASONS, a->reason) == 0)
		return adm_usage("suppress", "--reason is hard-bounce, complaint, unsubscribe, manual or imported");
	if (a->scope != NULL && suppress_word(suppress_scope_names, SUPPRESS_SCOPES, a->scope) == 0)
		return adm_usage("suppress", "--scope is global, tenant or sender-domain");
	if (a->tenant != NULL && a->sender_domain != NULL)
		return adm_usage("suppress", "either --tenant or --sender-domain, not both");
	if (a->limit != NULL && (a->limit[strspn(a->limit, "0123456789")] != '\0' || atoll(a->limit) < 1))
		return adm_usage("suppress", "--limit wants a number of rows");
	return ADM_OK;
}

static int
run_verb(const struct admin *adm, const char *verb, const struct suppress_args *a, int argc, char **argv)
{
	if (strcmp(verb, "add") == 0)
		return suppress_change(adm, "suppress.add", a, argc, argv);
	if (strcmp(verb, "remove") == 0)
		return suppress_change(adm, "suppress.remove", a, argc, argv);
	if (strcmp(verb, "check") == 0)
		return argc > 1 ? adm_usage("suppress", "one address, please") :
		    suppress_change(adm, "suppress.check", a, argc, argv);
	if (strcmp(verb, "import") == 0)
		return suppress_import(adm, a, argc, argv);
	if (argc > 0)
		return adm_usage("suppress", "unexpected argument `%s'", argv[0]);
	if (strcmp(verb, "list") == 0)
		return suppress_list(adm, a);
	if (strcmp(verb, "stats") == 0)
		return suppress_stats(adm);
	if (strcmp(verb, "export") == 0)
		return suppress_export(adm, a);
	if (strcmp(verb, "report") == 0)
		return suppress_report(adm, a);
	return adm_usage("suppress", "there is no verb `suppress %s'", verb);
}

int
cmd_suppress(struct admin *adm, int argc, char **argv)
{
	struct suppress_args a = { .tenant = NULL };
	int opt, rv;

	if (argc < 2 || argv[1][0] == '-')
		return adm_usage("suppress", NULL);
	while ((opt = getopt_long(argc - 1, argv + 1, "", options, NULL)) != -1)
		if ((rv = take_option(&a, opt)) != ADM_OK)
			return rv;
	if ((rv = check_args(&a)) != ADM_OK)
		return rv;
	return run_verb(adm, argv[1], &a, argc - 1 - optind, argv + 1 + optind);
}
