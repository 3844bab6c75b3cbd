/* Handing a job to a consumer. */
#ifndef QUEUED_OFFER_H
#define QUEUED_OFFER_H

struct queued;
struct squeue;

/* Offers the first ready envelope of the queue, together with those of the same message that follow it. -1: not now
 * (descriptors have run out). */
int offer_job(struct queued *, struct squeue *);

#endif
