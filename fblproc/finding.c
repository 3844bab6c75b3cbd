/* Proofs of a complaint (finding.h). Hostile: all of the report. What is believed: our own signature, and what smtpd
 * wrote down about the delivery of the report. */
#include <string.h>

#include "base/cidr.h"
#include "mail/verp.h"

#include "fblproc/finding.h"

const char *const finding_wanted[FINDING_WANTED] = { TOKEN_HEADER, "Return-Path" };

static void
find_source(struct finding *f, const struct finding_input *in)
{
	const struct policy_feedback_source *s = NULL;
	struct sockaddr_storage sa;
	socklen_t len;
	size_t n;

	for (const char *d = in->dkim_domains; s == NULL && d != NULL && *d != '\0'; d += n + (d[n] == ',')) {
		n = strcspn(d, ",");
		s = policy_feedback_by_domain(in->policy, d, n);
		f->source_by = "dkim";
	}
	if (s == NULL && in->client != NULL && sockaddr_parse(in->client, 0, &sa, &len) == 0) {
		s = policy_feedback_by_address(in->policy, (const struct sockaddr *)&sa);
		f->source_by = "address";
	}
	f->source = s == NULL ? NULL : s->name;
	if (s == NULL)
		f->source_by = NULL;
}

/* Whatever prefix it was made with: the signature is what counts. */
static enum verp_verdict
check_path(const char *address, const struct finding_input *in, struct envid *env)
{
	char bare[ADDRESS_MAX], prefix[VERP_PREFIX_MAX + 1];
	const char *plus;
	size_t len;

	if (address == NULL)
		return VERP_NONE;
	address += strspn(address, " <");
	len = strcspn(address, "> ");
	if (len == 0 || len >= sizeof(bare))
		return VERP_NONE;
	memcpy(bare, address, len);
	bare[len] = '\0';
	if ((plus = strchr(bare, '+')) == NULL || (size_t)(plus - bare) > VERP_PREFIX_MAX)
		return VERP_NONE;
	memcpy(prefix, bare, (size_t)(plus - bare));
	prefix[plus - bare] = '\0';
	return verp_check(bare, prefix, in->keys, in->n_keys, in->now, in->max_age, env);
}

/* The trace header first: it says more. Both may be there, and then must not contradict each other. */
static void
find_proof(struct finding *f, const struct finding_input *in)
{
	const struct arf_report *r = in->report;
	const char *trace = r->wanted[0].value, *paths[] = { r->original_mail_from, r->wanted[1].value };
	enum trace_verdict said = trace == NULL ? TRACE_NONE : trace_read(trace, in->keys, in->n_keys, &f->trace);
	struct envid env = { .rcpt = 0 };
	enum verp_verdict path = VERP_NONE;

	for (unsigned i = 0; i < 2 && path != VERP_VALID && path != VERP_EXPIRED; i++) {
		enum verp_verdict v = check_path(paths[i], in, &env);

		path = v == VERP_NONE ? path : v;
	}
	if (said == TRACE_VALID)
		f->proof = "trace";
	else if (path == VERP_VALID || path == VERP_EXPIRED) {
		f->proof = "verp";
		f->trace.env = env;
	} else {
		f->why = said == TRACE_FORGED || path == VERP_FORGED ?
		    "what should prove that it is about mail of ours was not signed by us, or altered" :
		    "nothing proves that it is about mail of ours";
		return;
	}
	if (said == TRACE_VALID && (path == VERP_VALID || path == VERP_EXPIRED) &&
	    msgid_cmp(&env.msg, &f->trace.env.msg) != 0)
		f->why = "its trace header and its return path contradict each other";
}

/* Whether the feedback source itself says who complains. Headers of the message that came back are what the one who
 * complains had in his mailbox: with the proof of a message to him in it and somebody else's address as To. */
static bool
is_sure(const char *by)
{
	static const char *const fields[] = { "Original-Rcpt-To", "Removal-Recipient", "Original-Recipient",
		"Original-Rcpt" };

	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (by != NULL && strcmp(by, fields[i]) == 0)
			return true;
	return false;
}

void
finding_make(struct finding *f, const struct finding_input *in)
{
	memset(f, 0, sizeof(*f));
	find_source(f, in);
	find_proof(f, in);
	if (f->proof != NULL && f->why == NULL && in->now - msgid_time(&f->trace.env.msg) > in->max_age)
		f->why = "the message is too old (feedback_max_age)";
	if (f->source == NULL && f->why == NULL)
		f->why = "it does not come from a feedback source that policy names";
	f->is_trusted = f->why == NULL;
	f->tenant = f->trace.tenant;
	f->campaign = f->trace.campaign;
	if (f->trace.recipient != NULL) {
		f->recipient = f->trace.recipient;
		f->recipient_by = "trace";
		f->is_recipient_sure = true;
	} else if (in->report->recipient != NULL) {
		f->recipient = in->report->recipient;
		f->recipient_by = in->report->recipient_by;
		f->is_recipient_sure = is_sure(in->report->recipient_by);
	}
}

void
finding_clear(struct finding *f)
{
	trace_clear(&f->trace);
	memset(f, 0, sizeof(*f));
}
