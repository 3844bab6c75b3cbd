/* Checks of each source: its address, PTR records, block lists. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mail/dns_reverse.h"

#include "doctor.h"

void
doctor_address(struct doctor *d)
{
	const struct doctor_source *s = d->source;

	if (s->address[0] == '\0')
		doctor_say(d, DOCTOR_WARNING, NULL, "the kernel chooses its address, so PTR records, SPF and block "
		    "lists cannot be checked: give it a source_address");
	else if (!s->is_public)
		doctor_say(d, DOCTOR_WARNING, NULL, "%s is a private address: receivers see another, whose PTR "
		    "records, SPF and block lists cannot be checked here", s->address);
	else
		doctor_say(d, DOCTOR_OK, NULL, "it sends from %s and greets as %s", s->address, s->ehlo);
}

/* Whether one of the names is the one that it greets as. */
static bool
has_ehlo(const struct dns_reply *r, const char *ehlo)
{
	for (unsigned i = 0; i < r->n_records; i++)
		if (strcasecmp(r->records[i].text, ehlo) == 0)
			return true;
	return false;
}

void
doctor_ptr(struct doctor *d)
{
	const struct doctor_source *s = d->source;
	const struct dns_reply *r;
	bool is_unknown;
	char name[128];

	if (!s->is_public)
		return;
	dns_reverse_name(s->sa.ss_family == AF_INET6, doctor_source_ip(s), NULL, name, sizeof(name));
	r = doctor_ask(d, name, DNS_TYPE_PTR);
	if (r->status == DNS_TEMPORARY)
		doctor_say(d, DOCTOR_WARNING, NULL, "its PTR record is not known: %s", r->text);
	else if (r->n_records == 0)
		doctor_say(d, DOCTOR_FAILURE, doctor_record_ptr(s), "%s has no PTR record: the large providers refuse "
		    "its mail; whoever gave you the address can publish one", s->address);
	else if (!has_ehlo(r, s->ehlo))
		doctor_say(d, DOCTOR_FAILURE, doctor_record_ptr(s), "the PTR record of %s is %.100s, but it greets as "
		    "%s: receivers take that for a forgery", s->address, r->records[0].text, s->ehlo);
	else if (!doctor_has_address(d, s->ehlo, s, &is_unknown))
		doctor_say(d, is_unknown ? DOCTOR_WARNING : DOCTOR_FAILURE, doctor_record_address(s),
		    "the PTR record is not confirmed: %s %s %s", s->ehlo, is_unknown ? "cannot be looked up for" :
		    "does not resolve to", s->address);
	else if (r->n_records > 1)
		doctor_say(d, DOCTOR_WARNING, NULL, "%s has %u PTR records; some receivers look at any one of them: "
		    "leave only %s", s->address, r->n_records, s->ehlo);
	else
		doctor_say(d, DOCTOR_OK, NULL, "%s is the PTR record of %s and resolves to it", s->ehlo, s->address);
}

/* ---- block lists: RFC 5782; an answer of 127.255.255.N is the list's refusal to answer ---- */

enum listing { LISTING_NONE, LISTING_LISTED, LISTING_REFUSED, LISTING_UNKNOWN };

static enum listing
listing_ask(struct doctor *d, bool is_ip6, const unsigned char *ip, const char *zone, const char **code)
{
	const struct dns_reply *r;
	char name[512];

	dns_reverse_name(is_ip6, ip, zone, name, sizeof(name));
	r = doctor_ask(d, name, DNS_TYPE_A);
	if (r->status == DNS_TEMPORARY)
		return LISTING_UNKNOWN;
	if (r->n_records == 0)
		return LISTING_NONE;
	*code = r->records[0].text;
	if (strncmp(*code, "127.255.255.", 12) == 0)
		return LISTING_REFUSED;
	return strncmp(*code, "127.", 4) == 0 ? LISTING_LISTED : LISTING_UNKNOWN;
}

/* Its test entries: 127.0.0.2 is always listed, 127.0.0.1 never. NULL, or what is wrong with the list. */
static const char *
zone_fault(struct doctor *d, const char *zone)
{
	static const unsigned char always[] = { 127, 0, 0, 2 }, never[] = { 127, 0, 0, 1 };
	const char *code = "";

	switch (listing_ask(d, false, always, zone, &code)) {
	case LISTING_UNKNOWN:
		return "does not answer";
	case LISTING_REFUSED:
		return "refuses to answer this resolver (most lists want one of your own, or a registration)";
	case LISTING_NONE:
		return "is no block list (any more): it does not list 127.0.0.2";
	default:
		return listing_ask(d, false, never, zone, &code) == LISTING_NONE ? NULL :
		    "lists every address, as dead lists do";
	}
}

void
doctor_dnsbl_zones(struct doctor *d)
{
	const struct conf_strs *zones = &d->params->dnsbl_zones;
	size_t n_bad = 0;
	const char *fault;

	for (size_t i = 0; i < zones->n; i++) {
		if ((fault = zone_fault(d, zones->v[i])) == NULL)
			continue;
		n_bad++;
		doctor_say(d, DOCTOR_WARNING, NULL, "the block list %s %s; see dnsbl_zones in main.cf(5)", zones->v[i],
		    fault);
	}
	if (n_bad == 0)
		doctor_say(d, DOCTOR_OK, NULL, "%zu block list%s answer%s", zones->n, zones->n == 1 ? "" : "s",
		    zones->n == 1 ? "s" : "");
}

static void
say_listed(struct doctor *d, const char *zone, const char *code)
{
	const struct doctor_source *s = d->source;
	const struct dns_reply *r;
	char name[512];

	dns_reverse_name(s->sa.ss_family == AF_INET6, doctor_source_ip(s), zone, name, sizeof(name));
	r = doctor_ask(d, name, DNS_TYPE_TXT);
	doctor_say(d, DOCTOR_FAILURE, NULL, "%s is listed by %s (%s%s%.200s): find out why, mend it, then ask that "
	    "list to remove it", s->address, zone, code, r->n_records > 0 ? ": " : "",
	    r->n_records > 0 ? r->records[0].text : "");
}

void
doctor_dnsbl(struct doctor *d)
{
	const struct conf_strs *zones = &d->params->dnsbl_zones;
	const struct doctor_source *s = d->source;
	size_t n_asked = 0, n_said = 0;
	enum listing listing;
	const char *code;

	for (size_t i = 0; s->is_public && i < zones->n; i++) {
		if (zone_fault(d, zones->v[i]) != NULL)
			continue;
		n_asked++;
		listing = listing_ask(d, s->sa.ss_family == AF_INET6, doctor_source_ip(s), zones->v[i], &code);
		if (listing == LISTING_NONE)
			continue;
		n_said++;
		if (listing == LISTING_LISTED)
			say_listed(d, zones->v[i], code);
		else
			doctor_say(d, DOCTOR_WARNING, NULL, "whether %s is listed by %s is not known", s->address,
			    zones->v[i]);
	}
	if (n_asked > 0 && n_said == 0)
		doctor_say(d, DOCTOR_OK, NULL, "%s is on none of %zu block list%s", s->address, n_asked,
		    n_asked == 1 ? "" : "s");
}

/* Bounces and notices have no sender: receivers look at the name that the source greets as. */
void
doctor_spf_helo(struct doctor *d)
{
	const struct doctor_source *s = d->source;
	struct spf_query q = { .client = (const struct sockaddr *)&s->sa, .sender = "", .helo = s->ehlo };
	struct spf_verdict v = { 0 };

	if (!s->is_public)
		return;
	doctor_spf(d, &q, &v);
	switch (v.result) {
	case SPF_PASS:
		doctor_say(d, DOCTOR_OK, NULL, "SPF lets %s greet as %s", s->address, s->ehlo);
		break;
	case SPF_NONE:
		doctor_say(d, DOCTOR_OK, NULL, "%s has no SPF record of its own, and needs none", s->ehlo);
		break;
	case SPF_TEMPERROR:
		doctor_say(d, DOCTOR_WARNING, NULL, "whether SPF lets %s greet as %s is not known: %s", s->address,
		    s->ehlo, v.problem);
		break;
	default:
		doctor_say(d, DOCTOR_FAILURE, doctor_record_txt(s->ehlo, "v=spf1 a -all"), "SPF does not let %s greet "
		    "as %s (%s): its bounces are refused", s->address, s->ehlo, spf_result_name(v.result));
	}
}
