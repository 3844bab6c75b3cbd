/* posthorn passwd: users that may submit mail. The password comes from the terminal, twice and without echo, or as
 * one line from standard input; never from the command line, where everybody could read it. The hash is yescrypt
 * (crypt(5)). */
#include <crypt.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/json.h"
#include "base/xalloc.h"

#include "admin.h"
#include "human.h"
#include "passwd_file.h"

#define PASSWORD_MAX 512
#define HASH_GROUP "posthorn-smtpd"

struct passwd_args {
	struct passwd_user user;
	bool do_delete, do_list;
};

/* One line without its end into buf. 0, or -1 if there is none or it is too long. */
static int
read_secret_line(FILE *f, char buf[PASSWORD_MAX])
{
	size_t len;

	if (fgets(buf, PASSWORD_MAX, f) == NULL)
		return -1;
	len = strlen(buf);
	if (len == PASSWORD_MAX - 1 && buf[len - 1] != '\n')
		return -1;
	buf[strcspn(buf, "\r\n")] = '\0';
	return 0;
}

static int
ask_secret(const char *prompt, char buf[PASSWORD_MAX])
{
	struct termios was, now;
	int rv;

	fprintf(stderr, "%s: ", prompt);
	if (tcgetattr(STDIN_FILENO, &was) == -1)
		return -1;
	now = was;
	now.c_lflag &= ~(tcflag_t)ECHO;
	now.c_lflag |= ECHONL;
	if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &now) == -1)
		return -1;
	rv = read_secret_line(stdin, buf);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &was);
	return rv;
}

/* 0, or -1 after a sentence. */
static int
get_password(char buf[PASSWORD_MAX])
{
	char again[PASSWORD_MAX];
	int rv = -1;

	if (!isatty(STDIN_FILENO)) {
		if (read_secret_line(stdin, buf) == 0)
			rv = 0;
		else
			adm_fail("no password on standard input");
	} else if (ask_secret("Password", buf) == -1 || ask_secret("Password again", again) == -1) {
		adm_fail("no password was given");
	} else if (strcmp(buf, again) != 0) {
		adm_fail("the passwords differ");
	} else {
		rv = 0;
	}
	if (rv == 0 && *buf == '\0') {
		adm_fail("an empty password is refused");
		rv = -1;
	}
	explicit_bzero(again, sizeof(again));
	return rv;
}

/* The hash, or NULL after a sentence. */
static char *
make_hash(void)
{
	char salt[CRYPT_GENSALT_OUTPUT_SIZE], password[PASSWORD_MAX] = "";
	struct crypt_data *data;
	char *hash = NULL;
	const char *text;

	if (get_password(password) == -1)
		return NULL;
	data = xcalloc(1, sizeof(*data));
	if (crypt_gensalt_rn("$y$", 0, NULL, 0, salt, (int)sizeof(salt)) != NULL &&
	    (text = crypt_r(password, salt, data)) != NULL && text[0] == '$')
		hash = xstrdup(text);
	else
		adm_fail("crypt: %s", strerror(errno));
	explicit_bzero(password, sizeof(password));
	explicit_bzero(data, sizeof(*data));
	free(data);
	return hash;
}

static void
list_user(struct table *t, struct json *j, const char *line)
{
	static const char *const keys[] = { "tenant", "domains", "rate", "envelope_from_return_path",
	    "suppressed" };
	const char *begin = line + strspn(line, " \t");
	char *name;

	if (*begin == '#' || strchr(begin, ':') == NULL)
		return;
	name = xmemdup0(begin, strcspn(begin, ":"));
	if (j != NULL)
		json_obj(j, NULL);
	if (j != NULL)
		json_str(j, "user", name);
	else
		table_cell(t, name);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		char *value = passwd_line_attr(begin, keys[i]);

		if (j != NULL)
			json_str(j, keys[i], value);
		else
			table_cell(t, value);
		free(value);
	}
	if (j != NULL)
		json_obj_end(j);
	free(name);
}

static int
passwd_list(const struct admin *adm, const char *path)
{
	static const char *const headings[] = { "USER", "TENANT", "DOMAINS", "RATE", "RETURN-PATH", NULL };
	struct passwd_lines lines;
	struct table *t;
	struct json j;

	if (passwd_read(path, &lines) == -1)
		return adm_fail("%s: %s", path, strerror(errno));
	t = table_new(headings);
	json_init(&j);
	json_arr(&j, NULL);
	for (size_t i = 0; i < lines.n; i++)
		list_user(t, adm->json ? &j : NULL, lines.v[i]);
	json_arr_end(&j);
	if (adm->json)
		printf("%.*s\n", (int)j.out.len, (const char *)j.out.p);
	else if (table_rows(t) == 0)
		printf("%s: no users\n", path);
	else
		table_print(t, stdout);
	json_clear(&j);
	table_free(&t);
	passwd_lines_clear(&lines);
	return ADM_OK;
}

/* Under the lock: read, change, write. */
static int
passwd_edit(const char *path, const struct passwd_args *a)
{
	struct passwd_lines lines;
	int rv = ADM_OK, lock = passwd_lock(path);

	if (lock == -1)
		return adm_fail("%s: %s", path, strerror(errno));
	if (passwd_read(path, &lines) == -1) {
		rv = adm_fail("%s: %s", path, strerror(errno));
	} else {
		if (!a->do_delete)
			passwd_set(&lines, a->user.name, passwd_user_line(&a->user));
		else if (!passwd_remove(&lines, a->user.name))
			rv = adm_fail("%s: there is no user `%s'", path, a->user.name);
		if (rv == ADM_OK && passwd_write(path, &lines, HASH_GROUP) == -1)
			rv = adm_fail("%s: %s", path, strerror(errno));
	}
	passwd_lines_clear(&lines);
	close(lock);
	return rv;
}

static int
passwd_change(const struct admin *adm, const char *path, struct passwd_args *a)
{
	char *hash = NULL;
	const char *err;
	int rv;

	if ((err = passwd_user_check(&a->user)) != NULL)
		return adm_fail("%s", err);
	if (!a->do_delete && (hash = make_hash()) == NULL)
		return ADM_FAILED;
	a->user.hash = hash;
	rv = passwd_edit(path, a);
	if (rv == ADM_OK && !adm->json)
		printf("%s: user %s %s; `posthorn reload' puts it in force\n", path, a->user.name,
		    a->do_delete ? "deleted" : "set");
	free(hash);
	return rv;
}

static int
passwd_options(struct passwd_args *a, int argc, char **argv)
{
	static const struct option options[] = {
		{ "tenant", required_argument, NULL, 't' },
		{ "domains", required_argument, NULL, 'd' },
		{ "rate", required_argument, NULL, 'r' },
		{ "envelope-from-return-path", required_argument, NULL, 'p' },
		{ "suppressed", required_argument, NULL, 's' },
		{ "delete", no_argument, NULL, 'D' },
		{ "list", no_argument, NULL, 'l' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 't':
			a->user.tenant = optarg;
			break;
		case 'd':
			a->user.domains = optarg;
			break;
		case 'r':
			a->user.rate = optarg;
			break;
		case 'p':
			if (strcmp(optarg, "yes") != 0 && strcmp(optarg, "no") != 0)
				return adm_usage("passwd", "--envelope-from-return-path is yes or no");
			a->user.return_path = optarg;
			break;
		case 's':
			if (strcmp(optarg, "accept") != 0 && strcmp(optarg, "reject") != 0)
				return adm_usage("passwd", "--suppressed is accept or reject");
			a->user.suppressed = optarg;
			break;
		case 'D':
			a->do_delete = true;
			break;
		case 'l':
			a->do_list = true;
			break;
		default:
			return adm_usage("passwd", NULL);
		}
	}
	return ADM_OK;
}

int
cmd_passwd(struct admin *adm, int argc, char **argv)
{
	struct passwd_args a = { .do_delete = false };
	struct params *params;
	int rv;

	if ((rv = passwd_options(&a, argc, argv)) != ADM_OK)
		return rv;
	argc -= optind;
	argv += optind;
	if (argc != (a.do_list ? 0 : 1))
		return adm_usage("passwd", a.do_list ? "--list takes no user" : "one user name, please");
	if ((params = adm_params(adm, NULL)) == NULL)
		return ADM_FAILED;
	if (params->passwd_file == NULL || *params->passwd_file == '\0') {
		rv = adm_fail("passwd_file is not set");
	} else if (a.do_list) {
		rv = passwd_list(adm, params->passwd_file);
	} else {
		a.user.name = argv[0];
		rv = passwd_change(adm, params->passwd_file, &a);
	}
	params_free(&params);
	return rv;
}
