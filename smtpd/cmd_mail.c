/* MAIL and RCPT (RFC 5321 3.3, 4.1.1.2-3): who may send what to whom. Addresses are a stranger's; they are parsed once
 * into canonical form and their local part means nothing to us. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/address.h"

#include "smtpd/events.h"
#include "smtpd/mailargs.h"
#include "smtpd/session_private.h"
#include "smtpd/suppressed.h"

#define OVER_LIMIT_MAX 1000 /* RCPTs that are answered 452 before we hang up */

/* "FROM:<...>": what follows the colon, or NULL. */
static const char *
after_keyword(const char *args, const char *keyword)
{
	size_t len = strlen(keyword);

	return strncasecmp(args, keyword, len) == 0 ? args + len : NULL;
}

/* "5.1.7 text" of the address parser as a reply: RFC 6531 3.5 has a code of its own. */
static void
reject_address(struct session *s, enum phase phase, const char *err)
{
	reply_reject_fmt(s, phase, NULL, "%s %s", strncmp(err, "5.6.7", 5) == 0 ? "553" : "501", err);
}

static bool
may_begin(struct session *s)
{
	const struct worker *w = s->worker;
	const struct params *p = w->params;

	if (s->tx.env != NULL) {
		reply_reject(s, PHASE_MAIL, NULL, "503 5.5.1 Nested MAIL command");
	} else if (session_is_submission(s) && !s->is_authenticated) {
		reply_reject(s, PHASE_MAIL, NULL, !io_is_tls(s->io) && w->tls[s->kind] != NULL &&
		    p->smtpd_tls_auth_only ?
		    "530 5.7.0 Must issue a STARTTLS command first" : "530 5.7.0 Authentication required");
	} else if (p->smtpd_message_limit > 0 && s->messages >= (unsigned)p->smtpd_message_limit) {
		reply_drop(s, PHASE_MAIL, "421 4.7.0 Too many messages on this connection");
	} else if (spool_is_broken(w->spool)) {
		reply_reject(s, PHASE_MAIL, NULL, "451 4.3.0 The queue is not available, try again later");
	} else if (eventlog_stuck(w->events)) {
		reply_reject(s, PHASE_MAIL, NULL, "452 4.3.1 Insufficient system storage");
	} else {
		return true;
	}
	return false;
}

static bool
is_acceptable(struct session *s, const struct path_arg *from, const struct mail_args *a)
{
	const struct worker *w = s->worker;

	if (from->is_utf8 && !a->is_utf8) {
		reply_reject(s, PHASE_MAIL, NULL, "553 5.6.7 Address is not ASCII and SMTPUTF8 was not requested");
	} else if (a->has_size && a->size > (uint64_t)w->params->message_size_limit) {
		reply_reject(s, PHASE_MAIL, NULL, "552 5.3.4 Message is too big");
	} else if (!spool_has_space(w->spool, a->has_size ? a->size : 0)) {
		reply_reject(s, PHASE_MAIL, NULL, "452 4.3.1 Insufficient system storage");
	} else if (s->is_authenticated && !user_may_send_as(&s->user, from->address)) {
		reply_reject(s, PHASE_MAIL, NULL, "553 5.7.1 You may not send with this sender domain");
	} else {
		return true;
	}
	return false;
}

static void
mail_then(struct session *s, const struct policy_verdict *v)
{
	/* The transaction gives back what it took of the user's rate. */
	if (event_refused(s, v, PHASE_MAIL, NULL))
		tx_reset(s);
	else
		reply_plain(s, "250 2.1.0 Ok");
}

void
cmd_mail(struct session *s, const char *args)
{
	const char *p = after_keyword(args, "FROM:"), *err = NULL;
	struct path_arg from;
	struct mail_args a;

	if (!may_begin(s))
		return;
	if (p == NULL) {
		reply_reject(s, PHASE_MAIL, NULL, "501 5.5.4 Syntax: MAIL FROM:<address>");
		return;
	}
	if (address_parse_path(p, PATH_REVERSE, true, &from, &err) == -1) {
		reject_address(s, PHASE_MAIL, err);
		return;
	}
	if (mail_args_parse(from.rest, &a, &err) == -1) {
		reply_reject(s, PHASE_MAIL, NULL, err);
		return;
	}
	if (!s->is_esmtp && *from.rest != '\0') {
		reply_reject(s, PHASE_MAIL, NULL, "555 5.5.4 Parameters need EHLO");
		return;
	}
	if (!is_acceptable(s, &from, &a))
		return;
	s->tx.env = envelope_new();
	free(s->tx.env->sender);
	s->tx.env->sender = xstrdup(from.address);
	s->tx.env->ret = a.ret;
	s->tx.env->envid = a.has_envid ? xstrdup(a.envid) : NULL;
	s->tx.is_utf8 = a.is_utf8;
	event_ask(s, &(struct policy_call){ .id = POLICY_ON_MAIL, .text = { s->tx.env->sender } }, mail_then);
}

static bool
is_ours(const struct worker *w, const char *domain)
{
	const struct policy_listener_domain *d;
	size_t i;

	for (i = 0; i < w->params->relay_domains.n; i++) {
		if (strcasecmp(w->params->relay_domains.v[i], domain) == 0)
			return true;
	}
	if (w->policy == NULL || (d = policy_listener_domain(w->policy, domain)) == NULL)
		return false;
	return d->relay_to || d->log_oob != REPORT_IGNORE || d->log_arf != REPORT_IGNORE;
}

static bool
may_add(struct session *s)
{
	struct tx *tx = &s->tx;

	if (tx->env == NULL) {
		reply_reject(s, PHASE_RCPT, NULL, "503 5.5.1 Send MAIL first");
	} else if (tx->is_bdat || tx->is_bdat_failed) {
		reply_reject(s, PHASE_RCPT, NULL, "503 5.5.1 Not between chunks");
	} else if (tx->env->n_rcpts + tx->n_suppressed >= (uint32_t)s->worker->params->smtpd_recipient_limit) {
		/* The protocol's own way to ask for another transaction: no error, but not without end. */
		if (tx->n_over == 0)
			reply_reject(s, PHASE_RCPT, NULL, "452 4.5.3 Too many recipients");
		else if (tx->n_over >= OVER_LIMIT_MAX)
			reply_drop(s, PHASE_RCPT, "421 4.7.0 Too many recipients, closing connection");
		else
			reply_plain(s, "452 4.5.3 Too many recipients");
		tx->n_over++;
	} else {
		return true;
	}
	return false;
}

static void
reject_rcpt(struct session *s, const char *rcpt, const char *line)
{
	s->tx.n_refused++;
	reply_reject(s, PHASE_RCPT, rcpt, line);
}

/* RFC 5321 4.5.1: <postmaster> without a domain is ours. */
static void
complete_postmaster(const struct worker *w, struct path_arg *to)
{
	char full[ADDRESS_MAX];

	if (*address_domain(to->address) != '\0')
		return;
	snprintf(full, sizeof full, "postmaster@%s", w->params->myhostname);
	memcpy(to->address, full, sizeof full);
}

static void
rcpt_then(struct session *s, const struct policy_verdict *v)
{
	struct rcpt_asked *r = &s->tx.asked;

	if (event_refused(s, v, PHASE_RCPT, r->address)) {
		s->tx.n_refused++;
	} else {
		tx_add_rcpt(s, r->address, r->orcpt, r->notify);
		reply_plain(s, "250 2.1.5 Ok");
	}
	tx_asked_clear(&s->tx);
}

/* Without a handler nothing is copied. */
static void
rcpt_ask(struct session *s, const char *address, const char *orcpt, uint8_t notify)
{
	if (!event_wanted(s, POLICY_ON_RCPT)) {
		tx_add_rcpt(s, address, orcpt, notify);
		reply_plain(s, "250 2.1.5 Ok");
		return;
	}
	s->tx.asked = (struct rcpt_asked){ xstrdup(address), orcpt != NULL ? xstrdup(orcpt) : NULL, notify };
	event_ask(s, &(struct policy_call){ .id = POLICY_ON_RCPT, .text = { s->tx.asked.address } }, rcpt_then);
}

void
cmd_rcpt(struct session *s, const char *args)
{
	const char *p = after_keyword(args, "TO:"), *err = NULL, *domain;
	bool is_postmaster;
	struct path_arg to;
	struct rcpt_args a;

	if (!may_add(s))
		return;
	if (p == NULL) {
		reject_rcpt(s, NULL, "501 5.5.4 Syntax: RCPT TO:<address>");
		return;
	}
	if (address_parse_path(p, PATH_FORWARD, s->tx.is_utf8, &to, &err) == -1) {
		s->tx.n_refused++;
		reject_address(s, PHASE_RCPT, err);
		return;
	}
	if (rcpt_args_parse(to.rest, s->tx.is_utf8, &a, &err) == -1) {
		reject_rcpt(s, to.address, err);
		return;
	}
	if (!s->is_esmtp && *to.rest != '\0') {
		reject_rcpt(s, to.address, "555 5.5.4 Parameters need EHLO");
		return;
	}
	is_postmaster = *address_domain(to.address) == '\0';
	complete_postmaster(s->worker, &to);
	domain = address_domain(to.address);
	if (!session_is_trusted(s) && !is_postmaster && !is_ours(s->worker, domain)) {
		reject_rcpt(s, to.address, "550 5.7.1 Relay access denied");
		return;
	}
	if (suppressed_refused(s, to.address))
		return;
	rcpt_ask(s, to.address, a.has_orcpt ? a.orcpt : NULL, a.notify);
}
