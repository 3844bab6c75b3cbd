/* The files of the spool: creating, locking, recycling, removing. Runs in queued, the only process that knows their
 * names; they are made from numbers of our own, relative to a directory descriptor. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/queued.h"
#include "queued/segment.h"

/* Far beyond any content: locks there are of no consequence to readers and writers. */
#define LOCK_PRODUCER_AT 0x7ffffffffffffff0LL
#define LOCK_READER_AT 0x7ffffffffffffff1LL
#define INODES_MIN 64

static struct flock
segfile_lock_at(off_t where, short type)
{
	struct flock fl;

	memset(&fl, 0, sizeof(fl));
	fl.l_type = type;
	fl.l_whence = SEEK_SET;
	fl.l_start = where;
	fl.l_len = 1;
	return fl;
}

int
segfile_lock_producer(int fd)
{
	struct flock fl = segfile_lock_at(LOCK_PRODUCER_AT, F_WRLCK);

	return fcntl(fd, F_OFD_SETLK, &fl);
}

int
segfile_lock_reader(int fd)
{
	struct flock fl = segfile_lock_at(LOCK_READER_AT, F_RDLCK);

	return fcntl(fd, F_OFD_SETLK, &fl);
}

/* Whether another open file description holds the lock. If that cannot be told, it counts as held: waiting is safe. */
static bool
segfile_is_locked(int fd, off_t where)
{
	struct flock fl = segfile_lock_at(where, F_WRLCK);

	if (fcntl(fd, F_OFD_GETLK, &fl) == -1)
		return true;
	return fl.l_type != F_UNLCK;
}

bool
segfile_has_producer(int fd)
{
	return segfile_is_locked(fd, LOCK_PRODUCER_AT);
}

bool
segfile_has_reader(int fd)
{
	return segfile_is_locked(fd, LOCK_READER_AT);
}

int
segfile_open(int dirfd, const char *name, int flags)
{
	return openat(dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

uint64_t
segfile_number(const char *name)
{
	uint64_t number;
	char *end;

	if (strlen(name) != 20 || strspn(name, "0123456789abcdef") != 16)
		return 0;
	number = strtoull(name, &end, 16);
	return strcmp(end, ".seg") == 0 ? number : 0;
}

static void
stock_name(uint64_t serial, char out[32])
{
	(void)snprintf(out, 32, "free-%016" PRIx64 ".seg", serial);
}

static bool
is_stock(const char *name)
{
	return strncmp(name, "free-", 5) == 0;
}

/* Calls fn for each file in stock until it returns true. */
static bool
stock_each(struct segments *s, bool (*fn)(struct segments *, const char *name, void *arg), void *arg)
{
	struct dirent *de;
	bool is_done = false;
	DIR *dir;
	int fd;

	if ((fd = openat(s->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1)
		return false;
	if ((dir = fdopendir(fd)) == NULL) {
		close(fd);
		return false;
	}
	while (!is_done && (de = readdir(dir)) != NULL)
		if (is_stock(de->d_name))
			is_done = fn(s, de->d_name, arg);
	closedir(dir);
	return is_done;
}

struct stock_take {
	const char *new_name;
	uint64_t size;
	int fd;
};

static bool
stock_take(struct segments *s, const char *name, void *arg)
{
	struct stock_take *take = arg;
	struct stat sb;
	int fd;

	if ((fd = segfile_open(s->dirfd, name, O_RDWR)) == -1)
		return false;
	/* A reader that is slow to let go keeps its old bytes: such a file is of no use. */
	if (fstat(fd, &sb) == -1 || (uint64_t)sb.st_size < take->size || segfile_has_reader(fd) ||
	    segfile_has_producer(fd)) {
		close(fd);
		(void)unlinkat(s->dirfd, name, 0);
		if (s->n_stock > 0)
			s->n_stock--;
		return false;
	}
	if (renameat(s->dirfd, name, s->dirfd, take->new_name) == -1) {
		close(fd);
		return false;
	}
	if (s->n_stock > 0)
		s->n_stock--;
	take->fd = fd;
	return true;
}

static bool
stock_drop(struct segments *s, const char *name, void *arg)
{
	const uint32_t *keep = arg;

	if (s->n_stock <= *keep)
		return true;
	if (unlinkat(s->dirfd, name, 0) == 0)
		s->n_stock--;
	return false;
}

static bool
stock_count(struct segments *s, const char *name, void *arg)
{
	uint64_t serial = strtoull(name + 5, NULL, 16);

	(void)arg;
	s->n_stock++;
	if (serial >= s->stock_serial)
		s->stock_serial = serial + 1;
	return false;
}

void
segfile_trim_stock(struct segments *s, uint32_t keep)
{
	if (s->n_stock > keep)
		(void)stock_each(s, stock_drop, &keep);
}

void
segfile_count_stock(struct segments *s)
{
	s->n_stock = 0;
	(void)stock_each(s, stock_count, NULL);
	segfile_trim_stock(s, SEG_STOCK_MAX);
}

/* Whether `size` bytes more leave `reserve`, and inodes. The index and the logs need them to go on at all. */
static bool
has_room(const struct segments *s, uint64_t size, uint64_t reserve)
{
	struct statfs fs;

	if (fstatfs(s->dirfd, &fs) == -1)
		return true; /* the write will tell */
	if (fs.f_files > 0 && fs.f_ffree < INODES_MIN)
		return false;
	return (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize >= size + reserve;
}

void
segfile_yield_stock(struct segments *s)
{
	if (s->n_stock > 0 && !has_room(s, 0, (uint64_t)s->q->params->min_free_space))
		segfile_trim_stock(s, 0);
}

/* A file of that number with `size` bytes allocated (0: none; it grows), opened for reading and writing. From the
 * stock if possible: rewriting allocated blocks is what makes fdatasync cheap. -1 and errno. */
int
segfile_create(struct segments *s, uint64_t number, uint64_t size, uint64_t reserve)
{
	struct stock_take take = { NULL, size, -1 };
	char name[24];
	int fd, saved;

	segment_name(number, name);
	s->dir_dirty = true;
	if (size > 0 && s->n_stock > 0) {
		take.new_name = name;
		if (stock_each(s, stock_take, &take))
			return take.fd;
	}
	if (!has_room(s, size, reserve)) {
		errno = ENOSPC;
		return -1;
	}
	if ((fd = segfile_open(s->dirfd, name, O_RDWR | O_CREAT | O_EXCL)) == -1)
		return -1;
	if (size > 0 && fallocate(fd, 0, 0, (off_t)size) == -1 && errno != EOPNOTSUPP && errno != ENOSYS) {
		saved = errno;
		(void)unlinkat(s->dirfd, name, 0);
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

/* A segment begins with a record of the release that wrote it; what a newer one added later is found by the scan. */
int
segfile_check_versions(const char *path, char **err_r)
{
	DIR *dir = opendir(path);
	struct dirent *de;
	uint64_t number;
	int fd;

	if (dir == NULL) {
		*err_r = xasprintf("%s: %s", path, strerror(errno));
		return -1;
	}
	while (*err_r == NULL && (de = readdir(dir)) != NULL) {
		if ((number = segfile_number(de->d_name)) == 0 ||
		    (fd = segfile_open(dirfd(dir), de->d_name, O_RDONLY)) == -1)
			continue;
		if (record_is_newer(fd, number, 0))
			*err_r = xasprintf("segment %s/%s was written by a newer release: install that one, or drain "
			    "the queue with it first; nothing was changed", path, de->d_name);
		close(fd);
	}
	closedir(dir);
	return *err_r == NULL ? 0 : -1;
}

/* The file of a finished segment goes: into the stock if it is worth it, else for good. */
void
segfile_remove(struct segments *s, struct segment *seg, bool may_recycle)
{
	char name[24], stock[32];
	struct stat sb;

	segment_name(seg->number, name);
	s->dir_dirty = true;
	if (may_recycle && seg->kind == QL_SEG_NORMAL && s->n_stock < SEG_STOCK_MAX &&
	    fstatat(s->dirfd, name, &sb, 0) == 0 &&
	    sb.st_size >= s->q->params->segment_size) {
		stock_name(s->stock_serial++, stock);
		if (renameat(s->dirfd, name, s->dirfd, stock) == 0) {
			s->n_stock++;
			return;
		}
	}
	if (unlinkat(s->dirfd, name, 0) == -1 && errno != ENOENT)
		log_error("removing segment %s: %s", name, strerror(errno));
}
