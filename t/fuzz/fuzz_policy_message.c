/* What strangers send that policy sees: header blocks, edited by a handler in every way there is, and schedules. The
 * first byte says which. Whatever a block holds, edits leave a block of whole lines with the same end, and add no line
 * end but CRLF to one that had no other. */
#include <stdio.h>

#include "base/log.h"
#include "mail/header.h"
#include "mail/policy_call.h"
#include "mail/schedule.h"
#include "t/fuzz/dir.h"

static const char policy_text[] =
    "posthorn.source { name = 's', source_address = '192.0.2.1' }\n"
    "posthorn.pool { name = 'p', entries = { { name = 's' } } }\n"
    "kumo.on('smtp_server_message_received', function(msg)\n"
    "  msg:import_x_headers()\n"
    "  msg:import_headers { { name = 'x-*', match = 'first', remove = true }, { name = 'Subject', target = 's' } }\n"
    "  for _, h in ipairs(msg:get_all_headers()) do\n"
    "    pcall(msg.append_header, msg, h[1], h[2])\n"
    "    pcall(msg.prepend_header, msg, 'Copy', h[2], true)\n"
    "    pcall(msg.set_sender, msg, h[2])\n"
    "    pcall(msg.set_recipient, msg, h[2])\n"
    "    pcall(msg.set_meta, msg, 'queue', h[2])\n"
    "    pcall(msg.set_meta, msg, 'tenant', h[2])\n"
    "    pcall(msg.set_meta, msg, h[1], h[2])\n"
    "  end\n"
    "  pcall(msg.import_scheduling_header, msg, 'Copy', true)\n"
    "  msg:remove_all_named_headers('Date')\n"
    "  msg:remove_x_headers { 'Copy' }\n"
    "  msg:get_data()\n"
    "end)\n";

static struct policy *
policy_get(void)
{
	static struct policy *p;
	struct conf_errors errs = { NULL, 0 };
	char path[300];

	if (p != NULL)
		return p;
	log_init("fuzz", LOG_LVL_ERROR);
	fuzz_dir_write("policy.lua", policy_text, sizeof(policy_text) - 1);
	(void)snprintf(path, sizeof(path), "%s/policy.lua", fuzz_dir());
	p = policy_load(path, &errs);
	FUZZ_ASSERT(p != NULL);
	return p;
}

static bool
is_crlf_only(const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if ((p[i] == '\n' && (i == 0 || p[i - 1] != '\r')) || (p[i] == '\r' && (i + 1 == n ||
		    p[i + 1] != '\n')))
			return false;
	return true;
}

static void
edit(const char *block, size_t size)
{
	struct policy_msg m = { .env = envelope_new(), .head = block, .head_len = size, .body = (const uint8_t *)"x",
		.body_len = 1, .max_rcpts = 10, .now = 1700000000000 };
	struct policy_call call = { .id = POLICY_ON_MESSAGE, .msg = &m };
	struct header_iter it;
	struct header_field f;
	struct policy_verdict v;
	bool was_clean = is_crlf_only(block, size);
	struct wbuf w;
	const char *err;

	envelope_add_rcpt(m.env, "a@b.example", NULL, 0);
	FUZZ_ASSERT(policy_call(policy_get(), &call, &v, NULL, NULL) == NULL);
	FUZZ_ASSERT(v.outcome != POLICY_REJECTED);
	FUZZ_ASSERT(!was_clean || is_crlf_only(m.head, m.head_len));
	if (v.outcome == POLICY_PASSED) {
		header_iter_init(&it, m.head, m.head_len);
		while (header_next(&it, &f))
			FUZZ_ASSERT(!header_name_is(&f, "Copy") && !header_name_is(&f, "Date"));
	}
	policy_msg_settle(&m);
	wbuf_init(&w);
	envelope_encode(m.env, &w);
	envelope_free(&m.env);
	FUZZ_ASSERT((m.env = envelope_decode(w.p, w.len, &err)) != NULL);
	wbuf_clear(&w);
	envelope_free(&m.env);
	policy_msg_clear(&m);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1, *err = NULL;
	struct schedule s;

	if (size == 0)
		return 0;
	if (data[0] % 2 == 0) {
		edit(text, size - 1);
	} else if (schedule_parse(text, size - 1, 1700000000000, &s, &err) == 0) {
		FUZZ_ASSERT(s.first_attempt >= 0 && (s.expires == 0 || s.expires > 1700000000000));
		FUZZ_ASSERT(s.expires == 0 || s.first_attempt < s.expires);
	} else {
		FUZZ_ASSERT(err != NULL);
	}
	return 0;
}
