/* queued's answer to `status`, for a person. */
#ifndef POSTHORN_STATUS_QUEUE_H
#define POSTHORN_STATUS_QUEUE_H

#include <jansson.h>

void status_queue_print(const json_t *queue);

#endif
