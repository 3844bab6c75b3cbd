/* Private keys of TLS in a role of their own: signatures of every kind through a key that has no private part, what the
 * role does not sign, and what a worker makes of a role that says nonsense, says nothing or has gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/xalloc.h"
#include "smtpd/key_client.h"
#include "smtpd/keyd.h"

#define KINDS 4
#define HEAD 12

static const struct {
	const char *name;
	size_t bits;   /* of RSA */
	const char *group;
} kinds[KINDS] = { { "RSA", 2048, NULL }, { "RSA", 2049, NULL }, { "EC", 0, "P-384" }, { "ED25519", 0, NULL } };

static char dir[] = "/tmp/posthorn-keys-XXXXXX";
static char *files[KINDS];
static EVP_PKEY *keys[KINDS];
static struct key_client *client;
static pid_t role;

static void
role_start(void)
{
	struct conf_strs list = { files, KINDS };
	struct keyd *d;
	struct loop *l;
	int pair[2];
	char *err;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	if ((role = fork()) == 0) {
		close(pair[0]);
		l = loop_new();
		d = keyd_new(l, &list, &err);
		if (d == NULL)
			_exit(1);
		keyd_set_worker(d, pair[1]);
		_exit(loop_run(l));
	}
	close(pair[1]);
	key_client_set_peer(client, pair[0]);
}

static void
role_end(void)
{
	kill(role, SIGKILL);
	assert_int_equal(waitpid(role, NULL, 0), role);
}

static int
make_keys(void **state)
{
	FILE *f;
	size_t i;

	(void)state;
	assert_non_null(mkdtemp(dir));
	for (i = 0; i < KINDS; i++) {
		keys[i] = kinds[i].bits > 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", kinds[i].bits) :
		    kinds[i].group != NULL ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", kinds[i].group) :
		    EVP_PKEY_Q_keygen(NULL, NULL, kinds[i].name);
		assert_non_null(keys[i]);
		files[i] = xasprintf("%s/%zu.key", dir, i);
		f = fopen(files[i], "we");
		assert_int_equal(PEM_write_PrivateKey(f, keys[i], NULL, NULL, 0, NULL, NULL), 1);
		fclose(f);
	}
	client = key_client_new();
	return 0;
}

static int
remove_keys(void **state)
{
	size_t i;

	(void)state;
	key_client_free(&client);
	for (i = 0; i < KINDS; i++) {
		unlink(files[i]);
		free(files[i]);
		EVP_PKEY_free(keys[i]);
	}
	rmdir(dir);
	return 0;
}

/* The key of a certificate of that kind, as the worker has it. */
static EVP_PKEY *
proxy_of(size_t kind, X509 **cert)
{
	unsigned char *der = NULL;
	const unsigned char *p;
	EVP_PKEY *public, *proxy;
	int n = i2d_PUBKEY(keys[kind], &der);

	p = der;
	public = d2i_PUBKEY(NULL, &p, n);
	OPENSSL_free(der);
	*cert = X509_new();
	assert_int_equal(X509_set_pubkey(*cert, public), 1);
	EVP_PKEY_free(public);
	proxy = key_proxy(*cert, client);
	assert_non_null(proxy);
	assert_int_equal(X509_check_private_key(*cert, proxy), 1);
	return proxy;
}

/* By the proxy, and verified with the real key. padding 0: as the kind is. */
static bool
signs(EVP_PKEY *proxy, EVP_PKEY *real, const EVP_MD *md, int padding)
{
	static const unsigned char text[] = "what is signed in a handshake";
	unsigned char sig[KEY_SIGNATURE_MAX];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new(), *check = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx, *vctx;
	size_t len = sizeof(sig);
	bool ok = EVP_DigestSignInit(ctx, &pctx, md, NULL, proxy) == 1 &&
	    EVP_DigestVerifyInit(check, &vctx, md, NULL, real) == 1;

	if (ok && padding != 0)
		ok = EVP_PKEY_CTX_set_rsa_padding(pctx, padding) == 1 &&
		    EVP_PKEY_CTX_set_rsa_padding(vctx, padding) == 1;
	if (ok && padding == RSA_PKCS1_PSS_PADDING)
		ok = EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) == 1;
	ok = ok && EVP_DigestSign(ctx, sig, &len, text, sizeof(text)) == 1 &&
	    EVP_DigestVerify(check, sig, len, text, sizeof(text)) == 1;
	EVP_MD_CTX_free(ctx);
	EVP_MD_CTX_free(check);
	return ok;
}

static void
test_signatures(void **state)
{
	const EVP_MD *mds[] = { EVP_sha256(), EVP_sha384(), EVP_sha512() };
	EVP_PKEY *proxy;
	X509 *cert;
	size_t i, m;
	int turn;

	(void)state;
	role_start();
	for (i = 0; i < KINDS; i++) {
		proxy = proxy_of(i, &cert);
		for (m = 0; m < 3; m++)
			for (turn = 0; turn < 5; turn++) {
				if (kinds[i].bits > 0) {
					assert_true(signs(proxy, keys[i], mds[m], RSA_PKCS1_PADDING));
					assert_true(signs(proxy, keys[i], mds[m], RSA_PKCS1_PSS_PADDING));
				} else {
					assert_true(signs(proxy, keys[i], kinds[i].group != NULL ? mds[m] : NULL, 0));
				}
			}
		EVP_PKEY_free(proxy);
		X509_free(cert);
	}
	role_end();
}

/* What a worker that was taken over could ask for. */
static void
test_refusals(void **state)
{
	static const uint8_t nobody[KEY_ID];
	uint8_t sig[KEY_SIGNATURE_MAX], data[300], id[KINDS][KEY_ID];
	unsigned char cipher[512];
	EVP_PKEY_CTX *ctx;
	size_t i, len = sizeof(cipher);

	(void)state;
	role_start();
	for (i = 0; i < KINDS; i++)
		assert_true(key_id(keys[i], id[i]));
	memset(data, 0x01, sizeof(data));
	assert_int_equal(key_client_sign(client, nobody, KEY_ECDSA, data, 32, sig), 0);
	/* A secret that was encrypted for the key is a number like any other. */
	ctx = EVP_PKEY_CTX_new(keys[0], NULL);
	assert_int_equal(EVP_PKEY_encrypt_init(ctx), 1);
	assert_int_equal(EVP_PKEY_encrypt(ctx, cipher, &len, data, 48), 1);
	EVP_PKEY_CTX_free(ctx);
	assert_int_equal(key_client_sign(client, id[0], KEY_RSA_PSS, cipher, len, sig), 0);
	cipher[0] = 0;
	cipher[len - 1] = 0xbc; /* nor does it become a message by its ends */
	assert_int_equal(key_client_sign(client, id[0], KEY_RSA_PSS, cipher, len, sig), 0);
	memset(data, 0, sizeof(data));
	data[255] = 0xbc;
	assert_int_equal(key_client_sign(client, id[0], KEY_RSA_PSS, data, 256, sig), 0);
	assert_int_equal(key_client_sign(client, id[0], KEY_RSA_PSS, data, 255, sig), 0);
	assert_int_equal(key_client_sign(client, id[0], KEY_RSA_PKCS1, data, 84, sig), 0);
	assert_int_equal(key_client_sign(client, id[0], KEY_ECDSA, data, 32, sig), 0);
	assert_int_equal(key_client_sign(client, id[2], KEY_RSA_PKCS1, data, 32, sig), 0);
	assert_int_equal(key_client_sign(client, id[2], KEY_ECDSA, data, 65, sig), 0);
	assert_int_equal(key_client_sign(client, id[2], KEY_ED25519, data, 32, sig), 0);
	assert_int_equal(key_client_sign(client, id[3], KEY_ECDSA, data, 32, sig), 0);
	/* None of that has cost it its life. */
	assert_int_not_equal(key_client_sign(client, id[2], KEY_ECDSA, data, 48, sig), 0);
	assert_true(key_client_is_there(client));
	role_end();
	assert_false(key_client_is_there(client));
	assert_int_equal(key_client_sign(client, id[2], KEY_ECDSA, data, 48, sig), 0);
}

/* A role that says `said` when it was asked. The length of the signature that the worker takes from it. */
static size_t
hears(const void *said, size_t len, bool and_goes)
{
	static const uint8_t id[KEY_ID], data[32];
	uint8_t sig[KEY_SIGNATURE_MAX], asked[256];
	int pair[2], status;
	size_t got;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	if ((pid = fork()) == 0) {
		close(pair[0]);
		if (read(pair[1], asked, sizeof(asked)) != HEAD + KEY_ID + 1 + 4 + 32 ||
		    write(pair[1], said, len) != (ssize_t)len)
			_exit(1);
		if (!and_goes)
			(void)!read(pair[1], asked, 1); /* until the worker lets go */
		_exit(0);
	}
	close(pair[1]);
	key_client_free(&client);
	client = key_client_new();
	key_client_set_peer(client, pair[0]);
	got = key_client_sign(client, id, KEY_ECDSA, data, sizeof(data), sig);
	if (len < HEAD || got > 0)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return got;
}

#define HEADER(len, type, id) 0, 0, 0, len, 0, type, 0, 0, 0, 0, 0, id
static void
test_nonsense(void **state)
{
	static const uint8_t good[] = { HEADER(6, KEY_ANSWER, 1), 0, 0, 0, 2, 'o', 'k' };
	static const uint8_t none[] = { HEADER(4, KEY_ANSWER, 1), 0, 0, 0, 0 };
	static const uint8_t other[] = { HEADER(6, KEY_ANSWER, 9), 0, 0, 0, 2, 'o', 'k' };
	static const uint8_t type[] = { HEADER(6, 7, 1), 0, 0, 0, 2, 'o', 'k' };
	static const uint8_t more[] = { HEADER(6, KEY_ANSWER, 1), 0, 0, 0, 2, 'o', 'k', 'x' };
	static const uint8_t lies[] = { HEADER(6, KEY_ANSWER, 1), 0, 0, 0, 9, 'o', 'k' };
	static const uint8_t huge[] = { 0x7f, 0, 0, 0, 0, KEY_ANSWER, 0, 0, 0, 0, 0, 1 };

	(void)state;
	assert_int_equal(hears(good, sizeof(good), false), 2);
	assert_int_equal(hears(none, sizeof(none), true), 0);
	assert_int_equal(hears(other, sizeof(other), false), 0);
	assert_false(key_client_is_there(client));
	assert_int_equal(hears(type, sizeof(type), false), 0);
	assert_false(key_client_is_there(client));
	assert_int_equal(hears(more, sizeof(more), false), 0);
	assert_false(key_client_is_there(client));
	assert_int_equal(hears(lies, sizeof(lies), false), 0);
	assert_false(key_client_is_there(client));
	assert_int_equal(hears(huge, sizeof(huge), false), 0);
	assert_false(key_client_is_there(client));
	assert_int_equal(hears(good, 7, true), 0); /* and it dies in the middle */
	assert_false(key_client_is_there(client));
}

/* Who has not answered yet is not asked again; the answer that comes late is nobody's. */
static void
test_late(void **state)
{
	static const uint8_t late[] = { HEADER(6, KEY_ANSWER, 1), 0, 0, 0, 2, 'n', 'o' };
	static const uint8_t id[KEY_ID], data[32];
	uint8_t sig[KEY_SIGNATURE_MAX], asked[1024];
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	key_client_free(&client);
	client = key_client_new();
	assert_false(key_client_is_there(client));
	key_client_set_peer(client, pair[0]);
	assert_true(key_client_is_there(client));
	assert_int_equal(key_client_sign(client, id, KEY_ECDSA, data, sizeof(data), sig), 0);
	assert_false(key_client_is_there(client));
	assert_int_equal(key_client_sign(client, id, KEY_ECDSA, data, sizeof(data), sig), 0);
	assert_int_equal(read(pair[1], asked, sizeof(asked)), HEAD + KEY_ID + 1 + 4 + 32);
	assert_int_equal(write(pair[1], late, sizeof(late)), sizeof(late));
	assert_true(key_client_is_there(client));
	assert_int_equal(key_client_sign(client, id, KEY_ECDSA, data, 0, sig), 0);
	close(pair[1]);
	assert_false(key_client_is_there(client));
}

/* Nor does one hold the worker that gives its answer octet by octet: the wait is for all of it. */
static void
test_drip(void **state)
{
	static const uint8_t good[] = { HEADER(6, KEY_ANSWER, 1), 0, 0, 0, 2, 'o', 'k' };
	static const uint8_t id[KEY_ID], data[32];
	uint8_t sig[KEY_SIGNATURE_MAX];
	int pair[2], status;
	size_t i;
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	if ((pid = fork()) == 0) {
		close(pair[0]);
		for (i = 0; i < sizeof(good) && write(pair[1], good + i, 1) == 1; i++)
			usleep(300000);
		_exit(0);
	}
	close(pair[1]);
	key_client_free(&client);
	client = key_client_new();
	key_client_set_peer(client, pair[0]);
	assert_int_equal(key_client_sign(client, id, KEY_ECDSA, data, sizeof(data), sig), 0);
	assert_false(key_client_is_there(client));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

static void
test_files(void **state)
{
	char *missing[] = { dir, NULL }, *err = NULL;
	struct conf_strs list = { missing, 1 };
	struct loop *l = loop_new();

	(void)state;
	assert_null(keyd_new(l, &list, &err));
	assert_non_null(strstr(err, dir));
	free(err);
	loop_free(&l);
}

int
main(void)
{
	cmocka_set_message_output(CM_OUTPUT_TAP);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_signatures),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_drip),
		cmocka_unit_test(test_files),
	};

	log_init("smtpd_keys", LOG_LVL_ERROR);
	return cmocka_run_group_tests(tests, make_keys, remove_keys);
}
