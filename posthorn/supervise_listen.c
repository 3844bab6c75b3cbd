/* The listening sockets. The supervisor binds them (privileged ports) and keeps them open for as long as it lives:
 * while smtpd is away, clients wait in the backlog. systemd may pass them instead (a .socket unit). */
#include <sys/socket.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/listen.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/notify.h"
#include "base/xalloc.h"

#include "supervise.h"

#define BACKLOG 4096       /* the kernel cuts it to net.core.somaxconn */
#define BUSY_WAIT 5000     /* ms that a predecessor's smtpd may take to let go of an address */
#define BUSY_STEP 100

/* Waits only at start: whoever serves already has daemons to watch, and no predecessor. */
static int
listen_bind(const struct conf_addr *a, bool may_wait)
{
	const struct sockaddr *sa = (const struct sockaddr *)&a->sa;
	int64_t until = mono_ms() + (may_wait ? BUSY_WAIT : 0);
	int fd;

	while ((fd = listen_socket(sa, a->len, BACKLOG)) == -1 && errno == EADDRINUSE && mono_ms() < until) {
		struct timespec step = { 0, BUSY_STEP * 1000000L };

		nanosleep(&step, NULL);
	}
	return fd;
}

static void
sockets_add(struct sup_sockets *out, const char *name, const char *text, int fd)
{
	out->v = xreallocarray(out->v, out->n + 1, sizeof(*out->v));
	out->v[out->n].name = xstrdup(name);
	out->v[out->n].text = xstrdup(text);
	out->v[out->n].fd = fd;
	out->n++;
}

/* Takes the socket of that name and address out of the old set; -1 if it has none. */
static int
sockets_take(struct sup_sockets *old, const char *name, const char *text)
{
	for (size_t i = 0; old != NULL && i < old->n; i++) {
		struct sup_socket *s = &old->v[i];
		int fd = s->fd;

		if (fd != -1 && strcmp(s->name, name) == 0 && strcmp(s->text, text) == 0) {
			s->fd = -1;
			return fd;
		}
	}
	return -1;
}

/* Back into the old set, when a later address could not be bound. */
static void
sockets_give_back(struct sup_sockets *out, struct sup_sockets *old)
{
	for (size_t i = 0; old != NULL && i < old->n; i++) {
		for (size_t k = 0; old->v[i].fd == -1 && k < out->n; k++) {
			if (out->v[k].fd != -1 && strcmp(old->v[i].name, out->v[k].name) == 0 &&
			    strcmp(old->v[i].text, out->v[k].text) == 0) {
				old->v[i].fd = out->v[k].fd;
				out->v[k].fd = -1;
			}
		}
	}
	sup_sockets_close(out);
}

int
sup_sockets_open(const struct params *p, struct sup_sockets *old, struct sup_sockets *out, char **err_r)
{
	const struct {
		const char *name;
		const struct conf_addrs *addrs;
	} lists[] = { { "smtpd", &p->smtpd_listen }, { "submission", &p->submission_listen },
		{ "submissions", &p->submissions_listen } };

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		for (size_t k = 0; k < lists[i].addrs->n; k++) {
			const struct conf_addr *a = &lists[i].addrs->v[k];
			int fd = sockets_take(old, lists[i].name, a->text);

			if (fd == -1 && (fd = listen_bind(a, old == NULL)) == -1) {
				*err_r = xasprintf("cannot listen on %s (%s_listen): %s", a->text, lists[i].name,
				    strerror(errno));
				sockets_give_back(out, old);
				return -1;
			}
			sockets_add(out, lists[i].name, a->text, fd);
		}
	}
	return 0;
}

void
sup_sockets_inherit(struct sup_sockets *out)
{
	char **names = NULL;
	int n = 0, first = notify_listen_fds(&n, &names);

	memset(out, 0, sizeof(*out));
	for (int i = 0; i < n; i++) {
		const char *name = names != NULL && names[i] != NULL ? names[i] : "smtpd";

		(void)fcntl(first + i, F_SETFD, FD_CLOEXEC);
		sockets_add(out, name, "systemd", first + i);
	}
	for (size_t i = 0; names != NULL && names[i] != NULL; i++)
		free(names[i]);
	free(names);
}

void
sup_sockets_close(struct sup_sockets *s)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->v[i].fd != -1)
			close(s->v[i].fd);
		free(s->v[i].name);
		free(s->v[i].text);
	}
	free(s->v);
	memset(s, 0, sizeof(*s));
}
