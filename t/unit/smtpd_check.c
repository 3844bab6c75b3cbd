/* The check role: what it says of messages good and hostile, in pieces of any size; the worker's side against a role
 * that says anything; sessions whose message is being looked at. */
#include <openssl/evp.h>
#include <sys/stat.h>
#include <time.h>

#include "base/ipc.h"
#include "base/log.h"
#include "mail/dkim.h"
#include "mail/dkim_key.h"
#include "mail/dns_answer.h"
#include "mail/policy_call.h"
#include "smtpd/check_dmarc.h"
#include "smtpd/check_job.h"
#include "smtpd/checkd.h"
#include "smtpd/verify.h"

#include "t/unit/smtpd_talk.h"
#include "t/unit/decoder.h"

#define HEAD "From: a@b.example\r\nSubject: x\r\n"
#define BODY "hello\r\nworld\r\n"

/* ---- the link ---- */

static int
begin_decode(const uint8_t *p, size_t len)
{
	struct check_begin b;
	struct rbuf r;
	int rc;

	rbuf_init(&r, p, len);
	if ((rc = check_begin_decode(&r, &b)) == 0)
		check_begin_clear(&b);
	return rc;
}

static int
question_decode(const uint8_t *p, size_t len)
{
	struct check_question q;
	struct rbuf r;

	rbuf_init(&r, p, len);
	return check_question_decode(&r, &q);
}

static int
result_decode(const uint8_t *p, size_t len)
{
	struct auth_results a;
	struct rbuf r;

	rbuf_init(&r, p, len);
	return check_result_decode(&r, &a);
}

static int
reply_decode(const uint8_t *p, size_t len)
{
	struct dns_reply reply;
	uint32_t number;
	struct rbuf r;
	int rc;

	rbuf_init(&r, p, len);
	if ((rc = check_reply_decode(&r, &number, &reply)) == 0)
		dns_reply_clear(&reply);
	return rc;
}

static void
test_link(void **state)
{
	char client[] = "192.0.2.1", helo[] = "x", sender[] = "", receiver[] = "mx.example";
	struct check_begin b = { .want = 7, .client = client, .helo = helo, .sender = sender, .receiver = receiver,
		.head_len = 100, .body_len = 1u << 30 };
	struct check_question q = { .number = 3, .type = DNS_TYPE_TXT, .name = "_dmarc.example" };
	struct auth_results a = { .spf = { .result = AUTH_PASS, .identity = "a@b" }, .dkim = AUTH_PASS,
	    .n_signatures = 2,
		.signatures = { { .result = AUTH_PASS, .domain = "b.example", .selector = "s" },
		    { .result = AUTH_FAIL } },
		.dmarc = { .result = AUTH_NONE, .domain = "b.example" },
		.arc = { .result = AUTH_PASS, .n = 2, .next = 3, .domain = "c.example", .reason = "why" } };
	struct dns_reply reply = { .status = DNS_OK, .text = NULL };
	struct wbuf w;

	(void)state;
	wbuf_init(&w);
	check_begin_encode(&b, &w);
	decoder_check(begin_decode, w.p, w.len);
	/* A name of any length is no malformed question. */
	b.helo = xcalloc(1, 5000);
	memset(b.helo, 'x', 4999);
	wbuf_reset(&w);
	check_begin_encode(&b, &w);
	assert_int_equal(begin_decode(w.p, w.len), 0);
	assert_true(w.len <= CHECK_BEGIN_MAX);
	free(b.helo);
	wbuf_reset(&w);
	check_question_encode(&q, &w);
	decoder_check(question_decode, w.p, w.len);
	wbuf_reset(&w);
	check_result_encode(&a, &w);
	assert_true(w.len < CHECK_RESULT_MAX);
	decoder_check(result_decode, w.p, w.len);
	/* What may not be said. */
	strcpy(a.signatures[0].domain, "");
	wbuf_reset(&w);
	check_result_encode(&a, &w);
	assert_int_equal(result_decode(w.p, w.len), -1);
	strcpy(a.signatures[0].domain, "a,b");
	wbuf_reset(&w);
	check_result_encode(&a, &w);
	assert_int_equal(result_decode(w.p, w.len), -1);
	strcpy(a.signatures[0].domain, "b.example");
	a.arc.next = 51;
	wbuf_reset(&w);
	check_result_encode(&a, &w);
	assert_int_equal(result_decode(w.p, w.len), -1);
	a.arc.next = 3;
	strcpy(a.spf.reason, "a\r\nb");
	wbuf_reset(&w);
	check_result_encode(&a, &w);
	assert_int_equal(result_decode(w.p, w.len), -1);
	wbuf_reset(&w);
	dns_reply_add(&reply, 0, xstrdup("v=spf1"), 6);
	check_reply_encode(9, &reply, &w);
	decoder_check(reply_decode, w.p, w.len);
	dns_reply_clear(&reply);
	wbuf_clear(&w);
}

/* ---- one check ---- */

static struct loop *loop;
static struct check_dkim_library *library;
static struct dkim_key *keys[2];
static char record[2][1024]; /* of the keys */

struct world_of_one {
	struct check_job *job;
	struct auth_results results;
	bool is_done;
	struct check_question asked[64];
	unsigned n_asked, n_answered;
	const char *key_record;   /* of any selector */
	const char *dmarc, *spf;
	bool is_silent;
	uint8_t want;             /* 0: all but ARC */
};

static void
on_ask(const struct check_question *q, void *arg)
{
	struct world_of_one *o = arg;

	assert_true(o->n_asked < 64);
	o->asked[o->n_asked++] = *q;
}

static void
on_done(const struct auth_results *r, void *arg)
{
	struct world_of_one *o = arg;

	assert_false(o->is_done);
	o->is_done = true;
	o->results = *r;
}

static const struct check_job_ops ops = { on_ask, on_done };

static void
answer_all(struct world_of_one *o)
{
	struct dns_reply r;
	const char *text;

	while (!o->is_silent && o->n_answered < o->n_asked) {
		const struct check_question *q = &o->asked[o->n_answered++];

		text = strstr(q->name, "._domainkey.") != NULL ? o->key_record :
		    strncmp(q->name, "_dmarc.", 7) == 0 ? o->dmarc : o->spf;
		memset(&r, 0, sizeof r);
		r.status = DNS_OK;
		if (text != NULL)
			dns_reply_add(&r, 0, xstrdup(text), strlen(text));
		check_job_reply(o->job, q->number, &r);
		dns_reply_clear(&r);
	}
}

/* Runs it over the content, in pieces of that size. */
static void
run(struct world_of_one *o, const char *head, const char *body, size_t piece)
{
	char client[] = "192.0.2.1", helo[] = "h.example", sender[] = "a@b.example", receiver[] = "mx.example";
	char *all = xasprintf("%s\r\n%s", head, body);
	size_t len = strlen(all), at, n;
	struct check_begin b = { .want = o->want != 0 ? o->want : 7, .client = client, .helo = helo, .sender = sender,
		.receiver = receiver, .head_len = (uint32_t)(strlen(head) + 2), .body_len = strlen(body) };

	o->job = check_job_new(loop, library, &b, &ops, o);
	check_job_start(o->job);
	for (at = 0; at < len; at += n) {
		n = len - at < piece ? len - at : piece;
		assert_int_equal(check_job_data(o->job, all + at, n), 0);
		answer_all(o);
	}
	answer_all(o);
	assert_int_equal(check_job_data(o->job, "x", 1), -1);
	assert_true(o->is_done || o->is_silent);
	check_job_free(&o->job);
	free(all);
}

/* A DKIM-Signature field, made by hand: of the fields in names, with more tags. malloced. */
static char *
sign_by(unsigned key, const char *head, const char *body, const char *more, const char *const *names, size_t n)
{
	struct dkim_body *hash = dkim_body_new(DKIM_RELAXED);
	uint8_t h[DKIM_HASH], bh[DKIM_HASH], signature[DKIM_SIGNATURE_MAX];
	char encoded[64], all[DKIM_SIGNATURE_MAX * 2], list[256] = "", *text, *whole;
	struct wbuf w;
	size_t i, len;

	dkim_body_update(hash, body, strlen(body));
	dkim_body_final(&hash, bh);
	/* Nothing of the body: relaxed form of an empty one. */
	EVP_EncodeBlock((uint8_t *)encoded, bh, DKIM_HASH);
	for (i = 0; i < n; i++) {
		strcat(list, i > 0 ? ":" : "");
		strcat(list, names[i]);
	}
	text = xasprintf("DKIM-Signature: v=1; a=%s; c=relaxed/relaxed; d=b.example; s=s%u; h=%s; %s bh=%s; b=",
	    key == 0 ? "rsa-sha256" : "ed25519-sha256", key, list, more, encoded);
	wbuf_init(&w);
	wbuf_raw(&w, text, strlen(text));
	assert_int_equal(dkim_header_hash(DKIM_RELAXED, head, strlen(head), names, n, &w, h), 0);
	wbuf_clear(&w);
	assert_true((len = dkim_key_sign(keys[key], h, signature)) > 0);
	EVP_EncodeBlock((uint8_t *)all, signature, (int)len);
	whole = xasprintf("%s%s\r\n", text, all);
	free(text);
	return whole;
}

static const char *const usual[] = { "From", "Subject" };

static enum auth_result
verdict_on(const char *field, const char *head, const char *body, unsigned key, struct world_of_one *o)
{
	char *whole = xasprintf("%s%s", field, head);

	memset(o, 0, sizeof *o);
	o->key_record = record[key];
	run(o, whole, body, 1000);
	free(whole);
	return (enum auth_result)o->results.dkim;
}

static void
test_pieces(void **state)
{
	static const size_t pieces[] = { 1, 7, 40, 100000 };
	struct world_of_one o;
	char *field, *whole;
	unsigned key;
	size_t i;

	(void)state;
	for (key = 0; key < 2; key++) {
		field = sign_by(key, HEAD, BODY, "", usual, 2);
		whole = xasprintf("%s%s", field, HEAD);
		for (i = 0; i < 4; i++) {
			memset(&o, 0, sizeof o);
			o.key_record = record[key];
			o.dmarc = "v=DMARC1; p=reject";
			o.spf = "v=spf1 -all";
			run(&o, whole, BODY, pieces[i]);
			assert_int_equal(o.results.dkim, AUTH_PASS);
			assert_int_equal(o.results.n_signatures, 1);
			assert_string_equal(o.results.signatures[0].domain, "b.example");
			assert_string_equal(o.results.signatures[0].algorithm,
			    key == 0 ? "rsa-sha256" : "ed25519-sha256");
			assert_int_equal(strlen(o.results.signatures[0].mark), 8);
			assert_int_equal(o.results.spf.result, AUTH_FAIL);
			assert_string_equal(o.results.spf.reason, "matched '-all' directive");
			assert_int_equal(o.results.dmarc.result, AUTH_PASS);
			assert_string_equal(o.results.dmarc.policy, "reject");
		}
		free(whole);
		free(field);
	}
}

static void
test_signatures(void **state)
{
	static const char *const subject[] = { "Subject" };
	struct world_of_one o;
	char *field, expired[64];

	(void)state;
	field = sign_by(0, HEAD, BODY, "", usual, 2);
	assert_int_equal(verdict_on(field, HEAD, BODY "more\r\n", 0, &o), AUTH_FAIL);
	assert_string_equal(o.results.signatures[0].reason, "the body was changed");
	assert_int_equal(verdict_on(field, "From: c@b.example\r\nSubject: x\r\n", BODY, 0, &o), AUTH_FAIL);
	assert_string_equal(o.results.signatures[0].reason, "the signature does not verify");
	assert_int_equal(verdict_on(field, HEAD, BODY, 1, &o), AUTH_PERMERROR); /* the key is of another kind */
	free(field);
	/* A part of the body, none of it. */
	field = sign_by(0, HEAD, "hello\r\n", "l=7;", usual, 2);
	assert_int_equal(verdict_on(field, HEAD, BODY, 0, &o), AUTH_POLICY);
	assert_string_equal(o.results.signatures[0].reason, "the signature does not cover the whole body");
	assert_int_equal(verdict_on(field, HEAD, "hello\r\n", 0, &o), AUTH_PASS);
	free(field);
	field = sign_by(0, HEAD, "", "l=0;", usual, 2);
	assert_int_not_equal(verdict_on(field, HEAD, BODY, 0, &o), AUTH_PASS);
	free(field);
	/* From is not covered: anybody may be the author. */
	field = sign_by(0, HEAD, BODY, "", subject, 1);
	assert_int_not_equal(verdict_on(field, HEAD, BODY, 0, &o), AUTH_PASS);
	free(field);
	snprintf(expired, sizeof expired, "t=%lld; x=%lld;", (long long)time(NULL) - 2000,
	    (long long)time(NULL) - 1000);
	field = sign_by(0, HEAD, BODY, expired, usual, 2);
	assert_int_equal(verdict_on(field, HEAD, BODY, 0, &o), AUTH_FAIL);
	free(field);
	field = sign_by(0, HEAD, BODY, "i=x@other.example;", usual, 2);
	assert_int_not_equal(verdict_on(field, HEAD, BODY, 0, &o), AUTH_PASS);
	free(field);
}

static void
test_two_authors(void **state)
{
	struct world_of_one o;
	char *field = sign_by(0, HEAD, BODY, "", usual, 2), *whole = xasprintf("From: evil@b.example\r\n%s" HEAD,
	    field);

	(void)state;
	memset(&o, 0, sizeof o);
	o.key_record = record[0];
	o.dmarc = "v=DMARC1; p=reject";
	run(&o, whole, BODY, 1000);
	assert_int_equal(o.results.dkim, AUTH_POLICY);
	assert_int_equal(o.results.dmarc.result, AUTH_PERMERROR);
	free(field);
	free(whole);
}

/* n times before, a number, and after. malloced. */
static char *
repeat(const char *before, const char *after, unsigned n)
{
	size_t room = strlen(before) + strlen(after) + 12, at = 0;
	char *all = xcalloc(1, n * room + 1);
	unsigned i;

	for (i = 0; i < n; i++)
		at += (size_t)snprintf(all + at, n * room + 1 - at, "%s%u%s", before, i, after);
	return all;
}

static void
test_hostile(void **state)
{
	char *signature = sign_by(0, HEAD, BODY, "", usual, 2), *many, *whole;
	struct world_of_one o;

	(void)state;
	/* 1,000 of them above the good one: eight are looked at. */
	many = repeat("DKIM-Signature: v=1; a=rsa-sha256; d=b.example; s=k", "; h=from; bh=AAAA; b=AAAA\r\n", 900);
	whole = xasprintf("%s%s", many, signature);
	assert_int_not_equal(verdict_on(whole, HEAD, BODY, 0, &o), AUTH_PASS);
	assert_true(o.results.n_signatures <= AUTH_SIGNATURES_MAX);
	assert_true(o.n_asked <= AUTH_SIGNATURES_MAX + 3);
	free(whole);
	/* Too many fields of any kind. */
	free(many);
	many = repeat("X-", ": y\r\n", 2000);
	whole = xasprintf("%s%s", many, signature);
	assert_int_equal(verdict_on(whole, HEAD, BODY, 0, &o), AUTH_POLICY);
	assert_string_equal(o.results.dkim_reason, "the header has too many fields");
	free(whole);
	free(many);
	/* A long name, and a long signature, above the good one. */
	many = repeat("N", "", 20000);
	whole = xasprintf("%s: x\r\n%s", many, signature);
	assert_int_equal(verdict_on(whole, HEAD, BODY, 0, &o), AUTH_PASS);
	free(whole);
	whole = xasprintf("DKIM-Signature: v=1; a=rsa-sha256; d=b.example; s=s; h=from; bh=%s; b=%s\r\n%s", many, many,
	    signature);
	assert_int_equal(verdict_on(whole, HEAD, BODY, 0, &o), AUTH_PASS);
	assert_int_equal(o.results.n_signatures, 1);
	free(whole);
	free(many);
	/* Names that are none are not asked for. */
	assert_int_not_equal(verdict_on("DKIM-Signature: v=1; a=rsa-sha256; d=b..example; s=../..; "
	    "h=from; bh=AAAA; b=AAAA\r\n", HEAD, BODY, 0, &o), AUTH_PASS);
	assert_int_equal(o.n_asked, 2); /* SPF and DMARC */
	/* No field at all, and only a body. */
	assert_int_equal(verdict_on("", "", BODY, 0, &o), AUTH_NONE);
	assert_int_equal(o.results.dmarc.result, AUTH_PERMERROR);
	/* 8-bit octets and bare LF in a field. */
	assert_int_not_equal(verdict_on("DKIM-Signature: \xff\xfe;=;d=\xe4\nX: y\r\n", HEAD, "bare\nLF\n", 0, &o),
	    AUTH_PASS);
	free(signature);
}

static void
test_silence(void **state)
{
	char *field = sign_by(0, HEAD, BODY, "", usual, 2), *whole = xasprintf("%s" HEAD, field);
	struct world_of_one o;

	(void)state;
	memset(&o, 0, sizeof o);
	o.is_silent = true;
	run(&o, whole, BODY, 1000);
	assert_false(o.is_done);
	assert_int_equal(o.n_asked, 3);
	free(field);
	free(whole);
}

/* A chain as long as may be, each seal of another key: few questions at a time, each name once. */
static void
test_arc(void **state)
{
	struct world_of_one o;
	char *head = xstrdup(HEAD), *next;
	unsigned i, j;

	(void)state;
	for (i = 1; i <= 50; i++, free(head), head = next)
		next = xasprintf("ARC-Seal: i=%u; cv=%s; a=rsa-sha256; d=b.example; s=s%u; b=AAAA\r\n"
		    "ARC-Message-Signature: i=%u; a=rsa-sha256; d=b.example; s=S%u; h=from; b=AAAA; "
		    "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=\r\n"
		    "ARC-Authentication-Results: i=%u; mx; none\r\n%s", i, i == 1 ? "none" : "pass", i, i, i, i, head);
	memset(&o, 0, sizeof o);
	o.want = AUTH_WANT_ARC;
	o.is_silent = true;
	run(&o, head, BODY, 1000);
	assert_int_equal(o.n_asked, 4);
	memset(&o, 0, sizeof o);
	o.want = AUTH_WANT_ARC;
	o.key_record = record[0];
	run(&o, head, BODY, 1000);
	assert_int_equal(o.n_asked, 50);
	for (i = 0; i < 50; i++)
		for (j = 0; j < i; j++)
			assert_string_not_equal(o.asked[i].name, o.asked[j].name);
	assert_int_equal(o.results.arc.result, AUTH_FAIL);
	assert_string_equal(o.results.arc.reason, "the body was changed after the last ARC set was made");
	assert_int_equal(o.results.arc.next, 0);
	assert_string_equal(o.results.arc.domain, "b.example");
	assert_int_equal(o.results.dkim, 0);
	/* Without a chain nobody is asked. */
	memset(&o, 0, sizeof o);
	o.want = AUTH_WANT_ARC;
	run(&o, HEAD, BODY, 7);
	assert_int_equal(o.n_asked, 0);
	assert_int_equal(o.results.arc.result, AUTH_NONE);
	assert_int_equal(o.results.arc.next, 1);
	free(head);
}

static void
test_author(void **state)
{
	static const struct {
		const char *from, *domain;
	} cases[] = {
		{ "a@B.Example", "b.example" }, { "A <a@b.example>", "b.example" },
		{ "\"x, <c@d.example>\" <a@b.example>", "b.example" }, { "a@c.example <a@b.example>", "b.example" },
		{ "(c@d, e@f) a@b.example", "b.example" }, { "a@b.example,", "b.example" },
		{ "a@b.example, c@b.example", "" }, { "<a@b.example> <c@d.example>", "" },
		{ "a@b.example; c@d.example", "" }, { "nobody", "" }, { "", "" }, { "a@", "" },
		{ "a@b..example", "" }, { "\"a@b.example", "" }, { "a@\xc3\xa4.example", "" }
	};
	char domain[AUTH_DOMAIN_MAX + 1];
	size_t i;

	(void)state;
	for (i = 0; i < N(cases); i++) {
		char *head = xasprintf("From: %s\r\n", cases[i].from);
		const char *why = check_dmarc_author(head, strlen(head), domain);

		if (strcmp(domain, cases[i].domain) != 0 || (why == NULL) != (*domain != '\0'))
			fail_msg("%s: %s, %s", cases[i].from, domain, why);
		free(head);
	}
}

/* ---- sessions ---- */

static struct world x;
static struct policy *policy;
static struct dns_client *dns;
static struct checkd *role;
static struct ipc *peer; /* in the role's place */
static unsigned n_begun, n_dropped;
static uint32_t last_id;

static void
on_begin(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	(void)ipc, (void)arg;
	n_begun++;
	last_id = m->id;
}

static void
on_data(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	(void)ipc, (void)m, (void)arg;
}

static void
on_drop(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	(void)ipc, (void)m, (void)arg;
	n_dropped++;
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	(void)ipc, (void)why, (void)arg;
	peer = NULL;
}

static const struct ipc_rule rules[] = { { CHECK_BEGIN, false, CHECK_BEGIN_MAX, "begin", on_begin },
	{ CHECK_DATA, false, CHECK_DATA_MAX, "data", on_data }, { CHECK_DROP, false, 0, "drop", on_drop },
	{ CHECK_REPLY, false, CHECK_REPLY_MAX, "reply", on_data } };
static const struct ipc_ops peer_ops = { rules, N(rules), on_gone };

static void
role_start(bool is_real)
{
	int pair[2];

	ipc_close(&peer);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	check_client_set_peer(x.w.check, pair[0]);
	if (is_real) {
		checkd_free(&role);
		role = checkd_new(x.loop);
		checkd_set_worker(role, pair[1]);
	} else {
		peer = ipc_new(x.loop, pair[1], &peer_ops, NULL);
	}
}

static void
begin(const char *more, bool is_real)
{
	char file[] = "/tmp/posthorn-smtpd-check-policy-XXXXXX";
	struct conf_errors errs = { NULL, 0 };
	FILE *f = fdopen(mkstemp(file), "w");

	assert_non_null(f);
	fprintf(f, "posthorn.source { name = 's', source_address = '192.0.2.1' }\n"
	    "posthorn.pool { name = 'p', entries = { { name = 's' } } }\n"
	    "posthorn.listener_domain { name = 'in.example', relay_to = true }\n%s", more);
	fclose(f);
	policy = policy_load(file, &errs);
	unlink(file);
	if (policy == NULL)
		fail_msg("%s", errs.v[0].text);
	world_init(&x, NULL);
	trust(&x);
	x.w.policy = policy;
	dns = dns_client_new(x.loop); /* without a role: each question is answered at once, with an error */
	policy_set_host(policy, x.loop, dns, 20000);
	policy_set_auth(policy, &verify_policy_ops, &x.w);
	x.w.check = check_client_new(x.loop, dns, 20000);
	n_begun = n_dropped = 0;
	role_start(is_real);
}

static void
end(void)
{
	session_free_all(&x.w);
	policy_free(&policy);
	check_client_free(&x.w.check);
	dns_client_free(&dns);
	checkd_free(&role);
	ipc_close(&peer);
	world_clear(&x);
}

static void
connect_at_data(const char *address)
{
	x.out_len = 0;
	world_connect_from(&x, LISTEN_SMTPD, address);
	expect_codes(&x, "banner", "220");
	talk(&x, "EHLO x\r\n", "250");
	talk(&x, "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@in.example>\r\nDATA\r\n", "250 250 354");
	x.out_len = 0;
}

static const char *
meta(const char *key)
{
	uint32_t i;

	for (i = 0; x.env != NULL && i < x.env->n_meta; i++)
		if (strcmp(x.env->meta[i].key, key) == 0)
			return x.env->meta[i].value;
	return "";
}

#define TEXT "From: a@b.example\r\nAuthentication-Results: mx.test.example; spf=pass\r\n\r\nx\r\n.\r\n"

static char *
content(void)
{
	const char *err = NULL;
	struct record rec;
	char *text, *copy;
	size_t len;

	assert_int_equal(record_verify(x.fds[x.last.segment], x.last.segment, x.last.offset, &rec, &err), 1);
	text = record_read_content(x.fds[x.last.segment], &rec, &len, &err);
	assert_non_null(text);
	copy = xmemdup0(text, len);
	free(text);
	return copy;
}

static void
test_session(void **state)
{
	char *text;

	(void)state;
	begin("", true);
	connect_at_data(OUTSIDE);
	talk(&x, TEXT "MAIL FROM:<>\r\n", "250 250"); /* pipelined: the order stays */
	assert_string_equal(meta("spf"), "temperror");
	assert_string_equal(meta("dkim"), "none");
	assert_string_equal(meta("dmarc"), "temperror");
	assert_string_equal(meta("auth_dkim_domains"), "");
	text = content();
	if (strncmp(text, S("Authentication-Results: mx.test.example;\r\n\tspf=temperror ")) != 0)
		fail_msg("%s", text);
	assert_null(strstr(text, "spf=pass"));
	free(text);
	end();
	/* Ours is not looked at, and nothing of it is taken out. */
	begin("", false);
	connect_at_data(INSIDE);
	talk(&x, TEXT, "250");
	assert_int_equal(n_begun, 0);
	assert_string_equal(meta("spf"), "");
	text = content();
	assert_non_null(strstr(text, "\r\nAuthentication-Results: mx.test.example; spf=pass\r\n"));
	free(text);
	end();
}

/* Whatever ends the wait ends it once, and the message is accepted. */
static void
test_role_ends(void **state)
{
	struct wbuf w;
	unsigned i;

	(void)state;
	for (i = 0; i < 6; i++) {
		begin("", false);
		connect_at_data(OUTSIDE);
		client_send(&x, TEXT, strlen(TEXT));
		UNTIL(x.loop, n_begun == 1);
		wbuf_init(&w);
		switch (i) {
		case 0: /* it dies */
			ipc_close(&peer);
			break;
		case 1: /* a new one is there before the old one is gone */
			role_start(false);
			break;
		case 2: /* a result that is none */
			wbuf_u8(&w, 1);
			ipc_send(peer, CHECK_RESULT, last_id, &w, -1);
			break;
		case 3: { /* a result without what was asked for */
			struct auth_results a = { .dkim = AUTH_PASS };

			check_result_encode(&a, &w);
			ipc_send(peer, CHECK_RESULT, last_id, &w, -1);
			break;
		}
		case 4: /* more taken than was given */
			wbuf_u32(&w, 1000000);
			ipc_send(peer, CHECK_TAKEN, last_id, &w, -1);
			break;
		default: { /* questions without end */
			struct check_question q = { .number = 1, .type = DNS_TYPE_TXT, .name = "x.example" };
			unsigned n;

			check_question_encode(&q, &w);
			for (n = 0; n <= CHECK_QUESTIONS_MAX; n++)
				ipc_send(peer, CHECK_QUESTION, last_id, &w, -1);
			break;
		}
		}
		wbuf_clear(&w);
		expect_codes(&x, "accepted", "250");
		assert_string_equal(meta("spf"), "temperror");
		assert_string_equal(meta("dkim"), "temperror");
		end();
	}
}

static void
test_session_ends(void **state)
{
	(void)state;
	/* The client goes. */
	begin("", false);
	connect_at_data(OUTSIDE);
	client_send(&x, TEXT, strlen(TEXT));
	UNTIL(x.loop, n_begun == 1);
	close(x.fd);
	x.fd = -1;
	run_ms(x.loop, 5);
	ipc_close(&peer);
	UNTIL(x.loop, x.w.n_sessions == 0);
	end();
	/* The worker stops. */
	begin("", false);
	connect_at_data(OUTSIDE);
	client_send(&x, TEXT, strlen(TEXT));
	UNTIL(x.loop, n_begun == 1);
	session_stop_all(&x.w);
	expect_codes(&x, "stopped", "421|");
	UNTIL(x.loop, n_dropped == 1);
	end();
	/* An event that waits for SPF. */
	begin("kumo.on('smtp_server_mail_from', function(a, conn)\n"
	    "  kumo.spf.check_host(a.domain, conn, tostring(a))\nend)\n", false);
	world_connect_from(&x, LISTEN_SMTPD, OUTSIDE);
	expect_codes(&x, "banner", "220");
	talk(&x, "EHLO x\r\n", "250");
	client_send(&x, "MAIL FROM:<a@b.example>\r\n", 25);
	UNTIL(x.loop, n_begun == 1);
	session_stop_all(&x.w);
	UNTIL(x.loop, n_dropped == 1);
	end();
}

/* A domain for reports only: what is no report is told so; what cannot be taken in any case, why. */
static void
test_no_report(void **state)
{
	(void)state;
	begin("posthorn.listener_domain { name = 'oob.example', log_oob = true }\n", true);
	world_connect_from(&x, LISTEN_SMTPD, OUTSIDE);
	expect_codes(&x, "banner", "220");
	talk(&x, "EHLO x\r\n", "250");
	talk(&x, "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@oob.example>\r\nDATA\r\n", "250 250 354");
	x.out_len = 0;
	talk(&x, "From: a@b.example\r\n\r\nx\r\n.\r\n", "550");
	assert_non_null(strstr(x.out, "Only bounces"));
	talk(&x, "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@oob.example>\r\nDATA\r\n", "250 250 354");
	x.out_len = 0;
	talk(&x, "From: a@b.example\r\n\r\nx\ry\r\n.\r\n", "550");
	if (strncmp(x.out, S("550 5.6.11 Bare CR")) != 0)
		fail_msg("%s", x.out);
	end();
}

static int
set_up(void **state)
{
	struct wbuf w;
	unsigned i;

	(void)state;
	log_init("smtpd_check", LOG_LVL_ERROR);
	loop = loop_new();
	library = check_dkim_library_new();
	for (i = 0; i < 2; i++) {
		char encoded[1000];

		keys[i] = dkim_key_generate(i == 0 ? DKIM_RSA : DKIM_ED25519, 1024);
		wbuf_init(&w);
		dkim_key_public(keys[i], &w);
		EVP_EncodeBlock((uint8_t *)encoded, w.p, (int)w.len);
		snprintf(record[i], sizeof record[i], "v=DKIM1; k=%s; p=%s", i == 0 ? "rsa" : "ed25519", encoded);
		wbuf_clear(&w);
	}
	return library == NULL ? -1 : 0;
}

static int
tear_down(void **state)
{
	(void)state;
	dkim_key_free(&keys[0]);
	dkim_key_free(&keys[1]);
	check_dkim_library_free(&library);
	loop_free(&loop);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_link), cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_signatures), cmocka_unit_test(test_two_authors), cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_silence), cmocka_unit_test(test_arc), cmocka_unit_test(test_author),
		cmocka_unit_test(test_session), cmocka_unit_test(test_role_ends),
		cmocka_unit_test(test_session_ends), cmocka_unit_test(test_no_report) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
