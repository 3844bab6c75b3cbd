/* spf_run.h: one question at a time, in the order in which the record has them. */
#include <stdlib.h>

#include "base/xalloc.h"
#include "mail/spf_run.h"

struct spf_run {
	struct spf *spf;
	struct dns_client *dns;
	struct dns_request *request;
	struct timer timer; /* the end of the time; at 0, of a run that needs no question */
	spf_run_fn *fn;
	void *arg;
};

void
spf_run_cancel(struct spf_run **rp)
{
	struct spf_run *r = *rp;

	*rp = NULL;
	if (r == NULL)
		return;
	dns_client_cancel(r->dns, &r->request);
	timer_cancel(&r->timer);
	spf_free(&r->spf);
	free(r);
}

static void
finish(struct spf_run *r)
{
	r->fn(spf_verdict(r->spf), r->arg);
	spf_run_cancel(&r);
}

static void
on_time(void *arg)
{
	struct spf_run *r = arg;

	spf_give_up(r->spf, "the name servers took too long");
	finish(r);
}

static void ask(struct spf_run *);

static void
on_answer(const struct dns_reply *reply, void *arg)
{
	struct spf_run *r = arg;

	r->request = NULL;
	spf_answer(r->spf, reply);
	if (spf_question(r->spf) == NULL)
		finish(r);
	else
		ask(r);
}

static void
ask(struct spf_run *r)
{
	const struct spf_question *q = spf_question(r->spf);

	if (q != NULL)
		r->request = dns_client_ask(r->dns, q->name, q->type, SPF_TIME_MS / 2, on_answer, r);
	if (r->request != NULL)
		return;
	spf_give_up(r->spf, "the name service is not available now");
	timer_set(&r->timer, 0);
}

struct spf_run *
spf_run_start(struct loop *loop, struct dns_client *dns, const struct spf_query *query, spf_run_fn *fn, void *arg)
{
	struct spf_run *r = xcalloc(1, sizeof(*r));

	r->spf = spf_new(query);
	r->dns = dns;
	r->fn = fn;
	r->arg = arg;
	timer_init(&r->timer, loop, on_time, r);
	timer_set(&r->timer, SPF_TIME_MS);
	ask(r);
	return r;
}
