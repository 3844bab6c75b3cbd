/* An indexed binary heap of {due, queue id} and an open-addressing table from queue id to heap position, so that a
 * million sleeping queues cost 32 bytes each. Only numbers of our own making come in here. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#include "queued/wake.h"

#define EACH_MS 5    /* between two queues that are woken slowly, */
#define ALL_MS 30000 /* but all are within this time */

struct wake_item {
	int64_t due;
	uint32_t queue;
	uint8_t note;
};

struct wake_slot {
	uint32_t queue; /* 0: free (queue ids start at 1) */
	uint32_t pos;
};

struct wake {
	struct wake_item *heap;
	size_t n, cap;
	struct wake_slot *slots;
	size_t n_slots; /* a power of two, at most half full */
};

struct wake *
wake_new(void)
{
	struct wake *w = xcalloc(1, sizeof(*w));

	w->n_slots = 64;
	w->slots = xcalloc(w->n_slots, sizeof(*w->slots));
	return w;
}

void
wake_free(struct wake **wp)
{
	if (*wp == NULL)
		return;
	free((*wp)->heap);
	free((*wp)->slots);
	free(*wp);
	*wp = NULL;
}

static size_t
slot_home(const struct wake *w, uint32_t queue)
{
	return (size_t)(queue * 2654435761u) & (w->n_slots - 1);
}

static struct wake_slot *
slot_find(const struct wake *w, uint32_t queue)
{
	size_t i = slot_home(w, queue);

	while (w->slots[i].queue != 0 && w->slots[i].queue != queue)
		i = (i + 1) & (w->n_slots - 1);
	return &w->slots[i];
}

static void
slots_grow(struct wake *w)
{
	struct wake_slot *old = w->slots;
	size_t i, n = w->n_slots;

	w->n_slots *= 2;
	w->slots = xcalloc(w->n_slots, sizeof(*w->slots));
	for (i = 0; i < n; i++)
		if (old[i].queue != 0)
			*slot_find(w, old[i].queue) = old[i];
	free(old);
}

/* Linear probing without tombstones: what follows in the same run is moved back. */
static void
slot_remove(struct wake *w, struct wake_slot *s)
{
	size_t hole = (size_t)(s - w->slots), i = hole, home, mask = w->n_slots - 1;

	for (;;) {
		i = (i + 1) & mask;
		if (w->slots[i].queue == 0)
			break;
		home = slot_home(w, w->slots[i].queue);
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			w->slots[hole] = w->slots[i];
			hole = i;
		}
	}
	w->slots[hole].queue = 0;
}

static void
heap_place(struct wake *w, size_t pos, struct wake_item item)
{
	w->heap[pos] = item;
	slot_find(w, item.queue)->pos = (uint32_t)pos;
}

static void
heap_up(struct wake *w, size_t pos, struct wake_item item)
{
	while (pos > 0 && w->heap[(pos - 1) / 2].due > item.due) {
		heap_place(w, pos, w->heap[(pos - 1) / 2]);
		pos = (pos - 1) / 2;
	}
	heap_place(w, pos, item);
}

static void
heap_down(struct wake *w, size_t pos, struct wake_item item)
{
	size_t child;

	while ((child = 2 * pos + 1) < w->n) {
		if (child + 1 < w->n && w->heap[child + 1].due < w->heap[child].due)
			child++;
		if (w->heap[child].due >= item.due)
			break;
		heap_place(w, pos, w->heap[child]);
		pos = child;
	}
	heap_place(w, pos, item);
}

void
wake_set(struct wake *w, uint32_t queue, int64_t due, uint8_t note)
{
	struct wake_item item = { due, queue, note };
	struct wake_slot *s = slot_find(w, queue);
	size_t pos;

	if (s->queue == queue) {
		pos = s->pos;
		if (pos > 0 && w->heap[(pos - 1) / 2].due > due)
			heap_up(w, pos, item);
		else
			heap_down(w, pos, item);
		return;
	}
	if (w->n == w->cap) {
		w->cap = w->cap == 0 ? 64 : w->cap * 2;
		w->heap = xreallocarray(w->heap, w->cap, sizeof(*w->heap));
	}
	s->queue = queue;
	s->pos = (uint32_t)w->n;
	if (2 * (w->n + 1) > w->n_slots)
		slots_grow(w);
	heap_up(w, w->n++, item);
}

void
wake_sooner(struct wake *w, uint32_t queue, int64_t due)
{
	const struct wake_slot *s = slot_find(w, queue);

	if (s->queue != queue)
		wake_set(w, queue, due, 0);
	else if (w->heap[s->pos].due > due && w->heap[s->pos].note != WAKE_PARKED)
		wake_set(w, queue, due, w->heap[s->pos].note);
}

void
wake_remove(struct wake *w, uint32_t queue)
{
	struct wake_slot *s = slot_find(w, queue);
	struct wake_item last;
	size_t pos;

	if (s->queue != queue)
		return;
	pos = s->pos;
	slot_remove(w, s);
	last = w->heap[--w->n];
	if (pos == w->n)
		return;
	if (pos > 0 && w->heap[(pos - 1) / 2].due > last.due)
		heap_up(w, pos, last);
	else
		heap_down(w, pos, last);
}

bool
wake_first(const struct wake *w, uint32_t *queue_r, int64_t *due_r)
{
	if (w->n == 0)
		return false;
	*queue_r = w->heap[0].queue;
	*due_r = w->heap[0].due;
	return true;
}

int64_t
wake_get(const struct wake *w, uint32_t queue)
{
	const struct wake_slot *s = slot_find(w, queue);

	return s->queue == queue ? w->heap[s->pos].due : INT64_MAX;
}

uint8_t
wake_note(const struct wake *w, uint32_t queue)
{
	const struct wake_slot *s = slot_find(w, queue);

	return s->queue == queue ? w->heap[s->pos].note : 0;
}

static void
noted_spread(struct wake *w, uint8_t note, int64_t due, uint32_t span)
{
	size_t i;

	for (i = 0; i < w->n; i++)
		if (w->heap[i].note == note)
			w->heap[i].due = due + (span > 0 ? arc4random_uniform(span) : 0);
	/* Heap order is restored as a whole: reloads are rare. */
	for (i = w->n / 2; i-- > 0;)
		heap_down(w, i, w->heap[i]);
}

void
wake_noted(struct wake *w, uint8_t note, int64_t due)
{
	noted_spread(w, note, due, 0);
}

void
wake_noted_slowly(struct wake *w, uint8_t note, int64_t due)
{
	uint64_t span = wake_count_noted(w, note) * EACH_MS;

	if (span > 0)
		noted_spread(w, note, due, span > ALL_MS ? ALL_MS : (uint32_t)span);
}

size_t
wake_count(const struct wake *w)
{
	return w->n;
}

size_t
wake_count_noted(const struct wake *w, uint8_t note)
{
	size_t i, n = 0;

	for (i = 0; i < w->n; i++)
		if (w->heap[i].note == note)
			n++;
	return n;
}
