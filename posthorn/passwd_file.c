/* Editing the passwd file (see the header). The file is the administrator's; what is put into it comes from the
 * command line and is checked so that no value can begin a field or a line of its own. */
#include <sys/file.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "mail/address.h"

#include "passwd_file.h"

#define USER_MAX 255
#define TENANT_MAX 64
#define VALUE_MAX 2048

int
passwd_read(const char *path, struct passwd_lines *out)
{
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t cap = 0;
	ssize_t len;
	int rv = 0;

	memset(out, 0, sizeof(*out));
	if (f == NULL)
		return errno == ENOENT ? 0 : -1;
	while ((len = getline(&line, &cap, f)) != -1) {
		if (len > 0 && line[len - 1] == '\n')
			len--;
		out->v = xreallocarray(out->v, out->n + 1, sizeof(*out->v));
		out->v[out->n++] = xmemdup0(line, (size_t)len);
	}
	if (ferror(f))
		rv = -1;
	if (line != NULL)
		explicit_bzero(line, cap);
	free(line);
	fclose(f);
	return rv;
}

void
passwd_lines_clear(struct passwd_lines *l)
{
	for (size_t i = 0; i < l->n; i++) {
		explicit_bzero(l->v[i], strlen(l->v[i]));
		free(l->v[i]);
	}
	free(l->v);
	memset(l, 0, sizeof(*l));
}

ssize_t
passwd_line_find(const struct passwd_lines *l, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < l->n; i++) {
		const char *p = l->v[i] + strspn(l->v[i], " \t");

		if (*p != '#' && strncmp(p, name, len) == 0 && p[len] == ':')
			return (ssize_t)i;
	}
	return -1;
}

/* No white space, no controls, no ':' nor what `more` lists. */
static bool
is_word(const char *s, size_t max, const char *more)
{
	if (*s == '\0' || strlen(s) > max)
		return false;
	for (; *s != '\0'; s++) {
		if ((unsigned char)*s <= ' ' || *s == 0x7f || *s == ':' || strchr(more, *s) != NULL)
			return false;
	}
	return true;
}

/* As in the tenant header of a message: it becomes part of a queue's name. */
static bool
is_tenant(const char *s)
{
	return *s != '\0' && strlen(s) <= TENANT_MAX && s[strspn(s, "abcdefghijklmnopqrstuvwxyz"
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-")] == '\0';
}

static bool
is_rate(const char *s)
{
	size_t digits = strspn(s, "0123456789");

	return digits > 0 && digits < 10 && strspn(s, "0") < digits && s[digits] == '/' && s[digits + 1] != '\0' &&
	    strchr("smhd", s[digits + 1]) != NULL && s[digits + 2] == '\0';
}

/* "a.example,.b.example": the leading dot means all below it. */
static bool
is_domain_list(const char *s)
{
	char *copy = xstrdup(s), *save = NULL;
	bool is_good = is_word(s, VALUE_MAX, "") && s[0] != ',' && s[strlen(s) - 1] != ',' && strstr(s, ",,") == NULL;

	for (char *d = strtok_r(copy, ",", &save); d != NULL && is_good; d = strtok_r(NULL, ",", &save))
		is_good = address_domain_valid(*d == '.' ? d + 1 : d, true);
	free(copy);
	return is_good;
}

const char *
passwd_user_check(const struct passwd_user *u)
{
	if (!is_word(u->name, USER_MAX, "") || u->name[0] == '#')
		return "a user name has up to 255 characters without white space and `:', and does not begin with `#'";
	if (u->tenant != NULL && !is_tenant(u->tenant))
		return "a tenant has up to 64 letters, digits and `.', `_', `+', `-'";
	if (u->domains != NULL && !is_domain_list(u->domains))
		return "domains are separated by commas: a.example,.b.example";
	if (u->rate != NULL && !is_rate(u->rate))
		return "a rate is NUMBER/s, NUMBER/m, NUMBER/h or NUMBER/d";
	return NULL;
}

char *
passwd_user_line(const struct passwd_user *u)
{
	const struct {
		const char *key, *value;
	} attrs[] = { { "tenant", u->tenant }, { "domains", u->domains }, { "rate", u->rate },
		{ "envelope_from_return_path", u->return_path }, { "suppressed", u->suppressed } };
	char *line = xasprintf("%s:%s", u->name, u->hash);
	bool is_first = true;

	for (size_t i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++) {
		char *more;

		if (attrs[i].value == NULL)
			continue;
		more = xasprintf("%s%c%s=%s", line, is_first ? ':' : ' ', attrs[i].key, attrs[i].value);
		free(line);
		line = more;
		is_first = false;
	}
	return line;
}

char *
passwd_line_attr(const char *line, const char *key)
{
	const char *p = strchr(line, ':');
	size_t len = strlen(key);

	p = p != NULL ? strchr(p + 1, ':') : NULL;
	while (p != NULL && *p != '\0') {
		size_t word;

		p++;
		word = strcspn(p, " \t");
		if (word > len && strncmp(p, key, len) == 0 && p[len] == '=')
			return xmemdup0(p + len + 1, word - len - 1);
		p += word;
	}
	return NULL;
}

/* The attributes of a line as smtpd reads them: each known, once, with a value. What the values are is not looked at,
 * but for the one that is no part of struct passwd_user's check. */
static const char *
attributes_check(const char *p)
{
	static const char *const keys[] = { "tenant", "domains", "rate", "envelope_from_return_path",
	    "suppressed" };
	bool seen[sizeof(keys) / sizeof(keys[0])] = { false };
	size_t word, len, i;

	for (p += strspn(p, " \t"); *p != '\0'; p += word + strspn(p + word, " \t")) {
		word = strcspn(p, " \t");
		len = strcspn(p, "=");
		for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
			if (strlen(keys[i]) == len && strncmp(p, keys[i], len) == 0 && p[len] == '=')
				break;
		if (i == sizeof(keys) / sizeof(keys[0]))
			return "an attribute is none of tenant=, domains=, rate=, envelope_from_return_path= "
			    "and suppressed=";
		if (seen[i])
			return "an attribute is set twice";
		seen[i] = true;
	}
	return NULL;
}

static bool
is_yes_or_no(const char *s)
{
	return s == NULL || strcmp(s, "yes") == 0 || strcmp(s, "no") == 0;
}

static bool
is_accept_or_reject(const char *s)
{
	return s == NULL || strcmp(s, "accept") == 0 || strcmp(s, "reject") == 0;
}

/* What is behind the user name: the hash, and the form of the attributes. */
static const char *
fields_check(const char *hash)
{
	size_t len = strcspn(hash, ":");

	if (hash[0] != '$' || strcspn(hash, " \t") < len)
		return "the hash is not of crypt(5)'s $id$ form (`posthorn passwd USER' makes one)";
	return hash[len] == ':' ? attributes_check(hash + len + 1) : NULL;
}

const char *
passwd_line_check(const struct passwd_lines *l, size_t at)
{
	const char *line = l->v[at] + strspn(l->v[at], " \t"), *hash = strchr(line, ':'), *err;
	struct passwd_user u = { 0 };
	char *name, *tenant, *domains, *rate, *return_path, *suppressed;

	if (*line == '\0' || *line == '#' || *line == '\r')
		return NULL;
	if (hash == NULL)
		return "no `:' after the user name";
	if ((err = fields_check(hash + 1)) != NULL)
		return err;
	u.name = name = xmemdup0(line, (size_t)(hash - line));
	u.tenant = tenant = passwd_line_attr(line, "tenant");
	u.domains = domains = passwd_line_attr(line, "domains");
	u.rate = rate = passwd_line_attr(line, "rate");
	return_path = passwd_line_attr(line, "envelope_from_return_path");
	suppressed = passwd_line_attr(line, "suppressed");
	err = passwd_user_check(&u);
	if (err == NULL && !is_accept_or_reject(suppressed))
		err = "suppressed is neither accept nor reject";
	if (err == NULL && !is_yes_or_no(return_path))
		err = "envelope_from_return_path is neither yes nor no";
	if (err == NULL && passwd_line_find(l, name) < (ssize_t)at)
		err = "the user is in an earlier line already";
	free(name);
	free(tenant);
	free(domains);
	free(rate);
	free(return_path);
	free(suppressed);
	return err;
}

void
passwd_set(struct passwd_lines *l, const char *name, char *line)
{
	ssize_t at = passwd_line_find(l, name);

	if (at == -1) {
		l->v = xreallocarray(l->v, l->n + 1, sizeof(*l->v));
		l->v[l->n++] = line;
		return;
	}
	explicit_bzero(l->v[at], strlen(l->v[at]));
	free(l->v[at]);
	l->v[at] = line;
}

bool
passwd_remove(struct passwd_lines *l, const char *name)
{
	ssize_t at;
	bool is_found = false;

	while ((at = passwd_line_find(l, name)) != -1) {
		explicit_bzero(l->v[at], strlen(l->v[at]));
		free(l->v[at]);
		memmove(&l->v[at], &l->v[at + 1], (l->n - (size_t)at - 1) * sizeof(*l->v));
		l->n--;
		is_found = true;
	}
	return is_found;
}

static int
passwd_fill(int fd, const struct passwd_lines *l, const char *group)
{
	const struct group *gr = geteuid() == 0 && group != NULL ? getgrnam(group) : NULL;
	FILE *f;

	if (gr != NULL && (fchown(fd, 0, gr->gr_gid) == -1 || fchmod(fd, 0640) == -1))
		return -1;
	if ((f = fdopen(dup(fd), "w")) == NULL)
		return -1;
	for (size_t i = 0; i < l->n; i++)
		fprintf(f, "%s\n", l->v[i]);
	if (ferror(f)) {
		fclose(f);
		return -1;
	}
	return fclose(f) == EOF || fsync(fd) == -1 ? -1 : 0;
}

int
passwd_write(const char *path, const struct passwd_lines *l, const char *group)
{
	char *temp = xasprintf("%s.XXXXXX", path);
	int fd = mkostemp(temp, O_CLOEXEC), rv, saved; /* 0600 */

	if (fd == -1) {
		free(temp);
		return -1;
	}
	rv = passwd_fill(fd, l, group);
	if (rv == 0)
		rv = rename(temp, path);
	saved = errno;
	close(fd);
	if (rv == -1)
		unlink(temp);
	free(temp);
	errno = saved;
	return rv;
}

int
passwd_lock(const char *path)
{
	char *copy = xstrdup(path);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC), saved;

	if (fd != -1 && flock(fd, LOCK_EX) == -1) {
		saved = errno;
		close(fd);
		errno = saved;
		fd = -1;
	}
	free(copy);
	return fd;
}
