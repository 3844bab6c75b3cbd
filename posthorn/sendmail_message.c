/* The message of sendmail(1): reading, line ends, and the headers that every message must have (RFC 5322 3.6). Input
 * is what a local program pipes in. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/header.h"
#include "mail/msgid.h"

#include "sendmail.h"

/* One line of input, its end cut off, with CRLF: PHP and old mailers send CRLF, CR CR LF or a bare CR, and each means
 * one line end. */
static void
read_add_line(struct wbuf *out, const char *line, size_t len)
{
	while (len > 0 && line[len - 1] == '\r')
		len--;
	while (len > 0) {
		const char *cr = memchr(line, '\r', len);
		size_t n = cr != NULL ? (size_t)(cr - line) : len;

		wbuf_raw(out, line, n);
		if (cr == NULL)
			break;
		wbuf_raw(out, "\r\n", 2);
		line += n + 1;
		len -= n + 1;
	}
	wbuf_raw(out, "\r\n", 2);
}

int
sendmail_read(FILE *f, bool ignore_dots, int64_t max, struct wbuf *out)
{
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;
	int rv = EX_OK;

	while ((n = getline(&line, &cap, f)) != -1) {
		size_t len = (size_t)n;

		if (line[len - 1] == '\n')
			len--;
		if (!ignore_dots && (len == 1 || (len == 2 && line[1] == '\r')) && line[0] == '.')
			break;
		/* An mbox separator is no part of the message. */
		if (out->len == 0 && len > 5 && strncmp(line, "From ", 5) == 0)
			continue;
		read_add_line(out, line, len);
		if (max > 0 && out->len > (size_t)max) {
			rv = sendmail_fail(EX_DATAERR, "the message is larger than message_size_limit (%lld bytes)",
			    (long long)max);
			break;
		}
	}
	if (ferror(f))
		rv = sendmail_fail(EX_IOERR, "reading the message: %m");
	free(line);
	return rv;
}

static const char *const rcpt_headers[] = { "To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc" };
#define RESENT 3 /* the first of the Resent- ones */

static bool
has_resent(const char *block, size_t len)
{
	struct header_field f;

	for (size_t i = RESENT; i < 6; i++) {
		if (header_find(block, len, rcpt_headers[i], &f))
			return true;
	}
	return false;
}

/* -t: recipients of To, Cc and Bcc, or, in a message that is sent again, only of the Resent- ones. */
static int
take_recipients(struct sendmail *sm, const char *hostname, const char *block, size_t len)
{
	size_t first = has_resent(block, len) ? RESENT : 0;
	struct header_iter iter;
	struct header_field f;

	header_iter_init(&iter, block, len);
	while (header_next(&iter, &f)) {
		for (size_t i = first; i < first + RESENT; i++) {
			const char *err;
			char *value;
			int rv;

			if (!header_name_is(&f, rcpt_headers[i]))
				continue;
			value = xmemdup0(f.value.base, f.value.len);
			rv = addrlist_parse(value, hostname, &sm->rcpts, &err);
			free(value);
			if (rv == -1)
				return sendmail_fail(EX_DATAERR, "%s: %s", rcpt_headers[i], err);
		}
	}
	return EX_OK;
}

static void
put_text(struct wbuf *out, char *text)
{
	wbuf_raw(out, text, strlen(text));
	free(text);
}

/* From: "Full Name" <sender>; the name comes from the caller or the password database: quoted, without what would
 * break the line. */
static void
put_from(struct wbuf *out, const struct sendmail *sm, const char *hostname)
{
	char *address = *sm->sender != '\0' ? xstrdup(sm->sender) : xasprintf("MAILER-DAEMON@%s", hostname);

	wbuf_raw(out, "From: ", 6);
	if (sm->full_name != NULL && *sm->full_name != '\0') {
		wbuf_raw(out, "\"", 1);
		for (const char *p = sm->full_name; *p != '\0'; p++) {
			if (*p == '"' || *p == '\\')
				wbuf_raw(out, "\\", 1);
			if ((unsigned char)*p >= ' ' && *p != 0x7f)
				wbuf_raw(out, p, 1);
		}
		wbuf_raw(out, "\" ", 2);
	}
	put_text(out, xasprintf("<%s>\r\n", address));
	free(address);
}

static void
put_date(struct wbuf *out, int64_t now)
{
	static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t t = (time_t)(now / 1000);
	struct tm tm;
	char zone[8];

	localtime_r(&t, &tm);
	strftime(zone, sizeof(zone), "%z", &tm);
	put_text(out, xasprintf("Date: %.3s, %d %.3s %d %02d:%02d:%02d %s\r\n", days + 3 * tm.tm_wday, tm.tm_mday,
	    months + 3 * tm.tm_mon, tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec, zone));
}

static void
put_message_id(struct wbuf *out, const char *hostname, int64_t now)
{
	struct msgid id;
	char hex[MSGID_HEX];

	msgid_new(&id, now);
	msgid_hex(&id, hex);
	put_text(out, xasprintf("Message-ID: <%s@%s>\r\n", hex, hostname));
}

int
sendmail_headers(struct sendmail *sm, const char *hostname, int64_t now, const struct wbuf *in, struct wbuf *out)
{
	const char *msg = in->len > 0 ? (const char *)in->p : ""; /* an empty buffer has no memory */
	size_t len = header_block_len(msg, in->len);
	struct header_iter iter;
	struct header_field f;
	int rv;

	if (sm->take_recipients && (rv = take_recipients(sm, hostname, msg, len)) != EX_OK)
		return rv;
	header_iter_init(&iter, msg, len);
	while (header_next(&iter, &f)) {
		if (!header_name_is(&f, "Bcc") && !header_name_is(&f, "Resent-Bcc"))
			wbuf_raw(out, f.whole.base, f.whole.len);
	}
	if (!header_find(msg, len, "From", &f))
		put_from(out, sm, hostname);
	if (!header_find(msg, len, "Date", &f))
		put_date(out, now);
	if (!header_find(msg, len, "Message-ID", &f))
		put_message_id(out, hostname, now);
	wbuf_raw(out, "\r\n", 2);
	/* What follows the header block; a first line that is no header begins the body. */
	wbuf_raw(out, msg + len, in->len - len);
	return EX_OK;
}
