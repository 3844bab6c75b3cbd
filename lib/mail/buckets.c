/* Shared buckets (buckets.h). The table is an array of sets of slots, a set two cache lines of names that hash to
 * it. A slot
 * is a key and a TAT; what a TAT means is in rate.h. Any process that maps the table may write anything into it, so no
 * number is believed further than the taker's own rate can have led to: a spoilt one costs one burst or one wait for
 * it. Names may come from strangers' DNS: they are hashed with a secret.
 *
 * A slot whose TAT is long past says nothing and is used again: its TAT becomes a claim (negative), then the key is
 * changed, then the TAT is set. Whoever takes reads TAT, then key, then swaps that very TAT: if the slot changed
 * hands in
 * between, so did the TAT, and the swap fails. A claim whose process died is taken over after a while. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/buckets.h"

#define MAGIC 0x31746d6c6874736full
#define SLOTS 131072u /* in sets of WAYS */
#define WAYS 16u
#define SHARED_EACH 64u /* for names whose set is full: so many for each pace (power of two) */
#define SHARED (64u * SHARED_EACH)
#define SHARED_FUTURE_NS (2 * RATE_PERIOD_MAX * 1000000)
#define NS_PER_S 1000000000ll
#define PAST_NS (10 * NS_PER_S) /* a slot is free when its TAT is older: clocks of loops differ a little */
#define CLAIM_NS NS_PER_S             /* a claim is a few instructions */
#define FUTURE_NS (3650 * 86400 * NS_PER_S) /* no rate reaches so far */
#define SKEW_NS NS_PER_S
#define BOOT_ID_LEN 36

struct slot {
	_Atomic uint64_t key; /* 0: never used */
	_Atomic int64_t tat;  /* negative: claimed at minus this */
};

struct header {
	uint64_t magic;
	uint8_t secret[16];
	char boot_id[40];
	int64_t offset;           /* of the table's clock to CLOCK_BOOTTIME */
	_Atomic int64_t last_seen; /* of the table's clock, a second old at most while it is used */
	uint8_t room[4096 - 80];
};

struct table {
	struct header h;
	struct slot slots[SLOTS];
	struct slot shared[SHARED];
};

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "shared memory needs atomics without locks");
_Static_assert(sizeof(struct header) == 4096, "slots begin at a page");

struct buckets {
	struct table *t;
	/* Copies: what others write into the header later does not matter. */
	uint64_t secret[2];
	int64_t offset;
};

static int64_t
boot_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

/* Empty if it cannot be read: then a boot shows by the clock alone. */
static void
boot_id_read(char out[40])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	memset(out, 0, 40);
	if (fd == -1)
		return;
	if (read(fd, out, BOOT_ID_LEN) != BOOT_ID_LEN)
		memset(out, 0, 40);
	close(fd);
}

/* How long the host was down nobody can say without a clock that can be set, so the table's clock goes on from where it
 * was last seen: waits are longer by that time, and nothing is sent too early. */
static void
header_prepare(struct header *h)
{
	int64_t boot = boot_now(), last;
	char id[40];

	boot_id_read(id);
	if (h->magic != MAGIC) {
		memset(h, 0, sizeof(*h));
		if (getrandom(h->secret, sizeof(h->secret), 0) != sizeof(h->secret))
			arc4random_buf(h->secret, sizeof(h->secret));
		h->magic = MAGIC;
	} else {
		last = atomic_load(&h->last_seen);
		if (last < 0 || last > FUTURE_NS) /* nonsense: every bucket is then full, once */
			last = FUTURE_NS;
		if (strncmp(id, h->boot_id, sizeof(id)) != 0 || h->offset < 0 || h->offset > 2 * FUTURE_NS ||
		    boot + h->offset < last)
			h->offset = last > boot ? last - boot : 0;
	}
	memcpy(h->boot_id, id, sizeof(id));
}

static int
file_prepare(int fd)
{
	struct table *t;
	struct stat st;
	int r;

	if (fstat(fd, &st) == -1)
		return -1;
	if (st.st_size != sizeof(*t) && (ftruncate(fd, 0) == -1 || ftruncate(fd, sizeof(*t)) == -1))
		return -1;
	if ((r = posix_fallocate(fd, 0, sizeof(*t))) != 0) {
		errno = r;
		return -1;
	}
	t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (t == MAP_FAILED)
		return -1;
	if (t->h.magic != MAGIC)
		memset(t, 0, sizeof(*t));
	header_prepare(&t->h);
	munmap(t, sizeof(*t));
	return 0;
}

int
buckets_make(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), saved;

	if (fd == -1 || file_prepare(fd) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

int
buckets_make_anonymous(void)
{
	int fd = memfd_create("posthorn-buckets", MFD_CLOEXEC | MFD_ALLOW_SEALING), saved;
	struct header *h;

	if (fd == -1)
		return -1;
	if (ftruncate(fd, sizeof(struct table)) == 0 &&
	    (h = mmap(NULL, sizeof(*h), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) != MAP_FAILED) {
		header_prepare(h);
		munmap(h, sizeof(*h));
		if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
			return fd;
	}
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

struct buckets *
buckets_map(int fd)
{
	struct buckets *b;
	struct table *t;
	struct stat st;

	if (fstat(fd, &st) == -1)
		return NULL;
	if (st.st_size != sizeof(*t)) {
		errno = EINVAL;
		return NULL;
	}
	t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (t == MAP_FAILED)
		return NULL;
	if (t->h.magic != MAGIC) {
		munmap(t, sizeof(*t));
		errno = EINVAL;
		return NULL;
	}
	b = xcalloc(1, sizeof(*b));
	b->t = t;
	memcpy(b->secret, t->h.secret, sizeof(b->secret));
	b->offset = t->h.offset;
	if (b->offset < 0 || b->offset > 2 * FUTURE_NS)
		b->offset = 0;
	return b;
}

struct buckets *
buckets_private(void)
{
	struct buckets *b;
	struct table *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (t == MAP_FAILED)
		fatal("no memory for rates: %s", strerror(errno));
	b = xcalloc(1, sizeof(*b));
	b->t = t;
	arc4random_buf(b->secret, sizeof(b->secret));
	return b;
}

void
buckets_unmap(struct buckets **bp)
{
	struct buckets *b = *bp;

	*bp = NULL;
	if (b == NULL)
		return;
	munmap(b->t, sizeof(*b->t));
	free(b);
}

int64_t
buckets_now(const struct buckets *b)
{
	int64_t now = boot_now() + b->offset, seen = atomic_load_explicit(&b->t->h.last_seen, memory_order_relaxed);

	if (now - seen > NS_PER_S || seen > now)
		atomic_store_explicit(&b->t->h.last_seen, now, memory_order_relaxed);
	return now;
}

#define ROTL(x, n) ((x) << (n) | (x) >> (64 - (n)))

static void
sip_round(uint64_t v[4])
{
	v[0] += v[1], v[1] = ROTL(v[1], 13) ^ v[0], v[0] = ROTL(v[0], 32);
	v[2] += v[3], v[3] = ROTL(v[3], 16) ^ v[2];
	v[0] += v[3], v[3] = ROTL(v[3], 21) ^ v[0];
	v[2] += v[1], v[1] = ROTL(v[1], 17) ^ v[2], v[2] = ROTL(v[2], 32);
}

/* SipHash-2-4; never 0. */
static uint64_t
key_of(const struct buckets *b, const char *name)
{
	uint64_t v[4] = { b->secret[0] ^ 0x736f6d6570736575ull, b->secret[1] ^ 0x646f72616e646f6dull,
		b->secret[0] ^ 0x6c7967656e657261ull, b->secret[1] ^ 0x7465646279746573ull };
	size_t len = strlen(name), i;
	uint64_t m;

	for (i = 0;; i += 8) {
		m = 0;
		memcpy(&m, name + i, len - i < 8 ? len - i : 8);
		if (len - i < 8)
			m |= (uint64_t)len << 56;
		v[3] ^= m;
		sip_round(v);
		sip_round(v);
		v[0] ^= m;
		if (len - i < 8)
			break;
	}
	v[2] ^= 0xff;
	for (i = 0; i < 4; i++)
		sip_round(v);
	m = v[0] ^ v[1] ^ v[2] ^ v[3];
	return m != 0 ? m : 1;
}

static struct slot *
set_of(const struct buckets *b, uint64_t key)
{
	return &b->t->slots[(key & (SLOTS / WAYS - 1)) * WAYS];
}

static unsigned
log2_of(uint64_t n)
{
	return n < 2 ? 0 : 63u - (unsigned)__builtin_clzll(n);
}

/* Those of a similar pace share: both are slower than they should be, neither is faster, none is stopped. */
static struct slot *
shared_slot(const struct buckets *b, uint64_t key, const struct rate *r)
{
	uint64_t pace = log2_of((uint64_t)(r->period * 1000000 / r->quantity));

	return &b->t->shared[pace * SHARED_EACH + (key >> 40) % SHARED_EACH];
}

/* NULL: there is none of this name. */
static struct slot *
slot_find(const struct buckets *b, uint64_t key)
{
	struct slot *set = set_of(b, key);
	unsigned i;

	for (i = 0; i < WAYS; i++)
		if (atomic_load_explicit(&set[i].key, memory_order_relaxed) == key)
			return &set[i];
	return NULL;
}

static bool
is_free(int64_t tat, int64_t now)
{
	if (tat < 0)
		return tat == INT64_MIN || now + tat > CLAIM_NS || now + tat < -CLAIM_NS;
	return now - tat > PAST_NS || tat - now > FUTURE_NS;
}

/* Processes that found different slots free may both have made one of the same name: what was taken from the later one
 * is added to the first, which is the one that is found. Each looks after it has made its own, so one of them sees. */
static void
merge_doubles(struct slot *set, uint64_t key, int64_t now)
{
	struct slot *first = NULL, *s;
	int64_t more, tat, had;

	for (s = set; s < set + WAYS; s++) {
		if (atomic_load(&s->key) != key)
			continue;
		if (first == NULL) {
			first = s;
			continue;
		}
		more = atomic_load(&s->tat);
		if (more <= now || !atomic_compare_exchange_strong(&s->tat, &more, 1))
			continue;
		tat = atomic_load(&first->tat);
		do
			had = tat < now ? now : tat;
		while (tat >= 0 && !atomic_compare_exchange_weak(&first->tat, &tat, had + (more - now)));
	}
}

/* A slot of this name with tat in it, or NULL: no slot is free, or (*again) somebody was quicker. */
static struct slot *
slot_make(const struct buckets *b, uint64_t key, int64_t tat, int64_t now, bool *again)
{
	struct slot *set = set_of(b, key), *s;
	int64_t old;

	*again = false;
	for (s = set; s < set + WAYS; s++) {
		old = atomic_load(&s->tat);
		if (atomic_load(&s->key) != 0 && !is_free(old, now))
			continue;
		if (!atomic_compare_exchange_strong(&s->tat, &old, now > 0 ? -now : -1)) {
			*again = true;
			return NULL;
		}
		atomic_store(&s->key, key);
		atomic_store(&s->tat, tat);
		merge_doubles(set, key, now);
		return s;
	}
	return NULL;
}

/* 0: taken from this slot; above 0: to wait; -1: look again. */
static int64_t
slot_take(struct slot *s, uint64_t key, const struct rate *r, int64_t now, int64_t n)
{
	int64_t tat = atomic_load(&s->tat), wait, most;

	if (key != 0 && atomic_load(&s->key) != key)
		return -1;
	if (tat < 0) {
		if (key == 0 || is_free(tat, now)) /* a shared one is never claimed; or its process died */
			(void)atomic_compare_exchange_strong(&s->tat, &tat, now);
		else
			(void)sched_yield();
		return -1;
	}
	wait = rate_wait(r, tat, now, n);
	if (wait == 0)
		return atomic_compare_exchange_strong(&s->tat, &tat, rate_take(r, tat, now, n)) ? 0 : -1;
	/* Further ahead than this rate allows: it was another before, or the number is not ours. What is corrected
	 * must be
	 * kept, or the wait would never end. */
	most = key != 0 ? rate_take(r, tat, now, 0) + SKEW_NS : now + SHARED_FUTURE_NS;
	if (tat > most && !atomic_compare_exchange_strong(&s->tat, &tat, rate_take(r, tat, now, 0)))
		return -1;
	return wait;
}

int64_t
buckets_take(struct buckets *b, const char *name, const struct rate *r, int64_t now, int64_t n)
{
	uint64_t key = key_of(b, name);
	struct slot *s;
	bool again;
	int64_t wait;

	if (r->quantity == 0)
		return 0;
	for (;;) {
		s = slot_find(b, key);
		if (s != NULL) {
			if ((wait = slot_take(s, key, r, now, n)) >= 0)
				return wait;
			continue;
		}
		if (slot_make(b, key, rate_take(r, 0, now, n), now, &again) != NULL)
			return 0;
		if (again)
			continue;
		s = shared_slot(b, key, r);
		while ((wait = slot_take(s, 0, r, now, n)) < 0)
			;
		return wait;
	}
}

void
buckets_give_back(struct buckets *b, const char *name, const struct rate *r, int64_t now, int64_t n)
{
	uint64_t key = key_of(b, name);
	struct slot *s = slot_find(b, key);
	int64_t tat, back;

	if (r->quantity == 0)
		return;
	if (s == NULL) {
		key = 0;
		s = shared_slot(b, key_of(b, name), r);
	}
	tat = atomic_load(&s->tat);
	do {
		if (tat <= now || (key != 0 && atomic_load(&s->key) != key))
			return; /* as good as given back */
		back = rate_give_back(r, tat, n);
		/* Not into the past: a TAT of before must not come back. */
		if (back < now)
			back = now;
	} while (!atomic_compare_exchange_weak(&s->tat, &tat, back));
}

static int64_t
look(const struct buckets *b, const char *name, const struct rate *r)
{
	uint64_t key = key_of(b, name);
	const struct slot *s = slot_find(b, key);
	int64_t tat;

	if (s != NULL) {
		tat = atomic_load_explicit(&s->tat, memory_order_relaxed);
		return tat < 0 ? 0 : tat;
	}
	/* If its set has room it will get a slot of its own. */
	for (s = set_of(b, key); s < set_of(b, key) + WAYS; s++)
		if (atomic_load_explicit(&s->key, memory_order_relaxed) == 0)
			return 0;
	tat = atomic_load_explicit(&shared_slot(b, key, r)->tat, memory_order_relaxed);
	return tat < 0 ? 0 : tat;
}

int64_t
buckets_wait(const struct buckets *b, const char *name, const struct rate *r, int64_t now, int64_t n)
{
	return r->quantity == 0 ? 0 : rate_wait(r, look(b, name, r), now, n);
}

double
buckets_fill(const struct buckets *b, const char *name, const struct rate *r, int64_t now)
{
	return r->quantity == 0 ? 0 : rate_fill(r, look(b, name, r), now);
}
