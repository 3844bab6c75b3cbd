/* Lists of addresses of other services: whatever the file is, reading ends, each line is one row, a soft bounce or a
 * complaint, rows are as the store wants them, and a row that is exported is read back the same. */
#include "base/wire.h"
#include "mail/suppress_csv.h"
#include "mail/suppress_rows.h"
#include "t/fuzz/fuzz.h"

#define NOW INT64_C(1790000000000)

static void
read_again(const struct suppress_row *row)
{
	struct suppress_csv csv;
	struct suppress_row back;
	struct suppress_key k1, k2;
	struct wbuf w, v1, v2;
	const char *why = NULL;

	wbuf_init(&w);
	wbuf_init(&v1);
	wbuf_init(&v2);
	suppress_csv_heading(&w);
	suppress_csv_write(&w, row);
	FUZZ_ASSERT(suppress_csv_open(&csv, (const char *)w.p, w.len, 0, &why) == 0);
	csv.now = NOW;
	FUZZ_ASSERT(suppress_csv_next(&csv, &back, &why) == CSV_ROW);
	suppress_row_encode(row, &k1, &v1);
	suppress_row_encode(&back, &k2, &v2);
	FUZZ_ASSERT(k1.len == k2.len && memcmp(k1.b, k2.b, k1.len) == 0);
	FUZZ_ASSERT(v1.len == v2.len && memcmp(v1.p, v2.p, v1.len) == 0);
	suppress_row_clear(&back);
	suppress_csv_clear(&csv);
	wbuf_clear(&w);
	wbuf_clear(&v1);
	wbuf_clear(&v2);
}

/* As a batch goes to bouncerd. */
static void
send(const struct suppress_row *row)
{
	struct suppress_row back;
	struct wbuf frame, scratch;
	struct rbuf r;

	wbuf_init(&frame);
	wbuf_init(&scratch);
	suppress_rows_add(&frame, row, &scratch);
	rbuf_init(&r, frame.p, frame.len);
	FUZZ_ASSERT(suppress_rows_next(&r, &back) == 1);
	FUZZ_ASSERT(strcmp(back.r.address, row->r.address) == 0 && back.r.reason == row->r.reason);
	suppress_row_clear(&back);
	FUZZ_ASSERT(suppress_rows_next(&r, &back) == 0);
	wbuf_clear(&frame);
	wbuf_clear(&scratch);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct suppress_csv csv;
	struct suppress_row row;
	const char *why = NULL;
	enum suppress_csv_got got;
	size_t n = 0;

	if (suppress_csv_open(&csv, (const char *)data, size, 0, &why) == 0) {
		csv.now = NOW;
		while ((got = suppress_csv_next(&csv, &row, &why)) != CSV_END) {
			FUZZ_ASSERT(n++ <= size);
			if (got == CSV_BAD)
				FUZZ_ASSERT(why != NULL);
			if (got != CSV_ROW)
				continue;
			read_again(&row);
			send(&row);
			suppress_row_clear(&row);
		}
	} else {
		FUZZ_ASSERT(why != NULL);
	}
	suppress_csv_clear(&csv);
	return 0;
}
