/* Verification of inbound mail (worker role): which messages, where their content is, what becomes of the results. Mail
 * that is submitted (by who authenticated, or from mynetworks) is none of it, but for what users may not write in our
 * name. The work is the check role's (check_client.h). */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#include "smtpd/verify.h"

struct verification {
	struct session *session;
	struct check_request *request;
	void (*then)(struct session *);
};

static bool
is_for_listener(const struct session *s)
{
	const struct policy_listener_domain *d;
	const struct envelope *e = s->tx.env;
	uint32_t i;

	for (i = 0; i < e->n_rcpts; i++) {
		d = policy_listener_domain(s->worker->policy, address_domain(e->rcpts[i].address));
		if (d != NULL && (d->relay_to || d->log_oob || d->log_arf))
			return true;
	}
	return false;
}

/* Header block, what is in a segment already, what is in memory. */
static int
content_read(const struct session *s, uint64_t offset, uint8_t *buf, size_t n)
{
	const struct tx *tx = &s->tx;
	const struct content *c = &tx->content;
	uint64_t large = tx->large != NULL ? spool_large_len(tx->large) : 0;
	size_t take;

	while (n > 0) {
		if (offset < c->head.len) {
			take = c->head.len - offset < n ? (size_t)(c->head.len - offset) : n;
			memcpy(buf, c->head.p + offset, take);
		} else if (offset - c->head.len < large) {
			take = large - (offset - c->head.len) < n ? (size_t)(large - (offset - c->head.len)) : n;
			if (spool_large_read(tx->large, offset - c->head.len, buf, take) == -1)
				return -1;
		} else {
			take = n;
			if (offset - c->head.len - large + take > c->body.len)
				return -1;
			memcpy(buf, c->body.p + (offset - c->head.len - large), take);
		}
		buf += take;
		offset += take;
		n -= take;
	}
	return 0;
}

static int
on_read(void *arg, uint64_t offset, uint8_t *buf, size_t n)
{
	const struct verification *v = arg;

	return content_read(v->session, offset, buf, n);
}

static void
meta_set(struct envelope *e, const char *key, uint8_t result)
{
	if (result != 0)
		envelope_set_meta(e, key, auth_result_names[result]);
}

static void
results_take(struct session *s, const struct auth_results *r)
{
	char domains[AUTH_SIGNATURES_MAX * (AUTH_DOMAIN_MAX + 2)];
	struct envelope *e = s->tx.env;

	s->tx.auth = xcalloc(1, sizeof *s->tx.auth);
	*s->tx.auth = *r;
	meta_set(e, "spf", r->spf.result);
	meta_set(e, "dkim", r->dkim);
	meta_set(e, "dmarc", r->dmarc.result);
	if (*r->dmarc.policy != '\0')
		envelope_set_meta(e, "dmarc_policy", r->dmarc.policy);
	auth_results_domains(r, domains, sizeof domains);
	if (*domains != '\0')
		envelope_set_meta(e, "auth_dkim_domains", domains);
	wbuf_reset(&s->tx.auth_field);
	authres_write(r, s->worker->params->myhostname, &s->tx.auth_field);
}

static void
on_results(const struct auth_results *r, void *arg)
{
	struct verification *v = arg;
	struct session *s = v->session;
	void (*then)(struct session *) = v->then;

	free(v);
	s->tx.verification = NULL;
	results_take(s, r);
	session_set_wait(s, WAIT_NONE);
	then(s);
	session_continue(s);
	session_settle(s);
}

static struct check_begin
begin_of(const struct session *s, uint8_t want)
{
	const struct tx *tx = &s->tx;

	return (struct check_begin){
		.want = want, .client = (char *)(uintptr_t)s->client, .helo = s->helo, .sender = tx->env->sender,
		.receiver = s->worker->params->myhostname, .head_len = (uint32_t)tx->content.head.len,
		.body_len = tx->content.body.len + (tx->large != NULL ? spool_large_len(tx->large) : 0)
	};
}

bool
verify_begin(struct session *s, void (*then)(struct session *))
{
	struct worker *w = s->worker;
	struct verification *v;
	struct check_begin b;

	if (w->check == NULL || w->policy == NULL || session_is_trusted(s) || s->tx.content.error != CONTENT_GOOD ||
	    !is_for_listener(s))
		return false;
	v = xcalloc(1, sizeof *v);
	v->session = s;
	v->then = then;
	b = begin_of(s, AUTH_WANT_SPF | AUTH_WANT_DKIM | AUTH_WANT_DMARC);
	v->request = check_client_ask(w->check, &b, on_read, on_results, v);
	s->tx.verification = v;
	session_set_wait(s, WAIT_CHECK);
	return true;
}

void
verify_clean(struct session *s)
{
	/* Who has a password is no server within our bounds (RFC 8601 section 5); one of mynetworks may be. */
	if (s->is_authenticated || !session_is_trusted(s))
		(void)authres_strip(&s->tx.content.head, s->worker->params->myhostname);
}

void
verify_reset(struct session *s)
{
	struct tx *tx = &s->tx;

	if (tx->verification != NULL) {
		check_client_cancel(s->worker->check, &tx->verification->request);
		free(tx->verification);
		tx->verification = NULL;
	}
	free(tx->auth);
	tx->auth = NULL;
	wbuf_clear(&tx->auth_field);
}

/* ---- what policy asks ---- */

struct asked {
	struct worker *worker;
	struct session *session; /* whose content; NULL: none */
	struct check_request *request;
	policy_auth_fn *fn;
	void *arg;
};

static int
on_asked_read(void *arg, uint64_t offset, uint8_t *buf, size_t n)
{
	const struct asked *a = arg;

	return content_read(a->session, offset, buf, n);
}

static void
on_asked(const struct auth_results *r, void *arg)
{
	struct asked *a = arg;
	policy_auth_fn *fn = a->fn;
	void *fn_arg = a->arg;

	free(a);
	fn(r, fn_arg);
}

static void *
ask(struct worker *w, struct session *s, const struct check_begin *b, policy_auth_fn *fn, void *arg)
{
	struct asked *a = xcalloc(1, sizeof *a);

	a->worker = w;
	a->session = s;
	a->fn = fn;
	a->arg = arg;
	a->request = check_client_ask(w->check, b, on_asked_read, on_asked, a);
	return a;
}

static void *
policy_spf(void *host, const struct policy_auth_query *q, policy_auth_fn *fn, void *arg)
{
	struct worker *w = host;

	if (w->check == NULL)
		return NULL;
	return ask(w, NULL, &(struct check_begin){ .want = AUTH_WANT_SPF, .client = (char *)(uintptr_t)q->client,
	    .helo = (char *)(uintptr_t)q->helo, .sender = (char *)(uintptr_t)q->sender,
	    .receiver = w->params->myhostname }, fn, arg);
}

static void *
ask_of_message(void *host, void *message, uint8_t want, policy_auth_fn *fn, void *arg)
{
	struct worker *w = host;
	struct session *s = message;
	struct check_begin b;

	if (w->check == NULL || s == NULL)
		return NULL;
	b = begin_of(s, want);
	return ask(w, s, &b, fn, arg);
}

static void *
policy_dkim(void *host, void *message, policy_auth_fn *fn, void *arg)
{
	return ask_of_message(host, message, AUTH_WANT_DKIM, fn, arg);
}

static void *
policy_arc(void *host, void *message, policy_auth_fn *fn, void *arg)
{
	return ask_of_message(host, message, AUTH_WANT_ARC, fn, arg);
}

static void
policy_asked_cancel(void *host, void *request)
{
	struct asked *a = request;

	(void)host;
	check_client_cancel(a->worker->check, &a->request);
	free(a);
}

const struct policy_auth_ops verify_policy_ops = { policy_spf, policy_dkim, policy_arc, policy_asked_cancel };
