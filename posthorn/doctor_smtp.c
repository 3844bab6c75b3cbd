/* Whether bounces and letters to the postmaster of a sender domain arrive: its mail exchangers are asked up to RCPT, as
 * a receiver of its mail may ask them. What they say is a stranger's: bounded, and shown cleaned. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/xalloc.h"

#include "doctor.h"

#define CONNECT_MS 5000
#define REPLY_MS 15000
#define TRIES_MAX 3

struct talk {
	int fd;
	char reply[1024]; /* the last line of it */
	char problem[128];
};

static int
wait_for(int fd, short events, int64_t until)
{
	struct pollfd p = { fd, events, 0 };
	int64_t left;
	int n;

	do {
		left = until - mono_ms();
		n = poll(&p, 1, left > 0 ? (int)left : 0);
	} while (n == -1 && errno == EINTR);
	return n == 1 ? 0 : -1;
}

static int
talk_connect(struct talk *t, const char *address, uint16_t port)
{
	struct sockaddr_storage ss;
	socklen_t len, err_len = sizeof(int);
	int err = 0;

	if (sockaddr_parse(address, port, &ss, &len) == -1)
		return -1;
	t->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (t->fd == -1 || (connect(t->fd, (struct sockaddr *)&ss, len) == -1 && errno != EINPROGRESS))
		err = errno;
	else if (wait_for(t->fd, POLLOUT, mono_ms() + CONNECT_MS) == -1)
		err = ETIMEDOUT;
	else
		(void)getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &err, &err_len);
	if (err == 0)
		return 0;
	snprintf(t->problem, sizeof(t->problem), "%s port %u: %s", address, port, strerror(err));
	if (t->fd != -1)
		close(t->fd);
	return -1;
}

/* One octet at a time: a reply is short, and nothing is read that belongs to the next. */
static int
line_read(struct talk *t, int64_t until)
{
	size_t n = 0;
	ssize_t got;
	char c;

	for (;;) {
		got = recv(t->fd, &c, 1, 0);
		if (got == 1 && c == '\n')
			break;
		if (got == 1 && n + 1 < sizeof(t->reply) && c != '\r')
			t->reply[n++] = c;
		if (got == 0 || (got == -1 && errno != EAGAIN && errno != EINTR) ||
		    (got == -1 && wait_for(t->fd, POLLIN, until) == -1) || mono_ms() > until)
			return -1;
	}
	t->reply[n] = '\0';
	return 0;
}

/* The code of the answer to that, or of the banner (NULL); 0: none, or none that is understood. */
static int
talk_say(struct talk *t, const char *line)
{
	int64_t until = mono_ms() + REPLY_MS;
	long code;

	if (line != NULL && send(t->fd, line, strlen(line), MSG_NOSIGNAL) != (ssize_t)strlen(line))
		return 0;
	do {
		if (line_read(t, until) == -1) {
			snprintf(t->reply, sizeof(t->reply), "no answer");
			return 0;
		}
	} while (strlen(t->reply) > 3 && t->reply[3] == '-');
	code = strtol(t->reply, NULL, 10);
	return code >= 200 && code <= 599 ? (int)code : 0;
}

/* 2 to 5: the kind of the answer that ended it; 0: there was none. */
static int
talk_postmaster(struct talk *t, const struct doctor *d)
{
	char *helo = xasprintf("EHLO %s\r\n", d->params->myhostname);
	char *rcpt = xasprintf("RCPT TO:<postmaster@%s>\r\n", d->domain->name);
	const char *const lines[] = { NULL, helo, "MAIL FROM:<>\r\n", rcpt };
	int code = 200;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]) && code / 100 == 2; i++)
		code = talk_say(t, lines[i]);
	(void)send(t->fd, "QUIT\r\n", 6, MSG_NOSIGNAL);
	close(t->fd);
	free(helo);
	free(rcpt);
	return code / 100;
}

/* Connects to the addresses of a host until one answers. */
static int
host_connect(struct doctor *d, struct talk *t, const char *host, unsigned *tries)
{
	static const uint16_t types[] = { DNS_TYPE_A, DNS_TYPE_AAAA };
	const struct dns_reply *r;

	for (size_t k = 0; k < 2; k++) {
		r = doctor_ask(d, host, types[k]);
		for (unsigned i = 0; i < r->n_records && *tries < TRIES_MAX; i++, ++*tries)
			if (talk_connect(t, r->records[i].text, (uint16_t)d->params->smtp_port) == 0)
				return 0;
	}
	return -1;
}

static int
pref_cmp(const void *a, const void *b)
{
	const struct dns_record *x = a, *y = b;

	return (x->pref > y->pref) - (x->pref < y->pref);
}

void
doctor_postmaster(struct doctor *d)
{
	const struct dns_reply *r = doctor_ask(d, d->domain->name, DNS_TYPE_MX);
	struct dns_record hosts[DNS_RECORDS_MAX];
	struct talk t = { .fd = -1 };
	unsigned i, tries = 0;
	int kind;

	if (r->n_records == 0)
		return; /* the check of MX has said so */
	memcpy(hosts, r->records, r->n_records * sizeof(hosts[0]));
	qsort(hosts, r->n_records, sizeof(hosts[0]), pref_cmp);
	for (i = 0; i < r->n_records && host_connect(d, &t, hosts[i].text, &tries) == -1; i++)
		;
	if (i == r->n_records) {
		if (tries > 0)
			doctor_say(d, DOCTOR_WARNING, NULL, "its MX hosts cannot be reached from here (%s): bounces "
			    "are lost, or port %u is closed on the way out of here", t.problem,
			    (unsigned)d->params->smtp_port);
		return;
	}
	kind = talk_postmaster(&t, d);
	if (kind == 2)
		doctor_say(d, DOCTOR_OK, NULL, "%.100s takes bounces for postmaster@%s", hosts[i].text,
		    d->domain->name);
	else if (kind == 5)
		doctor_say(d, DOCTOR_FAILURE, NULL, "%.100s refuses bounces for postmaster@%s, where providers write "
		    "to: %.200s", hosts[i].text, d->domain->name, t.reply);
	else
		doctor_say(d, DOCTOR_WARNING, NULL, "whether %.100s takes bounces for postmaster@%s is not known: "
		    "%.200s", hosts[i].text, d->domain->name, t.reply);
}
