/* Keys and selectors of a process by their files (dkim_key.h). What cannot be read is remembered as well as what can,
 * for a second, so that a missing key costs each message a look-up and not the disk. Names come from policy by way of
 * the worker, which strangers talk to: a path stays below the directory of keys. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

#include "base/xalloc.h"
#include "mail/dkim_key.h"

#define LOOK_MS 1000
#define FILES_MAX 40000 /* a key and a selector for each definition that a policy may have */

struct file {
	UT_hash_handle hh;
	struct dkim_key *key;
	char *selector;      /* of `current` */
	struct stat seen;
	int64_t looked, used;
	char err[640];
	char path[];
};

struct dkim_keys {
	char *dir;
	struct file *files;
	char err[640];
};

struct dkim_keys *
dkim_keys_new(const char *dir)
{
	struct dkim_keys *ks = xcalloc(1, sizeof(*ks));

	ks->dir = xstrdup(dir);
	return ks;
}

static void
file_free(struct dkim_keys *ks, struct file *f)
{
	HASH_DEL(ks->files, f);
	dkim_key_free(&f->key);
	free(f->selector);
	free(f);
}

void
dkim_keys_free(struct dkim_keys **kp)
{
	struct dkim_keys *ks = *kp;
	struct file *f, *next;

	if (ks == NULL)
		return;
	*kp = NULL;
	HASH_ITER(hh, ks->files, f, next)
		file_free(ks, f);
	free(ks->dir);
	free(ks);
}

/* Where the file is: NULL and a sentence if that is not below the directory. */
static char *
path_of(struct dkim_keys *ks, const char *file, const char **err_r)
{
	size_t n = strlen(ks->dir), len = strlen(file);
	const char *p;
	bool ok = len > 0;

	if (*file == '/') {
		while (n > 1 && ks->dir[n - 1] == '/')
			n--;
		ok = strncmp(file, ks->dir, n) == 0 && file[n] == '/';
	}
	for (p = file; ok && (p = strstr(p, "..")) != NULL; p++)
		ok = !((p == file || p[-1] == '/') && (p[2] == '/' || p[2] == '\0'));
	if (!ok || n + len > 500) {
		snprintf(ks->err, sizeof(ks->err), "the DKIM key %.300s is not below dkim_key_directory (%.200s)", file,
		    ks->dir);
		*err_r = ks->err;
		return NULL;
	}
	return *file == '/' ? xstrdup(file) : xasprintf("%s/%s", ks->dir, file);
}

static void
forget_oldest(struct dkim_keys *ks)
{
	struct file *f, *next, *oldest = ks->files;

	HASH_ITER(hh, ks->files, f, next)
		if (f->used < oldest->used)
			oldest = f;
	file_free(ks, oldest);
}

/* *is_due_r: it is new, or has changed on disk: to be read. */
static struct file *
file_find(struct dkim_keys *ks, const char *path, int64_t now, bool *is_due_r)
{
	struct stat st = { .st_size = -1 };
	struct file *f;
	bool is_same;

	HASH_FIND_STR(ks->files, path, f);
	if (f == NULL) {
		if (HASH_COUNT(ks->files) >= FILES_MAX)
			forget_oldest(ks);
		f = xcalloc(1, sizeof(*f) + strlen(path) + 1);
		memcpy(f->path, path, strlen(path));
		f->looked = now - LOOK_MS;
		f->seen.st_size = -2;
		HASH_ADD_STR(ks->files, path, f);
	}
	f->used = now;
	*is_due_r = false;
	if (now - f->looked < LOOK_MS)
		return f;
	f->looked = now;
	if (stat(path, &st) == -1)
		st.st_size = -1;
	/* What could not be read is tried again: its directory may have been the obstacle. */
	is_same = f->err[0] == '\0' && st.st_size == f->seen.st_size && st.st_ino == f->seen.st_ino &&
	    st.st_mode == f->seen.st_mode && st.st_uid == f->seen.st_uid &&
	    memcmp(&st.st_ctim, &f->seen.st_ctim, sizeof(st.st_ctim)) == 0;
	f->seen = st;
	*is_due_r = !is_same;
	return f;
}

struct dkim_key *
dkim_keys_get(struct dkim_keys *ks, const char *file, int64_t now, const char **err_r)
{
	char *path = path_of(ks, file, err_r);
	struct file *f;
	bool is_due;

	if (path == NULL)
		return NULL;
	f = file_find(ks, path, now, &is_due);
	if (is_due) {
		dkim_key_free(&f->key);
		f->err[0] = '\0';
		f->key = dkim_key_load(path, f->err, sizeof(f->err));
	}
	free(path);
	*err_r = f->key == NULL ? f->err : NULL;
	return f->key;
}

/* Reads the one line of the file. */
static void
selector_read(struct file *f)
{
	char text[DKIM_SELECTOR_MAX + 2];
	int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n = fd == -1 ? -1 : read(fd, text, sizeof(text) - 1);

	free(f->selector);
	f->selector = NULL;
	f->err[0] = '\0';
	if (n == -1) {
		snprintf(f->err, sizeof(f->err), "which selector signs is not known: %s: %s", f->path, strerror(errno));
	} else {
		text[n] = '\0';
		text[strcspn(text, "\n")] = '\0';
		if (dkim_selector_valid(text))
			f->selector = xstrdup(text);
		else
			snprintf(f->err, sizeof(f->err), "%s does not hold a selector", f->path);
	}
	if (fd != -1)
		close(fd);
}

const char *
dkim_keys_current(struct dkim_keys *ks, const char *dir, int64_t now, const char **err_r)
{
	char *name = xasprintf("%s/current", dir), *path = path_of(ks, name, err_r);
	struct file *f;
	bool is_due;

	free(name);
	if (path == NULL)
		return NULL;
	f = file_find(ks, path, now, &is_due);
	if (is_due)
		selector_read(f);
	free(path);
	*err_r = f->selector == NULL ? f->err : NULL;
	return f->selector;
}

char *
dkim_key_path(const char *dir, const struct dkim_signer *s, const char *selector)
{
	const char *below = s->key_dir != NULL ? s->key_dir : dir;

	if (s->key == NULL && *below == '/')
		return xasprintf("%s/%s/%s.key", below, s->domain, selector);
	if (s->key == NULL)
		return xasprintf("%s/%s/%s/%s.key", dir, below, s->domain, selector);
	return *s->key == '/' ? xstrdup(s->key) : xasprintf("%s/%s", dir, s->key);
}

struct dkim_key *
dkim_keys_find(struct dkim_keys *ks, const struct dkim_signer *s, int64_t now, const char **selector_r,
    const char **err_r)
{
	const char *dir = s->key_dir != NULL ? s->key_dir : ks->dir;
	struct dkim_key *k = NULL;
	char *path;

	*selector_r = s->selector;
	if (s->selector == NULL) {
		path = xasprintf("%s/%s", dir, s->domain);
		*selector_r = dkim_keys_current(ks, path, now, err_r);
		free(path);
	}
	if (*selector_r != NULL) {
		path = dkim_key_path(ks->dir, s, *selector_r);
		k = dkim_keys_get(ks, path, now, err_r);
		free(path);
	}
	return k;
}
