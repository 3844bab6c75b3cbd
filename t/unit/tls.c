/* What our two contexts accept and refuse, by handshakes in memory. */
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <sys/mman.h>

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/tls.h"
#include "base/tls_tickets.h"
#include "selfcert.h"

static struct selfcert ec, rsa;
static SSL_SESSION *kept; /* the last session a client was given */

static int
keep_session(SSL *ssl, SSL_SESSION *s)
{
	(void)ssl;
	SSL_SESSION_free(kept);
	kept = s;
	return 1;
}

struct pair {
	SSL *c, *s;
};

static void
pair_make(struct pair *p, SSL_CTX *client, SSL_CTX *server)
{
	BIO *a, *b;

	assert_int_equal(BIO_new_bio_pair(&a, 0, &b, 0), 1);
	p->c = SSL_new(client);
	p->s = SSL_new(server);
	SSL_set_bio(p->c, a, a);
	SSL_set_bio(p->s, b, b);
	SSL_set_connect_state(p->c);
	SSL_set_accept_state(p->s);
}

static bool
pair_shake(struct pair *p)
{
	char byte;
	int rc = 0, rs = 0;

	for (int i = 0; i < 20 && (rc != 1 || rs != 1); i++) {
		rc = SSL_do_handshake(p->c);
		rs = SSL_do_handshake(p->s);
	}
	if (rc != 1 || rs != 1) {
		ERR_clear_error();
		return false;
	}
	(void)SSL_read(p->c, &byte, 1); /* tickets */
	ERR_clear_error();
	return true;
}

static void
pair_free(struct pair *p)
{
	SSL_shutdown(p->c);
	SSL_free(p->c);
	SSL_free(p->s);
	ERR_clear_error();
}

static SSL_CTX *
server(const char *name)
{
	char *err;
	SSL_CTX *ctx = tls_server_ctx(ec.cert, ec.key, name, &err);

	if (ctx == NULL)
		fail_msg("%s", err);
	return ctx;
}

static SSL_CTX *
client(void)
{
	char *err;
	SSL_CTX *ctx = tls_client_ctx(&err);

	if (ctx == NULL)
		fail_msg("%s", err);
	SSL_CTX_sess_set_new_cb(ctx, keep_session);
	return ctx;
}

static void
both_key_types(void **state)
{
	const struct selfcert *certs[] = { &ec, &rsa };

	(void)state;
	for (int i = 0; i < 2; i++) {
		char *err = NULL;
		SSL_CTX *s = tls_server_ctx(certs[i]->cert, certs[i]->key, "smtpd", &err), *c = client();
		struct pair p;

		assert_non_null(s);
		assert_null(err);
		pair_make(&p, c, s);
		assert_string_equal(tls_cipher(p.c), "none");
		assert_true(pair_shake(&p));
		assert_string_equal(tls_version(p.s), "TLSv1.3");
		assert_string_equal(tls_cipher(p.s), "TLS_AES_256_GCM_SHA384");
		assert_string_equal(tls_cipher(p.c), "TLS_AES_256_GCM_SHA384");
		assert_int_equal(SSL_get_max_early_data(p.s), 0);
		pair_free(&p);
		SSL_CTX_free(s);
		SSL_CTX_free(c);
	}
}

static void
bad_files(void **state)
{
	struct selfcert secret, other;
	const struct {
		const char *cert, *key, *word;
	} cases[] = {
		{ "/nonexistent/cert.pem", ec.key, "/nonexistent/cert.pem" },
		{ ec.cert, "/nonexistent/key.pem", "/nonexistent/key.pem" },
		{ ec.cert, rsa.key, "does not belong" },
		{ rsa.cert, ec.key, "does not belong" },
		{ ec.cert, other.key, "does not belong" },
		{ ec.key, ec.key, "cannot use the certificate" },
		{ "/dev/null", ec.key, "cannot use the certificate" },
		{ secret.cert, secret.key, "cannot use the private key" }, /* and nobody is asked for a pass phrase */
	};

	(void)state;
	selfcert_make(&secret, false, "geheim");
	selfcert_make(&other, false, NULL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *err = NULL;

		assert_null(tls_server_ctx(cases[i].cert, cases[i].key, "x", &err));
		assert_non_null(err);
		if (strstr(err, cases[i].word) == NULL)
			fail_msg("case %zu: %s", i, err);
		free(err);
	}
	selfcert_remove(&secret);
	selfcert_remove(&other);
}

/* Each client gets the certificate that it can check. */
static void
two_certificates(void **state)
{
	char *certs[] = { rsa.cert, ec.cert }, *keys[] = { rsa.key, ec.key }, *same[] = { ec.cert, ec.cert },
	     *same_keys[] = { ec.key, ec.key }, *swapped[] = { ec.key, rsa.key }, *err = NULL;
	struct conf_strs c = { certs, 2 }, k = { keys, 2 };
	static const struct {
		const char *sigalgs;
		int kind;
	} clients[] = { { "RSA-PSS+SHA256:RSA+SHA256", EVP_PKEY_RSA }, { "ECDSA+SHA256", EVP_PKEY_EC } };
	SSL_CTX *s = tls_server_ctx_of(&c, &k, "smtpd", &err);

	(void)state;
	assert_non_null(s);
	for (size_t i = 0; i < 2; i++) {
		SSL_CTX *ctx = client();
		struct pair p;
		X509 *got;

		assert_int_equal(SSL_CTX_set1_sigalgs_list(ctx, clients[i].sigalgs), 1);
		pair_make(&p, ctx, s);
		assert_true(pair_shake(&p));
		got = SSL_get1_peer_certificate(p.c);
		assert_int_equal(EVP_PKEY_get_base_id(X509_get0_pubkey(got)), clients[i].kind);
		X509_free(got);
		pair_free(&p);
		SSL_CTX_free(ctx);
	}
	SSL_CTX_free(s);
	k.v = swapped;
	assert_null(tls_server_ctx_of(&c, &k, "smtpd", &err));
	assert_non_null(strstr(err, "does not belong"));
	free(err);
	c.v = same;
	k.v = same_keys;
	assert_null(tls_server_ctx_of(&c, &k, "smtpd", &err));
	assert_non_null(strstr(err, "both have an ECDSA key"));
	free(err);
	k.n = 1;
	assert_null(tls_server_ctx_of(&c, &k, "smtpd", &err));
	assert_non_null(strstr(err, "2 certificates and 1 keys"));
	free(err);
}

/* A handshake with the kept session: was it resumed? */
static bool
resumes(SSL_CTX *c, SSL_CTX *s)
{
	struct pair p;
	bool is;

	pair_make(&p, c, s);
	assert_int_equal(SSL_set_session(p.c, kept), 1);
	assert_true(pair_shake(&p));
	is = SSL_session_reused(p.s);
	if (SSL_version(p.c) == TLS1_2_VERSION)
		(void)keep_session(p.c, SSL_get1_session(p.c)); /* no callback tells of a ticket that is renewed */
	pair_free(&p);
	return is;
}

static void
fresh_session(SSL_CTX *c, SSL_CTX *s)
{
	struct pair p;

	pair_make(&p, c, s);
	assert_true(pair_shake(&p));
	assert_false(SSL_session_reused(p.s));
	pair_free(&p);
	assert_non_null(kept);
}

/* Two workers with keys of one parent, in both versions of the protocol. */
static void
shared_tickets(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	struct tls_tickets *maker, *first, *second;
	SSL_SESSION *old;
	int fd;

	(void)state;
	maker = tls_tickets_make(&fd);
	assert_non_null(maker);
	first = tls_tickets_map(fd);
	second = tls_tickets_map(fd);
	assert_non_null(first);
	assert_non_null(second);
	for (size_t i = 0; i < 2; i++) {
		SSL_CTX *a = server("smtpd"), *b = server("smtpd"), *alone = server("smtpd"), *c = client();

		tls_tickets_use(a, first);
		tls_tickets_use(b, second);
		SSL_CTX_set_max_proto_version(c, versions[i]);
		fresh_session(c, a);
		assert_true(resumes(c, b));
		fresh_session(c, a);
		assert_false(resumes(c, alone));
		fresh_session(c, a);
		old = kept;
		SSL_SESSION_up_ref(old);
		tls_tickets_rotate(maker);
		assert_true(resumes(c, b)); /* by the key of before; it got a new ticket */
		tls_tickets_rotate(maker);
		assert_true(resumes(c, a)); /* which is good for another period */
		SSL_SESSION_free(kept);
		kept = old;
		assert_false(resumes(c, a)); /* while the old one is past */
		SSL_CTX_free(a);
		SSL_CTX_free(b);
		SSL_CTX_free(alone);
		SSL_CTX_free(c);
	}
	tls_tickets_free(&first);
	tls_tickets_free(&second);
	tls_tickets_free(&maker);
	close(fd);
}

/* Workers read network bytes: the table is not theirs to change. */
static void
tickets_sealed(void **state)
{
	struct tls_tickets *maker;
	int fd, rw;
	char path[64];

	(void)state;
	maker = tls_tickets_make(&fd);
	assert_non_null(maker);
	assert_int_equal(write(fd, "x", 1), -1);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if ((rw = open(path, O_RDWR | O_CLOEXEC)) != -1) {
		assert_int_equal(write(rw, "x", 1), -1);
		assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, rw, 0), MAP_FAILED);
		close(rw);
	}
	tls_tickets_free(&maker);
	close(fd);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_null(tls_tickets_map(fd));
	close(fd);
}

static void
protocol_versions(void **state)
{
	static const struct {
		int version;
		bool ok;
	} cases[] = {
		{ TLS1_VERSION, false }, { TLS1_1_VERSION, false }, { TLS1_2_VERSION, true }, { TLS1_3_VERSION, true }
	};
	SSL_CTX *s = server("smtpd");

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		SSL_CTX *c = client();
		struct pair p;

		SSL_CTX_set_max_proto_version(c, cases[i].version);
		pair_make(&p, c, s);
		assert_int_equal(pair_shake(&p), cases[i].ok);
		pair_free(&p);
		SSL_CTX_free(c);
	}
	SSL_CTX_free(s);
}

/* Outgoing, the oldest server still gets encryption. */
static void
old_server(void **state)
{
	SSL_CTX *s = SSL_CTX_new(TLS_server_method()), *c = client();
	struct pair p;

	(void)state;
	assert_int_equal(SSL_CTX_use_certificate_file(s, rsa.cert, SSL_FILETYPE_PEM), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey_file(s, rsa.key, SSL_FILETYPE_PEM), 1);
	SSL_CTX_set_cipher_list(s, "AES128-SHA:@SECLEVEL=0");
	SSL_CTX_set_min_proto_version(s, TLS1_VERSION);
	SSL_CTX_set_max_proto_version(s, TLS1_VERSION);
	pair_make(&p, c, s);
	assert_true(pair_shake(&p));
	assert_string_equal(tls_version(p.c), "TLSv1");
	assert_string_equal(tls_cipher(p.c), "TLS_RSA_WITH_AES_128_CBC_SHA");
	pair_free(&p);
	SSL_CTX_free(s);
	SSL_CTX_free(c);
}

static void
alpn(void **state)
{
	static const struct {
		const char *offer;
		unsigned len;
		bool ok;
	} cases[] = {
		{ "", 0, true }, { "\x04smtp", 5, true }, { "\x02h2\x04smtp", 8, true },
		{ "\x04smtp\x08http/1.1", 14, true }, { "\x02h2", 3, false }, { "\x02h2\x08http/1.1", 12, false },
		{ "\x05smtps", 6, false }, { "\x03smt", 4, false },
		{ "\x04imap", 5, false }
	};
	SSL_CTX *s = server("smtpd"), *c = client();

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const unsigned char *got;
		unsigned len;
		struct pair p;

		pair_make(&p, c, s);
		SSL_set_alpn_protos(p.c, (const unsigned char *)cases[i].offer, cases[i].len);
		if (pair_shake(&p) != cases[i].ok)
			fail_msg("case %zu", i);
		SSL_get0_alpn_selected(p.c, &got, &len);
		if (cases[i].ok && cases[i].len > 0) {
			assert_int_equal(len, 4);
			assert_memory_equal(got, "smtp", 4);
		}
		pair_free(&p);
	}
	SSL_CTX_free(s);
	SSL_CTX_free(c);
}

static void
resumption(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	SSL_CTX *s = server("smtpd"), *other = server("submissions");

	(void)state;
	for (int i = 0; i < 2; i++) {
		SSL_CTX *c = client();
		SSL_SESSION *first;
		struct pair p;

		SSL_CTX_set_max_proto_version(c, versions[i]);
		pair_make(&p, c, s);
		assert_true(pair_shake(&p));
		assert_false(SSL_session_reused(p.c));
		pair_free(&p);
		assert_non_null(kept);
		first = kept;
		SSL_SESSION_up_ref(first);
		pair_make(&p, c, s);
		SSL_set_session(p.c, first);
		assert_true(pair_shake(&p));
		assert_true(SSL_session_reused(p.c));
		pair_free(&p);
		/* Another context has other ticket keys: a full handshake, no failure. */
		pair_make(&p, c, other);
		SSL_set_session(p.c, first);
		assert_true(pair_shake(&p));
		assert_false(SSL_session_reused(p.c));
		pair_free(&p);
		assert_int_equal(SSL_CTX_sess_number(s), 0);
		assert_int_equal(SSL_CTX_sess_number(c), 0);
		SSL_SESSION_free(first);
		SSL_SESSION_free(kept);
		kept = NULL;
		SSL_CTX_free(c);
	}
	SSL_CTX_free(s);
	SSL_CTX_free(other);
}

static void
no_renegotiation(void **state)
{
	SSL_CTX *s = server("smtpd"), *c = client();
	struct pair p;
	char byte;
	int rc = 0;

	(void)state;
	SSL_CTX_set_max_proto_version(c, TLS1_2_VERSION);
	SSL_CTX_clear_options(c, SSL_OP_NO_RENEGOTIATION);
	pair_make(&p, c, s);
	assert_true(pair_shake(&p));
	assert_int_equal(SSL_renegotiate(p.c), 1);
	for (int i = 0; i < 5; i++) {
		rc = SSL_do_handshake(p.c);
		(void)SSL_read(p.s, &byte, 1);
	}
	assert_int_not_equal(rc, 1);
	assert_int_equal(SSL_num_renegotiations(p.s), 0);
	pair_free(&p);
	SSL_CTX_free(s);
	SSL_CTX_free(c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_key_types),
		cmocka_unit_test(bad_files),
		cmocka_unit_test(two_certificates),
		cmocka_unit_test(shared_tickets),
		cmocka_unit_test(tickets_sealed),
		cmocka_unit_test(protocol_versions),
		cmocka_unit_test(old_server),
		cmocka_unit_test(alpn),
		cmocka_unit_test(resumption),
		cmocka_unit_test(no_renegotiation),
	};
	int failed;

	log_init("tls-test", LOG_LVL_WARN);
	selfcert_make(&ec, false, NULL);
	selfcert_make(&rsa, true, NULL);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	selfcert_remove(&ec);
	selfcert_remove(&rsa);
	return failed;
}
