/* Listening sockets (parent role, root). Nothing here reads a network byte. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/listen.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/xalloc.h"

#include "smtpd/listen.h"

#define BACKLOG 4096

const char *const listener_names[LISTEN_KINDS] = {
	[LISTEN_SMTPD] = "smtpd",
	[LISTEN_SUBMISSION] = "submission",
	[LISTEN_SUBMISSIONS] = "submissions"
};

enum listener_kind
listener_kind(const char *name)
{
	int i;

	for (i = 0; i < LISTEN_KINDS; i++) {
		if (strcmp(name, listener_names[i]) == 0)
			break;
	}
	return (enum listener_kind)i;
}

void
listeners_add(struct listeners *l, const char *name, int fd)
{
	l->fds = xreallocarray(l->fds, l->n + 1, sizeof *l->fds);
	l->names = xreallocarray(l->names, l->n + 1, sizeof *l->names);
	l->fds[l->n] = fd;
	l->names[l->n++] = xstrdup(name);
}

static int
bind_all(struct listeners *l, const char *name, const struct conf_addrs *addrs)
{
	size_t i;
	int fd;

	for (i = 0; i < addrs->n; i++) {
		const struct conf_addr *a = &addrs->v[i];

		if ((fd = listen_socket((const struct sockaddr *)&a->sa, a->len, BACKLOG)) == -1) {
			log_error("cannot listen on %s: %s", a->text, strerror(errno));
			return -1;
		}
		listeners_add(l, name, fd);
	}
	return 0;
}

static void
take_passed(struct listeners *l, int first, int n, char **names)
{
	int i, flags;

	for (i = 0; i < n; i++) {
		if (listener_kind(names[i]) == LISTEN_KINDS) {
			log_warn("a listening socket named '%s' was passed, which is none of ours", names[i]);
			close(first + i);
			continue;
		}
		if ((flags = fcntl(first + i, F_GETFL)) != -1)
			(void)fcntl(first + i, F_SETFL, flags | O_NONBLOCK);
		listeners_add(l, names[i], first + i);
	}
}

int
listeners_open(const struct params *p, struct listeners *l)
{
	char **names = NULL;
	int first, n, i;

	memset(l, 0, sizeof *l);
	first = notify_listen_fds(&n, &names);
	if (n > 0) {
		take_passed(l, first, n, names);
	} else if (bind_all(l, "smtpd", &p->smtpd_listen) == -1 || bind_all(l, "submission", &p->submission_listen) ==
	    -1 ||
	    bind_all(l, "submissions", &p->submissions_listen) == -1) {
		listeners_clear(l);
		free(names);
		return -1;
	}
	for (i = 0; i < n; i++)
		free(names[i]);
	free(names);
	if (l->n == 0)
		log_warn("there is no address to listen on");
	return 0;
}

void
listeners_clear(struct listeners *l)
{
	size_t i;

	for (i = 0; i < l->n; i++) {
		close(l->fds[i]);
		free(l->names[i]);
	}
	free(l->fds);
	free(l->names);
	memset(l, 0, sizeof *l);
}
