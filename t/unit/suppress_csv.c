/* Lists of other services: each sample of t/data/suppress is read as it is meant; what is malformed is said with its
 * line; our own export comes back to the last bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "mail/suppress_csv.h"

#define NOW INT64_C(1790000000000)

/* "r address when" of each row, "soft", "line N: why"; separated by |. */
static char *
read_text(const char *text, size_t len, unsigned reason)
{
	struct suppress_csv csv;
	struct suppress_row row;
	const char *why = NULL;
	enum suppress_csv_got got;
	struct wbuf out;

	wbuf_init(&out);
	if (suppress_csv_open(&csv, text, len, reason, &why) == -1) {
		wbuf_raw(&out, why, strlen(why));
	} else {
		csv.now = NOW;
		while ((got = suppress_csv_next(&csv, &row, &why)) != CSV_END) {
			char *s = got == CSV_SOFT ? xstrdup("soft|") : got == CSV_BAD ?
			    xasprintf("line %u: %s|", (unsigned)csv.line, why) :
			    xasprintf("%s %s %lld|", suppress_reason_names[row.r.reason], row.r.address,
			    row.r.when == NOW ? 0LL : (long long)row.r.when / 1000);

			wbuf_raw(&out, s, strlen(s));
			free(s);
			if (got == CSV_ROW)
				suppress_row_clear(&row);
		}
	}
	suppress_csv_clear(&csv);
	wbuf_u8(&out, 0);
	return (char *)out.p;
}

static void
is_read(const char *text, const char *want)
{
	char *got = read_text(text, strlen(text), 0);

	assert_string_equal(got, want);
	free(got);
}

static void
test_samples(void **state)
{
	static const char *const samples[][2] = {
		{ "sendgrid-bounces.csv", "hard-bounce gone@example.com 1700000000|soft|"
		    "hard-bounce x@nowhere.example 1700000002|" },
		{ "sendgrid-spam-reports.csv", "complaint angry@example.com 1700000000|" },
		{ "sendgrid-unsubscribes.csv", "unsubscribe bye@example.com 1700000000|" },
		{ "mailgun-bounces.csv", "hard-bounce gone@example.com 1319194975|soft|" },
		{ "mailgun-unsubscribes.csv", "unsubscribe bye@example.com 1319194975|" },
		{ "mailgun-complaints.csv", "complaint angry@example.com 1319194975|" },
		{ "ses.csv", "hard-bounce gone@example.com 1586552585|complaint angry@example.com 1586552645|" },
		{ "ses.json", "hard-bounce gone@example.com 1586552585|complaint angry@example.com 1586552646|" },
		{ "sparkpost.csv", "hard-bounce gone@example.com 1420113600|complaint angry@example.com 1420113600|"
		    "unsubscribe bye@example.com 1420113600|manual hand@example.com 1420113600|" },
		{ "mailchimp-cleaned.csv", "hard-bounce gone@example.com 1614834367|" },
		{ "mailchimp-unsubscribed.csv", "unsubscribe bye@example.com 1614834367|"
		    "complaint angry@example.com 1614834367|" },
		{ "mailchimp-subscribed.csv",
		    "this is a list of subscribers: there is no column that says who is not to be mailed" },
		{ "postmark.csv", "hard-bounce gone@example.com 1576591113|complaint angry@example.com 1576591113|"
		    "manual hand@example.com 1576591113|" },
		{ "postmark.json", "hard-bounce gone@example.com 1576591113|complaint angry@example.com 1576591113|" },
		{ "postmark-bounces.csv", "hard-bounce gone@example.com 1576591113|soft|soft|" },
		{ "list.txt", "imported ann@example.com 0|imported bob@example.com 0|imported example.net 0|"
		    "line 6: that is neither an address nor a domain (a domain of one label is written with @ "
		    "in front)|" },
	};
	size_t i, n;

	(void)state;
	for (i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		char *path = xasprintf("t/data/suppress/%s", samples[i][0]), text[8192], *got;
		FILE *f = fopen(path, "r");

		assert_non_null(f);
		n = fread(text, 1, sizeof(text), f);
		fclose(f);
		got = read_text(text, n, 0);
		if (strcmp(got, samples[i][1]) != 0)
			fail_msg("%s: %s", path, got);
		free(got);
		free(path);
	}
}

static void
test_shapes(void **state)
{
	char *got, huge[200000];

	(void)state;
	is_read("", "");
	is_read("\xef\xbb\xbf" "email\na@b.example", "imported a@b.example 0|");
	is_read("email;reason\r\na@b.example;x\r\n", "imported a@b.example 0|");
	is_read("id\temail\n1\ta@b.example\n", "imported a@b.example 0|");
	is_read("a@b.example,whatever\nc@d.example,\"x\ny\"\n", "imported a@b.example 0|imported c@d.example 0|");
	is_read("name,phone\nx,y\n", "no column of the first line is called email, address, recipient or the like");
	is_read("\xff\xfe" "e\0", "this is UTF-16: save it as UTF-8");
	is_read("email,x\na@b.example,\"never closed\nc@d.example,y\n",
	    "line 2: a quote is not closed|imported c@d.example 0|");
	is_read("email\n\nbad\xff@b.example\n,\n", "line 3: it is not UTF-8|line 4: there is no address in it|");
	got = read_text("email\na\0b@c.example\nd@e.example\n", 32, 0);
	assert_string_equal(got, "line 2: there is a NUL in it|imported d@e.example 0|");
	free(got);
	memset(huge, 'x', sizeof(huge));
	memcpy(huge, "email\n", 6);
	memcpy(huge + sizeof(huge) - 13, "\na@b.example\n", 13);
	got = read_text(huge, sizeof(huge), 0);
	assert_string_equal(got, "line 2: the line is too long|imported a@b.example 0|");
	free(got);
	got = read_text("email\na@b.example\n", 18, SUPPRESS_COMPLAINT);
	assert_string_equal(got, "complaint a@b.example 0|");
	free(got);
	is_read("{\"email\":\"a@b.example\"}\n{\"email\":\n[1]", "imported a@b.example 0|line 2: it is no JSON|"
	    "line 3: it is no object|");
}

/* What is written is read back the same, whatever is in it. */
static void
test_export(void **state)
{
	struct suppress_row row = { .added = NOW - 123, .source = NULL }, back;
	struct suppress_csv csv;
	const char *err = NULL;
	struct suppress_key k1, k2;
	struct wbuf w, v1, v2;

	(void)state;
	row.r.address = xstrdup("\"a,b\"@example.com");
	row.r.scope = SUPPRESS_TENANT;
	row.r.scope_value = xstrdup("acme");
	row.r.reason = SUPPRESS_COMPLAINT;
	row.r.origin = SUPPRESS_BY_REPORT;
	row.r.when = NOW - 456;
	row.r.expires = NOW + 789;
	row.r.class = xstrdup("c\"lass");
	row.r.note = xstrdup("550 5.1.1 \"no\", user;\nsecond line");
	row.source = xstrdup(" mailgun");
	memset(&row.r.event, 7, sizeof(row.r.event));
	assert_int_equal(suppress_row_settle(&row, &err), 0);
	wbuf_init(&w);
	wbuf_init(&v1);
	wbuf_init(&v2);
	suppress_csv_heading(&w);
	suppress_csv_write(&w, &row);
	assert_int_equal(suppress_csv_open(&csv, (const char *)w.p, w.len, 0, &err), 0);
	assert_string_equal(csv.format, "posthorn");
	assert_int_equal(suppress_csv_next(&csv, &back, &err), CSV_ROW);
	suppress_row_encode(&row, &k1, &v1);
	suppress_row_encode(&back, &k2, &v2);
	assert_int_equal(k1.len, k2.len);
	assert_memory_equal(k1.b, k2.b, k1.len);
	assert_int_equal(v1.len, v2.len);
	assert_memory_equal(v1.p, v2.p, v1.len);
	suppress_row_clear(&back);
	assert_int_equal(suppress_csv_next(&csv, &back, &err), CSV_END);
	suppress_csv_clear(&csv);
	suppress_row_clear(&row);
	wbuf_clear(&w);
	wbuf_clear(&v1);
	wbuf_clear(&v2);
}

/* An address's domain stands beside it in many exports: it is not what is to be suppressed. */
static void
test_domain_column(void **state)
{
	(void)state;
	is_read("domain,email,reason\ngmail.com,a@gmail.com,bounce\ngmail.com,,bounce\n",
	    "hard-bounce a@gmail.com 0|line 3: there is no address in it|");
	is_read("email,domain\na@gmail.com,gmail.com\n,gmail.com\n",
	    "imported a@gmail.com 0|line 3: there is no address in it|");
	is_read("domain,reason\ngone.example,bounce\n", "hard-bounce gone.example 0|");
	is_read("{\"domain\":\"gmail.com\",\"email\":\"a@gmail.com\"}\n"
	    "{\"email\":\"b@gmail.com\",\"domain\":\"gmail.com\"}\n{\"domain\":\"gone.example\"}\n",
	    "imported a@gmail.com 0|imported b@gmail.com 0|imported gone.example 0|");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_domain_column),
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_export),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
