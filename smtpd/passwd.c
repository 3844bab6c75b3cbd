/* Reads the passwd file (auth role, at start-up, while it may still open files). The file is ours and private to root;
 * it is parsed strictly all the same, because a line that is read otherwise than it was meant gives somebody rights.
 *
 *   line  = user ":" hash [ ":" attrs ]
 *   attrs = key "=" value *( SP key "=" value )
 *   keys  : tenant, domains, rate, envelope_from_return_path */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "smtpd/headers.h"
#include "smtpd/passwd.h"

#define NAME_MAX_LEN 255
#define VALUE_MAX_LEN 2048

void
passwd_entry_clear(struct passwd_entry *e)
{
	user_clear(&e->user);
	if (e->hash != NULL)
		explicit_bzero(e->hash, strlen(e->hash));
	free(e->hash);
	e->hash = NULL;
}

int
passwd_parse_rate(const char *text, uint64_t *n_r, uint64_t *per_ms_r)
{
	static const struct {
		const char *unit;
		uint64_t ms;
	} units[] = { { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 } };
	uint64_t n = 0;
	const char *p = text;
	size_t i;

	for (; *p >= '0' && *p <= '9'; p++) {
		n = n * 10 + (uint64_t)(*p - '0');
		if (n > 1000000000)
			return -1;
	}
	if (p == text || n == 0 || *p++ != '/')
		return -1;
	for (i = 0; i < sizeof units / sizeof units[0]; i++) {
		if (strcmp(p, units[i].unit) == 0) {
			*n_r = n;
			*per_ms_r = units[i].ms;
			return 0;
		}
	}
	return -1;
}

static int
parse_attr(char *word, struct user *u, const char **err_r)
{
	char *value = strchr(word, '=');

	if (value == NULL || value == word || strlen(value) > VALUE_MAX_LEN) {
		*err_r = "attribute is not key=value";
		return -1;
	}
	*value++ = '\0';
	if (strcmp(word, "tenant") == 0) {
		if (!tenant_valid(value) || u->tenant != NULL) {
			*err_r = "bad tenant";
			return -1;
		}
		u->tenant = xstrdup(value);
	} else if (strcmp(word, "domains") == 0) {
		if (*value == '\0' || u->domains != NULL) {
			*err_r = "bad domains";
			return -1;
		}
		u->domains = xstrdup(value);
	} else if (strcmp(word, "rate") == 0) {
		if (u->rate != 0 || passwd_parse_rate(value, &u->rate, &u->rate_per) == -1) {
			*err_r = "rate is not NUMBER/s, /m, /h or /d";
			return -1;
		}
	} else if (strcmp(word, "envelope_from_return_path") == 0) {
		if (u->return_path != RETURN_PATH_DEFAULT || (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)) {
			*err_r = "envelope_from_return_path is neither yes nor no";
			return -1;
		}
		u->return_path = *value == 'y' ? RETURN_PATH_YES : RETURN_PATH_NO;
	} else if (strcmp(word, "suppressed") == 0) {
		if (u->suppressed != SUPPRESSED_DEFAULT ||
		    (strcmp(value, "accept") != 0 && strcmp(value, "reject") != 0)) {
			*err_r = "suppressed is neither accept nor reject";
			return -1;
		}
		u->suppressed = *value == 'a' ? SUPPRESSED_ACCEPT : SUPPRESSED_REJECT;
	} else {
		*err_r = "unknown attribute";
		return -1;
	}
	return 0;
}

static int
parse_fields(char *copy, struct passwd_entry *out, const char **err_r)
{
	char *hash, *attrs, *word, *save = NULL;

	if ((hash = strchr(copy, ':')) == NULL) {
		*err_r = "no ':' after the user name";
		return -1;
	}
	*hash++ = '\0';
	if (*copy == '\0' || strlen(copy) > NAME_MAX_LEN || copy[strcspn(copy, " \t")] != '\0') {
		*err_r = "bad user name";
		return -1;
	}
	if ((attrs = strchr(hash, ':')) != NULL)
		*attrs++ = '\0';
	if (hash[0] != '$' || hash[strcspn(hash, " \t")] != '\0') {
		*err_r = "the hash is not of crypt(5)'s $id$ form";
		return -1;
	}
	out->user.name = xstrdup(copy);
	out->hash = xstrdup(hash);
	if (attrs == NULL)
		return 1;
	for (word = strtok_r(attrs, " \t", &save); word != NULL; word = strtok_r(NULL, " \t", &save)) {
		if (parse_attr(word, &out->user, err_r) == -1)
			return -1;
	}
	return 1;
}

int
passwd_parse_line(const char *line, struct passwd_entry *out, const char **err_r)
{
	size_t skip = strspn(line, " \t");
	char *copy;
	int rc;

	memset(out, 0, sizeof *out);
	if (line[skip] == '\0' || line[skip] == '#')
		return 0;
	copy = xstrdup(line + skip);
	rc = parse_fields(copy, out, err_r);
	if (rc == -1)
		passwd_entry_clear(out);
	explicit_bzero(copy, strlen(line + skip));
	free(copy);
	return rc;
}

static int
entry_cmp(const void *a, const void *b)
{
	const struct passwd_entry *x = a, *y = b;

	return strcmp(x->user.name, y->user.name);
}

static void
drop_repeated(struct passwd_file *f, const char *path)
{
	size_t i, kept = 0;

	for (i = 0; i < f->n; i++) {
		if (kept > 0 && entry_cmp(&f->v[kept - 1], &f->v[i]) == 0) {
			log_error("%s: user %s is listed more than once: one line is left out", path,
			    f->v[i].user.name);
			passwd_entry_clear(&f->v[i]);
			continue;
		}
		if (kept != i)
			f->v[kept] = f->v[i];
		kept++;
	}
	f->n = kept;
}

struct passwd_file *
passwd_load(const char *path)
{
	struct passwd_file *f;
	struct passwd_entry e;
	const char *err = NULL;
	char *line = NULL;
	size_t cap = 0, room = 0;
	unsigned number = 0;
	FILE *fp;

	if ((fp = fopen(path, "re")) == NULL)
		return NULL;
	f = xcalloc(1, sizeof *f);
	while (getline(&line, &cap, fp) != -1) {
		number++;
		line[strcspn(line, "\r\n")] = '\0';
		switch (passwd_parse_line(line, &e, &err)) {
		case -1:
			log_error("%s:%u: %s: line left out", path, number, err);
			break;
		case 1:
			if (f->n == room) {
				room = room == 0 ? 16 : room * 2;
				f->v = xreallocarray(f->v, room, sizeof *f->v);
			}
			f->v[f->n++] = e;
			break;
		default:
			break;
		}
	}
	if (line != NULL)
		explicit_bzero(line, cap);
	free(line);
	fclose(fp);
	if (f->n > 0)
		qsort(f->v, f->n, sizeof *f->v, entry_cmp);
	drop_repeated(f, path);
	return f;
}

void
passwd_free(struct passwd_file **fp)
{
	struct passwd_file *f = *fp;
	size_t i;

	if (f == NULL)
		return;
	for (i = 0; i < f->n; i++)
		passwd_entry_clear(&f->v[i]);
	free(f->v);
	free(f);
	*fp = NULL;
}

const struct passwd_entry *
passwd_find(const struct passwd_file *f, const char *name)
{
	size_t lo = 0, hi = f->n, mid;
	int c;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if ((c = strcmp(name, f->v[mid].user.name)) == 0)
			return &f->v[mid];
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}
