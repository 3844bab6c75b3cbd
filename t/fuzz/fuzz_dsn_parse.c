/* Bounces: whatever comes, what is found is clean, bounded and consistent, and its JSON is valid UTF-8. */
#include "mail/report_json.h"

#include "t/fuzz/fuzz.h"

static void
check_text(const char *text, size_t max)
{
	FUZZ_ASSERT(text == NULL || (fuzz_is_clean(text) && strlen(text) <= max));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const wanted[] = { "X-Posthorn-Ref", "Subject" };
	struct dsn_report r;
	struct json j;

	dsn_parse(&r, (const char *)data, size, size % 2 == 0 ? NULL : "", wanted, 2);
	FUZZ_ASSERT(r.n_rcpts <= DSN_MAX_RCPTS && *dsn_kind_name(r.kind) != '\0' && r.shape != NULL);
	for (unsigned i = 0; i < r.n_rcpts; i++) {
		const struct dsn_report_rcpt *rcpt = &r.rcpts[i];

		FUZZ_ASSERT(rcpt->address != NULL && *rcpt->address != '\0' && rcpt->action != DSN_KIND_NONE);
		FUZZ_ASSERT(strlen(rcpt->status) < sizeof(rcpt->status));
		check_text(rcpt->address, DSN_MAX_ADDRESS);
		check_text(rcpt->original, DSN_MAX_ADDRESS);
		check_text(rcpt->diagnostic, DSN_MAX_DIAGNOSTIC);
		check_text(rcpt->remote_mta, DSN_MAX_TEXT);
	}
	FUZZ_ASSERT(r.n_rcpts == 0 || (r.kind != DSN_KIND_NONE && r.kind != DSN_KIND_AUTO_REPLY));
	check_text(r.reporting_mta, DSN_MAX_TEXT);
	check_text(r.message_id, DSN_MAX_TEXT);
	check_text(r.subject, DSN_MAX_TEXT);
	check_text(r.wanted[0].value, DSN_MAX_TEXT);
	json_init(&j);
	dsn_report_json(&j, NULL, &r);
	FUZZ_ASSERT(utf8_is_valid(j.out.p, j.out.len));
	json_clear(&j);
	dsn_report_clear(&r);
	return 0;
}
