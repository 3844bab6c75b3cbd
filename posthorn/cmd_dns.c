/* posthorn dns: the records that a sender domain and the sources want, as a zone file has them. Nothing is asked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/xalloc.h"

#include "admin.h"
#include "dkim_files.h"
#include "dkim_record.h"
#include "doctor.h"

/* "a.b.example" of "b.example", or that itself. */
static bool
name_is_of(const char *name, const char *domain)
{
	size_t n = strlen(name), m = strlen(domain);

	return n >= m && strcasecmp(name + n - m, domain) == 0 && (n == m || name[n - m - 1] == '.');
}

static void
print_record(struct json *j, bool is_own, char *record)
{
	if (j == NULL)
		printf("%s%s\n", is_own ? "" : "; ", record);
	else
		json_str(j, NULL, record);
	free(record);
}

/* Of every key that signs for the domain, or is to. */
static void
print_dkim(const struct doctor *d, struct json *j)
{
	struct dkim_files files = { NULL, 0 };
	char *name, *text;
	size_t i;

	if (dkim_files_read(d->params->dkim_key_directory, d->domains[0].name, NULL, &files) == -1)
		return; /* no keys */
	for (i = 0; i < files.n; i++) {
		if (files.v[i].key == NULL)
			continue;
		name = dkim_record_name(files.v[i].selector, files.v[i].domain);
		text = dkim_record_text(files.v[i].key);
		print_record(j, true, doctor_record_txt(name, text));
		free(text);
		free(name);
	}
	dkim_files_clear(&files);
}

/* Those in the domain's zone, then those in zones of others, as comments. */
static void
print_records(const struct doctor *d, struct json *j, bool is_own)
{
	const char *domain = d->domains[0].name;
	size_t i;

	if (is_own) {
		print_record(j, true, doctor_record_spf(domain, NULL, d->sources, d->n_sources));
		print_dkim(d, j);
		print_record(j, true, doctor_record_dmarc(domain));
		print_record(j, true, xasprintf("%s. IN MX 10 %s.", domain, d->params->myhostname));
	}
	for (i = 0; i < d->n_sources; i++) {
		if (d->sources[i].is_public && name_is_of(d->sources[i].ehlo, domain) == is_own)
			print_record(j, is_own, doctor_record_address(&d->sources[i]));
	}
	for (i = 0; !is_own && i < d->n_sources; i++)
		if (d->sources[i].is_public)
			print_record(j, false, doctor_record_ptr(&d->sources[i]));
}

static void
print_json(const struct doctor *d)
{
	struct json j;

	json_init(&j);
	json_obj(&j, NULL);
	json_str(&j, "domain", d->domains[0].name);
	json_arr(&j, "records");
	print_records(d, &j, true);
	json_arr_end(&j);
	json_arr(&j, "elsewhere");
	print_records(d, &j, false);
	json_arr_end(&j);
	json_obj_end(&j);
	printf("%.*s\n", (int)j.out.len, (const char *)j.out.p);
	json_clear(&j);
}

static void
print_text(const struct doctor *d)
{
	printf("; for the zone of %s\n", d->domains[0].name);
	print_records(d, NULL, true);
	for (size_t i = 0; i < d->n_sources; i++)
		if (!d->sources[i].is_public)
			printf("; the source %s has no public address of its own here: add what receivers see\n",
			    d->sources[i].name);
	printf("; for other zones: of the names that sources greet with, and of whoever gave you the addresses\n");
	print_records(d, NULL, false);
}

int
cmd_dns(struct admin *adm, int argc, char **argv)
{
	struct doctor d = { .config_dir = adm->config_dir };
	struct conf_strs domains = { argv + 1, 1 }, sources = { NULL, 0 };
	struct params *params;
	struct conf *conf = NULL;
	int rv = ADM_FAILED;

	if (argc != 2 || argv[1][0] == '-')
		return adm_usage("dns", argc != 2 ? "dns takes one domain" : NULL);
	if ((params = adm_params(adm, &conf)) == NULL)
		return ADM_FAILED;
	d.params = params;
	if (doctor_collect(&d, &sources, &domains) == 0) {
		if (adm->json)
			print_json(&d);
		else
			print_text(&d);
		rv = ADM_OK;
	}
	doctor_clear(&d);
	params_free(&params);
	conf_free(&conf);
	return rv;
}
