/* Mail from outside. First byte: 0 the decoders of the check link (what is accepted encodes to the same bytes); 1 the
 * check role against a worker that sends anything; 2 a worker against a role that says anything: each asker hears once;
 * 3 one check: a piece size, records {u16 length, text} of a key, DMARC and SPF, then the message; 4 a header block:
 * what is left of Authentication-Results after cleaning is not ours, and the rest is as it was. */
#include "base/log.h"
#include "base/xalloc.h"
#include "mail/dns_answer.h"
#include "mail/header.h"
#include "smtpd/check_client.h"
#include "smtpd/check_job.h"
#include "smtpd/checkd.h"
#include "t/fuzz/frames.h"
#include "t/fuzz/turn.h"

#define ID "mx.example"

static void
decode(const uint8_t *data, size_t size)
{
	struct check_question q;
	struct auth_results a;
	struct check_begin b;
	struct rbuf r;
	struct wbuf w;

	wbuf_init(&w);
	rbuf_init(&r, data, size);
	if (check_begin_decode(&r, &b) == 0) {
		check_begin_encode(&b, &w);
		FUZZ_ASSERT(w.len == size && memcmp(w.p, data, size) == 0 && w.len <= CHECK_BEGIN_MAX);
		check_begin_clear(&b);
	}
	wbuf_reset(&w);
	rbuf_init(&r, data, size);
	if (check_question_decode(&r, &q) == 0) {
		check_question_encode(&q, &w);
		FUZZ_ASSERT(w.len == size && memcmp(w.p, data, size) == 0 && w.len <= CHECK_QUESTION_MAX);
	}
	wbuf_reset(&w);
	rbuf_init(&r, data, size);
	if (check_result_decode(&r, &a) == 0) {
		check_result_encode(&a, &w);
		FUZZ_ASSERT(w.len == size && memcmp(w.p, data, size) == 0 && w.len <= CHECK_RESULT_MAX);
	}
	wbuf_clear(&w);
}

static void
as_worker(struct fuzz_in *in)
{
	struct loop *loop = loop_new();
	struct checkd *d = checkd_new(loop);
	struct fuzz_fd fd = fuzz_fd_new();
	struct fuzz_frame f;
	int pair[2], i;

	FUZZ_ASSERT(d != NULL);
	fuzz_socketpair(pair);
	checkd_set_worker(d, pair[0]);
	while (fuzz_frame_next(in, &f)) {
		fuzz_frame_send(pair[1], &f, fd.writer);
		fuzz_turn(loop);
	}
	for (i = 0; i < 3; i++)
		fuzz_turn(loop);
	checkd_free(&d);
	loop_free(&loop);
	close(pair[1]);
	fuzz_fd_end(&fd);
}

struct asker {
	struct check_request *request;
	unsigned n_heard;
	bool is_gone;
};

static void
on_heard(const struct auth_results *r, void *arg)
{
	struct asker *a = arg;
	struct wbuf w;
	size_t i;

	FUZZ_ASSERT(!a->is_gone && a->n_heard++ == 0 && r->spf.result != 0 && r->dkim != 0 && r->dmarc.result != 0 &&
	    r->arc.result != 0);
	wbuf_init(&w);
	authres_write(r, ID, &w);
	for (i = 0; i < w.len; i++)
		FUZZ_ASSERT((w.p[i] >= ' ' && w.p[i] < 0x7f) || w.p[i] == '\t' || w.p[i] == '\r' || w.p[i] == '\n');
	FUZZ_ASSERT(fuzz_is_crlf_only((const char *)w.p, w.len) && header_count((const char *)w.p, w.len,
	    "Authentication-Results") == 1);
	wbuf_clear(&w);
}

static int
on_read(void *arg, uint64_t offset, uint8_t *buf, size_t n)
{
	(void)arg;
	FUZZ_ASSERT(offset + n <= 300000);
	memset(buf, 'x', n);
	return 0;
}

static void
as_role(struct fuzz_in *in)
{
	char client[] = "192.0.2.1", name[] = "h.example", sender[] = "a@b.example";
	struct check_begin b = { .want = AUTH_WANT_ALL, .client = client, .helo = name, .sender = sender,
		.receiver = name, .head_len = 1000, .body_len = 299000 };
	struct asker askers[3] = { { NULL, 0, false } };
	struct loop *loop = loop_new();
	struct dns_client *dns = dns_client_new(loop);
	struct check_client *c = check_client_new(loop, dns, 1000);
	struct fuzz_frame f;
	int pair[2], i;

	fuzz_socketpair(pair);
	check_client_set_peer(c, pair[0]);
	for (i = 0; i < 3; i++)
		askers[i].request = check_client_ask(c, &b, on_read, on_heard, &askers[i]);
	fuzz_turn(loop);
	askers[1].is_gone = true;
	check_client_cancel(c, &askers[1].request);
	while (fuzz_frame_next(in, &f)) {
		fuzz_frame_send(pair[1], &f, -1);
		fuzz_turn(loop);
	}
	close(pair[1]);
	for (i = 0; i < 3; i++)
		fuzz_turn(loop);
	for (i = 0; i < 3; i++)
		FUZZ_ASSERT(askers[i].n_heard == (i == 1 ? 0 : 1));
	check_client_free(&c);
	dns_client_free(&dns);
	loop_free(&loop);
}

/* ---- one check ---- */

struct one {
	struct check_job *job;
	const uint8_t *records[3];
	size_t lens[3];
	struct check_question asked[256];
	unsigned n_asked, n_answered, n_done;
};

static void
on_ask(const struct check_question *q, void *arg)
{
	struct one *o = arg;

	FUZZ_ASSERT(o->n_asked < CHECK_QUESTIONS_MAX && dns_name_askable(q->name));
	o->asked[o->n_asked++] = *q;
}

static void
on_done(const struct auth_results *r, void *arg)
{
	struct one *o = arg;
	struct asker a = { NULL, 0, false };
	struct auth_results back;
	struct rbuf in;
	struct wbuf w;

	FUZZ_ASSERT(o->n_done++ == 0);
	on_heard(r, &a);
	/* The worker takes it. */
	wbuf_init(&w);
	check_result_encode(r, &w);
	FUZZ_ASSERT(w.len <= CHECK_RESULT_MAX);
	rbuf_init(&in, w.p, w.len);
	FUZZ_ASSERT(check_result_decode(&in, &back) == 0);
	wbuf_clear(&w);
}

static const struct check_job_ops job_ops = { on_ask, on_done };

static void
answer(struct one *o)
{
	struct dns_reply r;
	unsigned which;

	while (o->n_answered < o->n_asked) {
		const struct check_question *q = &o->asked[o->n_answered++];

		which = strstr(q->name, "._domainkey.") != NULL ? 0 : strncmp(q->name, "_dmarc.", 7) == 0 ? 1 : 2;
		memset(&r, 0, sizeof(r));
		r.status = DNS_OK;
		if (o->lens[which] > 0 && q->type == DNS_TYPE_TXT)
			dns_reply_add(&r, 0, xmemdup0(o->records[which], o->lens[which]), o->lens[which]);
		check_job_reply(o->job, q->number, &r);
		dns_reply_clear(&r);
	}
}

static void
check(struct fuzz_in *in)
{
	static struct check_dkim_library *library;
	char client[] = "192.0.2.1", name[] = "h.example", sender[] = "a@b.example";
	struct check_begin b = { .want = AUTH_WANT_ALL, .client = client, .helo = name, .sender = sender,
		.receiver = name };
	struct one o = { NULL };
	struct loop *loop = loop_new();
	size_t piece = (size_t)fuzz_u8(in) + 1, n, at;
	int i;

	if (library == NULL)
		library = check_dkim_library_new();
	FUZZ_ASSERT(library != NULL);
	for (i = 0; i < 3; i++) {
		o.lens[i] = (size_t)fuzz_u8(in) << 8;
		o.lens[i] |= fuzz_u8(in);
		o.records[i] = fuzz_take(in, &o.lens[i]);
	}
	b.head_len = (uint32_t)header_block_len((const char *)in->p, in->left);
	b.body_len = in->left - b.head_len;
	o.job = check_job_new(loop, library, &b, &job_ops, &o);
	check_job_start(o.job);
	for (at = 0; at < in->left; at += n) {
		n = in->left - at < piece ? in->left - at : piece;
		if (o.n_done == 0)
			FUZZ_ASSERT(check_job_data(o.job, in->p + at, n) == 0);
		answer(&o);
	}
	answer(&o);
	FUZZ_ASSERT(o.n_done == 1);
	check_job_free(&o.job);
	loop_free(&loop);
}

static void
strip(const uint8_t *data, size_t size)
{
	struct header_iter before, after;
	struct header_field f, g;
	struct wbuf w;
	unsigned n, m = 0;

	wbuf_init(&w);
	wbuf_raw(&w, data, size);
	n = authres_strip(&w, ID);
	FUZZ_ASSERT(authres_strip(&w, ID) == 0);
	header_iter_init(&before, (const char *)data, size);
	header_iter_init(&after, (const char *)w.p, w.len);
	while (header_next(&after, &g)) {
		do
			FUZZ_ASSERT(header_next(&before, &f));
		while ((f.whole.len != g.whole.len || memcmp(f.whole.base, g.whole.base, f.whole.len) != 0) &&
		    ++m <= n);
		FUZZ_ASSERT(m <= n);
	}
	wbuf_clear(&w);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };

	log_init("fuzz", LOG_LVL_ERROR);
	switch (fuzz_u8(&in) % 5) {
	case 0: decode(in.p, in.left); break;
	case 1: as_worker(&in); break;
	case 2: as_role(&in); break;
	case 3: check(&in); break;
	default:
		if (in.left > 0)
			strip(in.p, in.left);
		break;
	}
	return 0;
}
