/* A role's end of the control link (base/roles.h). Used by every role; the other end is our own parent, the only
 * process we trust. The end of the link is the end of the role: none outlives its parent. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/roles_private.h"
#include "base/xalloc.h"

#define LISTENERS_MAX 1024

struct role_link {
	struct ipc *ipc;
	role_word_fn *word;
	role_partner_fn *partners[1 + ROLE_OTHERS];
	void *arg;
};

static void
on_reload(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct role_link *k = arg;

	(void)ipc;
	(void)m;
	k->word(ROLE_RELOAD, k->arg);
}

static void
on_drain(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct role_link *k = arg;

	(void)ipc;
	(void)m;
	k->word(ROLE_DRAIN, k->arg);
}

static void
on_stop(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct role_link *k = arg;

	(void)ipc;
	(void)m;
	k->word(ROLE_STOP, k->arg);
}

static void
on_partner(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct role_link *k = arg;
	role_partner_fn *fn = m->id <= ROLE_OTHERS ? k->partners[m->id] : NULL;
	int fd = m->fd;

	(void)ipc;
	if (fn == NULL)
		return;
	m->fd = -1;
	fn(fd, k->arg);
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct role_link *k = arg;

	(void)ipc;
	(void)why;
	k->ipc = NULL;
	log_warn("the parent is gone, stopping");
	k->word(ROLE_STOP, k->arg);
}

static const struct ipc_rule rules[] = {
	{ ROLE_MSG_RELOAD, false, 0, "reload", on_reload },
	{ ROLE_MSG_DRAIN, false, 0, "drain", on_drain },
	{ ROLE_MSG_STOP, false, 0, "stop", on_stop },
	{ ROLE_MSG_PARTNER, true, 0, "partner", on_partner },
};

static const struct ipc_ops ops = { rules, sizeof(rules) / sizeof(rules[0]), on_gone };

struct role_link *
role_link_new(struct loop *l, role_word_fn *word, role_partner_fn *partner, void *arg)
{
	struct role_link *k = xcalloc(1, sizeof(*k));

	(void)fcntl(ROLE_CONTROL_FD, F_SETFD, FD_CLOEXEC);
	(void)fcntl(ROLE_PARTNER_FD, F_SETFD, FD_CLOEXEC);
	k->word = word;
	k->partners[0] = partner;
	k->arg = arg;
	k->ipc = ipc_new(l, ROLE_CONTROL_FD, &ops, k);
	return k;
}

void
role_link_on_other(struct role_link *k, unsigned place, role_partner_fn *fn)
{
	k->partners[1 + place] = fn;
}

void
role_link_ready(struct role_link *k)
{
	if (k->ipc != NULL)
		ipc_send(k->ipc, ROLE_MSG_READY, 0, NULL, -1);
}

void
role_link_replace_partner(struct role_link *k)
{
	if (k->ipc != NULL)
		ipc_send(k->ipc, ROLE_MSG_REPLACE, 0, NULL, -1);
}

void
role_link_free(struct role_link **kp)
{
	struct role_link *k = *kp;

	if (k == NULL)
		return;
	*kp = NULL;
	ipc_close(&k->ipc);
	free(k);
}

int
role_listeners(int *n_r, char ***names_r)
{
	const char *count = getenv(ROLE_LISTEN_FDS), *s = getenv(ROLE_LISTEN_FDNAMES);
	long n = count == NULL ? 0 : strtol(count, NULL, 10);
	char **names;
	size_t len;

	if (n < 0 || n > LISTENERS_MAX)
		n = 0;
	names = xcalloc((size_t)n + 1, sizeof(*names));
	for (long i = 0; i < n; i++) {
		len = s == NULL ? 0 : strcspn(s, ":");
		names[i] = xmemdup0(s == NULL ? "" : s, len);
		if (s != NULL)
			s = s[len] == ':' ? s + len + 1 : NULL;
		(void)fcntl(ROLE_LISTEN_FD + (int)i, F_SETFD, FD_CLOEXEC);
	}
	unsetenv(ROLE_LISTEN_FDS);
	unsetenv(ROLE_LISTEN_FDNAMES);
	*n_r = (int)n;
	*names_r = names;
	return ROLE_LISTEN_FD;
}
