/* What a local program gives sendmail: the message on standard input (often a web form's, so a stranger's), and the
 * sender and full name of the command line. First byte: options; then {u8 length, bytes} of the full name. What goes
 * to smtpd has CRLF and nothing else for a line end, the headers that RFC 5322 wants, and no Bcc. */
#include <stdio.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/header.h"
#include "posthorn/sendmail.h"
#include "t/fuzz/fuzz.h"

#define SIZE_MAX_LIMIT 8192

/* In the place of the sentence on standard error. */
int
sendmail_fail(int status, const char *fmt, ...)
{
	FUZZ_ASSERT(status > 0 && *fmt != '\0');
	return status;
}

static void
check_message(const struct sendmail *sm, const struct wbuf *out)
{
	static const char *const once[] = { "From", "Date", "Message-ID" };
	const char *text = (const char *)out->p;
	size_t i, len = header_block_len(text, out->len);

	FUZZ_ASSERT(fuzz_is_crlf_only(text, out->len));
	FUZZ_ASSERT(len >= 2 && memcmp(text + len - 2, "\r\n", 2) == 0);
	for (i = 0; i < 3; i++)
		FUZZ_ASSERT(header_count(text, len, once[i]) >= 1);
	FUZZ_ASSERT(header_count(text, len, "Bcc") == 0 && header_count(text, len, "Resent-Bcc") == 0);
	FUZZ_ASSERT(sm->take_recipients || sm->rcpts.n == 0);
	for (i = 0; i < sm->rcpts.n; i++) /* they go into commands as they are */
		FUZZ_ASSERT(strpbrk(sm->rcpts.v[i], "\r\n") == NULL && fuzz_is_clean(sm->rcpts.v[i]));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t how = fuzz_u8(&in);
	size_t len = fuzz_u8(&in) % 64;
	const uint8_t *name = fuzz_take(&in, &len);
	char *full_name = xmemdup0(name, len), sender[] = "user@mx.test.example", *input;
	struct sendmail sm = { .sender = (how & 4) != 0 ? sender + strlen(sender) : sender,
		.full_name = (how & 8) != 0 ? full_name : NULL, .take_recipients = (how & 1) != 0 };
	struct wbuf text, out;
	FILE *f;

	log_init("fuzz", LOG_LVL_ERROR);
	wbuf_init(&text);
	wbuf_init(&out);
	input = xmemdup0(in.p, in.left);
	FUZZ_ASSERT((f = fmemopen(input, in.left + 1, "r")) != NULL);
	(void)setvbuf(f, NULL, _IONBF, 0);
	if (sendmail_read(f, (how & 2) != 0, SIZE_MAX_LIMIT, &text) == 0) {
		FUZZ_ASSERT(text.len <= SIZE_MAX_LIMIT && fuzz_is_crlf_only((const char *)text.p, text.len));
		if (sendmail_headers(&sm, "mx.test.example", 1700000000000, &text, &out) == 0)
			check_message(&sm, &out);
	}
	fclose(f);
	free(input);
	free(full_name);
	addrlist_clear(&sm.rcpts);
	wbuf_clear(&text);
	wbuf_clear(&out);
	return 0;
}
