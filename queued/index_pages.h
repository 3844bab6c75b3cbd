/* Reads the file of an LMDB environment page by page without LMDB, which trusts what it finds: a damaged page makes it
 * read beyond its map, or free pages that are in use. Nothing here follows a number that was not checked, so it may be
 * pointed at anything. The format is that of LMDB 0.9 (MDB_DATA_VERSION 1) on a 64-bit little-endian machine. */
#ifndef QUEUED_INDEX_PAGES_H
#define QUEUED_INDEX_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INDEX_KEY_MAX 511 /* of LMDB */

struct index_row {
	const char *db; /* its name */
	const uint8_t *key, *value;
	size_t keylen, len;
};

/* NULL, or a static sentence about what is wrong with the row. */
typedef const char *index_row_fn(const struct index_row *, void *arg);

enum index_pages { PAGES_OK, PAGES_NONE, PAGES_BAD, PAGES_OTHER_FORMAT };

/* Walks all databases of the file: first the one called `first`, then the rest. PAGES_NONE: an empty file, which LMDB
 * makes a new environment of. PAGES_BAD: *why_r is a static sentence. PAGES_OTHER_FORMAT: written by another LMDB. */
enum index_pages index_pages_walk(int fd, const char *first, index_row_fn *, void *arg, const char **why_r);

#endif
