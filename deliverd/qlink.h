/* The link to queued: jobs in, results out. While queued is away, jobs and results are kept; when it is back it is
 * told what is held, so that nothing is sent twice because of its restart. */
#ifndef DELIVERD_QLINK_H
#define DELIVERD_QLINK_H

#include "base/json.h"
#include "deliverd/net.h"

struct imposed;
struct ql_result;
struct qlink;

struct qlink *qlink_new(struct net *, const char *socket_path);
void qlink_free(struct qlink **);
void qlink_result(struct qlink *, const struct ql_result *);
/* To a question (QL_ASK): one object, which is emptied; and the end. Lost if queued has gone. */
void qlink_answer(struct qlink *, uint32_t id, struct json *);
void qlink_answer_end(struct qlink *, uint32_t id, uint8_t status, const char *sentence);
/* Whether any source of the pool can be used; if not, why. */
void qlink_pool(struct qlink *, bool is_usable, const char *reason);
/* Before sleep: grants credit for what was finished. */
void qlink_step(struct qlink *);
/* Says which configuration is in force here now. */
void qlink_generation(struct qlink *);
/* No credit any more. */
void qlink_stop(struct qlink *);
/* Nothing that was reported is still on this side. */
bool qlink_is_flushed(const struct qlink *);

/* The overrides that queued has told us of (deliverd/overrides.h). */
struct imposed *qlink_imposed(const struct qlink *);

#endif
