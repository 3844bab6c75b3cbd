/* What a client says from the greeting to STARTTLS and AUTH, and the table that gives each reply to the step that
 * waits for it (conn.h). In the net process. Hostile: every reply; lines are bounded here, replies in mail/reply.h.
 * RFC 5321, RFC 3207, RFC 1870, RFC 2920, RFC 3461, RFC 6152, RFC 6531. */
#include <bsd/string.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/tls.h"
#include "deliverd/conn.h"
#include "deliverd/tls_report.h"

#define LINE_MAX_LEN 8192

static bool on_banner(struct conn *);
static bool on_ehlo(struct conn *);
static bool on_helo(struct conn *);
static bool on_starttls(struct conn *);
static bool on_auth(struct conn *);
static bool on_unasked(struct conn *);
static bool on_quit(struct conn *);

const struct step_def client_steps[STEPS] = {
	[STEP_CONNECT] = { PHASE_CONNECT, T_CONNECT, "the connection", on_unasked },
	[STEP_BANNER] = { PHASE_BANNER, T_BANNER, "the greeting", on_banner },
	[STEP_EHLO] = { PHASE_EHLO, T_EHLO, "the reply to EHLO", on_ehlo },
	[STEP_HELO] = { PHASE_EHLO, T_EHLO, "the reply to HELO", on_helo },
	[STEP_STARTTLS] = { PHASE_STARTTLS, T_STARTTLS, "the reply to STARTTLS", on_starttls },
	[STEP_TLS] = { PHASE_STARTTLS, T_STARTTLS, "the TLS handshake", on_unasked },
	[STEP_AUTH] = { PHASE_AUTH, T_AUTH, "the reply to AUTH", on_auth },
	[STEP_QUIT] = { PHASE_NONE, T_QUIT, "the reply to QUIT", on_quit },
	[STEP_IDLE] = { PHASE_NONE, T_IDLE, "nothing", on_unasked },
	[STEP_RSET] = { PHASE_MAIL, T_RSET, "the reply to RSET", client_on_rset },
	[STEP_MAIL] = { PHASE_MAIL, T_MAIL, "the reply to MAIL", client_on_mail },
	[STEP_RCPT] = { PHASE_RCPT, T_RCPT, "the reply to RCPT", client_on_rcpt },
	[STEP_DATA] = { PHASE_DATA, T_DATA, "the reply to DATA", client_on_data },
	[STEP_BODY] = { PHASE_DATA, T_XFER, "the content to be taken", client_on_body },
	[STEP_DOT] = { PHASE_DOT, T_DOT, "the reply to the end of data", client_on_dot },
};

struct outcome
client_reply_outcome(const struct conn *c, const char *command)
{
	enum phase phase = client_steps[c->step].phase;
	struct outcome o;

	if (c->reply.code < 400) {
		o = outcome_local(phase, 451, "4.5.0", "the server's reply makes no sense at this point");
		o.command = command;
		return o;
	}
	return (struct outcome){ .kind = QL_FAILED, .phase = phase, .code = (uint16_t)c->reply.code,
		.enhanced = c->reply.enhanced, .text = c->reply.text, .command = command };
}

static const char *
our_name(const struct conn *c)
{
	return c->path->limits.ehlo;
}

static bool
send_ehlo(struct conn *c)
{
	c->caps = 0;
	c->peer_size = 0;
	io_printf(c->io, "EHLO %s\r\n", our_name(c));
	conn_set_step(c, STEP_EHLO);
	return true;
}

bool
client_start(struct conn *c)
{
	conn_set_step(c, STEP_BANNER);
	return true;
}

/* The reply is no use: the next address, with the reply as the reason. */
static bool
refused(struct conn *c)
{
	struct outcome why = client_reply_outcome(c, NULL);

	if (c->reply.code / 100 == 4) /* at this point it says something about connections */
		path_shrink(c->path);
	path_note_reply(c->path, &why);
	return conn_next(c, &why);
}

static bool
on_banner(struct conn *c)
{
	return c->reply.code == 220 ? send_ehlo(c) : refused(c);
}

static const struct {
	const char *word;
	uint32_t cap;
} keywords[] = {
	{ "PIPELINING", CAP_PIPELINING }, { "8BITMIME", CAP_8BITMIME }, { "SMTPUTF8", CAP_SMTPUTF8 },
	{ "SIZE", CAP_SIZE }, { "AUTH", CAP_AUTH }, { "AUTH=PLAIN", CAP_AUTH_PLAIN },
	{ "DSN", CAP_DSN }, { "STARTTLS", CAP_STARTTLS }, { "ENHANCEDSTATUSCODES", CAP_ENHANCED },
};

static bool
has_word(const char *line, size_t len, const char *word)
{
	size_t n = strlen(word), at, end;

	for (at = 0; at < len; at = end + 1) {
		for (end = at; end < len && line[end] != ' '; end++)
			;
		if (end - at == n && strncasecmp(line + at, word, n) == 0)
			return true;
	}
	return false;
}

static void
take_keyword(struct conn *c, const char *line, size_t len)
{
	size_t word = 0, i, at;
	uint64_t size = 0;

	while (word < len && line[word] != ' ')
		word++;
	for (i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++) {
		if (strlen(keywords[i].word) != word || strncasecmp(line, keywords[i].word, word) != 0)
			continue;
		c->caps |= keywords[i].cap;
		if (keywords[i].cap == CAP_AUTH && has_word(line, len, "PLAIN"))
			c->caps |= CAP_AUTH_PLAIN;
		if (keywords[i].cap != CAP_SIZE)
			return;
		for (at = word + 1; at < len && line[at] >= '0' && line[at] <= '9' && size < UINT64_MAX / 16; at++)
			size = size * 10 + (uint64_t)(line[at] - '0');
		c->peer_size = size;
	}
}

/* The first line is a greeting, each other one a keyword with parameters (RFC 5321 section 4.1.1.1). */
static void
take_keywords(struct conn *c)
{
	const char *line = strchr(c->reply.text, '\n'), *end;

	while (line != NULL) {
		line++;
		end = strchr(line, '\n');
		take_keyword(c, line, end != NULL ? (size_t)(end - line) : strlen(line));
		line = end;
	}
}

static bool
wants_tls(struct conn *c)
{
	if (!(c->caps & CAP_STARTTLS) || io_is_tls(c->io) || c->is_in_clear || c->net->tls == NULL ||
	    !c->need.is_wanted)
		return false;
	/* What is known of it may be from when a policy of before said that nothing is verified. */
	return c->need.is_required || (c->need.by != TLS_BY_NOTHING && !c->need.may_retry_in_clear) ||
	    path_tls_peer(c->path, conn_host(c)->name)->broken_until <= loop_now(c->net->loop);
}

/* Why the password must not be said here; NULL: it may. */
static const char *
password_obstacle(const struct conn *c)
{
	const struct credentials *own = &c->path->credentials;

	if (!io_is_tls(c->io) && !own->may_be_clear)
		return "the password is not sent without TLS (allow_smtp_auth_plain_without_tls)";
	if (io_is_tls(c->io) && c->need.by == TLS_BY_NOTHING && !own->may_be_anybody && !own->may_be_clear)
		return "the password is not sent to a server whose certificate was not verified "
		    "(allow_smtp_auth_plain_without_valid_certificate)";
	if (!(c->caps & CAP_AUTH_PLAIN))
		return c->caps & CAP_AUTH ? "the server does not offer AUTH PLAIN, but other mechanisms" :
		    "the server does not offer AUTH";
	return NULL;
}

/* Greeted. Where policy has a password for it, no mail is sent without: who relays for its users only would refuse
 * every recipient, for good. */
static bool
authenticate(struct conn *c)
{
	const char *obstacle;
	struct outcome why;

	if (c->path->credentials.plain == NULL)
		return conn_ready(c);
	if ((obstacle = password_obstacle(c)) != NULL) {
		why = outcome_local(PHASE_AUTH, 451, "4.7.0", obstacle);
		return conn_next(c, &why);
	}
	io_write(c->io, "AUTH PLAIN ", 11);
	io_write(c->io, c->path->credentials.plain, strlen(c->path->credentials.plain));
	io_write(c->io, "\r\n", 2);
	conn_set_step(c, STEP_AUTH);
	return true;
}

/* Whatever the server says of our password is no fault of the message: it waits until somebody has put that right. */
static bool
on_auth(struct conn *c)
{
	bool is_repeated;
	struct outcome why;
	char text[512];

	if (c->reply.code == 235)
		return conn_ready(c);
	if (c->is_closing) { /* the path has others by now, or none */
		why = outcome_local(PHASE_AUTH, 454, "4.7.0", "the server did not take a password of before");
		return conn_next(c, &why);
	}
	/* Some servers repeat the command that they do not like. */
	is_repeated = strstr(c->reply.text, c->path->credentials.plain) != NULL;
	if (c->reply.code == 421 && !is_repeated)
		return refused(c);
	snprintf(text, sizeof(text), "the server did not take our password (smtp_auth_plain_username %.100s): "
	    "%d %.300s", c->path->config.smtp_auth_plain_username, c->reply.code,
	    is_repeated ? "(with our password, not shown)" : c->reply.text);
	why = outcome_local(PHASE_AUTH, 454, "4.7.0", text);
	path_note_reply(c->path, &why);
	return conn_next(c, &why);
}

/* Greeted; but where encryption is required, nothing goes in the clear. */
static bool
ready_or_refuse(struct conn *c)
{
	struct outcome why;
	char text[160];

	if (c->need.is_wanted && !io_is_tls(c->io) && !c->is_in_clear &&
	    (!(c->caps & CAP_STARTTLS) || c->step == STEP_STARTTLS))
		tls_report_absent(c);
	if (!c->need.is_required || io_is_tls(c->io))
		return authenticate(c);
	snprintf(text, sizeof(text), "TLS is required%s, but the server %s",
	    conn_host(c)->dane == MX_DANE_RECORDS && c->path->config.enable_dane ? " by its TLSA records (DANE)" :
	    c->need.policy != NULL ? " by the domain's MTA-STS policy" : "",
	    c->step == STEP_STARTTLS ? "refused STARTTLS" : "does not offer it");
	why = outcome_local(PHASE_STARTTLS, 451, "4.7.4", text);
	return conn_next(c, &why);
}

static bool
on_ehlo(struct conn *c)
{
	if (c->reply.code / 100 == 5) { /* no ESMTP */
		io_printf(c->io, "HELO %s\r\n", our_name(c));
		conn_set_step(c, STEP_HELO);
		return true;
	}
	if (c->reply.code != 250)
		return refused(c);
	take_keywords(c);
	if (!wants_tls(c))
		return ready_or_refuse(c);
	io_write(c->io, "STARTTLS\r\n", 10);
	conn_set_step(c, STEP_STARTTLS);
	return true;
}

static bool
on_helo(struct conn *c)
{
	return c->reply.code == 250 ? ready_or_refuse(c) : refused(c);
}

static bool
on_starttls(struct conn *c)
{
	if (c->reply.code == 220)
		return conn_starttls(c);
	if (c->reply.code == 421)
		return refused(c);
	log_debug("path %s: %s refused STARTTLS: %d %s", c->path->name, c->peer_addr, c->reply.code, c->reply.text);
	return ready_or_refuse(c);
}

bool
client_tls_ready(struct conn *c)
{
	c->tls_ms = (uint32_t)(loop_now(c->net->loop) - c->step_started);
	c->tls_version = tls_version(io_ssl(c->io));
	c->tls_cipher = tls_cipher(io_ssl(c->io));
	c->tls_verified = tls_need_verified(&c->need);
	tls_report_ready(c);
	return send_ehlo(c);
}

static bool
on_quit(struct conn *c)
{
	conn_close(&c, false);
	return false;
}

static bool
on_unasked(struct conn *c)
{
	return client_lost(c, "the server spoke out of turn", false);
}

bool
client_lost(struct conn *c, const char *why, bool is_timeout)
{
	const char *unexpected = NULL;
	struct outcome o;
	char text[512];

	if (c->step >= STEP_RSET)
		return client_tx_lost(c, why, is_timeout);
	if (c->step == STEP_IDLE || c->step == STEP_QUIT) {
		conn_close(&c, c->step == STEP_IDLE && is_timeout);
		return false;
	}
	if (c->step == STEP_TLS)
		tls_report_failed(c, why);
	if (c->step == STEP_TLS && c->need.may_retry_in_clear)
		return conn_retry_in_clear(c, why);
	if (c->step == STEP_TLS && io_ssl(c->io) != NULL && !c->need.is_observed)
		unexpected = tls_unexpected(io_ssl(c->io));
	if (is_timeout)
		path_shrink(c->path);
	if (unexpected != NULL)
		snprintf(text, sizeof(text), "the server's certificate %s: %s", c->need.by == TLS_BY_DANE ?
		    "does not match its TLSA records (DANE)" : c->need.policy != NULL ?
		    "cannot be verified, as the domain's MTA-STS policy wants" : "cannot be verified", unexpected);
	else
		snprintf(text, sizeof(text), "%s while waiting for %s", why, client_steps[c->step].waits_for);
	o = outcome_local(client_steps[c->step].phase, 451, c->step == STEP_CONNECT ? "4.4.1" : c->step == STEP_TLS ?
	    "4.7.5" : "4.4.2", text);
	if (c->step == STEP_TLS && c->need.by == TLS_BY_NOTHING)
		conn_note_broken_tls(c);
	return conn_next(c, &o);
}

/* Whether the command that waits for a reply is still here. Then the reply is one too many, and from here on each would
 * be taken for the answer to the next command: an envelope would be credited with what was said about another. A
 * farewell (421) may come at any time. During content and after it client_tx.c looks itself. */
static bool
is_one_too_many(const struct conn *c)
{
	size_t pending = io_pending(c->io);

	if (pending == 0 || c->reply.code == 421)
		return false;
	if (c->step == STEP_EHLO || c->step == STEP_HELO || c->step == STEP_STARTTLS || c->step == STEP_AUTH)
		return true;
	if (c->step < STEP_RSET || c->step > STEP_DATA)
		return false;
	return !c->tx.is_pipelined || pending >= c->tx.group_len;
}

/* One line of n octets, its LF included, at p. */
static bool
take_line(struct conn *c, const char *p, size_t n)
{
	const char *err;
	size_t len = n - 1;
	int r;

	if (len > 0 && p[len - 1] == '\r')
		len--;
	r = reply_line(&c->reply, p, len, &err);
	evbuffer_drain(io_input(c->io), n);
	if (r == 0)
		return true;
	if (r == -1)
		return client_lost(c, err, false);
	if (is_one_too_many(c))
		return client_lost(c, "the server gave a reply too many", false);
	if (!client_steps[c->step].on_reply(c))
		return false;
	reply_reset(&c->reply);
	return true;
}

bool
client_input(struct conn *c)
{
	struct evbuffer *in = io_input(c->io);
	const char *p, *lf;
	size_t len;

	while ((len = evbuffer_get_length(in)) > 0) {
		/* A part of a reply counts: its rest may come when the content is there. */
		if ((c->step == STEP_BODY || c->step == STEP_DOT) && io_pending(c->io) > 0)
			c->tx.is_answered_early = true;
		/* A farewell ("421 timeout") most likely, or a part of one: nothing was asked, and what follows would
		 * be taken for the answer to the next MAIL. */
		if (c->step == STEP_IDLE) {
			conn_close(&c, false);
			return false;
		}
		if (len > LINE_MAX_LEN)
			len = LINE_MAX_LEN;
		p = (const char *)evbuffer_pullup(in, (ev_ssize_t)len);
		lf = memchr(p, '\n', len);
		if (lf == NULL) {
			if (len < LINE_MAX_LEN)
				return true;
			return client_lost(c, "the reply has a line that is too long", false);
		}
		if (!take_line(c, p, (size_t)(lf - p) + 1))
			return false;
		if (c->step == STEP_TLS || c->step == STEP_CONNECT) /* another protocol, or another connection */
			return true;
	}
	return true;
}
