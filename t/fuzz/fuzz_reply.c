/* SMTP replies: input is split at LF. The text is always terminated, clean and bounded. */
#include <string.h>

#include "base/utf8.h"
#include "mail/reply.h"
#include "t/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data, *end = p + size, *err;
	struct reply reply;
	int result = 0;

	reply_reset(&reply);
	while (result == 0 && p < end) {
		const char *lf = memchr(p, '\n', (size_t)(end - p));
		size_t len = (size_t)((lf == NULL ? end : lf) - p);

		result = reply_line(&reply, p, len, &err);
		p += len + 1;
	}
	FUZZ_ASSERT(reply.len < REPLY_TEXT_MAX && strlen(reply.text) == reply.len && utf8_is_valid(reply.text,
	    reply.len));
	for (size_t i = 0; i < reply.len; i++)
		FUZZ_ASSERT((unsigned char)reply.text[i] >= ' ' || reply.text[i] == '\n');
	FUZZ_ASSERT(result != 1 || (reply.is_complete && reply.code >= 200 && reply.code <= 599));
	return 0;
}
