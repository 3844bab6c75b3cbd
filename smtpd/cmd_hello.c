/* HELO, EHLO (RFC 5321 4.1.1.1) and what we offer. The argument is a stranger's word: kept, never believed. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

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

void
cmd_helo(struct session *s, const char *args)
{
	if (!hello(s, args))
		return;
	s->is_esmtp = false;
	reply_fmt(s, "250 %s", s->worker->params->myhostname);
}

static bool
offers_auth(const struct session *s)
{
	return s->worker->has_users && (io_is_tls(s->io) || !s->worker->params->smtpd_tls_auth_only);
}

void
cmd_ehlo(struct session *s, const char *args)
{
	const struct worker *w = s->worker;

	if (!hello(s, args))
		return;
	s->is_esmtp = true;
	reply_fmt(s,
	    "250-%s\r\n250-PIPELINING\r\n250-SIZE %lld%s%s%s\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n"
	    "250-SMTPUTF8\r\n250 CHUNKING", w->params->myhostname, (long long)w->params->message_size_limit,
	    w->tls[s->kind] != NULL && !io_is_tls(s->io) ? "\r\n250-STARTTLS" : "",
	    offers_auth(s) ? "\r\n250-AUTH PLAIN LOGIN" : "",
	    s->may_xclient ? "\r\n250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN" : "");
}
