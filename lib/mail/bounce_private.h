/* Between the parts of bounce rules: bounce_rules.c (deciding), bounce_rules_read.c (files), bounce_text.c (what of a
 * reply is matched), bounce_rules_lint.c (what is dead). */
#ifndef MAIL_BOUNCE_PRIVATE_H
#define MAIL_BOUNCE_PRIVATE_H

#include "mail/bounce_rules.h"
#include "mail/pattern.h"

struct code_range {
	uint16_t from, to;
};

/* "5.1.1", "x.1.1", "5.7.606-649", "4.7.x" */
struct status_range {
	uint8_t class;     /* 0: any */
	bool is_any_subject;
	uint16_t subject;
	uint16_t from, to; /* of the detail */
};

struct bounce_sample {
	char *text;
	unsigned line;
	bool is_counter;   /* must not be hit */
};

struct bounce_rule {
	const struct bounce_cause *cause; /* NULL: a veto */
	struct pattern pattern;           /* text NULL: the conditions are enough */
	struct code_range *codes;
	size_t n_codes;
	struct status_range *statuses;
	size_t n_statuses;
	uint32_t phases;                  /* bit 1 << phase; 0: any */
	char **providers;
	size_t n_providers;
	bool is_suppressing;
	const char *file;
	unsigned line;
	struct bounce_sample *samples;
	size_t n_samples;
};

/* "on CAUSE [condition ...] what ..." */
struct bounce_on {
	struct bounce_rule when;  /* conditions, file, line; cause NULL: a class, or all */
	const char *class;        /* NULL with when.cause NULL: all */
	struct bounce_todo todo;
};

struct bounce_rules {
	char **files;
	size_t n_files;
	struct bounce_rule *rules, *vetoes;
	size_t n_rules, n_vetoes;
	struct bounce_on *ons;
	size_t n_ons;
	struct pattern_matcher matcher;
};

/* bounce_text.c */
/* The text that patterns see: addresses as "@", letters with accents without them, Cyrillic in lower case, white space
 * as one blank. Returns its length; at most max. */
size_t bounce_text_fold(const char *text, size_t len, char *out, size_t max);
/* The same for a pattern: letters only. malloced. */
char *bounce_text_fold_pattern(const char *);

/* bounce_rules.c */
/* The subject and what is found in it: the status where the reply had none. */
void bounce_prepare(const struct bounce_reply *, struct pattern_subject *, struct enhanced_code *status);
enum pattern_outcome bounce_rule_try(const struct bounce_rules *, const struct bounce_rule *,
    const struct bounce_reply *, const struct enhanced_code *, const struct pattern_subject *);

bool bounce_on_covers(const struct bounce_on *, const struct bounce_cause *);

/* bounce_rules_read.c */
void bounce_rule_clear(struct bounce_rule *);

#endif
