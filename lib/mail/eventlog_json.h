/* How one event becomes one line: pure, so that the format is tested without files. */
#ifndef MAIL_EVENTLOG_JSON_H
#define MAIL_EVENTLOG_JSON_H

#include <stdint.h>

#include "base/json.h"
#include "mail/eventlog.h"

/* Where the line comes from. */
struct event_origin {
	const char *writer;
	const char *nodeid; /* NULL until queued has told it */
	uint64_t seq;
	int64_t now; /* wall ms */
};

/* Appends the object and a line feed. */
void eventlog_format(struct json *, const struct event_record *, const struct event_origin *);

#endif
