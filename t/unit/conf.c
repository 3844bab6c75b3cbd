/* base/conf.h: lines, expansion, types, bounds, and above all that every mistake is said with its line. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/conf.h"
#include "base/suggest.h"

#include "mistakes.h"

struct target {
	char *name, *path, *other;
	struct conf_strs words;
	bool flag;
	int64_t count, size, time;
	int choice;
	struct cidr_list nets;
	struct conf_addrs listen;
};

static const char *const choices[] = { "red", "green", "blue", NULL };

#define PARAM(n, t, field, d, least, most, list) { .name = (n), .type = (t), .offset = offsetof(struct target, field), \
	.def = (d), .min = (least), .max = (most), .words = (list) }
static const struct conf_param table[] = {
	PARAM("name", CONF_STR, name, "default name", 0, 0, NULL),
	PARAM("path", CONF_STR, path, "$config_directory/file", 0, 0, NULL),
	PARAM("other", CONF_STR, other, "", 0, 0, NULL),
	PARAM("words", CONF_STRS, words, "", 0, 0, NULL),
	PARAM("flag", CONF_BOOL, flag, "no", 0, 0, NULL),
	PARAM("count", CONF_INT, count, "5", 1, 100, NULL),
	PARAM("size_limit", CONF_SIZE, size, "10k", 1024, 1 << 30, NULL),
	PARAM("time_limit", CONF_TIME, time, "30s", 100, 86400000, NULL),
	PARAM("choice", CONF_ENUM, choice, "green", 0, 0, choices),
	PARAM("nets", CONF_CIDRS, nets, "127.0.0.0/8", 0, 0, NULL),
	PARAM("listen_on", CONF_LISTEN, listen, "", 0, 0, NULL),
};
#define TABLE_N (sizeof(table) / sizeof(table[0]))

struct fixture {
	char dir[64];
	char file[96];
	struct target t;
	struct conf *conf;
	struct conf_errors errs;
};

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/posthorn-conf-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->file, sizeof(f->file), "%s/main.cf", f->dir);
	*state = f;
	return 0;
}

static void
clear(struct fixture *f)
{
	conf_free(&f->conf);
	conf_target_clear(table, TABLE_N, &f->t);
	conf_errors_clear(&f->errs);
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	clear(f);
	unlink(f->file);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void
file_put(const struct fixture *f, const char *text, size_t len)
{
	FILE *fp = fopen(f->file, "w");

	assert_non_null(fp);
	assert_int_equal(fwrite(text, 1, len, fp), len);
	assert_int_equal(fclose(fp), 0);
}

static void
load(struct fixture *f, const char *text)
{
	clear(f);
	file_put(f, text, strlen(text));
	f->conf = conf_load(f->file, table, TABLE_N, &f->t, &f->errs);
}

static void
load_ok(struct fixture *f, const char *text)
{
	load(f, text);
	if (f->errs.n > 0)
		fail_msg("unexpected error for <%s>: line %u: %s", text, f->errs.v[0].line, f->errs.v[0].text);
	assert_non_null(f->conf);
}

static void
test_defaults(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f010203) };
	char path[128];
	bool is_set = true;

	load_ok(f, "");
	assert_string_equal(f->t.name, "default name");
	snprintf(path, sizeof(path), "%s/file", f->dir);
	assert_string_equal(f->t.path, path);
	assert_string_equal(f->t.other, "");
	assert_int_equal(f->t.words.n, 0);
	assert_false(f->t.flag);
	assert_int_equal(f->t.count, 5);
	assert_int_equal(f->t.size, 10240);
	assert_int_equal(f->t.time, 30000);
	assert_int_equal(f->t.choice, 1);
	assert_true(cidr_list_match(&f->t.nets, (struct sockaddr *)&sin));
	assert_int_equal(f->t.listen.n, 0);
	assert_string_equal(conf_text(f->conf, "size_limit", &is_set), "10k");
	assert_false(is_set);
	assert_int_equal(conf_line(f->conf, "size_limit"), 0);
	assert_null(conf_text(f->conf, "size_limi", &is_set));
	assert_string_equal(conf_file(f->conf), f->file);
}

static void
test_lines(void **state)
{
	static const char text[] =
	    "# a comment\n"
	    "\n"
	    "  \t \n"
	    "   # an indented comment\n"
	    "name = one\n"
	    "\ttwo\n"
	    "# between a line and its continuation\n"
	    "\n"
	    "   three   \n"
	    "words=a,b c\t, d\n"
	    "other =\n"
	    "count =    7  \r\n"
	    "path = a=b # no comment here";
	struct fixture *f = *state;
	bool is_set = false;

	load_ok(f, text);
	assert_string_equal(f->t.name, "one two three");
	assert_int_equal(f->t.words.n, 4);
	assert_string_equal(f->t.words.v[0], "a");
	assert_string_equal(f->t.words.v[3], "d");
	assert_string_equal(f->t.other, "");
	assert_int_equal(f->t.count, 7);
	assert_string_equal(f->t.path, "a=b # no comment here");
	assert_string_equal(conf_text(f->conf, "count", &is_set), "7");
	assert_true(is_set);
	assert_int_equal(conf_line(f->conf, "name"), 5);
	assert_int_equal(conf_line(f->conf, "path"), 13);
}

static void
test_expansion(void **state)
{
	struct fixture *f = *state;
	char host[256];

	load_ok(f, "other = <$name>${name}s$(count)$$x\nname = n$count\ncount = 9\n");
	assert_string_equal(f->t.other, "<n9>n9s9$x");
	assert_string_equal(conf_text(f->conf, "other", NULL), "<n9>n9s9$x");
	load_ok(f, "words = $nets, $path\nnets = 10.0.0.0/8 192.168.0.0/16\npath = /x\n");
	assert_int_equal(f->t.words.n, 3);
	load_ok(f, "other = $system_hostname\n");
	assert_int_equal(gethostname(host, sizeof(host)), 0);
	assert_memory_equal(f->t.other, host, strlen(host));
	assert_non_null(strchr(f->t.other, '.'));
}

struct value {
	const char *text;
	int64_t expected;
};

static void
test_numbers(void **state)
{
	static const struct value counts[] = { { "1", 1 }, { "100", 100 }, { "007", 7 } };
	static const struct value sizes[] = {
		{ "1024", 1024 }, { "1k", 1024 }, { "1K", 1024 }, { "3M", 3 << 20 }, { "1G", 1 << 30 }, { "2 k", 2048 }
	};
	static const struct value times[] = {
		{ "100ms", 100 }, { "30", 30000 }, { "1s", 1000 }, { "5m", 300000 }, { "2h", 7200000 },
		{ "1d", 86400000 }, { "20 min", 1200000 }, { "2 hours", 7200000 }, { "1 day", 86400000 }
	};
	struct fixture *f = *state;
	char line[64];
	size_t i;

	for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		snprintf(line, sizeof(line), "count = %s\n", counts[i].text);
		load_ok(f, line);
		assert_int_equal(f->t.count, counts[i].expected);
	}
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		snprintf(line, sizeof(line), "size_limit = %s\n", sizes[i].text);
		load_ok(f, line);
		assert_int_equal(f->t.size, sizes[i].expected);
	}
	for (i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		snprintf(line, sizeof(line), "time_limit = %s\n", times[i].text);
		load_ok(f, line);
		assert_int_equal(f->t.time, times[i].expected);
	}
}

static void
test_addresses(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6 };
	const struct sockaddr_in *sin;

	load_ok(f, "nets = [::1]/128, 2001:db8::/32 192.0.2.1\nlisten_on = 127.0.0.1:25, [::1]:2525 0.0.0.0:587\n");
	assert_int_equal(f->t.nets.n, 3);
	sin6.sin6_addr.s6_addr[15] = 1;
	assert_true(cidr_list_match(&f->t.nets, (struct sockaddr *)&sin6));
	sin6.sin6_addr.s6_addr[15] = 2;
	assert_false(cidr_list_match(&f->t.nets, (struct sockaddr *)&sin6));
	assert_int_equal(f->t.listen.n, 3);
	sin = (const struct sockaddr_in *)&f->t.listen.v[0].sa;
	assert_int_equal(sin->sin_family, AF_INET);
	assert_int_equal(ntohs(sin->sin_port), 25);
	assert_int_equal(f->t.listen.v[1].sa.ss_family, AF_INET6);
	assert_string_equal(f->t.listen.v[1].text, "[::1]:2525");
}

/* Text, and what its only error must say where. */
static const struct mistake mistakes[] = {
	{ "\nsize_limt = 5\n", 2, "unknown parameter 'size_limt'; did you mean 'size_limit'?" },
	{ "litsen_on = x\n", 1, "unknown parameter 'litsen_on'; did you mean 'listen_on'?" },
	{ "no_such_thing_at_all = x\n", 1, "unknown parameter 'no_such_thing_at_all'" },
	{ "Name = x\n", 1, "unknown parameter 'Name'; did you mean 'name'?" },
	{ "name = a\n#\ncount = 2\nname = b\n", 4, "name is set twice: here and in line 1" },
	{ "name x\n", 1, "'name x': expected 'name = value'" },
	{ "= x\n", 1, "'' is not a parameter name" },
	{ "na me = x\n", 1, "'na me' is not a parameter name" },
	{ "  name = x\n", 1, "no line before that it could continue" },
	{ "name = a\001b\n", 1, "control character" },
	{ "flag = maybe\n", 1, "flag: 'maybe' is neither yes nor no" },
	{ "count = 0\n", 1, "count: 0 is too small; the least is 1" },
	{ "count = 101\n", 1, "count: 101 is too large; the most is 100" },
	{ "count = -1\n", 1, "count: '-1' is not a number" },
	{ "count = 5x\n", 1, "count: '5x' is not a number" },
	{ "count =\n", 1, "count: '' is not a number" },
	{ "count = 99999999999999999999\n", 1, "is not a number" },
	{ "size_limit = 1\n", 1, "size_limit: 1 is too small; the least is 1k" },
	{ "size_limit = 2G\n", 1, "size_limit: 2G is too large; the most is 1G" },
	{ "size_limit = 9000000000000T\n", 1, "is not a size" },
	{ "size_limit = 5X\n", 1, "size_limit: '5X' is not a size (examples" },
	{ "time_limit = 0\n", 1, "time_limit: 0 is too small; the least is 100ms" },
	{ "time_limit = 2d\n", 1, "time_limit: 2d is too large; the most is 1d" },
	{ "time_limit = 1.5s\n", 1, "time_limit: '1.5s' is not a time (examples" },
	{ "choice = gren\n", 1, "choice: 'gren' is not one of: red, green, blue; did you mean 'green'?" },
	{ "nets = 10.0.0.1/8\n", 1, "nets: '10.0.0.1/8' has a prefix length" },
	{ "nets = 10.0.0.0/33\n", 1, "nets: '10.0.0.0/33' has a prefix length" },
	{ "nets = example.com\n", 1, "nets: 'example.com' is not an address range" },
	{ "nets = [::1\n", 1, "nets: '[::1' is not an address range" },
	{ "listen_on = localhost:25\n", 1, "listen_on: 'localhost:25' is not a numeric address and port" },
	{ "listen_on = 127.0.0.1\n", 1, "is not a numeric address and port" },
	{ "listen_on = 127.0.0.1:0\n", 1, "is not a numeric address and port" },
	{ "listen_on = 127.0.0.1:65536\n", 1, "is not a numeric address and port" },
	{ "listen_on = ::1:25\n", 1, "is not a numeric address and port" },
	{ "listen_on = 127.0.0.1:25 127.0.0.1:25\n", 1, "'127.0.0.1:25' is listed twice" },
	{ "other = $nam\n", 1, "other refers to the unknown parameter 'nam'; did you mean 'name'?" },
	{ "other = a$\n", 1, "other: a parameter name must follow '$'" },
	{ "other = ${name\n", 1, "other: a parameter name must follow '$'" },
	{ "other = ${name?x}\n", 1, "other: a parameter name must follow '$'" },
	{ "other = $other\n", 1, "other refers to $other, which refers back to it" },
};

static void
test_mistakes(void **state)
{
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		load(f, mistakes[i].text);
		assert_null(f->conf);
		mistake_check(&mistakes[i], &f->errs, f->file);
		assert_null(f->t.name);
	}
}

static void
test_all_mistakes_at_once(void **state)
{
	struct fixture *f = *state;
	char *text, expected[160];

	load(f, "count = x\nflag = y\nname = ok\nbogus = 1\nother = $path $nam\n");
	assert_null(f->conf);
	assert_int_equal(f->errs.n, 4);
	assert_int_equal(f->errs.v[0].line, 1);
	assert_int_equal(f->errs.v[1].line, 2);
	assert_int_equal(f->errs.v[3].line, 5);
	text = conf_error_text(&f->errs.v[2]);
	snprintf(expected, sizeof(expected), "%s:4: unknown parameter 'bogus'", f->file);
	assert_string_equal(text, expected);
	free(text);
}

/* A circle over two, and a reference to what is itself wrong: no crash, no silence. */
static void
test_circles(void **state)
{
	struct fixture *f = *state;

	load(f, "name = $path\npath = $other\nother = $name\n");
	assert_null(f->conf);
	assert_true(f->errs.n >= 1);
	assert_non_null(strstr(f->errs.v[0].text, "refers back to it"));
}

/* Each value doubles the one before: must end quickly, with an error. */
static void
test_expansion_bomb(void **state)
{
	struct fixture *f = *state;
	char line[40000];

	memset(line, 'x', sizeof(line) - 1);
	memcpy(line, "name = ", 7);
	memcpy(line + sizeof(line) - 40, "\npath = $name$name$name$name\n", 29);
	line[sizeof(line) - 11] = '\0';
	load(f, line);
	assert_null(f->conf);
	assert_non_null(strstr(f->errs.v[0].text, "longer than"));
}

static void
test_files(void **state)
{
	struct fixture *f = *state;
	char *big;

	f->conf = conf_load("/nonexistent/main.cf", table, TABLE_N, &f->t, &f->errs);
	assert_null(f->conf);
	assert_int_equal(f->errs.n, 1);
	assert_string_equal(f->errs.v[0].text, "cannot be read: No such file or directory");
	assert_int_equal(f->errs.v[0].line, 0);
	clear(f);

	f->conf = conf_load("/tmp", table, TABLE_N, &f->t, &f->errs);
	assert_null(f->conf);
	assert_string_equal(f->errs.v[0].text, "cannot be read: Is a directory");
	clear(f);

	file_put(f, "name = a\0b\n", 11);
	f->conf = conf_load(f->file, table, TABLE_N, &f->t, &f->errs);
	assert_null(f->conf);
	assert_non_null(strstr(f->errs.v[0].text, "control character"));
	clear(f);

	big = malloc(2 << 20);
	memset(big, '\n', 2 << 20);
	file_put(f, big, 2 << 20);
	f->conf = conf_load(f->file, table, TABLE_N, &f->t, &f->errs);
	assert_null(f->conf);
	assert_non_null(strstr(f->errs.v[0].text, "File too large"));
	clear(f);

	/* A file of nothing but mistakes does not gather a million sentences. */
	memset(big, 'x', 2 << 20);
	for (size_t i = 1; i < 1 << 20; i += 2)
		big[i] = '\n';
	file_put(f, big, (1 << 20) - 1);
	f->conf = conf_load(f->file, table, TABLE_N, &f->t, &f->errs);
	assert_null(f->conf);
	assert_in_range(f->errs.n, 50, 200);
	free(big);
}

static void
test_suggestions(void **state)
{
	static const char *const words[] = { "smtpd_listen", "submission_listen", "retry_interval", "myhostname", "a",
	    NULL };
	static const struct {
		const char *word, *expected;
	} cases[] = {
		{ "smptd_listen", "smtpd_listen" }, { "SMTPD_LISTEN", "smtpd_listen" }, { "retry_intervall",
		    "retry_interval" },
		{ "hostname", "myhostname" }, { "submision_listen", "submission_listen" }, { "completely_else", NULL },
		{ "", NULL }, { "b", "a" }, { "zzz", NULL }
	};
	char longer[300];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *got = suggest_nearest(cases[i].word, words);

		if (cases[i].expected == NULL)
			assert_null(got);
		else
			assert_string_equal(got, cases[i].expected);
	}
	memset(longer, 's', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	assert_null(suggest_nearest(longer, words));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_expansion, setup, teardown),
		cmocka_unit_test_setup_teardown(test_numbers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mistakes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_mistakes_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_circles, setup, teardown),
		cmocka_unit_test_setup_teardown(test_expansion_bomb, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test(test_suggestions),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
