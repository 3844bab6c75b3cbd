/* Signs a message that is ready for the spool (worker role): nothing is changed in it afterwards, here or in other
 * processes, so what is signed is what leaves. The worker hashes; the sign role signs the hash. A message that cannot
 * be signed as it should be is refused for now: none leaves without.
 *
 * An ARC set comes last, and covers the DKIM signatures: first its message signature, then the seal over that. */
#include <bsd/string.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/dkim.h"

#include "smtpd/sign.h"

#define TRIES_MAX 3      /* a key that changes between two of them is bad luck once */
#define COMPLAIN_MS 10000
#define SIGN_LATER "451 4.3.5 The message cannot be signed now, try again later"
#define SIGN_TOO_MANY "550 5.6.0 The header has too many fields to be signed"

enum field { FIELD_DKIM, FIELD_ARC_MESSAGE, FIELD_ARC_SEAL };

struct signature {
	struct signing *signing;
	enum field field_is;
	struct dkim_signer *signer;
	struct sign_request *request;
	struct wbuf field;
	enum dkim_algorithm algorithm;
	char selector[DKIM_SELECTOR_MAX + 1];
	unsigned tries;
};

struct signing {
	struct sign_client *client;
	struct message *message;
	int64_t now;             /* seconds */
	uint8_t body[DKIM_CANONS][DKIM_HASH];
	struct signature all[POLICY_SIGNERS_MAX];
	size_t n, n_open;
	struct arc_order *order; /* NULL: no ARC set */
	struct signature set[2]; /* its message signature, its seal */
	const char *refusal;
	sign_done_fn *done;
	void *arg;
};

void
sign_bodies_update(struct sign_bodies *b, const struct wbuf *w)
{
	enum dkim_canon c;

	for (c = DKIM_SIMPLE; c < DKIM_CANONS; c++) {
		if (b->of[c] == NULL)
			b->of[c] = dkim_body_new(c);
		dkim_body_update(b->of[c], w->p, w->len);
	}
}

void
sign_bodies_clear(struct sign_bodies *b)
{
	enum dkim_canon c;

	for (c = DKIM_SIMPLE; c < DKIM_CANONS; c++)
		dkim_body_free(&b->of[c]);
}

static bool
is_same(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* What the event has asked for itself comes once. */
static bool
has_signer(struct dkim_signer *const *v, size_t n, const struct dkim_signer *s)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (strcmp(v[i]->domain, s->domain) == 0 && is_same(v[i]->selector, s->selector) &&
		    is_same(v[i]->key, s->key) && is_same(v[i]->key_dir, s->key_dir))
			return true;
	return false;
}

size_t
sign_choose(const struct policy *policy, struct policy_msg *msg, bool is_trusted, const char *head, size_t len,
    struct dkim_signer *out[POLICY_SIGNERS_MAX])
{
	struct dkim_signer *defined[POLICY_SIGNERS_MAX];
	char domain[DKIM_DOMAIN_MAX + 1];
	size_t n = 0, n_defined, i;

	for (i = 0; msg != NULL && i < msg->n_signers; i++)
		out[n++] = msg->signers[i];
	if (msg != NULL)
		msg->n_signers = 0;
	if (policy == NULL || !is_trusted || !policy_signs_by_domain(policy))
		return n;
	if (!dkim_author_domain(head, len, domain, sizeof domain))
		*domain = '\0';
	n_defined = policy_dkim_signers(policy, domain, defined, POLICY_SIGNERS_MAX);
	for (i = 0; i < n_defined && n < POLICY_SIGNERS_MAX; i++)
		if (!has_signer(out, n, defined[i]))
			out[n++] = dkim_signer_ref(defined[i]);
	return n;
}

/* They go above everything else. */
static void
put_above(struct message *m, const struct wbuf *const *fields, size_t n)
{
	struct wbuf head;
	size_t i, len = m->head.len;

	for (i = 0; i < n; i++)
		len += fields[i]->len;
	wbuf_init(&head);
	wbuf_reserve(&head, len);
	for (i = 0; i < n; i++)
		wbuf_raw(&head, fields[i]->p, fields[i]->len);
	wbuf_raw(&head, m->head.p, m->head.len);
	wbuf_clear(&m->head);
	m->head = head;
	m->rec.headers_len = (uint32_t)head.len;
}

static void
signatures_put(struct signing *g)
{
	const struct wbuf *fields[POLICY_SIGNERS_MAX];
	size_t i;

	for (i = 0; i < g->n; i++)
		fields[i] = &g->all[i].field;
	put_above(g->message, fields, g->n);
}

static void
set_put(struct signing *g)
{
	const struct wbuf *const fields[] = { &g->set[1].field, &g->set[0].field, &g->order->results };

	put_above(g->message, fields, 3);
}

/* To the log, and not to the client: it names files. The same in a row is said once in a while. */
static void
complain(const struct signature *s, const char *text)
{
	static uint64_t last;
	static int64_t when;
	uint64_t hash = 1469598103934665603u;
	int64_t now = s->signing->now * 1000;
	const char *p;

	for (p = text; *p != '\0'; p++)
		hash = (hash ^ (unsigned char)*p) * 1099511628211u;
	if (hash == last && now >= when && now - when < COMPLAIN_MS)
		return;
	last = hash;
	when = now;
	log_error("mail is refused for now, it cannot be signed: %s domain=%s", text, s->signer->domain);
}

static void on_answer(const struct sign_answer *, void *);

static void
signature_init(struct signing *g, struct signature *s, struct dkim_signer *signer, enum field field)
{
	s->signing = g;
	s->signer = signer;
	s->field_is = field;
	s->algorithm = signer->algorithm != DKIM_BY_KEY ? signer->algorithm : signer->guess;
	strlcpy(s->selector, signer->selector != NULL ? signer->selector : *signer->guess_selector != '\0' ?
	    signer->guess_selector : "current", sizeof s->selector);
}

/* 0, or -1: it cannot be. */
static int
ask(struct signature *s)
{
	struct signing *g = s->signing;
	const struct message *m = g->message;
	struct sign_ask a = { .domain = s->signer->domain, .selector = s->selector, .key = s->signer->key, .key_dir =
	    s->signer->key_dir, .is_current = s->signer->selector == NULL, .algorithm = (uint8_t)s->algorithm };
	const char *head = (const char *)m->head.p;
	const uint8_t *body = g->body[s->signer->body];
	int status;

	wbuf_reset(&s->field);
	if (s->field_is == FIELD_DKIM)
		status = dkim_field_begin(s->signer, s->algorithm, s->selector, head, m->head.len, body, g->now,
		    &s->field, a.hash);
	else if (s->field_is == FIELD_ARC_MESSAGE)
		status = arc_message_begin(g->order, s->algorithm, s->selector, head, m->head.len, body, g->now,
		    &s->field, a.hash);
	else
		status = arc_seal_begin(g->order, s->algorithm, s->selector, head, m->head.len, &g->set[0].field,
		    g->now, &s->field, a.hash);
	if (status == -1)
		return -1;
	s->request = sign_client_ask(g->client, &a, on_answer, s);
	return 0;
}

/* The key is for another algorithm, or another selector signs by now. It is remembered for the next message. */
static bool
take_other(struct signature *s, const struct sign_answer *a)
{
	struct dkim_signer *signer = s->signer;

	if (signer->algorithm != DKIM_BY_KEY && signer->algorithm != (enum dkim_algorithm)a->algorithm) {
		complain(s, "the key is for another algorithm than the one that policy asks for");
		return false;
	}
	if (++s->tries == TRIES_MAX) {
		complain(s, "the key changes all the time");
		return false;
	}
	s->algorithm = signer->guess = (enum dkim_algorithm)a->algorithm;
	memcpy(s->selector, a->text, strlen(a->text) + 1);
	memcpy(signer->guess_selector, a->text, strlen(a->text) + 1);
	return ask(s) == 0;
}

/* The next part of the ARC set. */
static void
seal(struct signing *g, enum field field)
{
	struct signature *s = &g->set[field - FIELD_ARC_MESSAGE];

	signature_init(g, s, g->order->signer, field);
	if (ask(s) == 0) {
		g->n_open++;
		return;
	}
	if (field == FIELD_ARC_MESSAGE) {
		g->refusal = SIGN_TOO_MANY;
	} else {
		complain(s, "policy has changed the ARC fields that the seal is to cover");
		g->refusal = SIGN_LATER;
	}
}

/* All that was asked for is there; what depends on it is asked for, or the signing is over. */
static void
go_on(struct signing *g, enum field field)
{
	if (g->refusal == NULL && field == FIELD_DKIM)
		signatures_put(g);
	if (g->refusal == NULL && g->order != NULL && field != FIELD_ARC_SEAL)
		seal(g, field + 1);
	else if (g->refusal == NULL && g->order != NULL)
		set_put(g);
	if (g->n_open == 0)
		g->done(g->refusal, g->arg);
}

static void
on_answer(const struct sign_answer *a, void *arg)
{
	struct signature *s = arg;
	struct signing *g = s->signing;

	s->request = NULL;
	if (a->status == SIGN_OTHER && take_other(s, a))
		return;
	if (a->status == SIGN_OK)
		dkim_field_end(&s->field, a->signature, a->len);
	else
		g->refusal = SIGN_LATER;
	if (a->status == SIGN_FAILED)
		complain(s, a->text);
	if (--g->n_open == 0)
		go_on(g, s->field_is);
}

/* The hashes of the body in the forms that are needed: of all of it, or of what is left of it. */
static void
hash_body(struct signing *g, struct sign_bodies *bodies)
{
	const struct message *m = g->message;
	bool is_needed[DKIM_CANONS] = { false, false };
	enum dkim_canon c;
	size_t i;

	for (i = 0; i < g->n; i++)
		is_needed[g->all[i].signer->body] = true;
	if (g->order != NULL)
		is_needed[g->order->signer->body] = true;
	for (c = DKIM_SIMPLE; c < DKIM_CANONS; c++) {
		if (!is_needed[c])
			continue;
		if (bodies->of[c] == NULL)
			bodies->of[c] = dkim_body_new(c);
		dkim_body_update(bodies->of[c], m->body.p, m->body.len);
		dkim_body_final(&bodies->of[c], g->body[c]);
	}
	sign_bodies_clear(bodies);
}

struct signing *
sign_begin(struct sign_client *client, struct message *m, struct dkim_signer **signers, size_t n,
    struct arc_order *order, struct sign_bodies *bodies, sign_done_fn *done, void *arg)
{
	struct signing *g = xcalloc(1, sizeof *g);
	struct signature *s;

	g->client = client;
	g->message = m;
	g->now = m->envelope->received / 1000;
	g->done = done;
	g->arg = arg;
	g->order = order;
	for (g->n = 0; g->n < n; g->n++)
		signature_init(g, &g->all[g->n], signers[g->n], FIELD_DKIM);
	hash_body(g, bodies);
	if (n == 0 && order != NULL)
		seal(g, FIELD_ARC_MESSAGE);
	if (g->refusal != NULL) {
		sign_free(&g);
		return NULL;
	}
	for (s = g->all; s < g->all + n; s++) {
		if (ask(s) == -1) {
			sign_free(&g);
			return NULL;
		}
		g->n_open++;
	}
	return g;
}

void
sign_free(struct signing **gp)
{
	struct signing *g = *gp;
	size_t i;

	if (g == NULL)
		return;
	for (i = 0; i < g->n; i++) {
		sign_client_cancel(g->client, &g->all[i].request);
		dkim_signer_unref(&g->all[i].signer);
		wbuf_clear(&g->all[i].field);
	}
	for (i = 0; i < 2; i++) {
		sign_client_cancel(g->client, &g->set[i].request);
		wbuf_clear(&g->set[i].field);
	}
	arc_order_free(&g->order);
	free(g);
	*gp = NULL;
}
