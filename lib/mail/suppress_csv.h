/* Lists of addresses as other services export them: CSV of SendGrid, Mailgun, Amazon SES, SparkPost, Mailchimp,
 * Postmark, JSON of those that export it, our own CSV and JSON lines, and plain lists (an address a line, # comments).
 * The columns are found by their names, what a row means by what it says, else by which columns there are. Soft bounces
 * and those who are subscribed are not imported. */
#ifndef MAIL_SUPPRESS_CSV_H
#define MAIL_SUPPRESS_CSV_H

#include <jansson.h>

#include "mail/suppress_row.h"

#define SUPPRESS_CSV_FIELDS 128
#define SUPPRESS_CSV_RECORD (64u << 10) /* octets of a record */

enum suppress_column { COL_ADDRESS, COL_KIND, COL_REASON, COL_STATUS, COL_TIME, COL_NOTE, COL_SCOPE, COL_SCOPE_VALUE,
	COL_ORIGIN, COL_ADDED, COL_EXPIRES, COL_EVENT, COL_CLASS, COL_CAUSE, COL_SOURCE, COL_CLEANED, COL_UNSUBSCRIBED,
	COL_TAGS, COL_IP, COL_SUBSCRIBED, SUPPRESS_COLUMNS };

enum suppress_csv_got { CSV_ROW, CSV_SOFT, CSV_BAD, CSV_END };

struct suppress_csv {
	const char *p, *end;
	uint64_t line;         /* of what was read last, from 1 */
	uint64_t next_line;
	char delimiter;
	bool is_json, is_plain, is_ours;
	const char *format;    /* "sendgrid", ...: static */
	int8_t column[SUPPRESS_CSV_FIELDS]; /* enum suppress_column, -1: none that matters */
	unsigned n_columns;
	unsigned default_reason; /* of the whole file; 0: none */
	/* The record that was read last. */
	char *buf;
	size_t len;
	char *field[SUPPRESS_CSV_FIELDS];
	unsigned n_fields;
	/* JSON: the document, its array of rows, and the next of them. */
	json_t *doc, *rows;
	size_t at;
	/* What rows get that do not say. */
	unsigned reason, scope;
	const char *scope_value;
	int64_t now, expires;
};

/* Looks at the beginning. p must stay. 0; -1 and a static sentence: this cannot be imported. reason 0: by what the file
 * says. Clear it in both cases. */
int suppress_csv_open(struct suppress_csv *, const char *p, size_t len, unsigned reason, const char **err_r)
    __attribute__((warn_unused_result));
/* CSV_ROW: *row is settled, the caller clears it. CSV_BAD: *why_r (static) and csv->line. */
enum suppress_csv_got suppress_csv_next(struct suppress_csv *, struct suppress_row *row, const char **why_r);
void suppress_csv_clear(struct suppress_csv *);

/* suppress_columns.c */
int suppress_column_of(const char *name);       /* of a heading, as the services write it; -1 */
unsigned suppress_kind_of(const char *text);    /* enum suppress_reason; 0: it does not say */
#define SUPPRESS_KIND_SOFT 99
int64_t suppress_time_of(const char *text);     /* wall ms; -1 */

/* Our own export: the heading, a row. */
void suppress_csv_heading(struct wbuf *);
void suppress_csv_write(struct wbuf *, const struct suppress_row *);

#endif
