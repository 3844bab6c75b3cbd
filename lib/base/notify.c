/* sd_notify(3) and sd_listen_fds(3) by hand: one datagram socket and three environment variables do not need
 * libsystemd in every daemon. The environment is the starter's, hence trusted; the socket is connected once, before
 * the jail. */
#include <sys/socket.h>
#include <sys/un.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/notify.h"
#include "base/xalloc.h"

#define LISTEN_FDS_START 3
#define LISTEN_FDS_MAX 1024

/* A process has one starter to talk to. */
static int notify_fd = -1;
static unsigned generation;

void
notify_open(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	size_t len;
	int fd;

	if (path == NULL || notify_fd != -1)
		return;
	len = strlen(path);
	if ((path[0] != '/' && path[0] != '@') || len < 2 || len >= sizeof(sun.sun_path)) {
		log_warn("NOTIFY_SOCKET=%s is not usable", path);
		return;
	}
	memcpy(sun.sun_path, path, len);
	if (path[0] == '@')
		sun.sun_path[0] = '\0'; /* abstract */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd == -1 || connect(fd, (struct sockaddr *)&sun,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] == '/'))) == -1) {
		log_warn("cannot reach NOTIFY_SOCKET=%s: %m", path);
		if (fd != -1)
			close(fd);
		return;
	}
	notify_fd = fd;
}

/* Never waits: whoever does not read its socket learns nothing. */
static void
notify_send(const char *text)
{
	if (notify_fd == -1)
		return;
	if (send(notify_fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) == -1 && errno != EAGAIN)
		log_debug("notification not sent: %m");
}

void
notify_ready(void)
{
	char text[64];

	if (generation == 0) {
		notify_send("READY=1");
		return;
	}
	snprintf(text, sizeof(text), "READY=1\n" NOTIFY_GENERATION "=%u", generation);
	notify_send(text);
}

void
notify_generation(unsigned number)
{
	generation = number;
}

void
notify_reloading(void)
{
	char text[64];

	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRId64, mono_us());
	notify_send(text);
}

void
notify_stopping(void)
{
	notify_send("STOPPING=1");
}

void
notify_watchdog(void)
{
	notify_send("WATCHDOG=1");
}

static int
listen_fds_count(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	char *end;
	long n;

	if (pid == NULL || count == NULL || strtol(pid, NULL, 10) != (long)getpid())
		return 0;
	n = strtol(count, &end, 10);
	if (end == count || *end != '\0' || n < 0 || n > LISTEN_FDS_MAX) {
		log_warn("LISTEN_FDS=%s is not usable", count);
		return 0;
	}
	return (int)n;
}

int
notify_listen_fds(int *n_r, char ***names_r)
{
	int n = listen_fds_count();
	const char *s = getenv("LISTEN_FDNAMES");
	char **names = xcalloc((size_t)n + 1, sizeof(*names));

	for (int i = 0; i < n; i++) {
		size_t len = s == NULL ? 0 : strcspn(s, ":");

		names[i] = len == 0 ? xstrdup("unknown") : xmemdup0(s, len);
		if (s != NULL)
			s = s[len] == ':' ? s + len + 1 : NULL;
		if (fcntl(LISTEN_FDS_START + i, F_SETFD, FD_CLOEXEC) == -1)
			log_warn("descriptor %d was announced but is not open", LISTEN_FDS_START + i);
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	*n_r = n;
	*names_r = names;
	return LISTEN_FDS_START;
}
