/* Delivery status notifications (see dsn.h): queued writes them, to people and to programs (Mautic reads
 * "Final-Recipient: rfc822;a@b" and "Action: failed" to the space). Hostile: everything that is quoted; dsn_write.c
 * cleans it, and a boundary made of the random message id cannot be guessed.
 *
 *   multipart/report (RFC 6522): text/plain, message/delivery-status (RFC 3464), and the message or its header.
 *
 * When the message was SMTPUTF8, the forms of RFC 6533 (message/global-*) where ASCII does not do. */

#include <stdio.h>
#include <string.h>

#include "base/log.h"

#include "mail/address.h"
#include "mail/dsn_write.h"

#define DSN_DIAGNOSTIC_MAX 1024
#define BOUNDARY_MAX (MSGID_HEX + 8)

static const char *const action_names[] = {
	[DSN_FAILED] = "failed",
	[DSN_DELAYED] = "delayed",
	[DSN_DELIVERED] = "delivered",
	[DSN_RELAYED] = "relayed",
};

bool
dsn_wanted(uint8_t notify, enum dsn_action action)
{
	if (notify & NOTIFY_NEVER)
		return false;
	switch (action) {
	case DSN_FAILED:
		return notify == NOTIFY_DEFAULT || (notify & NOTIFY_FAILURE);
	case DSN_DELAYED:
		return notify == NOTIFY_DEFAULT || (notify & NOTIFY_DELAY);
	case DSN_DELIVERED:
	case DSN_RELAYED:
		return notify & NOTIFY_SUCCESS;
	}
	return false;
}

static bool
is_ascii_text(const char *s)
{
	return s == NULL || is_ascii(s, strlen(s));
}

/* Whether the status part needs RFC 6533: an address that is not ASCII. Of replies alone a '?' is good enough. */
static bool
needs_global(const struct dsn *dsn)
{
	if (!is_ascii_text(dsn->about->envid))
		return true;
	for (unsigned i = 0; i < dsn->n_rcpts; i++)
		if (!is_ascii_text(dsn->rcpts[i].address) || !is_ascii_text(dsn->rcpts[i].orcpt))
			return true;
	return false;
}

static void
put_diagnostic(struct wbuf *w, const struct dsn_rcpt *rcpt, bool is_global)
{
	const char *name = rcpt->is_local ? "Diagnostic-Code: X-Posthorn; " : "Diagnostic-Code: smtp; ";
	char text[DSN_DIAGNOSTIC_MAX];

	if (rcpt->diagnostic == NULL || rcpt->diagnostic[0] == '\0')
		return;
	if (rcpt->hint != NULL && strcasestr(rcpt->diagnostic, rcpt->hint) == NULL) {
		(void)snprintf(text, sizeof(text), "%.*s (%s)", (int)(sizeof(text) - strlen(rcpt->hint) - 4),
		    rcpt->diagnostic, rcpt->hint);
		dsn_put_field(w, name, text, is_global);
	} else {
		dsn_put_field(w, name, rcpt->diagnostic, is_global);
	}
}

static void
put_status_rcpt(struct wbuf *w, const struct dsn_rcpt *rcpt, bool is_global)
{
	struct enhanced_code code = dsn_status(rcpt);
	char status[16];

	enhanced_format(&code, status);
	dsn_put(w, "\r\n");
	dsn_put_field(w, "Original-Recipient: ", rcpt->orcpt, is_global);
	dsn_put_field(w, is_ascii_text(rcpt->address) ? "Final-Recipient: rfc822;" : "Final-Recipient: utf-8;",
	    rcpt->address, is_global);
	dsn_put_field(w, "Action: ", action_names[rcpt->action], false);
	dsn_put_field(w, "Status: ", status, false);
	dsn_put_field(w, "Remote-MTA: dns; ", rcpt->remote_mta, false);
	put_diagnostic(w, rcpt, is_global);
	dsn_put_date(w, "Last-Attempt-Date: ", rcpt->last_attempt);
	if (rcpt->action == DSN_DELAYED)
		dsn_put_date(w, "Will-Retry-Until: ", rcpt->will_retry_until);
}

static void
put_status(struct wbuf *w, const struct dsn *dsn, bool is_global)
{
	char id[MSGID_HEX];

	msgid_hex(&dsn->about->id, id);
	dsn_put_field(w, "Reporting-MTA: dns; ", dsn->reporting_mta, false);
	dsn_put_field(w, "X-Posthorn-Message-ID: ", id, false);
	dsn_put_field(w, "Original-Envelope-Id: ", dsn->about->envid, is_global);
	dsn_put_date(w, "Arrival-Date: ", dsn->about->received);
	for (unsigned i = 0; i < dsn->n_rcpts; i++)
		put_status_rcpt(w, &dsn->rcpts[i], is_global);
}

/* Appends one part with what its content makes necessary; empties the content. */
static void
put_part(struct wbuf *w, const char *boundary, const char *description, const char *type, struct wbuf *content)
{
	dsn_put(w, "--");
	dsn_put(w, boundary);
	dsn_put(w, "\r\nContent-Description: ");
	dsn_put(w, description);
	dsn_put(w, "\r\nContent-Type: ");
	dsn_put(w, type);
	if (!is_ascii((const char *)content->p, content->len))
		dsn_put(w, "\r\nContent-Transfer-Encoding: 8bit");
	dsn_put(w, "\r\n\r\n");
	wbuf_raw(w, content->p, content->len);
	dsn_put(w, "\r\n");
	wbuf_reset(content);
}

static void
put_original(struct wbuf *w, const struct dsn *dsn, const char *boundary, struct wbuf *content)
{
	bool is_full = dsn->body.len > 0;
	bool is_global = (dsn->about->flags & MSG_SMTPUTF8) && !is_ascii(dsn->headers.base, dsn->headers.len);

	if (dsn->headers.len == 0)
		return;
	dsn_put_lines(content, dsn->headers, " ");
	if (is_full) {
		/* The header block may lack the blank line that ends it. */
		if (content->len < 4 || memcmp(content->p + content->len - 4, "\r\n\r\n", 4) != 0)
			dsn_put(content, "\r\n");
		dsn_put_lines(content, dsn->body, "");
		put_part(w, boundary, "Undelivered Message", is_global ? "message/global" : "message/rfc822", content);
	} else {
		put_part(w, boundary, "Undelivered Message Headers",
		    is_global ? "message/global-headers" : "text/rfc822-headers", content);
	}
}

static const char *
subject(const struct dsn *dsn)
{
	bool is_delayed = false;

	for (unsigned i = 0; i < dsn->n_rcpts; i++) {
		if (dsn->rcpts[i].action == DSN_FAILED)
			return "Undelivered Mail Returned to Sender";
		if (dsn->rcpts[i].action == DSN_DELAYED)
			is_delayed = true;
	}
	return is_delayed ? "Delayed Mail (still being retried)" : "Successful Mail Delivery Report";
}

static void
put_header(struct wbuf *w, const struct dsn *dsn, const char *boundary, bool is_8bit)
{
	char id[MSGID_HEX];

	msgid_hex(dsn->id, id);
	dsn_put(w, "From: MAILER-DAEMON@");
	dsn_put_value(w, dsn->reporting_mta, true);
	dsn_put(w, " (Mail Delivery System)\r\n");
	dsn_put_field(w, "To: ", dsn->about->sender, true);
	dsn_put_field(w, "Subject: ", subject(dsn), false);
	dsn_put_date(w, "Date: ", dsn->now);
	dsn_put(w, "Message-ID: <");
	dsn_put(w, id);
	dsn_put(w, "@");
	dsn_put_value(w, dsn->reporting_mta, true);
	dsn_put(w, ">\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
		   "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"");
	dsn_put(w, boundary);
	dsn_put(w, is_8bit ? "\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" : "\"\r\n\r\n");
}

void
dsn_build(const struct dsn *dsn, struct wbuf *headers_r, struct wbuf *body_r)
{
	bool is_global = needs_global(dsn), is_8bit;
	size_t start = body_r->len;
	char boundary[BOUNDARY_MAX] = "=_dsn_";
	struct wbuf content;

	/* Who answers the null sender makes loops. */
	if (dsn->about->sender[0] == '\0')
		panic("a DSN about a message without sender");
	msgid_hex(dsn->id, boundary + strlen(boundary));
	wbuf_init(&content);
	dsn_put(body_r, "This is a MIME-encapsulated message.\r\n\r\n");
	dsn_put_text(&content, dsn);
	is_8bit = !is_ascii((const char *)content.p, content.len);
	put_part(body_r, boundary, "Notification",
	    is_8bit ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii", &content);
	put_status(&content, dsn, is_global);
	put_part(body_r, boundary, is_global ? "Delivery error report (internationalized)" : "Delivery error report",
	    is_global ? "message/global-delivery-status" : "message/delivery-status", &content);
	put_original(body_r, dsn, boundary, &content);
	dsn_put(body_r, "--");
	dsn_put(body_r, boundary);
	dsn_put(body_r, "--\r\n");
	is_8bit = !is_ascii((const char *)body_r->p + start, body_r->len - start);
	put_header(headers_r, dsn, boundary, is_8bit);
	wbuf_clear(&content);
}
