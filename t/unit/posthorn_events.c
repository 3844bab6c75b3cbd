/* posthorn events: filters, and reading the log's files backwards and forwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "posthorn/events_files.h"
#include "posthorn/events_filter.h"

static const char sample[] = "{\"type\":\"Bounce\",\"id\":\"0123456789abcdef0123456789abcdef\","
    "\"sender\":\"s@t.example\","
	"\"recipient\":\"ann@b.example\",\"tenant\":\"promo\",\"campaign\":\"autumn\",\"domain\":\"b.example\","
	"\"egress_pool\":\"pool-a\","
	"\"egress_source\":\"ip-1\",\"peer_address\":{\"name\":\"mx.b.example\",\"addr\":\"192.0.2.1\"},"
	"\"num_attempts\":3,"
	"\"response\":{\"code\":550,\"enhanced_code\":{\"class\":5,\"subject\":1,\"detail\":1},\"content\":\"no "
	"\\u001b[2J such user\"},"
	"\"event_time\":\"2026-11-23T17:22:03.114Z\",\"timestamp\":1795454523}";

static void
test_filter(void **state)
{
	static const struct {
		struct events_filter f;
		bool matches;
	} cases[] = {
		{ { .types = NULL }, true },
		{ { .types = "bounce" }, true },
		{ { .types = "Delivery,Bounce" }, true },
		{ { .types = "Delivery" }, false },
		{ { .domain = "B.example" }, true },
		{ { .domain = "example" }, false },
		{ { .tenant = "promo", .campaign = "autumn" }, true },
		{ { .tenant = "promo", .campaign = "spring" }, false },
		{ { .recipient = "Ann@b.example" }, true },
		{ { .recipient = "ann" }, false },
		{ { .sender = "s@t.example" }, true },
		{ { .id = "0123" }, true },
		{ { .id = "123" }, false },
		{ { .pool = "pool-a" }, true },
		{ { .pool = "pool-b" }, false },
		{ { .since = 1795454523114 }, true },
		{ { .since = 1795454523115 }, false },
	};
	json_t *event = json_loads(sample, 0, NULL), *many;

	(void)state;
	assert_non_null(event);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(events_match(&cases[i].f, event), cases[i].matches);
	json_decref(event);

	many = json_loads("{\"type\":\"Reception\",\"recipient\":[\"a@x.example\",\"b@y.example\"]}", 0, NULL);
	assert_true(events_match(&(struct events_filter){ .recipient = "b@y.example" }, many));
	assert_true(events_match(&(struct events_filter){ .domain = "y.example" }, many));
	assert_false(events_match(&(struct events_filter){ .domain = "z.example" }, many));
	json_decref(many);
}

static void
test_types(void **state)
{
	char *bad = NULL;

	(void)state;
	assert_true(events_types_valid("Bounce,expiration", &bad));
	assert_false(events_types_valid("Bounce,Bounced", &bad));
	assert_string_equal(bad, "Bounced");
	free(bad);
}

static void
test_since(void **state)
{
	int64_t t;

	(void)state;
	assert_int_equal(events_parse_since("2h", 10000000, &t), 0);
	assert_int_equal(t, 2800000);
	assert_int_equal(events_parse_since("2026-11-23T17:22:03Z", 0, &t), 0);
	assert_int_equal(t, 1795454523000);
	assert_int_equal(events_parse_since("2026-11-23T17:22Z", 0, &t), 0);
	assert_int_equal(t, 1795454520000);
	assert_int_equal(events_parse_since("2026-11-23Z", 0, &t), 0);
	assert_int_equal(t, 1795392000000);
	assert_int_equal(events_parse_since("yesterday", 0, &t), -1);
	assert_int_equal(events_parse_since("2026-11-23T17:22:03X", 0, &t), -1);
}

static void
test_print(void **state)
{
	json_t *event = json_loads(sample, 0, NULL);
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	(void)state;
	setenv("TZ", "UTC", 1);
	events_print(f, event, false);
	fclose(f);
	assert_string_equal(text, "2026-11-23 17:22:03.114  Bounce            0123456789abcdef0123456789abcdef  "
	    "ann@b.example  tenant=promo "
				  "campaign=autumn  pool-a/ip-1 -> mx.b.example[192.0.2.1]  550 5.1.1 no ?[2J such "
				  "user  (attempt 3)\n");
	free(text);
	json_decref(event);
	/* Whatever the objects are, it does not fall over. */
	event = json_loads("{\"type\":7,\"recipient\":[],\"peer_address\":\"x\",\"response\":[1]}", 0, NULL);
	f = fopen("/dev/null", "w");
	events_print(f, event, true);
	fclose(f);
	json_decref(event);
}

struct seen {
	char text[400];
	size_t total;
};

static bool
see(const char *line, size_t len, void *arg)
{
	struct seen *s = arg;
	size_t used = strlen(s->text);

	assert_int_equal(strlen(line), len);
	s->total++;
	snprintf(s->text + used, sizeof(s->text) - used, "%s ", line);
	return strncmp(line, "skip", 4) != 0;
}

static bool
never(const char *line, void *arg)
{
	(void)line;
	(void)arg;
	return false;
}

static bool
until_b(const char *line, void *arg)
{
	(void)arg;
	return strcmp(line, "b") == 0;
}

static void
put(const char *dir, const char *name, const char *mode, const char *text)
{
	char path[200];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, mode);
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void
test_files(void **state)
{
	char dir[] = "/tmp/posthorn-events-XXXXXX", command[100];
	struct events_tail *tail = NULL;
	struct seen s = { "", 0 };

	(void)state;
	assert_non_null(mkdtemp(dir));
	put(dir, "20261123T10.jsonl", "w", "a\nb\n");
	put(dir, "20261123T11.jsonl", "w", "");
	put(dir, "20261123T12.jsonl", "w", "c\nskip\nd\nhalf");
	put(dir, "notes.txt", "w", "x\n");

	assert_int_equal(events_last(dir, 3, see, never, &s, &tail), 0);
	assert_string_equal(s.text, "d skip c b ");
	/* Following: only what is whole, in order, over the change of the hour. */
	s.text[0] = '\0';
	assert_int_equal(events_more(tail, see, &s), 0);
	assert_string_equal(s.text, "");
	put(dir, "20261123T12.jsonl", "a", "-line\ne\n");
	put(dir, "20261123T13.jsonl", "w", "f\n");
	put(dir, "20261123T09.jsonl", "w", "old\n");
	assert_int_equal(events_more(tail, see, &s), 0);
	assert_string_equal(s.text, "half-line e f ");
	put(dir, "20261123T12.jsonl", "a", "late\n");
	s.text[0] = '\0';
	assert_int_equal(events_more(tail, see, &s), 0);
	assert_string_equal(s.text, "late ");
	events_tail_free(&tail);

	s.text[0] = '\0';
	assert_int_equal(events_last(dir, 100, see, until_b, &s, &tail), 0);
	assert_string_equal(s.text, "f late e half-line d skip c ");
	events_tail_free(&tail);
	assert_int_equal(events_last("/nonexistent", 1, see, never, &s, &tail), -1);
	assert_null(tail);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

/* Lines longer than a block, and more of them than fit into one. */
static void
test_long_lines(void **state)
{
	char dir[] = "/tmp/posthorn-events-XXXXXX", command[100], path[100], *line = malloc(300001);
	struct events_tail *tail = NULL;
	struct seen s = { "", 0 };
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	memset(line, 'x', 300000);
	line[300000] = '\0';
	snprintf(path, sizeof(path), "%s/20261123T10.jsonl", dir);
	f = fopen(path, "w");
	for (int i = 0; i < 5; i++)
		fprintf(f, "%s\n", line);
	for (int i = 0; i < 100000; i++)
		fprintf(f, "%d\n", i);
	fclose(f);
	free(line);
	assert_int_equal(events_last(dir, 1000000, see, never, &s, &tail), 0);
	assert_int_equal(s.total, 100005);
	assert_ptr_equal(strstr(s.text, "99999 99998 "), s.text);
	events_tail_free(&tail);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_filter), cmocka_unit_test(test_types),
		cmocka_unit_test(test_since),
		cmocka_unit_test(test_print), cmocka_unit_test(test_files), cmocka_unit_test(test_long_lines) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
