/* The settings of a scheduled queue, as the event get_queue_config gives them: how it is retried, how fast it may go,
 * whose turn comes first. Absent settings are filled in from main.cf by queued. */
#ifndef MAIL_POLICY_QUEUE_H
#define MAIL_POLICY_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "mail/rate.h"

/* When to try again: after retry_interval, times factor for each further attempt, max_retry_interval at most; or after
 * the intervals of a list, of which the last repeats. Times in ms; -1: absent. */
struct policy_schedule {
	int64_t retry_interval, max_retry_interval;
	int64_t factor; /* in thousandths */
	int64_t *intervals;
	size_t n_intervals; /* 0: by factor */
};

/* For failures of one bounce class (event field bounce_classification). */
struct policy_class_schedule {
	char *class;
	struct policy_schedule schedule; /* what is absent is as in the queue's own */
};

/* Of what the sender is told: all; addresses that are no good, and nothing else; nothing. */
enum policy_notices { NOTICES_ALL, NOTICES_HARD, NOTICES_NONE, NOTICES };
extern const char *const policy_notices_words[NOTICES + 1];

#define POLICY_INTERVALS_MAX 100
#define POLICY_CLASSES_MAX 100

enum policy_priority { PRIORITY_HIGH, PRIORITY_NORMAL, PRIORITY_LOW, PRIORITIES };
extern const char *const policy_priority_words[PRIORITIES + 1];

struct policy_queue_config {
	struct policy_schedule schedule;
	struct policy_class_schedule *by_class;
	size_t n_by_class;
	int64_t max_age;             /* ms; -1: absent */
	char *egress_pool;           /* NULL */
	struct rate max_message_rate, tenant_max_message_rate, campaign_max_message_rate; /* quantity 0: none */
	int priority;                /* enum policy_priority; -1: absent */
	int64_t tenant_share;        /* -1: absent */
	int notices;                 /* enum policy_notices; -1: absent */
	char *notices_to;            /* an address that gets them in place of the sender; NULL: absent */
};

void policy_queue_config_init(struct policy_queue_config *);
void policy_queue_config_clear(struct policy_queue_config *);
/* The schedule for a class: its own, with what is absent taken from the queue's; or the queue's. */
void policy_queue_schedule(const struct policy_queue_config *, const char *class, struct policy_schedule *out);
/* The wait before the attempt that follows `attempts` failed ones (1..), without jitter. Nothing may be absent. */
int64_t policy_schedule_delay(const struct policy_schedule *, unsigned attempts);

#endif
