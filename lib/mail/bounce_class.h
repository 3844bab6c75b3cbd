/* What a failure can mean. Two levels: a class, one of KumoMTA's names for the event field bounce_classification, and
 * below it a cause, which says whose fault it is and what to do: kind, scope, action. Rules (bounce_rules.h) name
 * causes. */
#ifndef MAIL_BOUNCE_CLASS_H
#define MAIL_BOUNCE_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mail/reply.h"

enum bounce_kind {
	BOUNCE_UNKNOWN, BOUNCE_HARD, BOUNCE_SOFT, BOUNCE_BLOCK, BOUNCE_POLICY, BOUNCE_CHALLENGE, BOUNCE_AUTO_REPLY,
	BOUNCE_KINDS
};

enum bounce_scope {
	BOUNCE_OF_UNKNOWN, BOUNCE_OF_RECIPIENT, BOUNCE_OF_RECIPIENT_DOMAIN, BOUNCE_OF_SENDER, BOUNCE_OF_CONTENT,
	BOUNCE_OF_SOURCE_IP, BOUNCE_OF_SENDER_DOMAIN, BOUNCE_OF_INFRASTRUCTURE, BOUNCE_SCOPES
};

enum bounce_action {
	BOUNCE_BY_CODE,  /* retry after 4xx, give up after 5xx */
	BOUNCE_RETRY, BOUNCE_GIVE_UP, BOUNCE_SUPPRESS, BOUNCE_SLOW, BOUNCE_SUSPEND, BOUNCE_ALERT, BOUNCE_ACTIONS
};

extern const char *const bounce_kind_names[BOUNCE_KINDS];
extern const char *const bounce_scope_names[BOUNCE_SCOPES];
extern const char *const bounce_action_names[BOUNCE_ACTIONS];

struct bounce_cause {
	const char *name;  /* "rcpt_unknown" */
	const char *class; /* "InvalidRecipient" */
	enum bounce_kind kind;
	enum bounce_scope scope;
	enum bounce_action action;
};

/* All of them, in the order of the manual; NULL behind the last. */
const struct bounce_cause *bounce_cause_at(size_t i);
/* By its name, or by that of a class: the cause that stands for it. NULL: there is none. */
const struct bounce_cause *bounce_cause_find(const char *name);
/* The name that was meant, perhaps; "" if none is near. Static. */
const char *bounce_cause_near(const char *name);
/* Of what we said ourselves (deliverd/result.h), which no rule is asked about. phase: of queue_link.h. */
const struct bounce_cause *bounce_cause_of_local(uint8_t phase, uint16_t code, const struct enhanced_code *);

#define BOUNCE_CLASS_EXPIRED "MessageExpired"
#define BOUNCE_CLASS_ADMIN "Administrative"
#define BOUNCE_CLASS_SUPPRESSED "Suppressed"
#define BOUNCE_CLASS_NONE "Uncategorized"

#endif
