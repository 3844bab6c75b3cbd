/* Replies against the bounce rules that are shipped: whatever a stranger says is bounded and has an answer, and nothing
 * is suppressed that a veto, a temporary code or an early phase forbids. First byte: the provider; second: the phase;
 * third: the code is given, or must be found. */
#include "base/xalloc.h"
#include "mail/bounce_private.h"
#include "mail/queue_link.h"
#include "t/fuzz/fuzz.h"

static const char *const providers[] = { NULL, "google", "yahoo", "outlook", "apple", "qq", "mimecast", "t-online",
	"united-internet", "yandex" };

static void
check(const struct bounce_rules *rules, const struct bounce_reply *reply)
{
	struct bounce_verdict v;

	bounce_classify(rules, reply, &v);
	FUZZ_ASSERT(v.cause != NULL && v.action != BOUNCE_BY_CODE);
	FUZZ_ASSERT(!v.is_suppressing || (v.veto.file == NULL && v.rule.file != NULL &&
	    v.cause->action == BOUNCE_SUPPRESS && reply->phase != PHASE_MAIL &&
	    (reply->code == 0 || reply->code >= 500)));
	FUZZ_ASSERT((v.action == BOUNCE_SUPPRESS) == v.is_suppressing);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct bounce_rules *rules;
	struct conf_strs files = { (char *[]){ (char[]){ "conf/bounce_rules" } }, 1 };
	struct conf_errors errs = { NULL, 0 };
	struct bounce_reply reply;
	char folded[PATTERN_SUBJECT_MAX], *text, *buf;
	size_t len;

	if (rules == NULL)
		rules = bounce_rules_load(&files, &errs);
	FUZZ_ASSERT(rules != NULL);
	if (size < 3)
		return 0;
	len = size - 3;
	text = xmalloc(len + 1);
	memcpy(text, data + 3, len);
	buf = xmalloc(len + 1);
	bounce_reply_parse(text, len, buf, &reply);
	FUZZ_ASSERT(reply.len <= len);
	if (data[2] % 4 != 0)
		reply = (struct bounce_reply){ .code = data[2] % 2 ? 550 : 450, .text = text, .len = len };
	reply.provider = providers[data[0] % (sizeof(providers) / sizeof(providers[0]))];
	reply.phase = data[1] % PHASES;
	check(rules, &reply);
	FUZZ_ASSERT(bounce_text_fold(text, len, folded, sizeof(folded)) <= len);
	free(text);
	free(buf);
	return 0;
}
