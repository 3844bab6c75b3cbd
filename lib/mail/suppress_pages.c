/* The pages of the suppression list (suppress_pages.h). Hostile: every byte of the map, and bytes may change between
 * two looks at them: a number is read once, checked, then used. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "mail/suppress_pages.h"

#define MAGIC 0xbeefc0deu
#define FORMAT 1
#define PAGE_MIN 512
#define PAGE_MAX 65536
#define NO_PAGE UINT64_MAX
#define PAGES_MAX (UINT64_C(1) << 40)

enum { P_BRANCH = 0x01, P_LEAF = 0x02, P_META = 0x08 };
enum { PG_NO = 0, PG_FLAGS = 10, PG_LOWER = 12, PG_UPPER = 14, PG_HEAD = 16 };
enum { M_MAGIC = 16, M_FORMAT = 20, M_PAGE_SIZE = 40, M_MAIN = 88, M_LAST = 136, M_TXN = 144, M_LEN = 152 };
enum { D_FLAGS = 4, D_DEPTH = 6, D_ROOT = 40 };
enum { N_FLAGS = 4, N_KEYLEN = 6, N_HEAD = 8 };

static uint16_t
get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint32_t
get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t
get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static bool
bad(struct pages_cursor *c, const char *why)
{
	c->why = why;
	return false;
}

static bool
meta_is_sound(const uint8_t *m, uint64_t number, uint32_t page)
{
	return get64(m + PG_NO) == number && (get16(m + PG_FLAGS) & P_META) != 0 && get32(m + M_MAGIC) == MAGIC &&
	    get32(m + M_FORMAT) == FORMAT && get32(m + M_PAGE_SIZE) == page;
}

int
pages_map(struct pages_file *f, int fd, uint64_t map_size, const char **why_r)
{
	struct stat sb;
	void *map;

	memset(f, 0, sizeof(*f));
	f->fd = fd;
	if (fstat(fd, &sb) == -1 || (map = mmap(NULL, map_size, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0)) ==
	    MAP_FAILED) {
		*why_r = strerror(errno);
		return -1;
	}
	f->map = map;
	f->map_size = map_size;
	f->size = (uint64_t)sb.st_size;
	*why_r = "it is damaged: the file is too short";
	if (f->size >= PAGE_MIN)
		f->page = get32(f->map + M_PAGE_SIZE);
	if (f->size >= PAGE_MIN && (f->page < PAGE_MIN || f->page > PAGE_MAX || (f->page & (f->page - 1)) != 0))
		*why_r = "it is damaged: a meta page is malformed";
	else if (f->size >= PAGE_MIN && f->size >= 2 * (uint64_t)f->page) {
		if (meta_is_sound(f->map, 0, f->page) && meta_is_sound(f->map + f->page, 1, f->page))
			return 0;
		*why_r = "it is damaged: a meta page is malformed";
	}
	pages_unmap(f);
	return -1;
}

void
pages_unmap(struct pages_file *f)
{
	void *map;

	memcpy(&map, &f->map, sizeof(map));
	if (map != NULL)
		(void)munmap(map, f->map_size);
	f->map = NULL;
}

bool
pages_begin(struct pages_file *f, struct pages_cursor *c)
{
	uint8_t m[M_LEN];
	uint64_t txn[2];

	c->f = f;
	c->why = NULL;
	c->is_end = c->has_leaf = false;
	txn[0] = get64(f->map + M_TXN);
	txn[1] = get64(f->map + f->page + M_TXN);
	/* Not the number in the copy: the page may be written again while it is copied, and then that belongs to a
	 * later root than the copied one. */
	c->txn = txn[1] > txn[0] ? txn[1] : txn[0];
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	memcpy(m, f->map + (txn[1] > txn[0] ? f->page : 0), M_LEN);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (!meta_is_sound(m, txn[1] > txn[0], f->page))
		return bad(c, "a meta page is malformed");
	c->root = get64(m + M_MAIN + D_ROOT);
	c->depth = get16(m + M_MAIN + D_DEPTH);
	c->last = get64(m + M_LAST);
	if (c->last > PAGES_MAX || get16(m + M_MAIN + D_FLAGS) != 0 || c->depth > PAGES_DEPTH_MAX)
		return bad(c, "a meta page is malformed");
	return true;
}

bool
pages_is_newest(const struct pages_cursor *c)
{
	const struct pages_file *f = c->f;

	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return get64(f->map + M_TXN) <= c->txn && get64(f->map + f->page + M_TXN) <= c->txn;
}

/* Puts the page on a level; its nodes can then be looked at. */
static bool
enter(struct pages_cursor *c, unsigned level, uint64_t number)
{
	struct pages_file *f = c->f;
	struct pages_level *l = &c->at[level];
	struct stat sb;
	uint64_t end;
	unsigned lower;

	if (number < 2 || number > c->last)
		return bad(c, "a page number is out of range");
	end = (number + 1) * f->page;
	if (end > f->size && fstat(f->fd, &sb) == 0)
		f->size = (uint64_t)sb.st_size;
	if (end > f->size || end > f->map_size)
		return bad(c, "a page is missing");
	l->p = f->map + end - f->page;
	lower = get16(l->p + PG_LOWER);
	if (get64(l->p + PG_NO) != number ||
	    (get16(l->p + PG_FLAGS) & 0xff) != (level + 1 == c->depth ? P_LEAF : P_BRANCH) ||
	    lower < PG_HEAD + 2 || lower % 2 != 0 || lower > f->page)
		return bad(c, "the head of a page is malformed");
	l->n = (lower - PG_HEAD) / 2;
	l->i = 0;
	return true;
}

/* Node i of the level, with its key. */
static const uint8_t *
node_at(struct pages_cursor *c, const struct pages_level *l, unsigned i, size_t *keylen_r)
{
	size_t at = get16(l->p + PG_HEAD + 2 * i), keylen;

	if (at < PG_HEAD || at > c->f->page - N_HEAD) {
		(void)bad(c, "a row lies outside of its page");
		return NULL;
	}
	keylen = get16(l->p + at + N_KEYLEN);
	if (keylen > c->f->page - N_HEAD - at) {
		(void)bad(c, "a key lies outside of its page");
		return NULL;
	}
	*keylen_r = keylen;
	return l->p + at;
}

static int
compare(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen)
{
	uint64_t x, y;
	int r;

	/* Most differ at the beginning of the domain, and a call costs more than that. */
	if (alen >= sizeof(x) && blen >= sizeof(y)) {
		x = __builtin_bswap64(get64(a));
		y = __builtin_bswap64(get64(b));
		if (x != y)
			return x < y ? -1 : 1;
	}
	r = memcmp(a, b, alen < blen ? alen : blen);
	return r != 0 ? r : alen < blen ? -1 : alen > blen;
}

/* The first node of [from, n) whose key is not less (or, for branches, is greater). */
static bool
search(struct pages_cursor *c, struct pages_level *l, unsigned from, bool is_branch, const uint8_t *key, size_t len)
{
	unsigned low = from, high = l->n, mid;
	const uint8_t *node;
	size_t keylen;
	int r;

	while (low < high) {
		mid = low + (high - low) / 2;
		if ((node = node_at(c, l, mid, &keylen)) == NULL)
			return false;
		r = compare(node + N_HEAD, keylen, key, len);
		if (r < 0 || (is_branch && r == 0))
			low = mid + 1;
		else
			high = mid;
	}
	l->i = low;
	return true;
}

static bool
enter_child(struct pages_cursor *c, unsigned level)
{
	const struct pages_level *l = &c->at[level];
	const uint8_t *node;
	size_t keylen;

	if ((node = node_at(c, l, l->i, &keylen)) == NULL)
		return false;
	return enter(c, level + 1, get32(node) | (uint64_t)get16(node + 4) << 32);
}

static bool
take_row(struct pages_cursor *c)
{
	struct pages_level *l = &c->at[c->depth - 1];
	const uint8_t *node = node_at(c, l, l->i, &c->keylen);

	if (node == NULL)
		return false;
	c->len = get32(node);
	if (get16(node + N_FLAGS) != 0 || c->keylen == 0 ||
	    c->len > c->f->page - N_HEAD - (size_t)(node - l->p) - c->keylen)
		return bad(c, "a row is malformed");
	c->key = node + N_HEAD;
	c->value = c->key + c->keylen;
	return true;
}

/* From behind the last row of a leaf to the first of the next. */
static bool
next_leaf(struct pages_cursor *c)
{
	unsigned level = c->depth - 1;

	while (level > 0 && c->at[level - 1].i + 1 >= c->at[level - 1].n)
		level--;
	if (level == 0) {
		c->is_end = true;
		return false;
	}
	c->at[level - 1].i++;
	for (; level < c->depth; level++)
		if (!enter_child(c, level - 1))
			return false;
	return take_row(c);
}

/* In the leaf where the last search ended, if the row is there: an address and its domain mostly are neighbours. */
static bool
seek_here(struct pages_cursor *c, const void *key, size_t len)
{
	struct pages_level *l = &c->at[c->depth - 1];
	const uint8_t *node;
	size_t keylen;

	if (!c->has_leaf || (node = node_at(c, l, 0, &keylen)) == NULL || compare(node + N_HEAD, keylen, key, len) >= 0)
		return false;
	return search(c, l, 0, false, key, len) && l->i < l->n;
}

bool
pages_seek(struct pages_cursor *c, const void *key, size_t len)
{
	struct pages_level *l;
	unsigned level;

	c->is_end = c->root == NO_PAGE || c->depth == 0;
	if (c->is_end)
		return false;
	if (seek_here(c, key, len))
		return take_row(c);
	c->has_leaf = false;
	if (c->why != NULL || !enter(c, 0, c->root))
		return false;
	for (level = 0; level + 1 < c->depth; level++) {
		l = &c->at[level];
		if (!search(c, l, 1, true, key, len))
			return false;
		l->i--;
		if (!enter_child(c, level))
			return false;
	}
	l = &c->at[level];
	if (!search(c, l, 0, false, key, len))
		return false;
	c->has_leaf = true;
	return l->i < l->n ? take_row(c) : next_leaf(c);
}

bool
pages_next(struct pages_cursor *c)
{
	struct pages_level *l = &c->at[c->depth - 1];

	if (c->is_end || c->why != NULL)
		return false;
	if (++l->i < l->n)
		return take_row(c);
	return next_leaf(c);
}
