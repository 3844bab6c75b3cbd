/* Mail that comes in for a listener domain with log_arf or log_oob goes through stages before it is routed as other
 * mail is: fblproc, then bouncerd. Each stage is a queue of its own ("@fblproc", "@bouncerd"), served by the daemon of
 * that name; which one an envelope is in is where its rows are, so it survives restarts. */
#ifndef QUEUED_STAGE_H
#define QUEUED_STAGE_H

#include <stdbool.h>

#include "queued/message.h"

struct queued;
struct squeue;

/* Whether a queue (or a pool, or a consumer) has the name of a stage. */
bool stage_is_name(const char *name);
/* The same name, static; NULL: it has none. */
const char *stage_of(const char *name);
/* The queue of its first stage; NULL: it has none. */
struct squeue *stage_first(struct queued *, const char *address);
/* Answers of the consumer of that name, of an envelope in any stage: it was a report and is dealt with; it was none. */
void stage_handled(struct queued *, struct qenv *, const char *name);
void stage_passed(struct queued *, struct qenv *, const char *name);
/* Whether its sender is told that it does not go through: where only reports come, he may be anybody. */
bool stage_may_tell(const struct queued *, const struct qenv *);

#endif
