/* The event log: every line is JSON with the promised fields; numbers have no gap; nothing is lost or mixed when the
 * disk is full (RLIMIT_FSIZE makes real short writes). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/log.h"
#include "mail/arf_parse.h"
#include "mail/eventlog_json.h"

static const struct event_origin origin = { "deliverd/pool-a@1", "0e0a2b54-1c5e-4c51-9c0b-6f1f1f1a2b3c", 42,
    1785000123456 };

/* Formats one record and parses the line; it must be exactly one. */
static json_t *
format(const struct event_record *ev)
{
	struct json j;
	json_error_t error;
	json_t *root;

	json_init(&j);
	eventlog_format(&j, ev, &origin);
	assert_ptr_equal(memchr(j.out.p, '\n', j.out.len), j.out.p + j.out.len - 1);
	assert_memory_equal(j.out.p, "{\"type\":\"", 9);
	assert_null(memmem(j.out.p + 1, j.out.len - 1, "{\"type\":\"", 9));
	root = json_loadb((const char *)j.out.p, j.out.len, JSON_REJECT_DUPLICATES, &error);
	if (root == NULL)
		fail_msg("%s in %.*s", error.text, (int)j.out.len, (const char *)j.out.p);
	json_clear(&j);
	return root;
}

static const char *
text_of(json_t *root, const char *key)
{
	return json_string_value(json_object_get(root, key));
}

static json_int_t
number_of(json_t *root, const char *key)
{
	assert_true(json_is_integer(json_object_get(root, key)));
	return json_integer_value(json_object_get(root, key));
}

static bool
is_null(json_t *root, const char *key)
{
	return json_is_null(json_object_get(root, key));
}

static char key_list[] = "list", value_list[] = "lapsed", key_tenant[] = "tenant", value_fake[] = "fake",
    key_type[] = "type";

/* Our own keys of the full record. */
static void
check_ours(json_t *root)
{
	json_t *part;

	assert_int_equal(number_of(root, "v"), 1);
	assert_string_equal(text_of(root, "writer"), origin.writer);
	assert_int_equal(number_of(root, "seq"), 42);
	assert_string_equal(text_of(root, "domain"), "example.net");
	assert_string_equal(text_of(root, "tenant"), "acme");
	assert_string_equal(text_of(root, "campaign"), "autumn24");
	assert_string_equal(text_of(root, "message_id"), "<x@y>");
	assert_string_equal(text_of(root, "next_attempt"), "2026-07-25T17:42:03.456Z");
	assert_string_equal(text_of(root, "phase"), "dot");
	assert_string_equal(text_of(root, "generated"), "remote");
	part = json_object_get(root, "timing");
	assert_int_equal(number_of(part, "queue"), 1);
	assert_int_equal(number_of(part, "dns"), 2);
	assert_int_equal(number_of(part, "connect"), 3);
	assert_int_equal(number_of(part, "tls"), 4);
	assert_int_equal(number_of(part, "transfer"), 5);
}

static void
test_full_record(void **state)
{
	const struct meta meta[] = { { key_list, value_list }, { key_tenant, value_fake }, { key_type, value_fake } };
	const struct ql_timing timing = { 1, 2, 3, 4, 5 };
	struct msgid id = { { 0x7c, 0x0e } };
	struct event_record ev = { .type = EV_TRANSIENT_FAILURE, .id = &id, .sender = "a@b",
	    .recipient = "ana@example.net",
		.queue = "autumn24:acme@example.net", .domain = "example.net", .tenant = "acme", .campaign = "autumn24",
		.site = "ip-07->mx.example.net", .size = 48213, .code = 421, .enhanced = { 4, 7, 0 },
		.content = "[TS02]\ntry later",
		.command = ".", .peer_name = "mx1.example.net", .peer_addr = "203.0.113.25", .created = 1784999990902,
		.num_attempts = 3, .egress_pool = "acme-warm", .egress_source = "ip-07",
		.source_address = "198.51.100.7:41822",
		.meta = meta, .n_meta = 3, .delivery_protocol = "ESMTP", .reception_protocol = "ESMTP",
		.tls_version = "TLSv1.3",
		.tls_cipher = "TLS_AES_256_GCM_SHA384", .provider = "yahoo", .session = "4a6f", .message_id = "<x@y>",
		.auth_user = "mautic", .next_attempt = 1785001323456, .phase = PHASE_DOT, .timing = &timing };
	json_t *root = format(&ev), *part;

	(void)state;
	assert_string_equal(text_of(root, "type"), "TransientFailure");
	assert_string_equal(text_of(root, "id"), "7c0e0000000000000000000000000000");
	assert_string_equal(text_of(root, "sender"), "a@b");
	assert_string_equal(text_of(root, "recipient"), "ana@example.net");
	assert_string_equal(text_of(root, "queue"), "autumn24:acme@example.net");
	assert_string_equal(text_of(root, "site"), "ip-07->mx.example.net");
	assert_int_equal(number_of(root, "size"), 48213);
	part = json_object_get(root, "response");
	assert_int_equal(number_of(part, "code"), 421);
	assert_string_equal(text_of(part, "content"), "[TS02]\ntry later");
	assert_string_equal(text_of(part, "command"), ".");
	part = json_object_get(part, "enhanced_code");
	assert_int_equal(number_of(part, "class"), 4);
	assert_int_equal(number_of(part, "subject"), 7);
	assert_int_equal(number_of(part, "detail"), 0);
	part = json_object_get(root, "peer_address");
	assert_string_equal(text_of(part, "name"), "mx1.example.net");
	assert_string_equal(text_of(part, "addr"), "203.0.113.25");
	assert_int_equal(number_of(root, "timestamp"), 1785000123);
	assert_string_equal(text_of(root, "event_time"), "2026-07-25T17:22:03.456Z");
	assert_int_equal(number_of(root, "created"), 1784999990);
	assert_string_equal(text_of(root, "created_time"), "2026-07-25T17:19:50.902Z");
	assert_int_equal(number_of(root, "num_attempts"), 3);
	assert_string_equal(text_of(root, "bounce_classification"), "Uncategorized");
	assert_string_equal(text_of(root, "egress_pool"), "acme-warm");
	assert_string_equal(text_of(root, "egress_source"), "ip-07");
	assert_string_equal(text_of(json_object_get(root, "source_address"), "address"), "198.51.100.7:41822");
	assert_true(is_null(root, "feedback_report"));
	part = json_object_get(root, "meta");
	assert_string_equal(text_of(part, "tenant"), "acme");
	assert_string_equal(text_of(part, "campaign"), "autumn24");
	assert_string_equal(text_of(part, "authn_id"), "mautic");
	assert_string_equal(text_of(part, "list"), "lapsed");
	assert_int_equal(json_object_size(part), 5);
	assert_int_equal(json_object_size(json_object_get(root, "headers")), 0);
	assert_string_equal(text_of(root, "delivery_protocol"), "ESMTP");
	assert_string_equal(text_of(root, "reception_protocol"), "ESMTP");
	assert_string_equal(text_of(root, "nodeid"), origin.nodeid);
	assert_string_equal(text_of(root, "tls_cipher"), "TLS_AES_256_GCM_SHA384");
	assert_string_equal(text_of(root, "tls_protocol_version"), "TLSv1.3");
	assert_string_equal(text_of(root, "provider_name"), "yahoo");
	assert_string_equal(text_of(root, "session_id"), "4a6f");
	check_ours(root);
	json_decref(root);
}

static void
test_empty_record(void **state)
{
	static const char *const nulls[] = { "peer_address", "egress_pool", "egress_source", "source_address",
	    "feedback_report",
		"delivery_protocol", "reception_protocol", "domain", "tenant", "campaign", "message_id",
		"next_attempt", "phase", "timing" };
	static const char *const absent[] = { "tls_cipher", "tls_protocol_version", "provider_name", "session_id" };
	struct event_record ev = { .type = EV_REJECTION, .is_local = true };
	json_t *root = format(&ev), *part;

	(void)state;
	assert_string_equal(text_of(root, "type"), "Rejection");
	assert_string_equal(text_of(root, "id"), "");
	assert_string_equal(text_of(root, "sender"), "");
	assert_string_equal(text_of(root, "recipient"), "");
	assert_string_equal(text_of(root, "queue"), "");
	assert_string_equal(text_of(root, "site"), "");
	assert_string_equal(text_of(root, "generated"), "local");
	assert_int_equal(number_of(root, "created"), 1785000123);
	part = json_object_get(root, "response");
	assert_true(is_null(part, "enhanced_code"));
	assert_true(is_null(part, "command"));
	assert_string_equal(text_of(part, "content"), "");
	assert_int_equal(json_object_size(json_object_get(root, "meta")), 0);
	for (size_t i = 0; i < sizeof(nulls) / sizeof(nulls[0]); i++)
		if (!is_null(root, nulls[i]))
			fail_msg("%s is not null", nulls[i]);
	for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++)
		if (json_object_get(root, absent[i]) != NULL)
			fail_msg("%s is there", absent[i]);
	json_decref(root);
}

static void
test_recipients(void **state)
{
	static const char *const names[] = { "a@x", "b@x", "c@x" };
	struct event_record ev = { .type = EV_RECEPTION, .recipients = names, .n_recipients = 3 };
	json_t *root = format(&ev), *list = json_object_get(root, "recipient");

	(void)state;
	assert_true(json_is_array(list));
	assert_int_equal(json_array_size(list), 3);
	assert_string_equal(json_string_value(json_array_get(list, 2)), "c@x");
	json_decref(root);
	ev.n_recipients = 1;
	root = format(&ev);
	assert_string_equal(text_of(root, "recipient"), "a@x");
	json_decref(root);
}

static void
test_hostile_text(void **state)
{
	static char huge[100001];
	struct event_record ev = { .type = EV_BOUNCE, .sender = "{\"type\":\"Delivery\"}\n{\"type\":\"x\"}",
	    .content = huge,
		.recipient = "\xff\xfe\x01\x7f\"\\", .peer_name = "\xe2\x80\xa8", .queue = "\x1b]0;x\x07" };
	json_t *root;

	(void)state;
	memset(huge, '"', sizeof(huge) - 1);
	root = format(&ev);
	assert_string_equal(text_of(root, "sender"), ev.sender);
	assert_int_equal(json_string_length(json_object_get(json_object_get(root, "response"), "content")), 4096);
	json_decref(root);
}

/* The nine bytes that begin a record stand nowhere else, also when policy names a key so (format() looks). */
static void
test_mark(void **state)
{
	const struct meta meta[] = { { key_type, value_fake }, { key_list, value_list } };
	struct event_record ev = { .type = EV_RECEPTION, .meta = meta, .n_meta = 2 };
	json_t *root = format(&ev), *part = json_object_get(root, "meta");

	(void)state;
	assert_string_equal(text_of(part, "type"), "fake");
	assert_true(is_null(part, "tenant"));
	json_decref(root);
	ev.auth_user = "mautic";
	root = format(&ev);
	part = json_object_get(root, "meta");
	assert_string_equal(text_of(part, "type"), "fake");
	assert_int_equal(json_object_size(part), 3);
	json_decref(root);
}

/* A complaint in which everything is named so. */
static void
test_feedback(void **state)
{
	char name[] = "type", value[] = "fake", abuse[] = "abuse";
	struct arf_extension extension = { name, value };
	struct dsn_wanted wanted = { "X-Posthorn-Ref", value };
	struct arf_report report = { .is_report = true, .shape = "arf", .feedback_type = abuse,
		.extensions = &extension, .n_extensions = 1, .wanted = &wanted, .n_wanted = 1 };
	const struct meta trace = { name, value };
	struct msgid id = { { 1 } };
	struct event_feedback f = { .report = &report, .trace = &trace, .n_trace = 1, .source = "one",
		.source_by = "dkim", .proof = "trace", .is_trusted = true, .message = &id, .recipient = "a@b.example",
		.recipient_by = "trace", .suppressed = "tenant" };
	struct event_record ev = { .type = EV_FEEDBACK, .feedback = &f };
	json_t *root = format(&ev), *part = json_object_get(root, "feedback_report");

	(void)state;
	assert_string_equal(text_of(root, "type"), "Feedback");
	assert_string_equal(text_of(json_object_get(part, "supplemental_trace"), "type"), "fake");
	assert_string_equal(text_of(json_object_get(part, "supplemental_trace"), "id"),
	    "01000000000000000000000000000000");
	part = json_object_get(root, "feedback");
	assert_true(json_is_true(json_object_get(part, "trusted")));
	assert_true(is_null(part, "why"));
	assert_string_equal(text_of(part, "suppressed"), "tenant");
	json_decref(root);
	/* Nothing is known. */
	report = (struct arf_report){ .shape = "none" };
	f = (struct event_feedback){ .report = &report, .why = "unread" };
	root = format(&ev);
	part = json_object_get(root, "feedback");
	assert_true(is_null(part, "message") && is_null(part, "source") && is_null(part, "suppressed"));
	assert_string_equal(text_of(part, "why"), "unread");
	assert_true(is_null(json_object_get(root, "feedback_report"), "supplemental_trace"));
	json_decref(root);
}

/* --- the file --- */

struct fixture {
	struct loop *loop;
	struct eventlog *log;
	char path[64];
};

static int
open_log(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static int
setup(void **state)
{
	static struct fixture fx;
	int fd;

	snprintf(fx.path, sizeof(fx.path), "/tmp/eventlog-test-XXXXXX");
	fd = mkstemp(fx.path);
	if (fd == -1)
		return -1;
	close(fd);
	fx.loop = loop_new();
	fx.log = eventlog_new(fx.loop, "smtpd-1");
	eventlog_set_node(fx.log, "0e0a2b54-1c5e-4c51-9c0b-6f1f1f1a2b3c");
	*state = &fx;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *fx = *state;
	struct rlimit limit;

	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_FSIZE, &limit);
	eventlog_free(&fx->log);
	loop_free(&fx->loop);
	unlink(fx->path);
	return 0;
}

static void
limit_file(rlim_t size)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = size == RLIM_INFINITY ? limit.rlim_max : size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void
stop(void *arg)
{
	loop_stop(arg);
}

static void
run_for(struct loop *loop, int64_t ms)
{
	struct timer timer;

	timer_init(&timer, loop, stop, loop);
	timer_set(&timer, ms);
	assert_int_equal(loop_run(loop), 0);
	timer_cancel(&timer);
}

static void
write_events(struct eventlog *log, unsigned n)
{
	struct event_record ev = { .type = EV_DELIVERY, .recipient = "ana@example.net", .code = 250, .content = "ok" };

	for (unsigned i = 0; i < n; i++)
		eventlog_write(log, &ev);
}

/* Reads the file as events(5) tells readers to; the numbers of whole records of the writer are exactly first..last,
 * in order, but for the repetition of a record of whose line only the end was torn off. Returns how many fragments
 * were seen. */
static unsigned
check_file(const char *path, json_int_t first, json_int_t last)
{
	FILE *f = fopen(path, "r");
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;
	unsigned torn = 0;

	assert_non_null(f);
	while ((n = getline(&line, &cap, f)) > 0) {
		json_t *root = NULL;

		if (line[n - 1] == '\n' && n > 1)
			root = json_loadb(line, (size_t)n, 0, NULL);
		if (root == NULL) {
			torn++;
			continue;
		}
		assert_int_equal(strncmp(text_of(root, "writer"), "smtpd-1@", 8), 0);
		if (number_of(root, "seq") == first - 1) {
			torn++;
		} else {
			assert_int_equal(number_of(root, "seq"), first);
			first++;
		}
		json_decref(root);
	}
	assert_int_equal(first, last + 1);
	free(line);
	fclose(f);
	return torn;
}

static void
test_file(void **state)
{
	struct fixture *fx = *state;
	struct stat st;

	/* Before the descriptor comes, lines wait. */
	write_events(fx->log, 3);
	run_for(fx->loop, 1);
	assert_false(eventlog_stuck(fx->log));
	eventlog_set_fd(fx->log, open_log(fx->path));
	write_events(fx->log, 5);
	assert_int_equal(stat(fx->path, &st), 0);
	run_for(fx->loop, 1);
	assert_int_equal(check_file(fx->path, 1, 8), 0);
	/* The next hour. */
	write_events(fx->log, 1);
	unlink(fx->path);
	eventlog_set_fd(fx->log, open_log(fx->path));
	write_events(fx->log, 1);
	eventlog_flush(fx->log);
	assert_int_equal(check_file(fx->path, 9, 10), 0);
}

/* Short writes all over two lines and right at the end of the first, then room again. */
static void
test_short_writes(void **state)
{
	struct fixture *fx = *state;
	struct stat st;
	json_int_t written = 2;
	unsigned torn = 0, failed = 0;
	off_t line;

	signal(SIGXFSZ, SIG_IGN);
	eventlog_set_fd(fx->log, open_log(fx->path));
	write_events(fx->log, 2);
	eventlog_flush(fx->log);
	assert_int_equal(stat(fx->path, &st), 0);
	line = st.st_size / 2;
	for (off_t room = 0; room < 2 * line; room += room % line > line - 45 || room % line < 4 ? 1 : 41) {
		assert_int_equal(stat(fx->path, &st), 0);
		limit_file((rlim_t)(st.st_size + room));
		write_events(fx->log, 2);
		written += 2;
		eventlog_flush(fx->log);
		if (eventlog_stuck(fx->log))
			failed++;
		/* No room yet. */
		eventlog_flush(fx->log);
		limit_file(RLIM_INFINITY);
		eventlog_flush(fx->log);
		assert_false(eventlog_stuck(fx->log));
	}
	torn = check_file(fx->path, 1, written);
	assert_true(failed > 30);
	assert_true(torn > 25);
}

/* Another process writes behind our fragment: its line and ours can both be had, as events(5) says. */
static void
test_torn_and_interleaved(void **state)
{
	struct fixture *fx = *state;
	static const char other[] = "{\"type\":\"Delivery\",\"writer\":\"other\"}\n";
	char content[8192];
	struct stat st;
	char *line, *at;
	ssize_t n;
	int fd;

	signal(SIGXFSZ, SIG_IGN);
	eventlog_set_fd(fx->log, open_log(fx->path));
	write_events(fx->log, 1);
	limit_file(100);
	eventlog_flush(fx->log);
	assert_true(eventlog_stuck(fx->log));
	limit_file(RLIM_INFINITY);
	assert_int_equal(stat(fx->path, &st), 0);
	assert_int_equal(st.st_size, 100);
	fd = open(fx->path, O_RDWR | O_APPEND);
	assert_int_equal(write(fd, other, sizeof(other) - 1), sizeof(other) - 1);
	/* The timer tries again by itself. */
	run_for(fx->loop, 400);
	assert_false(eventlog_stuck(fx->log));
	n = pread(fd, content, sizeof(content) - 1, 0);
	assert_true(n > 100);
	content[n] = '\0';
	close(fd);
	line = strchr(content, '\n');
	assert_non_null(line);
	*line = '\0';
	at = content;
	for (char *p = content; (p = strstr(p, "{\"type\":\"")) != NULL; p++)
		at = p;
	assert_int_equal(strncmp(at, other, strlen(at)), 0);
	assert_int_equal(strlen(at), sizeof(other) - 2);
	/* Then an empty line, then ours. */
	assert_int_equal(line[1], '\n');
	{
		json_t *root = json_loads(line + 2, 0, NULL);

		assert_non_null(root);
		assert_int_equal(number_of(root, "seq"), 1);
		json_decref(root);
	}
}

/* Another process left the fragment, and we could write nothing at all meanwhile: our line is not glued to it. */
static void
test_fragment_of_another(void **state)
{
	static const char fragment[] = "{\"type\":\"Deliv";
	struct fixture *fx = *state;
	char content[8192];
	json_t *root;
	ssize_t n;
	int fd;

	signal(SIGXFSZ, SIG_IGN);
	fd = open_log(fx->path);
	assert_int_equal(write(fd, fragment, sizeof(fragment) - 1), sizeof(fragment) - 1);
	eventlog_set_fd(fx->log, fd);
	write_events(fx->log, 1);
	limit_file(sizeof(fragment) - 1);
	eventlog_flush(fx->log);
	assert_true(eventlog_stuck(fx->log));
	limit_file(RLIM_INFINITY);
	eventlog_flush(fx->log);
	assert_false(eventlog_stuck(fx->log));
	fd = open(fx->path, O_RDONLY);
	n = read(fd, content, sizeof(content) - 1);
	close(fd);
	assert_true(n > (ssize_t)sizeof(fragment));
	content[n] = '\0';
	assert_int_equal(content[sizeof(fragment) - 1], '\n');
	root = json_loads(content + sizeof(fragment), 0, NULL);
	assert_non_null(root);
	assert_int_equal(number_of(root, "seq"), 1);
	json_decref(root);
}

/* The disk stays full: memory is bounded, the loss is counted and shows as a gap. */
static void
test_cap(void **state)
{
	struct fixture *fx = *state;
	FILE *f;
	char line[4096];
	json_int_t expected = 1, gaps = 0;

	signal(SIGXFSZ, SIG_IGN);
	eventlog_set_fd(fx->log, open_log(fx->path));
	limit_file(0);
	write_events(fx->log, 1);
	eventlog_flush(fx->log);
	assert_true(eventlog_stuck(fx->log));
	write_events(fx->log, 40000);
	limit_file(RLIM_INFINITY);
	eventlog_flush(fx->log);
	assert_false(eventlog_stuck(fx->log));
	write_events(fx->log, 1);
	eventlog_flush(fx->log);
	f = fopen(fx->path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		json_t *root;

		if (*line == '\n')
			continue;
		root = json_loads(line, 0, NULL);
		assert_non_null(root);
		if (number_of(root, "seq") != expected) {
			gaps++;
			expected = number_of(root, "seq");
		}
		expected++;
		json_decref(root);
	}
	assert_int_equal(expected, 40003);
	assert_int_equal(gaps, 1);
	assert_true(ftell(f) > 16 << 20);
	assert_true(ftell(f) < 17 << 20);
	fclose(f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_record),
		cmocka_unit_test(test_empty_record),
		cmocka_unit_test(test_recipients),
		cmocka_unit_test(test_hostile_text),
		cmocka_unit_test(test_mark),
		cmocka_unit_test(test_feedback),
		cmocka_unit_test_setup_teardown(test_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_short_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_torn_and_interleaved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fragment_of_another, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cap, setup, teardown),
	};

	log_init("eventlog-test", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
