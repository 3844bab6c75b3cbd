/* Secrets that policy names (keysource.h). In the process that uses them, and while policy is loaded. The names are the
 * administrator's, but a policy may make them of what it is asked, so a name stays below the directory of secrets. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "mail/keysource.h"

#define NAME_LEN_MAX 400

static const char tag_file[] = "file:", tag_text[] = "text:";

static void
replace(char **out, const char *tag, const char *value)
{
	keysource_free(out);
	*out = xasprintf("%s%s", tag, value);
}

const char *
keysource_of_file(const char *name, char **out)
{
	if (*name == '\0' || strlen(name) > NAME_LEN_MAX || strpbrk(name, "\r\n") != NULL)
		return "is not the name of a file (a secret itself is written { key_data = '...' })";
	replace(out, tag_file, name);
	return NULL;
}

const char *
keysource_of_text(const char *text, char **out)
{
	if (*text == '\0' || strlen(text) > KEYSOURCE_MAX)
		return "has no key_data, or more than 64 KiB of it";
	replace(out, tag_text, text);
	return NULL;
}

const char *
keysource_shown(const char *source)
{
	return strncmp(source, tag_file, sizeof(tag_file) - 1) == 0 ? source + sizeof(tag_file) - 1 :
	    "(key_data, not shown)";
}

/* NULL: it is not below the directory. */
static char *
path_of(const char *dir, const char *name)
{
	size_t n = strlen(dir);
	const char *p;

	while (n > 1 && dir[n - 1] == '/')
		n--;
	if (*name == '/' && (strncmp(name, dir, n) != 0 || name[n] != '/'))
		return NULL;
	for (p = name; (p = strstr(p, "..")) != NULL; p++)
		if ((p == name || p[-1] == '/') && (p[2] == '/' || p[2] == '\0'))
			return NULL;
	return *name == '/' ? xstrdup(name) : xasprintf("%.*s/%s", (int)n, dir, name);
}

static const char *
file_judge(const struct stat *st, int is_secret)
{
	if (!S_ISREG(st->st_mode))
		return "is not a file";
	if ((st->st_mode & (S_IWOTH | S_IWGRP)) != 0)
		return "may be changed by others than its owner";
	if (is_secret && (st->st_mode & S_IRWXO) != 0)
		return "may be read by everybody (chmod 640)";
	if (st->st_size == 0 || st->st_size > (off_t)KEYSOURCE_MAX)
		return "is empty or longer than 64 KiB";
	return NULL;
}

static char *
file_text(const char *path, int is_secret, size_t *len_r, char **err_r)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	const char *why = NULL;
	char *text = NULL;
	struct stat st;
	ssize_t got;

	if (fd == -1 || fstat(fd, &st) == -1) {
		*err_r = xasprintf("%s cannot be read: %s", path, strerror(errno));
	} else if ((why = file_judge(&st, is_secret)) != NULL) {
		*err_r = xasprintf("%s %s", path, why);
	} else {
		text = xmalloc((size_t)st.st_size + 1);
		if ((got = read(fd, text, (size_t)st.st_size)) == st.st_size) {
			text[got] = '\0';
			*len_r = (size_t)got;
		} else {
			*err_r = xasprintf("%s cannot be read to its end", path);
			explicit_bzero(text, (size_t)st.st_size);
			free(text);
			text = NULL;
		}
	}
	if (fd != -1)
		close(fd);
	return text;
}

char *
keysource_text(const char *source, const char *dir, int is_secret, size_t *len_r, char **err_r)
{
	const char *value = source + sizeof(tag_file) - 1;
	char *path, *text;

	*err_r = NULL;
	if (strncmp(source, tag_file, sizeof(tag_file) - 1) != 0) {
		*len_r = strlen(value);
		return xstrdup(value);
	}
	if ((path = path_of(dir, value)) == NULL) {
		*err_r = xasprintf("%.400s is not below smtp_secret_directory (%.400s)", value, dir);
		return NULL;
	}
	text = file_text(path, is_secret, len_r, err_r);
	free(path);
	return text;
}

void
keysource_free(char **text)
{
	if (*text == NULL)
		return;
	explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}
