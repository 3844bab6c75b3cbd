/* A whole SMTP session of smtpd: the first byte says which listener, which client and whether the input comes in
 * pieces; the rest is what the client sends. Whatever it is: no crash, no leak of a transaction, and what reaches the
 * spool is a record that verifies and whose content has no line end but CRLF. */
#include <signal.h>

#include "base/log.h"
#include "t/fuzz/fuzz.h"
#include "t/fuzz/turn.h"
#include "t/unit/smtpd_world.h"

static struct world x;

static void
check_record(void)
{
	struct record rec;
	const char *err = NULL;
	char *text;
	size_t len;

	if (x.last.segment >= 64)
		return;
	FUZZ_ASSERT(record_verify(x.fds[x.last.segment], x.last.segment, x.last.offset, &rec, &err) == 1);
	FUZZ_ASSERT((text = record_read_content(x.fds[x.last.segment], &rec, &len, &err)) != NULL);
	FUZZ_ASSERT(memchr(text, '\0', len) == NULL && fuzz_is_crlf_only(text, len));
	free(text);
	FUZZ_ASSERT(x.env->n_rcpts > 0 && x.env->n_rcpts == rec.n_rcpts);
}

static void
feed(const uint8_t *p, size_t n)
{
	ssize_t sent;
	int i;

	for (i = 0; n > 0 && i < 1000; i++) {
		sent = write(x.fd, p, n);
		if (sent > 0) {
			p += sent;
			n -= (size_t)sent;
		}
		fuzz_turn(x.loop);
		if (world_read(&x))
			return;
		x.out_len = 0;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct cidr local = { .family = AF_INET, .addr = { 127 }, .bits = 8 };
	unsigned how, received = 0;
	size_t piece;
	int i;

	if (size < 2)
		return 0;
	signal(SIGPIPE, SIG_IGN);
	log_init("fuzz", LOG_LVL_ERROR);
	how = data[0];
	world_init(&x, NULL);
	x.w.has_users = true;
	x.params.smtpd_tls_auth_only = (how & 1) != 0;
	x.params.mynetworks.v = &local;
	x.params.mynetworks.n = 1;
	x.params.smtpd_authorized_xclient_hosts = x.params.mynetworks;
	x.params.smtpd_error_limit = x.params.smtpd_junk_command_limit = 100000;
	x.params.message_size_limit = 4096;
	x.params.header_size_limit = 1024;
	x.params.text_line_length_limit = 512;
	x.params.smtpd_bare_newline = (how & 2) != 0 ? BARE_NEWLINE_NORMALIZE : BARE_NEWLINE_REJECT;
	world_connect_from(&x, (how & 4) != 0 ? LISTEN_SUBMISSION : LISTEN_SMTPD, (how & 8) != 0 ? "192.0.2.1" :
	    "127.0.0.1");
	fuzz_turn(x.loop);
	fuzz_turn(x.loop);
	piece = (how & 16) != 0 ? (size_t)(how >> 5) + 1 : size;
	for (data++, size--; size > 0 && !x.is_closed; data += piece, size -= piece) {
		if (piece > size)
			piece = size;
		feed(data, piece);
		if (x.n_received != received)
			check_record();
		received = x.n_received;
	}
	shutdown(x.fd, SHUT_WR);
	for (i = 0; i < 1000 && !world_read(&x); i++) {
		x.out_len = 0;
		fuzz_turn(x.loop);
	}
	if (x.n_received != received)
		check_record();
	/* A client that has closed is not kept. */
	FUZZ_ASSERT(x.w.n_sessions == 0 || !x.is_closed);
	world_clear(&x);
	return 0;
}
