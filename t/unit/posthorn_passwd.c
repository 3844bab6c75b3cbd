/* Editing the passwd file: what the admin command writes, smtpd's own parser must read. */
#include <sys/stat.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "posthorn/passwd_file.h"
#include "smtpd/passwd.h"

#define HASH "$y$j9T$abc$def"

static void
test_check(void **state)
{
	static const struct {
		struct passwd_user user;
		bool is_good;
	} cases[] = {
		{ { .name = "mautic" }, true },
		{ { .name = "a@b.example", .tenant = "promo", .domains = "a.example,.b.example", .rate = "100/h" },
		true },
		{ { .name = "" }, false },
		{ { .name = "a:b" }, false },
		{ { .name = "a b" }, false },
		{ { .name = "#a" }, false },
		{ { .name = "a\nroot" }, false },
		{ { .name = "a", .tenant = "t rate=1/s" }, false },
		{ { .name = "a", .tenant = "" }, false },
		{ { .name = "a", .tenant = "t@x" }, false },
		{ { .name = "a", .domains = "a.example, b.example" }, false },
		{ { .name = "a", .domains = "a.example,,b.example" }, false },
		{ { .name = "a", .domains = ",a.example" }, false },
		{ { .name = "a", .domains = "not_a domain" }, false },
		{ { .name = "a", .rate = "0/h" }, false },
		{ { .name = "a", .rate = "10" }, false },
		{ { .name = "a", .rate = "10/y" }, false },
		{ { .name = "a", .rate = "10/hh" }, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(passwd_user_check(&cases[i].user) == NULL, cases[i].is_good);
}

/* What is accepted here must mean the same to smtpd. */
static void
test_smtpd_reads_it(void **state)
{
	const struct passwd_user u = { .name = "mautic", .hash = HASH, .tenant = "promo",
		.domains = "a.example,.b.example",
		.rate = "2000/d", .return_path = "yes" };
	struct passwd_entry e;
	const char *err = NULL;
	char *line = passwd_user_line(&u), *attr;

	(void)state;
	assert_string_equal(line, "mautic:" HASH ":tenant=promo domains=a.example,.b.example rate=2000/d "
	    "envelope_from_return_path=yes");
	assert_int_equal(passwd_parse_line(line, &e, &err), 1);
	assert_string_equal(e.user.name, "mautic");
	assert_string_equal(e.hash, HASH);
	assert_string_equal(e.user.tenant, "promo");
	assert_string_equal(e.user.domains, "a.example,.b.example");
	assert_int_equal(e.user.rate, 2000);
	assert_int_equal(e.user.return_path, RETURN_PATH_YES);
	passwd_entry_clear(&e);
	attr = passwd_line_attr(line, "rate");
	assert_string_equal(attr, "2000/d");
	free(attr);
	assert_null(passwd_line_attr(line, "envelope"));
	assert_null(passwd_line_attr("mautic:" HASH, "tenant"));
	free(line);
}

/* What `posthorn check` finds good is a line that smtpd uses: it leaves out every other one, and the user is locked
 * out. */
static void
test_line_check(void **state)
{
	static const struct {
		const char *line;
		bool is_good;
	} cases[] = {
		{ "a:" HASH, true },
		{ "  a:" HASH ":tenant=t  rate=5/s envelope_from_return_path=no ", true },
		{ "a:" HASH ":", true },
		{ "a:" HASH ":teannt=t", false },
		{ "a:" HASH ":tenant", false },
		{ "a:" HASH ":=t", false },
		{ "a:" HASH ":tenant=t tenant=t", false },
		{ "a:" HASH ":envelope_from_return_path=maybe", false },
		{ "a:$y$ x:tenant=t", false },
		{ "a:plain", false },
		{ "a", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *line = strdup(cases[i].line);
		struct passwd_lines lines = { &line, 1 };
		struct passwd_entry e;
		const char *err;

		assert_int_equal(passwd_line_check(&lines, 0) == NULL, cases[i].is_good);
		assert_int_equal(passwd_parse_line(line, &e, &err) == 1, cases[i].is_good);
		passwd_entry_clear(&e);
		free(line);
	}
}

static void
test_edit(void **state)
{
	char dir[] = "/tmp/posthorn-passwd-XXXXXX", *path;
	struct passwd_lines lines, again;
	struct stat st;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_not_equal(asprintf(&path, "%s/passwd", dir), -1);
	assert_int_equal(passwd_read(path, &lines), 0);
	assert_int_equal(lines.n, 0);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("# users\n\nann:" HASH ":tenant=x\nbob:" HASH "\nann2:" HASH "\n", f);
	fclose(f);

	assert_int_equal(passwd_read(path, &lines), 0);
	assert_int_equal(lines.n, 5);
	assert_int_equal(passwd_line_find(&lines, "ann"), 2);
	assert_int_equal(passwd_line_find(&lines, "an"), -1);
	passwd_set(&lines, "ann", strdup("ann:$y$new"));
	passwd_set(&lines, "eve", strdup("eve:$y$e"));
	assert_true(passwd_remove(&lines, "bob"));
	assert_false(passwd_remove(&lines, "bob"));
	assert_int_equal(passwd_write(path, &lines, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);

	assert_int_equal(passwd_read(path, &again), 0);
	assert_int_equal(again.n, 5);
	assert_string_equal(again.v[0], "# users");
	assert_string_equal(again.v[1], "");
	assert_string_equal(again.v[2], "ann:$y$new");
	assert_string_equal(again.v[3], "ann2:" HASH);
	assert_string_equal(again.v[4], "eve:$y$e");
	passwd_lines_clear(&lines);
	passwd_lines_clear(&again);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0); /* no temporary file is left */
	free(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_check), cmocka_unit_test(test_smtpd_reads_it),
		cmocka_unit_test(test_line_check), cmocka_unit_test(test_edit) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
