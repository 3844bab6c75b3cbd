/* Whether the index can be trusted, asked before LMDB is given it: its pages (index_pages.h), the checksums of its
 * rows, and that its databases agree with each other. */
#ifndef QUEUED_INDEX_CHECK_H
#define QUEUED_INDEX_CHECK_H

/* NEW: there is none yet. DAMAGED: *why_r is a static sentence. FOREIGN: not ours to judge; opening it says why. */
enum index_state { INDEX_SOUND, INDEX_NEW, INDEX_DAMAGED, INDEX_FOREIGN };

enum index_state index_check(const char *dir, const char **why_r);

#endif
