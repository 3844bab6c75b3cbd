/* One message of the queue, in full, for a person. */
#ifndef POSTHORN_QUEUE_SHOW_H
#define POSTHORN_QUEUE_SHOW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Every field of the object, one a line; times as time and distance from now, nested objects indented. */
void queue_show_print(const json_t *object, bool is_first, int64_t now);

#endif
