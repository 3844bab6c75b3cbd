/* SPF (RFC 7208): may this client send mail in the name of this domain? Pure: it asks for DNS records by spf_question()
 * and is told them by spf_answer(), one at a time, until there is a verdict; who asks the name servers is its caller's
 * affair (spf_run.h: a role that has a dns role).
 *
 * Records, names and helo are a stranger's. All that they may multiply is bounded: look-ups as the RFC says, questions
 * by SPF_QUESTIONS_MAX, what is kept of an answer, the length of every text. */
#ifndef MAIL_SPF_H
#define MAIL_SPF_H

#include <stdbool.h>
#include <sys/socket.h>

#include "mail/dns_link.h"

enum spf_result { SPF_NONE = 1, SPF_NEUTRAL, SPF_PASS, SPF_FAIL, SPF_SOFTFAIL, SPF_TEMPERROR, SPF_PERMERROR };

#define SPF_NAME_MAX 253
#define SPF_LOOKUPS_MAX 10 /* RFC 7208 section 4.6.4: terms that ask DNS */
#define SPF_VOIDS_MAX 2    /* ... of which there may be nothing */
#define SPF_NAMES_MAX 10   /* ... names of mx or ptr that are looked at */
#define SPF_QUESTIONS_MAX 160
#define SPF_TERM_MAX 128
#define SPF_EXPLANATION_MAX 480
/* The whole check, in ms (section 4.6.4: at least 20 seconds). */
#define SPF_TIME_MS 20000

struct spf_query {
	const struct sockaddr *client;
	const char *sender;   /* MAIL FROM without brackets; "": postmaster of the helo name */
	const char *helo;
	const char *receiver; /* who asks, for %{r}; NULL: "unknown" */
	/* Counts what the whole record may cost: nothing matches, and only the records of include and redirect are
	 * asked for. The limits do not end it; verdict.lookups is the answer unless the result is an error. */
	bool survey;
};

struct spf_verdict {
	enum spf_result result;
	unsigned lookups, voids;
	char domain[SPF_NAME_MAX + 1]; /* whose record it was at first */
	char term[SPF_TERM_MAX];       /* what matched, as it stands in the record, cut; "" */
	char problem[256];             /* a sentence; errors and "none" have one */
	/* The domain's own words to a client that failed, printable ASCII; "": none. Who shows them says whose they
	 * are. */
	char explanation[SPF_EXPLANATION_MAX + 1];
};

struct spf_question {
	char name[SPF_NAME_MAX + 1]; /* without a final dot; not always a host name */
	uint16_t type;               /* DNS_TYPE_* */
};

struct spf;

struct spf *spf_new(const struct spf_query *);
void spf_free(struct spf **);
/* What it must know next; NULL: the verdict is there. */
const struct spf_question *spf_question(const struct spf *);
/* The answer to that. */
void spf_answer(struct spf *, const struct dns_reply *);
/* Time is up: temperror, unless there is a verdict already. */
void spf_give_up(struct spf *, const char *why);
const struct spf_verdict *spf_verdict(const struct spf *);
/* "pass", ...: what Authentication-Results says. */
const char *spf_result_name(enum spf_result);
/* Whether a TXT record is an SPF record (section 4.5). */
bool spf_is_record(const char *text, size_t len);

#endif
