/* Reading the event log's files (see the header). Backwards in blocks for the newest lines, so that the last twenty
 * of a hundred gigabytes cost one block; forwards by polling, because the file of the next hour may appear while the
 * last is still written: both are watched for a while. A line has 1 MiB at most; what is longer is skipped. */
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/xalloc.h"

#include "events_files.h"

#define BLOCK (256u << 10)
#define LINE_MAX_LEN (1u << 20)
#define KEEP_OLD 120000 /* ms that the file of the last hour is watched beside that of this hour */

struct tail_file {
	char *name;
	int fd;
	off_t pos;        /* read up to here; always the start of a line */
	int64_t last_new; /* mono ms */
};

struct events_tail {
	char *dir;
	struct tail_file *files; /* oldest first, the open ones only */
	size_t n;
	char *newest; /* name; older ones are never opened */
};

static int
is_event_file(const struct dirent *e)
{
	size_t len = strlen(e->d_name);

	return len > 6 && e->d_name[0] != '.' && strcmp(e->d_name + len - 6, ".jsonl") == 0;
}

static int
events_open(const char *dir, const char *name)
{
	char *path = xasprintf("%s/%s", dir, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), saved = errno;

	free(path);
	errno = saved;
	return fd;
}

struct backwards {
	int fd;
	char *buf;     /* what lies before `pos + len` and is not handed out */
	size_t len, cap;
	off_t pos;     /* file offset of buf[0] */
};

/* One more block in front. False at the start of the file or on an error. */
static bool
backwards_load(struct backwards *b)
{
	size_t want = b->pos < (off_t)BLOCK ? (size_t)b->pos : BLOCK;

	if (want == 0)
		return false;
	if (b->len + want > b->cap) {
		b->cap = b->len + want;
		b->buf = xreallocarray(b->buf, b->cap, 1);
	}
	memmove(b->buf + want, b->buf, b->len);
	if (pread(b->fd, b->buf, want, b->pos - (off_t)want) != (ssize_t)want) {
		memmove(b->buf, b->buf + want, b->len);
		return false;
	}
	b->pos -= (off_t)want;
	b->len += want;
	return true;
}

/* The last line of the buffer, cut off from it and NUL-terminated in place of its newline. NULL: none left. */
static char *
backwards_line(struct backwards *b, size_t *len_r)
{
	char *nl;

	for (;;) {
		/* buf[len - 1] is the newline that ends the line wanted. */
		nl = b->len > 1 ? memrchr(b->buf, '\n', b->len - 1) : NULL;
		if (nl != NULL || (b->pos == 0 && b->len > 0))
			break;
		if (b->len > LINE_MAX_LEN)
			b->len = 1; /* no event: forget it, but keep a line end */
		if (!backwards_load(b))
			return NULL;
	}
	nl = nl != NULL ? nl + 1 : b->buf;
	*len_r = (size_t)(b->buf + b->len - 1 - nl);
	nl[*len_r] = '\0';
	b->len = (size_t)(nl - b->buf);
	return nl;
}

/* End of the last whole line; a writer may be in the middle of the next. */
static off_t
last_newline(int fd, off_t size)
{
	char buf[4096];

	while (size > 0) {
		size_t want = size < (off_t)sizeof(buf) ? (size_t)size : sizeof(buf);
		const char *nl;

		if (pread(fd, buf, want, size - (off_t)want) != (ssize_t)want)
			return 0;
		if ((nl = memrchr(buf, '\n', want)) != NULL)
			return size - (off_t)want + (nl - buf) + 1;
		size -= (off_t)want;
	}
	return 0;
}

/* True when enough has been seen. */
static bool
events_file_back(int fd, off_t end, size_t *left, events_line_fn *fn, bool (*older)(const char *, void *), void *arg)
{
	struct backwards b = { .fd = fd, .pos = end };
	bool is_done = false;
	char *line;
	size_t len;

	while (!is_done && (line = backwards_line(&b, &len)) != NULL) {
		is_done = older(line, arg) || (fn(line, len, arg) && --*left == 0);
	}
	free(b.buf);
	return is_done;
}

static void
tail_add(struct events_tail *t, const char *name, int fd, off_t pos)
{
	t->files = xreallocarray(t->files, t->n + 1, sizeof(*t->files));
	t->files[t->n++] = (struct tail_file){ xstrdup(name), fd, pos, mono_ms() };
	free(t->newest);
	t->newest = xstrdup(name);
}

static int
events_scan(const char *dir, struct dirent ***list_r)
{
	return scandir(dir, list_r, is_event_file, alphasort);
}

static void
list_free(struct dirent **list, int n)
{
	for (int i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

int
events_last(const char *dir, size_t max, events_line_fn *fn, bool (*older)(const char *, void *), void *arg,
    struct events_tail **end_r)
{
	struct events_tail *t = xcalloc(1, sizeof(*t));
	struct dirent **list = NULL;
	int n = events_scan(dir, &list), rv = n == -1 ? -1 : 0;
	bool is_done = max == 0;

	t->dir = xstrdup(dir);
	for (int i = n - 1; i >= 0 && rv == 0 && (!is_done || i == n - 1); i--) {
		int fd = events_open(dir, list[i]->d_name);
		struct stat st;
		off_t end;

		if (fd == -1 || fstat(fd, &st) == -1) {
			rv = errno == ENOENT ? 0 : -1;
			continue;
		}
		end = last_newline(fd, st.st_size);
		if (!is_done)
			is_done = events_file_back(fd, end, &max, fn, older, arg);
		if (i == n - 1)
			tail_add(t, list[i]->d_name, fd, end);
		else
			close(fd);
	}
	if (n >= 0)
		list_free(list, n);
	if (rv == -1)
		events_tail_free(&t);
	*end_r = t;
	return rv;
}

/* Files that appeared since. */
static int
tail_look(struct events_tail *t)
{
	struct dirent **list = NULL;
	int n = events_scan(t->dir, &list);

	if (n == -1)
		return errno == ENOENT ? 0 : -1;
	for (int i = 0; i < n; i++) {
		int fd;

		if (t->newest != NULL && strcmp(list[i]->d_name, t->newest) <= 0)
			continue;
		if ((fd = events_open(t->dir, list[i]->d_name)) != -1)
			tail_add(t, list[i]->d_name, fd, 0);
	}
	list_free(list, n);
	return 0;
}

/* The whole lines of one block. False if there was nothing new. */
static bool
tail_read(struct tail_file *f, char *buf, size_t size, events_line_fn *fn, void *arg)
{
	ssize_t n = pread(f->fd, buf, size - 1, f->pos);
	char *p = buf, *nl;

	if (n <= 0)
		return false;
	buf[n] = '\0';
	while ((nl = memchr(p, '\n', (size_t)(buf + n - p))) != NULL) {
		*nl = '\0';
		(void)fn(p, (size_t)(nl - p), arg);
		p = nl + 1;
	}
	if (p == buf && (size_t)n == size - 1)
		p = buf + n; /* longer than any event: skip it piece by piece */
	f->pos += p - buf;
	f->last_new = mono_ms();
	return p != buf;
}

int
events_more(struct events_tail *t, events_line_fn *fn, void *arg)
{
	char *buf;

	if (tail_look(t) == -1)
		return -1;
	buf = xmalloc(LINE_MAX_LEN + 1);
	for (size_t i = 0; i < t->n; i++) {
		struct tail_file *f = &t->files[i];

		while (tail_read(f, buf, LINE_MAX_LEN + 1, fn, arg))
			;
		if (i + 1 < t->n && mono_ms() - f->last_new > KEEP_OLD) {
			close(f->fd);
			free(f->name);
			memmove(f, f + 1, (t->n - i - 1) * sizeof(*f));
			t->n--;
			i--;
		}
	}
	free(buf);
	return 0;
}

void
events_tail_free(struct events_tail **tp)
{
	struct events_tail *t = *tp;

	if (t == NULL)
		return;
	for (size_t i = 0; i < t->n; i++) {
		close(t->files[i].fd);
		free(t->files[i].name);
	}
	free(t->files);
	free(t->newest);
	free(t->dir);
	free(t);
	*tp = NULL;
}
