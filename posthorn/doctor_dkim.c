/* The check of a sender domain's DKIM keys: each that lies here is published, and strong enough; there is one. */
#include <stdio.h>
#include <stdlib.h>

#include "base/xalloc.h"

#include "dkim_files.h"
#include "dkim_record.h"
#include "doctor.h"

#define BITS_LEAST 2048 /* what providers ask for; 1024 is what some refuse already */

static void
check_key(struct doctor *d, const struct dkim_file *f)
{
	char *name, *text, *problem, *publish;
	const struct dns_reply *r;
	bool is_testing;

	if (f->key == NULL) {
		doctor_say(d, DOCTOR_FAILURE, NULL, "%s", f->problem);
		return;
	}
	name = dkim_record_name(f->selector, f->domain);
	text = dkim_record_text(f->key);
	publish = doctor_record_txt(name, text);
	r = doctor_ask(d, name, DNS_TYPE_TXT);
	problem = dkim_record_compare(f->key, r, &is_testing);
	if (r->status == DNS_TEMPORARY)
		doctor_say(d, DOCTOR_WARNING, NULL, "the record %s is not known: %s", name, r->text);
	else if (problem != NULL && f->is_next)
		doctor_say(d, DOCTOR_WARNING, xstrdup(publish), "%s, the key that is to sign next: %s", name, problem);
	else if (problem != NULL)
		doctor_say(d, DOCTOR_FAILURE, xstrdup(publish), "%s: %s, so what the key signs fails DKIM", name,
		    problem);
	else if (is_testing)
		doctor_say(d, DOCTOR_WARNING, xstrdup(publish), "%s has t=y: receivers may treat mail as if it were "
		    "not signed", name);
	else if (dkim_key_algorithm(f->key) == DKIM_RSA && dkim_key_bits(f->key) < BITS_LEAST)
		doctor_say(d, DOCTOR_WARNING, NULL, "the key %s has %u bits: change to one of %d (posthorn dkim keygen "
		    "--rotate)", f->selector, dkim_key_bits(f->key), BITS_LEAST);
	else
		doctor_say(d, DOCTOR_OK, NULL, "the key %s is published as it is here", f->selector);
	free(problem);
	free(publish);
	free(text);
	free(name);
}

void
doctor_dkim(struct doctor *d)
{
	struct dkim_files files = { NULL, 0 };
	size_t i;

	if (dkim_files_read(d->params->dkim_key_directory, d->domain->name, NULL, &files) == -1 || files.n == 0)
		doctor_say(d, DOCTOR_WARNING, NULL, "there is no DKIM key of it here: unless the application signs, "
		    "the large providers refuse its mail (posthorn dkim keygen %s)", d->domain->name);
	for (i = 0; i < files.n; i++)
		check_key(d, &files.v[i]);
	dkim_files_clear(&files);
}
