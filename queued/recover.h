/* Finding in segments what no notice told us of, and what is damaged there: the only recovery there is. */
#ifndef QUEUED_RECOVER_H
#define QUEUED_RECOVER_H

#include <bsd/sys/queue.h>

#include "queued/segment.h"

struct claim;
struct qenv;

struct recover {
	struct queued *q;
	struct segment_list queue; /* to be scanned */
	uint64_t found;
	struct claim *claims;      /* envelopes that consumers hold and we do not know yet */
	uint32_t n_claims;
};

struct recover *recover_new(struct queued *);
void recover_free(struct recover **);
/* Scan from what has been seen to `to` (SEG_SCAN_TO_END: to the last good record), in steps; then seal it if it is
 * closed. */
void recover_scan(struct queued *, struct segment *, uint64_t to);
/* One bounded step; called on every turn. */
void recover_turn(struct queued *);
bool recover_is_busy(const struct queued *);
/* Segments whose reading failed are tried again. */
void recover_retry(struct queued *);

/* intake.c: a record becomes envelopes. env is taken over; NULL: it is read from the segment. */
void intake_record(struct queued *, struct segment *, const struct record *, struct envelope *env);

/* damage.c: reports and copies aside what is unreadable. */
void damage_report(struct queued *, struct segment *, uint64_t from, uint64_t to, const char *why);

/* claim.c: a consumer named an envelope that we have not come across since we started. It is noted; when the scan
 * finds the record, the envelope goes to where it is already being worked on instead of being sent twice. */
struct consumer;
struct ql_result;
void claim_add(struct queued *, const struct envid *, struct consumer *);
/* A result for a claimed envelope; the result is taken over (cleared). False if it is not claimed by this consumer. */
bool claim_result(struct queued *, struct ql_result *, struct consumer *);
/* The envelope turned up. True if it was claimed: it is in flight, or finished, now. */
bool claim_settle(struct queued *, struct qenv *);
void claims_drop_consumer(struct queued *, struct consumer *);
/* Every segment has been read: results about what was in none of them were about finished envelopes. */
void claims_settle(struct queued *);
void claims_clear(struct recover *);

#endif
