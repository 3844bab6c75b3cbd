/* Bounce rules, bounce_rules(5): what replies of strangers mean. Files of lines, read as part of the configuration; the
 * first rule whose conditions hold and whose pattern hits decides the cause (bounce_class.h), the files in the order of
 * main.cf's bounce_rules_files. A recipient's address may be suppressed only if such a rule says so and no veto
 * pattern hits: a block that is taken for an unknown user destroys a good address.
 *
 * Bounded for any reply: 4096 bytes of it are looked at, and patterns have limits (pattern.h). A set of rules is for
 * one thread. */
#ifndef MAIL_BOUNCE_RULES_H
#define MAIL_BOUNCE_RULES_H

#include "base/conf.h"
#include "mail/bounce_class.h"
#include "mail/bounce_todo.h"
#include "mail/reply.h"

struct bounce_rules;

struct bounce_reply {
	uint16_t code;               /* 0: not known */
	struct enhanced_code status;
	const char *text;            /* without these; lines separated by '\n' */
	size_t len;
	uint8_t phase;               /* of queue_link.h; 0: not known */
	const char *provider;        /* of the shaping data; NULL: none */
};

struct bounce_origin {
	const char *file;            /* NULL: no rule */
	unsigned line;
	const char *pattern;         /* NULL: none but conditions */
};

struct bounce_verdict {
	const struct bounce_cause *cause;
	enum bounce_action action;   /* recommended; never BOUNCE_BY_CODE */
	bool is_suppressing;         /* the rule says that the address is to be suppressed, and no veto says no */
	bool is_evidence;            /* the recipient's server said it of the recipient, if only for now: with others of
	                              * its kind it may suppress */
	struct bounce_origin rule;
	struct bounce_origin veto;   /* what kept it from being suppressed */
	const struct bounce_todo *todo; /* never NULL; as long as the rules */
	struct bounce_origin on;     /* the line that says so; file NULL: none does */
};

/* NULL if there are errors. No files: rules that say nothing. */
struct bounce_rules *bounce_rules_load(const struct conf_strs *files, struct conf_errors *)
    __attribute__((warn_unused_result));
void bounce_rules_free(struct bounce_rules **);
void bounce_classify(const struct bounce_rules *, const struct bounce_reply *, struct bounce_verdict *);
/* What is to be done for that cause, whoever found it; rules NULL: none. Never NULL; from may be NULL. */
const struct bounce_todo *bounce_rules_todo(const struct bounce_rules *, const struct bounce_cause *,
    const struct bounce_reply *, struct bounce_origin *from);
/* Whether the address may be suppressed: what is to be done says so, and the reply is reason enough. */
bool bounce_may_suppress(const struct bounce_verdict *, const struct bounce_todo *);
/* "\n" as people write it becomes the end of a line. */
void bounce_lines_unfold(char *);
/* A reply as logs and bounces have it: "550-5.1.1 text", an end of line, "550 5.1.1 more"; "smtp; 550 text"; "host x
 * said: 550 text". buf: for the text, which ends in NUL: one octet longer than the line. */
void bounce_reply_parse(const char *line, size_t len, char *buf, struct bounce_reply *out);

struct bounce_counts {
	size_t rules, vetoes, unaided; /* unaided: without a literal to look for first */
	size_t ons;
};
struct bounce_counts bounce_rules_count(const struct bounce_rules *);
/* What is dead, shadowed, too costly or has no sample. is_provider: whether shaping data know it; NULL: not asked. */
void bounce_rules_lint(const struct bounce_rules *, bool (*is_provider)(void *, const char *), void *,
    struct conf_errors *);

#endif
