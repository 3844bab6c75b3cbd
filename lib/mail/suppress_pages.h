/* Reads the newest state of an LMDB file from a map, while somebody else may be writing it (suppress.h says why not
 * with LMDB). Follows no number that was not checked. The format: LMDB 0.9, MDB_DATA_VERSION 1, 64 bits, little-endian,
 * rows in the main database, no value larger than a page holds. Runs in smtpd, queued and the admin command. */
#ifndef MAIL_SUPPRESS_PAGES_H
#define MAIL_SUPPRESS_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGES_DEPTH_MAX 24

struct pages_file {
	int fd;
	const uint8_t *map;
	uint64_t map_size;
	uint64_t size; /* of the file, as far as known */
	uint32_t page;
};

/* A state of the file and a place in it. */
struct pages_cursor {
	struct pages_file *f;
	uint64_t txn, root, last;
	unsigned depth;
	struct pages_level {
		const uint8_t *p;
		unsigned n, i;
	} at[PAGES_DEPTH_MAX];
	const char *why;   /* something is wrong: static */
	bool is_end;
	bool has_leaf; /* the last level is a leaf of this state */
	const uint8_t *key, *value; /* unless is_end or why */
	size_t keylen, len;
};

/* 0; -1 and *why_r (static, or strerror's). */
int pages_map(struct pages_file *, int fd, uint64_t map_size, const char **why_r);
void pages_unmap(struct pages_file *); /* not fd */
/* Takes the newest state. False: c->why. */
bool pages_begin(struct pages_file *, struct pages_cursor *c);
/* To the first row whose key is not less; then on. False: the end, or c->why. */
bool pages_seek(struct pages_cursor *, const void *key, size_t len);
bool pages_next(struct pages_cursor *);
/* Whether what was read since pages_begin was one state. */
bool pages_is_newest(const struct pages_cursor *);

#endif
