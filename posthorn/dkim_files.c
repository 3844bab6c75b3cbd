/* See dkim_files.h. A key comes into being under its name, with its mode, and is never overwritten; the words are
 * replaced in one step, for the daemon may look at any time. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "dkim_files.h"

#define SUFFIX ".key"

char *
dkim_word_read(const char *dir, const char *domain, const char *name)
{
	char *path = xasprintf("%s/%s/%s", dir, domain, name), text[DKIM_SELECTOR_MAX + 2] = "";
	FILE *f = fopen(path, "re");

	free(path);
	if (f == NULL)
		return NULL;
	if (fgets(text, sizeof(text), f) == NULL)
		text[0] = '\0';
	fclose(f);
	text[strcspn(text, "\n")] = '\0';
	return dkim_selector_valid(text) ? xstrdup(text) : NULL;
}

int
dkim_word_write(const char *dir, const char *domain, const char *name, const char *selector)
{
	char *path = xasprintf("%s/%s/%s", dir, domain, name), *beside = xasprintf("%s.new", path);
	int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644), rv = -1, error;
	char *line = xasprintf("%s\n", selector);

	if (fd != -1 && write(fd, line, strlen(line)) == (ssize_t)strlen(line) && fchmod(fd, 0644) == 0 &&
	    fsync(fd) == 0 && rename(beside, path) == 0)
		rv = 0;
	error = errno;
	if (fd != -1)
		close(fd);
	free(line);
	free(path);
	free(beside);
	errno = error;
	return rv;
}

int
dkim_word_remove(const char *dir, const char *domain, const char *name)
{
	char *path = xasprintf("%s/%s/%s", dir, domain, name);
	int rv = unlink(path) == 0 || errno == ENOENT ? 0 : -1, error = errno;

	free(path);
	errno = error;
	return rv;
}

/* Whatever the umask is: the role that signs has to pass. */
static int
dir_make(const char *path, bool *is_new_r)
{
	if (mkdir(path, 0755) == 0) {
		*is_new_r = true;
		return chmod(path, 0755);
	}
	return errno == EEXIST ? 0 : -1;
}

int
dkim_key_store(const char *dir, const char *domain, const char *selector, const struct dkim_key *k, bool *is_new_dir_r)
{
	char *sub = xasprintf("%s/%s", dir, domain), *path = xasprintf("%s/%s" SUFFIX, sub, selector);
	const struct passwd *pw = geteuid() == 0 ? getpwnam(DKIM_SIGN_USER) : NULL;
	bool is_new = false, is_made = false;
	int fd = -1, rv = -1, error;
	FILE *f = NULL;

	*is_new_dir_r = false;
	if (dir_make(dir, is_new_dir_r) == 0 && dir_make(sub, &is_new) == 0)
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	is_made = fd != -1;
	if (fd != -1 && (pw == NULL || fchown(fd, pw->pw_uid, pw->pw_gid) == 0) && (f = fdopen(fd, "w")) != NULL &&
	    dkim_key_write(k, f) == 0 && fsync(fd) == 0)
		rv = 0;
	error = errno;
	if (f != NULL)
		fclose(f);
	else if (fd != -1)
		close(fd);
	if (rv == -1 && is_made)
		unlink(path);
	free(sub);
	free(path);
	errno = error;
	return rv;
}

static void
file_add(struct dkim_files *l, const char *dir, const char *domain, const char *selector)
{
	char *current = dkim_word_read(dir, domain, "current"), *next = dkim_word_read(dir, domain, "next");
	char err[640] = "";
	struct dkim_file *f;

	l->v = xreallocarray(l->v, l->n + 1, sizeof(*l->v));
	f = &l->v[l->n++];
	*f = (struct dkim_file){ .domain = xstrdup(domain), .selector = xstrdup(selector),
		.path = xasprintf("%s/%s/%s" SUFFIX, dir, domain, selector) };
	f->key = dkim_key_load(f->path, err, sizeof(err));
	f->problem = f->key == NULL ? xstrdup(err) : NULL;
	f->is_current = current != NULL && strcmp(current, selector) == 0;
	f->is_next = next != NULL && strcmp(next, selector) == 0;
	free(current);
	free(next);
}

static int
domain_read(const char *dir, const char *domain, const char *selector, struct dkim_files *l)
{
	char *path = xasprintf("%s/%s", dir, domain), *name;
	DIR *d = opendir(path);
	const struct dirent *e;
	size_t len;

	free(path);
	if (d == NULL)
		return -1;
	while ((e = readdir(d)) != NULL) {
		len = strlen(e->d_name);
		if (len <= strlen(SUFFIX) || strcmp(e->d_name + len - strlen(SUFFIX), SUFFIX) != 0)
			continue;
		name = xmemdup0(e->d_name, len - strlen(SUFFIX));
		if (dkim_selector_valid(name) && (selector == NULL || strcmp(name, selector) == 0))
			file_add(l, dir, domain, name);
		free(name);
	}
	closedir(d);
	return 0;
}

static int
file_cmp(const void *a, const void *b)
{
	return strcmp(((const struct dkim_file *)a)->path, ((const struct dkim_file *)b)->path);
}

int
dkim_files_read(const char *dir, const char *domain, const char *selector, struct dkim_files *l)
{
	const struct dirent *e;
	int rv = 0;
	DIR *d;

	*l = (struct dkim_files){ NULL, 0 };
	if (domain != NULL) {
		rv = domain_read(dir, domain, selector, l);
	} else if ((d = opendir(dir)) == NULL) {
		rv = -1;
	} else {
		while ((e = readdir(d)) != NULL)
			if (e->d_name[0] != '.')
				(void)domain_read(dir, e->d_name, selector, l); /* what is no directory has no keys */
		closedir(d);
	}
	if (l->n > 0)
		qsort(l->v, l->n, sizeof(*l->v), file_cmp);
	return rv;
}

void
dkim_files_clear(struct dkim_files *l)
{
	size_t i;

	for (i = 0; i < l->n; i++) {
		free(l->v[i].domain);
		free(l->v[i].selector);
		free(l->v[i].path);
		free(l->v[i].problem);
		dkim_key_free(&l->v[i].key);
	}
	free(l->v);
	*l = (struct dkim_files){ NULL, 0 };
}
