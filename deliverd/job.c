/* Jobs and items (job.h), in the net process. Input is queued's, decoded and validated by mail/queue_link. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "deliverd/guard.h"
#include "deliverd/job.h"
#include "deliverd/path.h"
#include "deliverd/resolve.h"

static int
item_cmp(const struct item *a, const struct item *b)
{
	return envid_cmp(&a->env, &b->env);
}

RB_GENERATE(item_tree, item, by_env, item_cmp)

struct job *
job_new(struct net *net, struct ql_job *q, struct seg *seg)
{
	struct job *job = xcalloc(1, sizeof(*job) + q->n_rcpts * sizeof(job->items[0]));
	struct item *it;
	unsigned i;

	job->q = *q;
	memset(q, 0, sizeof(*q));
	job->seg = seg;
	job->arrived = loop_now(net->loop);
	for (i = 0; i < job->q.n_rcpts; i++) {
		it = &job->items[job->n_open];
		it->job = job;
		it->rcpt = &job->q.rcpts[i];
		it->env.msg = job->q.rec.id;
		it->env.rcpt = it->rcpt->index;
		if (RB_INSERT(item_tree, &net->items, it) != NULL) {
			log_warn("queued offered recipient %u of a message twice", (unsigned)it->env.rcpt);
			continue;
		}
		job->n_open++;
		net->n_items++;
	}
	if (job->n_open == 0) {
		seg_unref(&job->seg);
		ql_job_clear(&job->q);
		free(job);
		return NULL;
	}
	job->q.n_rcpts = (uint16_t)i;
	return job;
}

struct item *
item_find(struct net *net, const struct envid *env)
{
	struct item key = { .env = *env };

	return RB_FIND(item_tree, &net->items, &key);
}

void
item_unlink(struct item *it)
{
	if (it->state == ITEM_RESOLVING)
		dest_remove(it->dest, it);
	else if (it->state == ITEM_GUARDED)
		guard_leave(it);
	else if (it->state == ITEM_READY)
		path_remove(it->path, it);
	it->state = ITEM_NEW;
}

void
item_release(struct net *net, struct item *it)
{
	struct job *job = it->job;

	item_unlink(it);
	RB_REMOVE(item_tree, &net->items, it);
	net->n_items--;
	if (--job->n_open > 0)
		return;
	seg_unref(&job->seg);
	ql_job_clear(&job->q);
	free(job);
}
