/* What a full TLS handshake takes of the server when the private key is its own, and when a key role holds it: the same
 * handshakes over memory, one way and the other in turn. Only the server's side counts, and all of the role's.
 *
 *   handshake [-n handshakes] [-r rounds]
 *
 * One JSON line a round and kind of key: processor time (us) and time that passes (us) of a handshake. */
#include <sys/socket.h>
#include <sys/wait.h>

#include <err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/tls.h"
#include "base/xalloc.h"
#include "smtpd/key_client.h"
#include "smtpd/keyd.h"

struct side {
	SSL_CTX *ctx;
	double cpu_us, wall_us;
};

static char dir[] = "/tmp/posthorn-handshake-XXXXXX";
static clockid_t role_clock;
static pid_t role;

static double
us(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts) == -1)
		err(1, "clock_gettime");
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* A self-signed certificate and its key, as files. */
static void
make(const char *kind, char *cert, char *key)
{
	EVP_PKEY *k = strcmp(kind, "RSA-2048") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048) :
	    EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	X509 *x = X509_new();
	FILE *f;

	if (k == NULL || x == NULL)
		errx(1, "no key");
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_set_pubkey(x, k);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
	    (const unsigned char *)"mx.example", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_sign(x, k, EVP_sha256());
	if ((f = fopen(cert, "we")) == NULL || PEM_write_X509(f, x) != 1 || fclose(f) != 0)
		err(1, "%s", cert);
	if ((f = fopen(key, "we")) == NULL || PEM_write_PrivateKey(f, k, NULL, NULL, 0, NULL, NULL) != 1 ||
	    fclose(f) != 0)
		err(1, "%s", key);
	X509_free(x);
	EVP_PKEY_free(k);
}

static void
role_start(struct key_client *client, const struct conf_strs *keys)
{
	struct keyd *d;
	struct loop *l;
	int pair[2];
	char *why;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == -1)
		err(1, "socketpair");
	if ((role = fork()) == 0) {
		close(pair[0]);
		l = loop_new();
		if ((d = keyd_new(l, keys, &why)) == NULL)
			errx(1, "%s", why);
		keyd_set_worker(d, pair[1]);
		loop_run(l);
		_exit(0);
	}
	close(pair[1]);
	key_client_set_peer(client, pair[0]);
	if (clock_getcpuclockid(role, &role_clock) != 0)
		errx(1, "no clock");
}

static void
handshake(struct side *s, SSL_CTX *client_ctx)
{
	SSL *server = SSL_new(s->ctx), *client = SSL_new(client_ctx);
	BIO *a, *b;
	double cpu, wall;
	int done = 0, i;

	if (server == NULL || client == NULL || BIO_new_bio_pair(&a, 32768, &b, 32768) != 1)
		errx(1, "no memory");
	SSL_set_bio(server, a, a);
	SSL_set_bio(client, b, b);
	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	for (i = 0; i < 20 && done != 1; i++) {
		int c = SSL_do_handshake(client);

		cpu = us(CLOCK_PROCESS_CPUTIME_ID);
		wall = us(CLOCK_MONOTONIC);
		done = SSL_do_handshake(server) == 1 && c == 1;
		s->cpu_us += us(CLOCK_PROCESS_CPUTIME_ID) - cpu;
		s->wall_us += us(CLOCK_MONOTONIC) - wall;
	}
	if (done != 1)
		errx(1, "the handshake failed");
	SSL_free(server);
	SSL_free(client);
}

static void
round_of(struct side *s, SSL_CTX *client_ctx, unsigned n, bool is_role)
{
	double before = is_role ? us(role_clock) : 0;
	unsigned i;

	s->cpu_us = s->wall_us = 0;
	for (i = 0; i < n; i++)
		handshake(s, client_ctx);
	if (is_role)
		s->cpu_us += us(role_clock) - before;
	s->cpu_us /= n;
	s->wall_us /= n;
}

static void
measure(const char *kind, unsigned n, unsigned rounds)
{
	char *cert = xasprintf("%s/cert", dir), *key = xasprintf("%s/key", dir), *why = NULL;
	struct conf_strs certs = { &cert, 1 }, keys = { &key, 1 };
	struct key_client *client = key_client_new();
	SSL_CTX *client_ctx = tls_client_ctx(&why);
	struct side own = { 0 }, with_role = { 0 };
	unsigned r;

	make(kind, cert, key);
	role_start(client, &keys);
	own.ctx = tls_server_ctx(cert, key, "bench", &why);
	with_role.ctx = tls_server_ctx_by(&certs, key_proxy, client, "bench", &why);
	if (client_ctx == NULL || own.ctx == NULL || with_role.ctx == NULL)
		errx(1, "%s", why);
	handshake(&own, client_ctx);
	handshake(&with_role, client_ctx);
	for (r = 0; r < rounds; r++) {
		round_of(&own, client_ctx, n, false);
		round_of(&with_role, client_ctx, n, true);
		printf("{\"kind\":\"%s\",\"own_cpu_us\":%.1f,\"role_cpu_us\":%.1f,\"own_us\":%.1f,"
		    "\"role_us\":%.1f}\n", kind, own.cpu_us, with_role.cpu_us, own.wall_us, with_role.wall_us);
		fflush(stdout);
	}
	SSL_CTX_free(own.ctx);
	SSL_CTX_free(with_role.ctx);
	SSL_CTX_free(client_ctx);
	key_client_free(&client);
	kill(role, SIGTERM);
	waitpid(role, NULL, 0);
	unlink(cert);
	unlink(key);
	free(cert);
	free(key);
}

int
main(int argc, char **argv)
{
	unsigned n = 500, rounds = 5;
	int ch;

	while ((ch = getopt(argc, argv, "n:r:")) != -1) {
		if (ch == 'n')
			n = (unsigned)strtoul(optarg, NULL, 10);
		else if (ch == 'r')
			rounds = (unsigned)strtoul(optarg, NULL, 10);
		else
			return 2;
	}
	log_init("handshake", LOG_LVL_ERROR);
	if (n == 0 || mkdtemp(dir) == NULL)
		err(1, "%s", dir);
	measure("RSA-2048", n, rounds);
	measure("P-256", n, rounds);
	rmdir(dir);
	return 0;
}
