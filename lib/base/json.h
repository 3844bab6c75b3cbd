/* Writing JSON: the event log is a hot path. Strings are escaped so that no control character, no invalid UTF-8
 * and no U+2028/2029 reaches a reader raw. Reading is jansson's. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/wire.h"

struct json {
	struct wbuf out;
	bool comma; /* a comma is due before the next value */
};

void json_init(struct json *);
void json_clear(struct json *);
void json_reset(struct json *);
void json_obj(struct json *, const char *key);  /* key NULL: inside an array or at the top */
void json_obj_end(struct json *);
void json_arr(struct json *, const char *key);
void json_arr_end(struct json *);
void json_str(struct json *, const char *key, const char *value); /* NULL is written as null */
void json_slice(struct json *, const char *key, struct slice value, size_t max);
void json_int(struct json *, const char *key, int64_t);
void json_bool(struct json *, const char *key, bool);
/* null; jansson owns the name json_null, also for its own calls at run time. */
void json_none(struct json *, const char *key);
/* RFC 3339 with milliseconds and Z, from ms since the epoch. */
void json_time(struct json *, const char *key, int64_t wall_ms);

#endif
