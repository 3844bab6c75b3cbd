/* The passwd file, read by smtpd and edited by `posthorn passwd`. Both understand a line alike: what the check finds
 * good, smtpd takes; what the editor adds, smtpd takes, and no other line changes. */
#include "base/log.h"
#include "base/xalloc.h"
#include "posthorn/passwd_file.h"
#include "smtpd/headers.h"
#include "smtpd/passwd.h"
#include "t/fuzz/dir.h"

static const char *
path(void)
{
	static char text[300];

	(void)snprintf(text, sizeof(text), "%s/passwd", fuzz_dir());
	return text;
}

static void
check_entry(const struct passwd_entry *e)
{
	FUZZ_ASSERT(*e->user.name != '\0' && strlen(e->user.name) <= 255 && strpbrk(e->user.name, ": \t\r\n") == NULL);
	FUZZ_ASSERT(e->hash[0] == '$' && strpbrk(e->hash, ": \t\r\n") == NULL);
	FUZZ_ASSERT(e->user.tenant == NULL || tenant_valid(e->user.tenant));
	FUZZ_ASSERT(e->user.domains == NULL || *e->user.domains != '\0');
	FUZZ_ASSERT((e->user.rate == 0) == (e->user.rate_per == 0));
	FUZZ_ASSERT(e->user.return_path <= RETURN_PATH_YES);
}

static void
check_file(void)
{
	struct passwd_file *f;
	size_t i;

	FUZZ_ASSERT((f = passwd_load(path())) != NULL);
	for (i = 0; i < f->n; i++) {
		check_entry(&f->v[i]);
		FUZZ_ASSERT(i == 0 || strcmp(f->v[i - 1].user.name, f->v[i].user.name) < 0);
		FUZZ_ASSERT(passwd_find(f, f->v[i].user.name) == &f->v[i]);
	}
	passwd_free(&f);
}

/* True if the line makes a user. */
static bool
is_user(const char *line)
{
	struct passwd_entry e;
	const char *err;
	char *copy = xmemdup0(line, strcspn(line, "\r\n"));
	int r = passwd_parse_line(copy, &e, &err);

	free(copy);
	if (r == 1)
		passwd_entry_clear(&e);
	return r == 1;
}

static void
check_lines(const struct passwd_lines *l)
{
	size_t i;

	for (i = 0; i < l->n; i++) {
		const char *p = l->v[i] + strspn(l->v[i], " \t");

		if (passwd_line_check(l, i) == NULL)
			FUZZ_ASSERT(*p == '\0' || *p == '#' || *p == '\r' || is_user(l->v[i]));
	}
}

/* A user whose attributes are pieces of the input, if the editor takes them. */
static void
check_edit(struct passwd_lines *l, struct fuzz_in *in)
{
	char *field[4], *line;
	struct passwd_user u = { .hash = "$y$j9T$salt$hash" };
	struct passwd_entry e;
	const char *err;
	size_t i, n = l->n;

	for (i = 0; i < 4; i++) {
		size_t len = fuzz_u8(in) % 64;
		const uint8_t *p = fuzz_take(in, &len);

		field[i] = xmemdup0(p, len);
	}
	u.name = field[0];
	u.tenant = *field[1] != '\0' ? field[1] : NULL;
	u.domains = *field[2] != '\0' ? field[2] : NULL;
	u.rate = *field[3] != '\0' ? field[3] : NULL;
	if (passwd_user_check(&u) == NULL) {
		ssize_t at = passwd_line_find(l, u.name);

		line = passwd_user_line(&u);
		FUZZ_ASSERT(passwd_parse_line(line, &e, &err) == 1 && strcmp(e.user.name, u.name) == 0);
		FUZZ_ASSERT((u.tenant == NULL) == (e.user.tenant == NULL) &&
		    (u.domains == NULL) == (e.user.domains == NULL) && (u.rate == NULL) == (e.user.rate == 0));
		passwd_entry_clear(&e);
		passwd_set(l, u.name, line);
		FUZZ_ASSERT(l->n == n + (at == -1 ? 1 : 0) && passwd_line_find(l, u.name) != -1);
		FUZZ_ASSERT(passwd_write(path(), l, NULL) == 0);
		check_file();
		(void)passwd_remove(l, u.name);
		FUZZ_ASSERT(passwd_line_find(l, u.name) == -1);
	}
	for (i = 0; i < 4; i++)
		free(field[i]);
}

/* {u8 length, bytes} four times: the user to be added; the rest is the file. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size }, edit = in;
	struct passwd_lines l;
	size_t i, len;

	log_init("fuzz", LOG_LVL_ERROR);
	for (i = 0; i < 4; i++) {
		len = fuzz_u8(&in) % 64;
		(void)fuzz_take(&in, &len);
	}
	fuzz_dir_write("passwd", in.p, in.left);
	check_file();
	FUZZ_ASSERT(passwd_read(path(), &l) == 0);
	check_lines(&l);
	check_edit(&l, &edit);
	passwd_lines_clear(&l);
	return 0;
}
