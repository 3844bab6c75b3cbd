/* CRC-32C (Castagnoli, RFC 3720 B.4): SSE4.2 where the processor has it, a table otherwise. */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Start with 0; may be continued: crc32c(crc32c(0, a, n), b, m) is that of ab. */
uint32_t crc32c(uint32_t crc, const void *, size_t);
/* The same without the instruction. */
uint32_t crc32c_portable(uint32_t crc, const void *, size_t);

#endif
