/* For tests: records what the daemons do to their spool, with contents, in one order, for t/crash/cutpoints.pl to
 * rebuild from it what a disk may hold after a power cut at any moment. Preloaded by LD_PRELOAD into the whole suite
 * and the sink; the log is the file that RECORD names, mapped by every process at start, before the sandbox, and
 * filled by taking room with one atomic addition: that is the order. RECORD_ROOT is the directory that is recorded.
 * No system call is added that the role may not use anyhow: fstat(2), fcntl(F_GETFL), lseek(2), and for who makes
 * directories stat(2).
 *
 * A write, and a change of a directory, has its place in the order from before the call on (from then on it may
 * reach the disk), and the place where the log was when it returned. A sync is noted when it has returned, with the
 * place where the log was when it began: it made durable what had returned by then. A reply "250 2.0.0 ..." to a
 * client is noted before it is sent: from then on it is a promise (smtpd's), or the message may be gone (the
 * sink's). */
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "t/lib/preload.h"

#define REPLY_MAX 256

enum what {
	WRITE = 1, SYNC, TRUNCATE, ALLOCATE, CREATE, RENAME, UNLINK, MKDIR, SYMLINK, REPLY
};

struct arena {
	_Atomic uint64_t head; /* offset of the next entry; beyond size: it was too small */
	uint64_t size;
};

/* All of it is read by cutpoints.pl: `L2 Q4 q2 Q L2`, then a and b. */
struct entry {
	uint32_t what;
	uint32_t size;         /* of the entry, to the next one */
	uint64_t ino;          /* the file, or the directory that was made */
	uint64_t dir;          /* of a relative path; 0: the path is absolute */
	uint64_t began;        /* SYNC */
	_Atomic uint64_t ended; /* 0: never */
	int64_t off;           /* WRITE: -1 appends. TRUNCATE, ALLOCATE: the length. SYNC: the one write, 0: all */
	int64_t result;
	uint64_t flags;        /* CREATE: of open. REPLY: 1 from smtpd */
	uint32_t alen, blen;   /* bytes that follow: data or path; second path */
};

static struct arena *arena;
static char root[4096];
static dev_t device;

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);
static int (*real_ftruncate)(int, off_t);
static int (*real_fallocate)(int, int, off_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static ssize_t (*real_pwritev2)(int, const struct iovec *, int, off_t, int);
static int (*real_rename)(const char *, const char *);
static int (*real_renameat)(int, const char *, int, const char *);
static int (*real_unlink)(const char *);
static int (*real_unlinkat)(int, const char *, int);
static int (*real_mkdir)(const char *, mode_t);
static int (*real_symlink)(const char *, const char *);

static void
resolve_all(void)
{
	preload_resolve(&real_open, "open");
	preload_resolve(&real_openat, "openat");
	preload_resolve(&real_fdatasync, "fdatasync");
	preload_resolve(&real_fsync, "fsync");
	preload_resolve(&real_ftruncate, "ftruncate");
	preload_resolve(&real_fallocate, "fallocate");
	preload_resolve(&real_write, "write");
	preload_resolve(&real_writev, "writev");
	preload_resolve(&real_pwrite, "pwrite");
	preload_resolve(&real_pwritev, "pwritev");
	preload_resolve(&real_pwritev2, "pwritev2");
	preload_resolve(&real_rename, "rename");
	preload_resolve(&real_renameat, "renameat");
	preload_resolve(&real_unlink, "unlink");
	preload_resolve(&real_unlinkat, "unlinkat");
	preload_resolve(&real_mkdir, "mkdir");
	preload_resolve(&real_symlink, "symlink");
}

/* The parse role touches no file, and its limit of memory has no room for the arena. */
static bool
is_parse_role(void)
{
	static const char role[] = "-r\0parse";
	char line[4096];
	int fd = real_open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd == -1 ? -1 : read(fd, line, sizeof(line));

	if (fd != -1)
		close(fd);
	return n > 0 && memmem(line, (size_t)n, role, sizeof(role)) != NULL;
}

__attribute__((constructor)) static void
start(void)
{
	const char *path = getenv("RECORD"), *dir = getenv("RECORD_ROOT");
	struct stat sb;
	void *p;
	int fd;

	resolve_all();
	if (path == NULL || dir == NULL || strlen(dir) >= sizeof(root) || stat(dir, &sb) == -1 || is_parse_role())
		return;
	memcpy(root, dir, strlen(dir) + 1);
	device = sb.st_dev;
	if ((fd = real_open(path, O_RDWR | O_CLOEXEC)) == -1)
		return;
	if (fstat(fd, &sb) == 0 && (p = mmap(NULL, (size_t)sb.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) !=
	    MAP_FAILED)
		arena = p;
	close(fd);
}

static uint64_t
place(void)
{
	return arena == NULL ? 0 : atomic_load(&arena->head);
}

/* Room for an entry with that much behind it, or NULL. */
static struct entry *
entry_new(enum what what, size_t alen, size_t blen)
{
	size_t size = (sizeof(struct entry) + alen + blen + 7) & ~(size_t)7;
	uint64_t at;
	struct entry *e;

	if (arena == NULL)
		return NULL;
	at = atomic_fetch_add(&arena->head, size);
	if (at + size > arena->size)
		return NULL;
	e = (struct entry *)(void *)((char *)arena + at);
	e->what = what;
	e->size = (uint32_t)size;
	e->alen = (uint32_t)alen;
	e->blen = (uint32_t)blen;
	return e;
}

static char *
entry_data(struct entry *e)
{
	return (char *)(e + 1);
}

static void
entry_end(struct entry *e, int64_t result)
{
	int saved = errno;

	if (e == NULL)
		return;
	e->result = result;
	atomic_store(&e->ended, place());
	errno = saved;
}

static bool
stat_of(int fd, struct stat *sb)
{
	int saved = errno, r;

	if (arena == NULL || fd <= 2)
		return false;
	r = fstat(fd, sb);
	errno = saved;
	return r == 0;
}

/* --- data */

static size_t
gather(char *to, size_t max, const struct iovec *iov, int n)
{
	size_t len = 0, part;

	for (int i = 0; i < n && len < max; i++) {
		part = iov[i].iov_len < max - len ? iov[i].iov_len : max - len;
		memcpy(to + len, iov[i].iov_base, part);
		len += part;
	}
	return len;
}

static void
note_reply(const struct iovec *iov, int n)
{
	static const char promise[] = "250 2.0.0 ";
	char text[REPLY_MAX];
	size_t len = gather(text, sizeof(text), iov, n);
	struct entry *e;

	if (len < sizeof(promise) || memcmp(text, promise, sizeof(promise) - 1) != 0)
		return;
	if ((e = entry_new(REPLY, len, 0)) == NULL)
		return;
	memcpy(entry_data(e), text, len);
	e->flags = strcmp(program_invocation_short_name, "smtpd") == 0;
	entry_end(e, 0);
}

/* What is about to be written at `off`; -1: at the file's own position. *flags_r: of the descriptor. */
static struct entry *
note_write(int fd, const struct iovec *iov, int n, off_t off, int *flags_r)
{
	struct entry *e;
	struct stat sb;
	size_t len = 0;
	int saved = errno;

	if (!stat_of(fd, &sb))
		return NULL;
	if (S_ISSOCK(sb.st_mode))
		note_reply(iov, n);
	if (!S_ISREG(sb.st_mode) || sb.st_dev != device || (*flags_r = fcntl(fd, F_GETFL)) == -1)
		return NULL;
	if ((*flags_r & O_APPEND) == 0 && off == -1)
		off = lseek(fd, 0, SEEK_CUR);
	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	if ((e = entry_new(WRITE, len, 0)) != NULL) {
		gather(entry_data(e), len, iov, n);
		e->ino = sb.st_ino;
		e->off = off;
	}
	errno = saved;
	return e;
}

static struct entry *
note_write_one(int fd, const void *p, size_t len, off_t off, int *flags_r)
{
	struct iovec iov;

	memcpy(&iov.iov_base, &p, sizeof(p));
	iov.iov_len = len;
	return note_write(fd, &iov, 1, off, flags_r);
}

static void
note_sync(uint64_t ino, uint64_t began, const struct entry *only)
{
	struct entry *e = entry_new(SYNC, 0, 0);

	if (e == NULL)
		return;
	e->ino = ino;
	e->began = began;
	e->off = only == NULL ? 0 : (const char *)only - (const char *)arena;
	entry_end(e, 0);
}

static ssize_t
written(struct entry *e, int flags, ssize_t result)
{
	entry_end(e, result);
	/* LMDB's meta pages: durable when the call returns, they and nothing else. */
	if (e != NULL && result > 0 && (flags & O_DSYNC) != 0)
		note_sync(e->ino, place(), e);
	return result;
}

ssize_t
write(int fd, const void *p, size_t len)
{
	int flags = 0;
	struct entry *e = note_write_one(fd, p, len, -1, &flags);

	return written(e, flags, real_write(fd, p, len));
}

ssize_t
writev(int fd, const struct iovec *iov, int n)
{
	int flags = 0;
	struct entry *e = note_write(fd, iov, n, -1, &flags);

	return written(e, flags, real_writev(fd, iov, n));
}

ssize_t
pwrite(int fd, const void *p, size_t len, off_t off)
{
	int flags = 0;
	struct entry *e = note_write_one(fd, p, len, off, &flags);

	return written(e, flags, real_pwrite(fd, p, len, off));
}

ssize_t
pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	int flags = 0;
	struct entry *e = note_write(fd, iov, n, off, &flags);

	return written(e, flags, real_pwritev(fd, iov, n, off));
}

ssize_t
pwritev2(int fd, const struct iovec *iov, int n, off_t off, int how)
{
	int flags = 0;
	struct entry *e = note_write(fd, iov, n, off, &flags);

	return written(e, flags | (how & RWF_DSYNC ? O_DSYNC : 0), real_pwritev2(fd, iov, n, off, how));
}

static int
synced(int fd, int (*sync_fn)(int))
{
	uint64_t began = place();
	struct stat sb;
	bool is_known = stat_of(fd, &sb) && sb.st_dev == device;
	int r = sync_fn(fd), saved = errno;

	if (r == 0 && is_known)
		note_sync(sb.st_ino, began, NULL);
	errno = saved;
	return r;
}

int
fdatasync(int fd)
{
	return synced(fd, real_fdatasync);
}

int
fsync(int fd)
{
	return synced(fd, real_fsync);
}

static struct entry *
note_length(enum what what, int fd, off_t len)
{
	struct entry *e;
	struct stat sb;

	if (!stat_of(fd, &sb) || sb.st_dev != device || (e = entry_new(what, 0, 0)) == NULL)
		return NULL;
	e->ino = sb.st_ino;
	e->off = len;
	return e;
}

int
ftruncate(int fd, off_t len)
{
	struct entry *e = note_length(TRUNCATE, fd, len);
	int r = real_ftruncate(fd, len);

	entry_end(e, r);
	return r;
}

int
fallocate(int fd, int mode, off_t off, off_t len)
{
	/* With a mode it is FALLOC_FL_KEEP_SIZE here, which no reader can see. */
	struct entry *e = mode == 0 ? note_length(ALLOCATE, fd, off + len) : NULL;
	int r = real_fallocate(fd, mode, off, len);

	entry_end(e, r);
	return r;
}

/* --- directories */

/* An entry with one path or two ("": one), or NULL if they are no business of ours. */
static struct entry *
note_path(enum what what, int dirfd, const char *a, const char *b)
{
	size_t alen = strlen(a), blen = strlen(b), skip = strlen(root);
	const char *where = what == SYMLINK ? b : a;
	struct entry *e;
	struct stat sb;

	memset(&sb, 0, sizeof(sb));
	if (where[0] == '/' ? strncmp(where, root, skip) != 0 : !stat_of(dirfd, &sb) || sb.st_dev != device)
		return NULL;
	if ((e = entry_new(what, alen, blen)) == NULL)
		return NULL;
	e->dir = sb.st_ino;
	memcpy(entry_data(e), a, alen);
	memcpy(entry_data(e) + alen, b, blen);
	return e;
}

static int
opened(struct entry *e, int flags, int fd)
{
	struct stat sb;

	if (e != NULL && stat_of(fd, &sb))
		e->ino = sb.st_ino;
	if (e != NULL)
		e->flags = (uint64_t)flags;
	entry_end(e, fd == -1 ? -1 : 0);
	return fd;
}

int
open(const char *path, int flags, ...)
{
	struct entry *e = (flags & O_CREAT) != 0 ? note_path(CREATE, -1, path, "") : NULL;
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return opened(e, flags, real_open(path, flags, mode));
}

int
openat(int dirfd, const char *path, int flags, ...)
{
	struct entry *e = (flags & O_CREAT) != 0 ? note_path(CREATE, dirfd, path, "") : NULL;
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return opened(e, flags, real_openat(dirfd, path, flags, mode));
}

int
rename(const char *from, const char *to)
{
	struct entry *e = note_path(RENAME, -1, from, to);
	int r = real_rename(from, to);

	entry_end(e, r);
	return r;
}

int
renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	struct entry *e = note_path(RENAME, from_dir, from, to);
	int r = real_renameat(from_dir, from, to_dir, to);

	entry_end(e, r);
	return r;
}

int
unlink(const char *path)
{
	struct entry *e = note_path(UNLINK, -1, path, "");
	int r = real_unlink(path);

	entry_end(e, r);
	return r;
}

int
unlinkat(int dirfd, const char *path, int flags)
{
	struct entry *e = note_path(UNLINK, dirfd, path, "");
	int r = real_unlinkat(dirfd, path, flags);

	entry_end(e, r);
	return r;
}

int
mkdir(const char *path, mode_t mode)
{
	struct entry *e = note_path(MKDIR, -1, path, "");
	int r = real_mkdir(path, mode);
	struct stat sb;

	if (e != NULL && r == 0 && stat(path, &sb) == 0)
		e->ino = sb.st_ino;
	entry_end(e, r);
	return r;
}

int
symlink(const char *target, const char *path)
{
	struct entry *e = note_path(SYMLINK, -1, target, path);
	int r = real_symlink(target, path);

	entry_end(e, r);
	return r;
}

/* The names of who was built with 64-bit offsets: the same calls. */
int open64(const char *, int, ...) __attribute__((alias("open")));
int openat64(int, const char *, int, ...) __attribute__((alias("openat")));
int ftruncate64(int, off_t) __attribute__((alias("ftruncate")));
int fallocate64(int, int, off_t, off_t) __attribute__((alias("fallocate")));
ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));
ssize_t pwritev64(int, const struct iovec *, int, off_t) __attribute__((alias("pwritev")));
ssize_t pwritev64v2(int, const struct iovec *, int, off_t, int) __attribute__((alias("pwritev2")));
