/* For tests of smtpd's sessions: a client that says lines and looks at the codes of what is answered. */
#ifndef UNIT_SMTPD_TALK_H
#define UNIT_SMTPD_TALK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <crypt.h>

#include "t/unit/smtpd_world.h"
#include "t/unit/until.h"

#define S(s) s, sizeof(s) - 1
#define N(a) (sizeof(a) / sizeof((a)[0]))
#define TX "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
#define TX_DSN \
	"MAIL FROM:<a@b.example> ENVID=q RET=HDRS\r\nRCPT TO:<c@d.example> NOTIFY=NEVER\r\nRCPT TO:<c@d.example>\r\n"
#define INSIDE "127.0.0.1"
#define OUTSIDE "192.0.2.1"

/* Codes of the replies so far, each once, then '|' if the session hung up: "220 250 354 250|". */
static inline void
codes(const struct world *x, char *out, size_t size)
{
	const char *p = x->out, *lf;
	size_t n = 0;

	for (; (lf = strchr(p, '\n')) != NULL && n < size - 6; p = lf + 1) {
		if (p[3] == '-')
			continue;
		n += (size_t)snprintf(out + n, size - n, "%s%.3s", n > 0 ? " " : "", p);
	}
	out[n] = '\0';
	if (x->is_closed)
		strcat(out, "|");
}

static inline void
client_send(struct world *x, const char *data, size_t len)
{
	ssize_t n;

	while (len > 0) {
		if ((n = write(x->fd, data, len)) > 0) {
			data += n;
			len -= (size_t)n;
		} else if (world_read(x) || n == 0) {
			return;
		}
		run_ms(x->loop, 0);
	}
}

static inline void
expect_codes(struct world *x, const char *what, const char *want)
{
	int64_t end = mono_ms() + 5000;
	char got[1024];

	do {
		run_ms(x->loop, 1);
		world_read(x);
		codes(x, got, sizeof got);
	} while (strcmp(got, want) != 0 && mono_ms() < end);
	/* And nothing more comes. */
	run_ms(x->loop, 2);
	world_read(x);
	codes(x, got, sizeof got);
	if (strcmp(got, want) != 0)
		print_error("case '%s': %s\n", what, x->out);
	assert_string_equal(got, want);
}

/* One exchange more. */
static inline void
talk(struct world *x, const char *send, const char *want)
{
	x->out_len = 0;
	client_send(x, send, strlen(send));
	expect_codes(x, send, want);
}

static inline void
trust(struct world *x)
{
	static struct cidr local = { .family = AF_INET, .addr = { 127 }, .bits = 8 };

	x->params.mynetworks.v = &local;
	x->params.mynetworks.n = 1;
}

static inline char *
hash_of(const char *password)
{
	struct crypt_data *d = calloc(1, sizeof *d);
	char *hash = strdup(crypt_r(password, "$6$rounds=1000$abcdefgh", d));

	free(d);
	return hash;
}

static inline struct passwd_file *
users(void)
{
	struct passwd_file *f = xcalloc(1, sizeof *f);

	f->v = xcalloc(2, sizeof *f->v);
	f->n = 2;
	f->v[0].user.name = xstrdup("acme");
	f->v[0].user.tenant = xstrdup("acme");
	f->v[0].user.domains = xstrdup("acme.example");
	f->v[0].user.return_path = RETURN_PATH_YES;
	f->v[0].hash = hash_of("secret");
	f->v[1].user.name = xstrdup("app");
	f->v[1].hash = hash_of("sesame");
	return f;
}

#define ACME_SECRET "AGFjbWUAc2VjcmV0"
#define APP_SESAME "AGFwcABzZXNhbWU="
#define APP_WRONG "AGFwcAB3cm9uZw=="
#define APP_WRONG2 "AGFwcAB3cm9uZzI="
#define APP_WRONG3 "AGFwcAB3cm9uZzM="

static inline void
auth_world(struct world *x)
{
	world_init(x, users());
	x->params.smtpd_tls_auth_only = false;
}

static inline void
auth_connect(struct world *x)
{
	world_connect_from(x, LISTEN_SUBMISSION, OUTSIDE);
	expect_codes(x, "banner", "220");
	talk(x, "EHLO x\r\n", "250");
}

#endif
