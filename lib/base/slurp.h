/* A whole small file in memory: configuration, policy. */
#ifndef BASE_SLURP_H
#define BASE_SLURP_H

#include <stddef.h>

/* Reads a regular file of at most `max` bytes. Malloced and NUL-terminated behind its length; NULL and errno
 * otherwise (EFBIG: longer; EISDIR, EINVAL: not a regular file). */
char *slurp(const char *file, size_t max, size_t *len_r);

#endif
