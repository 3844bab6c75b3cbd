/* Look-up tables from files, for policy (policy_lib_map.c): CSV (RFC 4180, with a header line) or a JSON object, in
 * memory, loaded again by themselves when the file changes. A new content is read beside the old, a slice at a time, and
 * takes its place only when all of it is valid. Any process that loads policy; the files are the administrator's, often
 * written by programs. */
#ifndef MAIL_POLICY_MAP_H
#define MAIL_POLICY_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POLICY_MAP_BYTES_MAX (256u << 20) /* of keys and values; and of the file */
#define POLICY_MAP_ROWS_MAX 10000000u
#define POLICY_MAP_RECORD_MAX (64u << 10) /* bytes of a line, or of a member */
#define POLICY_MAP_COLUMNS_MAX 256
#define POLICY_MAP_CHECK_MS 1000 /* between looks at the file */
#define POLICY_MAP_SLICE_MS 20   /* between slices of reading */

struct policy_map;

enum policy_map_kind {
	POLICY_MAP_STRING, /* the value itself */
	POLICY_MAP_ROW,    /* fields, each a u32 of the host and so many bytes, in the order of the columns */
	POLICY_MAP_JSON    /* JSON text */
};

struct policy_map_value {
	enum policy_map_kind kind;
	const char *data;
	size_t len;
};

struct policy_map_spec {
	const char *file;
	bool is_json;
	const char *key, *value; /* columns of CSV; key NULL: the first; value NULL: the whole row */
};

/* Loads all of it. NULL and a malloced sentence with the line. */
struct policy_map *policy_map_open(const struct policy_map_spec *, char **err_r);
void policy_map_free(struct policy_map **);
/* Valid until the next policy_map_tend(). */
bool policy_map_get(const struct policy_map *, const char *key, size_t len, struct policy_map_value *);
size_t policy_map_count(const struct policy_map *);
const char *const *policy_map_columns(const struct policy_map *, size_t *n_r);
/* Whether policy_map_tend() has something to do at that time (monotonic): cheap, for every look-up. */
bool policy_map_is_due(const struct policy_map *, int64_t now_ms);
/* Looks whether the file has changed, or reads a slice of the new content. 1: the new content is in force; 0: nothing to
 * say; -1: the new content is wrong, the old stays, *err_r a malloced sentence. */
int policy_map_tend(struct policy_map *, int64_t now_ms, char **err_r);

#endif
