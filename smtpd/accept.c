/* Accepts connections (worker role). Whoever connects is a stranger. The sockets are shared with the other workers, so
 * each takes few at a time. Running out of descriptors is no error: the backlog keeps the clients for a moment. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/log.h"
#include "base/xalloc.h"

#include "smtpd/accept.h"
#include "smtpd/session.h"

#define ACCEPT_A_TURN 8
#define FULL_PAUSE_MS 250

struct listener {
	struct listener *next;
	struct acceptor *acceptor;
	struct event *ev;
	enum listener_kind kind;
	int fd;
};

struct acceptor {
	struct worker *worker;
	struct listener *first;
	struct timer pause;
};

static void
resume(void *arg)
{
	struct acceptor *a = arg;
	struct listener *l;

	for (l = a->first; l != NULL; l = l->next)
		event_add(l->ev, NULL);
}

struct acceptor *
acceptor_new(struct worker *w)
{
	struct acceptor *a = xcalloc(1, sizeof *a);

	a->worker = w;
	timer_init(&a->pause, w->loop, resume, a);
	return a;
}

void
acceptor_free(struct acceptor **ap)
{
	struct acceptor *a = *ap;
	struct listener *l;

	if (a == NULL)
		return;
	timer_cancel(&a->pause);
	while ((l = a->first) != NULL) {
		a->first = l->next;
		event_free(l->ev);
		close(l->fd);
		free(l);
	}
	free(a);
	*ap = NULL;
}

static void
take(struct listener *l, int fd, const struct sockaddr *sa, socklen_t len)
{
	struct worker *w = l->acceptor->worker;
	bool is_counted = !cidr_list_match(&w->params->mynetworks, sa);

	if (w->n_sessions >= w->connection_share) {
		session_refuse(w, fd, l->kind, sa, "421 4.3.2 Too many connections, try again later");
		return;
	}
	if (is_counted && !clients_add(w->clients, sa)) {
		session_refuse(w, fd, l->kind, sa, "421 4.7.0 Too many connections from your address, try again later");
		return;
	}
	session_new(w, fd, l->kind, sa, len, is_counted);
}

static void
out_of_resources(struct acceptor *a, int error)
{
	struct listener *l;

	log_warn("cannot accept connections for a moment: %s", strerror(error));
	for (l = a->first; l != NULL; l = l->next)
		event_del(l->ev);
	timer_set(&a->pause, FULL_PAUSE_MS);
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;
	struct sockaddr_storage sa;
	socklen_t len;
	int i, c;

	(void)what;
	for (i = 0; i < ACCEPT_A_TURN; i++) {
		len = sizeof sa;
		c = accept4(fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (c != -1) {
			take(l, c, (struct sockaddr *)&sa, len);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			out_of_resources(l->acceptor, errno);
			return;
		}
		/* EAGAIN, or a client that left while it waited. */
		if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

void
acceptor_add(struct acceptor *a, int fd, enum listener_kind kind)
{
	struct listener *l = xcalloc(1, sizeof *l);

	l->acceptor = a;
	l->kind = kind;
	l->fd = fd;
	l->next = a->first;
	a->first = l;
	l->ev = event_new(loop_base(a->worker->loop), fd, EV_READ | EV_PERSIST, on_readable, l);
	if (l->ev == NULL || event_add(l->ev, NULL) == -1)
		fatal("cannot watch a listening socket");
}
