/* The change set: what happened since the last commit. A commit writes what is still true; what came and went
 * leaves no trace but a moved offset. */
#ifndef QUEUED_CHANGES_H
#define QUEUED_CHANGES_H

#include "queued/message.h"
#include "queued/segment.h"
#include "queued/squeue.h"

#define COMMIT_CHANGES 5000

struct changes {
	struct queued *q;
	struct qenv_list dirty;
	uint32_t n_dirty;
	TAILQ_HEAD(touched_list, squeue) touched;
	struct timer timer;   /* index_commit_interval after the first change */
	bool is_due;
	bool only_deletes;    /* the disk was full: make room first */
};

struct changes *changes_new(struct queued *);
void changes_free(struct changes **);
void changes_add(struct changes *, struct qenv *);
/* The envelope is finished: forgets it now if the index never heard of it, else with the commit. May free it. */
void changes_finish(struct changes *, struct qenv *);
/* A notice about it is durable. */
void changes_notice_written(struct changes *, struct qenv *);
/* Something but an envelope changed (segment rows, meta). */
void changes_poke(struct changes *);
/* Enough of that has gathered: the next turn commits. */
void changes_hurry(struct changes *);
/* Commits if it is time. */
void changes_turn(struct changes *);
/* Commits now. 0, or -1 if the disk is full (everything is kept); ends the process on I/O errors. */
int changes_commit(struct changes *);

#endif
