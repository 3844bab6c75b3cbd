/* What overrides do to paths (path.h), in the net process. Limits lie over a path's configuration; a suspended path is
 * not chosen, and what waits on it goes to other sources of the pool or back to queued. Only paths that a change is
 * about are configured anew: the connections of others stay. */
#include <stdlib.h>

#include "deliverd/conn.h"
#include "deliverd/overrides.h"
#include "deliverd/path.h"
#include "deliverd/qlink.h"
#include "deliverd/site.h"

#define WINDOW_AFTER 2 /* connections after a suspension: a site that was left alone is not stormed */

void
path_target(const struct path *p, const struct job *job, struct override_target *t)
{
	*t = (struct override_target){ .source = p->source->name, .site = p->site->name,
		.provider = p->config.provider_name, .pool = p->net->pool_name };
	if (job == NULL)
		return;
	t->domain = job->q.domain;
	t->tenant = job->q.tenant;
	t->campaign = job->q.campaign;
}

static void
find_holds(struct path *p)
{
	struct override_target t;

	free(p->holds);
	path_target(p, NULL, &t);
	p->n_holds = imposed_holds(qlink_imposed(p->net->queue), &t, &p->holds);
	p->has_new_holds = p->n_holds > 0;
}

void
path_lay_imposed(struct path *p)
{
	struct override_target t;
	size_t i;

	path_target(p, NULL, &t);
	t.domain = p->domain; /* as for the layers below */
	imposed_apply(qlink_imposed(p->net->queue), &t, &p->config, p->imposed);
	p->n_imposed = 0;
	for (i = 0; i < policy_path_count(); i++)
		if (p->imposed[i] != 0) {
			p->layers[i] = PATH_LAYER_OVERRIDE;
			p->n_imposed++;
		}
	find_holds(p);
}

const struct override *
path_held_by(const struct path *p, const struct job *job)
{
	struct override_target t;

	if (p->n_holds == 0)
		return NULL;
	path_target(p, job, &t);
	return imposed_longest(qlink_imposed(p->net->queue), p->holds, p->n_holds, &t);
}

void
path_leave_held(struct path *p)
{
	unsigned n = p->n_ready;
	struct item *it, *next;

	if (!p->has_new_holds)
		return;
	p->has_new_holds = false;
	if (path_held_by(p, NULL) != NULL) {
		if (p->window > WINDOW_AFTER)
			p->window = WINDOW_AFTER;
		path_reassign(p);
		return;
	}
	for (it = TAILQ_FIRST(&p->ready); it != NULL && n > 0; it = next, n--) {
		next = TAILQ_NEXT(it, link);
		if (path_held_by(p, it->job) == NULL)
			continue;
		item_unlink(it);
		path_unselect(p, it);
		site_add(p->site, it);
	}
}

static void
follow(struct path *p, const struct imposed *set, bool is_new_epoch)
{
	struct override_target t;
	unsigned touched;

	/* queued offers again what overrides hold back when one of them ends: each gets a new time. */
	if (p->n_imposed > 0)
		p->return_at = 0;
	path_target(p, NULL, &t);
	touched = p->generation == p->net->generation ? imposed_touches(set, &t) : 0;
	if (touched & IMPOSED_LIMITS)
		p->generation = 0; /* asks for all layers when it is its turn */
	else if (touched & IMPOSED_HOLDS)
		find_holds(p);
	if (is_new_epoch && p->generation == p->net->generation)
		path_share_limits(p); /* they are shared with paths that have got other values */
	if (is_new_epoch || touched != 0)
		path_dirty(p);
}

void
paths_follow_imposed(struct net *net)
{
	struct imposed *set = qlink_imposed(net->queue);
	bool has_limits;
	struct path *p;

	if (!imposed_has_changed(set))
		return;
	has_limits = imposed_limits_changed(set);
	net->limits->epoch += has_limits;
	RB_FOREACH(p, path_tree, &net->paths)
		follow(p, set, has_limits);
	imposed_seen(set);
}
