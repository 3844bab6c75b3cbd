/* Checks of each sender domain: where its bounces go, SPF, DMARC; and whether SPF lets each source send for it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/orgdomain.h"
#include "mail/spf_private.h"
#include "mail/tags.h"

#include "doctor.h"

#define LOOKUPS_NEAR 8 /* one more service that is included, and the limit is passed */

static bool
has_any_address(struct doctor *d, const char *name, bool *failed)
{
	const struct dns_reply *r = doctor_ask(d, name, DNS_TYPE_A);

	*failed |= r->status == DNS_TEMPORARY;
	if (r->n_records > 0)
		return true;
	r = doctor_ask(d, name, DNS_TYPE_AAAA);
	*failed |= r->status == DNS_TEMPORARY;
	return r->n_records > 0;
}

/* What mail to the domain meets: receivers look before they take mail from it, and bounces must arrive. */
void
doctor_mx(struct doctor *d)
{
	const char *name = d->domain->name;
	const struct dns_reply *r = doctor_ask(d, name, DNS_TYPE_MX);
	char *record = xasprintf("%s. IN MX 10 %s.", name, d->params->myhostname);
	bool failed = r->status == DNS_TEMPORARY, is_reachable = false, is_null = false;
	unsigned i;

	for (i = 0; i < r->n_records && !is_reachable; i++) {
		is_null |= r->records[i].len == 0;
		is_reachable = has_any_address(d, r->records[i].text, &failed);
	}
	if (is_reachable)
		doctor_say(d, DOCTOR_OK, NULL, "bounces go to %.200s", r->records[i - 1].text);
	else if (is_null)
		doctor_say(d, DOCTOR_FAILURE, xstrdup(record), "it says that it takes no mail (null MX), so bounces "
		    "are lost and receivers refuse mail from it");
	else if (failed)
		doctor_say(d, DOCTOR_WARNING, NULL, "where its bounces go is not known: %s", r->text != NULL &&
		    *r->text != '\0' ? r->text : "an MX host cannot be looked up");
	else if (r->n_records > 0)
		doctor_say(d, DOCTOR_FAILURE, NULL, "none of its MX hosts has an address (%.200s), so bounces are lost",
		    r->records[0].text);
	else if (has_any_address(d, name, &failed))
		doctor_say(d, DOCTOR_WARNING, xstrdup(record), "it has no MX record: bounces go to its own address, if "
		    "anything listens there");
	else
		doctor_say(d, DOCTOR_FAILURE, xstrdup(record), "it has no MX record, so bounces are lost and receivers "
		    "refuse mail from it");
	free(record);
}

/* How many TXT records of the answer are SPF; the first. */
static unsigned
spf_records(const struct dns_reply *r, const char **first)
{
	unsigned n = 0, i;

	for (i = 0; i < r->n_records; i++)
		if (spf_is_record(r->records[i].text, r->records[i].len) && n++ == 0)
			*first = r->records[i].text;
	return n;
}

/* Whether the record says no to those it does not name, as far as it alone can tell. */
static bool
spf_is_open(const char *text)
{
	struct slice record = { text, strlen(text) };
	struct spf_term t;
	const char *why;
	size_t pos = 6;

	while (spf_term_next(record, &pos, &t, &why) == 1) {
		if (t.kind == SPF_ALL)
			return t.effect == SPF_PASS || t.effect == SPF_NEUTRAL;
		if (t.kind == SPF_REDIRECT)
			return false;
	}
	return true;
}

static void
spf_query_make(struct doctor *d, const struct doctor_source *s, struct spf_query *q)
{
	*q = (struct spf_query){ .client = (const struct sockaddr *)&s->sa, .sender = d->domain->name,
		.helo = s->ehlo, .receiver = d->params->myhostname };
}

/* The record itself, whoever sends. Sets has_spf: whether it makes sense to ask it of sources. */
void
doctor_spf_record(struct doctor *d)
{
	const char *name = d->domain->name, *have = NULL;
	const struct dns_reply *r = doctor_ask(d, name, DNS_TYPE_TXT);
	struct doctor_source nobody = { .ehlo = d->params->myhostname, .sa = { .ss_family = AF_INET } };
	struct spf_verdict v = { 0 };
	struct spf_query q;
	unsigned n = spf_records(r, &have);

	d->domain->has_spf = false;
	if (r->status == DNS_TEMPORARY || n != 1) {
		if (r->status == DNS_TEMPORARY)
			doctor_say(d, DOCTOR_WARNING, NULL, "its SPF record is not known: %s", r->text);
		else if (n == 0)
			doctor_say(d, DOCTOR_FAILURE, doctor_record_spf(name, NULL, d->sources, d->n_sources),
			    "it has no SPF record: the large providers refuse its mail");
		else
			doctor_say(d, DOCTOR_FAILURE, NULL, "it has %u SPF records, which counts as an error: make one "
			    "of them", n);
		return;
	}
	spf_query_make(d, d->n_sources > 0 ? &d->sources[0] : &nobody, &q);
	q.survey = true;
	doctor_spf(d, &q, &v);
	if (v.result == SPF_TEMPERROR) {
		doctor_say(d, DOCTOR_WARNING, NULL, "its SPF record cannot be evaluated now: %s", v.problem);
	} else if (v.result == SPF_PERMERROR) {
		doctor_say(d, DOCTOR_FAILURE, NULL, "%s: receivers take that for no SPF at all", v.problem);
		return;
	} else if (v.lookups > SPF_LOOKUPS_MAX) {
		doctor_say(d, DOCTOR_FAILURE, NULL, "its SPF record takes %u look-ups, and receivers give up after %d: "
		    "name addresses (ip4:, ip6:) where it has a, mx or include", v.lookups, SPF_LOOKUPS_MAX);
		return;
	} else if (spf_is_open(have)) {
		doctor_say(d, DOCTOR_WARNING, NULL, "its SPF record lets anybody send for it: end it in -all or ~all");
	} else if (v.lookups > LOOKUPS_NEAR) {
		doctor_say(d, DOCTOR_WARNING, NULL, "its SPF record takes %u look-ups of the %d that receivers make",
		    v.lookups, SPF_LOOKUPS_MAX);
	} else {
		doctor_say(d, DOCTOR_OK, NULL, "its SPF record takes %u look-up%s of the %d that receivers make",
		    v.lookups, v.lookups == 1 ? "" : "s", SPF_LOOKUPS_MAX);
	}
	d->domain->has_spf = true;
}

void
doctor_spf_source(struct doctor *d)
{
	const struct doctor_source *s = d->source;
	const char *have = NULL;
	struct spf_verdict v = { 0 };
	struct spf_query q;

	if (!s->is_public || !d->domain->has_spf)
		return;
	spf_query_make(d, s, &q);
	doctor_spf(d, &q, &v);
	if (v.result == SPF_PASS) {
		doctor_say(d, DOCTOR_OK, NULL, "SPF lets %s send (%s)", s->address, v.term);
		return;
	}
	if (v.result == SPF_TEMPERROR) {
		doctor_say(d, DOCTOR_WARNING, NULL, "whether SPF lets %s send is not known: %s", s->address, v.problem);
		return;
	}
	(void)spf_records(doctor_ask(d, d->domain->name, DNS_TYPE_TXT), &have);
	doctor_say(d, DOCTOR_FAILURE, doctor_record_spf(d->domain->name, have, s, 1),
	    "SPF does not let %s send: %s%s%s", s->address, spf_result_name(v.result),
	    v.term[0] != '\0' ? " by " : v.problem[0] != '\0' ? ", " : "",
	    v.term[0] != '\0' ? v.term : v.problem);
}

/* ---- DMARC, RFC 7489 ---- */

const char *
doctor_dmarc_find(struct doctor *d, const char *domain, const char **at_r, unsigned *n_r, bool *failed_r)
{
	const char *const places[] = { domain, orgdomain_of(domain) };
	const struct dns_reply *r;
	const char *found = NULL;
	char name[512];
	unsigned i;

	*n_r = 0;
	*failed_r = false;
	for (size_t k = 0; k < 2 && (k == 0 || places[1] != domain); k++) {
		*at_r = places[k];
		snprintf(name, sizeof(name), "_dmarc.%s", *at_r);
		r = doctor_ask(d, name, DNS_TYPE_TXT);
		*failed_r |= r->status == DNS_TEMPORARY;
		for (i = 0; i < r->n_records; i++)
			if (tags_are_dmarc(r->records[i].text, r->records[i].len) && (*n_r)++ == 0)
				found = r->records[i].text;
		if (*n_r > 0)
			break;
	}
	return found;
}

void
doctor_dmarc(struct doctor *d)
{
	const char *name = d->domain->name, *at, *record;
	char policy[32], sub[32];
	bool failed;
	unsigned n;

	record = doctor_dmarc_find(d, name, &at, &n, &failed);
	if (record == NULL && failed) {
		doctor_say(d, DOCTOR_WARNING, NULL, "its DMARC record is not known: name servers do not answer");
		return;
	}
	if (record == NULL) {
		doctor_say(d, DOCTOR_FAILURE, doctor_record_dmarc(name), "it has no DMARC record: the large providers "
		    "refuse bulk mail without one");
		return;
	}
	if (n > 1) {
		doctor_say(d, DOCTOR_FAILURE, NULL, "_dmarc.%s has %u DMARC records, which counts as none", at, n);
		return;
	}
	tag_value(record, "p", policy, sizeof(policy));
	tag_value(record, "sp", sub, sizeof(sub));
	if (at != name && sub[0] != '\0')
		memcpy(policy, sub, sizeof(policy));
	if (strcmp(policy, "quarantine") == 0 || strcmp(policy, "reject") == 0)
		doctor_say(d, DOCTOR_OK, NULL, "the DMARC policy is %s%s%s", policy, at != name ? ", from " : "",
		    at != name ? at : "");
	else if (strcmp(policy, "none") == 0)
		doctor_say(d, DOCTOR_WARNING, doctor_record_dmarc(name), "the DMARC policy of %s is none: forged mail "
		    "of this domain is delivered, and spoils its reputation", at);
	else
		doctor_say(d, DOCTOR_FAILURE, doctor_record_dmarc(name), "the DMARC record of %s has no valid policy "
		    "(p=%s)", at, policy);
}

/* ---- records that nobody needs, but that do harm if they are wrong: RFC 8461, RFC 8460, BIMI ---- */

static const struct {
	const char *what, *prefix, *version;
	const char *tag; /* must be there, and begin so: */
	bool may_be_empty;
	const char *begins[2];
} extras[] = {
	{ "MTA-STS", "_mta-sts", "v=STSv1", "id", false, { "" } },
	{ "TLS-RPT", "_smtp._tls", "v=TLSRPTv1", "rua", false, { "mailto:", "https:" } },
	{ "BIMI", "default._bimi", "v=BIMI1", "l", true, { "https:" } },
};
#define N_EXTRAS (sizeof(extras) / sizeof(extras[0]))

/* NULL if it is right, or what is wrong. */
static const char *
extra_fault(size_t e, const char *found, unsigned n)
{
	char value[256];

	if (n > 1)
		return "is there more than once, which counts as none";
	tag_value(found, extras[e].tag, value, sizeof(value));
	if (value[0] == '\0')
		return extras[e].may_be_empty ? NULL : "is malformed";
	for (size_t i = 0; i < 2 && extras[e].begins[i] != NULL; i++)
		if (strncmp(value, extras[e].begins[i], strlen(extras[e].begins[i])) == 0)
			return NULL;
	return "is malformed";
}

void
doctor_extras(struct doctor *d)
{
	char name[512], list[64] = "";
	const struct dns_reply *r;
	const char *found, *fault;
	unsigned n, n_bad = 0;

	for (size_t e = 0; e < N_EXTRAS; e++) {
		snprintf(name, sizeof(name), "%s.%s", extras[e].prefix, d->domain->name);
		r = doctor_ask(d, name, DNS_TYPE_TXT);
		found = NULL;
		n = 0;
		for (unsigned i = 0; i < r->n_records; i++)
			if (strncmp(r->records[i].text, extras[e].version, strlen(extras[e].version)) == 0 && n++ == 0)
				found = r->records[i].text;
		if (n == 0)
			continue;
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", *list != '\0' ? ", " : "",
		    extras[e].what);
		if ((fault = extra_fault(e, found, n)) == NULL)
			continue;
		n_bad++;
		doctor_say(d, DOCTOR_WARNING, NULL, "the %s record %s %s: %.200s", extras[e].what, name, fault, found);
	}
	if (n_bad == 0)
		doctor_say(d, DOCTOR_OK, NULL, *list != '\0' ? "well-formed: %s" :
		    "no MTA-STS, TLS-RPT or BIMI record, and none is needed%s", list);
}
