/* The queue's clock (clock.h). How far the wall clock is ahead of it is the sum of the jumps seen; small differences
 * are the wall clock being slewed, which the queue follows. */
#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#include "queued/changes.h"
#include "queued/queued.h"
#include "queued/store.h"

#define JUMP_MS 5000
#define SAVE_MS 60000
#define ROW_LEN 16 /* how far ahead, the queue's time */

static int64_t
get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return (int64_t)be64toh(v);
}

static void
put64(uint8_t *p, int64_t v)
{
	uint64_t big = htobe64((uint64_t)v);

	memcpy(p, &big, sizeof(big));
}

void
queue_clock_load(struct queued *q)
{
	struct queue_clock *c = &q->clock;
	int64_t wall = loop_wall(q->loop);
	MDB_val v;

	c->base = wall - loop_now(q->loop);
	store_read_begin(q->store);
	if (store_get(q->store, DB_META, "clock", 5, &v) && v.mv_size == ROW_LEN) {
		c->ahead = c->saved_ahead = get64(v.mv_data);
		c->saved_at = get64((const uint8_t *)v.mv_data + 8);
	}
	store_read_end(q->store);
	if (wall - c->ahead >= c->saved_at)
		return;
	log_warn("the clock was set back while queued was not running; the queue goes on from its own time");
	c->ahead = wall - c->saved_at;
}

int64_t
queue_now(struct queued *q)
{
	struct queue_clock *c = &q->clock;
	int64_t wall = loop_wall(q->loop), base = wall - loop_now(q->loop), jump = base - c->base;

	c->base = base;
	if (llabs(jump) > JUMP_MS) {
		log_warn("the clock was set %s by %" PRId64 " s; the times of the queue go along",
		    jump > 0 ? "forward" : "back", (int64_t)llabs(jump) / 1000);
		c->ahead += jump;
		changes_poke(q->changes);
	}
	return wall - c->ahead;
}

int64_t
queue_wall(const struct queued *q, int64_t when)
{
	return when == INT64_MAX || when == 0 ? when : when + q->clock.ahead;
}

int64_t
queue_time(const struct queued *q, int64_t wall)
{
	return wall - q->clock.ahead;
}

bool
queue_clock_is_dirty(const struct queued *q)
{
	return q->clock.ahead != q->clock.saved_ahead;
}

int
queue_clock_store(struct queued *q)
{
	struct queue_clock *c = &q->clock;
	int64_t now = queue_now(q);
	uint8_t row[ROW_LEN];

	c->putting_at = 0;
	if (!queue_clock_is_dirty(q) && now - c->saved_at < SAVE_MS)
		return 0;
	c->putting_at = now;
	c->putting_ahead = c->ahead;
	put64(row, c->ahead);
	put64(row + 8, now);
	return store_put(q->store, DB_META, "clock", 5, row, sizeof(row));
}

void
queue_clock_stored(struct queued *q)
{
	struct queue_clock *c = &q->clock;

	if (c->putting_at == 0)
		return;
	c->saved_at = c->putting_at;
	c->saved_ahead = c->putting_ahead;
}
