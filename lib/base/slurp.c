/* Reads a file as a whole, once, so that what is parsed cannot change between two looks. Any process at start-up and
 * reload. The size is bounded whatever the file claims or becomes while it is read; a FIFO or device in its place
 * cannot hang us. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/slurp.h"
#include "base/xalloc.h"

#define CHUNK 8192

/* Set around one loading of a configuration; a process loads one at a time. */
static const struct slurp_copy *copies;
static size_t n_copies;
static bool has_all;

void
slurp_use_copies(const struct slurp_copy *v, size_t n, bool is_all)
{
	has_all = is_all;
	copies = v;
	n_copies = n;
}

static const struct slurp_copy *
copy_find(const char *file)
{
	for (size_t i = 0; i < n_copies; i++)
		if (strcmp(copies[i].file, file) == 0)
			return &copies[i];
	return NULL;
}

/* 0, or -1 and errno. */
static int
read_all(int fd, size_t max, char **buf, size_t *len)
{
	size_t size = 0;
	ssize_t got;

	for (;;) {
		if (*len == size) {
			size = size * 2 + CHUNK;
			*buf = xreallocarray(*buf, size + 1, 1);
		}
		if ((got = read(fd, *buf + *len, size - *len)) == 0)
			break;
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		*len += (size_t)got;
		if (*len > max) {
			errno = EFBIG;
			return -1;
		}
	}
	(*buf)[*len] = '\0';
	return 0;
}

bool
slurp_exists(const char *file)
{
	return copy_find(file) != NULL || (!has_all && (access(file, F_OK) == 0 || errno != ENOENT));
}

char *
slurp(const char *file, size_t max, size_t *len_r)
{
	const struct slurp_copy *copy = copy_find(file);
	struct stat st;
	char *buf = NULL;
	size_t len = 0;
	int fd, rc, saved;

	if ((copy != NULL && copy->len > max) || (copy == NULL && has_all)) {
		errno = copy != NULL ? EFBIG : ENOENT;
		return NULL;
	}
	if (copy != NULL) {
		*len_r = copy->len;
		return xmemdup0(copy->text, copy->len);
	}
	if ((fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) < 0)
		return NULL;
	if ((rc = fstat(fd, &st)) == 0 && !S_ISREG(st.st_mode)) {
		errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
		rc = -1;
	}
	if (rc == 0)
		rc = read_all(fd, max, &buf, &len);
	saved = errno;
	close(fd);
	errno = saved;
	if (rc != 0) {
		free(buf);
		return NULL;
	}
	*len_r = len;
	return buf;
}
