/* sendmail -bs: an SMTP session on standard input and output, for programs that want no port number (Symfony's
 * sendmail://default). The bytes go to and from smtpd as they are: one SMTP server is enough. */
#include <sys/socket.h>

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

#include "sendmail.h"

#define BUF_SIZE 65536

/* Copies what there is. 1: go on; 0: end of that side; -1: broken. */
static int
relay_copy(int from, int to)
{
	char buf[BUF_SIZE];
	ssize_t n = read(from, buf, sizeof(buf)), done = 0;

	if (n <= 0)
		return n == -1 && errno == EINTR ? 1 : (int)n;
	while (done < n) {
		ssize_t w = write(to, buf + done, (size_t)(n - done));

		if (w == -1 && errno != EINTR)
			return -1;
		if (w > 0)
			done += w;
	}
	return 1;
}

int
sendmail_relay(const struct params *p)
{
	int status = EX_TEMPFAIL, fd = sendmail_connect(p, &status), rv = 1;
	bool is_greeted = false;
	/* What stands ready on standard input must not overtake the greeting: smtpd takes that for an attack. */
	struct pollfd pfd[2] = { { fd, POLLIN, 0 }, { -1, POLLIN, 0 } };

	if (fd == -1) {
		printf("421 4.3.0 %s Service not available\r\n", p->myhostname);
		return status;
	}
	while (rv == 1) {
		if (poll(pfd, 2, -1) == -1 && errno != EINTR)
			break;
		if ((pfd[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
			int in = relay_copy(STDIN_FILENO, fd);

			if (in == -1)
				break;
			if (in == 0) { /* no more commands; the answers to the last ones still come */
				shutdown(fd, SHUT_WR);
				pfd[1].fd = -1;
				pfd[1].revents = 0;
			}
		}
		if ((pfd[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
			rv = relay_copy(fd, STDOUT_FILENO);
			if (!is_greeted)
				pfd[1].fd = STDIN_FILENO;
			is_greeted = true;
		}
	}
	close(fd);
	return rv == 0 ? EX_OK : EX_TEMPFAIL;
}
