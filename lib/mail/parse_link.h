/* What a daemon and its parse role (parse_role.h) say to each other over a socketpair: a message, and what the readers
 * of bounces (dsn_parse.h) and complaints (arf_parse.h) find in it. Matched by the frame's request id.
 *
 * The role reads strangers' mail and may have been broken into: its answers are decoded like a stranger's word. Strings
 * in them are valid UTF-8 without control characters and as long as the readers make them at most; what they say is
 * not believed anyway before there is a proof. */
#ifndef MAIL_PARSE_LINK_H
#define MAIL_PARSE_LINK_H

#include "base/wire.h"
#include "mail/arf_parse.h"

enum parse_link_type { PARSE_ASK = 1, PARSE_ANSWER };
/* Kinds to look for; both may be. */
enum { PARSE_DSN = 1 << 0, PARSE_ARF = 1 << 1 };

/* A report says what it has to say in its first parts; a longer message is read up to here. */
#define PARSE_CONTENT_MAX (1u << 20)
#define PARSE_WANTED_MAX 8
#define PARSE_NAME_MAX 80
#define PARSE_ASK_MAX (PARSE_CONTENT_MAX + 4096u)
#define PARSE_ANSWER_MAX (4u << 20)
#define PARSE_ANSWER_NAMES 6

struct parse_ask {
	uint8_t kinds;
	const char *mail_from;     /* the envelope sender; NULL: unknown */
	const char *const *wanted; /* headers of the message that came back */
	unsigned n_wanted;
	struct slice content;
};

/* The same with memory of its own, but for the content, which lies in the frame. */
struct parse_asked {
	struct parse_ask ask;
	char *mail_from;
	char *wanted[PARSE_WANTED_MAX];
};

struct parse_answer {
	uint8_t kinds; /* which of the two were looked for */
	struct dsn_report dsn;
	struct arf_report arf;
	char *names[PARSE_ANSWER_NAMES]; /* memory of what are static strings in the reports otherwise */
};

/* Content beyond PARSE_CONTENT_MAX is left out. */
void parse_ask_encode(const struct parse_ask *, struct wbuf *);
int parse_ask_decode(struct rbuf *, struct parse_asked *) __attribute__((warn_unused_result));
void parse_asked_clear(struct parse_asked *);

void parse_answer_encode(const struct parse_answer *, struct wbuf *);
/* To a question for those headers, which the answer points to from then on. */
int parse_answer_decode(struct rbuf *, const char *const *wanted, unsigned n_wanted, struct parse_answer *)
    __attribute__((warn_unused_result));
void parse_answer_clear(struct parse_answer *);

#endif
