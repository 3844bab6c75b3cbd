/* Header blocks: fields lie one behind the other inside the block, and their end is the block's. */
#include <string.h>

#include "mail/header.h"
#include "t/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *block = (const char *)data;
	struct header_iter iter;
	struct header_field f;
	size_t total = 0, len = header_block_len(block, size);
	char value[40];

	header_iter_init(&iter, block, size);
	while (header_next(&iter, &f)) {
		FUZZ_ASSERT(f.whole.base == block + total && f.whole.len > f.name.len && f.name.len > 0);
		FUZZ_ASSERT(f.value.base > f.name.base + f.name.len - 1);
		FUZZ_ASSERT(f.value.base + f.value.len <= f.whole.base + f.whole.len);
		FUZZ_ASSERT(header_value(&f, value, sizeof(value)) == strlen(value) && strpbrk(value, "\r\n") == NULL);
		total += f.whole.len;
	}
	FUZZ_ASSERT(len == total || len == total + 2);
	FUZZ_ASSERT(header_find(block, size, "Subject", &f) == (header_count(block, size, "Subject") > 0));
	return 0;
}
