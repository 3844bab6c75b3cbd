/* The part of an explanation that is about one path (explain.h). */
#ifndef DELIVERD_EXPLAIN_PATH_H
#define DELIVERD_EXPLAIN_PATH_H

#include "base/json.h"
#include "deliverd/site.h"
#include "deliverd/source.h"

struct explain_who {
	const char *domain, *tenant, *campaign; /* tenant, campaign: NULL if none */
};

/* Members of the row of kind "destination". */
void explain_provider(const struct site *, const char *domain, struct json *);
/* The row of kind "source". */
void explain_source_row(struct site *, struct source *, const struct explain_who *, struct json *);

#endif
