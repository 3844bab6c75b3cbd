/* Read-only descriptors of spool segments, as queued passes them. The descriptor carries a shared lock that keeps
 * queued from recycling the file, so it is closed when queued says that no job needs it and the last job here is
 * done with it. */
#ifndef MAIL_SEG_H
#define MAIL_SEG_H

#include <bsd/sys/tree.h>
#include <stdint.h>

struct seg {
	RB_ENTRY(seg) by_id;
	uint64_t id;
	int fd;
	unsigned refs;
};
RB_HEAD(seg_tree, seg);
RB_PROTOTYPE(seg_tree, seg, by_id, seg_cmp)

/* Takes over fd; replaces (and unrefs) an older one of the same number. */
void seg_tree_add(struct seg_tree *, uint64_t id, int fd);
/* Drops the tree's reference; jobs keep theirs. */
void seg_tree_remove(struct seg_tree *, uint64_t id);
void seg_tree_clear(struct seg_tree *);
/* A new reference, or NULL. */
struct seg *seg_tree_ref(struct seg_tree *, uint64_t id);
struct seg *seg_new(uint64_t id, int fd);
void seg_unref(struct seg **);

#endif
