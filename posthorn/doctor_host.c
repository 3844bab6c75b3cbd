/* Checks of this host: resolver, DNSSEC, clock, certificate, files. */
#include <sys/stat.h>
#include <sys/timex.h>

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/xalloc.h"

#include "check.h"
#include "doctor.h"

#define ANYBODY "a.root-servers.net" /* who is there, or, in a world without it, is not */
#define SIGNED_ZONE "iana.org"
#define DAY 86400

void
doctor_resolver(struct doctor *d)
{
	const struct dns_reply *r = doctor_ask(d, ANYBODY, DNS_TYPE_A);

	d->is_deaf = r->status == DNS_TEMPORARY;
	if (d->is_deaf)
		doctor_say(d, DOCTOR_FAILURE, NULL, "name servers do not answer (%s): nothing can be delivered, and "
		    "what needs DNS is not checked; see dns_servers in main.cf(5)", r->text);
	else
		doctor_say(d, DOCTOR_OK, NULL, "name servers answer");
}

void
doctor_dnssec(struct doctor *d)
{
	const char *file = d->params->dns_trust_anchor_file;

	if (d->params->dns_validation == DNS_VALIDATION_NO)
		doctor_say(d, DOCTOR_WARNING, NULL, "answers are not validated (dns_validation = no), so TLSA "
		    "records of receivers are not used");
	else if (file[0] == '\0' || access(file, R_OK) == -1)
		doctor_say(d, DOCTOR_WARNING, NULL, "answers are not validated: there is no trust anchor (%s); "
		    "Debian has it in the package dns-root-data", file[0] != '\0' ? file : "dns_trust_anchor_file is "
		    "empty");
	else if (doctor_ask(d, SIGNED_ZONE, DNS_TYPE_A)->security != DNS_SECURE)
		doctor_say(d, DOCTOR_WARNING, NULL, "the answer for %s, which is signed, is not validated: that is "
		    "left to other resolvers (see dns_validation in main.cf(5)), or %s is old", SIGNED_ZONE, file);
	else
		doctor_say(d, DOCTOR_OK, NULL, "answers are validated");
}

/* Date fields, DKIM signatures and certificates of others: all are held against the clock. */
void
doctor_clock(struct doctor *d)
{
	struct timex tx = { 0 };
	char *file = xasprintf("%s/main.cf", d->config_dir);
	struct stat st;
	int r = adjtimex(&tx);

	if (stat(file, &st) == 0 && st.st_mtime > time(NULL) + DAY)
		doctor_say(d, DOCTOR_FAILURE, NULL, "the clock is behind the last change of %s: set it", file);
	else if (r == -1)
		doctor_say(d, DOCTOR_OK, NULL, "the system does not tell whether its clock is synchronised");
	else if (r == TIME_ERROR || (tx.status & STA_UNSYNC) != 0)
		doctor_say(d, DOCTOR_WARNING, NULL, "the clock is not synchronised: receivers refuse mail and "
		    "signatures from the future; run a time service");
	else
		doctor_say(d, DOCTOR_OK, NULL, "the clock is synchronised");
	free(file);
}

static void
say_list(struct doctor *d, enum doctor_level level, const struct conf_errors *list)
{
	for (size_t i = 0; i < list->n; i++)
		doctor_say(d, level, NULL, "%s%s%s", list->v[i].file != NULL ? list->v[i].file : "",
		    list->v[i].file != NULL ? ": " : "", list->v[i].text);
}

void
doctor_certificate(struct doctor *d)
{
	struct conf_errors errors = { NULL, 0 }, warnings = { NULL, 0 };
	const struct conf_strs *files = &d->params->smtpd_tls_cert_file;

	check_certificate(d->params, &errors, &warnings);
	say_list(d, DOCTOR_FAILURE, &errors);
	say_list(d, DOCTOR_WARNING, &warnings);
	if (errors.n + warnings.n == 0 && files->n == 0)
		doctor_say(d, DOCTOR_WARNING, NULL, "smtpd_tls_cert_file is not set: bounces, complaints and replies "
		    "come in without encryption");
	else if (errors.n + warnings.n == 0)
		doctor_say(d, DOCTOR_OK, NULL, "%s is for %s and lasts two weeks and more", files->v[0],
		    d->params->myhostname);
	conf_errors_clear(&errors);
	conf_errors_clear(&warnings);
}

/* Whoever may write to these may send as anybody, or run code as the daemons. */
static void
check_writable(const char *file, struct conf_errors *errors)
{
	struct stat st;

	if (stat(file, &st) == 0 && (st.st_mode & S_IWOTH) != 0)
		conf_error_add(errors, file, 0, "everybody may write to it (mode %04o): chmod o-w it",
		    (unsigned)st.st_mode & 07777);
}

void
doctor_files(struct doctor *d)
{
	struct conf_errors errors = { NULL, 0 }, warnings = { NULL, 0 };
	char *main_cf = xasprintf("%s/main.cf", d->config_dir);

	check_environment(d->params, d->conf, &errors, &warnings);
	check_writable(d->config_dir, &errors);
	check_writable(main_cf, &errors);
	check_writable(d->params->policy_file, &errors);
	for (size_t i = 0; i < d->params->shaping_files.n; i++)
		check_writable(d->params->shaping_files.v[i], &errors);
	say_list(d, DOCTOR_FAILURE, &errors);
	say_list(d, DOCTOR_WARNING, &warnings);
	if (errors.n + warnings.n == 0)
		doctor_say(d, DOCTOR_OK, NULL, "files, directories and users are as the daemons need them");
	conf_errors_clear(&errors);
	conf_errors_clear(&warnings);
	free(main_cf);
}
