/* The words that say what is to be done after a failure: what they come to, said again, and what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/bounce_todo.h"

/* All of it said; and read again it is the same. */
static void
becomes(const char *cause, const char *words, const char *want)
{
	const struct bounce_cause *c = bounce_cause_find(cause);
	struct bounce_todo todo;
	char *err, *text, *again;

	err = bounce_todo_parse(words, "x", &c, 1, &todo);
	if (err != NULL)
		fail_msg("'%s': %s", words, err);
	text = bounce_todo_text(&todo);
	assert_string_equal(text, want);
	bounce_todo_clear(&todo);
	assert_null(bounce_todo_parse(text, "x", &c, 1, &todo));
	again = bounce_todo_text(&todo);
	assert_string_equal(again, text);
	bounce_todo_clear(&todo);
	free(again);
	free(text);
}

static void
test_words(void **state)
{
	(void)state;
	becomes("virus", "retry", "retry");
	becomes("virus", "  give-up ", "give-up");
	becomes("virus", "alert", "by-code alert of=path for=1h");
	becomes("rcpt_unknown", "suppress", "by-code suppress scope=global for=ever");
	becomes("mailbox_full", "retry in=90m suppress after=3/14d spread=2d scope=tenant for=30d",
	    "retry in=90m suppress scope=tenant after=3/2w spread=2d for=30d");
	becomes("domain_unknown", "suppress what=domain", "by-code suppress scope=global what=domain for=ever");
	becomes("block_dnsbl", "suspend of=campaign after=5/1h for=2h hold",
	    "hold suspend of=campaign after=5/1h for=2h");
	becomes("throttle_volume", "slow max_message_rate=10/min connection_limit=1 of=provider for=30m",
	    "by-code slow of=provider max_message_rate=10/min connection_limit=1 for=30m");
}

static void
wrong(const char *cause, const char *words, const char *why)
{
	const struct bounce_cause *c = bounce_cause_find(cause);
	struct bounce_todo todo;
	char *err = bounce_todo_parse(words, "x", &c, 1, &todo);

	if (err == NULL || strstr(err, why) == NULL)
		fail_msg("'%s': '%s' was expected, not '%s'", words, why, err == NULL ? "nothing" : err);
	assert_int_equal(todo.n_steps, 0);
	free(err);
}

static void
test_mistakes(void **state)
{
	char *longer = xmalloc(6001);

	(void)state;
	memset(longer, 'x', 6000);
	longer[6000] = '\0';
	wrong("virus", "", "nothing is said");
	wrong("virus", "   ", "nothing is said");
	wrong("virus", longer, "longer than");
	wrong("virus", "supress", "did you mean 'suppress'?");
	wrong("virus", "in=2h retry", "stands in front of");
	wrong("virus", "retry give-up", "only one of");
	wrong("virus", "retry for=2h", "retry has no option for");
	wrong("virus", "retry in=0", "in=0 of retry is wrong");
	wrong("virus", "retry in=2000d", "in=2000d of retry is wrong");
	wrong("virus", "suppress", "says nothing of the recipient");
	wrong("challenge", "suppress", "once is no reason");
	wrong("mailbox_full", "suppress after=1/1d", "once is no reason");
	wrong("mailbox_full", "suppress after=200/1d", "after=200/1d of suppress is wrong");
	wrong("mailbox_full", "suppress after=3/1d spread=2d", "less than its period");
	wrong("mailbox_full", "suppress after=-3/1d", "is wrong");
	wrong("rcpt_unknown", "suppress what=domain", "nothing of the whole domain");
	wrong("rcpt_unknown", "suppress scope=all", "scope=all of suppress is wrong");
	wrong("rcpt_unknown", "suppress suppress", "said twice");
	wrong("rcpt_unknown", "suppress until=2d", "suppress has no option until");
	wrong("virus", "suspend", "suspend needs a time, for=2h");
	wrong("virus", "suspend for=2h of=world", "of=world of suspend is wrong");
	wrong("virus", "slow for=2h", "slow needs a setting");
	wrong("virus", "slow for=2h speed=2", "nor has a path such a setting");
	wrong("virus", "slow for=2h connection_limit=many", "many");
	wrong("virus", "alert of=campaign", "of=campaign of alert is wrong");
	wrong("virus", "alert after=0/1h", "after=0/1h of alert is wrong");
	wrong("virus", "alert alert alert alert alert alert alert alert alert", "more than 8");
	free(longer);
}

/* Of several causes the first that may not is said. */
static void
test_several(void **state)
{
	const struct bounce_cause *both[2];
	struct bounce_todo todo;
	char *err;

	(void)state;
	both[0] = bounce_cause_find("rcpt_unknown");
	both[1] = bounce_cause_find("block_dnsbl");
	err = bounce_todo_parse("suppress", "x", both, 2, &todo);
	assert_non_null(err);
	assert_non_null(strstr(err, "block_dnsbl"));
	free(err);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_several),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
