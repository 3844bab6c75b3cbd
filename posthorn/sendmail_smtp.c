/* Handing a message to our own smtpd over loopback (RFC 5321), blocking, with a deadline on each reply. Replies come
 * from our own daemon, or from whatever listens on that port: they are bounded and parsed by mail/reply.h. */
#include <netinet/in.h>
#include <sys/socket.h>

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/reply.h"

#include "sendmail.h"

#define CONNECT_TIMEOUT 10000
#define REPLY_TIMEOUT 60000
#define DOT_TIMEOUT 300000
#define LINE_MAX_LEN 2048

struct submit {
	int fd;
	char in[4096];
	size_t in_len, in_pos;
	struct reply reply;
	bool has_8bitmime, has_smtputf8, has_dsn, has_size;
	const char *why; /* the connection broke */
};

/* Where to reach the listener from this host: itself, or loopback if it listens on all addresses. */
static void
reach(const struct conf_addr *a, struct sockaddr_storage *out)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
	struct sockaddr_in *in4 = (struct sockaddr_in *)out;

	*out = a->sa;
	if (out->ss_family == AF_INET && in4->sin_addr.s_addr == htonl(INADDR_ANY))
		in4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else if (out->ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr))
		in6->sin6_addr = in6addr_loopback;
}

static bool
is_loopback(const struct sockaddr_storage *ss)
{
	if (ss->ss_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)ss)->sin_addr.s_addr) >> 24 == 127;
	return ss->ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)ss)->sin6_addr);
}

static int
connect_one(const struct sockaddr_storage *ss, socklen_t len)
{
	int fd = socket(ss->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), saved;
	struct timeval tv = { CONNECT_TIMEOUT / 1000, 0 };

	if (fd == -1)
		return -1;
	/* Bounds connect() as well (socket(7)). */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	if (connect(fd, (const struct sockaddr *)ss, len) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/* Loopback addresses first, because mynetworks has them by default; then the others in their order. */
static int
connect_list(const struct conf_addrs *list, bool loopback, char text[56])
{
	int fd = -1;

	for (size_t i = 0; i < list->n && fd == -1; i++) {
		struct sockaddr_storage ss;

		reach(&list->v[i], &ss);
		if (is_loopback(&ss) != loopback)
			continue;
		sockaddr_port_text((const struct sockaddr *)&ss, text);
		fd = connect_one(&ss, list->v[i].len);
	}
	return fd;
}

int
sendmail_connect(const struct params *p, int *status_r)
{
	char text[56] = "";
	int fd;

	errno = 0;
	if ((fd = connect_list(&p->smtpd_listen, true, text)) == -1 &&
	    (fd = connect_list(&p->smtpd_listen, false, text)) == -1 &&
	    (fd = connect_list(&p->submission_listen, true, text)) == -1)
		fd = connect_list(&p->submission_listen, false, text);
	if (fd != -1)
		return fd;
	if (*text == '\0')
		*status_r = sendmail_fail(EX_UNAVAILABLE, "neither smtpd_listen nor submission_listen is set");
	else
		*status_r = sendmail_fail(EX_TEMPFAIL, "posthorn is not running (%s: %s)", text, strerror(errno));
	return -1;
}

static bool
submit_write(struct submit *s, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = send(s->fd, p, len, MSG_NOSIGNAL);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1) {
			s->why = errno == EAGAIN ? "smtpd does not take the message" : strerror(errno);
			return false;
		}
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static bool
submit_fill(struct submit *s, int timeout)
{
	struct pollfd pfd = { s->fd, POLLIN, 0 };
	ssize_t n;
	int ready;

	while ((ready = poll(&pfd, 1, timeout)) == -1 && errno == EINTR)
		;
	if (ready <= 0) {
		s->why = ready == 0 ? "smtpd does not answer" : strerror(errno);
		return false;
	}
	n = read(s->fd, s->in, sizeof(s->in));
	if (n <= 0) {
		s->why = n == 0 ? "smtpd closed the connection" : strerror(errno);
		return false;
	}
	s->in_len = (size_t)n;
	s->in_pos = 0;
	return true;
}

static void
submit_extension(struct submit *s, const char *line)
{
	if (strncasecmp(line + 4, "8BITMIME", 8) == 0)
		s->has_8bitmime = true;
	else if (strncasecmp(line + 4, "SMTPUTF8", 8) == 0)
		s->has_smtputf8 = true;
	else if (strcasecmp(line + 4, "DSN") == 0)
		s->has_dsn = true;
	else if (strncasecmp(line + 4, "SIZE", 4) == 0)
		s->has_size = true;
}

/* A whole reply; its code, or -1 if the connection is of no more use. */
static int
submit_reply(struct submit *s, int timeout)
{
	char line[LINE_MAX_LEN + 1];
	size_t len = 0;
	int rv;

	reply_reset(&s->reply);
	for (;;) {
		char c;

		if (s->in_pos == s->in_len && !submit_fill(s, timeout))
			return -1;
		c = s->in[s->in_pos++];
		if (c != '\n') {
			if (len < LINE_MAX_LEN)
				line[len++] = c;
			continue;
		}
		while (len > 0 && line[len - 1] == '\r')
			len--;
		line[len] = '\0';
		if (len > 4)
			submit_extension(s, line);
		if ((rv = reply_line(&s->reply, line, len, &s->why)) == -1)
			return -1;
		if (rv == 1)
			return s->reply.code;
		len = 0;
	}
}

static int __attribute__((format(printf, 3, 4)))
submit_command(struct submit *s, int timeout, const char *fmt, ...)
{
	char *text;
	va_list ap;
	int n, rv;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n == -1)
		return -1;
	rv = submit_write(s, text, (size_t)n) ? submit_reply(s, timeout) : -1;
	free(text);
	return rv;
}

/* What a refusal at `stage` means to the caller. */
static int
submit_refused(const struct submit *s, const char *stage)
{
	if (s->why != NULL)
		return sendmail_fail(EX_TEMPFAIL, "%s: %s", stage, s->why);
	return sendmail_fail(s->reply.code >= 500 ? EX_UNAVAILABLE : EX_TEMPFAIL, "%s: %d %s", stage, s->reply.code,
	    s->reply.text);
}

static bool
needs_utf8(const struct sendmail *sm)
{
	bool is_utf8 = !is_ascii(sm->sender, strlen(sm->sender));

	for (size_t i = 0; i < sm->rcpts.n; i++)
		is_utf8 = is_utf8 || !is_ascii(sm->rcpts.v[i], strlen(sm->rcpts.v[i]));
	return is_utf8;
}

static int
submit_mail(struct submit *s, const struct sendmail *sm, const struct wbuf *message)
{
	bool is_8bit = !is_ascii((const char *)message->p, message->len);
	char envid[512] = "", *size = s->has_size ? xasprintf(" SIZE=%zu", message->len) : xstrdup("");
	int code;

	if (sm->envid != NULL && s->has_dsn && xtext_encode(sm->envid, envid, sizeof(envid)) == -1)
		*envid = '\0';
	code = submit_command(s, REPLY_TIMEOUT, "MAIL FROM:<%s>%s%s%s%s%s%s%s\r\n", sm->sender, size,
	    is_8bit && s->has_8bitmime ? " BODY=8BITMIME" : "", needs_utf8(sm) && s->has_smtputf8 ? " SMTPUTF8" : "",
	    sm->ret != NULL && s->has_dsn ? " RET=" : "", sm->ret != NULL && s->has_dsn ? sm->ret : "",
	    *envid != '\0' ? " ENVID=" : "", envid);
	free(size);
	return code / 100 == 2 ? EX_OK : submit_refused(s, "sender");
}

/* All recipients. Those that are refused are named; the rest get their mail. EX_OK if all were taken; *taken_r says
 * how many. */
static int
submit_rcpts(struct submit *s, const struct sendmail *sm, size_t *taken_r)
{
	int rv = EX_OK;

	*taken_r = 0;
	for (size_t i = 0; i < sm->rcpts.n; i++) {
		bool notify = sm->notify != NULL && s->has_dsn;
		int code = submit_command(s, REPLY_TIMEOUT, "RCPT TO:<%s>%s%s\r\n", sm->rcpts.v[i],
		    notify ? " NOTIFY=" : "",
		    notify ? sm->notify : "");

		if (code == -1)
			return submit_refused(s, sm->rcpts.v[i]);
		if (code / 100 == 2) {
			++*taken_r;
			continue;
		}
		sendmail_fail(0, "%s: %d %s", sm->rcpts.v[i], code, s->reply.text);
		if (rv != EX_NOUSER)
			rv = code >= 500 ? EX_NOUSER : EX_TEMPFAIL;
	}
	return rv;
}

/* Dots at the start of lines are doubled (RFC 5321 4.5.2). */
static int
submit_data(struct submit *s, const struct wbuf *message)
{
	const char *p = (const char *)message->p, *end = p + message->len;
	int code = submit_command(s, REPLY_TIMEOUT, "DATA\r\n");
	struct wbuf out;
	bool is_sent;

	if (code != 354)
		return submit_refused(s, "message");
	wbuf_init(&out);
	wbuf_reserve(&out, message->len + 4096);
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		const char *next = nl != NULL ? nl + 1 : end;

		if (*p == '.')
			wbuf_raw(&out, ".", 1);
		wbuf_raw(&out, p, (size_t)(next - p));
		p = next;
	}
	wbuf_raw(&out, ".\r\n", 3);
	is_sent = submit_write(s, out.p, out.len);
	wbuf_clear(&out);
	if (!is_sent || submit_reply(s, DOT_TIMEOUT) == -1)
		return submit_refused(s, "message");
	if (s->reply.code / 100 == 2)
		return EX_OK;
	if (s->reply.code >= 500)
		return sendmail_fail(EX_DATAERR, "message: %d %s", s->reply.code, s->reply.text);
	return submit_refused(s, "message");
}

static int
submit_session(struct submit *s, const struct sendmail *sm, const char *hostname, const struct wbuf *message)
{
	size_t taken;
	int rv, rcpt_rv;

	if (submit_reply(s, REPLY_TIMEOUT) / 100 != 2)
		return submit_refused(s, "greeting");
	if (submit_command(s, REPLY_TIMEOUT, "EHLO %s\r\n", hostname) / 100 != 2)
		return submit_refused(s, "EHLO");
	if ((rv = submit_mail(s, sm, message)) != EX_OK)
		return rv;
	rcpt_rv = submit_rcpts(s, sm, &taken);
	if (taken == 0 || s->why != NULL)
		return rcpt_rv;
	if ((rv = submit_data(s, message)) != EX_OK)
		return rv;
	/* Trying again would send it twice to those who have it: a temporary refusal of one is final for this call. */
	return rcpt_rv == EX_TEMPFAIL ? EX_NOUSER : rcpt_rv;
}

int
sendmail_submit(const struct sendmail *sm, const struct params *p, const struct wbuf *message)
{
	struct submit *s;
	int rv = EX_TEMPFAIL, fd = sendmail_connect(p, &rv);

	if (fd == -1)
		return rv;
	s = xcalloc(1, sizeof(*s));
	s->fd = fd;
	rv = submit_session(s, sm, p->myhostname, message);
	if (s->why == NULL)
		(void)submit_write(s, "QUIT\r\n", 6);
	close(fd);
	free(s);
	return rv;
}
