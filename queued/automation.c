/* Rules at work: windows, effects, recovery. A window holds the times of the last N hits exactly, and a rule acts when
 * the oldest of them is within its period: "2/hr" is two hits in an hour, however long the effect lasts. Hits are
 * counted for each rule and what it covers (a path, a provider, ...; a tenant or campaign too, if it acts on those
 * only), and a reply to all recipients of a message counts once. Windows are in memory only: a restart forgets hits,
 * not effects. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/automation.h"
#include "queued/events.h"
#include "queued/overrides.h"
#include "queued/queued.h"
#include "queued/squeue.h"
#include "queued/verdict.h"

#define COUNTERS_MAX 20000
#define TIMES_MAX 2000000   /* of all counters: 16 MB */
#define TRIGGER_MAX 100000
#define RULES_MAX 32        /* that one reply hits */
#define STEP_MIN_MS 60000
#define STEP_MAX_MS (15 * 60000)
#define STEPS_MAX 6         /* of a setting that nothing else limits */
#define IDLE_MAX_MS (7 * 86400000ll) /* a limit stays this long while nothing is sent that could show more */

struct counter {
	UT_hash_handle hh;
	char *key;
	int64_t *times; /* circular once it has as many as the rule wants */
	uint64_t n, cap;
	struct msgid last;
	bool has_last;
	int64_t silent_until;
	TAILQ_ENTRY(counter) lru;
};

struct automation {
	struct queued *q;
	struct counter *counters;
	TAILQ_HEAD(counter_list, counter) lru; /* least recently hit first */
	uint64_t n_times;
};

struct automation *
automation_new(struct queued *q)
{
	struct automation *a = xcalloc(1, sizeof(*a));

	a->q = q;
	TAILQ_INIT(&a->lru);
	return a;
}

static void
counter_free(struct automation *a, struct counter *c)
{
	HASH_DEL(a->counters, c);
	TAILQ_REMOVE(&a->lru, c, lru);
	a->n_times -= c->cap;
	free(c->times);
	free(c->key);
	free(c);
}

void
automation_free(struct automation **ap)
{
	struct automation *a = *ap;
	struct counter *c, *next;

	if (a == NULL)
		return;
	HASH_ITER(hh, a->counters, c, next)
		counter_free(a, c);
	free(a);
	*ap = NULL;
}

/* --- windows --- */

static struct counter *
counter_get(struct automation *a, const char *key)
{
	struct counter *c;

	HASH_FIND(hh, a->counters, key, strlen(key), c);
	if (c == NULL) {
		while (HASH_COUNT(a->counters) >= COUNTERS_MAX)
			counter_free(a, TAILQ_FIRST(&a->lru));
		c = xcalloc(1, sizeof(*c));
		c->key = xstrdup(key);
		HASH_ADD_KEYPTR(hh, a->counters, c->key, strlen(c->key), c);
	} else {
		TAILQ_REMOVE(&a->lru, c, lru);
	}
	TAILQ_INSERT_TAIL(&a->lru, c, lru);
	return c;
}

static void
counter_grow(struct automation *a, struct counter *c, uint64_t most)
{
	uint64_t cap = c->cap == 0 ? 4 : 2 * c->cap;

	if (cap > most)
		cap = most;
	c->times = xreallocarray(c->times, cap, sizeof(*c->times));
	a->n_times += cap - c->cap;
	c->cap = cap;
	while (a->n_times > TIMES_MAX && TAILQ_FIRST(&a->lru) != c)
		counter_free(a, TAILQ_FIRST(&a->lru));
}

/* Adds a hit: true if that makes `count` of them within `period`, and nothing was said of it for `silence`; 0: it may
 * be said every time. */
static bool
counter_hit(struct automation *a, const char *key, uint64_t count, int64_t period, int64_t silence,
    const struct msgid *id)
{
	struct counter *c = counter_get(a, key);
	int64_t now = queue_now(a->q);

	if (id != NULL && c->has_last && msgid_cmp(id, &c->last) == 0)
		return false;
	c->has_last = id != NULL;
	if (id != NULL)
		c->last = *id;
	if (c->n == c->cap && c->cap < count)
		counter_grow(a, c, count);
	c->times[c->n++ % count] = now;
	if (c->n < count || now - c->times[c->n % count] > period || now < c->silent_until)
		return false;
	if (silence > 0)
		c->silent_until = now + silence;
	return true;
}

/* --- what a rule covers --- */

static bool
is_of_campaign(enum shaping_action_type t)
{
	return t == ACTION_SUSPEND_CAMPAIGN || t == ACTION_BOUNCE_CAMPAIGN;
}

static bool
is_of_tenant(enum shaping_action_type t)
{
	return t == ACTION_SUSPEND_TENANT || t == ACTION_BOUNCE_TENANT || is_of_campaign(t);
}

static bool
is_bounce(enum shaping_action_type t)
{
	return t == ACTION_BOUNCE || t == ACTION_BOUNCE_TENANT || t == ACTION_BOUNCE_CAMPAIGN;
}

/* The strings stay the hit's. False: what it would have to name is not known. */
static bool
path_scope(const struct shaping_rule *rule, const struct automation_hit *h, struct override_target *out)
{
	memset(out, 0, sizeof(*out));
	switch (rule->scope) {
	case SCOPE_DOMAIN:
		out->source = h->source;
		out->domain = h->domain;
		break;
	case SCOPE_PROVIDER_TOTAL:
		if (h->provider != NULL) {
			out->provider = h->provider;
			return true;
		}
		__attribute__((fallthrough));
	case SCOPE_PROVIDER:
		if (h->provider != NULL) {
			out->source = h->source;
			out->provider = h->provider;
			break;
		}
		__attribute__((fallthrough));
	default:
		out->source = h->source;
		out->site = h->site;
		return h->source != NULL && h->site != NULL;
	}
	return h->source != NULL && (h->domain != NULL || rule->scope != SCOPE_DOMAIN);
}

/* A tenant is stopped at a domain or a provider; what is bounced is so by domain. No campaign: the tenant's. */
static bool
mail_scope(const struct shaping_rule *rule, const struct automation_hit *h, enum shaping_action_type type,
    struct override_target *out)
{
	bool by_provider = !is_bounce(type) && h->provider != NULL &&
	    (rule->scope == SCOPE_PROVIDER || rule->scope == SCOPE_PROVIDER_TOTAL);

	memset(out, 0, sizeof(*out));
	if (by_provider)
		out->provider = h->provider;
	else
		out->domain = h->domain;
	if (is_of_tenant(type))
		out->tenant = h->tenant;
	if (is_of_campaign(type))
		out->campaign = h->campaign;
	return h->domain != NULL && (!is_of_tenant(type) || h->tenant != NULL);
}

static bool
is_empty(const char *s)
{
	return s != NULL && *s == '\0';
}

/* Names are a consumer's word: an empty one would be none to whoever is told of the override. */
static bool
action_scope(const struct shaping_rule *rule, const struct automation_hit *h, enum shaping_action_type type,
    struct override_target *out)
{
	bool yes = is_of_tenant(type) || is_bounce(type) ? mail_scope(rule, h, type, out) : path_scope(rule, h, out);

	return yes && !is_empty(out->source) && !is_empty(out->site) && !is_empty(out->provider) &&
	    !is_empty(out->domain) && !is_empty(out->tenant) && !is_empty(out->campaign);
}

static const char *
or_empty(const char *s)
{
	return s == NULL ? "" : s;
}

/* Everything that is counted together; NULL: not to be counted. */
static char *
counter_key(const struct shaping_rule *rule, const struct automation_hit *h)
{
	bool all_tenant = true, all_campaign = true;
	struct override_target t;
	size_t i;

	for (i = 0; i < rule->n_actions; i++) {
		all_tenant = all_tenant && is_of_tenant(rule->actions[i].type);
		all_campaign = all_campaign && is_of_campaign(rule->actions[i].type);
	}
	if (!path_scope(rule, h, &t) && !mail_scope(rule, h, ACTION_BOUNCE, &t))
		return NULL;
	return xasprintf("%s\n%" PRIu64 "\n%s\n%s\n%s\n%s\n%s\n%s", rule->id, rule->trigger_count, or_empty(t.source),
	    or_empty(t.site), or_empty(t.provider), or_empty(t.domain), all_tenant ? or_empty(h->tenant) : "",
	    all_campaign ? or_empty(h->campaign) : "");
}

/* --- effects --- */

static char *
copy_of(const char *s)
{
	return s == NULL ? NULL : xmemdup0(s, strnlen(s, OVERRIDE_TEXT_MAX));
}

static void
scope_from(const struct override_target *t, struct override_scope *out)
{
	out->source = copy_of(t->source);
	out->site = copy_of(t->site);
	out->provider = copy_of(t->provider);
	out->domain = copy_of(t->domain);
	out->tenant = copy_of(t->tenant);
	out->campaign = copy_of(t->campaign);
}

static char *
maker_of(const struct shaping_rule *rule)
{
	return xasprintf("%s %s", rule->is_verdict ? "verdict" : "rule", rule->id);
}

static char *
reason_of(const struct shaping_rule *rule)
{
	const char *what = rule->is_verdict ? "verdict" : "rule";
	char period[40];

	if (rule->trigger_count <= 1)
		return xasprintf("a reply was hit by %s %s", what, rule->id);
	conf_time_text(rule->trigger_period, period, sizeof(period));
	return xasprintf("%" PRIu64 " replies within %s were hit by %s %s", rule->trigger_count, period, what,
	    rule->id);
}

static int64_t
step_of(int64_t duration)
{
	int64_t least = duration < STEP_MIN_MS ? duration : STEP_MIN_MS, step = duration / 4;

	return step < least ? least : step > STEP_MAX_MS ? STEP_MAX_MS : step;
}

static bool
is_alert(const struct shaping_rule *rule)
{
	return rule->n_actions > 0 && rule->actions[0].type == ACTION_ALERT;
}

static void
alert(struct queued *q, const struct shaping_rule *rule, const struct automation_hit *h)
{
	char *maker = maker_of(rule), *reason = reason_of(rule);

	log_warn("alert: %s", reason);
	events_alert(q, h, maker, reason);
	free(maker);
	free(reason);
}

static void
act(struct queued *q, const struct shaping_rule *rule, const struct shaping_action *action,
    const struct automation_hit *h)
{
	struct override o = { .kind = OVERRIDE_SUSPEND };
	struct override_target t;
	char *err = NULL;

	if (!action_scope(rule, h, action->type, &t)) {
		log_debug("rule %s: nothing to act on: no tenant, source or domain is known", rule->id);
		return;
	}
	scope_from(&t, &o.scope);
	if (is_bounce(action->type))
		o.kind = OVERRIDE_BOUNCE;
	if (action->type == ACTION_SET_CONFIG) {
		o.kind = OVERRIDE_LIMIT;
		o.setting = xstrdup(policy_path_name((size_t)action->field));
		o.value = copy_of(action->value);
		o.is_gradual = rule->is_gradual;
		o.step_every = step_of(rule->duration);
	}
	o.is_dry_run = rule->is_dry_run || q->params->automation == AUTOMATION_DRY_RUN;
	o.made_by = maker_of(rule);
	o.reason = reason_of(rule);
	o.evidence = copy_of(h->reply);
	o.expires = queue_now(q) + rule->duration;
	o.hits = 1;
	o.sample = (struct override_sample){ copy_of(h->source), copy_of(h->site), copy_of(h->domain),
		copy_of(h->host) };
	if ((err = override_check(&o)) != NULL) {
		log_warn("rule %s: %s", rule->id, err);
		override_clear(&o);
	} else {
		(void)overrides_put(q, &o, true, &err);
	}
	free(err);
}

void
automation_hit(struct queued *q, const struct shaping_rule *rule, const struct automation_hit *h)
{
	uint64_t count = rule->trigger_count < 1 ? 1 : rule->trigger_count > TRIGGER_MAX ? TRIGGER_MAX
	    : rule->trigger_count;
	char *key;
	bool fires;
	size_t i;

	if (count > 1 || is_alert(rule)) {
		if ((key = counter_key(rule, h)) == NULL)
			return;
		fires = counter_hit(q->automation, key, count, rule->trigger_period,
		    is_alert(rule) ? rule->duration : 0, h->id);
		free(key);
		if (!fires)
			return;
	}
	if (is_alert(rule)) {
		alert(q, rule, h);
		return;
	}
	for (i = 0; i < rule->n_actions; i++)
		act(q, rule, &rule->actions[i], h);
}

/* --- what deliverd says --- */

struct seen {
	struct automation_hit hit;
	struct shaping_path path;
	const char *mx[1];
};

static void
look_at(const struct queued *q, const struct qenv *e, const struct ql_result *r, struct seen *s)
{
	const char *arrow = r->site == NULL ? NULL : strstr(r->site, "->");

	memset(s, 0, sizeof(*s));
	s->hit.source = r->source;
	s->hit.site = arrow == NULL ? r->site : arrow + 2;
	s->hit.domain = e->queue->domain;
	s->hit.tenant = e->queue->tenant;
	s->hit.campaign = e->queue->campaign;
	if (e->msg->env != NULL) {
		s->hit.tenant = qenv_tenant(e);
		s->hit.campaign = qenv_campaign(e);
	}
	s->hit.host = r->peer_name;
	s->path.domain = s->hit.domain;
	s->path.site = s->hit.site;
	s->path.source = s->hit.source;
	s->mx[0] = r->peer_name;
	s->path.mx = s->mx;
	s->path.n_mx = r->peer_name != NULL;
	s->hit.provider = r->provider != NULL || q->shaping == NULL ? r->provider
	    : shaping_provider(q->shaping, &s->path);
}

/* The hit, and its reply in one line. */
static void
look_at_failure(const struct queued *q, const struct qenv *e, const struct ql_result *r, const char *reply,
    char line[REPLY_TEXT_MAX + 1], struct seen *s)
{
	char *p;

	look_at(q, e, r, s);
	(void)snprintf(line, REPLY_TEXT_MAX + 1, "%s", reply);
	for (p = line; *p != '\0'; p++)
		if (*p == '\n' || *p == '\r')
			*p = ' ';
	s->hit.reply = line;
	s->hit.id = r->phase == PHASE_RCPT ? NULL : &e->msg->id;
}

void
automation_verdict(struct queued *q, const struct qenv *e, const struct ql_result *r, const struct verdict *v,
    const char *reply)
{
	char line[REPLY_TEXT_MAX + 1];
	struct seen s;
	size_t i;

	look_at_failure(q, e, r, reply == NULL ? "" : reply, line, &s);
	s.hit.result = r;
	s.hit.class = v->class;
	for (i = 0; i < v->todo->n_steps; i++) {
		const struct shaping_rule *rule = &v->todo->steps[i]->rule;

		if (is_alert(rule) || q->params->automation != AUTOMATION_OFF)
			automation_hit(q, rule, &s.hit);
	}
}

void
automation_failed(struct queued *q, const struct qenv *e, const struct ql_result *r, const char *reply)
{
	const struct shaping_rule *rules[RULES_MAX];
	char line[REPLY_TEXT_MAX + 1];
	struct seen s;
	size_t i, n;

	if (q->shaping == NULL || q->params->automation == AUTOMATION_OFF || reply == NULL)
		return;
	look_at_failure(q, e, r, reply, line, &s);
	n = shaping_match(q->shaping, &s.path, line, r->is_local, rules, RULES_MAX);
	for (i = 0; i < n; i++)
		automation_hit(q, rules[i], &s.hit);
}

/* --- recovery --- */

static char *
watch_key(const char *source, const char *site, const char *provider, const char *domain)
{
	return xasprintf("%s\n%s\n%s\n%s", or_empty(source), or_empty(site), or_empty(provider), or_empty(domain));
}

void
automation_watch(struct queued *q, struct effect *ef)
{
	const struct override_scope *s = &ef->o.scope;
	struct overrides *set = q->overrides;
	char *key;

	if (ef->o.kind != OVERRIDE_LIMIT || !ef->o.is_gradual)
		return;
	key = watch_key(s->source, s->site, s->provider, s->domain);
	HASH_FIND(hh, set->watches, key, strlen(key), ef->watch);
	if (ef->watch == NULL) {
		ef->watch = xcalloc(1, sizeof(*ef->watch));
		ef->watch->key = key;
		HASH_ADD_KEYPTR(hh, set->watches, ef->watch->key, strlen(key), ef->watch);
	} else {
		free(key);
	}
	ef->watch->refs++;
}

void
automation_unwatch(struct queued *q, struct effect *ef)
{
	struct overrides *set = q->overrides;

	if (ef->watch == NULL || --ef->watch->refs > 0)
		return;
	HASH_DEL(set->watches, ef->watch);
	free(ef->watch->key);
	free(ef->watch);
	ef->watch = NULL;
}

static void
saw_success(struct overrides *set, const char *source, const char *site, const char *provider, const char *domain)
{
	char *key = watch_key(source, site, provider, domain);
	struct watch *w;

	HASH_FIND(hh, set->watches, key, strlen(key), w);
	free(key);
	if (w != NULL)
		w->last_success = queue_now(set->q);
}

void
automation_delivered(struct queued *q, const struct qenv *e, const struct ql_result *r)
{
	struct overrides *set = q->overrides;
	struct seen s;

	if (set->watches == NULL)
		return;
	look_at(q, e, r, &s);
	saw_success(set, s.hit.source, s.hit.site, NULL, NULL);
	saw_success(set, s.hit.source, NULL, NULL, s.hit.domain);
	if (s.hit.provider == NULL)
		return;
	saw_success(set, s.hit.source, NULL, s.hit.provider, NULL);
	saw_success(set, NULL, NULL, s.hit.provider, NULL);
}

/* What the configuration says of the setting: false if nothing does. */
static bool
is_no_longer_stricter(struct queued *q, const struct effect *ef, bool *is_configured_r)
{
	const struct override_sample *sample = &ef->o.sample;
	const char *mx[1] = { sample->host };
	struct shaping_path path = { sample->domain, sample->site, sample->source, mx, sample->host != NULL };
	struct shaping_settings shaped;
	struct policy_path_config config;
	int field = policy_path_find(ef->o.setting);
	char *err = NULL;
	bool yes;

	memset(&shaped, 0, sizeof(shaped));
	policy_path_config_init(&shaped.config);
	policy_path_config_init(&config);
	if (q->shaping != NULL)
		shaping_settings(q->shaping, &path, &shaped);
	if (sample->domain != NULL && sample->source != NULL && sample->site != NULL &&
	    policy_get_path_config(q->policy, sample->domain, sample->source, sample->site, &config, &err) == -1)
		free(err);
	policy_path_merge(&shaped.config, &config, (size_t)field);
	*is_configured_r = policy_path_is_set(&shaped.config, (size_t)field);
	yes = *is_configured_r && !override_is_stricter(&ef->o, &shaped.config);
	policy_path_config_clear(&config);
	policy_path_config_clear(&shaped.config);
	return yes;
}

bool
automation_raise(struct queued *q, struct effect *ef)
{
	int64_t now = queue_now(q);
	bool is_configured;

	if (ef->watch == NULL || ef->o.step_every <= 0 || ef->o.is_dry_run)
		return false;
	if (ef->watch->last_success < now - ef->o.step_every) {
		if (now - ef->stepped > IDLE_MAX_MS)
			return false;
		ef->o.expires = now + ef->o.step_every;
		return true;
	}
	if (!override_raise(&ef->o) || is_no_longer_stricter(q, ef, &is_configured) ||
	    (!is_configured && ef->o.step > STEPS_MAX))
		return false;
	ef->o.expires = now + ef->o.step_every;
	ef->stepped = now;
	overrides_changed(q, ef);
	return true;
}
