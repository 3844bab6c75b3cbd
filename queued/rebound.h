/* What has become of an envelope since it was accepted, where that is more than its queue: another tenant or campaign,
 * meta and headers that an event of policy changed. The record in the segment stays as it was; this goes with the
 * envelope's row of the index (flag ENV_REBOUND), and is NULL for nearly all. */
#ifndef QUEUED_REBOUND_H
#define QUEUED_REBOUND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/wire.h"
#include "mail/queue_link.h"

/* Of the encoding; the meta of a message alone can be half of it. */
#define REBOUND_MAX (512u << 10)
#define REBOUND_HEAD_MAX QL_HEAD_MAX

struct rebound {
	char *tenant, *campaign; /* in place of the record's; NULL: none */
	bool has_meta;           /* in place of the record's */
	struct meta *meta;
	uint32_t n_meta;
	char *head;              /* the header block, its blank line included; NULL: the record's */
	uint32_t head_len;
};

void rebound_free(struct rebound **);
void rebound_encode(const struct rebound *, struct wbuf *);
/* NULL: malformed. */
struct rebound *rebound_decode(struct slice) __attribute__((warn_unused_result));
/* NULL equals NULL only. */
bool rebound_equal(const struct rebound *, const struct rebound *);
void rebound_set_meta(struct rebound *, const struct meta *, uint32_t n);
void rebound_set_head(struct rebound *, const char *head, size_t len);

#endif
