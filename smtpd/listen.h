/* The listening sockets of smtpd: passed by the supervisor or systemd, or bound here (parent role). */
#ifndef SMTPD_LISTEN_H
#define SMTPD_LISTEN_H

#include <stddef.h>

#include "mail/params.h"

#include "smtpd/worker.h"

struct listeners {
	int *fds;
	char **names; /* of listener_names[]; more may be added for the roles */
	size_t n;
};

/* Takes what was passed, or binds what main.cf says. 0, or -1 and a logged reason. */
int listeners_open(const struct params *, struct listeners *);
/* Takes over the descriptor. */
void listeners_add(struct listeners *, const char *name, int fd);
void listeners_clear(struct listeners *);
/* LISTEN_KINDS if the name is none of ours. */
enum listener_kind listener_kind(const char *name);

#endif
