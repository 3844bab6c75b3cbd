/* CRC-32C over records in the spool and whatever else must be known to be whole. The processor's instruction where
 * there is one (8 bytes each 3 cycles), otherwise eight tables (slicing-by-8). Input: any bytes. */
#include <string.h>

#include "base/crc32c.h"

#define POLY_REFLECTED 0x82f63b78u

typedef uint32_t crc_fn(uint32_t, const uint8_t *, size_t);

static uint32_t table[8][256];
static crc_fn crc_table, *crc_best = crc_table;

static uint32_t
crc_table(uint32_t crc, const uint8_t *p, size_t len)
{
	for (; len >= 8; p += 8, len -= 8) {
		uint32_t low = crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
		    (uint32_t)p[3] << 24);

		crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^
		    table[4][low >> 24] ^ table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^
		    table[0][p[7]];
	}
	for (; len > 0; p++, len--)
		crc = table[0][(crc ^ *p) & 0xff] ^ crc >> 8;
	return crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t
crc_sse42(uint32_t crc, const uint8_t *p, size_t len)
{
	uint64_t c = crc, word;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, sizeof(word));
		c = __builtin_ia32_crc32di(c, word);
	}
	crc = (uint32_t)c;
	for (; len > 0; p++, len--)
		crc = __builtin_ia32_crc32qi(crc, *p);
	return crc;
}
#endif

/* Before main, so that no caller has to think of it and none can race. */
__attribute__((constructor)) static void
crc_init(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int k = 0; k < 8; k++)
			c = (c & 1) != 0 ? c >> 1 ^ POLY_REFLECTED : c >> 1;
		table[0][i] = c;
	}
	for (uint32_t i = 0; i < 256; i++)
		for (int t = 1; t < 8; t++)
			table[t][i] = table[0][table[t - 1][i] & 0xff] ^ table[t - 1][i] >> 8;
#ifdef __x86_64__
	__builtin_cpu_init();
	if (__builtin_cpu_supports("sse4.2"))
		crc_best = crc_sse42;
#endif
}

uint32_t
crc32c(uint32_t crc, const void *p, size_t len)
{
	return ~crc_best(~crc, p, len);
}

uint32_t
crc32c_portable(uint32_t crc, const void *p, size_t len)
{
	return ~crc_table(~crc, p, len);
}
