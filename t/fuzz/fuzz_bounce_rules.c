/* Files of bounce rules: what is wrong gives sentences with lines, fit for a terminal, and nothing is loaded; what is
 * right is linted and decides about a few replies. */
#include "base/slurp.h"
#include "base/xalloc.h"
#include "mail/bounce_private.h"
#include "t/fuzz/fuzz.h"

#define RULES_MAX 20 /* of which replies are tried: patterns may be as slow as their limits allow */

static void
check_errors(struct conf_errors *errs)
{
	char *text;
	size_t i;

	for (i = 0; i < errs->n; i++) {
		text = conf_error_text(&errs->v[i]);
		FUZZ_ASSERT(strpbrk(text, "\r\n\033") == NULL && *text != '\0');
		free(text);
	}
	conf_errors_clear(errs);
}

static void
use(const struct bounce_rules *rules)
{
	static const char *const lines[] = { "550 5.1.1 <a@b.example>: user unknown", "452 4.2.2 full", "", "abc" };
	struct conf_errors found = { NULL, 0 };
	struct bounce_verdict v;
	struct bounce_reply r;
	char buf[64];
	size_t i;

	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		bounce_reply_parse(lines[i], strlen(lines[i]), buf, &r);
		bounce_classify(rules, &r, &v);
		FUZZ_ASSERT(v.cause != NULL);
	}
	bounce_rules_lint(rules, NULL, NULL, &found);
	check_errors(&found);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf_strs files = { (char *[]){ (char[]){ "rules" } }, 1 };
	struct slurp_copy copy = { files.v[0], xmemdup0(data, size), size };
	struct conf_errors errs = { NULL, 0 };
	struct bounce_rules *rules;
	struct bounce_counts n;

	slurp_use_copies(&copy, 1, true);
	rules = bounce_rules_load(&files, &errs);
	slurp_use_copies(NULL, 0, false);
	FUZZ_ASSERT((rules == NULL) == (errs.n > 0));
	check_errors(&errs);
	if (rules != NULL) {
		n = bounce_rules_count(rules);
		if (n.rules + n.vetoes <= RULES_MAX)
			use(rules);
	}
	bounce_rules_free(&rules);
	free(copy.text);
	return 0;
}
