/* Which message of ours, and which recipient, a bounce is about, and whether that is proven: by the return path that
 * it came to (verp.h), or by the trace header in what it returns (trace.h). A Message-ID proves nothing. */
#ifndef BOUNCERD_IDENTITY_H
#define BOUNCERD_IDENTITY_H

#include "mail/dsn_parse.h"
#include "mail/trace.h"

struct identity {
	const char *proof;      /* "verp", "trace"; NULL: none. Static */
	const char *why;        /* why there is none, or why it counts for nothing (static); NULL: it is good */
	struct envid env;       /* with a proof */
	char *recipient;        /* that the proof, or our own log, names; NULL: not known */
	char *tenant, *campaign, *sender;
	struct meta *meta;
	uint32_t n_meta;
};

/* address: that the bounce came to. */
void identity_find(struct identity *, const char *address, const struct dsn_report *, const struct ql_keys *,
    int64_t now, int64_t lifetime);
/* Proven, not too old: what follows from the bounce may be done. */
bool identity_is_good(const struct identity *);
void identity_clear(struct identity *);

#endif
