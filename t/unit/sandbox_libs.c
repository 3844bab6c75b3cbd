/* The libraries that roles use must live in the sandbox: TLS handshakes, Lua, LMDB commits, libunbound questions,
 * the event loop, crypt(3). Each case prepares what a role prepares before it enters, and goes on inside in kill
 * mode. (Without a filter, in a sanitizer build, the same code runs and proves less.) */
#include <sys/socket.h>
#include <sys/wait.h>

#include <arpa/inet.h>
#include <crypt.h>
#include <errno.h>
#include <lauxlib.h>
#include <lmdb.h>
#include <lualib.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unbound.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/sandbox.h"

#define CHECK(cond)                                                                   \
	do {                                                                          \
		if (!(cond)) {                                                        \
			log_error("%s:%d: %s", __FILE__, __LINE__, #cond);            \
			_exit(2);                                                     \
		}                                                                     \
	} while (0)

static void
enter(unsigned allow)
{
	struct sandbox sb = { .role = "libs", .user = "nobody", .mode = SANDBOX_REQUIRED, .allow = allow };

	sandbox_enter(&sb);
}

static void
in_child(void (*fn)(void))
{
	int status;
	pid_t pid;

	fflush(NULL);
	if ((pid = fork()) == 0) {
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status != 0)
		fail_msg("wait status 0x%x", (unsigned)status);
}

static void
self_sign(SSL_CTX *ctx, EVP_PKEY *key)
{
	X509 *cert = X509_new();

	CHECK(cert != NULL && X509_set_version(cert, 2) == 1);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)"localhost",
	    -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	CHECK(X509_set_pubkey(cert, key) == 1 && X509_sign(cert, key, EVP_sha256()) > 0);
	CHECK(SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1);
	X509_free(cert);
}

/* One handshake through memory, with a message each way. */
static void
handshake(SSL_CTX *server_ctx, SSL_CTX *client_ctx)
{
	SSL *server = SSL_new(server_ctx), *client = SSL_new(client_ctx);
	BIO *a, *b;
	char buf[16];

	CHECK(server != NULL && client != NULL && BIO_new_bio_pair(&a, 65536, &b, 65536) == 1);
	SSL_set_bio(server, a, a);
	SSL_set_bio(client, b, b);
	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	for (int i = 0; i < 20 && !(SSL_is_init_finished(server) && SSL_is_init_finished(client)); i++) {
		SSL_do_handshake(client);
		SSL_do_handshake(server);
	}
	CHECK(SSL_is_init_finished(server) && SSL_is_init_finished(client));
	CHECK(SSL_write(client, "hello", 5) == 5 && SSL_read(server, buf, sizeof(buf)) == 5 && memcmp(buf, "hello",
	    5) == 0);
	CHECK(SSL_write(server, "world", 5) == 5 && SSL_read(client, buf, sizeof(buf)) == 5);
	SSL_free(server);
	SSL_free(client);
}

static void
child_openssl(void)
{
	SSL_CTX *server = SSL_CTX_new(TLS_server_method()), *client = SSL_CTX_new(TLS_client_method());
	EVP_PKEY *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
	EVP_PKEY *ec = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	unsigned char random[32];

	CHECK(server != NULL && client != NULL && rsa != NULL && ec != NULL);
	self_sign(server, rsa);
	self_sign(server, ec);
	enter(0);
	for (int i = 0; i < 10; i++)
		handshake(server, client);
	CHECK(SSL_CTX_set_max_proto_version(client, TLS1_2_VERSION) == 1);
	handshake(server, client);
	CHECK(SSL_CTX_set_cipher_list(client, "ECDHE-RSA-AES256-GCM-SHA384") == 1);
	handshake(server, client);
	CHECK(RAND_bytes(random, sizeof(random)) == 1);
	SSL_CTX_free(server);
	SSL_CTX_free(client);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(ec);
}

static void
test_openssl(void **state)
{
	(void)state;
	in_child(child_openssl);
}

static void
child_lua(void)
{
	static const char code[] = "local t = {}; for i = 1, 200000 do t[i] = ('%d'):format(i):rep(3) end\n"
				   "assert(#table.concat(t) > 1000000 and string.find(t[77], '^7+$'))\n"
				   "assert(os.time() > 1700000000 and os.clock() >= 0 and os.date('!%Y') ~= '')\n"
				   "assert(os.date('%Y') ~= '' and not io.open('/etc/passwd'))\n"
				   "assert(not pcall(error, 'x')); collectgarbage(); return 1";
	lua_State *lua;

	enter(0);
	CHECK((lua = luaL_newstate()) != NULL);
	luaL_openlibs(lua);
	if (luaL_dostring(lua, code) != LUA_OK) {
		log_error("%s", lua_tostring(lua, -1));
		_exit(3);
	}
	lua_close(lua);
}

static void
test_lua(void **state)
{
	(void)state;
	in_child(child_lua);
}

static void
lmdb_write(MDB_env *env, unsigned round)
{
	char value[512] = { 0 };
	MDB_txn *txn;
	MDB_dbi dbi;

	CHECK(mdb_txn_begin(env, NULL, 0, &txn) == 0 && mdb_dbi_open(txn, NULL, 0, &dbi) == 0);
	for (unsigned i = 0; i < 500; i++) {
		unsigned id = round * 500 + i;
		MDB_val k = { sizeof(id), &id }, v = { sizeof(value), value };

		CHECK(mdb_put(txn, dbi, &k, &v, 0) == 0);
	}
	CHECK(mdb_txn_commit(txn) == 0);
}

static void
child_lmdb(void)
{
	char dir[] = "/tmp/posthorn-lmdb-XXXXXX";
	MDB_env *env;
	int dead;

	CHECK(mkdtemp(dir) != NULL && mdb_env_create(&env) == 0 && mdb_env_set_mapsize(env, 1 << 22) == 0);
	CHECK(mdb_env_open(env, dir, 0, 0600) == 0);
	/* The names are not needed any more; nor is there one to clean up if this child is killed. */
	CHECK(chdir(dir) == 0 && unlink("data.mdb") == 0 && unlink("lock.mdb") == 0 && chdir("/") == 0 &&
	    rmdir(dir) == 0);
	enter(SB_FSYNC);
	for (unsigned round = 0; round < 4; round++)
		lmdb_write(env, round);
	CHECK(mdb_env_set_mapsize(env, 1 << 25) == 0);
	for (unsigned round = 4; round < 20; round++)
		lmdb_write(env, round);
	CHECK(mdb_reader_check(env, &dead) == 0 && mdb_env_sync(env, 1) == 0);
	mdb_env_close(env);
}

static void
test_lmdb(void **state)
{
	(void)state;
	in_child(child_lmdb);
}

/* Answers one question after another with NXDOMAIN, for the child's parent. */
static pid_t
name_server(uint16_t *port_r)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	uint8_t q[512];
	ssize_t n;
	pid_t pid;

	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	*port_r = ntohs(sin.sin_port);
	if ((pid = fork()) == 0) {
		alarm(30);
		while ((n = recvfrom(fd, q, sizeof(q), 0, (struct sockaddr *)&sin, &len)) >= 12) {
			q[2] |= 0x80;
			q[3] = 0x83;
			memset(q + 6, 0, 6); /* no records, no EDNS */
			for (ssize_t at = 12; at < n; at += q[at] + 1)
				if (q[at] == 0) {
					n = at + 5;
					break;
				}
			sendto(fd, q, (size_t)n, 0, (struct sockaddr *)&sin, len);
		}
		_exit(0);
	}
	close(fd);
	return pid;
}

static uint16_t dns_port;

static void
on_answer(void *arg, int err, struct ub_result *r)
{
	*(int *)arg = err != 0 ? -1 : r->nxdomain ? 1 : 2;
	ub_resolve_free(r);
}

/* threads: libunbound's own worker, else all in the caller. */
static void
unbound_questions(bool threads)
{
	struct ub_ctx *ctx = ub_ctx_create();
	struct ub_result *r;
	char where[64], name[64];
	int answer = 0, id;

	CHECK(ctx != NULL);
	snprintf(where, sizeof(where), "127.0.0.1@%u", dns_port);
	CHECK(ub_ctx_set_fwd(ctx, where) == 0 && ub_ctx_set_option(ctx, "do-not-query-localhost:", "no") == 0);
	CHECK(ub_ctx_async(ctx, 1) == 0);
	enter(threads ? SB_UDP | SB_THREADS : SB_UDP);
	if (!threads) {
		CHECK(ub_resolve(ctx, "a.invalid-name.example", 15, 1, &r) == 0 && r->nxdomain);
		ub_resolve_free(r);
		CHECK(ub_resolve(ctx, "b.invalid-name.example", 28, 1, &r) == 0 && r->nxdomain);
		ub_resolve_free(r);
		return;
	}
	for (int i = 0; i < 5; i++) {
		answer = 0;
		snprintf(name, sizeof(name), "n%d.example", i);
		CHECK(ub_resolve_async(ctx, name, 15, 1, &answer, on_answer, &id) == 0);
		CHECK(ub_wait(ctx) == 0 && answer == 1);
	}
	ub_ctx_delete(ctx);
}

static void
child_unbound(void)
{
	unbound_questions(false);
}

static void
child_unbound_threads(void)
{
	unbound_questions(true);
}

static void
test_unbound(void **state)
{
	pid_t server = name_server(&dns_port);

	(void)state;
	in_child(child_unbound);
	in_child(child_unbound_threads);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
}

static void
stop_it(void *arg)
{
	loop_stop(arg);
}

static void
nothing(void *arg)
{
	(void)arg;
}

static void
loop_for_a_while(struct loop *l)
{
	struct timer t;

	timer_init(&t, l, stop_it, l);
	timer_set(&t, 20);
	CHECK(loop_run(l) == 0);
	timer_cancel(&t);
}

/* The loop made before or, as it also works, inside. */
static void
child_loop(void)
{
	struct loop *l = loop_new(), *inner;

	loop_signal(l, SIGHUP, nothing, NULL);
	enter(SB_FD_PASS);
	loop_watchdog(l, 5);
	raise(SIGHUP);
	loop_for_a_while(l);
	loop_free(&l);
	inner = loop_new();
	loop_signal(inner, SIGTERM, nothing, NULL);
	loop_for_a_while(inner);
	loop_free(&inner);
}

static void
test_loop(void **state)
{
	(void)state;
	in_child(child_loop);
}

static void
child_crypt(void)
{
	struct crypt_data data = { 0 };
	const char *made;
	char hash[CRYPT_OUTPUT_SIZE];

	enter(0);
	made = crypt_r("secret", "$y$j9T$abcdefghijklmnop$", &data);
	CHECK(made != NULL && made[0] == '$');
	snprintf(hash, sizeof(hash), "%s", made);
	memset(&data, 0, sizeof(data));
	made = crypt_r("secret", hash, &data);
	CHECK(made != NULL && strcmp(made, hash) == 0);
	made = crypt_r("secret", "$6$rounds=5000$abcdefgh$", &data);
	CHECK(made != NULL && strncmp(made, "$6$", 3) == 0);
}

static void
test_crypt(void **state)
{
	(void)state;
	in_child(child_crypt);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_openssl),
		cmocka_unit_test(test_lua),
		cmocka_unit_test(test_lmdb),
		cmocka_unit_test(test_unbound),
		cmocka_unit_test(test_loop),
		cmocka_unit_test(test_crypt),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
