/* By which names a server may be known where TLSA records name its issuer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/x509_vfy.h>

#include "base/tls.h"
#include "deliverd/tls_need.h"

#define UNUSED __attribute__((unused))

static const struct row {
	const char *host, *domain;
	bool is_taken; /* the domain, beside the host's name */
} rows[] = {
	{ "mx.example.com", "example.com", true },
	{ "mx.Example.com", "example.COM", true },
	{ "a.b.example.com", "example.com", true },
	{ "example.com", "example.com", false }, /* is there already */
	/* the host's owner says nothing of these, and connections to it are for the mail of others too */
	{ "mx.example.com", "evil.example", false },
	{ "mx.example.com", "ample.com", false },
	{ "mx.example.com", "other.mx.example.com", false },
	{ "mx.example.com", "", false },
};

static void
test_names(void **state UNUSED)
{
	uint8_t digest[32] = { 1 };
	struct mx_tlsa ta = { 2, 0, 1, sizeof(digest), digest };
	struct tls_need need = { .by = TLS_BY_DANE };
	char *err, name[64], end[] = "end.example.net";
	SSL_CTX *ctx = tls_client_ctx(&err);
	struct mx_host host;
	const char *second;
	SSL *ssl;
	size_t i;

	assert_non_null(ctx);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		strcpy(name, rows[i].host);
		host = (struct mx_host){ .name = name, .dane = MX_DANE_RECORDS, .n_tlsa = 1, .tlsa = &ta };
		ssl = SSL_new(ctx);
		assert_int_equal(tls_need_expect(&need, &host, rows[i].domain, ssl), 0);
		assert_string_equal(X509_VERIFY_PARAM_get0_host(SSL_get0_param(ssl), 0), rows[i].host);
		second = X509_VERIFY_PARAM_get0_host(SSL_get0_param(ssl), 1);
		if (rows[i].is_taken ? second == NULL || strcmp(second, rows[i].domain) != 0 : second != NULL)
			fail_msg("%s for %s: %s", rows[i].host, rows[i].domain, second != NULL ? second : "no more");
		SSL_free(ssl);
	}
	/* Records at the end of a CNAME: that is the server's name then, in the handshake and in its certificate; by
	 * its own name it is known otherwise. */
	host.tlsa_base = end;
	ssl = SSL_new(ctx);
	assert_int_equal(tls_need_expect(&need, &host, "", ssl), 0);
	assert_string_equal(X509_VERIFY_PARAM_get0_host(SSL_get0_param(ssl), 0), end);
	assert_string_equal(tls_need_name(&need, &host), end);
	SSL_free(ssl);
	need.by = TLS_BY_CERTIFICATE;
	assert_string_equal(tls_need_name(&need, &host), host.name);
	SSL_CTX_free(ctx);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_names) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
