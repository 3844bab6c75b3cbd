/* posthorn shaping check --live: which provider the known domains fall to by the MX hosts they have now. */
#ifndef POSTHORN_SHAPING_LIVE_H
#define POSTHORN_SHAPING_LIVE_H

#include "mail/params.h"
#include "mail/shaping.h"

struct live_domain {
	struct shaping_known known;
	struct conf_strs mx; /* hosts now */
	const char *found;   /* NULL: no provider */
	char *problem;       /* why there are no hosts; else NULL */
};

struct live {
	struct live_domain *v;
	size_t n;
};

/* Asks main.cf's dns_servers, all at once and for a minute at most, in a process that may do nothing else. What is not
 * as the data says goes to findings as well. 0, or -1 after a sentence: nothing could be asked. */
int live_check(const struct params *, const struct shaping *, struct live *, struct conf_errors *findings)
    __attribute__((warn_unused_result));
void live_clear(struct live *);

#endif
