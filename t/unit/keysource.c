/* Secrets that policy names: kept in one string, read from below one directory only, from files that are closed, and
 * never part of what a setting is shown as. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "mail/credentials.h"
#include "mail/keysource.h"
#include "mail/policy_path.h"

static char dir[] = "/tmp/posthorn-keysource-XXXXXX";

static char *
put(const char *name, const char *text, mode_t mode)
{
	char *path = xasprintf("%s/%s", dir, name);
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
	return path;
}

/* What is read of that file, or the sentence. */
static void
expect(const char *name, int is_secret, const char *text, const char *says)
{
	char *source = NULL, *got, *err = NULL;
	size_t len = 0;

	assert_null(keysource_of_file(name, &source));
	got = keysource_text(source, dir, is_secret, &len, &err);
	if (text != NULL) {
		if (got == NULL)
			fail_msg("%s: %s", name, err);
		assert_string_equal(got, text);
		assert_int_equal(len, strlen(text));
	} else if (got != NULL || strstr(err, says) == NULL) {
		fail_msg("%s: %s instead of %s", name, err != NULL ? err : "no error", says);
	}
	free(err);
	keysource_free(&got);
	keysource_free(&source);
}

static void
test_files(void **state)
{
	char *a, *b, *c, *d, *link;

	(void)state;
	assert_non_null(mkdtemp(dir));
	a = put("closed", "secret\n", 0640);
	b = put("open", "secret", 0644);
	c = put("group", "secret", 0660);
	d = put("empty", "", 0600);
	link = xasprintf("%s/dir", dir);
	assert_int_equal(mkdir(link, 0700), 0);
	expect("closed", 1, "secret\n", NULL);
	expect(a, 1, "secret\n", NULL);
	expect("open", 1, NULL, "may be read by everybody");
	expect("open", 0, "secret", NULL);
	expect("group", 0, NULL, "may be changed by others");
	expect("empty", 1, NULL, "is empty");
	expect("dir", 1, NULL, "is not a file");
	expect("missing", 1, NULL, "cannot be read: No such file");
	expect("../etc/passwd", 0, NULL, "is not below");
	expect("dir/../../etc/passwd", 0, NULL, "is not below");
	expect("/etc/passwd", 0, NULL, "is not below");
	expect("..", 0, NULL, "is not below");
	expect("..x", 0, NULL, "cannot be read");
	unlink(a);
	unlink(b);
	unlink(c);
	unlink(d);
	rmdir(link);
	rmdir(dir);
	free(a);
	free(b);
	free(c);
	free(d);
	free(link);
}

static void
test_texts(void **state)
{
	char *source = NULL, *got, *err, *huge = xmalloc(KEYSOURCE_MAX + 2);
	size_t len;

	(void)state;
	memset(huge, 'x', KEYSOURCE_MAX + 1);
	huge[KEYSOURCE_MAX + 1] = '\0';
	assert_non_null(keysource_of_text("", &source));
	assert_non_null(keysource_of_text(huge, &source));
	assert_non_null(keysource_of_file("", &source));
	assert_non_null(keysource_of_file("a\nb", &source));
	assert_non_null(keysource_of_file(huge, &source));
	assert_null(source);
	assert_null(keysource_of_text("file:x", &source)); /* whatever it looks like */
	assert_null(strstr(keysource_shown(source), "x"));
	got = keysource_text(source, "/nonexistent", 1, &len, &err);
	assert_string_equal(got, "file:x");
	keysource_free(&got);
	assert_null(keysource_of_file("name", &source));
	assert_string_equal(keysource_shown(source), "name");
	keysource_free(&source);
	keysource_free(&source);
	free(huge);
}

static void
test_settings(void **state)
{
	int field = policy_path_find("smtp_auth_plain_password");
	struct policy_path_config a, b;
	struct credentials found;
	char *text, *err;

	(void)state;
	assert_true(field >= 0);
	policy_path_config_init(&a);
	policy_path_config_init(&b);
	assert_null(keysource_of_text("tiger", &b.smtp_auth_plain_password));
	policy_path_merge(&a, &b, (size_t)field);
	assert_string_equal(a.smtp_auth_plain_password, b.smtp_auth_plain_password);
	text = policy_path_text(&a, (size_t)field);
	assert_null(strstr(text, "tiger"));
	free(text);
	err = policy_path_set(&a, (size_t)field, "lion");
	assert_non_null(err);
	free(err);
	err = credentials_load(&found, &a, "/nonexistent");
	assert_non_null(strstr(err, "go together"));
	free(err);
	a.smtp_auth_plain_username = xstrdup("scott");
	assert_null(credentials_load(&found, &a, "/nonexistent"));
	assert_string_equal(found.plain, "AHNjb3R0AHRpZ2Vy");
	assert_false(found.may_be_clear);
	assert_false(found.may_be_anybody);
	credentials_clear(&found);
	a.smtp_auth_plain_username = xreallocarray(a.smtp_auth_plain_username, 300, 1);
	memset(a.smtp_auth_plain_username, 'x', 256);
	a.smtp_auth_plain_username[256] = '\0';
	err = credentials_load(&found, &a, "/nonexistent");
	assert_non_null(strstr(err, "more than 255 octets"));
	free(err);
	policy_path_config_clear(&a);
	policy_path_config_clear(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_files), cmocka_unit_test(test_texts),
		cmocka_unit_test(test_settings) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
