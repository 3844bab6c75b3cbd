/* posthorn bounce parse, posthorn feedback parse: what is recognised in a message that came back, or in a complaint.
 * The files are read as they are; nothing is asked of the suite, and nothing is changed. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#include "mail/mime.h"
#include "mail/report_json.h"
#include "mail/token.h"

#include "admin.h"
#include "human.h"

#define WANTED_MAX 20

struct parse_args {
	const char *wanted[WANTED_MAX + 1];
	unsigned n_wanted;
};

/* New; NULL and a sentence. What the parser would not read is not read either. */
static char *
read_message(const char *name, size_t *len_r)
{
	bool is_stdin = strcmp(name, "-") == 0;
	FILE *f = is_stdin ? stdin : fopen(name, "re");
	char *text;

	if (f == NULL) {
		(void)adm_fail("%s: %s", name, strerror(errno));
		return NULL;
	}
	text = xmalloc(MIME_MAX_MESSAGE + 1);
	*len_r = fread(text, 1, MIME_MAX_MESSAGE + 1, f);
	if (ferror(f)) {
		(void)adm_fail("%s: %s", name, strerror(errno));
		free(text);
		text = NULL;
	}
	if (!is_stdin)
		fclose(f);
	return text;
}

static void
line(const char *label, const char *value)
{
	char *clean;

	if (value == NULL || *value == '\0')
		return;
	clean = human_clean(value);
	printf("%-16s %s\n", label, clean);
	free(clean);
}

/* What is not said by the report itself. */
static void
line_by(const char *label, const char *value, const char *by)
{
	char *text;

	if (by == NULL || value == NULL) {
		line(label, value);
		return;
	}
	text = xasprintf("%s (%s)", value, by);
	line(label, text);
	free(text);
}

static void
lines_wanted(const struct dsn_wanted *wanted, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		line(wanted[i].name, wanted[i].value);
}

static void
print_bounce(const struct dsn_report *r)
{
	line("kind", dsn_kind_name(r->kind));
	if (r->kind != DSN_KIND_NONE)
		line("shape", r->shape);
	line("reporting MTA", r->reporting_mta);
	line("envelope id", r->envelope_id);
	line("arrival", r->arrival_date);
	line("Message-ID", r->message_id);
	line("From", r->from);
	line("Subject", r->subject);
	lines_wanted(r->wanted, r->n_wanted);
	for (unsigned i = 0; i < r->n_rcpts; i++) {
		const struct dsn_report_rcpt *rcpt = &r->rcpts[i];

		line("recipient", rcpt->address);
		line("  original", rcpt->original);
		line("  action", dsn_kind_name(rcpt->action));
		line("  status", rcpt->status);
		line("  diagnostic", rcpt->diagnostic);
		line("  remote MTA", rcpt->remote_mta);
	}
}

static void
print_list(const char *label, const struct arf_list *l)
{
	for (unsigned i = 0; i < l->n; i++)
		line(label, l->values[i]);
}

static void
print_feedback(const struct arf_report *r)
{
	char incidents[HUMAN_TEXT];

	line("shape", r->shape);
	if (!r->is_report)
		return;
	line("feedback type", r->feedback_type);
	line("user agent", r->user_agent);
	line("version", r->version);
	line_by("recipient", r->recipient, r->recipient_by);
	if (r->is_redacted)
		line("recipient", "hidden by the reporter");
	line_by("source IP", r->source_ip, r->source_ip_by);
	line_by("sender", r->original_mail_from, r->original_mail_from_by);
	line_by("arrival", r->arrival_date, r->arrival_date_by);
	line("envelope id", r->original_envelope_id);
	line("reporting MTA", r->reporting_mta);
	if (r->incidents > 0) {
		human_count(r->incidents, incidents);
		line("incidents", incidents);
	}
	print_list("reported domain", &r->reported_domain);
	print_list("reported URI", &r->reported_uri);
	print_list("authentication", &r->authentication_results);
	for (unsigned i = 0; i < r->n_extensions; i++)
		line(r->extensions[i].name, r->extensions[i].value);
	line("Message-ID", r->message_id);
	line("From", r->from);
	line("Subject", r->subject);
	line("Feedback-ID", r->feedback_id);
	lines_wanted(r->wanted, r->n_wanted);
}

static void
parse_bounce(const struct admin *adm, const struct parse_args *a, const char *text, size_t len, struct json *j)
{
	struct dsn_report r;

	dsn_parse(&r, text, len, NULL, a->wanted, a->n_wanted);
	if (adm->json)
		dsn_report_json(j, NULL, &r);
	else
		print_bounce(&r);
	dsn_report_clear(&r);
}

static void
parse_feedback(const struct admin *adm, const struct parse_args *a, const char *text, size_t len, struct json *j)
{
	struct arf_report r;

	arf_parse(&r, text, len, a->wanted, a->n_wanted);
	if (adm->json)
		arf_report_json(j, NULL, &r);
	else
		print_feedback(&r);
	arf_report_clear(&r);
}

/* argv[1] is "parse". */
static int
parse_files(struct admin *adm, int argc, char **argv,
    void (*parse)(const struct admin *, const struct parse_args *, const char *, size_t, struct json *))
{
	static const struct option options[] = { { "header", required_argument, NULL, 'H' }, { NULL, 0, NULL, 0 } };
	const char *verb = argv[0];
	struct parse_args a = { .wanted = { TOKEN_HEADER }, .n_wanted = 1 };
	int opt, rv = ADM_OK;
	struct json j;

	argc--;
	argv++;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'H')
			return adm_usage(verb, NULL);
		if (a.n_wanted > WANTED_MAX)
			return adm_usage(verb, "at most %d headers", WANTED_MAX);
		a.wanted[a.n_wanted++] = optarg;
	}
	if (optind == argc)
		return adm_usage(verb, "%s parse needs a file, or - for standard input", verb);
	json_init(&j);
	for (int i = optind; i < argc; i++) {
		size_t len;
		char *text = read_message(argv[i], &len);

		if (text == NULL) {
			rv = ADM_FAILED;
			continue;
		}
		if (!adm->json && argc - optind > 1)
			printf("%s%s:\n", i > optind ? "\n" : "", argv[i]);
		json_reset(&j);
		parse(adm, &a, text, len, &j);
		if (adm->json)
			printf("%.*s\n", (int)j.out.len, (const char *)j.out.p);
		free(text);
	}
	json_clear(&j);
	return rv;
}

int
cmd_bounce_parse(struct admin *adm, int argc, char **argv)
{
	return parse_files(adm, argc, argv, parse_bounce);
}

int
cmd_feedback(struct admin *adm, int argc, char **argv)
{
	if (argc < 2 || strcmp(argv[1], "parse") != 0)
		return adm_usage("feedback", argc < 2 || argv[1][0] == '-' ? NULL : "there is no verb `feedback %s'",
		    argv[1]);
	return parse_files(adm, argc, argv, parse_feedback);
}
