/* Where a setting of a path was said. */
#ifndef DELIVERD_ORIGIN_H
#define DELIVERD_ORIGIN_H

#include "deliverd/path.h"

/* "shaping.lua:12, provider google", malloced. */
char *origin_text(const struct path *, size_t field);

#endif
