/* A whole small file in memory: configuration, policy. */
#ifndef BASE_SLURP_H
#define BASE_SLURP_H

#include <stdbool.h>
#include <stddef.h>

/* Reads a regular file of at most `max` bytes. Malloced and NUL-terminated behind its length; NULL and errno
 * otherwise (EFBIG: longer; EISDIR, EINVAL: not a regular file). */
char *slurp(const char *file, size_t max, size_t *len_r);

/* A file as it was at some moment. */
struct slurp_copy {
	char *file;
	char *text;
	size_t len;
};
/* From now on slurp() takes these files from memory, whatever the disk has by then: what was validated is what is
 * loaded (mail/config.h). The copies stay the caller's. is_all: there are no other files (ENOENT). n = 0: from the disk
 * again. */
void slurp_use_copies(const struct slurp_copy *, size_t n, bool is_all);
/* Whether slurp() would find something of that name, readable or not. */
bool slurp_exists(const char *file);

#endif
