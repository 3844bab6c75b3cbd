/* Tasks: handlers of events with objects, each in a Lua thread of its own (policy_call.h). smtpd's workers mostly.
 *
 * A thread whose handler went to its end is used again for the next event: an event costs no allocation but its
 * objects. A thread that died of an error or of a cancelled session is dropped and never closed, for closing would run
 * __close handlers, with hooks off. Nothing here calls Lua unprotected but what cannot raise an error: arguments are
 * pushed inside the thread, the traceback is made in a protected call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/suggest.h"
#include "base/xalloc.h"
#include "mail/policy_call_private.h"
#include "mail/reply.h"

#define KEPT_THREADS 16
#define REJECT_TEXT_MAX 400

struct object {
	uint64_t serial;
	unsigned slot;
};

struct policy_tasks *
policy_tasks_of(struct policy *p)
{
	if (p->tasks == NULL)
		p->tasks = xcalloc(1, sizeof(*p->tasks));
	return p->tasks;
}

void
policy_set_host(struct policy *p, struct loop *loop, struct dns_client *dns, int64_t question_ms)
{
	struct policy_tasks *t = policy_tasks_of(p);

	t->loop = loop;
	t->dns = dns;
	t->question_ms = question_ms < POLICY_TASK_MS ? (uint32_t)question_ms : POLICY_TASK_MS;
}

bool
policy_answers(const struct policy *p, enum policy_call_id id)
{
	return p->handlers[POLICY_SMTP_CONNECT + id].ref != LUA_NOREF;
}

bool
policy_answers_any(const struct policy *p)
{
	int i;

	for (i = 0; i <= POLICY_ON_MESSAGE; i++)
		if (policy_answers(p, (enum policy_call_id)i))
			return true;
	return false;
}

struct policy_task *
policy_task_now(lua_State *L)
{
	struct policy *p = policy_of(L);

	return p->tasks != NULL ? p->tasks->current : NULL;
}

static void
on_deadline(void *arg);

static struct policy_task *
task_take(struct policy *p)
{
	struct policy_tasks *t = policy_tasks_of(p);
	struct policy_task *k = t->free;

	if (k != NULL) {
		t->free = k->next_free;
	} else if (t->n_slots < POLICY_TASKS_MAX) {
		k = xcalloc(1, sizeof(*k));
		k->policy = p;
		k->slot = t->n_slots;
		t->slots[t->n_slots++] = k;
		if (t->loop != NULL)
			timer_init(&k->deadline, t->loop, on_deadline, k);
	} else {
		return NULL;
	}
	k->serial = ++t->serial;
	k->is_live = true;
	k->is_rejecting = false;
	k->cpu_used = 0;
	k->n_questions = 0;
	k->reply = NULL;
	k->auth = NULL;
	return k;
}

static void
thread_drop(struct policy_task *k)
{
	if (k->co != NULL)
		luaL_unref(k->policy->L, LUA_REGISTRYINDEX, k->co_ref);
	k->co = NULL;
}

static void
task_release(struct policy_task *k)
{
	struct policy_tasks *t = k->policy->tasks;

	if (t->loop != NULL)
		timer_cancel(&k->deadline);
	if (k->request != NULL)
		dns_client_cancel(t->dns, &k->request);
	if (k->auth_request != NULL)
		t->auth->cancel(t->auth_host, k->auth_request);
	k->auth_request = NULL;
	if (k->slot >= KEPT_THREADS)
		thread_drop(k);
	k->is_live = false;
	k->next_free = t->free;
	t->free = k;
}

void
policy_tasks_free(struct policy *p)
{
	struct policy_tasks *t = p->tasks;
	unsigned i;

	if (t == NULL)
		return;
	for (i = 0; i < t->n_slots; i++) {
		if (t->slots[i]->is_live)
			task_release(t->slots[i]);
		free(t->slots[i]);
	}
	free(t);
	p->tasks = NULL;
}

static int
thread_make(lua_State *L)
{
	struct policy_task *k = lua_touserdata(L, 1);
	lua_State *co = lua_newthread(L);

	k->co_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	k->co = co;
	return 0;
}

/* ---- the handler, inside its thread ---- */

static int
entry_done(lua_State *L, int status, lua_KContext ctx)
{
	struct policy_task *k = policy_of(L)->tasks->current;

	(void)status, (void)ctx;
	if (k->call.id != POLICY_ON_AUTH || lua_isnil(L, -1))
		return 0;
	if (!lua_isboolean(L, -1))
		return luaL_error(L, "%s must return true, false or nil, not a %s",
		    policy_event_names[POLICY_SMTP_AUTH], luaL_typename(L, -1));
	k->verdict.answer = (int8_t)lua_toboolean(L, -1);
	return 0;
}

/* What follows the message in the events of queued. */
static void
queue_args_push(lua_State *L, const struct policy_call *c)
{
	uint32_t i;

	if (c->id == POLICY_ON_REBIND) {
		lua_createtable(L, 0, (int)c->n_data);
		for (i = 0; i < c->n_data; i++) {
			lua_pushstring(L, c->data[i].value);
			lua_setfield(L, -2, c->data[i].key);
		}
		return;
	}
	lua_pushstring(L, c->text[0]);
	lua_createtable(L, 1, 0);
	lua_pushstring(L, c->text[1]);
	lua_rawseti(L, -2, 1);
	lua_pushboolean(L, 1);
	lua_pushnumber(L, c->delay);
}

static int
entry(lua_State *L)
{
	struct policy_task *k = lua_touserdata(L, 1);
	const struct policy_call *c = &k->call;
	int i, before;

	lua_settop(L, 0);
	lua_rawgeti(L, LUA_REGISTRYINDEX, k->policy->handlers[POLICY_SMTP_CONNECT + c->id].ref);
	before = lua_gettop(L);
	if (c->msg != NULL)
		policy_object_push(L, POLICY_MESSAGE_KIND);
	if (c->id == POLICY_ON_MAIL || c->id == POLICY_ON_RCPT)
		policy_address_push(L, c->text[0]);
	else if (c->id == POLICY_ON_REQUEUE || c->id == POLICY_ON_REBIND)
		queue_args_push(L, c);
	else
		for (i = 0; i < 3 && c->text[i] != NULL; i++)
			lua_pushstring(L, c->text[i]);
	if (c->conn != NULL)
		policy_object_push(L, POLICY_CONN_KIND);
	lua_callk(L, lua_gettop(L) - before, 1, 0, entry_done);
	return entry_done(L, LUA_OK, 0);
}

/* ---- its errors ---- */

struct trace {
	lua_State *co;
	const char *text;
};

static int
trace_log(lua_State *L)
{
	const struct trace *t = lua_touserdata(L, 1);

	luaL_traceback(L, t->co, t->text, 0);
	policy_log(policy_of(L), lua_tostring(L, -1));
	return 0;
}

static void
error_log(struct policy_task *k, int status)
{
	struct policy *p = k->policy;
	struct trace t = { k->co, "an error that is not a string was raised" };
	char *own = NULL;

	if (status == LUA_ERRMEM) {
		own = xasprintf("%s: used more than %u MiB of memory", p->chunk, POLICY_MEMORY_MAX >> 20);
		policy_log(p, own);
		free(own);
		return;
	}
	if (lua_type(k->co, -1) == LUA_TSTRING)
		t.text = lua_tostring(k->co, -1);
	free(policy_run(p, trace_log, &t, POLICY_EVENT_MS));
}

static void
fail(struct policy_task *k, const char *line)
{
	policy_error_count(POLICY_SMTP_CONNECT + k->call.id);
	k->verdict.outcome = POLICY_FAILED;
	k->verdict.is_last = false;
	snprintf(k->verdict.line, sizeof(k->verdict.line), "%s", line);
}

/* Runs the thread until it ends or waits. True: it waits. */
static bool
leg(struct policy_task *k, int nargs)
{
	struct policy *p = k->policy;
	struct policy_tasks *t = p->tasks;
	int n, status;

	p->cpu_limit = (int64_t)POLICY_EVENT_MS * 1000000;
	p->cpu_start = k->cpu_used > 0 ? policy_cpu_now() - k->cpu_used : 0;
	t->current = k;
	status = lua_resume(k->co, p->L, nargs, &n);
	t->current = NULL;
	k->reply = NULL;
	k->auth = NULL;
	p->is_overrun = false; /* a thread that ran over has died of it, and its hook with it */
	if (status == LUA_YIELD) {
		k->cpu_used = p->cpu_start != 0 ? policy_cpu_now() - p->cpu_start : 0;
		return true;
	}
	if (status == LUA_OK) {
		lua_settop(k->co, 0);
		/* A rejection that policy caught did not happen. */
		k->verdict.line[0] = '\0';
		k->verdict.is_last = false;
		return false;
	}
	if (k->is_rejecting && lua_touserdata(k->co, -1) == k) {
		k->verdict.outcome = POLICY_REJECTED;
	} else {
		error_log(k, status);
		fail(k, "451 4.3.5 Local policy error, try again later");
	}
	thread_drop(k);
	return false;
}

static void
conclude(struct policy_task *k)
{
	struct policy_verdict v = k->verdict;
	policy_task_fn *fn = k->fn;
	void *arg = k->arg;

	task_release(k);
	fn(&v, arg);
}

void
policy_task_resume(struct policy_task *k)
{
	if (!leg(k, 0))
		conclude(k);
}

static void
on_deadline(void *arg)
{
	struct policy_task *k = arg;
	struct policy *p = k->policy;
	char *text = xasprintf("%s:%u: %s took more than %d s, waiting for name servers included", p->chunk,
	    p->handlers[POLICY_SMTP_CONNECT + k->call.id].line, policy_event_names[POLICY_SMTP_CONNECT + k->call.id],
	    POLICY_TASK_MS / 1000);

	policy_log(p, text);
	free(text);
	thread_drop(k);
	fail(k, "451 4.3.5 Local policy takes too long, try again later");
	conclude(k);
}

struct policy_task *
policy_call(struct policy *p, const struct policy_call *call, struct policy_verdict *v, policy_task_fn *fn, void *arg)
{
	struct policy_task *k;
	char *err;

	*v = (struct policy_verdict){ .outcome = POLICY_PASSED, .answer = -1 };
	if (!policy_answers(p, call->id))
		return NULL;
	if ((k = task_take(p)) == NULL) {
		policy_error_count(POLICY_SMTP_CONNECT + call->id);
		policy_log(p, "too many events wait for name servers");
		v->outcome = POLICY_FAILED;
		snprintf(v->line, sizeof(v->line), "451 4.3.5 Local policy is busy, try again later");
		return NULL;
	}
	k->call = *call;
	k->verdict = *v;
	k->fn = fn;
	k->arg = arg;
	if (k->co == NULL && (err = policy_run(p, thread_make, k, POLICY_EVENT_MS)) != NULL) {
		free(err);
		fail(k, "451 4.3.5 Local policy error, try again later");
		*v = k->verdict;
		task_release(k);
		return NULL;
	}
	lua_pushcfunction(k->co, entry);
	lua_pushlightuserdata(k->co, k);
	if (leg(k, 1)) {
		timer_set(&k->deadline, POLICY_TASK_MS);
		return k;
	}
	*v = k->verdict;
	task_release(k);
	return NULL;
}

void
policy_cancel(struct policy_task **kp)
{
	struct policy_task *k = *kp;

	if (k == NULL)
		return;
	*kp = NULL;
	thread_drop(k);
	task_release(k);
}

/* ---- objects ---- */

void
policy_object_push(lua_State *L, const char *kind)
{
	const struct policy_task *k = policy_of(L)->tasks->current;
	struct object *o = lua_newuserdatauv(L, sizeof(*o), 0);

	o->serial = k->serial;
	o->slot = k->slot;
	luaL_setmetatable(L, kind);
}

struct policy_task *
policy_object_task(lua_State *L, const char *kind)
{
	struct object *o = luaL_checkudata(L, 1, kind);
	struct policy_tasks *t = policy_of(L)->tasks;
	struct policy_task *k = t->slots[o->slot];

	if (!k->is_live || k->serial != o->serial)
		luaL_error(L, "this %s belongs to an event that is over", kind);
	return k;
}

static int
field_unknown(lua_State *L)
{
	const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
	const char *best = policy_nearest_key(L, key);

	if (best != NULL)
		return luaL_error(L, "there is no '%s' here; did you mean '%s'?", key, best);
	return luaL_error(L, "there is no '%s' here in this version", key);
}

static int
field_fixed(lua_State *L)
{
	return luaL_error(L, "fields cannot be set here");
}

void
policy_object_kind(lua_State *L, const char *kind, const luaL_Reg *methods)
{
	luaL_newmetatable(L, kind);
	lua_newtable(L);
	luaL_setfuncs(L, methods, 0);
	lua_newtable(L);
	lua_pushcfunction(L, field_unknown);
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, -2);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, field_fixed);
	lua_setfield(L, -2, "__newindex");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
}

/* ---- kumo.reject ---- */

/* One line of printable ASCII, with an enhanced code that fits. */
static void
reject_line(struct policy_verdict *v, int code, const char *text, size_t len)
{
	char clean[REJECT_TEXT_MAX + 1];
	struct enhanced_code e;
	size_t n = 0, i, used;

	for (i = 0; i < len && n < REJECT_TEXT_MAX; i++) {
		if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f) {
			if (n > 0 && clean[n - 1] != ' ')
				clean[n++] = ' ';
		} else {
			clean[n++] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
		}
	}
	while (n > 0 && clean[n - 1] == ' ')
		n--;
	clean[n] = '\0';
	used = enhanced_parse(clean, n, &e);
	if (used > 0 && e.class == code / 100)
		snprintf(v->line, sizeof(v->line), "%d %s%s", code, clean, clean[used] == '\0' ?
		    " Rejected by policy" : "");
	else
		snprintf(v->line, sizeof(v->line), "%d %d.7.1 %s", code, code / 100, n > 0 ? clean :
		    "Rejected by policy");
}

static int
reject(lua_State *L, const char *what, lua_Integer code, bool is_last)
{
	struct policy_task *k = policy_task_now(L);
	const char *text;
	size_t len;

	if (k == NULL)
		return luaL_error(L, "posthorn.%s may only be called in an event with a message or a connection", what);
	if (code < 400 || code > 599)
		return luaL_error(L, "posthorn.%s: %I is not a code from 400 to 599", what, (LUAI_UACINT)code);
	text = luaL_optlstring(L, 2, "", &len);
	k->verdict.is_last = is_last || code == 421;
	k->is_rejecting = true;
	reject_line(&k->verdict, (int)code, text, len);
	lua_pushlightuserdata(L, k);
	return lua_error(L);
}

static int
call_reject(lua_State *L)
{
	return reject(L, "reject", luaL_checkinteger(L, 1), false);
}

static int
call_disconnect(lua_State *L)
{
	return reject(L, "disconnect", luaL_optinteger(L, 1, 421), true);
}

void
policy_call_open(lua_State *L)
{
	lua_pushcfunction(L, call_reject);
	lua_setfield(L, -2, "reject");
	lua_pushcfunction(L, call_disconnect);
	lua_setfield(L, -2, "disconnect");
	policy_conn_open(L);
	policy_message_open(L);
	policy_dns_open(L);
	lua_setfield(L, -2, "dns");
	policy_auth_open(L);
	lua_setfield(L, -2, "spf");
}
