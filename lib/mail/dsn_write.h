/* Writing the lines of a DSN: one place that lets no control character, no line break and no overlong line through.
 * Private to dsn*.c. */
#ifndef MAIL_DSN_WRITE_H
#define MAIL_DSN_WRITE_H

#include <stdbool.h>

#include "base/wire.h"
#include "mail/dsn.h"

void dsn_put(struct wbuf *, const char *);
/* A value from outside: runs of controls (a multi-line reply) become one space; without allow_utf8 and for what is
 * not valid UTF-8, '?' stands for a character. Folded, at white space where possible, so that no line passes 998. */
void dsn_put_value(struct wbuf *, const char *, bool allow_utf8);
/* "Name: prefix" value CRLF; nothing if value is NULL. */
void dsn_put_field(struct wbuf *, const char *name_and_prefix, const char *value, bool allow_utf8);
/* "Name: " date of RFC 5322 in UTC CRLF; nothing if 0. */
void dsn_put_date(struct wbuf *, const char *name, int64_t wall_ms);
/* Copies CRLF lines, cutting those over 998; a continuation begins with `fold`. The end is a CRLF. */
void dsn_put_lines(struct wbuf *, struct slice, const char *fold);

/* The part for people. */
void dsn_put_text(struct wbuf *, const struct dsn *);
/* dsn_rcpt.status, or the general one of the action. */
struct enhanced_code dsn_status(const struct dsn_rcpt *);

#endif
