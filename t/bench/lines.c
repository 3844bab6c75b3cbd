/* Lines in and out (t/bench/lines.h). */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "t/bench/lines.h"

struct line_file {
	int fd;
	const char *path;
	char *buf;
	size_t len, size;
};

static const char *
find_crlf(const char *s, size_t n)
{
	const char *p = s;

	while ((p = memchr(p, '\n', n - (size_t)(p - s))) != NULL) {
		if (p > s && p[-1] == '\r')
			return p - 1;
		if (++p == s + n)
			break;
	}
	return NULL;
}

bool
line_take(struct evbuffer *in, char *out, size_t size)
{
	size_t len = evbuffer_get_length(in), n = evbuffer_get_contiguous_space(in), keep;
	const char *s, *end;

	if (len == 0)
		return false;
	s = (const char *)evbuffer_pullup(in, (ev_ssize_t)n);
	if ((end = find_crlf(s, n)) == NULL && len > n) {
		s = (const char *)evbuffer_pullup(in, -1);
		end = find_crlf(s, len);
	}
	if (end == NULL)
		return false;
	keep = (size_t)(end - s) < size ? (size_t)(end - s) : size - 1;
	memcpy(out, s, keep);
	out[keep] = '\0';
	evbuffer_drain(in, (size_t)(end - s) + 2);
	return true;
}

static void
flush_step(void *arg)
{
	line_file_flush(arg);
}

struct line_file *
line_file_open(struct loop *l, const char *path)
{
	struct line_file *f = xcalloc(1, sizeof(*f));

	if ((f->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666)) == -1)
		err(1, "%s", path);
	f->path = path;
	loop_before_sleep(l, LOOP_LOG, flush_step, f);
	return f;
}

void
line_file_printf(struct line_file *f, const char *fmt, ...)
{
	va_list ap;
	int n;

	for (;;) {
		va_start(ap, fmt);
		n = vsnprintf(f->buf + f->len, f->size - f->len, fmt, ap);
		va_end(ap);
		if (n < 0)
			errx(1, "%s: cannot format a line", f->path);
		if ((size_t)n < f->size - f->len)
			break;
		f->size = (f->size + (size_t)n + 1) * 2;
		f->buf = xreallocarray(f->buf, f->size, 1);
	}
	f->len += (size_t)n;
}

void
line_file_flush(struct line_file *f)
{
	for (size_t done = 0; done < f->len;) {
		ssize_t n = write(f->fd, f->buf + done, f->len - done);

		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0)
			err(1, "%s", f->path);
		done += (size_t)n;
	}
	f->len = 0;
}
