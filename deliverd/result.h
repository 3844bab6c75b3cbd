/* The end of an item: the Delivery event if it was delivered, and the one result that queued gets. */
#ifndef DELIVERD_RESULT_H
#define DELIVERD_RESULT_H

#include "deliverd/job.h"

/* What happened, to one item or to many alike. Strings are borrowed. */
struct outcome {
	enum ql_outcome kind;
	enum phase phase;
	bool is_local;
	uint16_t code;
	struct enhanced_code enhanced;
	const char *text;
	const char *command; /* what was answered; NULL */
	uint32_t retry_after;/* seconds, QL_RETURNED */
	bool is_forbidden;   /* an MTA-STS policy leaves no host */
};

/* A failure that we found ourselves; status "5.4.4". */
struct outcome outcome_local(enum phase, uint16_t code, const char *status, const char *text);
/* No attempt was made. */
struct outcome outcome_returned(const char *text, uint32_t retry_after);
/* Reports it and forgets the item. path and conn: where it was to go and what carried it, NULL if it did not come
 * that far. */
void item_finish(struct net *, struct item *, const struct outcome *, const struct path *, const struct conn *);

#endif
