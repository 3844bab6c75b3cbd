/* Complaints: whatever comes, what is found is clean and bounded, and its JSON is valid UTF-8. */
#include "mail/report_json.h"

#include "t/fuzz/fuzz.h"

static void
check_text(const char *text)
{
	FUZZ_ASSERT(text == NULL || (fuzz_is_clean(text) && strlen(text) <= ARF_MAX_TEXT));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const wanted[] = { "X-Posthorn-Ref" };
	struct arf_report r;
	struct json j;

	arf_parse(&r, (const char *)data, size, wanted, 1);
	check_text(r.feedback_type);
	check_text(r.user_agent);
	check_text(r.arrival_date);
	check_text(r.source_ip);
	check_text(r.original_mail_from);
	check_text(r.recipient);
	check_text(r.message_id);
	check_text(r.wanted[0].value);
	FUZZ_ASSERT(r.original_rcpt_to.n <= ARF_MAX_VALUES && r.n_extensions <= ARF_MAX_EXTENSIONS);
	FUZZ_ASSERT(!(r.recipient != NULL && r.is_redacted));
	FUZZ_ASSERT((r.recipient != NULL) == (r.recipient_by != NULL));
	FUZZ_ASSERT(r.headers == NULL || (r.headers_len <= 2 * ARF_MAX_HEADERS && strlen(r.headers) == r.headers_len));
	FUZZ_ASSERT(r.is_report || (r.recipient == NULL && r.headers == NULL));
	json_init(&j);
	arf_report_json(&j, NULL, &r);
	FUZZ_ASSERT(utf8_is_valid(j.out.p, j.out.len));
	json_clear(&j);
	arf_report_clear(&r);
	return 0;
}
