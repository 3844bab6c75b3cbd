/* Perl's regular expressions for texts of strangers, many patterns on one text. A pattern is tried only if one of the
 * literals that it needs is in the text; which three characters in a row the text has is hashed once, so that most
 * literals are seen not to be in it after one or two looks, however many patterns there are. Then it is tried with
 * limits on steps, depth and memory: whatever the text says, it costs bounded time. No JIT: the daemons' sandbox
 * forbids memory that can be written and executed. Texts are bytes. */
#ifndef MAIL_PATTERN_H
#define MAIL_PATTERN_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATTERN_MAX 1000
#define PATTERN_SUBJECT_MAX 4096

struct pattern_literal {
	char *text;        /* lower case */
	uint32_t gram;     /* hash of its end */
};

struct pattern {
	char *text;
	struct pattern_literal *literals; /* one of them is in every text it hits; none: not known */
	size_t n_literals;
	pcre2_code *code;
	bool is_literal;   /* and nothing else is needed */
};

/* Options of pcre2_compile(). NULL, or a malloced sentence. */
char *pattern_compile(struct pattern *, const char *text, uint32_t options) __attribute__((warn_unused_result));
void pattern_clear(struct pattern *);

struct pattern_subject {
	char text[PATTERN_SUBJECT_MAX + 1], lower[PATTERN_SUBJECT_MAX + 1];
	size_t len;
	uint8_t grams[4096];
};

/* One line; what is longer than PATTERN_SUBJECT_MAX is cut. */
void pattern_subject_set(struct pattern_subject *, const char *, size_t len);

struct pattern_matcher {
	pcre2_match_context *limits;
	pcre2_match_data *hit;
};

void pattern_matcher_init(struct pattern_matcher *, uint32_t steps, uint32_t depth, uint32_t heap_kib);
void pattern_matcher_clear(struct pattern_matcher *);

/* PATTERN_GIVES_UP: a limit was reached; to be taken as a miss, and for a linter to complain about. */
enum pattern_outcome { PATTERN_MISSES, PATTERN_HITS, PATTERN_GIVES_UP };
enum pattern_outcome pattern_try(const struct pattern *, const struct pattern_subject *,
    const struct pattern_matcher *);

#endif
