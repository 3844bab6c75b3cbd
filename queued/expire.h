/* Expiry: its own timer over the `exp` rows, whatever else an envelope waits for. */
#ifndef QUEUED_EXPIRE_H
#define QUEUED_EXPIRE_H

#include <stdint.h>

struct expire;
struct queued;

struct expire *expire_new(struct queued *);
void expire_free(struct expire **);
/* A row with that time was written. */
void expire_sooner(struct expire *, int64_t when);

#endif
