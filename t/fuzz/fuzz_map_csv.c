/* CSV files of posthorn.map: what is accepted has as many fields in each row as columns, and read again from a file
 * that has every field in quotes it is the same. First byte: whether the key, the value is a column by name. */
#include "base/wire.h"
#include "t/fuzz/map.h"

static void
put_field(struct wbuf *w, const char *s, size_t len, char end)
{
	size_t i;

	wbuf_u8(w, '"');
	for (i = 0; i < len; i++) {
		if (s[i] == '"')
			wbuf_u8(w, '"');
		wbuf_u8(w, (uint8_t)s[i]);
	}
	wbuf_u8(w, '"');
	wbuf_u8(w, (uint8_t)end);
}

/* The fields of a row; the first must be the key. */
static void
put_row(struct wbuf *w, const struct fuzz_row *row, size_t n)
{
	const char *p = row->value, *end = p + row->vlen;
	uint32_t len;
	size_t i;

	for (i = 0; i < n; i++) {
		FUZZ_ASSERT((size_t)(end - p) >= sizeof(len));
		memcpy(&len, p, sizeof(len));
		p += sizeof(len);
		FUZZ_ASSERT((size_t)(end - p) >= len);
		if (i == 0)
			FUZZ_ASSERT(len == row->klen && memcmp(p, row->key, len) == 0);
		put_field(w, p, len, i + 1 < n ? ',' : '\n');
		p += len;
	}
	FUZZ_ASSERT(p == end);
}

static bool
has_row(const struct map_table *t, const struct fuzz_row *want)
{
	struct fuzz_row row;
	size_t i;

	for (i = 0; i < t->n_slots; i++)
		if (fuzz_map_row(t, i, &row) && row.klen == want->klen && memcmp(row.key, want->key, row.klen) == 0)
			return row.kind == want->kind && row.vlen == want->vlen &&
			    memcmp(row.value, want->value, row.vlen) == 0;
	return false;
}

static void
read_again(const struct map_table *t)
{
	const struct policy_map_spec spec = { .file = "x.csv" };
	struct map_reader r;
	struct fuzz_row row;
	struct wbuf w;
	size_t i;

	wbuf_init(&w);
	for (i = 0; i < t->n_columns; i++)
		put_field(&w, t->columns[i], strlen(t->columns[i]), i + 1 < t->n_columns ? ',' : '\n');
	for (i = 0; i < t->n_slots; i++)
		if (fuzz_map_row(t, i, &row))
			put_row(&w, &row, t->n_columns);
	FUZZ_ASSERT(fuzz_map_read(&r, &spec, (const char *)w.p, w.len));
	FUZZ_ASSERT(r.table.n == t->n && r.table.n_columns == t->n_columns);
	for (i = 0; i < t->n_slots; i++)
		if (fuzz_map_row(t, i, &row))
			FUZZ_ASSERT(has_row(&r.table, &row));
	map_reader_clear(&r);
	wbuf_clear(&w);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct policy_map_spec spec = { .file = "x.csv" };
	struct map_reader r;

	if (size == 0)
		return 0;
	spec.key = (data[0] & 1) != 0 ? "key" : NULL;
	spec.value = (data[0] & 2) != 0 ? "value" : NULL;
	if (fuzz_map_read(&r, &spec, (const char *)data + 1, size - 1) && data[0] % 4 == 0)
		read_again(&r.table);
	map_reader_clear(&r);
	return 0;
}
