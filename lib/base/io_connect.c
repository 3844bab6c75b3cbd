/* Outgoing connections (base/io.h): deliverd's network role. The address comes from the DNS and was checked by the
 * caller; the source address from the policy. IP_BIND_ADDRESS_NO_PORT lets the kernel choose the port at connect(), so
 * that as many connections leave from one address as there are ports for each destination, not in all (ip(7)). */
#include <sys/socket.h>

#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

#include "base/io_private.h"

static const char *
connect_start(int fd, const struct sockaddr *dst, socklen_t dstlen, const struct sockaddr *source, socklen_t sourcelen)
{
	int on = 1;

	if (source != NULL) {
		(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
		if (bind(fd, source, sourcelen) == -1)
			return "cannot use the source address";
	}
	if (connect(fd, dst, dstlen) == -1 && errno != EINPROGRESS)
		return "cannot connect";
	return NULL;
}

struct io *
io_connect(struct loop *l, const struct sockaddr *dst, socklen_t dstlen, const struct sockaddr *source,
    socklen_t sourcelen, io_fn *fn, void *arg, const char **err_r)
{
	int saved, fd = socket(dst->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd == -1) {
		*err_r = "cannot make a socket";
		return NULL;
	}
	if ((*err_r = connect_start(fd, dst, dstlen, source, sourcelen)) != NULL) {
		saved = errno;
		close(fd);
		errno = saved;
		return NULL;
	}
	/* Connected or not yet: the socket turns writable either way. */
	return io_alloc(l, fd, fn, arg, IO_ST_CONNECTING);
}
