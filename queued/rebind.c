/* posthorn queue rebind: the request, and what it does to one envelope. As KumoMTA's: what comes to another queue is
 * due at once, what stays keeps its time, attempts are kept. The envelope's recipient never changes. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/codec.h"
#include "mail/names.h"

#include "queued/changes.h"
#include "queued/events.h"
#include "queued/overrides.h"
#include "queued/queued.h"
#include "queued/rebind.h"
#include "queued/result.h"
#include "queued/squeue.h"

struct rebind *
rebind_new(void)
{
	struct rebind *r = xcalloc(1, sizeof(*r));

	r->refs = 1;
	return r;
}

void
rebind_unref(struct rebind **rp)
{
	struct rebind *r = *rp;

	*rp = NULL;
	if (r == NULL || --r->refs > 0)
		return;
	codec_free_meta(r->set, r->n_set);
	free(r->reason);
	free(r);
}

char *
rebind_set(struct rebind *r, const char *key, const char *value)
{
	uint32_t i;

	for (i = 0; i < r->n_set && strcmp(r->set[i].key, key) != 0; i++)
		;
	if (i == META_POLICY_MAX)
		return xasprintf("at most %d values can be set", META_POLICY_MAX);
	if (i == r->n_set) {
		r->set = xreallocarray(r->set, r->n_set + 1, sizeof(*r->set));
		r->set[r->n_set++] = (struct meta){ xstrdup(key), NULL };
	}
	free(r->set[i].value);
	r->set[i].value = xstrdup(value);
	return NULL;
}

static bool
is_plain_text(const char *s, size_t max)
{
	size_t i;

	for (i = 0; s[i] != '\0'; i++)
		if (i == max || ((unsigned char)s[i] < ' ' && s[i] != '\t') || s[i] == 0x7f)
			return false;
	return true;
}

static bool
is_campaign(const char *s)
{
	char clean[CAMPAIGN_MAX + 1];

	if (strlen(s) > CAMPAIGN_MAX)
		return false;
	memcpy(clean, s, strlen(s) + 1);
	campaign_clean(clean);
	return strcmp(clean, s) == 0;
}

/* Domains are compared in lower case everywhere. */
static void
lower_domain(char *s)
{
	char *at = strrchr(s, '@');

	s = at != NULL ? at + 1 : s;
	for (; *s != '[' && *s != '\0'; s++)
		if (*s >= 'A' && *s <= 'Z')
			*s = (char)(*s + 32);
}

static char *
check_value(struct meta *m)
{
	if (m->key[0] == '\0' || !is_plain_text(m->key, CODEC_MAX_META_KEY) ||
	    !is_plain_text(m->value, CODEC_MAX_META_VALUE))
		return xasprintf("the value of \"%.60s\" is too long or holds control characters", m->key);
	if (strcmp(m->key, "queue") == 0 || strcmp(m->key, "routing_domain") == 0)
		lower_domain(m->value);
	if (strcmp(m->key, "queue") == 0 && !queue_name_valid(m->value))
		return xasprintf("\"%.300s\" is not a queue: campaign:tenant@domain, of which only the domain is "
		    "needed", m->value);
	if (strcmp(m->key, "routing_domain") == 0 && !destination_valid(m->value))
		return xasprintf("\"%.300s\" is not a destination: a domain or an address in brackets, and perhaps "
		    "a port", m->value);
	if (strcmp(m->key, "tenant") == 0 && *m->value != '\0' && !tenant_valid(m->value))
		return xasprintf("\"%.300s\" is not a tenant: letters, digits and \"._+-\", at most %d", m->value,
		    TENANT_MAX);
	if (strcmp(m->key, "campaign") == 0 && !is_campaign(m->value))
		return xasprintf("\"%.300s\" is not a campaign: letters, digits and \"._+-\", at most %d", m->value,
		    CAMPAIGN_MAX);
	return NULL;
}

char *
rebind_check(const struct queued *q, struct rebind *r)
{
	char *err = NULL;
	uint32_t i;

	if (r->is_asking && !policy_answers(q->policy, POLICY_ON_REBIND))
		return xstrdup("policy has no event rebind_message; nothing was done");
	if (!r->is_asking && r->n_set == 0 && !r->is_flushing)
		return xstrdup("say where the mail is to go: a domain, a tenant, a campaign or a queue");
	for (i = 0; i < r->n_set && err == NULL; i++) {
		if (!r->is_asking)
			err = check_value(&r->set[i]);
		else if (!is_plain_text(r->set[i].key, CODEC_MAX_META_KEY) ||
		    !is_plain_text(r->set[i].value, CODEC_MAX_META_VALUE))
			err = xstrdup("the data is too long or holds control characters");
	}
	return err;
}

bool
rebind_concerns(struct queued *q, struct qenv *e, const struct rebind *r)
{
	struct rebind_plan plan;
	bool is_other;

	if (r->is_asking)
		return true;
	rebind_plan_plain(q, e, r, &plan);
	is_other = plan.to != NULL || plan.is_content;
	rebind_plan_clear(q, &plan);
	return is_other;
}

void
rebind_fail(struct queued *q, struct qenv *e, const struct rebind *r, const char *why)
{
	static const struct enhanced_code code = { 4, 3, 5 };
	char *text = xasprintf("%s, the message stays in its queue: %s",
	    r->is_asking ? "rebind_message failed" : "it cannot be rebound", why);

	if (message_envelope(q->mem, e->msg, &(const char *){ NULL }) != NULL)
		events_ended(q, e, EV_TRANSIENT_FAILURE, 451, &code, text);
	free(text);
}

enum rebind_done
rebind_apply(struct queued *q, struct qenv *e, const struct rebind *r)
{
	char *from = xstrdup(e->queue->name);
	bool is_moved, is_changed;
	struct rebind_plan plan;

	if (r->is_asking)
		rebind_ask_operator(q, e, r, &plan);
	else
		rebind_plan_plain(q, e, r, &plan);
	if (plan.verdict.outcome != POLICY_PASSED) {
		free(from);
		if (plan.verdict.outcome == POLICY_REJECTED && plan.verdict.line[0] == '5')
			return result_reject(q, e, plan.verdict.line) ? REBIND_DONE : REBIND_FAILED;
		rebind_fail(q, e, r, plan.verdict.line);
		return REBIND_FAILED;
	}
	is_moved = plan.to != NULL;
	is_changed = rebind_plan_take(q, e, &plan);
	if (is_changed && !r->is_quiet && e->msg->env != NULL)
		events_rebound(q, e, from, r->reason);
	free(from);
	if (!is_changed && (!r->is_flushing || e->state != ENVELOPE_DEFERRED || e->due <= queue_now(q)))
		return REBIND_NOTHING;
	if (e->flags & ENV_HELD) {
		result_hold(q, e);
		return REBIND_DONE;
	}
	if (is_moved && !result_is_prolonged(q, e)) {
		result_expire(q, e);
		return REBIND_DONE;
	}
	if (is_moved && overrides_intake(q, e))
		return REBIND_DONE;
	result_defer(q, e, is_moved || r->is_flushing ? queue_now(q) : e->due);
	return REBIND_DONE;
}
