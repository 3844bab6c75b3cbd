/* What is to be done after a failure: the words that stand behind the cause in an `on' line of the bounce rules
 * (bounce_rules(5)), and that policy's event bounce_classified may answer. First what becomes of the message; beside it
 * the recipient may be suppressed, the path suspended or slowed down, somebody alerted. */
#ifndef MAIL_BOUNCE_TODO_H
#define MAIL_BOUNCE_TODO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mail/bounce_class.h"
#include "mail/shaping.h"
#include "mail/suppress_request.h"

enum bounce_mail { BOUNCE_MAIL_BY_CODE, BOUNCE_MAIL_RETRY, BOUNCE_MAIL_GIVE_UP, BOUNCE_MAIL_HOLD, BOUNCE_MAILS };

#define BOUNCE_STEPS_MAX 8
#define BOUNCE_SETTINGS_MAX 8

struct bounce_step;

struct bounce_todo {
	enum bounce_mail mail;
	int64_t delay;          /* RETRY: ms, 0: by the queue's schedule */
	bool is_suppressing;    /* when the message has ended undelivered */
	bool is_domain;         /* the whole domain, not the address */
	uint8_t scope;          /* enum suppress_scope */
	int64_t keep;           /* ms, 0: for ever */
	uint16_t threshold;     /* as in struct suppress_request */
	int64_t within, spread;
	struct bounce_step *steps[BOUNCE_STEPS_MAX];
	size_t n_steps;
};

/* suspend, slow, alert: as a rule of automation (queued/automation.h), which counts and acts. */
struct bounce_step {
	struct shaping_rule rule;
	struct shaping_action actions[BOUNCE_SETTINGS_MAX];
	char *id;
	char *values[BOUNCE_SETTINGS_MAX];
};

/* Reads "by-code suppress scope=tenant for=30d alert". name: of the rule, for ids of steps ("block_dnsbl"). causes: all
 * that it may be applied to. NULL, or a malloced sentence; then nothing is left to clear. */
char *bounce_todo_parse(const char *said, const char *name, const struct bounce_cause *const *causes, size_t n,
    struct bounce_todo *out) __attribute__((warn_unused_result));
void bounce_todo_clear(struct bounce_todo *);
/* The same in words, all of it said. malloced. */
char *bounce_todo_text(const struct bounce_todo *) __attribute__((warn_unused_result));
/* Whether a word begins what is to be done, rather than a condition. */
bool bounce_todo_is_word(const char *);

#endif
