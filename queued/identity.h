/* $queue_directory/identity: a copy of the node id and the token keys, which no segment could give back if the index is
 * lost. Secret like the index itself. */
#ifndef QUEUED_IDENTITY_H
#define QUEUED_IDENTITY_H

#include <stdbool.h>

struct queued;

/* Whether there is one. */
bool identity_exists(const struct queued *);
/* Writes what the index has, durably; a failure is logged: the index is what counts. */
void identity_save(struct queued *);
/* Puts the copy's rows into the index. Whether there was a good one. */
bool identity_restore(struct queued *);

#endif
