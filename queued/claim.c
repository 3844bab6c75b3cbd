/* Claims: after a restart of queued, a consumer may hold envelopes that are in no index yet, because their records
 * lie beyond the indexed offset of a segment that is still to be scanned. Their ids are kept here, with the result
 * if it comes first; when the scan finds the record, the envelope is already where it belongs. Without this, a
 * restart would send a second copy of each. */
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/consumer.h"
#include "queued/link.h"
#include "queued/queued.h"
#include "queued/recover.h"
#include "queued/result.h"
#include "queued/squeue.h"
#include "queued/stage.h"

#define CLAIMS_MAX 200000u

struct claim {
	UT_hash_handle hh;
	uint8_t key[ENV_KEY_LEN];
	struct consumer *consumer; /* NULL: it has gone, the result is here */
	const char *stage;         /* of the consumer (stage_of()) */
	bool has_result;
	struct ql_result result;
};

static void
claim_free(struct recover *r, struct claim *cl)
{
	HASH_DEL(r->claims, cl);
	r->n_claims--;
	if (cl->has_result)
		ql_result_clear(&cl->result);
	free(cl);
}

void
claim_add(struct queued *q, const struct envid *id, struct consumer *c)
{
	struct recover *r = q->recover;
	struct claim *cl;
	uint8_t key[ENV_KEY_LEN];

	env_key_pack(id, key);
	HASH_FIND(hh, r->claims, key, ENV_KEY_LEN, cl);
	if (cl != NULL || r->n_claims >= CLAIMS_MAX)
		return;
	cl = xcalloc(1, sizeof(*cl));
	memcpy(cl->key, key, ENV_KEY_LEN);
	cl->consumer = c;
	cl->stage = stage_of(c->client->name);
	HASH_ADD(hh, r->claims, key, ENV_KEY_LEN, cl);
	r->n_claims++;
}

bool
claim_result(struct queued *q, struct ql_result *res, struct consumer *c)
{
	struct claim *cl;
	uint8_t key[ENV_KEY_LEN];

	env_key_pack(&res->env, key);
	HASH_FIND(hh, q->recover->claims, key, ENV_KEY_LEN, cl);
	if (cl == NULL || cl->consumer != c || cl->has_result)
		return false;
	cl->result = *res;
	cl->has_result = true;
	memset(res, 0, sizeof(*res));
	return true;
}

bool
claim_settle(struct queued *q, struct qenv *e)
{
	struct claim *cl;

	HASH_FIND(hh, q->recover->claims, e->key, ENV_KEY_LEN, cl);
	if (cl == NULL)
		return false;
	if (cl->stage != NULL && !e->queue->is_stage) {
		if (cl->consumer != NULL)
			consumer_cancel(cl->consumer, e);
		q->count.unknown_results += cl->has_result;
		claim_free(q->recover, cl);
		return false;
	}
	/* In flight, so that the result finds the state that it changes. */
	if (cl->consumer != NULL)
		result_put_in_flight(q, e, cl->consumer);
	if (cl->has_result)
		result_apply(q, e, &cl->result, cl->stage);
	claim_free(q->recover, cl);
	return true;
}

/* Its unfinished ones are anybody's again; what it said about the others stays true. */
void
claims_drop_consumer(struct queued *q, struct consumer *c)
{
	struct claim *cl, *next;

	HASH_ITER(hh, q->recover->claims, cl, next) {
		if (cl->consumer != c)
			continue;
		if (cl->has_result)
			cl->consumer = NULL;
		else
			claim_free(q->recover, cl);
	}
}

void
claims_settle(struct queued *q)
{
	struct claim *cl, *next;

	HASH_ITER(hh, q->recover->claims, cl, next)
		if (cl->has_result) {
			q->count.unknown_results++;
			claim_free(q->recover, cl);
		}
}

void
claims_clear(struct recover *r)
{
	struct claim *cl, *next;

	HASH_ITER(hh, r->claims, cl, next)
		claim_free(r, cl);
}
