/* The header block between reception and spool (worker role). Field values are a stranger's: whatever is copied into a
 * field of ours or into the envelope has no CR, LF or control in it. RFC 5321 4.4 (trace), RFC 5322 3.6. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "mail/address.h"
#include "mail/header.h"

#include "smtpd/headers.h"

void
headers_date(int64_t wall, char out[40])
{
	static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov",
	    "Dec" };
	time_t t = (time_t)(wall / 1000);
	struct tm tm;

	/* UTC on purpose: local time would open files inside the jail, and says where the server stands. */
	gmtime_r(&t, &tm);
	snprintf(out, 40, "%s, %02d %s %04d %02d:%02d:%02d +0000", days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
	    tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* A value that identifies: no controls (folding is gone already). */
static void
take_value(const struct header_field *f, char *out, size_t size)
{
	size_t n = header_value(f, out, size), i;

	for (i = 0; i < n; i++) {
		if ((unsigned char)out[i] < ' ' || out[i] == 0x7f)
			out[i] = '?';
	}
}

/* A field without a value says nothing. One that says something else than the one before is no accident. */
static void
take_tenant(const struct header_field *f, struct header_facts *facts)
{
	char tenant[sizeof facts->tenant];

	take_value(f, tenant, sizeof tenant);
	if (*tenant == '\0')
		return;
	if (!facts->has_tenant)
		memcpy(facts->tenant, tenant, sizeof tenant);
	else if (strcmp(facts->tenant, tenant) != 0)
		facts->has_two_tenants = true;
	facts->has_tenant = true;
}

/* Whether one of the URIs of List-Unsubscribe is of the kind that takes a POST (RFC 8058). */
static bool
has_https(const struct header_field *f)
{
	static const char https[] = "<https:";
	const size_t len = sizeof(https) - 1;
	size_t i;

	for (i = 0; i + len <= f->value.len; i++)
		if (f->value.base[i] == '<' && strncasecmp(f->value.base + i, https, len) == 0)
			return true;
	return false;
}

static bool
name_is(const struct header_field *f, const char *name, size_t len)
{
	return f->name.len == len && strncasecmp(f->name.base, name, len) == 0;
}

/* Notes what the field says; true if it stays. */
static bool
judge_field(const struct params *p, const struct header_field *f, struct header_facts *facts)
{
	if (name_is(f, "Received", 8)) {
		facts->hops++;
	} else if (name_is(f, "Date", 4)) {
		facts->has_date = true;
	} else if (name_is(f, "Message-ID", 10)) {
		if (!facts->has_message_id)
			take_value(f, facts->message_id, sizeof facts->message_id);
		facts->has_message_id = true;
	} else if (name_is(f, "List-Unsubscribe", 16)) {
		facts->has_unsubscribe = true;
		facts->has_unsubscribe_https = facts->has_unsubscribe_https || has_https(f);
	} else if (name_is(f, "List-Unsubscribe-Post", 21)) {
		facts->has_unsubscribe_post = true;
	} else if (name_is(f, "Return-Path", 11)) {
		if (!facts->has_return_path)
			take_value(f, facts->return_path, sizeof facts->return_path);
		facts->has_return_path = true;
		return false;
	} else if (p->tenant_header != NULL && name_is(f, p->tenant_header, strlen(p->tenant_header))) {
		take_tenant(f, facts);
		return !p->remove_tenant_header;
	} else if (p->campaign_header != NULL && name_is(f, p->campaign_header, strlen(p->campaign_header))) {
		if (!facts->has_campaign)
			take_value(f, facts->campaign, sizeof facts->campaign);
		facts->has_campaign = true;
		return !p->remove_campaign_header;
	} else if (p->scheduling_header != NULL && *p->scheduling_header != '\0' &&
	    name_is(f, p->scheduling_header, strlen(p->scheduling_header))) {
		facts->has_two_schedules = facts->has_schedule;
		take_value(f, facts->schedule, sizeof facts->schedule);
		facts->has_schedule = true;
		return false;
	}
	return true;
}

void
headers_copy(const struct params *p, const char *block, size_t len, struct header_facts *facts, struct wbuf *out)
{
	const char *keep_from = block; /* runs of fields that stay are copied at once */
	struct header_iter it;
	struct header_field f;

	memset(facts, 0, sizeof *facts);
	header_iter_init(&it, block, len);
	while (header_next(&it, &f)) {
		if (judge_field(p, &f, facts))
			continue;
		wbuf_raw(out, keep_from, (size_t)(f.whole.base - keep_from));
		keep_from = f.whole.base + f.whole.len;
	}
	wbuf_raw(out, keep_from, (size_t)(block + len - keep_from));
}

/* A HELO name in a comment-free place: what is not a plain host name character becomes '?'. */
static void
safe_word(const char *in, char *out, size_t size)
{
	size_t n = 0;

	for (; *in != '\0' && n < size - 1; in++) {
		bool ok = (*in >= 'a' && *in <= 'z') || (*in >= 'A' && *in <= 'Z') || (*in >= '0' && *in <= '9') ||
		    strchr(".-_:[]", *in) != NULL;

		out[n++] = ok ? *in : '?';
	}
	out[n] = '\0';
}

void
headers_received(const struct message_context *c, const struct msgid *id, const char *rcpt, struct wbuf *out)
{
	char text[2048], helo[256], hex[MSGID_HEX], date[40];
	int n;

	safe_word(c->helo != NULL && *c->helo != '\0' ? c->helo : "unknown", helo, sizeof helo);
	msgid_hex(id, hex);
	headers_date(c->now, date);
	n = snprintf(text, sizeof text, "Received: from %s ([%s%s])\r\n", helo, c->is_ipv6 ? "IPv6:" : "", c->client);
	wbuf_raw(out, text, (size_t)n);
	if (c->tls_version != NULL) {
		n = snprintf(text, sizeof text, "\t(using %s with cipher %s)\r\n", c->tls_version,
		    c->tls_cipher != NULL ? c->tls_cipher : "unknown");
		wbuf_raw(out, text, (size_t)n);
	}
	n = snprintf(text, sizeof text, "\tby %s (Posthorn) with %s\r\n\tid %s", c->params->myhostname, c->protocol,
	    hex);
	wbuf_raw(out, text, (size_t)n);
	/* RFC 5321 7.2: with more than one recipient the clause would give away blind copies. A raw UTF-8 address may
	 * stand here only if the whole message is SMTPUTF8 in any case. */
	if (rcpt != NULL && is_ascii(rcpt, strlen(rcpt))) {
		n = snprintf(text, sizeof text, "\r\n\tfor <%s>", rcpt);
		wbuf_raw(out, text, (size_t)n);
	}
	n = snprintf(text, sizeof text, ";\r\n\t%s\r\n", date);
	wbuf_raw(out, text, (size_t)n);
}
