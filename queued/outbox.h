/* The outbox: requests to suppress an address, on their way to bouncerd. A request is committed with what it follows
 * from (the bounce, the result of a report), said to bouncerd when it is connected, and forgotten when it says that it
 * has it on disk. While bouncerd is away requests wait in the index, not in memory. */
#ifndef QUEUED_OUTBOX_H
#define QUEUED_OUTBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ipc.h"
#include "base/json.h"
#include "mail/suppress_request.h"

struct client;
struct outbox;
struct queued;

/* Reads the index. */
struct outbox *outbox_new(struct queued *);
void outbox_free(struct outbox **);
/* A copy of it is kept. from: who is told by QL_SUPPRESSED, with that number, when it is durable; NULL: nobody. */
void outbox_add(struct queued *, const struct suppress_request *, struct client *from, uint64_t number);
/* A consumer is ready; goes. */
void outbox_connected(struct queued *, struct client *);
void outbox_disconnected(struct queued *, struct client *);
/* Frames of consumers. */
void outbox_on_suppress(struct ipc *, struct ipc_msg *, void *arg);
void outbox_on_suppressed(struct ipc *, struct ipc_msg *, void *arg);

/* Part of a commit: to be written at all; writing; it is durable now. */
bool outbox_is_dirty(const struct outbox *);
int outbox_store(struct queued *, bool only_deletes);
void outbox_stored(struct queued *, bool only_deletes);

/* Of `posthorn status'. */
void outbox_json(struct queued *, struct json *);

#endif
