/* Asking policy: one function for each event, with what it may answer. queued asks for pool and queue settings,
 * deliverd for path settings. This is on the path of every message: handlers are kept by reference, arguments pushed
 * once, and an answer that is a pool name allocates nothing but its copy. The arguments come from strangers; the
 * answers are checked like any input, and a wrong one fails the request instead of falling back to anything. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/bounce_todo.h"
#include "mail/policy_private.h"
#include "mail/policy_queue.h"

const char *const policy_event_names[POLICY_EVENTS + 1] = {
	[POLICY_GET_EGRESS_POOL] = "get_egress_pool",
	[POLICY_GET_QUEUE_CONFIG] = "get_queue_config",
	[POLICY_GET_EGRESS_PATH_CONFIG] = "get_egress_path_config",
	[POLICY_SMTP_CONNECT] = "smtp_server_connection_accepted",
	[POLICY_SMTP_EHLO] = "smtp_server_ehlo",
	[POLICY_SMTP_AUTH] = "smtp_server_auth_plain",
	[POLICY_SMTP_MAIL] = "smtp_server_mail_from",
	[POLICY_SMTP_RCPT] = "smtp_server_rcpt_to",
	[POLICY_SMTP_MESSAGE] = "smtp_server_message_received",
	[POLICY_REQUEUE] = "requeue_message",
	[POLICY_REBIND] = "rebind_message",
	[POLICY_BOUNCE_CLASSIFIED] = "bounce_classified",
	[POLICY_EVENTS] = NULL
};

struct question {
	struct policy *policy;
	enum policy_event_id event;
	const char *args[3]; /* NULL: nil */
	const struct policy_fact *facts; /* bounce_classified has these instead */
	size_t n_facts;
	const struct bounce_cause *cause;
	void *answer;
	int rc;              /* 1 answered, 0 nil, -1 wrong answer */
	char *err;           /* with -1 */
};

static void
answer_wrong(struct question *q, const char *why, const char *detail)
{
	struct policy *p = q->policy;

	q->rc = -1;
	q->err = xasprintf("%s:%u: %s %s%s", p->chunk, p->handlers[q->event].line, policy_event_names[q->event], why,
	    detail);
}

/* Calls the handler; its answer is on the top of the stack. */
static void
handler_call(struct question *q, lua_State *L)
{
	size_t i;

	lua_rawgeti(L, LUA_REGISTRYINDEX, q->policy->handlers[q->event].ref);
	for (i = 0; i < 3; i++) {
		if (q->args[i] != NULL)
			lua_pushstring(L, q->args[i]);
		else
			lua_pushnil(L);
	}
	lua_call(L, 3, 1);
}

static int
pool_ask(lua_State *L)
{
	struct question *q = lua_touserdata(L, 1);
	const struct policy_pool *pool;
	const char *name;
	size_t len;

	handler_call(q, L);
	if (lua_isnil(L, -1))
		return 0;
	if (lua_type(L, -1) != LUA_TSTRING) {
		answer_wrong(q, "must return the name of a pool or nil, not a ", luaL_typename(L, -1));
		return 0;
	}
	name = lua_tolstring(L, -1, &len);
	if (strlen(name) != len || (pool = policy_pool_find(q->policy, name)) == NULL) {
		answer_wrong(q, "returned a pool that is not defined: ", name);
		return 0;
	}
	*(char **)q->answer = xstrdup(pool->name);
	q->rc = 1;
	return 0;
}

/* Reads the answer as a table; the first thing wrong with it is the error. */
static void
table_take(struct question *q, lua_State *L, const struct policy_field *fields)
{
	struct conf_errors errs = { NULL, 0 };
	struct policy_reader r = { .policy = q->policy, .errs = &errs, .what = policy_event_names[q->event] };

	if (lua_isnil(L, -1))
		return;
	if (lua_type(L, -1) != LUA_TTABLE) {
		answer_wrong(q, "must return a table or nil, not a ", luaL_typename(L, -1));
		return;
	}
	policy_table_read(&r, L, fields, q->answer);
	q->rc = 1;
	if (errs.n > 0) {
		q->rc = -1;
		q->err = xasprintf("%s:%u: %s", q->policy->chunk, q->policy->handlers[q->event].line, errs.v[0].text);
	}
	conf_errors_clear(&errs);
}

static int
queue_ask(lua_State *L)
{
	struct question *q = lua_touserdata(L, 1);
	const struct policy_queue_config *c = q->answer;

	handler_call(q, L);
	table_take(q, L, policy_queue_fields);
	if (q->rc != 1)
		return 0;
	if (c->egress_pool != NULL && policy_pool_find(q->policy, c->egress_pool) == NULL)
		answer_wrong(q, "returned a pool that is not defined: ", c->egress_pool);
	else if (c->schedule.retry_interval >= 0 && c->schedule.max_retry_interval >= 0 &&
	    c->schedule.retry_interval > c->schedule.max_retry_interval)
		answer_wrong(q, "returned a retry_interval longer than its max_retry_interval", "");
	return 0;
}

static int
path_ask(lua_State *L)
{
	struct question *q = lua_touserdata(L, 1);

	handler_call(q, L);
	table_take(q, L, policy_path_fields);
	return 0;
}

static void
facts_push(const struct question *q, lua_State *L)
{
	size_t i;

	lua_createtable(L, 0, (int)q->n_facts);
	for (i = 0; i < q->n_facts; i++) {
		const struct policy_fact *f = &q->facts[i];

		if (f->text != NULL)
			lua_pushstring(L, f->text);
		else
			lua_pushinteger(L, (lua_Integer)f->number);
		lua_setfield(L, -2, f->key);
	}
}

static int
bounce_ask(lua_State *L)
{
	struct question *q = lua_touserdata(L, 1);
	const char *said;
	size_t len;
	char *err;

	lua_rawgeti(L, LUA_REGISTRYINDEX, q->policy->handlers[q->event].ref);
	facts_push(q, L);
	lua_call(L, 1, 1);
	if (lua_isnil(L, -1))
		return 0;
	if (lua_type(L, -1) != LUA_TSTRING) {
		answer_wrong(q, "must return what is to be done, in words, or nil, not a ", luaL_typename(L, -1));
		return 0;
	}
	said = lua_tolstring(L, -1, &len);
	if (strlen(said) != len) {
		answer_wrong(q, "returned a text with a NUL byte", "");
		return 0;
	}
	if ((err = bounce_todo_parse(said, "policy", &q->cause, 1, q->answer)) == NULL) {
		q->rc = 1;
		return 0;
	}
	answer_wrong(q, "returned something that cannot be done: ", err);
	free(err);
	return 0;
}

static int
ask(struct question *q, lua_CFunction fn, char **err_r)
{
	struct policy *p = q->policy;
	char *err;

	*err_r = NULL;
	if (p->handlers[q->event].ref == LUA_NOREF)
		return 0;
	if ((err = policy_run(p, fn, q, POLICY_EVENT_MS)) != NULL) {
		free(q->err);
		policy_error_count(q->event);
		*err_r = err;
		return -1;
	}
	if (q->rc < 0) {
		policy_error_count(q->event);
		policy_log(p, q->err);
		*err_r = q->err;
	}
	return q->rc;
}

int
policy_get_egress_pool(struct policy *p, const char *domain, const char *tenant, const char *campaign, char **pool_r,
    char **err_r)
{
	struct question q = { .policy = p, .event = POLICY_GET_EGRESS_POOL, .args = { domain, tenant, campaign } };

	*pool_r = NULL;
	q.answer = pool_r;
	return ask(&q, pool_ask, err_r);
}

int
policy_get_queue_config(struct policy *p, const char *domain, const char *tenant, const char *campaign,
    struct policy_queue_config *out, char **err_r)
{
	struct question q = { .policy = p, .event = POLICY_GET_QUEUE_CONFIG, .args = { domain, tenant, campaign } };

	policy_queue_config_init(out);
	q.answer = out;
	return ask(&q, queue_ask, err_r);
}

int
policy_get_path_config(struct policy *p, const char *domain, const char *source, const char *site,
    struct policy_path_config *out, char **err_r)
{
	struct question q = { .policy = p, .event = POLICY_GET_EGRESS_PATH_CONFIG, .args = { domain, source, site } };

	policy_path_config_init(out);
	q.answer = out;
	return ask(&q, path_ask, err_r);
}

int
policy_bounce_classified(struct policy *p, const struct policy_fact *facts, size_t n, const struct bounce_cause *cause,
    struct bounce_todo *out, char **err_r)
{
	struct question q = { .policy = p, .event = POLICY_BOUNCE_CLASSIFIED, .facts = facts, .n_facts = n,
		.cause = cause };

	q.answer = out;
	return ask(&q, bounce_ask, err_r);
}
