/* Between the files of the reader of bounces: dsn_parse.c (what it is), dsn_parse_fields.c (RFC 3464),
 * dsn_parse_text.c (recipients and reasons in prose), dsn_parse_phrases.c (whose prose). */
#ifndef MAIL_DSN_PARSE_PRIVATE_H
#define MAIL_DSN_PARSE_PRIVATE_H

#include "mail/dsn_parse.h"
#include "mail/mime.h"

enum {
	NOTICE_MAX = 256 << 10, /* of the text for people */
	FLAT_MAX = 16 << 10     /* of it that phrases are looked for in */
};

/* The text for people, up to what it quotes of the message that came back. */
struct notice {
	char *text;
	size_t len;
	size_t original; /* where that begins; len if it is not there */
};

/* What phrases are looked for in: lower case, white space as one blank, without quoted lines. */
char *dsnp_flat(const char *text, size_t len, size_t max) __attribute__((warn_unused_result));

/* dsn_parse_fields.c: recipients and fields of the message from text in the form of message/delivery-status; what is no
 * field is passed over. Says whether there was a recipient. */
bool dsnp_fields(struct dsn_report *, const char *text, size_t len);
struct dsn_report_rcpt *dsnp_rcpt_add(struct dsn_report *);

/* dsn_parse_text.c */
/* Where the headers of the message that came back begin; len if nowhere. */
size_t dsnp_find_headers(const char *text, size_t len);
/* Whether a reply of SMTP stands in it; from and to (may be NULL): the text of that reply. */
bool dsnp_find_reply(const char *text, size_t len, size_t *from, size_t *to);
/* An enhanced status code (4.x.x or 5.x.x) to out; false and "" if there is none. */
bool dsnp_find_status(const char *text, size_t len, char out[12]);
/* Recipients from prose. failed: the value of X-Failed-Recipients, or NULL. own: addresses that are no recipients. */
void dsnp_text_rcpts(struct dsn_report *, const struct notice *, const char *failed, const char *const own[],
    unsigned n_own);
/* Reasons for recipients of the fields that have none there. */
void dsnp_text_reasons(struct dsn_report *, const struct notice *);
/* The first address in the text, new; NULL. */
char *dsnp_first_address(const char *text);

/* dsn_parse_phrases.c: all on flat text. */
const char *dsnp_shape(const char *flat, bool *is_strong); /* NULL */
bool dsnp_is_daemon(const char *flat_from);
bool dsnp_is_bounce_subject(const char *flat_subject);
bool dsnp_is_reply_subject(const char *flat_subject); /* Re:, Fwd: ... */
/* is_sure: in words that only programs use. */
bool dsnp_is_auto_subject(const char *flat_subject, bool *is_sure);
bool dsnp_is_challenge(const char *flat);
enum dsn_kind dsnp_text_kind(const char *flat_subject, const char *flat);

#endif
