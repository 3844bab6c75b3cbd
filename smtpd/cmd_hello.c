/* HELO, EHLO (RFC 5321 4.1.1.1) and what we offer. The argument is a stranger's word: kept, never believed. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#include "smtpd/events.h"
#include "smtpd/session_private.h"

static bool
hello(struct session *s, const char *args)
{
	size_t len = strlen(args);
	char *word;

	while (len > 0 && args[len - 1] == ' ')
		len--;
	if (len == 0) {
		reply_reject(s, PHASE_NONE, NULL, "501 5.5.4 Syntax: EHLO hostname");
		return false;
	}
	word = xmemdup0(args, len);
	if (!address_helo_valid(word)) {
		free(word);
		reply_reject(s, PHASE_NONE, NULL, "501 5.5.4 Invalid hostname");
		return false;
	}
	/* The first is the protocol's, more are a habit or a flood. */
	if (s->helo != NULL && !reply_junk(s)) {
		free(word);
		return false;
	}
	tx_reset(s);
	free(s->helo);
	s->helo = word;
	return true;
}

static void
hello_ask(struct session *s, event_then_fn *then)
{
	event_ask(s, &(struct policy_call){ .id = POLICY_ON_EHLO, .text = { s->helo } }, then);
}

/* Policy does not like the name: as if it had not been said. */
static bool
is_refused(struct session *s, const struct policy_verdict *v)
{
	if (!event_refused(s, v, PHASE_EHLO, NULL))
		return false;
	free(s->helo);
	s->helo = NULL;
	s->is_esmtp = false;
	return true;
}

static void
helo_then(struct session *s, const struct policy_verdict *v)
{
	if (!is_refused(s, v))
		reply_fmt(s, "250 %s", s->worker->params->myhostname);
}

void
cmd_helo(struct session *s, const char *args)
{
	if (!hello(s, args))
		return;
	s->is_esmtp = false;
	hello_ask(s, helo_then);
}

static bool
offers_auth(const struct session *s)
{
	return (s->worker->has_users || event_wanted(s, POLICY_ON_AUTH)) && (io_is_tls(s->io) ||
	    !s->worker->params->smtpd_tls_auth_only);
}

static void
ehlo_then(struct session *s, const struct policy_verdict *v)
{
	const struct worker *w = s->worker;

	if (is_refused(s, v))
		return;
	reply_fmt(s,
	    "250-%s\r\n250-PIPELINING\r\n250-SIZE %lld%s%s%s\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n"
	    "250-SMTPUTF8\r\n250 CHUNKING", w->params->myhostname, (long long)w->params->message_size_limit,
	    w->tls[s->kind] != NULL && !io_is_tls(s->io) ? "\r\n250-STARTTLS" : "",
	    offers_auth(s) ? "\r\n250-AUTH PLAIN LOGIN" : "",
	    s->may_xclient ? "\r\n250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN" : "");
}

void
cmd_ehlo(struct session *s, const char *args)
{
	if (!hello(s, args))
		return;
	s->is_esmtp = true;
	hello_ask(s, ehlo_then);
}
