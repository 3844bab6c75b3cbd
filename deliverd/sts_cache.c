/* The cache of MTA-STS policies (sts_cache.h), in the sts role. Files are written aside and renamed, so that one is
 * whole or not there; what is read was ours, but is looked at like a stranger's. A file: four lines, an empty line, and
 * the policy as it came. */
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/sts_link.h"
#include "deliverd/sts_cache.h"

#define MAGIC "posthorn-sts 1\n"
#define HEAD_MAX 256
#define FILE_MAX (HEAD_MAX + STS_POLICY_MAX)
#define SAMPLE 32 /* files of which the oldest makes room */

struct sts_cache {
	int fd; /* -1: nothing is kept */
	DIR *dir;
	unsigned n, max;
	bool is_failing; /* and that was said */
};

static void
count_files(struct sts_cache *c)
{
	const struct dirent *e;

	rewinddir(c->dir);
	c->n = 0;
	while ((e = readdir(c->dir)) != NULL)
		c->n += sts_domain_valid(e->d_name);
	rewinddir(c->dir);
}

struct sts_cache *
sts_cache_new(const char *directory, unsigned max_entries)
{
	struct sts_cache *c = xcalloc(1, sizeof(*c));

	c->max = max_entries;
	c->fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	c->dir = c->fd == -1 ? NULL : opendir(directory);
	if (c->dir != NULL) {
		count_files(c);
		return c;
	}
	log_error("%s: %m: MTA-STS policies are not kept, and forgotten at the next start", directory);
	if (c->fd != -1)
		close(c->fd);
	c->fd = -1;
	return c;
}

void
sts_cache_free(struct sts_cache **cp)
{
	struct sts_cache *c = *cp;

	*cp = NULL;
	if (c == NULL)
		return;
	if (c->dir != NULL)
		closedir(c->dir);
	if (c->fd != -1)
		close(c->fd);
	free(c);
}

void
sts_entry_clear(struct sts_entry *e)
{
	free(e->text);
	e->text = NULL;
}

/* All of the file, or NULL; *is_junk_r: it has been seen, and is none of ours. */
static char *
read_file(const struct sts_cache *c, const char *name, size_t *len, bool *is_junk_r)
{
	int fd = openat(c->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char *text = NULL;
	struct stat st;
	ssize_t n;

	*is_junk_r = fd == -1 && errno == ELOOP;
	if (fd == -1)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size <= (off_t)FILE_MAX) {
		text = xmalloc((size_t)st.st_size + 1);
		n = read(fd, text, (size_t)st.st_size);
		if (n == (ssize_t)st.st_size) {
			text[n] = '\0';
			*len = (size_t)n;
		} else {
			free(text);
			text = NULL;
		}
	} else {
		*is_junk_r = true;
	}
	close(fd);
	return text;
}

static bool
parse_head(const char *text, size_t len, struct sts_entry *e, size_t *body)
{
	const char *end = memmem(text, len < HEAD_MAX ? len : HEAD_MAX, "\n\n", 2);
	int n = 0;

	if (end == NULL || strncmp(text, MAGIC, sizeof(MAGIC) - 1) != 0)
		return false;
	if (sscanf(text + sizeof(MAGIC) - 1, "id %32[A-Za-z0-9]\nfetched %" SCNd64 "\nused %" SCNd64 "\n%n", e->id,
	    &e->fetched, &e->used, &n) != 3 || text + sizeof(MAGIC) - 1 + n != end + 2)
		return false;
	*body = (size_t)(end + 2 - text);
	return e->fetched > 0 && e->used > 0;
}

/* When it expires follows from the policy; a clock that went back makes no policy live longer. */
static bool
parse_entry(const char *text, size_t len, int64_t now, struct sts_entry *e)
{
	struct sts_policy policy;
	const char *err;
	size_t body;

	memset(e, 0, sizeof(*e));
	if (!parse_head(text, len, e, &body) || sts_policy_parse(text + body, len - body, &policy, &err) == -1)
		return false;
	if (e->fetched > now)
		e->fetched = now;
	if (e->used > now)
		e->used = now;
	e->expires = e->fetched + (int64_t)policy.max_age * 1000;
	sts_policy_clear(&policy);
	e->text = xmemdup0(text + body, len - body);
	e->len = len - body;
	return true;
}

/* CACHE_UNREAD: there is none, or what there is cannot be read now. */
enum cache_state { CACHE_GOOD, CACHE_BAD, CACHE_UNREAD };

static enum cache_state
entry_read(const struct sts_cache *c, const char *domain, int64_t now, struct sts_entry *e)
{
	size_t len = 0;
	bool is_good, is_junk;
	char *text;

	memset(e, 0, sizeof(*e));
	if ((text = read_file(c, domain, &len, &is_junk)) == NULL)
		return is_junk ? CACHE_BAD : CACHE_UNREAD;
	is_good = parse_entry(text, len, now, e) && now < e->expires;
	free(text);
	if (!is_good)
		sts_entry_clear(e);
	return is_good ? CACHE_GOOD : CACHE_BAD;
}

bool
sts_cache_get(struct sts_cache *c, const char *domain, int64_t now, struct sts_entry *e)
{
	memset(e, 0, sizeof(*e));
	return c->fd != -1 && entry_read(c, domain, now, e) == CACHE_GOOD;
}

static bool
write_all(int fd, const char *p, size_t len)
{
	ssize_t n;

	for (; len > 0; p += n, len -= (size_t)n)
		if ((n = write(fd, p, len)) <= 0)
			return false;
	return true;
}

/* One of a few, that was fetched longest ago: those that are in use are fetched anew each day. */
static void
make_room(struct sts_cache *c)
{
	char oldest[sizeof(((struct dirent *)NULL)->d_name)] = "";
	const struct dirent *e;
	struct timespec when = { 0, 0 };
	struct stat st;
	unsigned i, ends = 0;

	for (i = 0; i < SAMPLE && ends < 2;) {
		if ((e = readdir(c->dir)) == NULL) {
			rewinddir(c->dir);
			ends++;
			continue;
		}
		if (!sts_domain_valid(e->d_name) || fstatat(c->fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1)
			continue;
		i++;
		if (oldest[0] != '\0' && (st.st_mtim.tv_sec > when.tv_sec || (st.st_mtim.tv_sec == when.tv_sec &&
		    st.st_mtim.tv_nsec >= when.tv_nsec)))
			continue;
		when = st.st_mtim;
		(void)snprintf(oldest, sizeof(oldest), "%s", e->d_name);
	}
	if (oldest[0] != '\0' && unlinkat(c->fd, oldest, 0) == 0 && c->n > 0)
		c->n--;
}

void
sts_cache_put(struct sts_cache *c, const char *domain, const struct sts_entry *e)
{
	char head[HEAD_MAX], tmp[32];
	bool is_new, is_good;
	int fd, n;

	if (c->fd == -1)
		return;
	is_new = faccessat(c->fd, domain, F_OK, AT_SYMLINK_NOFOLLOW) == -1;
	if (is_new && c->n >= c->max)
		make_room(c);
	(void)snprintf(tmp, sizeof(tmp), ".new-%ld", (long)getpid()); /* no host name */
	n = snprintf(head, sizeof(head), MAGIC "id %s\nfetched %" PRId64 "\nused %" PRId64 "\n\n", e->id, e->fetched,
	    e->used);
	fd = openat(c->fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	is_good = fd != -1 && write_all(fd, head, (size_t)n) && write_all(fd, e->text, e->len) && fdatasync(fd) == 0;
	if (fd != -1)
		close(fd);
	if (is_good && renameat(c->fd, tmp, c->fd, domain) == 0) {
		c->n += is_new;
		c->is_failing = false;
		return;
	}
	if (!c->is_failing)
		log_error("the MTA-STS policy of %s cannot be kept: %m", domain);
	c->is_failing = true;
	(void)unlinkat(c->fd, tmp, 0);
}

bool
sts_cache_look(struct sts_cache *c, int64_t now, unsigned n,
    void (*fn)(const char *domain, const struct sts_entry *, void *arg), void *arg)
{
	const struct dirent *e;
	enum cache_state state;
	struct sts_entry entry;

	for (; c->dir != NULL && n > 0; n--) {
		if ((e = readdir(c->dir)) == NULL)
			break;
		if (!sts_domain_valid(e->d_name))
			continue;
		state = entry_read(c, e->d_name, now, &entry);
		if (state == CACHE_GOOD) {
			fn(e->d_name, &entry, arg);
			sts_entry_clear(&entry);
		} else if (state == CACHE_BAD && unlinkat(c->fd, e->d_name, 0) == 0 && c->n > 0) {
			c->n--;
		}
	}
	if (n == 0 && c->dir != NULL)
		return true;
	if (c->dir != NULL)
		count_files(c);
	return false;
}
