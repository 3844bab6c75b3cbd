/* Users' rates (worker role; the table is the parent's). GCRA: one number a user, the theoretical arrival time of the
 * next message, so that a compare-and-swap is all that workers need between them: no lock that a dying worker could
 * hold. A user who may send 2000/h may send them at once and is then slowed to that pace. A message is taken at MAIL
 * and given back if it does not come to be: the rate is never exceeded, whatever connections do at the same moment. A
 * worker that dies keeps what its open transactions had taken; their time simply passes.
 *
 * Names come from the passwd file. A worker that was taken over can spoil others' numbers, so none is believed beyond
 * what the user's own rate can have led to. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "smtpd/rates.h"

#define SLOTS 65536 /* a power of two; a page is used only once a user falls into it */
#define PROBES 256

struct slot {
	_Atomic uint64_t key; /* 0: free. Never freed: users are as many as the passwd file has lines */
	_Atomic int64_t tat;  /* ns, CLOCK_MONOTONIC */
};

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "shared memory needs atomics without locks");

struct rates {
	struct slot *slots;
	bool has_warned;
};

int
rates_make(void)
{
	int fd = memfd_create("posthorn-rates", MFD_CLOEXEC | MFD_ALLOW_SEALING), saved;

	if (fd == -1)
		return -1;
	if (ftruncate(fd, SLOTS * sizeof(struct slot)) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

struct rates *
rates_new(int fd)
{
	struct rates *r;
	struct stat st;
	void *p;

	if (fstat(fd, &st) == -1)
		return NULL;
	if (st.st_size != SLOTS * sizeof(struct slot)) {
		errno = EINVAL;
		return NULL;
	}
	p = mmap(NULL, SLOTS * sizeof(struct slot), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return NULL;
	r = xcalloc(1, sizeof *r);
	r->slots = p;
	return r;
}

void
rates_free(struct rates **rp)
{
	struct rates *r = *rp;

	if (r == NULL)
		return;
	munmap(r->slots, SLOTS * sizeof(struct slot));
	free(r);
	*rp = NULL;
}

/* FNV-1a with a final mix, the same in every process. Names are the administrator's: nobody picks collisions. */
static uint64_t
key_of(const char *name)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (; *name != '\0'; name++)
		h = (h ^ (uint8_t)*name) * 0x100000001b3u;
	h ^= h >> 32;
	h *= 0x9e3779b97f4a7c15u;
	h ^= h >> 29;
	return h != 0 ? h : 1;
}

static struct slot *
slot_of(struct rates *r, const struct user *u)
{
	uint64_t key = key_of(u->name), seen;
	struct slot *s;
	unsigned i;

	for (i = 0; i < PROBES; i++) {
		s = &r->slots[(key + i) & (SLOTS - 1)];
		seen = atomic_load_explicit(&s->key, memory_order_relaxed);
		if (seen == key || (seen == 0 && (atomic_compare_exchange_strong(&s->key, &seen, key) || seen == key)))
			return s;
	}
	/* Two users on one number: both are slower than they should be, neither is faster. */
	if (!r->has_warned)
		log_warn("more users have a rate than can be counted one by one: user=%s shares another's", u->name);
	r->has_warned = true;
	return &r->slots[key & (SLOTS - 1)];
}

/* Nanoseconds from one message to the next, rounded so that a period never holds one more. */
static int64_t
interval_of(const struct user *u)
{
	return (int64_t)((u->rate_per * 1000000 + u->rate - 1) / u->rate);
}

int64_t
rates_take(struct rates *r, const struct user *u, int64_t now_ms)
{
	int64_t interval, ahead, old, tat, now = now_ms * 1000000;
	struct slot *s;

	if (u->rate == 0)
		return 0;
	interval = interval_of(u);
	ahead = interval * (int64_t)(u->rate - 1);
	s = slot_of(r, u);
	old = atomic_load(&s->tat);
	do {
		tat = old < now ? now : old;
		/* Further ahead than the rate allows: a reload changed it, or the number is not ours. What is corrected
		 * must be kept, or the wait would never end. */
		while (tat - now > ahead + interval) {
			if (atomic_compare_exchange_weak(&s->tat, &old, now + ahead + interval))
				old = now + ahead + interval;
			tat = old < now ? now : old;
		}
		if (tat - now > ahead)
			return (tat - now - ahead + 999999) / 1000000;
	} while (!atomic_compare_exchange_weak(&s->tat, &old, tat + interval));
	return 0;
}

void
rates_give_back(struct rates *r, const struct user *u)
{
	if (u->rate > 0)
		atomic_fetch_sub(&slot_of(r, u)->tat, interval_of(u));
}
