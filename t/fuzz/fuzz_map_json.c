/* JSON files of posthorn.map, which are split into members without a parser: the same is accepted as by jansson, which
 * sees all of it at once, and each member has the value that jansson finds. */
#include <jansson.h>

#include "t/fuzz/map.h"

/* What jansson takes and a map does not, or the other way round. */
static bool
is_known_difference(const struct map_reader *r, const json_error_t *err)
{
	return r->err != NULL ? strstr(r->err, "there twice") != NULL || strstr(r->err, "nested deeper") != NULL :
	    json_error_code(err) == json_error_null_byte_in_key || json_error_code(err) == json_error_stack_overflow;
}

static void
compare(const struct map_table *t, json_t *whole)
{
	struct fuzz_row row;
	json_error_t err;
	json_t *want, *got;
	size_t i;

	FUZZ_ASSERT(json_object_size(whole) == t->n);
	for (i = 0; i < t->n_slots; i++) {
		if (!fuzz_map_row(t, i, &row))
			continue;
		FUZZ_ASSERT((want = json_object_getn(whole, row.key, row.klen)) != NULL);
		if (row.kind == POLICY_MAP_STRING) {
			FUZZ_ASSERT(json_is_string(want) && json_string_length(want) == row.vlen &&
			    memcmp(json_string_value(want), row.value, row.vlen) == 0);
			continue;
		}
		got = json_loadb(row.value, row.vlen, JSON_DECODE_ANY | JSON_ALLOW_NUL, &err);
		FUZZ_ASSERT(got != NULL && json_equal(got, want));
		json_decref(got);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct policy_map_spec spec = { .file = "x.json", .is_json = true };
	struct map_reader r;
	json_error_t err = { .text = "" };
	json_t *whole = json_loadb((const char *)data, size, JSON_ALLOW_NUL, &err);
	bool ok = fuzz_map_read(&r, &spec, (const char *)data, size);

	if (ok != json_is_object(whole))
		FUZZ_ASSERT(is_known_difference(&r, &err));
	else if (ok)
		compare(&r.table, whole);
	json_decref(whole);
	map_reader_clear(&r);
	return 0;
}
