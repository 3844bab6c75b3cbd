/* The walk (index_pages.h). Every page is read with pread, so that an unreadable or missing one is an error code and
 * not a signal; a bitmap of the pages met finds those that are used twice, or used and free at once. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/xalloc.h"

#include "queued/index_pages.h"

#define MAGIC 0xbeefc0deu
#define FORMAT 1
#define PAGE_MIN 512
#define PAGE_MAX 65536
#define DEPTH_MAX 32
#define NAMED_MAX 64
#define NO_PAGE UINT64_MAX

enum { P_BRANCH = 0x01, P_LEAF = 0x02, P_OVERFLOW = 0x04, P_META = 0x08 };
enum { N_BIG = 0x01, N_DB = 0x02, N_DUP = 0x04 };
/* Offsets in a page, in the meta data of the first two, in a database's description, in a node. */
enum { PG_NO = 0, PG_FLAGS = 10, PG_LOWER = 12, PG_UPPER = 14, PG_COUNT = 12, PG_HEAD = 16 };
enum { M_MAGIC = 16, M_FORMAT = 20, M_FREE = 40, M_MAIN = 88, M_LAST = 136, M_TXN = 144, M_LEN = 152 };
enum { D_PAGE_SIZE = 0, D_DEPTH = 6, D_ENTRIES = 32, D_ROOT = 40, D_LEN = 48 };
enum { N_FLAGS = 4, N_KEYLEN = 6, N_HEAD = 8 };

struct db {
	char name[INDEX_KEY_MAX + 1];
	uint64_t root, entries;
	unsigned depth;
};

struct walk {
	int fd;
	size_t page;     /* size */
	uint64_t last;   /* highest page number in use */
	uint8_t *used;   /* a bit a page */
	uint8_t *buf[DEPTH_MAX + 1]; /* a page for each level; [DEPTH_MAX]: overflow pages */
	size_t big_cap;
	const char *why;
	/* of the database that is being walked */
	const struct db *db;
	bool is_free_list;
	uint64_t n;
	uint8_t key[INDEX_KEY_MAX], low[INDEX_KEY_MAX];
	size_t keylen, lowlen;
	bool has_key, has_low;
	index_row_fn *fn;
	void *arg;
	/* what the main database names */
	struct db named[NAMED_MAX];
	unsigned n_named;
};

/* A page is as the machine wrote it: little-endian (index_pages.h). */
static uint64_t
get(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes-- > 0)
		v = v << 8 | p[bytes];
	return v;
}

static bool
bad(struct walk *w, const char *why)
{
	w->why = why;
	return false;
}

static bool
mark_used(struct walk *w, uint64_t page)
{
	if (page < 2 || page > w->last)
		return bad(w, "a page number is out of range");
	if (w->used[page / 8] & 1u << page % 8)
		return bad(w, "a page is used twice, or is used and free");
	w->used[page / 8] |= (uint8_t)(1u << page % 8);
	return true;
}

static bool
read_at(struct walk *w, uint64_t page, uint8_t *buf, size_t len)
{
	if (pread(w->fd, buf, len, (off_t)(page * w->page)) != (ssize_t)len)
		return bad(w, "a page is missing or cannot be read");
	if (get(buf + PG_NO, 8) != page)
		return bad(w, "a page has another page's number");
	return true;
}

static int
compare(const struct walk *w, const uint8_t *a, size_t alen, const uint8_t *b, size_t blen)
{
	uint64_t x, y;
	int r;

	if (w->is_free_list) {
		x = get(a, 8);
		y = get(b, 8);
		return x < y ? -1 : x > y;
	}
	r = memcmp(a, b, alen < blen ? alen : blen);
	return r != 0 ? r : alen < blen ? -1 : alen > blen;
}

/* Keys rise through the whole tree, and lie right of the separators above them. */
static bool
next_key(struct walk *w, const uint8_t *key, size_t len)
{
	if (len == 0 || len > INDEX_KEY_MAX || (w->is_free_list && len != 8))
		return bad(w, "a key has an impossible length");
	if ((w->has_key && compare(w, w->key, w->keylen, key, len) >= 0) ||
	    (w->has_low && compare(w, w->low, w->lowlen, key, len) > 0))
		return bad(w, "keys are out of order");
	memcpy(w->key, key, len);
	w->keylen = len;
	w->has_key = true;
	w->has_low = false;
	w->n++;
	return true;
}

static bool
separator(struct walk *w, const uint8_t *key, size_t len)
{
	if (len == 0 || len > INDEX_KEY_MAX || (w->is_free_list && len != 8))
		return bad(w, "a separator has an impossible length");
	if (!w->has_key || compare(w, w->key, w->keylen, key, len) >= 0)
		return bad(w, "separators are out of order");
	memcpy(w->low, key, len);
	w->lowlen = len;
	w->has_low = true;
	return true;
}

/* A list of free pages: their number, then theirs, falling. */
static bool
free_pages(struct walk *w, const uint8_t *v, size_t len)
{
	uint64_t n, i;

	if (len < 8 || (n = get(v, 8)) != len / 8 - 1 || len % 8 != 0)
		return bad(w, "a list of free pages has an impossible length");
	for (i = 1; i <= n; i++)
		if (!mark_used(w, get(v + 8 * i, 8)))
			return false;
	return true;
}

static void
parse_db(struct db *db, const uint8_t *p)
{
	db->depth = (unsigned)get(p + D_DEPTH, 2);
	db->entries = get(p + D_ENTRIES, 8);
	db->root = get(p + D_ROOT, 8);
}

static bool
name_db(struct walk *w, const uint8_t *key, size_t keylen, const uint8_t *v, size_t len)
{
	struct db *db = &w->named[w->n_named];

	if (len != D_LEN || w->n_named == NAMED_MAX || memchr(key, '\0', keylen) != NULL)
		return bad(w, "the description of a database is malformed");
	memcpy(db->name, key, keylen);
	db->name[keylen] = '\0';
	parse_db(db, v);
	w->n_named++;
	return true;
}

static bool
row(struct walk *w, const uint8_t *key, size_t keylen, const uint8_t *v, size_t len, unsigned flags)
{
	struct index_row r = { w->db->name, key, v, keylen, len };

	if (w->is_free_list)
		return free_pages(w, v, len);
	if (w->db->name[0] == '\0')
		return (flags & N_DB) != 0 ? name_db(w, key, keylen, v, len)
		    : bad(w, "the main database has a row that is no database");
	if ((flags & N_DB) != 0)
		return bad(w, "a database is where a row belongs");
	return (w->why = w->fn(&r, w->arg)) == NULL;
}

/* A value on pages of its own. */
static bool
big_value(struct walk *w, const uint8_t *node, size_t keylen, size_t len)
{
	uint64_t page = get(node + N_HEAD + keylen, 8), need = (PG_HEAD + len + w->page - 1) / w->page, i, n;
	uint8_t head[PG_HEAD];

	if (page < 2 || page > w->last || need > w->last - page + 1 || !read_at(w, page, head, PG_HEAD))
		return w->why != NULL ? false : bad(w, "an overflow page is out of range");
	n = get(head + PG_COUNT, 4);
	if ((get(head + PG_FLAGS, 2) & P_OVERFLOW) == 0 || n < need || n > w->last - page + 1)
		return bad(w, "an overflow page is malformed");
	for (i = 0; i < n; i++)
		if (!mark_used(w, page + i))
			return false;
	if (need * w->page > w->big_cap) {
		w->big_cap = need * w->page;
		w->buf[DEPTH_MAX] = xreallocarray(w->buf[DEPTH_MAX], w->big_cap, 1);
	}
	return read_at(w, page, w->buf[DEPTH_MAX], PG_HEAD + len) &&
	    row(w, node + N_HEAD, keylen, w->buf[DEPTH_MAX] + PG_HEAD, len, 0);
}

static bool
leaf_node(struct walk *w, const uint8_t *node, size_t room)
{
	size_t keylen = get(node + N_KEYLEN, 2), len = get(node, 4);
	unsigned flags = (unsigned)get(node + N_FLAGS, 2);

	if ((flags & ~(unsigned)(N_BIG | N_DB)) != 0 || keylen > room - N_HEAD ||
	    ((flags & N_BIG) != 0 ? 8 : len) > room - N_HEAD - keylen)
		return bad(w, "a row is malformed");
	if (!next_key(w, node + N_HEAD, keylen))
		return false;
	if ((flags & N_BIG) != 0)
		return big_value(w, node, keylen, len);
	return row(w, node + N_HEAD, keylen, node + N_HEAD + keylen, len, flags);
}

static bool walk_page(struct walk *w, uint64_t page, unsigned level);

static bool
branch_node(struct walk *w, const uint8_t *node, size_t room, bool is_first, unsigned level)
{
	size_t keylen = get(node + N_KEYLEN, 2);

	if (keylen > room - N_HEAD)
		return bad(w, "a branch is malformed");
	/* The key of the first branch of a page is not looked at. */
	return (is_first || separator(w, node + N_HEAD, keylen)) && walk_page(w, get(node, 6), level + 1);
}

static bool
walk_page(struct walk *w, uint64_t page, unsigned level)
{
	bool is_leaf = level + 1 == w->db->depth, ok;
	size_t lower, upper, i, at;
	uint8_t *p;

	if (w->buf[level] == NULL)
		w->buf[level] = xmalloc(w->page);
	p = w->buf[level];
	if (!mark_used(w, page) || !read_at(w, page, p, w->page))
		return false;
	lower = get(p + PG_LOWER, 2);
	upper = get(p + PG_UPPER, 2);
	if ((get(p + PG_FLAGS, 2) & 0xff) != (is_leaf ? P_LEAF : P_BRANCH) || lower < PG_HEAD + (is_leaf ? 2 : 4) ||
	    lower % 2 != 0 || lower > upper || upper > w->page)
		return bad(w, "the head of a page is malformed");
	for (i = PG_HEAD; i < lower; i += 2) {
		at = get(p + i, 2);
		if (at < upper || at > w->page - N_HEAD)
			return bad(w, "a row lies outside of its page");
		ok = is_leaf ? leaf_node(w, p + at, w->page - at)
		    : branch_node(w, p + at, w->page - at, i == PG_HEAD, level);
		if (!ok)
			return false;
	}
	return true;
}

static bool
walk_db(struct walk *w, const struct db *db, bool is_free_list)
{
	w->db = db;
	w->is_free_list = is_free_list;
	w->n = 0;
	w->has_key = w->has_low = false;
	if (db->root == NO_PAGE)
		return db->entries == 0 || bad(w, "a database has lost its root");
	if (db->depth == 0 || db->depth >= DEPTH_MAX)
		return bad(w, "a database has an impossible depth");
	if (!walk_page(w, db->root, 0))
		return false;
	return w->n == db->entries || bad(w, "a database has more or fewer rows than it says");
}

static bool
walk_all(struct walk *w, const struct db *free_list, const struct db *main_db, const char *first)
{
	unsigned i;

	if (!walk_db(w, main_db, false))
		return false;
	for (i = 0; i < w->n_named; i++)
		if (strcmp(w->named[i].name, first) == 0 && !walk_db(w, &w->named[i], false))
			return false;
	for (i = 0; i < w->n_named; i++)
		if (strcmp(w->named[i].name, first) != 0 && !walk_db(w, &w->named[i], false))
			return false;
	return walk_db(w, free_list, true);
}

/* Both meta pages must be whole; LMDB takes the newer. */
static enum index_pages
read_metas(struct walk *w, uint8_t meta[M_LEN], const char **why_r)
{
	uint8_t pages[2][M_LEN];
	int i, n_other = 0;

	*why_r = "a meta page is malformed";
	if (pread(w->fd, pages[0], M_LEN, 0) != M_LEN)
		return PAGES_BAD;
	w->page = get(pages[0] + M_FREE + D_PAGE_SIZE, 4);
	if (w->page < PAGE_MIN || w->page > PAGE_MAX || (w->page & (w->page - 1)) != 0 ||
	    pread(w->fd, pages[1], M_LEN, (off_t)w->page) != M_LEN)
		return PAGES_BAD;
	for (i = 0; i < 2; i++) {
		if (get(pages[i] + PG_NO, 8) != (uint64_t)i || get(pages[i] + M_MAGIC, 4) != MAGIC ||
		    (get(pages[i] + PG_FLAGS, 2) & P_META) == 0 ||
		    get(pages[i] + M_FREE + D_PAGE_SIZE, 4) != w->page)
			return PAGES_BAD;
		n_other += get(pages[i] + M_FORMAT, 4) != FORMAT;
	}
	if (n_other == 2)
		return PAGES_OTHER_FORMAT;
	if (n_other == 1)
		return PAGES_BAD;
	memcpy(meta, pages[get(pages[0] + M_TXN, 8) < get(pages[1] + M_TXN, 8)], M_LEN);
	return PAGES_OK;
}

enum index_pages
index_pages_walk(int fd, const char *first, index_row_fn *fn, void *arg, const char **why_r)
{
	struct walk *w = xcalloc(1, sizeof(*w));
	struct db free_list = { .name = "" }, main_db = { .name = "" };
	uint8_t meta[M_LEN];
	enum index_pages r = PAGES_BAD;
	struct stat sb;
	int i;

	w->fd = fd;
	w->fn = fn;
	w->arg = arg;
	*why_r = "the file cannot be looked at";
	if (fstat(fd, &sb) == 0)
		r = sb.st_size == 0 ? PAGES_NONE : read_metas(w, meta, why_r);
	if (r == PAGES_OK) {
		w->last = get(meta + M_LAST, 8);
		parse_db(&free_list, meta + M_FREE);
		parse_db(&main_db, meta + M_MAIN);
		/* Pages at the end may have been freed before they were ever written; but not a map's worth of them. */
		if (w->last > (uint64_t)sb.st_size / w->page * 2 + 4096) {
			r = PAGES_BAD;
			*why_r = "the file is far too short";
		} else {
			w->used = xcalloc(w->last / 8 + 1, 1);
			if (!walk_all(w, &free_list, &main_db, first)) {
				r = PAGES_BAD;
				*why_r = w->why;
			}
		}
	}
	for (i = 0; i <= DEPTH_MAX; i++)
		free(w->buf[i]);
	free(w->used);
	free(w);
	return r;
}
