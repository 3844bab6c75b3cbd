/* What a daemon and its parse role say to each other: the first byte chooses question or answer. What is accepted is
 * clean and within its bounds, and is said again in the same octets. */
#include <string.h>

#include "mail/parse_link.h"
#include "mail/report_json.h"

#include "t/fuzz/fuzz.h"

static const char *const wanted[] = { "X-Posthorn-Ref" };

static void
question(const uint8_t *data, size_t size)
{
	struct parse_asked a;
	struct wbuf w;
	struct rbuf r;

	rbuf_init(&r, data, size);
	if (parse_ask_decode(&r, &a) == -1)
		return;
	FUZZ_ASSERT(a.ask.n_wanted <= PARSE_WANTED_MAX && a.ask.content.len <= PARSE_CONTENT_MAX);
	wbuf_init(&w);
	parse_ask_encode(&a.ask, &w);
	FUZZ_ASSERT(w.len == size && memcmp(w.p, data, size) == 0);
	wbuf_clear(&w);
	parse_asked_clear(&a);
}

static void
answer(const uint8_t *data, size_t size)
{
	struct parse_answer a;
	struct wbuf w;
	struct rbuf r;
	struct json j;

	rbuf_init(&r, data, size);
	if (parse_answer_decode(&r, wanted, 1, &a) == -1)
		return;
	FUZZ_ASSERT(a.dsn.n_rcpts <= DSN_MAX_RCPTS && a.arf.n_extensions <= ARF_MAX_EXTENSIONS);
	wbuf_init(&w);
	parse_answer_encode(&a, &w);
	FUZZ_ASSERT(w.len == size && memcmp(w.p, data, size) == 0);
	wbuf_clear(&w);
	json_init(&j);
	json_arr(&j, NULL);
	if ((a.kinds & PARSE_DSN) != 0)
		dsn_report_json(&j, NULL, &a.dsn);
	if ((a.kinds & PARSE_ARF) != 0)
		arf_report_json(&j, NULL, &a.arf);
	json_arr_end(&j);
	FUZZ_ASSERT(utf8_is_valid(j.out.p, j.out.len));
	json_clear(&j);
	parse_answer_clear(&a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] % 2 == 0)
		question(data + 1, size - 1);
	else
		answer(data + 1, size - 1);
	return 0;
}
