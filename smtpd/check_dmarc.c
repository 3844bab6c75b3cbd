/* DMARC in the check role. libopendmarc reads the record. What it says of alignment is not used: it takes a public
 * suffix for aligned with every name below it, the organizational domain for aligned under adkim=s, and a rule of the
 * public suffix list with an asterisk for one without (1.4.2). That is done by mail/orgdomain.h. */
#include <ctype.h>
#include <opendmarc/dmarc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/dkim.h"
#include "mail/header.h"
#include "mail/orgdomain.h"

#include "smtpd/check_dmarc.h"

#define RECORD_MAX 1000 /* octets; libopendmarc copies it to buffers of its own */

/* A second address: nobody can say whose mail it is. Addresses are told apart by commas that are in no quotes, comment
 * or angle brackets; an '@' in a display name, where it should be quoted, is none. */
static bool
has_more_authors(const char *p)
{
	unsigned depth = 0, n = 0, n_angles = 0;
	bool is_quoted = false, is_angle = false, has_at = false;

	for (; *p != '\0'; p++) {
		if ((is_quoted || depth > 0) && *p == '\\' && p[1] != '\0') {
			p++;
		} else if (depth == 0 && *p == '"') {
			is_quoted = !is_quoted;
		} else if (!is_quoted && *p == '(') {
			depth++;
		} else if (!is_quoted && depth > 0 && *p == ')') {
			depth--;
		} else if (is_quoted || depth > 0) {
			continue;
		} else if ((*p == ',' || *p == ';') && !is_angle) {
			n += has_at;
			has_at = false;
		} else if (*p == '@') {
			has_at = true;
		} else if (*p == '<' || *p == '>') {
			is_angle = *p == '<';
			n_angles += is_angle;
		}
	}
	return n + has_at > 1 || n_angles > 1;
}

const char *
check_dmarc_author(const char *head, size_t len, char out[AUTH_DOMAIN_MAX + 1])
{
	unsigned n = header_count(head, len, "From");
	struct header_field f;
	bool is_many;
	char *value;
	size_t i;

	*out = '\0';
	if (n == 0)
		return "the message has no From field";
	if (n > 1)
		return "the message has more than one From field";
	(void)header_find(head, len, "From", &f);
	value = xmalloc(f.value.len + 1);
	header_value(&f, value, f.value.len + 1);
	is_many = has_more_authors(value);
	free(value);
	if (is_many)
		return "the message has more than one author";
	if (!dkim_author_domain(head, len, out, AUTH_DOMAIN_MAX + 1) || !dns_name_valid(out)) {
		*out = '\0';
		return "the From field has no address with a domain";
	}
	for (i = 0; out[i] != '\0'; i++)
		out[i] = (char)tolower((unsigned char)out[i]);
	return NULL;
}

/* Section 6.6.3: of the TXT records those count that begin with the version; if they are several, none does. */
static const struct dns_record *
record_of(const struct dns_reply *reply, unsigned *n_r)
{
	const struct dns_record *found = NULL;
	const char *p;
	unsigned i;

	*n_r = 0;
	for (i = 0; i < reply->n_records; i++) {
		p = reply->records[i].text;
		if (strncmp(p, "v=DMARC1", 8) != 0 || (p[8] != '\0' && strchr("; \t", p[8]) == NULL))
			continue;
		found = &reply->records[i];
		++*n_r;
	}
	return found;
}

struct policy_read {
	int p, sp, adkim, aspf;
};

/* 0, or -1 and a sentence. */
static int
record_read(const struct dns_record *record, const char *domain, struct policy_read *out, const char **why_r)
{
	char *copy = xmemdup0(record->text, record->len), *name = xstrdup(domain);
	DMARC_POLICY_T *ctx = NULL;
	int status;
	size_t i;

	*why_r = "the record cannot be read";
	for (i = 0; i < record->len; i++)
		if (copy[i] != '\t' && (copy[i] < ' ' || copy[i] > '~'))
			break;
	if (i == record->len && record->len <= RECORD_MAX &&
	    (ctx = opendmarc_policy_connect_init((u_char *)(uintptr_t)"127.0.0.1", 0)) != NULL) {
		status = opendmarc_policy_store_dmarc(ctx, (u_char *)copy, (u_char *)name, NULL);
		if (status != DMARC_PARSE_OKAY)
			*why_r = opendmarc_policy_status_to_str(status);
		else if (opendmarc_policy_fetch_p(ctx, &out->p) == DMARC_PARSE_OKAY &&
		    opendmarc_policy_fetch_sp(ctx, &out->sp) == DMARC_PARSE_OKAY &&
		    opendmarc_policy_fetch_adkim(ctx, &out->adkim) == DMARC_PARSE_OKAY &&
		    opendmarc_policy_fetch_aspf(ctx, &out->aspf) == DMARC_PARSE_OKAY)
			*why_r = NULL;
	}
	if (ctx != NULL)
		(void)opendmarc_policy_connect_shutdown(ctx);
	free(copy);
	free(name);
	return *why_r == NULL ? 0 : -1;
}

static const char *
policy_name(int p)
{
	return p == DMARC_RECORD_P_REJECT ? "reject" : p == DMARC_RECORD_P_QUARANTINE ? "quarantine" : "none";
}

/* Which of them is authentic and aligned decides; what could not be looked up might have. */
static void
align(struct auth_results *r, const struct policy_read *pol)
{
	struct auth_dmarc *d = &r->dmarc;
	bool is_open = r->spf.result == AUTH_TEMPERROR;
	unsigned i;

	d->result = AUTH_FAIL;
	if (r->spf.result == AUTH_PASS &&
	    orgdomain_aligned(d->domain, r->spf.domain, pol->aspf == DMARC_RECORD_A_STRICT))
		d->result = AUTH_PASS;
	for (i = 0; i < r->n_signatures; i++) {
		if (r->signatures[i].result == AUTH_PASS &&
		    orgdomain_aligned(d->domain, r->signatures[i].domain, pol->adkim == DMARC_RECORD_A_STRICT))
			d->result = AUTH_PASS;
		is_open = is_open || r->signatures[i].result == AUTH_TEMPERROR;
	}
	if (r->n_signatures == 0 && r->dkim == AUTH_TEMPERROR)
		is_open = true;
	if (d->result == AUTH_FAIL && is_open) {
		d->result = AUTH_TEMPERROR;
		auth_text(d->reason, sizeof d->reason, "SPF or DKIM could not be checked");
	} else if (d->result == AUTH_FAIL) {
		auth_text(d->reason, sizeof d->reason, "nothing that passed is the author's domain");
	}
}

bool
check_dmarc_judge(struct auth_results *r, const struct dns_reply *reply, const char *at)
{
	struct policy_read pol = { 0, 0, 0, 0 };
	struct auth_dmarc *d = &r->dmarc;
	const struct dns_record *record;
	const char *why;
	unsigned n;

	if (reply->status == DNS_TEMPORARY) {
		d->result = AUTH_TEMPERROR;
		auth_text(d->reason, sizeof d->reason, "the name servers do not say the record now");
		return true;
	}
	if ((record = record_of(reply, &n)) == NULL)
		return false;
	if (n > 1 || record_read(record, at, &pol, &why) == -1) {
		d->result = AUTH_PERMERROR;
		auth_text(d->reason, sizeof d->reason, n > 1 ? "there are several records" : why);
		return true;
	}
	/* sp= is for names below the one that has the record. */
	auth_text(d->policy, sizeof d->policy, policy_name(strcasecmp(at, d->domain) != 0 &&
	    pol.sp != DMARC_RECORD_P_UNSPECIFIED ? pol.sp : pol.p));
	align(r, &pol);
	return true;
}
