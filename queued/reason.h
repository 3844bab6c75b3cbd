/* Why mail of a queue is still here, in one sentence. */
#ifndef QUEUED_REASON_H
#define QUEUED_REASON_H

struct queued;
struct squeue;

/* What keeps mail of the queue that is due; malloced. NULL: nothing but its turn. */
char *squeue_reason(struct queued *, const struct squeue *) __attribute__((warn_unused_result));

#endif
