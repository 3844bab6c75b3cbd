/* Searching the event log (history.h), in the main role. The file is ours; its lines are checked all the same, and what
 * is searched is bounded. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/xalloc.h"
#include "mail/codec.h"

#include "bouncerd/history.h"

#define BEFORE_S 10                 /* records of several processes are a little out of order */
#define AFTER_S 60                  /* the record is made when the message is complete */
#define SEARCH_MAX (256u << 20)     /* octets looked through */
#define LINE_MAX_LEN (1u << 20)

struct file {
	const char *p;
	size_t len;
};

/* The beginning of the first line at or behind `at`. */
static size_t
line_at(const struct file *f, size_t at)
{
	const char *nl;

	if (at == 0)
		return 0;
	nl = memchr(f->p + at - 1, '\n', f->len - at + 1);
	return nl == NULL ? f->len : (size_t)(nl - f->p) + 1;
}

static size_t
line_len(const struct file *f, size_t at)
{
	const char *nl = memchr(f->p + at, '\n', f->len - at);

	return nl == NULL ? f->len - at : (size_t)(nl - f->p) - at;
}

/* Seconds; -1: no record. */
static int64_t
line_time(const struct file *f, size_t at)
{
	static const char key[] = "\"timestamp\":";
	const char *found = memmem(f->p + at, line_len(f, at), key, sizeof(key) - 1), *end = f->p + f->len;
	int64_t t = 0;

	if (found == NULL)
		return -1;
	for (found += sizeof(key) - 1; found < end && *found >= '0' && *found <= '9' && t < INT64_MAX / 100; found++)
		t = t * 10 + (*found - '0');
	return t;
}

/* Where the records of that second begin, or before. */
static size_t
seek_time(const struct file *f, int64_t when)
{
	size_t lo = 0, hi = f->len, mid, at;

	while (hi - lo > 64 * 1024) {
		mid = lo + (hi - lo) / 2;
		at = line_at(f, mid);
		if (at >= hi) {
			hi = mid;
			continue;
		}
		if (line_time(f, at) < when)
			lo = at;
		else
			hi = mid;
	}
	return line_at(f, lo);
}

static char *
text_of(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s == NULL ? NULL : xstrdup(s);
}

static void
take_meta(const json_t *meta, struct history *h)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)meta, key, value) {
		if (!json_is_string(value) || strcmp(key, "tenant") == 0 || strcmp(key, "campaign") == 0 ||
		    h->n_meta == META_MAX)
			continue;
		h->meta = xreallocarray(h->meta, h->n_meta + 1, sizeof(*h->meta));
		h->meta[h->n_meta++] = (struct meta){ xstrdup(key), xstrdup(json_string_value(value)) };
	}
}

static bool
take_line(const char *line, size_t len, uint16_t rcpt, struct history *h)
{
	json_t *o = json_loadb(line, len, 0, NULL), *to;

	if (o == NULL)
		return false;
	to = json_object_get(o, "recipient");
	if (json_is_array(to))
		to = json_array_get(to, rcpt);
	else if (rcpt != 0)
		to = NULL;
	if (json_is_string(to)) {
		h->recipient = xstrdup(json_string_value(to));
		h->sender = text_of(o, "sender");
		h->tenant = text_of(o, "tenant");
		h->campaign = text_of(o, "campaign");
		if (json_is_object(json_object_get(o, "meta")))
			take_meta(json_object_get(o, "meta"), h);
	}
	json_decref(o);
	return h->recipient != NULL;
}

static bool
search(const struct file *f, const struct envid *env, struct history *h)
{
	int64_t when = msgid_time(&env->msg) / 1000;
	size_t at = seek_time(f, when - BEFORE_S), end = f->len - at > SEARCH_MAX ? at + SEARCH_MAX : f->len, len;
	char hex[MSGID_HEX], *begin;
	bool is_found = false;

	msgid_hex(&env->msg, hex);
	begin = xasprintf("{\"type\":\"Reception\",\"id\":\"%s\"", hex);
	for (; at < end && !is_found; at += len + 1) {
		len = line_len(f, at);
		if (len > strlen(begin) && len < LINE_MAX_LEN && memcmp(f->p + at, begin, strlen(begin)) == 0)
			is_found = take_line(f->p + at, len, env->rcpt, h);
		else if (line_time(f, at) > when + AFTER_S)
			break;
	}
	free(begin);
	return is_found;
}

bool
history_find(int fd, const struct envid *env, struct history *h)
{
	struct file f;
	struct stat st;
	bool is_found;
	void *map;

	memset(h, 0, sizeof(*h));
	if (fstat(fd, &st) == -1 || st.st_size == 0)
		return false;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return false;
	f = (struct file){ map, (size_t)st.st_size };
	is_found = search(&f, env, h);
	munmap(map, (size_t)st.st_size);
	return is_found;
}

void
history_clear(struct history *h)
{
	free(h->recipient);
	free(h->sender);
	free(h->tenant);
	free(h->campaign);
	codec_free_meta(h->meta, h->n_meta);
	memset(h, 0, sizeof(*h));
}
