/* The check of DMARC's alignment: would mail from the domain pass, by a signature with a key that lies here or by SPF
 * of the domain as return path? What the checks of keys and of SPF have said already is not said again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mail/orgdomain.h"
#include "mail/tags.h"

#include "dkim_files.h"
#include "dkim_record.h"
#include "doctor.h"

/* Whether a key in the directory of that domain is published as it is here. */
static bool
has_published_key(struct doctor *d, const char *domain)
{
	struct dkim_files files = { NULL, 0 };
	bool found = false, is_testing;
	char *name, *problem;

	if (dkim_files_read(d->params->dkim_key_directory, domain, NULL, &files) == -1)
		return false;
	for (size_t i = 0; i < files.n && !found; i++) {
		if (files.v[i].key == NULL)
			continue;
		name = dkim_record_name(files.v[i].selector, files.v[i].domain);
		problem = dkim_record_compare(files.v[i].key, doctor_ask(d, name, DNS_TYPE_TXT), &is_testing);
		found = problem == NULL;
		free(problem);
		free(name);
	}
	dkim_files_clear(&files);
	return found;
}

/* Of the sources whose address receivers see. */
static bool
spf_passes_all(struct doctor *d, size_t *n_r)
{
	const struct doctor_source *s;
	struct spf_verdict v = { 0 };
	struct spf_query q;

	*n_r = 0;
	for (size_t i = 0; i < d->n_sources; i++) {
		s = &d->sources[i];
		if (!s->is_public)
			continue;
		++*n_r;
		q = (struct spf_query){ .client = (const struct sockaddr *)&s->sa, .sender = d->domain->name,
			.helo = s->ehlo, .receiver = d->params->myhostname };
		doctor_spf(d, &q, &v);
		if (v.result != SPF_PASS)
			return false;
	}
	return *n_r > 0;
}

/* Whether a check that alignment follows from has found something: then that is the fault. */
static bool
is_explained(const struct doctor *d)
{
	for (size_t i = 0; i < d->n_findings; i++) {
		const struct doctor_finding *f = &d->findings[i];

		if (f->domain != d->domain->name)
			continue;
		if (strcmp(f->check, "spf-record") == 0 ? f->level != DOCTOR_OK :
		    f->level == DOCTOR_FAILURE && (strcmp(f->check, "spf") == 0 || strcmp(f->check, "dkim") == 0))
			return true;
	}
	return false;
}

void
doctor_alignment(struct doctor *d)
{
	const char *name = d->domain->name, *org = orgdomain_of(name), *at, *record;
	bool failed, is_strict, passes;
	char value[8] = "";
	size_t n_sources;
	unsigned n;

	record = doctor_dmarc_find(d, name, &at, &n, &failed);
	if (record != NULL)
		tag_value(record, "adkim", value, sizeof(value));
	is_strict = strcmp(value, "s") == 0;
	passes = spf_passes_all(d, &n_sources);
	if (has_published_key(d, name))
		doctor_say(d, DOCTOR_OK, NULL, "signatures with its own keys are aligned with From%s", passes ?
		    ", and so is SPF where it is the return path" : "");
	else if (org != name && has_published_key(d, org) && !is_strict)
		doctor_say(d, DOCTOR_OK, NULL, "signatures of %s are aligned with From, if policy makes them "
		    "(subdomains = true)", org);
	else if (passes)
		doctor_say(d, DOCTOR_OK, NULL, "SPF is aligned with From, for mail that has the domain, or one of %s, "
		    "as return path", org);
	else if (org != name && is_strict && has_published_key(d, org))
		doctor_say(d, DOCTOR_FAILURE, NULL, "signatures of %s do not count for it: its DMARC record asks for "
		    "strict alignment (adkim=s); make a key of its own (posthorn dkim keygen %s)", org, name);
	else if (!is_explained(d))
		doctor_say(d, DOCTOR_WARNING, NULL, "nothing here makes its mail pass DMARC%s: unless the application "
		    "signs, it is refused, or held by the guard (require_authenticated_senders)", n_sources == 0 ?
		    ", and SPF cannot be checked, for no source has a public address" : "");
}
