/* What a failure means. The one place that decides, behind the interface of the bounce rules: facts in, verdict
 * out. */
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
};

/* rules: NULL: none. */
void verdict_decide(const struct bounce_rules *, const struct verdict_input *, struct verdict *);

#endif
