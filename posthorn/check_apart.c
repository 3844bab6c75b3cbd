/* A check in a process of its own, for what reads private keys: of a key that was read once something stays in memory,
 * whatever is wiped, and who checks may be the supervisor, which lives on. The child is what we are, and says nothing
 * but sentences. */
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/wire.h"

#include "check.h"

#define SAID_MAX (1u << 20)
#define SENTENCE_MAX (64u << 10)

static void
encode(const struct conf_errors *said, uint8_t is_warning, struct wbuf *w)
{
	size_t i;

	for (i = 0; i < said->n; i++) {
		wbuf_u8(w, is_warning);
		wbuf_str(w, said->v[i].file);
		wbuf_u32(w, said->v[i].line);
		wbuf_str(w, said->v[i].text);
	}
}

static void __attribute__((noreturn))
child(int fd, check_fn *fn, void *arg)
{
	struct conf_errors errors = { NULL, 0 }, warnings = { NULL, 0 };
	struct wbuf w;
	size_t done;
	ssize_t n;

	wbuf_init(&w);
	fn(arg, &errors, &warnings);
	encode(&errors, 0, &w);
	encode(&warnings, 1, &w);
	for (done = 0; done < w.len; done += (size_t)n)
		if ((n = write(fd, w.p + done, w.len - done)) == -1)
			_exit(1);
	_exit(0);
}

static void
decode(const struct wbuf *in, struct conf_errors *errors, struct conf_errors *warnings)
{
	char *file, *text;
	uint8_t is_warning;
	struct rbuf r;
	unsigned line;

	rbuf_init(&r, in->p, in->len);
	while (!r.bad && rbuf_left(&r) > 0) {
		is_warning = rbuf_u8(&r);
		file = rbuf_strdup(&r, SENTENCE_MAX);
		line = rbuf_u32(&r);
		text = rbuf_strdup(&r, SENTENCE_MAX);
		if (!r.bad)
			conf_error_add(is_warning ? warnings : errors, *file != '\0' ? file : NULL, line, "%s", text);
		free(file);
		free(text);
	}
}

void
check_apart(check_fn *fn, void *arg, struct conf_errors *errors, struct conf_errors *warnings)
{
	int fds[2], status = -1;
	struct wbuf in;
	char buf[4096];
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) == -1 || (fflush(NULL), pid = fork()) == -1) {
		conf_error_add(errors, NULL, 0, "cannot start a process to check keys: %s", strerror(errno));
		return;
	}
	if (pid == 0) {
		close(fds[0]);
		child(fds[1], fn, arg);
	}
	close(fds[1]);
	wbuf_init(&in);
	while (((n = read(fds[0], buf, sizeof(buf))) > 0 && in.len < SAID_MAX) || (n == -1 && errno == EINTR))
		if (n > 0)
			wbuf_raw(&in, buf, (size_t)n);
	close(fds[0]);
	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		;
	decode(&in, errors, warnings);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		conf_error_add(errors, NULL, 0, "checking keys failed (%s %d)", WIFSIGNALED(status) ? "signal" :
		    "status", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	wbuf_clear(&in);
}
