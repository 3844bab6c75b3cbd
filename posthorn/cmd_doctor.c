/* posthorn doctor: runs the checks of doctor.h and prints what they found. */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/xalloc.h"
#include "mail/orgdomain.h"

#include "admin.h"
#include "dns_child.h"
#include "doctor.h"
#include "human.h"

#define CHILD_SECONDS 3600u

enum scope { FOR_HOST, FOR_SOURCE, FOR_DOMAIN, FOR_PAIR };

static const struct {
	const char *name;
	enum scope scope;
	bool needs_dns;
	void (*run)(struct doctor *);
} checks[] = {
	{ "resolver", FOR_HOST, false, doctor_resolver },
	{ "dnssec", FOR_HOST, true, doctor_dnssec },
	{ "clock", FOR_HOST, false, doctor_clock },
	{ "certificate", FOR_HOST, false, doctor_certificate },
	{ "files", FOR_HOST, false, doctor_files },
	{ "ports", FOR_HOST, false, doctor_ports },
	{ "address", FOR_SOURCE, false, doctor_address },
	{ "port25", FOR_SOURCE, true, doctor_port25 },
	{ "ptr", FOR_SOURCE, true, doctor_ptr },
	{ "dnsbl-zones", FOR_HOST, true, doctor_dnsbl_zones },
	{ "dnsbl", FOR_SOURCE, true, doctor_dnsbl },
	{ "spf-helo", FOR_SOURCE, true, doctor_spf_helo },
	{ "mx", FOR_DOMAIN, true, doctor_mx },
	{ "postmaster", FOR_DOMAIN, true, doctor_postmaster },
	{ "spf-record", FOR_DOMAIN, true, doctor_spf_record },
	{ "spf", FOR_PAIR, true, doctor_spf_source },
	{ "spf-second", FOR_DOMAIN, true, doctor_spf_second },
	{ "dkim", FOR_DOMAIN, true, doctor_dkim },
	{ "dmarc", FOR_DOMAIN, true, doctor_dmarc },
	{ "alignment", FOR_DOMAIN, true, doctor_alignment },
	{ "extras", FOR_DOMAIN, true, doctor_extras },
};

static const char *const level_names[] = { [DOCTOR_OK] = "ok", [DOCTOR_WARNING] = "warning",
	[DOCTOR_FAILURE] = "failure" };

void
doctor_say(struct doctor *d, enum doctor_level level, char *publish, const char *fmt, ...)
{
	struct doctor_finding *f;
	va_list ap;
	char *text;

	d->findings = xreallocarray(d->findings, d->n_findings + 1, sizeof(*d->findings));
	f = &d->findings[d->n_findings++];
	*f = (struct doctor_finding){ .check = d->check, .level = level };
	f->source = d->source != NULL ? d->source->name : NULL;
	f->domain = d->domain != NULL ? d->domain->name : NULL;
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) == -1)
		text = xstrdup("?");
	va_end(ap);
	f->text = human_clean(text);
	f->publish = publish != NULL ? human_clean(publish) : NULL;
	free(text);
	free(publish);
}

static void
check_run(struct doctor *d, size_t c)
{
	bool of_sources = checks[c].scope == FOR_SOURCE || checks[c].scope == FOR_PAIR;
	bool of_domains = checks[c].scope == FOR_DOMAIN || checks[c].scope == FOR_PAIR;
	size_t n_sources = of_sources ? d->n_sources : 1, n_domains = of_domains ? d->n_domains : 1;

	if (checks[c].needs_dns && d->is_deaf)
		return;
	d->check = checks[c].name;
	for (size_t i = 0; i < n_domains; i++) {
		for (size_t k = 0; k < n_sources; k++) {
			d->domain = of_domains ? &d->domains[i] : NULL;
			d->source = of_sources ? &d->sources[k] : NULL;
			checks[c].run(d);
		}
	}
}

static size_t
findings_count(const struct doctor *d, enum doctor_level level)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_findings; i++)
		n += d->findings[i].level == level;
	return n;
}

static void
print_text(const struct doctor *d)
{
	for (size_t i = 0; i < d->n_findings; i++) {
		const struct doctor_finding *f = &d->findings[i];

		printf("%-7s %s", level_names[f->level], f->check);
		if (f->source != NULL)
			printf(", source %s", f->source);
		if (f->domain != NULL)
			printf(", domain %s", f->domain);
		printf(": %s\n", f->text);
		if (f->publish != NULL)
			printf("        publish: %s\n", f->publish);
	}
	printf("%zu failure%s, %zu warning%s\n", findings_count(d, DOCTOR_FAILURE),
	    findings_count(d, DOCTOR_FAILURE) == 1 ? "" : "s", findings_count(d, DOCTOR_WARNING),
	    findings_count(d, DOCTOR_WARNING) == 1 ? "" : "s");
}

static void
print_json(const struct doctor *d)
{
	struct json j;

	json_init(&j);
	json_obj(&j, NULL);
	json_bool(&j, "ok", findings_count(d, DOCTOR_FAILURE) == 0);
	json_int(&j, "failures", (int64_t)findings_count(d, DOCTOR_FAILURE));
	json_int(&j, "warnings", (int64_t)findings_count(d, DOCTOR_WARNING));
	json_arr(&j, "findings");
	for (size_t i = 0; i < d->n_findings; i++) {
		const struct doctor_finding *f = &d->findings[i];

		json_obj(&j, NULL);
		json_str(&j, "check", f->check);
		json_str(&j, "level", level_names[f->level]);
		json_str(&j, "source", f->source);
		json_str(&j, "domain", f->domain);
		json_str(&j, "text", f->text);
		json_str(&j, "publish", f->publish);
		json_obj_end(&j);
	}
	json_arr_end(&j);
	json_obj_end(&j);
	printf("%.*s\n", (int)j.out.len, (const char *)j.out.p);
	json_clear(&j);
}

static int
doctor_run(struct doctor *d)
{
	pid_t pid;
	int fd = dns_child_start(d->params, CHILD_SECONDS, &pid);

	if (fd == -1)
		return -1;
	d->loop = loop_new();
	d->dns = dns_client_new(d->loop);
	dns_client_set_peer(d->dns, fd);
	for (size_t c = 0; c < sizeof(checks) / sizeof(checks[0]); c++)
		check_run(d, c);
	d->check = "domains";
	d->source = NULL;
	d->domain = NULL;
	if (d->n_domains == 0)
		doctor_say(d, DOCTOR_WARNING, NULL, "no sender domain is known, so none was checked: name them with "
		    "--domain, or say in the passwd file which domains users may send for");
	dns_client_free(&d->dns);
	loop_free(&d->loop);
	dns_child_end(pid);
	return 0;
}

static void
strs_add(struct conf_strs *l, const char *s)
{
	l->v = xreallocarray(l->v, l->n + 1, sizeof(*l->v));
	l->v[l->n++] = xstrdup(s);
}

static void
strs_clear(struct conf_strs *l)
{
	while (l->n > 0)
		free(l->v[--l->n]);
	free(l->v);
}

static int
doctor_all(struct admin *adm, const struct conf_strs *sources, const struct conf_strs *domains, const char *probe)
{
	struct doctor d = { .config_dir = adm->config_dir };
	struct conf *conf = NULL;
	struct params *params = adm_params(adm, &conf);
	int rv = ADM_FAILED;

	if (params == NULL)
		return ADM_FAILED;
	d.params = params;
	d.conf = conf;
	d.probe = probe != NULL ? probe : params->doctor_probe_domain;
	orgdomain_load();
	if (doctor_collect(&d, sources, domains) == 0 && doctor_run(&d) == 0) {
		if (adm->json)
			print_json(&d);
		else
			print_text(&d);
		rv = findings_count(&d, DOCTOR_FAILURE) == 0 ? ADM_OK : ADM_FAILED;
	}
	doctor_clear(&d);
	orgdomain_unload();
	params_free(&params);
	conf_free(&conf);
	return rv;
}

int
cmd_doctor(struct admin *adm, int argc, char **argv)
{
	static const struct option options[] = { { "domain", required_argument, NULL, 'd' },
		{ "source", required_argument, NULL, 's' }, { "probe", required_argument, NULL, 'p' },
		{ NULL, 0, NULL, 0 } };
	struct conf_strs sources = { NULL, 0 }, domains = { NULL, 0 };
	const char *probe = NULL;
	int c, rv = ADM_USAGE;

	optind = 1;
	while ((c = getopt_long(argc, argv, "", options, NULL)) == 'd' || c == 's' || c == 'p') {
		if (c == 'p')
			probe = optarg;
		else
			strs_add(c == 'd' ? &domains : &sources, optarg);
	}
	if (c != -1)
		(void)adm_usage("doctor", NULL);
	else if (probe != NULL && !dns_name_valid(probe))
		rv = adm_fail("`%s' is not a domain name", probe);
	else if (optind < argc)
		(void)adm_usage("doctor", "`%s' is not an option", argv[optind]);
	else
		rv = doctor_all(adm, &sources, &domains, probe);
	strs_clear(&sources);
	strs_clear(&domains);
	return rv;
}
