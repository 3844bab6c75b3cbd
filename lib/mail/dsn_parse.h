/* What a message that came back says: a delivery status notification (RFC 3464, 6533), a bounce in one of the many
 * shapes that are none (qmail, Exim, Postfix without fields, Exchange, Domino, sendmail, gateways ...), an automatic
 * reply, or nothing of the kind. Hostile input; time and memory are linear and bounded (mime.h), nothing fails.
 *
 * This is reading, not believing: anybody can write such a message. Who acts on one first wants a proof that it is
 * about mail of ours (verp.h, token.h).
 *
 * All strings are valid UTF-8 without control characters. */
#ifndef MAIL_DSN_PARSE_H
#define MAIL_DSN_PARSE_H

#include <stdbool.h>
#include <stddef.h>

enum dsn_kind {
	DSN_KIND_NONE,
	DSN_KIND_FAILED,
	DSN_KIND_DELAYED,
	DSN_KIND_DELIVERED,
	DSN_KIND_RELAYED,
	DSN_KIND_AUTO_REPLY
};

enum {
	DSN_MAX_RCPTS = 500,
	DSN_MAX_ADDRESS = 320,
	DSN_MAX_DIAGNOSTIC = 1000,
	DSN_MAX_WANTED = 6000, /* the value of a header that was asked for */
	DSN_MAX_TEXT = 1000 /* other strings */
};

/* Strings are NULL where the message does not say. */
struct dsn_report_rcpt {
	char *address;     /* the final recipient if it is an address, else the original one */
	char *original;    /* Original-Recipient */
	char *diagnostic;  /* the remote's reply from its code on, if there is one, else what is said instead */
	char *remote_mta;
	enum dsn_kind action;
	char status[12];   /* "5.1.1", "" */
};

struct dsn_wanted {
	const char *name; /* of a header */
	char *value;
};

struct dsn_report {
	enum dsn_kind kind;    /* the worst of the recipients' */
	const char *shape;     /* "rfc3464", "qmail", "exim" ...; static */
	bool is_standard;      /* with the fields of RFC 3464 */
	struct dsn_report_rcpt *rcpts;
	unsigned n_rcpts;
	char *reporting_mta;
	char *envelope_id;
	char *arrival_date;
	/* Of the message that came back, if a part of it is there. */
	char *message_id;      /* else from In-Reply-To or References; without brackets */
	char *from;
	char *to;
	char *subject;
	struct dsn_wanted *wanted;
	unsigned n_wanted;
};

/* mail_from: the envelope sender, "" for the null sender; NULL: unknown, Return-Path is believed. `wanted`: headers of
 * the message that came back, such as one with a token. */
void dsn_parse(struct dsn_report *, const char *message, size_t len, const char *mail_from, const char *const *wanted,
    unsigned n_wanted);
void dsn_report_clear(struct dsn_report *);
/* "failed", "auto-reply", "none" ... */
const char *dsn_kind_name(enum dsn_kind);

#endif
