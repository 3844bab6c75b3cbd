/* A spool segment of arbitrary bytes. First byte odd: a record header with right checksums is put in front, so that
 * what lies behind the checksums is reached, too. What is accepted can be read; what cannot be read was not
 * accepted. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "mail/record.h"
#include "t/fuzz/fuzz.h"

#define SEGMENT 5

/* Lengths from the input; the content is the input. */
static void
put_header(int fd, const uint8_t *data, size_t size)
{
	struct record rec = { .segment = SEGMENT, .headers_len = data[0], .envelope_len = data[1], .n_rcpts = data[2] };
	size_t known = (size_t)rec.headers_len + rec.envelope_len;
	uint8_t fixed[RECORD_HDR];

	rec.body_len = size > known ? size - known : data[3];
	memcpy(rec.id.b, data, 4);
	rec.crc = crc32c(0, data, size);
	record_encode(&rec, fixed);
	FUZZ_ASSERT(pwrite(fd, fixed, sizeof(fixed), 0) == sizeof(fixed));
}

static void
read_back(int fd, const struct record *rec)
{
	struct envelope *env;
	const char *err;
	size_t len;
	char *content = record_read_content(fd, rec, &len, &err);

	FUZZ_ASSERT(content != NULL && len == rec->headers_len + rec->body_len);
	FUZZ_ASSERT(record_check_content(fd, rec, &err) == 0);
	free(content);
	env = record_read_envelope(fd, rec, &err);
	FUZZ_ASSERT(env == NULL || env->n_rcpts == rec->n_rcpts);
	envelope_free(&env);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	struct record rec;
	uint64_t found;
	const char *err;
	int result;

	if (size < 8)
		return 0;
	if (fd == -1)
		fd = memfd_create("segment", MFD_CLOEXEC);
	FUZZ_ASSERT(ftruncate(fd, 0) == 0);
	FUZZ_ASSERT(pwrite(fd, data + 1, size - 1, data[0] & 1 ? RECORD_HDR : 0) == (ssize_t)size - 1);
	if (data[0] & 1)
		put_header(fd, data + 1, size - 1);
	result = record_verify(fd, SEGMENT, 0, &rec, &err);
	FUZZ_ASSERT(result >= -1 && (result == 1) == (err == NULL));
	if (result == 1)
		read_back(fd, &rec);
	else if (result == -1)
		FUZZ_ASSERT(record_check_content(fd, &rec, &err) == -1);
	result = record_resync(fd, SEGMENT, data[0] >> 1, size + RECORD_HDR, &found);
	FUZZ_ASSERT(result == 0 || (result == 1 && record_verify(fd, SEGMENT, found, &rec, &err) == 1));
	return 0;
}
