/* Settings of queues (policy_queue.h): the table of get_queue_config's answer, and what follows from a schedule. The
 * administrator's data, in queued and in whoever asks what policy would say. */
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/policy_private.h"
#include "mail/policy_queue.h"

#define DAY_MS 86400000ll
#define FACTOR_MAX 100

const char *const policy_notices_words[NOTICES + 1] = { "all", "hard", "none", NULL };
const char *const policy_priority_words[PRIORITIES + 1] = { "high", "normal", "low", NULL };

static void intervals_read(struct policy_reader *, lua_State *, const struct policy_field *, void *);
static void factor_read(struct policy_reader *, lua_State *, const struct policy_field *, void *);
static void classes_read(struct policy_reader *, lua_State *, const struct policy_field *, void *);
static void address_read(struct policy_reader *, lua_State *, const struct policy_field *, void *);

#define SCHEDULE_FIELDS(base) \
	{ .name = "retry_interval", .type = FIELD_TIME, .min = 100, .max = 7 * DAY_MS, \
	    .offset = (base) + offsetof(struct policy_schedule, retry_interval) }, \
	{ .name = "max_retry_interval", .type = FIELD_TIME, .min = 100, .max = 30 * DAY_MS, \
	    .offset = (base) + offsetof(struct policy_schedule, max_retry_interval) }, \
	{ .name = "retry_factor", .type = FIELD_CALL, .read = factor_read, .offset = (base) }, \
	{ .name = "retry_intervals", .type = FIELD_CALL, .read = intervals_read, .offset = (base) }

#define QUEUE(f) offsetof(struct policy_queue_config, f)

static const struct policy_field class_fields[] = {
	SCHEDULE_FIELDS(0),
	{ .name = NULL }
};

const struct policy_field policy_queue_fields[] = {
	SCHEDULE_FIELDS(QUEUE(schedule)),
	{ .name = "retry_by_class", .type = FIELD_CALL, .read = classes_read },
	{ .name = "max_age", .type = FIELD_TIME, .offset = QUEUE(max_age), .min = 1000, .max = 100 * DAY_MS },
	{ .name = "egress_pool", .type = FIELD_NAME, .offset = QUEUE(egress_pool) },
	{ .name = "max_message_rate", .type = FIELD_RATE, .offset = QUEUE(max_message_rate) },
	{ .name = "tenant_max_message_rate", .type = FIELD_RATE, .offset = QUEUE(tenant_max_message_rate) },
	{ .name = "campaign_max_message_rate", .type = FIELD_RATE, .offset = QUEUE(campaign_max_message_rate) },
	{ .name = "priority", .type = FIELD_WORD, .offset = QUEUE(priority), .words = policy_priority_words },
	{ .name = "notices", .type = FIELD_WORD, .offset = QUEUE(notices), .words = policy_notices_words },
	{ .name = "notices_to", .type = FIELD_CALL, .read = address_read, .offset = QUEUE(notices_to) },
	{ .name = "tenant_share", .type = FIELD_INT, .offset = QUEUE(tenant_share), .min = 1, .max = 1000 },
	LATER("protocol"), LATER("provider_name"), LATER("reap_interval"), LATER("refresh_interval"),
	LATER("refresh_strategy"), LATER("strategy"), LATER("shrink_policy"), LATER("timerwheel_tick_interval"),
	{ .name = NULL }
};

#define COMPLAIN(r, ...) conf_error_add((r)->errs, (r)->policy->file, (r)->line, __VA_ARGS__)

static struct policy_schedule *
schedule_at(const struct policy_field *f, void *target)
{
	return (struct policy_schedule *)(void *)((char *)target + f->offset);
}

static void
factor_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	double x = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;

	if (!(x >= 1 && x <= FACTOR_MAX)) {
		COMPLAIN(r, "%s: %s must be a number from 1 to %d", r->what, f->name, FACTOR_MAX);
		return;
	}
	schedule_at(f, target)->factor = (int64_t)(x * 1000 + 0.5);
}

/* A number of seconds or a string like '5m' at the top of the stack. -1 after a complaint. */
static int64_t
interval_value(struct policy_reader *r, lua_State *L, const char *key)
{
	int64_t ms = -1;
	double s;

	if (lua_type(L, -1) == LUA_TNUMBER) {
		s = lua_tonumber(L, -1);
		ms = s >= 0 && s < 1e9 ? (int64_t)(s * 1000 + 0.5) : -1;
	} else if (lua_type(L, -1) == LUA_TSTRING && conf_time_parse(lua_tostring(L, -1), &ms) != 0) {
		ms = -1;
	}
	if (ms >= 100 && ms <= 30 * DAY_MS)
		return ms;
	COMPLAIN(r, "%s: each of %s must be a time from 0.1 s to 30 days (examples: '5m', '1h'; a number means "
	    "seconds)", r->what, key);
	return -1;
}

static void
intervals_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	lua_Integer i, n = policy_list_length(r, L, f->name, POLICY_INTERVALS_MAX);
	struct policy_schedule *s = schedule_at(f, target);

	if (n == 0)
		COMPLAIN(r, "%s: %s is empty", r->what, f->name);
	if (n <= 0)
		return;
	free(s->intervals);
	s->intervals = xcalloc((size_t)n, sizeof(*s->intervals));
	s->n_intervals = 0;
	for (i = 1; i <= n; i++) {
		lua_rawgeti(L, -1, i);
		s->intervals[s->n_intervals++] = interval_value(r, L, f->name);
		lua_pop(L, 1);
	}
}

static void
address_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	char **out = (char **)(void *)((char *)target + f->offset), address[ADDRESS_MAX];
	const char *said = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";

	if (address_parse(said, true, address) == -1 || *address_domain(address) == '\0') {
		COMPLAIN(r, "%s: %s must be an address like 'bounces@example.com'", r->what, f->name);
		return;
	}
	free(*out);
	*out = xstrdup(address);
}

static void
schedule_init(struct policy_schedule *s)
{
	*s = (struct policy_schedule){ .retry_interval = -1, .max_retry_interval = -1, .factor = -1 };
}

static void
class_add(struct policy_reader *r, lua_State *L, const char *class, struct policy_queue_config *c)
{
	struct policy_class_schedule *cs;

	c->by_class = xreallocarray(c->by_class, c->n_by_class + 1, sizeof(*c->by_class));
	cs = &c->by_class[c->n_by_class++];
	cs->class = xstrdup(class);
	schedule_init(&cs->schedule);
	policy_table_read(r, L, class_fields, &cs->schedule);
}

/* { QuotaIssues = { retry_interval = '1d' } }. Names of classes are not checked: bounce rules may make new ones. */
static void
classes_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	struct policy_queue_config *c = target;
	struct policy_reader class = *r;

	if (lua_type(L, -1) != LUA_TTABLE) {
		COMPLAIN(r, "%s: %s must be a table of classes and schedules, not a %s", r->what, f->name,
		    luaL_typename(L, -1));
		return;
	}
	class.what = "a schedule of retry_by_class";
	luaL_checkstack(L, 4, NULL);
	for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
		if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TTABLE ||
		    c->n_by_class == POLICY_CLASSES_MAX) {
			COMPLAIN(r, "%s: %s wants up to %d members like QuotaIssues = { retry_interval = '1d' }",
			    r->what, f->name, POLICY_CLASSES_MAX);
			continue;
		}
		class_add(&class, L, lua_tostring(L, -2), c);
	}
}

void
policy_queue_config_init(struct policy_queue_config *c)
{
	*c = (struct policy_queue_config){ .max_age = -1, .priority = -1, .tenant_share = -1,
		.notices = -1 };
	schedule_init(&c->schedule);
}

void
policy_queue_config_clear(struct policy_queue_config *c)
{
	size_t i;

	for (i = 0; i < c->n_by_class; i++) {
		free(c->by_class[i].class);
		free(c->by_class[i].schedule.intervals);
	}
	free(c->by_class);
	free(c->schedule.intervals);
	free(c->egress_pool);
	free(c->notices_to);
	policy_queue_config_init(c);
}

void
policy_queue_schedule(const struct policy_queue_config *c, const char *class, struct policy_schedule *out)
{
	const struct policy_schedule *s = NULL;
	size_t i;

	*out = c->schedule;
	for (i = 0; class != NULL && i < c->n_by_class && s == NULL; i++)
		if (strcmp(c->by_class[i].class, class) == 0)
			s = &c->by_class[i].schedule;
	if (s == NULL)
		return;
	if (s->factor >= 0)
		out->factor = s->factor;
	if (s->max_retry_interval >= 0)
		out->max_retry_interval = s->max_retry_interval;
	if (s->retry_interval >= 0) {
		out->retry_interval = s->retry_interval;
		out->n_intervals = 0; /* the queue's list is no part of this one's back-off */
	}
	if (s->n_intervals > 0) {
		out->intervals = s->intervals;
		out->n_intervals = s->n_intervals;
	}
	if (out->max_retry_interval < out->retry_interval)
		out->max_retry_interval = out->retry_interval;
}

int64_t
policy_schedule_delay(const struct policy_schedule *s, unsigned attempts)
{
	double delay = (double)s->retry_interval;
	unsigned i;

	if (attempts < 1)
		attempts = 1;
	if (s->n_intervals > 0)
		return s->intervals[attempts <= s->n_intervals ? attempts - 1 : s->n_intervals - 1];
	if (s->factor <= 1000)
		attempts = 1; /* each wait is the same */
	for (i = 1; i < attempts && delay < (double)s->max_retry_interval; i++)
		delay = delay * (double)s->factor / 1000;
	return delay < (double)s->max_retry_interval ? (int64_t)delay : s->max_retry_interval;
}
