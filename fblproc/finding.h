/* What is to be thought of a complaint: whether it is proven, and whose it is. Anybody can write one, and to suppress a
 * recipient or to blame a source because somebody said so would give them a weapon. So two proofs are wanted, of which
 * neither can be had with the other:
 *
 *  - who reports: a feedback source of policy (posthorn.feedback_source), by a DKIM signature that smtpd verified, or
 *    by the address of the client;
 *  - that it is about mail of ours, which we handed to that recipient: the trace header or the VERP return path of the
 *    message that came back, signed with a key of ours, and not older than feedback_max_age.
 *
 * Pure: no input or output. */
#ifndef FBLPROC_FINDING_H
#define FBLPROC_FINDING_H

#include "mail/arf_parse.h"
#include "mail/policy.h"
#include "mail/trace.h"

struct finding_input {
	const struct arf_report *report; /* with the wanted headers of finding_wanted */
	const struct policy *policy;
	const char *client;       /* the address of who handed in the report; NULL */
	const char *dkim_domains; /* "a.example,b.example": whose signatures of it are right; NULL */
	const struct ql_token_key *keys;
	unsigned n_keys;
	int64_t now, max_age; /* ms */
};

struct finding {
	const char *source, *source_by; /* the feedback source, by "dkim" or "address"; NULL: none. The policy's */
	const char *proof;        /* "trace", "verp"; NULL: none */
	const char *why;          /* not trusted; a sentence, static. NULL: it is */
	bool is_trusted;
	struct trace trace;       /* of the proof; what a return path says is env alone */
	const char *recipient, *recipient_by; /* the trace's, else who the report names; NULL */
	bool is_recipient_sure;   /* said by the trace or the source, not by a header of what came back */
	const char *tenant, *campaign; /* the trace's */
};

#define FINDING_WANTED 2
extern const char *const finding_wanted[FINDING_WANTED];

/* Strings point into the input and the finding. */
void finding_make(struct finding *, const struct finding_input *);
void finding_clear(struct finding *);

#endif
