/* Automation: what shaping data (mail/shaping.h) say is to be done when a provider complains. Replies are counted in
 * sliding windows; what a rule does is an override like any other. */
#ifndef QUEUED_AUTOMATION_H
#define QUEUED_AUTOMATION_H

#include <stdbool.h>

#include "mail/queue_link.h"
#include "mail/shaping.h"
#include "queued/message.h"

struct automation;
struct effect;

struct automation *automation_new(struct queued *);
void automation_free(struct automation **);
/* A failed attempt; reply: one line. */
void automation_failed(struct queued *, const struct qenv *, const struct ql_result *, const char *reply);
/* The steps of what its verdict says is to be done; reply: as above. Alerts are said also where automation is off. */
struct verdict;
void automation_verdict(struct queued *, const struct qenv *, const struct ql_result *, const struct verdict *,
    const char *reply);
/* Mail goes through. */
void automation_delivered(struct queued *, const struct qenv *, const struct ql_result *);
/* The time of an override is over: true if it goes on for another step, less strict. */
bool automation_raise(struct queued *, struct effect *);
/* An override came, or goes. */
void automation_watch(struct queued *, struct effect *);
void automation_unwatch(struct queued *, struct effect *);

/* What is known of one reply; NULL: nothing. */
struct automation_hit {
	const char *source, *site, *provider, *domain, *tenant, *campaign, *host;
	const char *reply;
	const struct msgid *id; /* of the message, if the reply was to all of its recipients; NULL */
	const struct ql_result *result; /* for the record of an alert; NULL */
	const char *class;      /* likewise */
};
/* A reply that a rule matches is counted, and the rule acts if that makes it. */
void automation_hit(struct queued *, const struct shaping_rule *, const struct automation_hit *);

#endif
