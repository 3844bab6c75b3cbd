/* QL_RECEIVED and QL_JOB (see queue_link.h): a message on its way into queued and out of it. Hostile: a taken-over
 * smtpd forges the notice, a taken-over queued the job; lengths and counts are checked before they allocate, meaning
 * (does the segment belong to that peer?) by the receiver. */

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#include "mail/codec.h"
#include "mail/queue_link.h"

#define JOB_RCPT_MIN_BYTES 10 /* index, empty address, no orcpt, notify, attempts */

static void
put_record(struct wbuf *w, const struct record *rec)
{
	wbuf_u64(w, rec->segment);
	wbuf_u64(w, rec->offset);
	wbuf_raw(w, rec->id.b, MSGID_LEN);
	wbuf_u64(w, rec->body_len);
	wbuf_u32(w, rec->headers_len);
	wbuf_u32(w, rec->envelope_len);
	wbuf_u32(w, rec->crc);
	wbuf_u32(w, rec->flags);
	wbuf_u32(w, rec->n_rcpts);
}

static void
get_record(struct rbuf *r, struct record *out)
{
	out->segment = rbuf_u64(r);
	out->offset = rbuf_u64(r);
	rbuf_raw(r, out->id.b, MSGID_LEN);
	out->body_len = rbuf_u64(r);
	out->headers_len = rbuf_u32(r);
	out->envelope_len = rbuf_u32(r);
	out->crc = rbuf_u32(r);
	out->flags = rbuf_u32(r);
	out->n_rcpts = rbuf_u32(r);
	if (!record_plausible(out))
		r->bad = true;
}

void
ql_received_encode(const struct record *rec, const struct wbuf *encoded_envelope, struct wbuf *w)
{
	wbuf_reserve(w, RECORD_HDR + encoded_envelope->len);
	put_record(w, rec);
	wbuf_bytes(w, encoded_envelope->p, encoded_envelope->len);
}

int
ql_received_decode(struct rbuf *r, struct ql_received *out)
{
	struct slice envelope;
	const char *err;

	out->env = NULL;
	get_record(r, &out->rec);
	envelope = rbuf_bytes(r, ENVELOPE_MAX_BYTES);
	if (!rbuf_done(r) || envelope.len != out->rec.envelope_len)
		return -1;
	out->env = envelope_decode(envelope.base, envelope.len, &err);
	if (out->env == NULL)
		return -1;
	if (msgid_cmp(&out->env->id, &out->rec.id) == 0 && out->env->n_rcpts == out->rec.n_rcpts)
		return 0;
	ql_received_clear(out);
	return -1;
}

void
ql_received_clear(struct ql_received *received)
{
	envelope_free(&received->env);
}

void
ql_job_encode(const struct ql_job *job, struct wbuf *w)
{
	wbuf_reserve(w, 512 + 48 * (size_t)job->n_rcpts);
	put_record(w, &job->rec);
	wbuf_u64(w, (uint64_t)job->received);
	wbuf_u64(w, (uint64_t)job->expires);
	wbuf_u64(w, job->digest);
	wbuf_u8(w, job->ret);
	codec_put(w, CODEC_STRICT, CODEC_MAX_ADDRESS, job->sender);
	codec_put_opt(w, CODEC_STRICT, CODEC_MAX_ORCPT, job->envid);
	codec_put(w, CODEC_LINE, CODEC_MAX_QUEUE, job->queue);
	codec_put(w, CODEC_STRICT, CODEC_MAX_WORD, job->domain);
	codec_put_opt(w, CODEC_LINE, CODEC_MAX_WORD, job->tenant);
	codec_put_opt(w, CODEC_LINE, CODEC_MAX_WORD, job->campaign);
	codec_put_opt(w, CODEC_LINE, CODEC_MAX_LONG, job->message_id);
	codec_put_opt(w, CODEC_LINE, CODEC_MAX_WORD, job->session);
	codec_put_opt(w, CODEC_LINE, CODEC_MAX_WORD, job->auth_user);
	codec_put_meta(w, job->meta, job->n_meta);
	wbuf_u16(w, job->n_rcpts);
	for (uint16_t i = 0; i < job->n_rcpts; i++) {
		const struct ql_job_rcpt *rcpt = &job->rcpts[i];

		wbuf_u16(w, rcpt->index);
		codec_put(w, CODEC_STRICT, CODEC_MAX_ADDRESS, rcpt->address);
		codec_put_opt(w, CODEC_STRICT, CODEC_MAX_ORCPT, rcpt->orcpt);
		wbuf_u8(w, rcpt->notify);
		wbuf_u16(w, rcpt->attempts);
	}
	if (job->head != NULL)
		wbuf_bytes(w, job->head, job->head_len);
}

static void
decode_job_rcpts(struct rbuf *r, struct ql_job *job)
{
	uint16_t n = rbuf_u16(r);

	if (n == 0 || n > rbuf_left(r) / JOB_RCPT_MIN_BYTES)
		r->bad = true;
	if (r->bad)
		return;
	job->rcpts = xcalloc(n, sizeof(*job->rcpts));
	job->n_rcpts = n;
	for (uint16_t i = 0; i < n && !r->bad; i++) {
		struct ql_job_rcpt *rcpt = &job->rcpts[i];

		rcpt->index = rbuf_u16(r);
		rcpt->address = codec_get(r, CODEC_STRICT, CODEC_MAX_ADDRESS);
		rcpt->orcpt = codec_get_opt(r, CODEC_STRICT, CODEC_MAX_ORCPT);
		rcpt->notify = rbuf_u8(r);
		rcpt->attempts = rbuf_u16(r);
		if (rcpt->address[0] == '\0' || rcpt->notify > 15 || rcpt->index >= job->rec.n_rcpts)
			r->bad = true;
	}
}

static void
decode_job_head(struct rbuf *r, struct ql_job *job)
{
	struct slice head;

	if (r->bad || rbuf_left(r) == 0)
		return;
	head = rbuf_bytes(r, QL_HEAD_MAX);
	if (r->bad)
		return;
	job->head = xmemdup0(head.base, head.len);
	job->head_len = (uint32_t)head.len;
}

int
ql_job_decode(struct rbuf *r, struct ql_job *out)
{
	memset(out, 0, sizeof(*out));
	get_record(r, &out->rec);
	out->received = (int64_t)rbuf_u64(r);
	out->expires = (int64_t)rbuf_u64(r);
	out->digest = rbuf_u64(r);
	out->ret = rbuf_u8(r);
	out->sender = codec_get(r, CODEC_STRICT, CODEC_MAX_ADDRESS);
	out->envid = codec_get_opt(r, CODEC_STRICT, CODEC_MAX_ORCPT);
	out->queue = codec_get(r, CODEC_LINE, CODEC_MAX_QUEUE);
	out->domain = codec_get(r, CODEC_STRICT, CODEC_MAX_WORD);
	out->tenant = codec_get_opt(r, CODEC_LINE, CODEC_MAX_WORD);
	out->campaign = codec_get_opt(r, CODEC_LINE, CODEC_MAX_WORD);
	out->message_id = codec_get_opt(r, CODEC_LINE, CODEC_MAX_LONG);
	out->session = codec_get_opt(r, CODEC_LINE, CODEC_MAX_WORD);
	out->auth_user = codec_get_opt(r, CODEC_LINE, CODEC_MAX_WORD);
	out->meta = codec_get_meta(r, META_MAX, &out->n_meta);
	decode_job_rcpts(r, out);
	decode_job_head(r, out);
	if (rbuf_done(r) && out->ret <= RET_HDRS && out->received >= 0 && out->expires >= 0)
		return 0;
	ql_job_clear(out);
	return -1;
}

void
ql_job_clear(struct ql_job *job)
{
	for (uint16_t i = 0; i < job->n_rcpts; i++) {
		free(job->rcpts[i].address);
		free(job->rcpts[i].orcpt);
	}
	free(job->rcpts);
	codec_free_meta(job->meta, job->n_meta);
	free(job->head);
	free(job->sender);
	free(job->envid);
	free(job->queue);
	free(job->domain);
	free(job->tenant);
	free(job->campaign);
	free(job->message_id);
	free(job->session);
	free(job->auth_user);
	memset(job, 0, sizeof(*job));
}
