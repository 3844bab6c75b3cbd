/* Encoding of the link between worker and check role (check_link.h). The role reads strangers' signatures with a
 * library that was not written for that, so the worker treats what it says as a stranger's word: every text that ends
 * in a header field or in policy is printable ASCII of bounded length, every result is one of the list. */
#include <stdlib.h>
#include <string.h>

#include "mail/arc.h"
#include "mail/dns_answer.h"

#include "smtpd/check_link.h"

/* Whoever says too much must not cost others the link. */
static void
put_cut(struct wbuf *w, const char *text, size_t max)
{
	wbuf_bytes(w, text != NULL ? text : "", text != NULL ? strnlen(text, max) : 0);
}

void
check_begin_encode(const struct check_begin *b, struct wbuf *w)
{
	wbuf_u8(w, b->want);
	put_cut(w, b->client, CHECK_CLIENT_MAX);
	put_cut(w, b->helo, CHECK_HELO_MAX);
	put_cut(w, b->sender, ADDRESS_MAX);
	put_cut(w, b->receiver, CHECK_HELO_MAX);
	wbuf_u32(w, b->head_len);
	wbuf_u64(w, b->body_len);
}

int
check_begin_decode(struct rbuf *r, struct check_begin *b)
{
	memset(b, 0, sizeof *b);
	b->want = rbuf_u8(r);
	b->client = rbuf_strdup(r, CHECK_CLIENT_MAX);
	b->helo = rbuf_strdup(r, CHECK_HELO_MAX);
	b->sender = rbuf_strdup(r, ADDRESS_MAX);
	b->receiver = rbuf_strdup(r, CHECK_HELO_MAX);
	b->head_len = rbuf_u32(r);
	b->body_len = rbuf_u64(r);
	if (rbuf_done(r) && b->want != 0 && b->want <= AUTH_WANT_ALL &&
	    b->head_len <= CHECK_HEAD_MAX && b->body_len <= INT64_MAX)
		return 0;
	check_begin_clear(b);
	return -1;
}

void
check_begin_clear(struct check_begin *b)
{
	free(b->client);
	free(b->helo);
	free(b->sender);
	free(b->receiver);
	memset(b, 0, sizeof *b);
}

void
check_question_encode(const struct check_question *q, struct wbuf *w)
{
	wbuf_u32(w, q->number);
	wbuf_u16(w, q->type);
	wbuf_str(w, q->name);
}

/* A text of at most size - 1 octets, printable ASCII. */
static void
take_text(struct rbuf *r, char *out, size_t size)
{
	struct slice s = rbuf_bytes(r, size - 1);
	size_t i;

	for (i = 0; i < s.len; i++)
		if (s.base[i] < ' ' || s.base[i] > '~')
			r->bad = true;
	if (r->bad)
		s.len = 0;
	memcpy(out, s.len > 0 ? s.base : "", s.len);
	out[s.len] = '\0';
}

int
check_question_decode(struct rbuf *r, struct check_question *q)
{
	q->number = rbuf_u32(r);
	q->type = rbuf_u16(r);
	take_text(r, q->name, sizeof q->name);
	return rbuf_done(r) && dns_name_askable(q->name) && (q->type == DNS_TYPE_A || q->type == DNS_TYPE_AAAA ||
	    q->type == DNS_TYPE_MX || q->type == DNS_TYPE_PTR || q->type == DNS_TYPE_TXT) ? 0 : -1;
}

void
check_reply_encode(uint32_t number, const struct dns_reply *reply, struct wbuf *w)
{
	wbuf_u32(w, number);
	dns_reply_encode(reply, w);
}

int
check_reply_decode(struct rbuf *r, uint32_t *number_r, struct dns_reply *reply)
{
	*number_r = rbuf_u32(r);
	if (dns_reply_decode(r, reply) == -1)
		return -1;
	if (reply->mx == NULL)
		return 0;
	dns_reply_clear(reply);
	return -1;
}

void
check_result_encode(const struct auth_results *a, struct wbuf *w)
{
	unsigned i;

	wbuf_u8(w, a->spf.result);
	wbuf_u8(w, a->spf.is_helo);
	wbuf_str(w, a->spf.identity);
	wbuf_str(w, a->spf.domain);
	wbuf_str(w, a->spf.reason);
	wbuf_u8(w, a->dkim);
	wbuf_str(w, a->dkim_reason);
	wbuf_u8(w, (uint8_t)a->n_signatures);
	for (i = 0; i < a->n_signatures; i++) {
		const struct auth_signature *s = &a->signatures[i];

		wbuf_u8(w, s->result);
		wbuf_str(w, s->domain);
		wbuf_str(w, s->selector);
		wbuf_str(w, s->algorithm);
		wbuf_str(w, s->mark);
		wbuf_str(w, s->reason);
	}
	wbuf_u8(w, a->dmarc.result);
	wbuf_str(w, a->dmarc.domain);
	wbuf_str(w, a->dmarc.policy);
	wbuf_str(w, a->dmarc.reason);
	wbuf_u8(w, a->arc.result);
	wbuf_u8(w, a->arc.n);
	wbuf_u8(w, a->arc.next);
	wbuf_str(w, a->arc.domain);
	wbuf_str(w, a->arc.reason);
}

static uint8_t
take_result(struct rbuf *r)
{
	uint8_t v = rbuf_u8(r);

	if (v >= AUTH_RESULTS)
		r->bad = true;
	return v;
}

/* Domains go into lists, and are compared: nothing but names. */
static void
take_domain(struct rbuf *r, char *out, size_t size)
{
	take_text(r, out, size);
	if (*out != '\0' && !dns_name_valid(out))
		r->bad = true;
}

int
check_result_decode(struct rbuf *r, struct auth_results *a)
{
	uint8_t is_helo;
	unsigned i;

	memset(a, 0, sizeof *a);
	a->spf.result = take_result(r);
	is_helo = rbuf_u8(r);
	a->spf.is_helo = is_helo == 1;
	take_text(r, a->spf.identity, sizeof a->spf.identity);
	take_text(r, a->spf.domain, sizeof a->spf.domain);
	take_text(r, a->spf.reason, sizeof a->spf.reason);
	a->dkim = take_result(r);
	take_text(r, a->dkim_reason, sizeof a->dkim_reason);
	a->n_signatures = rbuf_u8(r);
	if (a->n_signatures > AUTH_SIGNATURES_MAX)
		return -1;
	for (i = 0; i < a->n_signatures; i++) {
		struct auth_signature *s = &a->signatures[i];

		s->result = take_result(r);
		take_domain(r, s->domain, sizeof s->domain);
		take_text(r, s->selector, sizeof s->selector);
		take_text(r, s->algorithm, sizeof s->algorithm);
		take_text(r, s->mark, sizeof s->mark);
		take_text(r, s->reason, sizeof s->reason);
		if (s->result == 0 || (s->result == AUTH_PASS && *s->domain == '\0'))
			return -1;
	}
	a->dmarc.result = take_result(r);
	take_domain(r, a->dmarc.domain, sizeof a->dmarc.domain);
	take_text(r, a->dmarc.policy, sizeof a->dmarc.policy);
	take_text(r, a->dmarc.reason, sizeof a->dmarc.reason);
	a->arc.result = take_result(r);
	a->arc.n = rbuf_u8(r);
	a->arc.next = rbuf_u8(r);
	take_domain(r, a->arc.domain, sizeof a->arc.domain);
	take_text(r, a->arc.reason, sizeof a->arc.reason);
	return rbuf_done(r) && is_helo <= 1 && a->arc.n <= ARC_SETS_MAX && a->arc.next <= ARC_SETS_MAX ? 0 : -1;
}
