/* Listening sockets (listen.h), made while a process is still privileged. */
#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

#include "base/listen.h"

int
listen_socket(const struct sockaddr *sa, socklen_t len, int backlog)
{
	int on = 1, saved, fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd == -1)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    (sa->sa_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0) &&
	    bind(fd, sa, len) == 0 && listen(fd, backlog) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}
