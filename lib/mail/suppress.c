/* Look-ups in the suppression list (suppress.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/suppress.h"
#include "mail/suppress_pages.h"
#include "mail/suppress_store.h"

#define TRIES 1000 /* of a look-up in a file that changes under it: commits are not that many */
#define WARN_EVERY_MS 60000

struct suppress {
	char *path, *trouble;
	struct pages_file file;
	bool is_mapped;
	int64_t warned;
};

/* One that somebody emptied, or cut at a place where it still looks whole, is not an empty list: it has lost its first
 * row. */
static const char *
check_schema(struct pages_file *f)
{
	struct pages_cursor c;
	int tries = TRIES;
	bool is_there;

	do {
		is_there = pages_begin(f, &c) && pages_seek(&c, SUPPRESS_SCHEMA_KEY, SUPPRESS_SCHEMA_KEY_LEN) &&
		    c.keylen == SUPPRESS_SCHEMA_KEY_LEN && memcmp(c.key, SUPPRESS_SCHEMA_KEY, c.keylen) == 0;
		if (is_there && (c.len != 1 || c.value[0] != SUPPRESS_SCHEMA))
			c.why = "it was written by another release";
		else if (!is_there && c.why == NULL)
			c.why = "it is damaged: its first row is missing";
	} while (!pages_is_newest(&c) && tries-- > 0);
	return c.why;
}

static int
try_open(struct suppress *l, const char **why_r)
{
	int fd = open(l->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK); /* it may be a FIFO */

	*why_r = NULL;
	if (fd == -1) {
		*why_r = strerror(errno);
		return -1;
	}
	if (pages_map(&l->file, fd, SUPPRESS_MAP_SIZE, why_r) == -1 || (*why_r = check_schema(&l->file)) != NULL) {
		pages_unmap(&l->file);
		close(fd);
		return -1;
	}
	l->is_mapped = true;
	return 0;
}

struct suppress *
suppress_open(const char *queue_directory)
{
	struct suppress *l = xcalloc(1, sizeof(*l));
	const char *why;
	char *err = NULL;

	l->path = xasprintf("%s/" SUPPRESS_DIR "/" SUPPRESS_DATA, queue_directory);
	if (suppress_make(queue_directory, &err) == 0 && try_open(l, &why) == 0)
		return l;
	if (err != NULL)
		l->trouble = err;
	else
		l->trouble = xasprintf("the suppression list %s cannot be read: %s", l->path, why);
	log_error("%s: mail waits until that is mended", l->trouble);
	return l;
}

void
suppress_close(struct suppress **lp)
{
	struct suppress *l = *lp;

	if (l == NULL)
		return;
	*lp = NULL;
	if (l->is_mapped) {
		pages_unmap(&l->file);
		close(l->file.fd);
	}
	free(l->path);
	free(l->trouble);
	free(l);
}

const char *
suppress_trouble(const struct suppress *l)
{
	return l->trouble;
}

struct question {
	struct suppress_key keys[2]; /* prefixes: the address, its domain */
	const char *tenant, *sender_domain;
	int64_t now;
};

/* The row that the cursor is at. */
static bool
is_in_force(struct pages_cursor *c, int64_t now)
{
	int64_t expires = suppress_row_expires(c->value, c->len);

	if (expires < 0)
		c->why = "a row is malformed";
	return expires == 0 || expires > now;
}

static bool
find_scope(struct pages_cursor *c, struct suppress_key *k, unsigned scope, const char *value, int64_t now)
{
	char text[ADDRESS_MAX];
	size_t prefix = k->len;
	const char *why;
	bool is_there;

	if (value == NULL || *value == '\0')
		return false;
	if (suppress_scope_value(scope, value, text, &why) == -1)
		return false;
	suppress_key_scope(k, scope, text);
	is_there = pages_seek(c, k->b, k->len) && c->keylen == k->len && memcmp(c->key, k->b, k->len) == 0 &&
	    is_in_force(c, now);
	k->len = prefix;
	return is_there && c->why == NULL;
}

/* Most addresses are not on the list: one descent each for the address and its domain tells. The row of all mail is the
 * first of those with its prefix. */
static bool
find(struct pages_cursor *c, struct question *q)
{
	unsigned i;

	for (i = 0; i < 2; i++) {
		struct suppress_key *k = &q->keys[i];

		if (!pages_seek(c, k->b, k->len)) {
			if (c->why != NULL)
				return false;
			continue;
		}
		if (c->keylen < k->len || memcmp(c->key, k->b, k->len) != 0)
			continue;
		if ((c->keylen == k->len + 1 && c->key[k->len] == SUPPRESS_GLOBAL && is_in_force(c, q->now)) ||
		    (c->why == NULL && find_scope(c, k, SUPPRESS_TENANT, q->tenant, q->now)) ||
		    (c->why == NULL && find_scope(c, k, SUPPRESS_SENDER_DOMAIN, q->sender_domain, q->now)))
			return true;
		if (c->why != NULL)
			return false;
	}
	return false;
}

static enum suppress_answer
ask(struct suppress *l, struct question *q, struct suppress_row *row, const char **why_r)
{
	struct pages_cursor c;
	struct suppress_row found;
	bool is_there;
	int i;

	for (i = 0; i < TRIES; i++) {
		memset(&found, 0, sizeof(found));
		is_there = pages_begin(&l->file, &c) && find(&c, q);
		if (is_there && suppress_row_decode(c.key, c.keylen, c.value, c.len, &found) == -1)
			c.why = "a row is malformed";
		if (pages_is_newest(&c))
			break;
		suppress_row_clear(&found);
		c.why = "it changes too fast";
	}
	*why_r = c.why;
	if (c.why != NULL || !is_there || row == NULL)
		suppress_row_clear(&found);
	else
		*row = found;
	return c.why != NULL ? SUPPRESS_UNREADABLE : is_there ? SUPPRESS_IS : SUPPRESS_NOT;
}

enum suppress_answer
suppress_look_up(struct suppress *l, const char *address, const char *tenant, const char *sender_domain, int64_t now,
    struct suppress_row *row, const char **why_r)
{
	char target[ADDRESS_MAX];
	enum suppress_answer answer;
	struct question q;
	const char *why = NULL, *domain;

	if (!l->is_mapped) {
		if (why_r != NULL)
			*why_r = l->trouble;
		return SUPPRESS_UNREADABLE;
	}
	if (suppress_target(address, target, &why) == -1)
		return SUPPRESS_NOT;
	suppress_key_prefix(&q.keys[0], target);
	domain = strrchr(target, '@');
	suppress_key_prefix(&q.keys[1], domain == NULL ? target : domain + 1);
	q.tenant = tenant;
	q.now = now;
	q.sender_domain = sender_domain;
	answer = ask(l, &q, row, &why);
	if (answer != SUPPRESS_UNREADABLE)
		return answer;
	if (l->warned == 0 || now - l->warned >= WARN_EVERY_MS || now < l->warned) {
		l->warned = now;
		free(l->trouble);
		l->trouble = xasprintf("the suppression list %s cannot be read: %s", l->path, why);
		log_error("%s: mail waits until that is mended", l->trouble);
	}
	if (why_r != NULL)
		*why_r = l->trouble;
	return answer;
}
