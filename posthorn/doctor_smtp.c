/* What is found out by talking SMTP. Whether bounces and letters to the postmaster of a sender domain arrive: its mail
 * exchangers are asked up to RCPT, as a receiver of its mail may ask them. Whether a source reaches the port at all.
 * What servers say is a stranger's: bounded, and shown cleaned. */
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

/* from: NULL, or the source whose address it leaves from; servers of another family are passed over. */
static int
talk_connect(struct talk *t, const char *address, uint16_t port, const struct doctor_source *from)
{
	struct sockaddr_storage ss;
	socklen_t len, err_len = sizeof(int);
	int err = 0;

	if (sockaddr_parse(address, port, &ss, &len) == -1)
		return -1;
	t->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (t->fd == -1 || (from != NULL && from->sa_len > 0 &&
	    bind(t->fd, (const struct sockaddr *)&from->sa, from->sa_len) == -1) ||
	    (connect(t->fd, (struct sockaddr *)&ss, len) == -1 && errno != EINPROGRESS))
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

/* Connects to the addresses of a host until one answers; from: as above. */
static int
host_connect(struct doctor *d, struct talk *t, const char *host, const struct doctor_source *from, unsigned *tries)
{
	static const uint16_t types[] = { DNS_TYPE_A, DNS_TYPE_AAAA };
	const struct dns_reply *r;

	for (size_t k = 0; k < 2; k++) {
		if (from != NULL && from->sa_len > 0 && (from->sa.ss_family == AF_INET6) != (k == 1))
			continue;
		r = doctor_ask(d, host, types[k]);
		for (unsigned i = 0; i < r->n_records && *tries < TRIES_MAX; i++, ++*tries)
			if (talk_connect(t, r->records[i].text, (uint16_t)d->params->smtp_port, from) == 0)
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
	for (i = 0; i < r->n_records && host_connect(d, &t, hosts[i].text, NULL, &tries) == -1; i++)
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

/* An address of this host can be bound, whatever the port. */
static bool
is_here(const struct doctor_source *s)
{
	int fd = socket(s->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool is = fd == -1 || bind(fd, (const struct sockaddr *)&s->sa, s->sa_len) == 0 || errno != EADDRNOTAVAIL;

	if (fd != -1)
		close(fd);
	return is;
}

/* The mail exchangers of the domain that is probed, best first; itself if it has none. */
static unsigned
probe_hosts(struct doctor *d, struct dns_record hosts[DNS_RECORDS_MAX])
{
	const struct dns_reply *r = doctor_ask(d, d->probe, DNS_TYPE_MX);

	hosts[0] = (struct dns_record){ .text = (char *)(uintptr_t)d->probe };
	if (r->n_records == 0)
		return 1;
	memcpy(hosts, r->records, r->n_records * sizeof(hosts[0]));
	qsort(hosts, r->n_records, sizeof(hosts[0]), pref_cmp);
	return r->n_records;
}

/* Many providers of servers close the port on the way out, some for single addresses. */
void
doctor_port25(struct doctor *d)
{
	struct dns_record hosts[DNS_RECORDS_MAX];
	const struct doctor_source *s = d->source;
	unsigned port = (unsigned)d->params->smtp_port, n, i, tries = 0;
	struct talk t = { .fd = -1 };

	if (s->sa_len > 0 && !is_here(s)) {
		doctor_say(d, DOCTOR_WARNING, NULL, "%s is not an address of this host: nothing can be sent from it",
		    s->address);
		return;
	}
	n = probe_hosts(d, hosts);
	for (i = 0; i < n && host_connect(d, &t, hosts[i].text, s, &tries) == -1; i++)
		;
	if (tries == 0 && i == n) {
		doctor_say(d, DOCTOR_WARNING, NULL, "whether port %u is open on the way out is not known: no server of "
		    "%s has an address of its family; name another domain with --probe", port, d->probe);
	} else if (i == n) {
		doctor_say(d, DOCTOR_FAILURE, NULL, "no server of %s can be reached (%s): port %u is closed on the way "
		    "out, by a firewall or the provider of the server", d->probe, t.problem, port);
	} else if (talk_say(&t, NULL) / 100 != 2) {
		doctor_say(d, DOCTOR_WARNING, NULL, "%.100s does not greet it (%.200s): look at what that means, or "
		    "at what else answers there", hosts[i].text, t.reply);
	} else {
		doctor_say(d, DOCTOR_OK, NULL, "port %u is open on the way out: %.100s answers", port, hosts[i].text);
	}
	if (i < n) {
		(void)send(t.fd, "QUIT\r\n", 6, MSG_NOSIGNAL);
		close(t.fd);
	}
}
