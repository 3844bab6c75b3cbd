/* Between policy_map.c (tables, files, reloading) and policy_map_read.c (CSV and JSON). */
#ifndef MAIL_POLICY_MAP_PRIVATE_H
#define MAIL_POLICY_MAP_PRIVATE_H

#include "mail/policy_map.h"

struct map_slot {
	uint32_t hash;
	uint32_t at; /* offset in the arena + 1; 0: free */
};

struct map_table {
	char *arena; /* entries: u32 length of key, u32 length of value and kind, key, value */
	size_t used, cap;
	struct map_slot *slots;
	size_t n_slots; /* a power of two */
	size_t n;
	char **columns;
	size_t n_columns;
};

/* 1 added, 0 the key is there already, -1 too much. */
int map_table_add(struct map_table *, const char *key, size_t klen, enum policy_map_kind, const char *value, size_t vlen);

struct map_field {
	size_t at, len; /* in scratch */
};

struct map_reader {
	const struct policy_map_spec *spec;
	struct map_table table;
	unsigned line;
	enum { MAP_BEGIN, MAP_RECORDS, MAP_END } state;
	size_t key, value; /* columns; value SIZE_MAX: the row */
	char *scratch;     /* POLICY_MAP_RECORD_MAX * 5: fields of a record, packed */
	struct map_field fields[POLICY_MAP_COLUMNS_MAX];
	size_t n_fields;
	char *err;         /* malloced sentence */
};

void map_reader_init(struct map_reader *, const struct policy_map_spec *);
void map_reader_clear(struct map_reader *);
/* Takes one record from the data, which has at least POLICY_MAP_RECORD_MAX bytes or, is_last, the end of the file.
 * How many bytes were taken; 0: the end, or r->err. */
size_t map_reader_step(struct map_reader *, const char *data, size_t len, bool is_last);

#endif
