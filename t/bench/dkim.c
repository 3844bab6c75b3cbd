/* What a DKIM signature of RSA-2048 costs, in processor time, against OpenSSL's bare sign in the same process at the
 * same time: of a message of 4 KB by the library alone, and by smtpd's way over a role of its own, which holds the key.
 * For t/bench/parts/dkim.pl. Prints one line of JSON a round.
 *
 *   dkim [-n signatures] [-r rounds] [-s size] */
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/dkim_key.h"

#include "smtpd/sign.h"
#include "smtpd/signd.h"

#define WINDOW 16 /* messages that are signed at a time: sessions at end of data */

static const char head[] =
    "Received: from client.example ([192.0.2.1])\r\n\tby mail.example (Posthorn) with ESMTP\r\n"
    "\tid 01a21841c31b00000ce041b63d5aa6b9\r\n\tfor <someone@example.net>;\r\n\tThu, 26 Nov 2026 14:28:12 +0000\r\n"
    "From: The Shop <news@shop.example>\r\nTo: Someone <someone@example.net>\r\nSubject: What is new in November\r\n"
    "Date: Thu, 26 Nov 2026 14:28:12 +0000\r\nMessage-ID: <AQEBohhBwxsAAAzgQbY9Wqa5AAAbiqnTDdSZHk0h@mail.example>\r\n"
    "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n"
    "List-Unsubscribe: <https://shop.example/unsubscribe/0123456789>\r\n"
    "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nFeedback-ID: november:shop:promotional:posthorn\r\n\r\n";

struct run {
	struct loop *loop;
	struct sign_client *client;
	struct dkim_signer *signer;
	struct wbuf body;
	struct job {
		struct run *run;
		struct message m;
		struct envelope env;
		struct signing *signing;
	} jobs[WINDOW];
	size_t window, left, open;
};

static double
seconds_of(const struct rusage *u)
{
	return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) +
	    (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e6;
}

/* Of this process and the children that were waited for. */
static double
cpu(void)
{
	struct rusage self, children;

	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &children);
	return seconds_of(&self) + seconds_of(&children);
}

static double
raw_us(struct dkim_key *k, size_t n)
{
	uint8_t hash[DKIM_HASH] = { 0 }, sig[DKIM_SIGNATURE_MAX];
	double start = cpu();
	size_t i;

	for (i = 0; i < n; i++) {
		memcpy(hash, &i, sizeof(i));
		if (dkim_key_sign(k, hash, sig) == 0)
			fatal("sign");
	}
	return (cpu() - start) * 1e6 / (double)n;
}

static double
library_us(struct dkim_key *k, const struct run *r, size_t n)
{
	uint8_t body[DKIM_HASH], hash[DKIM_HASH], sig[DKIM_SIGNATURE_MAX];
	double start = cpu();
	struct dkim_body *b;
	struct wbuf field;
	size_t i;

	wbuf_init(&field);
	for (i = 0; i < n; i++) {
		wbuf_reset(&field);
		b = dkim_body_new(DKIM_RELAXED);
		dkim_body_update(b, r->body.p, r->body.len);
		dkim_body_final(&b, body);
		if (dkim_field_begin(r->signer, DKIM_RSA, "bench", head, strlen(head), body, (int64_t)i, &field,
		    hash) == -1)
			fatal("field");
		dkim_field_end(&field, sig, dkim_key_sign(k, hash, sig));
	}
	wbuf_clear(&field);
	return (cpu() - start) * 1e6 / (double)n;
}

static void next(struct job *);

static void
on_signed(const char *line, void *arg)
{
	struct job *j = arg;

	if (line != NULL)
		fatal("%s", line);
	sign_free(&j->signing);
	wbuf_clear(&j->m.head);
	j->run->open--;
	next(j);
}

static void
next(struct job *j)
{
	struct run *r = j->run;
	struct dkim_signer *s[1];
	struct sign_bodies bodies = { { NULL, NULL } };

	if (r->left == 0) {
		if (r->open == 0)
			loop_stop(r->loop);
		return;
	}
	r->left--;
	r->open++;
	j->m.envelope = &j->env;
	j->env.received = (int64_t)r->left * 1000;
	j->m.body = r->body;
	wbuf_init(&j->m.head);
	wbuf_raw(&j->m.head, head, strlen(head));
	s[0] = dkim_signer_ref(r->signer);
	if ((j->signing = sign_begin(r->client, &j->m, s, 1, NULL, &bodies, on_signed, j)) == NULL)
		fatal("sign_begin");
}

static void
begin(void *arg)
{
	struct run *r = arg;
	size_t i;

	for (i = 0; i < r->window; i++) {
		r->jobs[i].run = r;
		next(&r->jobs[i]);
	}
}

static _Noreturn void
role_run(const char *dir, int fd)
{
	struct loop *loop = loop_new();
	struct signd *d = signd_new(loop, dir);

	log_set_level(LOG_LVL_ERROR);
	signd_set_worker(d, fd);
	loop_run(loop); /* until it is killed */
	_exit(0);
}

static double
role_us(struct run *r, const char *dir, size_t n, size_t window)
{
	double start = cpu();
	struct timer first;
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == -1 || (pid = fork()) == -1)
		fatal("cannot make a role: %m");
	if (pid == 0) {
		close(fds[0]);
		role_run(dir, fds[1]);
	}
	close(fds[1]);
	r->loop = loop_new();
	r->client = sign_client_new(r->loop);
	sign_client_set_peer(r->client, fds[0]);
	r->left = n;
	r->window = window;
	timer_init(&first, r->loop, begin, r);
	timer_set(&first, 0);
	loop_run(r->loop);
	timer_cancel(&first);
	sign_client_free(&r->client);
	loop_free(&r->loop);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return (cpu() - start) * 1e6 / (double)n;
}

static void
body_make(struct wbuf *w, size_t size)
{
	static const char line[] = "<p>A line of a newsletter, with two  spaces, as long as most are.</p>\r\n";

	wbuf_init(w);
	while (w->len < size)
		wbuf_raw(w, line, strlen(line));
	w->len = size;
}

/* A key of its own in a directory of its own; where it is. */
static char *
key_make(char *dir, struct dkim_key **key_r)
{
	char *path;
	FILE *f;

	if (mkdtemp(dir) == NULL)
		fatal("%s: %m", dir);
	path = xasprintf("%s/bench.key", dir);
	if ((f = fopen(path, "w")) == NULL)
		fatal("%s: %m", path);
	fchmod(fileno(f), 0600);
	if ((*key_r = dkim_key_generate(DKIM_RSA, 2048)) == NULL || dkim_key_write(*key_r, f) == -1)
		fatal("no key");
	fclose(f);
	return path;
}

int
main(int argc, char **argv)
{
	char dir[] = "/tmp/posthorn-bench-dkim-XXXXXX", *path;
	size_t n = 2000, rounds = 5, size = 4000, i;
	double raw, library, role, alone;
	struct run r = { .signer = dkim_signer_new() };
	struct dkim_key *key;
	int c;

	while ((c = getopt(argc, argv, "n:r:s:")) != -1) {
		if (c == 'n')
			n = strtoul(optarg, NULL, 10);
		else if (c == 'r')
			rounds = strtoul(optarg, NULL, 10);
		else if (c == 's')
			size = strtoul(optarg, NULL, 10);
		else
			return 2;
	}
	log_init("dkim", LOG_LVL_WARN);
	path = key_make(dir, &key);
	r.signer->domain = xstrdup("shop.example");
	r.signer->selector = xstrdup("bench");
	r.signer->key = xstrdup(path);
	body_make(&r.body, size);
	(void)raw_us(key, n / 10);
	for (i = 0; i < rounds; i++) {
		raw = raw_us(key, n);
		library = library_us(key, &r, n);
		role = role_us(&r, dir, n, WINDOW);
		alone = role_us(&r, dir, n, 1);
		printf("{\"raw_us\":%.1f,\"library_us\":%.1f,\"role_us\":%.1f,\"role_alone_us\":%.1f}\n", raw, library,
		    role, alone);
		fflush(stdout);
	}
	unlink(path);
	rmdir(dir);
	free(path);
	wbuf_clear(&r.body);
	dkim_key_free(&key);
	dkim_signer_unref(&r.signer);
	return 0;
}
