/* A listening TCP socket, bound the same way whoever binds it: the supervisor, smtpd by itself, the tests' sink. */
#ifndef BASE_LISTEN_H
#define BASE_LISTEN_H

#include <sys/socket.h>

/* Non-blocking, closed by exec; the address may be used again at once; an IPv6 address stands for IPv6 alone, so that
 * 0.0.0.0 and [::] do not get into each other's way. The descriptor, or -1 and errno. */
int listen_socket(const struct sockaddr *, socklen_t, int backlog) __attribute__((warn_unused_result));

#endif
