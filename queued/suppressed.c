/* Recipients that are not to be mailed (suppressed.h): asked for each attempt, so that mail that was queued before its
 * recipient bounced or complained is stopped too. The list is mail/suppress.h's; one that cannot be read holds mail,
 * for nobody can tell whom it would reach. What goes to our own domains, or to a daemon of ours, is not looked at. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/suppress.h"

#include "queued/events.h"
#include "queued/queued.h"
#include "queued/result.h"
#include "queued/sched.h"
#include "queued/squeue.h"
#include "queued/suppressed.h"

#define UNREADABLE_MS 60000

static bool
is_our_domain(const struct queued *q, const char *domain)
{
	const struct policy_listener_domain *d = policy_listener_domain(q->policy, domain);
	size_t i;

	for (i = 0; i < q->params->relay_domains.n; i++)
		if (strcasecmp(q->params->relay_domains.v[i], domain) == 0)
			return true;
	return d != NULL && (d->relay_to || d->log_oob || d->log_arf);
}

static bool
is_exempt(const struct queued *q, const struct squeue *sq, const char *address)
{
	return q->suppress == NULL || (sq->pool != NULL && sq->pool->name[0] == '@') ||
	    is_our_domain(q, address_domain(address));
}

static void
wait_for_list(struct queued *q, struct qenv *e, const char *why)
{
	e->due = queue_now(q) + UNREADABLE_MS;
	if ((e->flags & ENV_DELAY_LOGGED) == 0) {
		e->flags |= ENV_DELAY_LOGGED;
		events_delayed(q, e, why);
	}
	result_defer(q, e, e->due);
}

bool
suppressed_take(struct queued *q, struct qenv *e)
{
	const char *address = qenv_address(e), *why = NULL;
	struct suppress_row row;
	char *text;

	if (is_exempt(q, e->queue, address))
		return false;
	switch (suppress_look_up(q->suppress, address, qenv_tenant(e), address_domain(e->msg->env->sender),
	    loop_wall(q->loop), &row, &why)) {
	case SUPPRESS_NOT:
		return false;
	case SUPPRESS_UNREADABLE:
		wait_for_list(q, e, why);
		return true;
	case SUPPRESS_IS:
		break;
	}
	text = suppress_row_text(&row);
	suppress_row_clear(&row);
	result_suppressed(q, e, text);
	free(text);
	return true;
}

char *
suppressed_why(struct queued *q, const struct squeue *sq, const char *address, const char *sender_domain)
{
	struct suppress_row row;
	const char *why = NULL;
	char *text;

	if (is_exempt(q, sq, strchr(address, '@') == NULL ? sq->domain : address))
		return NULL;
	switch (suppress_look_up(q->suppress, address, sq->tenant, sender_domain, loop_wall(q->loop), &row, &why)) {
	case SUPPRESS_NOT:
		return NULL;
	case SUPPRESS_UNREADABLE:
		return xstrdup(why);
	case SUPPRESS_IS:
		break;
	}
	text = suppress_row_text(&row);
	suppress_row_clear(&row);
	return text;
}
