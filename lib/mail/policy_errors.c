/* The counters of policy_errors.h. They belong to the process, not to a policy: a reload does not forget them. What a
 * process counted and did not report when it dies is lost; the log has it. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/policy_errors.h"
#include "mail/policy_private.h"

#define REPORT_MS 200 /* an endless run of errors is five frames a second */
#define NAME_LEN_MAX 64

struct policy_errors_report {
	struct timer timer;
	policy_errors_send_fn *send;
	void *arg;
	struct policy_errors said;
};

static struct policy_errors own;
static struct policy_errors_report *reporter;

_Static_assert(POLICY_EVENTS <= POLICY_ERRORS_MAX, "each event has a counter");

const char *
policy_errors_event(size_t i)
{
	return i < POLICY_EVENTS ? policy_event_names[i] : NULL;
}

const struct policy_errors *
policy_errors_own(void)
{
	return &own;
}

void
policy_error_count(enum policy_event_id event)
{
	own.n[event]++;
	if (reporter != NULL && !timer_is_set(&reporter->timer))
		timer_set(&reporter->timer, REPORT_MS);
}

void
policy_errors_encode(const struct policy_errors *e, struct wbuf *w)
{
	uint32_t n = 0;
	size_t i;

	for (i = 0; i < POLICY_EVENTS; i++)
		n += e->n[i] > 0;
	wbuf_u32(w, n);
	for (i = 0; i < POLICY_EVENTS; i++) {
		if (e->n[i] == 0)
			continue;
		wbuf_str(w, policy_event_names[i]);
		wbuf_u64(w, e->n[i]);
	}
}

int
policy_errors_decode(struct rbuf *r, struct policy_errors *e)
{
	uint32_t i, n = rbuf_u32(r);
	size_t event;
	char *name;
	uint64_t count;

	memset(e, 0, sizeof(*e));
	if (r->bad || n > POLICY_ERRORS_MAX)
		return -1;
	for (i = 0; i < n && !r->bad; i++) {
		name = rbuf_strdup(r, NAME_LEN_MAX);
		count = rbuf_u64(r);
		for (event = 0; name != NULL && event < POLICY_EVENTS; event++)
			if (strcmp(policy_event_names[event], name) == 0)
				e->n[event] = count & INT64_MAX;
		free(name);
	}
	return rbuf_done(r) ? 0 : -1;
}

static void
on_timer(void *arg)
{
	struct policy_errors_report *r = arg;
	struct policy_errors more;
	struct wbuf w;
	size_t i;

	for (i = 0; i < POLICY_ERRORS_MAX; i++)
		more.n[i] = own.n[i] - r->said.n[i];
	wbuf_init(&w);
	policy_errors_encode(&more, &w);
	if (r->send(&w, r->arg))
		r->said = own;
	else
		timer_set(&r->timer, REPORT_MS);
	wbuf_clear(&w);
}

struct policy_errors_report *
policy_errors_report_new(struct loop *loop, policy_errors_send_fn *send, void *arg)
{
	struct policy_errors_report *r = xcalloc(1, sizeof(*r));

	r->send = send;
	r->arg = arg;
	r->said = own;
	timer_init(&r->timer, loop, on_timer, r);
	reporter = r;
	return r;
}

void
policy_errors_report_free(struct policy_errors_report **rp)
{
	struct policy_errors_report *r = *rp;

	*rp = NULL;
	if (r == NULL)
		return;
	timer_cancel(&r->timer);
	if (reporter == r)
		reporter = NULL;
	free(r);
}
