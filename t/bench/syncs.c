/* Counts fsync and fdatasync calls of every process that it is preloaded into, for `make bench`: in the first eight
 * bytes of the file that SYNCS names, mapped before any sandbox closes. */
#include <sys/mman.h>

#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "t/lib/preload.h"

static _Atomic uint64_t *count;
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

__attribute__((constructor)) static void
start(void)
{
	const char *path = getenv("SYNCS");
	void *p;
	int fd;

	preload_resolve(&real_fsync, "fsync");
	preload_resolve(&real_fdatasync, "fdatasync");
	if (path == NULL || (fd = open(path, O_RDWR | O_CLOEXEC)) == -1)
		return;
	p = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p != MAP_FAILED)
		count = p;
}

int
fsync(int fd)
{
	if (count != NULL)
		atomic_fetch_add(count, 1);
	return real_fsync(fd);
}

int
fdatasync(int fd)
{
	if (count != NULL)
		atomic_fetch_add(count, 1);
	return real_fdatasync(fd);
}
