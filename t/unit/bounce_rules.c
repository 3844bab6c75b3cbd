/* lib/mail/bounce_class.c, bounce_text.c, bounce_rules.c, pattern.c: what of a reply is matched, conditions, vetoes,
 * hostile replies, and how long all of it takes (which is printed, not judged). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/slurp.h"
#include "base/xalloc.h"
#include "mail/bounce_private.h"
#include "mail/queue_link.h"

static struct bounce_rules *
rules_of(const char *text)
{
	struct slurp_copy copy = { (char[]){ "rules" }, xstrdup(text), strlen(text) };
	struct conf_strs files = { (char *[]){ copy.file }, 1 };
	struct conf_errors errs = { NULL, 0 };
	struct bounce_rules *rules;

	slurp_use_copies(&copy, 1, true);
	rules = bounce_rules_load(&files, &errs);
	slurp_use_copies(NULL, 0, false);
	conf_errors_log(&errs);
	conf_errors_clear(&errs);
	free(copy.text);
	assert_non_null(rules);
	return rules;
}

static struct bounce_rules *
shipped(void)
{
	struct conf_strs files = { (char *[]){ (char[]){ "conf/bounce_rules" } }, 1 };
	struct conf_errors errs = { NULL, 0 };
	struct bounce_rules *rules = bounce_rules_load(&files, &errs);

	conf_errors_log(&errs);
	assert_non_null(rules);
	return rules;
}

static void
classify(const struct bounce_rules *rules, const char *line, const char *provider, uint8_t phase,
    struct bounce_verdict *v)
{
	char *buf = xmalloc(strlen(line) + 1);
	struct bounce_reply reply;

	bounce_reply_parse(line, strlen(line), buf, &reply);
	reply.provider = provider;
	reply.phase = phase;
	bounce_classify(rules, &reply, v);
	free(buf);
}

static void
test_fold(void **state)
{
	static const struct {
		const char *in, *out;
	} texts[] = {
		{ "User unknown", "User unknown" },
		{ "<joe@x.example>: user unknown", "<@>: user unknown" },
		{ "user-unknown@spam.example. No", "@. No" },
		{ "for joe@[192.0.2.1]: gone", "for @: gone" },
		{ "(info@corp.example:blocked)", "(@:blocked)" },
		{ "@ alone, a@ b, @c", "@ alone, a@ b, @c" },
		{ "two\n  lines\t\r\nand  more ", "two lines and more" },
		{ "Empf\xc3\xa4nger ung\xc3\xbcltig, gel\xc3\xb6scht", "Empfanger ungultig, geloscht" },
		{ "Empf\xe4nger", "Empfanger" },
		{ "\xd0\x9f\xd0\x9e\xd0\xa7\xd0\xa2\xd0\x90 \xd0\x81",
		    "\xd0\xbf\xd0\xbe\xd1\x87\xd1\x82\xd0\xb0 \xd1\x91" },
		{ "\xe9\x82\xae\xe7\xae\xb1", "\xe9\x82\xae\xe7\xae\xb1" },
		{ "Nieznany u\xc5\xbcytkownik", "Nieznany uzytkownik" },
	};
	char out[256];
	size_t i, n;

	(void)state;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		n = bounce_text_fold(texts[i].in, strlen(texts[i].in), out, sizeof(out) - 1);
		out[n] = '\0';
		assert_string_equal(out, texts[i].out);
	}
	assert_int_equal(bounce_text_fold("a\0b", 3, out, sizeof(out)), 3);
	assert_memory_equal(out, "a b", 3);
}

static void
test_parse(void **state)
{
	static const struct {
		const char *in;
		uint16_t code;
		struct enhanced_code status;
		const char *text;
	} lines[] = {
		{ "550 5.1.1 User unknown", 550, { 5, 1, 1 }, "User unknown" },
		{ "550-5.1.1 one\n550 5.1.1 two", 550, { 5, 1, 1 }, "one\ntwo" },
		{ "550-5.1.1 one 550-5.1.1 two 550 5.1.1 three", 550, { 5, 1, 1 }, "one two three" },
		{ "550 #5.7.1 rejected", 550, { 5, 7, 1 }, "rejected" },
		{ "smtp; 554 no", 554, { 0, 0, 0 }, "no" },
		{ "host mx.x.example[192.0.2.1] said: 450 4.2.0 wait", 450, { 4, 2, 0 }, "wait" },
		{ "no code at all", 0, { 0, 0, 0 }, "no code at all" },
		{ "5501 is no code", 0, { 0, 0, 0 }, "5501 is no code" },
		{ "554-mx.example 554 we say 550 things", 554, { 0, 0, 0 }, "mx.example 554 we say 550 things" },
		{ "550", 550, { 0, 0, 0 }, "" },
		{ "", 0, { 0, 0, 0 }, "" },
	};
	struct bounce_reply r;
	char buf[256];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		memset(buf, 'x', sizeof(buf));
		bounce_reply_parse(lines[i].in, strlen(lines[i].in), buf, &r);
		assert_int_equal(buf[r.len], '\0');
		assert_int_equal(r.code, lines[i].code);
		assert_int_equal(r.status.class, lines[i].status.class);
		assert_int_equal(r.status.subject, lines[i].status.subject);
		assert_int_equal(r.status.detail, lines[i].status.detail);
		buf[r.len] = '\0';
		assert_string_equal(buf, lines[i].text);
	}
}

static void
test_conditions(void **state)
{
	struct bounce_rules *rules = rules_of(
	    "mailbox_full provider=one,two code=552 /full/\n"
	    "virus status=5.7.600-649 code=550-554\n"
	    "spam_content phase=dot /no/\n"
	    "greylist code=4xx /no/\n"
	    "rcpt_unknown status=x.1.1 suppress=yes\n"
	    "rcpt_unknown status=x.1.10\n"
	    "rcpt_unknown suppress=no /nobody/\n"
	    "InvalidRecipient /gone/\n"
	    "veto code=550 /but not that/\n");
	static const struct {
		const char *line, *provider, *cause;
		uint8_t phase;
		bool is_suppressing;
	} v[] = {
		{ "552 full", "two", "mailbox_full", 0, false },
		{ "552 full", "three", "unclassified", 0, false },
		{ "552 full", NULL, "unclassified", 0, false },
		{ "550 full", "one", "unclassified", 0, false },
		{ "550 5.7.649 x", NULL, "virus", 0, false },
		{ "550 5.7.650 x", NULL, "unclassified", 0, false },
		{ "555 5.7.606 x", NULL, "unclassified", 0, false },
		{ "450 no", NULL, "spam_content", PHASE_DOT, false },
		{ "450 no", NULL, "greylist", PHASE_RCPT, false },
		{ "550 x 5.1.1", NULL, "unclassified", PHASE_RCPT, false },
		{ "550 x (#5.1.1)", NULL, "rcpt_unknown", PHASE_RCPT, true },
		{ "550 5.1.1 x", NULL, "rcpt_unknown", PHASE_RCPT, true },
		{ "450 4.1.1 x", NULL, "rcpt_unknown", PHASE_RCPT, false },
		{ "550 5.1.10 x", NULL, "rcpt_unknown", PHASE_RCPT, false },
		{ "550 nobody", NULL, "rcpt_unknown", PHASE_RCPT, false },
		{ "550 gone", NULL, "rcpt_unknown", PHASE_RCPT, true },
		{ "550 GONE", NULL, "rcpt_unknown", PHASE_DOT, true },
		{ "550 gone", NULL, "rcpt_unknown", PHASE_MAIL, false },
		{ "550 gone", NULL, "rcpt_unknown", PHASE_BANNER, false },
		{ "550 gone, but not that", NULL, "rcpt_unknown", PHASE_RCPT, false },
		{ "551 gone, but not that", NULL, "rcpt_unknown", PHASE_RCPT, true },
		{ "550 <gone@x.example> here", NULL, "unclassified", PHASE_RCPT, false },
	};
	struct bounce_verdict out;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		classify(rules, v[i].line, v[i].provider, v[i].phase, &out);
		assert_string_equal(out.cause->name, v[i].cause);
		assert_int_equal(out.is_suppressing, v[i].is_suppressing);
		assert_int_not_equal(out.action, BOUNCE_BY_CODE);
	}
	bounce_rules_free(&rules);
}

/* The literals in front must not take anything away. */
static void
test_literals(void **state)
{
	static const struct {
		const char *pattern, *hit, *miss;
	} p[] = {
		{ "abc", "xxABCxx", "ab c" },
		{ "a|b", "b", "c" },
		{ "abc|def(?:g|h)", "defh", "def" },
		{ "abcd?", "abc", "abd" },
		{ "abcd*e", "abce", "abd" },
		{ "xabc{0,2}y", "xaby", "xabcccy" },
		{ "ab+cde", "abbbcde", "acde" },
		{ "(?:abc)?def", "def", "abc" },
		{ "(?:abc|)def", "def", "abcd" },
		{ "(?=abc)...d", "abcd", "abxd" },
		{ "(?!abc)...d", "xbcd", "abcd" },
		{ "(?<!no )such", "some such", "no such" },
		{ "[abc]def\\.", "adef.", "adefx" },
		{ "\\Qa.b\\E", "a.b", "axb" },
		{ "(?x) a b c", "abc", "a b" },
		{ "a\\x62c", "abc", "axc" },
		{ "one(?:two(?:three|four)|five) six", "onetwofour six", "onetwo six" },
		{ "(?:a|b)(?:c|d)", "bc", "ba" },
	};
	struct pattern_matcher m;
	struct pattern_subject *su = xmalloc(sizeof(*su));
	struct pattern pat;
	size_t i;

	(void)state;
	pattern_matcher_init(&m, 10000, 1000, 1000);
	for (i = 0; i < sizeof(p) / sizeof(p[0]); i++) {
		memset(&pat, 0, sizeof(pat));
		assert_null(pattern_compile(&pat, p[i].pattern, PCRE2_CASELESS));
		pattern_subject_set(su, p[i].hit, strlen(p[i].hit));
		assert_int_equal(pattern_try(&pat, su, &m), PATTERN_HITS);
		pattern_subject_set(su, p[i].miss, strlen(p[i].miss));
		assert_int_equal(pattern_try(&pat, su, &m), PATTERN_MISSES);
		pattern_clear(&pat);
	}
	pattern_matcher_clear(&m);
	free(su);
}

static void
test_local(void **state)
{
	static const struct {
		enum phase phase;
		uint16_t code;
		struct enhanced_code status;
		const char *class;
	} v[] = {
		{ PHASE_DNS, 550, { 5, 1, 2 }, "BadDomain" },
		{ PHASE_DNS, 556, { 5, 1, 10 }, "BadDomain" },
		{ PHASE_DNS, 451, { 4, 4, 3 }, "DNSFailure" },
		{ PHASE_DNS, 550, { 5, 4, 6 }, "RoutingErrors" },
		{ PHASE_CONNECT, 451, { 4, 4, 1 }, "NoAnswerFromHost" },
		{ PHASE_BANNER, 451, { 4, 4, 2 }, "BadConnection" },
		{ PHASE_RCPT, 451, { 4, 4, 2 }, "BadConnection" },
		{ PHASE_STARTTLS, 451, { 4, 7, 5 }, "BadConfiguration" },
		{ PHASE_MAIL, 552, { 5, 3, 4 }, "ContentRelated" },
		{ PHASE_NONE, 451, { 4, 3, 5 }, "BadConfiguration" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		assert_string_equal(bounce_cause_of_local((uint8_t)v[i].phase, v[i].code, &v[i].status)->class,
		    v[i].class);
}

static int64_t
cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* 4 KiB of what patterns look for, NULs, half characters: an answer, and soon. */
static void
test_hostile(void **state)
{
	static const char *const units[] = { "mailbox ", "quota", "user unknown ", "a", "\xd0", "\xff", "@", "a@", " ",
		"[192.0.2.1", "550-5.1.1 ", "<<<<", "(#5.1.1", "\xe9\x82", "not found is " };
	struct bounce_rules *rules = shipped();
	char text[3 * PATTERN_SUBJECT_MAX];
	struct bounce_reply reply = { .code = 550, .text = text };
	struct bounce_verdict v;
	int64_t start, worst = 0;
	size_t i, n, len;

	(void)state;
	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		len = strlen(units[i]);
		for (n = 0; n + len <= sizeof(text); n += len)
			memcpy(text + n, units[i], len);
		reply.len = n;
		start = cpu_ns();
		bounce_classify(rules, &reply, &v);
		start = cpu_ns() - start;
		worst = start > worst ? start : worst;
		assert_non_null(v.cause);
	}
	memset(text, 0, sizeof(text));
	memcpy(text + 100, "user unknown", 12);
	bounce_classify(rules, &reply, &v);
	assert_string_equal(v.cause->name, "rcpt_unknown"); /* NULs are blanks */
	print_message("# the worst of %zu hostile replies: %.1f ms\n", sizeof(units) / sizeof(units[0]),
	    (double)worst / 1e6);
	bounce_rules_free(&rules);
}

/* The replies of t/data/bounce/replies.tsv, again and again. */
static void
test_rate(void **state)
{
	struct bounce_rules *rules = shipped();
	size_t len, n = 0, i, k;
	char *all = slurp("t/data/bounce/replies.tsv", 1u << 20, &len), *line, *next, *tab;
	struct bounce_reply *replies = xcalloc(2000, sizeof(*replies));
	struct bounce_verdict v;
	int64_t start;

	(void)state;
	assert_non_null(all);
	for (line = all; line != NULL && *line != '\0' && n < 2000; line = next) {
		if ((next = strchr(line, '\n')) != NULL)
			*next++ = '\0';
		for (tab = line, k = 0; tab != NULL && k < 4; k++)
			tab = (tab = strchr(tab, '\t')) != NULL ? tab + 1 : NULL;
		if (line[0] != '#' && tab != NULL) {
			bounce_reply_parse(tab, strlen(tab), xmalloc(strlen(tab) + 1), &replies[n]);
			n++;
		}
	}
	assert_true(n >= 400);
	start = cpu_ns();
	for (i = 0; i < 20 * n; i++)
		bounce_classify(rules, &replies[i % n], &v);
	start = cpu_ns() - start;
	print_message("# %zu classifications, %.1f us each, %.0f a second\n", 20 * n,
	    (double)start / 1e3 / (double)(20 * n), (double)(20 * n) * 1e9 / (double)start);
	for (i = 0; i < n; i++)
		free((char *)(uintptr_t)replies[i].text);
	free(replies);
	free(all);
	bounce_rules_free(&rules);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fold),
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_literals),
		cmocka_unit_test(test_local),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_rate),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("bounce_rules", tests, NULL, NULL);
}
