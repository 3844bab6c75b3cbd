/* Segment descriptors (seg.h), in a consumer's process. */
#include <stdlib.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "mail/seg.h"

static int
seg_cmp(const struct seg *a, const struct seg *b)
{
	return a->id < b->id ? -1 : a->id > b->id;
}

RB_GENERATE(seg_tree, seg, by_id, seg_cmp)

struct seg *
seg_new(uint64_t id, int fd)
{
	struct seg *s = xcalloc(1, sizeof(*s));

	s->id = id;
	s->fd = fd;
	s->refs = 1;
	return s;
}

void
seg_unref(struct seg **sp)
{
	struct seg *s = *sp;

	*sp = NULL;
	if (s == NULL || --s->refs > 0)
		return;
	close(s->fd);
	free(s);
}

static struct seg *
seg_find(struct seg_tree *t, uint64_t id)
{
	struct seg key = { .id = id };

	return RB_FIND(seg_tree, t, &key);
}

void
seg_tree_add(struct seg_tree *t, uint64_t id, int fd)
{
	struct seg *s = seg_new(id, fd);

	seg_tree_remove(t, id);
	RB_INSERT(seg_tree, t, s);
}

void
seg_tree_remove(struct seg_tree *t, uint64_t id)
{
	struct seg *s = seg_find(t, id);

	if (s == NULL)
		return;
	RB_REMOVE(seg_tree, t, s);
	seg_unref(&s);
}

void
seg_tree_clear(struct seg_tree *t)
{
	struct seg *s, *next;

	for (s = RB_MIN(seg_tree, t); s != NULL; s = next) {
		next = RB_NEXT(seg_tree, t, s);
		RB_REMOVE(seg_tree, t, s);
		seg_unref(&s);
	}
}

struct seg *
seg_tree_ref(struct seg_tree *t, uint64_t id)
{
	struct seg *s = seg_find(t, id);

	if (s != NULL)
		s->refs++;
	return s;
}
