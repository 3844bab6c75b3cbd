/* mail/arc.h: which header blocks hold a chain, what is wrong with the others; sets that we make verify, of RSA and of
 * Ed25519, over chains of any length; keys that verify nothing. */
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "mail/arc.h"
#include "mail/authres.h"
#include "mail/dkim_key.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define NOW 1790000000
#define HEAD "From: a@b.example\r\nSubject: x\r\nDKIM-Signature: v=1; b=x\r\n\r\n"
#define BODY "hello \r\n"

static struct dkim_key *keys[2];
static char records[2][1024];

static void
body_hash(uint8_t hash[DKIM_HASH])
{
	struct dkim_body *b = dkim_body_new(DKIM_RELAXED);

	dkim_body_update(b, BODY, strlen(BODY));
	dkim_body_final(&b, hash);
}

/* Puts a set above the block. malloced. */
static char *
seal(const char *head, unsigned instance, enum arc_cv cv, enum dkim_algorithm algorithm)
{
	struct dkim_signer *s = dkim_signer_new();
	struct arc_order *o;
	uint8_t hash[DKIM_HASH], bh[DKIM_HASH], signature[DKIM_SIGNATURE_MAX];
	struct wbuf message, top;
	char *out;
	size_t n;

	s->domain = xstrdup("b.example");
	o = arc_order_new(s, instance, cv);
	dkim_signer_unref(&s);
	authres_begin_arc(&o->results, instance, "mx.b.example");
	authres_end(&o->results);
	body_hash(bh);
	wbuf_init(&message);
	wbuf_init(&top);
	assert_int_equal(arc_message_begin(o, algorithm, "s", head, strlen(head), bh, NOW, &message, hash), 0);
	assert_true((n = dkim_key_sign(keys[algorithm], hash, signature)) > 0);
	dkim_field_end(&message, signature, n);
	assert_int_equal(arc_seal_begin(o, algorithm, "s", head, strlen(head), &message, NOW, &top, hash), 0);
	assert_true((n = dkim_key_sign(keys[algorithm], hash, signature)) > 0);
	dkim_field_end(&top, signature, n);
	out = xasprintf("%.*s%.*s%.*s%s", (int)top.len, (char *)top.p, (int)message.len, (char *)message.p,
	    (int)o->results.len, (char *)o->results.p, head);
	wbuf_clear(&message);
	wbuf_clear(&top);
	arc_order_free(&o);
	assert_null(o);
	return out;
}

/* All signatures of the chain verify with the key; the problem of one that does not. */
static const char *
verify(const char *head, enum dkim_algorithm algorithm, unsigned *n_r)
{
	struct arc_chain *c = xmalloc(sizeof(*c));
	const char *problem;
	uint8_t bh[DKIM_HASH];
	unsigned i;

	arc_chain_read(c, head, strlen(head), NOW);
	problem = c->problem;
	*n_r = c->n;
	for (i = 0; i < c->n && problem == NULL; i++)
		problem = arc_verify_hash(&c->seals[i], records[algorithm]);
	if (problem == NULL && c->n > 0)
		problem = arc_verify_hash(&c->message, records[algorithm]);
	if (problem == NULL && c->n > 0) {
		body_hash(bh);
		assert_memory_equal(bh, c->body_hash, DKIM_HASH);
		assert_int_equal(c->body, DKIM_RELAXED);
		assert_string_equal(c->message.domain, "b.example");
		assert_string_equal(c->message.selector, "s");
	}
	free(c);
	return problem;
}

static void
test_round(void **state)
{
	enum dkim_algorithm a;
	char *head, *next;
	unsigned i, n;

	(void)state;
	for (a = DKIM_RSA; a <= DKIM_ED25519; a++) {
		head = xstrdup(HEAD);
		assert_null(verify(head, a, &n));
		assert_int_equal(n, 0);
		for (i = 1; i <= ARC_SETS_MAX; i++) {
			next = seal(head, i, i == 1 ? ARC_CV_NONE : ARC_CV_PASS, a);
			free(head);
			head = next;
			if (i < 4 || i == ARC_SETS_MAX) {
				assert_null(verify(head, a, &n));
				assert_int_equal(n, i);
			}
		}
		/* The results of the first set are covered by all seals, the subject by the newest. */
		next = strstr(head, "ARC-Authentication-Results: i=1;");
		assert_non_null(next);
		*strstr(next, "none") = 'N';
		assert_string_equal(verify(head, a, &n), "an ARC signature does not verify");
		*strstr(next, "None") = 'n';
		assert_null(verify(head, a, &n));
		strstr(head, "Subject: x")[9] = 'y';
		assert_string_equal(verify(head, a, &n), "an ARC signature does not verify");
		free(head);
	}
}

/* Of a broken chain only our set is covered: it verifies as if it were the only one. */
static void
test_failed(void **state)
{
	char *one = seal(HEAD, 1, ARC_CV_NONE, DKIM_RSA), *two, *alone, *p;
	struct arc_chain *c = xmalloc(sizeof(*c));
	struct dkim_signer *s = dkim_signer_new();
	struct arc_order *o;
	struct wbuf field, message;
	uint8_t hash[DKIM_HASH];

	(void)state;
	two = seal(one, 2, ARC_CV_FAIL, DKIM_RSA);
	arc_chain_read(c, two, strlen(two), NOW);
	assert_string_equal(c->problem, "an ARC seal says that the chain was broken before, or what cannot be");
	assert_true(c->is_ended);
	assert_int_equal(c->highest, 2);
	/* The same without the first set. */
	alone = seal(HEAD, 2, ARC_CV_FAIL, DKIM_RSA);
	assert_int_equal(strlen(alone) - strlen(HEAD), strlen(two) - strlen(one));
	assert_memory_equal(alone, two, strlen(alone) - strlen(HEAD));
	/* What is whole is not sealed as another chain than it is. */
	p = strstr(one, "ARC-Seal");
	s->domain = xstrdup("b.example");
	o = arc_order_new(s, 3, ARC_CV_PASS);
	wbuf_init(&field);
	wbuf_init(&message);
	wbuf_raw(&message, "A: b\r\n", 6);
	wbuf_raw(&o->results, "A: b\r\n", 6);
	assert_int_equal(arc_seal_begin(o, DKIM_RSA, "s", p, strlen(p), &message, NOW, &field, hash), -1);
	assert_int_equal(arc_seal_begin(o, DKIM_RSA, "s", HEAD, strlen(HEAD), &message, NOW, &field, hash), -1);
	wbuf_clear(&field);
	wbuf_clear(&message);
	arc_order_free(&o);
	dkim_signer_unref(&s);
	free(one);
	free(two);
	free(alone);
	free(c);
}

#define R1 "ARC-Authentication-Results: i=1; mx; none\r\n"
#define M1 "ARC-Message-Signature: i=1; a=rsa-sha256; c=relaxed/relaxed; d=b.example; s=s; h=from; " \
    "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=AAAA\r\n"
#define S1 "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=b.example; s=s; b=AAAA\r\n"
#define M(more) "ARC-Message-Signature: i=1; a=rsa-sha256; d=b.example; s=s; " \
    "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=AAAA; " more "\r\n"
#define S(more) "ARC-Seal: i=1; a=rsa-sha256; cv=none; s=s; " more "\r\n"
#define AUTHOR "From: a@b.example\r\n"

static void
test_structure(void **state)
{
	static const struct { const char *head; unsigned n, highest; const char *problem; } t[] = {
		{ AUTHOR, 0, 0, NULL },
		{ "", 0, 0, NULL },
		{ S1 M1 R1 AUTHOR, 1, 1, NULL },
		{ R1 AUTHOR M1 S1, 1, 1, NULL }, /* in any order */
		{ "arc-SEAL : \r\n\ti = 1 ; a=RSA-sha256;\r\n cv = None; d=B.example; s=s; "
		    "b = A\r\n A A\tA\r\n ;\r\n" M1 R1 AUTHOR, 1, 1, NULL },
		{ S1 M1 AUTHOR, 0, 1, "an ARC set is missing, or a part of it" },
		{ S1 R1 AUTHOR, 0, 1, "an ARC set is missing, or a part of it" },
		{ S1 S1 M1 R1 AUTHOR, 0, 1, "an ARC set has a field twice" },
		{ "ARC-Seal: i=2; cv=pass\r\n" S1 M1 R1 AUTHOR, 0, 2, "an ARC set is missing, or a part of it" },
		{ "ARC-Seal: i=51\r\n" AUTHOR, 0, 51, "more than 50 ARC sets" },
		{ "ARC-Seal: i=999999999999999\r\n" AUTHOR, 0, 0, "a field of an ARC set has no instance" },
		{ "ARC-Seal: i=-1\r\n" AUTHOR, 0, 0, "a field of an ARC set has no instance" },
		{ "ARC-Seal: i=1; i=1\r\n" AUTHOR, 0, 0, "a field of an ARC set has no instance" },
		{ "ARC-Seal: I=1\r\n" AUTHOR, 0, 0, "a field of an ARC set has no instance" },
		{ "ARC-Authentication-Results: mx; i=1\r\n" AUTHOR, 0, 0, "a field of an ARC set has no instance" },
		{ "ARC-Authentication-Results: i=1\r\n" AUTHOR, 0, 0, "a field of an ARC set has no instance" },
		{ S("d=b.example; b=") M1 R1 AUTHOR, 1, 1, "an ARC signature cannot be read" },
		{ S("d=b.example; b=A!AA") M1 R1 AUTHOR, 1, 1, "an ARC signature cannot be read" },
		{ S("d=b.example; b=A=AA") M1 R1 AUTHOR, 1, 1, "an ARC signature cannot be read" },
		{ S("d=b.example; b=AAA") M1 R1 AUTHOR, 1, 1, "an ARC signature cannot be read" },
		{ S("d=; b=AAAA") M1 R1 AUTHOR, 1, 1, "an ARC signature names no key" },
		{ S("d=[192.0.2.1]; b=AAAA") M1 R1 AUTHOR, 1, 1, "an ARC signature names no key" },
		{ S("b=AAAA") M1 R1 AUTHOR, 1, 1, "an ARC signature names no key" },
		{ S("d=b.example; b=AAAA; h=from") M1 R1 AUTHOR, 1, 1, "an ARC seal has a tag h, which it must not" },
		{ S("d=b.example; b=AAAA; t=1800000000") M1 R1 AUTHOR, 1, 1,
		    "an ARC signature is of the future, or of no time" },
		{ S("d=b.example; b=AAAA; t=now") M1 R1 AUTHOR, 1, 1,
		    "an ARC signature is of the future, or of no time" },
		{ S1 M("h=from; x=1780000000") R1 AUTHOR, 1, 1, "an ARC signature has expired" },
		{ S1 M("h=from; x=1795000000") R1 AUTHOR, 1, 1, NULL },
		{ S1 M("h=from; t=1789000000; x=1788000000") R1 AUTHOR, 1, 1,
		    "an ARC signature is of the future, or of no time" },
		{ S1 M("h=from; l=0") R1 AUTHOR, 1, 1, "the ARC message signature does not cover the whole body" },
		{ S1 M("h=from; c=relaxed") R1 AUTHOR, 1, 1, NULL },
		{ S1 M("h=from; c=simple/relaxed") R1 AUTHOR, 1, 1, NULL },
		{ S1 M("h=from; c=other") R1 AUTHOR, 1, 1, "the ARC message signature cannot be read" },
		{ S1 M("h=from; c=relaxed/other") R1 AUTHOR, 1, 1, "the ARC message signature cannot be read" },
		{ S1 M("h=subject") R1 AUTHOR, 1, 1,
		    "the ARC message signature does not say what it must of the header" },
		{ S1 M("h=from:arc-seal") R1 AUTHOR, 1, 1,
		    "the ARC message signature does not say what it must of the header" },
		{ S1 M("h=from::to") R1 AUTHOR, 1, 1,
		    "the ARC message signature does not say what it must of the header" },
		{ S1 M("") R1 AUTHOR, 1, 1, "the ARC message signature does not say what it must of the header" },
		{ S1 M("h=from; =") R1 AUTHOR, 0, 1, NULL },
		{ S1 M1 R1 AUTHOR AUTHOR, 1, 1, "the message has more than one From field" },
	};
	struct arc_chain *c = xmalloc(sizeof(*c));
	size_t i;

	(void)state;
	for (i = 0; i < N(t); i++) {
		arc_chain_read(c, t[i].head, strlen(t[i].head), NOW);
		if (strstr(t[i].head, "; =") != NULL) {
			assert_non_null(c->problem);
			continue;
		}
		if (t[i].problem == NULL && c->problem != NULL)
			fail_msg("%s: %s", t[i].head, c->problem);
		if (t[i].problem != NULL && (c->problem == NULL || strcmp(c->problem, t[i].problem) != 0))
			fail_msg("%s: %s", t[i].head, c->problem != NULL ? c->problem : "no problem");
		assert_int_equal(c->n, t[i].n);
		assert_int_equal(c->highest, t[i].highest);
		assert_false(c->is_ended);
	}
	free(c);
}

static void
test_bounds(void **state)
{
	struct arc_chain *c = xmalloc(sizeof(*c));
	struct wbuf w;
	int i;

	(void)state;
	wbuf_init(&w);
	wbuf_raw(&w, "ARC-Seal: i=1; b=", 17);
	for (i = 0; i < 20000; i++)
		wbuf_raw(&w, "A", 1);
	wbuf_raw(&w, "\r\n", 2);
	arc_chain_read(c, (const char *)w.p, w.len, NOW);
	assert_string_equal(c->problem, "a field of an ARC set is too long");
	wbuf_reset(&w);
	wbuf_raw(&w, S1 R1 AUTHOR, strlen(S1 R1 AUTHOR));
	wbuf_raw(&w, "ARC-Message-Signature: i=1; a=rsa-sha256; d=b; s=s; b=AAAA; "
	    "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; h=from", 115);
	for (i = 0; i < 300; i++)
		wbuf_raw(&w, ":to", 3);
	wbuf_raw(&w, "\r\n", 2);
	arc_chain_read(c, (const char *)w.p, w.len, NOW);
	assert_string_equal(c->problem, "the ARC message signature does not say what it must of the header");
	wbuf_reset(&w);
	wbuf_raw(&w, S1 R1 M1, strlen(S1 R1 M1));
	wbuf_raw(&w, "NUL: \0\r\n", 8);
	wbuf_raw(&w, AUTHOR, strlen(AUTHOR));
	arc_chain_read(c, (const char *)w.p, w.len, NOW);
	assert_null(c->problem);
	wbuf_clear(&w);
	free(c);
}

static void
test_keys(void **state)
{
	static const struct { const char *before, *after, *problem; } t[] = {
		{ "", "", NULL },
		{ "v=DKIM1; ", "; t=s; n=note", NULL },
		{ "h=sha1:sha256; s=*; k=rsa; ", "", NULL },
		{ "v=DKIM2; ", "", "the key of an ARC signature is none of DKIM" },
		{ "h=sha1; ", "", "the key of an ARC signature is for something else" },
		{ "s=other; ", "", "the key of an ARC signature is for something else" },
		{ "k=ed25519; ", "", "the key of an ARC signature is for another algorithm" },
		{ "t=s:y; ", "", "the key of an ARC signature is for tests" },
		{ "p=; n=", "", "the key of an ARC signature was revoked" },
		{ "", "AAAA", "the key of an ARC signature cannot be read" },
		{ "n=", "", "the key of an ARC signature cannot be read" },
	};
	char *head = seal(HEAD, 1, ARC_CV_NONE, DKIM_RSA), *text;
	struct arc_chain *c = xmalloc(sizeof(*c));
	const char *p = strstr(records[DKIM_RSA], "p="), *problem;
	size_t i;

	(void)state;
	arc_chain_read(c, head, strlen(head), NOW);
	assert_null(c->problem);
	for (i = 0; i < N(t); i++) {
		text = xasprintf("%s%s%s", t[i].before, p, t[i].after);
		problem = arc_verify_hash(&c->seals[0], text);
		if (t[i].problem == NULL)
			assert_null(problem);
		else
			assert_string_equal(problem, t[i].problem);
		free(text);
	}
	assert_non_null(arc_verify_hash(&c->seals[0], ""));
	assert_non_null(arc_verify_hash(&c->seals[0], records[DKIM_ED25519]));
	c->seals[0].len--;
	assert_string_equal(arc_verify_hash(&c->seals[0], p), "an ARC signature does not verify");
	c->seals[0].len++;
	c->seals[0].hash[0] ^= 1;
	assert_string_equal(arc_verify_hash(&c->seals[0], p), "an ARC signature does not verify");
	free(c);
	free(head);
}

static void
record_make(enum dkim_algorithm a)
{
	struct wbuf w;
	char encoded[1000];

	wbuf_init(&w);
	dkim_key_public(keys[a], &w);
	EVP_EncodeBlock((uint8_t *)encoded, w.p, (int)w.len);
	snprintf(records[a], sizeof(records[a]), "k=%s; p=%s", a == DKIM_RSA ? "rsa" : "ed25519", encoded);
	wbuf_clear(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round),
		cmocka_unit_test(test_failed),
		cmocka_unit_test(test_structure),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_keys),
	};
	int rc;

	cmocka_set_message_output(CM_OUTPUT_TAP);
	keys[DKIM_RSA] = dkim_key_generate(DKIM_RSA, 1024);
	keys[DKIM_ED25519] = dkim_key_generate(DKIM_ED25519, 0);
	record_make(DKIM_RSA);
	record_make(DKIM_ED25519);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	dkim_key_free(&keys[DKIM_RSA]);
	dkim_key_free(&keys[DKIM_ED25519]);
	return rc;
}
