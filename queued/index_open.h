/* Opens the index of a spool; one that is damaged is set aside as index.bad-TIME, and a new one made. */
#ifndef QUEUED_INDEX_OPEN_H
#define QUEUED_INDEX_OPEN_H

#include <stdbool.h>

struct queued;

/* Sets q->store. *empty_r: it is new, so that segments are all there is to go by. 0; -1 and a malloced sentence. */
int index_open(struct queued *, bool *empty_r, char **err_r);

#endif
