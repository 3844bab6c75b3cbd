/* What a failure means and what is done about it. The one place that decides, behind the interface of the bounce rules:
 * facts in, verdict out. */
#ifndef QUEUED_VERDICT_H
#define QUEUED_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "mail/bounce_rules.h"
#include "mail/queue_link.h"

enum verdict_action { VERDICT_RETRY, VERDICT_BOUNCE, VERDICT_HOLD };

struct verdict_input {
	uint16_t code;                /* 0: no reply */
	struct enhanced_code enhanced;
	enum phase phase;
	bool is_local;                /* we said it, not the peer */
	const char *text;             /* NULL */
	const char *provider;         /* NULL */
	unsigned attempts;            /* this one included */
	int64_t age;                  /* ms in the queue */
};

struct verdict {
	enum verdict_action action;
	const char *class;            /* bounce_classification, static */
	int64_t delay;                /* ms until the next attempt; 0: by the queue's schedule */
	struct bounce_verdict found;  /* its todo is what the rules say */
	const struct bounce_todo *todo; /* what is done: that, or policy's */
	struct bounce_todo of_policy;
	bool is_of_policy;
	bool may_suppress;            /* a stranger's word that is reason enough */
};

/* rules: NULL: none. Nothing is left to free until verdict_obey(). */
void verdict_decide(const struct bounce_rules *, const struct verdict_input *, struct verdict *);
/* Policy wants something else: takes it over. */
void verdict_obey(struct verdict *, const struct verdict_input *, struct bounce_todo *);
/* The address is no good: in the words by which programs (Mautic's monitored mailbox) know that. NULL: it may be good. */
const char *verdict_hard_words(const struct verdict *);
void verdict_clear(struct verdict *);

#endif
