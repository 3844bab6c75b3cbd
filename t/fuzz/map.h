/* For the targets of maps: all of a file through the reader, as policy_map.c does it; and its rows. */
#ifndef FUZZ_MAP_H
#define FUZZ_MAP_H

#include <stdlib.h>
#include <string.h>

#include "mail/policy_map_private.h"
#include "t/fuzz/fuzz.h"

struct fuzz_row {
	const char *key, *value;
	uint32_t klen, vlen;
	enum policy_map_kind kind;
};

/* Whether it was right to its end. Each step takes something, or is the last. */
static inline bool
fuzz_map_read(struct map_reader *r, const struct policy_map_spec *spec, const char *data, size_t size)
{
	size_t at = 0, n;

	map_reader_init(r, spec);
	while ((n = map_reader_step(r, data + at, size - at, true)) > 0) {
		FUZZ_ASSERT(r->err == NULL && n <= size - at);
		at += n;
	}
	FUZZ_ASSERT(r->err != NULL || at == size);
	FUZZ_ASSERT(r->line <= size + 1);
	return r->err == NULL;
}

/* The row in that slot, if there is one. */
static inline bool
fuzz_map_row(const struct map_table *t, size_t slot, struct fuzz_row *row)
{
	uint32_t lens[2];
	const char *p;

	if (t->slots[slot].at == 0)
		return false;
	p = t->arena + t->slots[slot].at - 1;
	memcpy(lens, p, sizeof(lens));
	row->key = p + sizeof(lens);
	row->klen = lens[0];
	row->value = row->key + row->klen;
	row->vlen = lens[1] >> 2;
	row->kind = (enum policy_map_kind)(lens[1] & 3);
	FUZZ_ASSERT(t->slots[slot].at - 1 + sizeof(lens) + row->klen + row->vlen <= t->used);
	return true;
}

#endif
