/* posthorn tlsrpt: the reports of a day to those receivers who publish that they want them (RFC 8460), shown or sent.
 * As root it becomes the user of deliverd first: what it reads are strangers' strings and answers. */
#include <sys/prctl.h>
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/slurp.h"
#include "base/xalloc.h"
#include "mail/dns_answer.h"

#include "admin.h"
#include "check.h"
#include "dns_ask.h"
#include "tlsrpt.h"

#define SENT_MAX (16u << 20)
#define KEEP_DAYS 60

struct reports {
	struct admin *adm;
	const struct params *params;
	struct tlsrpt_day day;
	json_t *collected;
	const char **domains;
	char **names; /* _smtp._tls.DOMAIN */
	struct addrlist *to;
	size_t n;
	bool is_sending;
};

/* Reads the event log by its group, and the policies as their owner. */
static int
drop(void)
{
	const char *user = suite_has_users() ? SUITE_DELIVER_USER : "nobody";
	const struct group *gr = getgrnam(SUITE_GROUP);
	const struct passwd *pw;
	gid_t gid = gr != NULL ? gr->gr_gid : 0;

	if (geteuid() != 0)
		return 0;
	if ((pw = getpwnam(user)) == NULL || setgroups(gr != NULL ? 1 : 0, &gid) == -1 ||
	    setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) == -1 ||
	    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) == -1 || setuid(0) == 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
		return adm_fail("cannot become the user %s", user);
	return 0;
}

static void
on_records(size_t i, const struct dns_reply *reply, void *arg)
{
	struct reports *r = arg;
	unsigned j, n_ours = 0;

	if (reply->status != DNS_OK)
		return;
	for (j = 0; j < reply->n_records; j++)
		n_ours += tlsrpt_receivers(reply->records[j].text, reply->records[j].len, &r->to[i]);
	if (n_ours != 1) /* section 3: then none counts */
		addrlist_clear(&r->to[i]);
}

/* Domains whose names can stand in a question and a header. */
static void
list_domains(struct reports *r)
{
	size_t most = json_object_size(r->collected);
	const char *domain;
	char *name;
	void *it;

	r->domains = xcalloc(most + 1, sizeof(*r->domains));
	r->names = xcalloc(most + 1, sizeof(*r->names));
	r->to = xcalloc(most + 1, sizeof(*r->to));
	for (it = json_object_iter(r->collected); it != NULL; it = json_object_iter_next(r->collected, it)) {
		domain = json_object_iter_key(it);
		name = xasprintf("_smtp._tls.%s", domain);
		if (!dns_name_valid(domain) || !dns_name_valid(name)) {
			free(name);
			continue;
		}
		r->domains[r->n] = domain;
		r->names[r->n++] = name;
	}
}

/* The file of those that were sent for this day: whoever is in it is not sent to again. */
static char *
sent_file(const struct reports *r)
{
	return xasprintf("%s/tlsrpt/%s", r->params->data_directory, r->day.text);
}

static bool
is_sent(const char *sent, const char *domain)
{
	size_t len = strlen(domain);
	const char *p;

	for (p = sent; p != NULL && (p = strstr(p, domain)) != NULL; p += len)
		if ((p == sent || p[-1] == '\n') && p[len] == '\n')
			return true;
	return false;
}

static int
send_one(struct reports *r, int fd, size_t i, const json_t *report)
{
	char *line;
	int rv = ADM_OK;

	if (tlsrpt_send(r->params, r->adm->config_dir, &r->day, r->domains[i], report, &r->to[i]) != 0)
		return ADM_FAILED; /* it said why */
	line = xasprintf("%s\n", r->domains[i]);
	if (write(fd, line, strlen(line)) != (ssize_t)strlen(line) || fdatasync(fd) == -1)
		rv = adm_fail("the report to %s was sent, but that cannot be noted: %s", r->domains[i],
		    strerror(errno));
	free(line);
	return rv;
}

static void
show(const struct reports *r, size_t i, json_t *report)
{
	json_t *row = json_object(), *to = json_array();
	char *text;
	size_t j;

	for (j = 0; j < r->to[i].n; j++)
		json_array_append_new(to, json_string(r->to[i].v[j]));
	json_object_set_new(row, "domain", json_string(r->domains[i]));
	json_object_set_new(row, "receivers", to);
	json_object_set(row, "report", report);
	text = json_dumps(row, r->adm->json ? JSON_COMPACT | JSON_ENSURE_ASCII : JSON_INDENT(2) | JSON_ENSURE_ASCII);
	puts(text != NULL ? text : "");
	free(text);
	json_decref(row);
}

/* What was sent two months ago is not sent again anyway: nobody asks for it. */
static void
forget_old(const struct reports *r)
{
	char *dir = xasprintf("%s/tlsrpt", r->params->data_directory);
	time_t t = (time_t)(r->day.begin - KEEP_DAYS * 86400);
	DIR *d = opendir(dir);
	const struct dirent *e;
	char limit[16] = "";
	struct tm tm;

	gmtime_r(&t, &tm);
	(void)strftime(limit, sizeof(limit), "%Y-%m-%d", &tm);
	while (d != NULL && (e = readdir(d)) != NULL)
		if (strlen(e->d_name) == strlen(limit) && e->d_name[0] != '.' && strcmp(e->d_name, limit) < 0)
			(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d != NULL)
		closedir(d);
	free(dir);
}

static int
run_all(struct reports *r)
{
	char *file = sent_file(r), *sent = NULL;
	int fd = -1, rv = ADM_OK;
	json_t *report;
	size_t len, i;

	if (r->is_sending) {
		fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd == -1)
			rv = adm_fail("%s: %s", file, strerror(errno));
		sent = slurp(file, SENT_MAX, &len);
	}
	for (i = 0; i < r->n && (fd != -1 || !r->is_sending); i++) {
		if (r->to[i].n == 0 || is_sent(sent, r->domains[i]))
			continue;
		report = tlsrpt_report(r->params, &r->day, r->domains[i], json_object_get(r->collected, r->domains[i]));
		if (!r->is_sending)
			show(r, i, report);
		else if (send_one(r, fd, i, report) != ADM_OK)
			rv = ADM_FAILED;
		json_decref(report);
	}
	if (fd != -1) {
		close(fd);
		forget_old(r);
	}
	free(sent);
	free(file);
	return rv;
}

static int
tlsrpt_run(struct reports *r)
{
	int rv = ADM_FAILED;
	size_t i;

	if (r->params->tls_report_contact[0] == '\0')
		return adm_fail("no reports are made: tls_report_contact is empty (main.cf(5))");
	if (drop() != 0 || (r->collected = tlsrpt_collect(r->params, &r->day)) == NULL)
		return ADM_FAILED;
	list_domains(r);
	if (dns_ask_all(r->params, DNS_TYPE_TXT, (const char *const *)r->names, r->n, on_records, r) == 0)
		rv = run_all(r);
	for (i = 0; i < r->n; i++) {
		addrlist_clear(&r->to[i]);
		free(r->names[i]);
	}
	free(r->to);
	free(r->names);
	free(r->domains);
	json_decref(r->collected);
	return rv;
}

int
cmd_tlsrpt(struct admin *adm, int argc, char **argv)
{
	static const struct option options[] = { { "date", required_argument, NULL, 'd' },
		{ "send", no_argument, NULL, 's' }, { NULL, 0, NULL, 0 } };
	struct reports r = { .adm = adm };
	const char *date = NULL;
	struct params *params;
	int opt, rv;

	optind = 0;
	opterr = 0;
	while ((opt = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		if (opt == 'd')
			date = optarg;
		else if (opt == 's')
			r.is_sending = true;
		else
			return adm_usage("tlsrpt", "there is no such option, or it lacks its value");
	}
	if (optind != argc)
		return adm_usage("tlsrpt", "tlsrpt takes no arguments");
	if (!tlsrpt_day(date, time(NULL), &r.day))
		return adm_usage("tlsrpt", "--date is a day as in 2026-11-25");
	if ((params = adm_params(adm, NULL)) == NULL)
		return ADM_FAILED;
	r.params = params;
	rv = tlsrpt_run(&r);
	params_free(&params);
	return rv;
}
