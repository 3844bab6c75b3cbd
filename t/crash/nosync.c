/* For the control runs of the power cuts: a suite that has this preloaded asks the kernel for no durability at all, as
 * a careless program would. The check must then find messages missing; if it does not, it proves nothing.
 *
 * LMDB writes its meta pages through a descriptor opened with O_DSYNC, so that flag goes too. No system call is added,
 * and none is needed before the sandbox is entered. */
#include <sys/mman.h>
#include <sys/types.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
real_open(const char *name, int dirfd, const char *path, int flags, mode_t mode)
{
	int (*open_fn)(const char *, int, ...);
	int (*openat_fn)(int, const char *, int, ...);
	void *p = dlsym(RTLD_NEXT, name);

	if (p == NULL)
		abort();
	flags &= ~(O_DSYNC | O_SYNC);
	if (strncmp(name, "openat", 6) == 0) {
		memcpy(&openat_fn, &p, sizeof(p));
		return openat_fn(dirfd, path, flags, mode);
	}
	memcpy(&open_fn, &p, sizeof(p));
	return open_fn(path, flags, mode);
}

/* The mode follows only where a file may be made. */
static mode_t
mode_of(int flags, va_list ap)
{
	return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0;
}

int
open(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	return real_open("open", AT_FDCWD, path, flags, mode);
}

int
openat(int dirfd, const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	return real_open("openat", dirfd, path, flags, mode);
}

int
fdatasync(int fd)
{
	(void)fd;
	return 0;
}

int
fsync(int fd)
{
	(void)fd;
	return 0;
}

int
sync_file_range(int fd, off_t off, off_t len, unsigned flags)
{
	(void)fd;
	(void)off;
	(void)len;
	(void)flags;
	return 0;
}

int
msync(void *p, size_t len, int flags)
{
	(void)p;
	(void)len;
	(void)flags;
	return 0;
}

int
syncfs(int fd)
{
	(void)fd;
	return 0;
}

void
sync(void)
{
}

/* The names of who was built with 64-bit offsets: the same calls. */
int open64(const char *, int, ...) __attribute__((alias("open")));
int openat64(int, const char *, int, ...) __attribute__((alias("openat")));
