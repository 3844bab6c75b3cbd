/* For tests: makes storage calls of one program and role fail, as a broken or full disk would, and sets the wall
 * clock of all of them, while they run in their sandboxes. (strace cannot: a system-call filter in kill mode takes
 * what it injects for an attack.)
 *
 * Preloaded by LD_PRELOAD, steered through a file that INJECT names and that the test writes to. It is mapped at
 * start, before the sandbox, and shared by all processes, so that a process that was started again goes on
 * counting where the last one ended. No system calls are added but fcntl(F_GETFL) and fstat(2), which every role
 * may use.
 *
 * The control file: see struct control; `spec` is "program role calls file errno from to", for instance "smtpd
 * worker fdatasync,fsync any 5 3 5": role "-" is a process without one, "*" any; file is "log" (opened for
 * appending), "meta" (opened with O_DSYNC, as LMDB does for its meta pages), "data" (other regular files), "dir" or
 * "any". Only descriptors above 2 count. `clock_offset` is added to the wall clock of every program. */
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
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
#include <time.h>
#include <unistd.h>

#include "t/lib/preload.h"

struct control {
	_Atomic uint32_t armed;
	_Atomic uint32_t count; /* matching calls so far */
	_Atomic uint32_t hits;  /* of those, failed */
	char spec[244];
	_Atomic int64_t clock_offset; /* seconds */
};

static struct control *control;
static char role[32] = "-";

static int (*real_fdatasync)(int);
static int (*real_fsync)(int);
static int (*real_ftruncate)(int, off_t);
static int (*real_fallocate)(int, int, off_t, off_t);
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static ssize_t (*real_pwritev2)(int, const struct iovec *, int, off_t, int);

__attribute__((constructor)) static void
start(int argc, char **argv)
{
	const char *path = getenv("INJECT");
	void *p;
	int fd;

	preload_resolve(&real_fdatasync, "fdatasync");
	preload_resolve(&real_fsync, "fsync");
	preload_resolve(&real_ftruncate, "ftruncate");
	preload_resolve(&real_fallocate, "fallocate");
	preload_resolve(&real_clock_gettime, "clock_gettime");
	preload_resolve(&real_write, "write");
	preload_resolve(&real_writev, "writev");
	preload_resolve(&real_pwrite, "pwrite");
	preload_resolve(&real_pwritev, "pwritev");
	preload_resolve(&real_pwritev2, "pwritev2");
	for (int i = 1; i + 1 < argc; i++)
		if (strcmp(argv[i], "-r") == 0)
			snprintf(role, sizeof(role), "%s", argv[i + 1]);
	if (path == NULL || (fd = open(path, O_RDWR | O_CLOEXEC)) == -1)
		return;
	p = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p != MAP_FAILED)
		control = p;
}

static bool
is_listed(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = list; p != NULL; p = strchr(p, ',')) {
		p += *p == ',';
		if (strncmp(p, name, len) == 0 && (p[len] == ',' || p[len] == '\0'))
			return true;
	}
	return false;
}

static bool
is_file(int fd, const char *kind)
{
	struct stat sb;
	int flags;

	if (fstat(fd, &sb) == -1)
		return false;
	if (S_ISDIR(sb.st_mode))
		return strcmp(kind, "dir") == 0 || strcmp(kind, "any") == 0;
	if (!S_ISREG(sb.st_mode) || (flags = fcntl(fd, F_GETFL)) == -1)
		return false;
	if (strcmp(kind, "any") == 0)
		return true;
	return strcmp(kind, (flags & O_APPEND) != 0 ? "log" : (flags & O_DSYNC) != 0 ? "meta" : "data") == 0;
}

/* Whether this call is one of those; sets errno. */
static bool
fails(const char *call, int fd)
{
	char program[32], of_role[32], calls[128], kind[8];
	unsigned error, from, to, n;
	int saved = errno;

	if (control == NULL || atomic_load(&control->armed) == 0 || fd <= 2)
		return false;
	if (sscanf(control->spec, "%31s %31s %127s %7s %u %u %u", program, of_role, calls, kind, &error, &from,
	    &to) != 7 || strcmp(program, program_invocation_short_name) != 0 ||
	    (strcmp(of_role, "*") != 0 && strcmp(of_role, role) != 0) ||
	    !is_listed(calls, call) || !is_file(fd, kind)) {
		errno = saved;
		return false;
	}
	n = atomic_fetch_add(&control->count, 1) + 1;
	if (n < from || n > to) {
		errno = saved;
		return false;
	}
	atomic_fetch_add(&control->hits, 1);
	errno = (int)error;
	return true;
}

/* Others' constructors may ask for the time before ours has run. */
int
clock_gettime(clockid_t id, struct timespec *ts)
{
	int r;

	if (real_clock_gettime == NULL)
		preload_resolve(&real_clock_gettime, "clock_gettime");
	r = real_clock_gettime(id, ts);
	if (r == 0 && control != NULL && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		ts->tv_sec += atomic_load(&control->clock_offset);
	return r;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	struct timespec ts;

	(void)tz;
	if (clock_gettime(CLOCK_REALTIME, &ts) == -1)
		return -1;
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *t)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (t != NULL)
		*t = ts.tv_sec;
	return ts.tv_sec;
}

int
fdatasync(int fd)
{
	return fails("fdatasync", fd) ? -1 : real_fdatasync(fd);
}

int
fsync(int fd)
{
	return fails("fsync", fd) ? -1 : real_fsync(fd);
}

int
ftruncate(int fd, off_t len)
{
	return fails("ftruncate", fd) ? -1 : real_ftruncate(fd, len);
}

int
fallocate(int fd, int mode, off_t off, off_t len)
{
	return fails("fallocate", fd) ? -1 : real_fallocate(fd, mode, off, len);
}

ssize_t
write(int fd, const void *p, size_t len)
{
	return fails("write", fd) ? -1 : real_write(fd, p, len);
}

ssize_t
writev(int fd, const struct iovec *iov, int n)
{
	return fails("writev", fd) ? -1 : real_writev(fd, iov, n);
}

ssize_t
pwrite(int fd, const void *p, size_t len, off_t off)
{
	return fails("pwrite", fd) ? -1 : real_pwrite(fd, p, len, off);
}

ssize_t
pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	return fails("pwritev", fd) ? -1 : real_pwritev(fd, iov, n, off);
}

ssize_t
pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	return fails("pwritev2", fd) ? -1 : real_pwritev2(fd, iov, n, off, flags);
}

/* The names of who was built with 64-bit offsets: the same calls. */
int ftruncate64(int, off_t) __attribute__((alias("ftruncate")));
int fallocate64(int, int, off_t, off_t) __attribute__((alias("fallocate")));
ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));
ssize_t pwritev64(int, const struct iovec *, int, off_t) __attribute__((alias("pwritev")));
ssize_t pwritev64v2(int, const struct iovec *, int, off_t, int) __attribute__((alias("pwritev2")));
