/* Users' rates (worker role; the table is the parent's, mail/buckets). A user who may send 2000/h may send them at once
 * and is then slowed to that pace. A message is taken at MAIL and given back if it does not come to be: the rate
 * is never
 * exceeded, whatever connections do at the same moment. A worker that dies keeps what its open transactions had taken;
 * their time simply passes. */
#include <stdlib.h>

#include "base/xalloc.h"
#include "mail/buckets.h"
#include "smtpd/rates.h"

struct rates {
	struct buckets *buckets;
	int64_t now; /* ns: of the last take */
};

int
rates_make(void)
{
	return buckets_make_anonymous();
}

struct rates *
rates_new(int fd)
{
	struct buckets *b = buckets_map(fd);
	struct rates *r;

	if (b == NULL)
		return NULL;
	r = xcalloc(1, sizeof *r);
	r->buckets = b;
	return r;
}

void
rates_free(struct rates **rp)
{
	struct rates *r = *rp;

	if (r == NULL)
		return;
	buckets_unmap(&r->buckets);
	free(r);
	*rp = NULL;
}

static struct rate
rate_of(const struct user *u)
{
	return (struct rate){ (int64_t)u->rate, (int64_t)u->rate_per, (int64_t)u->rate };
}

int64_t
rates_take(struct rates *r, const struct user *u, int64_t now_ms)
{
	struct rate rate = rate_of(u);

	if (u->rate == 0)
		return 0;
	r->now = now_ms * 1000000;
	return (buckets_take(r->buckets, u->name, &rate, r->now, 1) + 999999) / 1000000;
}

void
rates_give_back(struct rates *r, const struct user *u)
{
	struct rate rate = rate_of(u);

	if (u->rate > 0)
		buckets_give_back(r->buckets, u->name, &rate, r->now, 1);
}
