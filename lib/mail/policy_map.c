/* Tables in memory and their files (policy_map.h). Threads are not for daemons that may not clone; so a new content is
 * read by the look-ups themselves, 256 KiB (some 3 ms) each time and at most every 20 ms. Entries are packed in one
 * block, found by open addressing, so that a million rows cost little more than their text. */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "mail/policy_map_private.h"

#define SLICE (256u << 10)
#define BUFFER (2 * POLICY_MAP_RECORD_MAX)

struct loading {
	int fd;
	struct stat st;
	struct map_reader reader;
	size_t begin, end;
	off_t offset;
	bool is_last; /* the buffer has the end of the file */
	char buffer[BUFFER];
};

struct policy_map {
	struct policy_map_spec spec;
	char *file, *key, *value;
	struct map_table table;
	struct stat seen; /* the file that was loaded, or refused */
	bool was_missing; /* said already */
	struct loading *loading;
	int64_t checked, sliced;
};

static uint32_t
hash_of(const char *s, size_t len)
{
	uint64_t h = 14695981039346656037ull;
	size_t i;

	for (i = 0; i < len; i++)
		h = (h ^ (unsigned char)s[i]) * 1099511628211ull;
	return (uint32_t)(h ^ h >> 32);
}

/* The slot of the key, or the free one where it belongs. */
static size_t
slot_find(const struct map_table *t, uint32_t hash, const char *key, size_t klen)
{
	size_t i;
	uint32_t n;

	for (i = hash & (t->n_slots - 1); t->slots[i].at != 0; i = (i + 1) & (t->n_slots - 1)) {
		if (t->slots[i].hash != hash)
			continue;
		memcpy(&n, t->arena + t->slots[i].at - 1, sizeof(n));
		if (n == klen && memcmp(t->arena + t->slots[i].at - 1 + 2 * sizeof(n), key, klen) == 0)
			break;
	}
	return i;
}

static void
slots_grow(struct map_table *t)
{
	size_t i, j, n = t->n_slots == 0 ? 64 : t->n_slots * 2;
	struct map_slot *slots = xcalloc(n, sizeof(*slots));

	for (i = 0; i < t->n_slots; i++) {
		if (t->slots[i].at == 0)
			continue;
		for (j = t->slots[i].hash & (n - 1); slots[j].at != 0; j = (j + 1) & (n - 1))
			;
		slots[j] = t->slots[i];
	}
	free(t->slots);
	t->slots = slots;
	t->n_slots = n;
}

int
map_table_add(struct map_table *t, const char *key, size_t klen, enum policy_map_kind kind, const char *value,
    size_t vlen)
{
	uint32_t hash = hash_of(key, klen), lens[2] = { (uint32_t)klen, (uint32_t)vlen << 2 | (uint32_t)kind };
	size_t need = sizeof(lens) + klen + vlen, i;

	if (t->n >= POLICY_MAP_ROWS_MAX || t->used + need > POLICY_MAP_BYTES_MAX)
		return -1;
	if (t->n * 4 >= t->n_slots * 3)
		slots_grow(t);
	i = slot_find(t, hash, key, klen);
	if (t->slots[i].at != 0)
		return 0;
	if (t->used + need > t->cap) {
		t->cap = (t->used + need) * 3 / 2 + 4096;
		t->arena = xreallocarray(t->arena, t->cap, 1);
	}
	t->slots[i] = (struct map_slot){ hash, (uint32_t)t->used + 1 };
	memcpy(t->arena + t->used, lens, sizeof(lens));
	memcpy(t->arena + t->used + sizeof(lens), key, klen);
	memcpy(t->arena + t->used + sizeof(lens) + klen, value, vlen);
	t->used += need;
	t->n++;
	return 1;
}

bool
policy_map_get(const struct policy_map *m, const char *key, size_t len, struct policy_map_value *v)
{
	const struct map_table *t = &m->table;
	uint32_t lens[2];
	size_t i;

	if (t->n == 0 || t->slots[i = slot_find(t, hash_of(key, len), key, len)].at == 0)
		return false;
	memcpy(lens, t->arena + t->slots[i].at - 1, sizeof(lens));
	v->kind = (enum policy_map_kind)(lens[1] & 3);
	v->len = lens[1] >> 2;
	v->data = t->arena + t->slots[i].at - 1 + sizeof(lens) + lens[0];
	return true;
}

size_t
policy_map_count(const struct policy_map *m)
{
	return m->table.n;
}

const char *const *
policy_map_columns(const struct policy_map *m, size_t *n_r)
{
	*n_r = m->table.n_columns;
	return (const char *const *)m->table.columns;
}

static bool
same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	    a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	    a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static void
loading_end(struct policy_map *m)
{
	if (m->loading == NULL)
		return;
	close(m->loading->fd);
	map_reader_clear(&m->loading->reader);
	free(m->loading);
	m->loading = NULL;
}

/* NULL, or a sentence. */
static char *
loading_begin(struct policy_map *m)
{
	struct loading *l;
	struct stat st;
	int fd = open(m->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd == -1 || fstat(fd, &st) == -1) {
		char *err = xasprintf("%s cannot be read: %s", m->file, strerror(errno));

		if (fd != -1)
			close(fd);
		return err;
	}
	m->seen = st;
	if (!S_ISREG(st.st_mode) || st.st_size > POLICY_MAP_BYTES_MAX) {
		close(fd);
		return xasprintf(S_ISREG(st.st_mode) ? "%s is larger than %u MiB" : "%s is not a regular file", m->file,
		    POLICY_MAP_BYTES_MAX >> 20);
	}
	l = m->loading = xcalloc(1, sizeof(*l));
	l->fd = fd;
	l->st = st;
	map_reader_init(&l->reader, &m->spec);
	return NULL;
}

/* Fills the buffer. false: a read error. */
static bool
loading_fill(struct loading *l)
{
	ssize_t n;

	memmove(l->buffer, l->buffer + l->begin, l->end - l->begin);
	l->end -= l->begin;
	l->begin = 0;
	while (!l->is_last && l->end < BUFFER) {
		n = pread(l->fd, l->buffer + l->end, BUFFER - l->end, l->offset);
		if (n < 0 && errno != EINTR)
			return false;
		if (n == 0)
			l->is_last = true;
		if (n > 0) {
			l->end += (size_t)n;
			l->offset += n;
		}
	}
	return true;
}

/* Reads about so many bytes. 1: all was read; 0: there is more; -1 and *err_r. */
static int
loading_step(struct loading *l, const char *file, size_t budget, char **err_r)
{
	size_t n, done = 0;

	while (done < budget) {
		if (!l->is_last && l->end - l->begin < POLICY_MAP_RECORD_MAX && !loading_fill(l)) {
			*err_r = xasprintf("%s cannot be read: %s", file, strerror(errno));
			return -1;
		}
		n = map_reader_step(&l->reader, l->buffer + l->begin, l->end - l->begin, l->is_last);
		if (l->reader.err != NULL) {
			*err_r = xasprintf("%s:%u: %s", file, l->reader.line, l->reader.err);
			return -1;
		}
		if (n == 0)
			return 1;
		l->begin += n;
		done += n;
	}
	return 0;
}

/* The new table takes the place of the old. */
static void
table_swap(struct policy_map *m)
{
	struct map_table old = m->table;

	m->table = m->loading->reader.table;
	m->loading->reader.table = old;
	loading_end(m);
}

struct policy_map *
policy_map_open(const struct policy_map_spec *spec, char **err_r)
{
	struct policy_map *m = xcalloc(1, sizeof(*m));

	m->file = xstrdup(spec->file);
	m->key = spec->key != NULL ? xstrdup(spec->key) : NULL;
	m->value = spec->value != NULL ? xstrdup(spec->value) : NULL;
	m->spec = (struct policy_map_spec){ m->file, spec->is_json, m->key, m->value };
	if ((*err_r = loading_begin(m)) == NULL && loading_step(m->loading, m->file, SIZE_MAX, err_r) > 0)
		table_swap(m);
	if (*err_r != NULL)
		policy_map_free(&m);
	return m;
}

void
policy_map_free(struct policy_map **mp)
{
	struct policy_map *m = *mp;
	struct map_reader holder = { 0 };

	if (m == NULL)
		return;
	loading_end(m);
	holder.table = m->table;
	map_reader_clear(&holder);
	free(m->file);
	free(m->key);
	free(m->value);
	free(m);
	*mp = NULL;
}

bool
policy_map_is_due(const struct policy_map *m, int64_t now_ms)
{
	return m->loading != NULL ? now_ms - m->sliced >= POLICY_MAP_SLICE_MS :
	    now_ms - m->checked >= POLICY_MAP_CHECK_MS;
}

static int
look(struct policy_map *m, char **err_r)
{
	struct stat st;

	if (stat(m->file, &st) == -1) {
		if (m->was_missing)
			return 0;
		m->was_missing = true;
		*err_r = xasprintf("%s cannot be read: %s", m->file, strerror(errno));
		return -1;
	}
	m->was_missing = false;
	if (same_file(&st, &m->seen))
		return 0;
	return (*err_r = loading_begin(m)) != NULL ? -1 : 0;
}

int
policy_map_tend(struct policy_map *m, int64_t now_ms, char **err_r)
{
	struct stat st;
	int rc;

	*err_r = NULL;
	if (m->loading == NULL) {
		m->checked = now_ms;
		if ((rc = look(m, err_r)) != 0 || m->loading == NULL)
			return rc;
	}
	m->sliced = now_ms;
	if ((rc = loading_step(m->loading, m->file, SLICE, err_r)) == 0)
		return 0;
	/* Written to meanwhile: what was read is neither the old nor the new, and neither is what is wrong with it. */
	if (fstat(m->loading->fd, &st) == -1 || !same_file(&st, &m->loading->st)) {
		free(*err_r);
		*err_r = NULL;
		memset(&m->seen, 0, sizeof(m->seen));
		loading_end(m);
		return 0;
	}
	if (rc > 0)
		table_swap(m);
	else
		loading_end(m);
	return rc;
}
