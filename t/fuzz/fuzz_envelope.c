/* The envelope decoder. What is accepted encodes to the same bytes: there is one encoding of everything. */
#include <string.h>

#include "mail/envelope.h"
#include "t/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *err = NULL;
	struct envelope *env = envelope_decode(data, size, &err);
	struct wbuf w;

	if (env == NULL) {
		FUZZ_ASSERT(err != NULL);
		return 0;
	}
	wbuf_init(&w);
	envelope_encode(env, &w);
	if (data[0] == 1) /* of an earlier release: what is written is of this one */
		FUZZ_ASSERT(w.len > size && memcmp(w.p + 1, data + 1, size - 1) == 0);
	else
		FUZZ_ASSERT(w.len == size && memcmp(w.p, data, size) == 0);
	wbuf_clear(&w);
	envelope_free(&env);
	return 0;
}
