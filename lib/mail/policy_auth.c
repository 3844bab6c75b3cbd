/* Authentication in policy: posthorn.spf, msg:dkim_verify, msg:add_authentication_results. Names and results are as
 * KumoMTA has them. The work is the host's (policy_auth_ops: smtpd's check role); the event waits for it as it waits
 * for name servers. What is said in the results is a stranger's. */
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/authres.h"
#include "mail/policy_call_private.h"

#define CLAUSES_MAX 40
#define PROPS_MAX 8
#define TEXT_MAX 512 /* of a value that policy gives */

void
policy_set_auth(struct policy *p, const struct policy_auth_ops *ops, void *host)
{
	policy_tasks_of(p)->auth = ops;
	policy_tasks_of(p)->auth_host = host;
}

bool
policy_asks_auth(const struct policy *p)
{
	return p->asks_auth;
}

void
policy_auth_answer(const struct auth_results *r, void *arg)
{
	struct policy_task *k = arg;

	k->auth_request = NULL;
	k->auth = r;
	policy_task_resume(k);
}

/* Lua leaves by a long jump; this says so to the compiler. */
static void refuse(lua_State *, const char *fmt, const char *fn) __attribute__((noreturn));

static void
refuse(lua_State *L, const char *fmt, const char *fn)
{
	luaL_error(L, fmt, fn);
	panic("policy: luaL_error returned");
}

struct policy_task *
policy_auth_task(lua_State *L, const char *fn)
{
	struct policy_tasks *t = policy_of(L)->tasks;

	if (t == NULL || t->current == NULL || t->loop == NULL)
		refuse(L, "%s may only be called in an event of smtpd", fn);
	if (!lua_isyieldable(L))
		refuse(L, "%s may not be called from within table.sort, string.gsub or their like", fn);
	if (++t->current->n_questions > POLICY_QUESTIONS_MAX)
		refuse(L, "%s: too many questions in one event", fn);
	return t->current;
}

/* ---- results as tables ---- */

static void
prop_set(lua_State *L, const char *key, const char *value)
{
	if (*value == '\0')
		return;
	lua_pushstring(L, value);
	lua_setfield(L, -2, key);
}

/* Leaves the table of a result, and of its props above it. */
static void
result_begin(lua_State *L, const char *method, uint8_t result, const char *reason)
{
	lua_createtable(L, 0, 4);
	prop_set(L, "method", method);
	prop_set(L, "result", auth_result_names[result]);
	prop_set(L, "reason", reason);
	lua_createtable(L, 0, 4);
}

static void
result_end(lua_State *L)
{
	lua_setfield(L, -2, "props");
}

void
policy_auth_push(lua_State *L, const char *method, uint8_t result, const char *reason, const char *const *props)
{
	result_begin(L, method, result, reason);
	for (; props[0] != NULL; props += 2)
		prop_set(L, props[0], props[1]);
	result_end(L);
}

static int
spf_push(lua_State *L, const struct auth_spf *s)
{
	lua_createtable(L, 0, 2);
	prop_set(L, "disposition", auth_result_names[s->result]);
	result_begin(L, "spf", s->result, s->reason);
	prop_set(L, s->is_helo ? "smtp.helo" : "smtp.mailfrom", s->identity);
	result_end(L);
	lua_setfield(L, -2, "result");
	return 1;
}

static int
dkim_push(lua_State *L, const struct auth_results *r)
{
	unsigned i;

	lua_createtable(L, (int)r->n_signatures, 0);
	/* Not signed: an empty list, as KumoMTA has it. What went wrong before there was a list is said. */
	if (r->n_signatures == 0 && r->dkim != AUTH_NONE) {
		result_begin(L, "dkim", r->dkim, r->dkim_reason);
		result_end(L);
		lua_rawseti(L, -2, 1);
	}
	for (i = 0; i < r->n_signatures; i++) {
		const struct auth_signature *s = &r->signatures[i];

		result_begin(L, "dkim", s->result, s->reason);
		prop_set(L, "header.d", s->domain);
		prop_set(L, "header.s", s->selector);
		prop_set(L, "header.a", s->algorithm);
		prop_set(L, "header.b", s->mark);
		result_end(L);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

/* ---- SPF ---- */

static int
on_spf(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	return spf_push(L, &policy_of(L)->tasks->current->auth->spf);
}

static int
spf_ask(lua_State *L, struct policy_task *k, const struct policy_auth_query *q)
{
	const struct policy_tasks *t = k->policy->tasks;
	struct auth_spf none = { .result = AUTH_TEMPERROR, .is_helo = *q->sender == '\0',
		.reason = "the check is not available now" };

	if (t->auth != NULL)
		k->auth_request = t->auth->spf(t->auth_host, q, policy_auth_answer, k);
	if (k->auth_request != NULL)
		return lua_yieldk(L, 0, 0, on_spf);
	auth_text(none.identity, sizeof(none.identity), none.is_helo ? q->helo : q->sender);
	return spf_push(L, &none);
}

/* The address of the client, without a port, in buf. */
static const char *
client_of(const struct policy_conn *conn, char *buf, size_t size)
{
	const char *text = conn != NULL ? policy_conn_value(conn, "received_from", buf, size) : NULL;
	size_t len;

	if (text == NULL || (len = strlen(text)) >= size)
		return "";
	memmove(buf, text, len + 1);
	if (buf[0] == '[' && strchr(buf, ']') != NULL) {
		*strchr(buf, ']') = '\0';
		memmove(buf, buf + 1, strlen(buf));
	} else if (strchr(buf, ':') != NULL && strchr(buf, ':') == strrchr(buf, ':')) {
		*strchr(buf, ':') = '\0';
	}
	return buf;
}

static const char *
helo_of(const struct policy_conn *conn, char *buf, size_t size)
{
	const char *text = conn != NULL ? policy_conn_value(conn, "ehlo_domain", buf, size) : NULL;

	return text != NULL ? text : "";
}

static void
text_copy(lua_State *L, char *out, size_t size, const char *text, const char *what)
{
	if (strlen(text) >= size)
		refuse(L, "%s is too long", what);
	memcpy(out, text, strlen(text) + 1);
}

/* posthorn.spf.check_host(domain, conn_meta [, sender]) */
static int
spf_check_host(lua_State *L)
{
	struct policy_task *k = policy_auth_task(L, "posthorn.spf.check_host");
	char client[64], helo_buf[AUTH_DOMAIN_MAX + 3], domain[AUTH_DOMAIN_MAX + 3], sender[ADDRESS_MAX];
	struct policy_auth_query q;

	luaL_checkudata(L, 2, POLICY_CONN_KIND);
	text_copy(L, domain, sizeof(domain), luaL_checkstring(L, 1), "the domain");
	sender[0] = '\0';
	if (!lua_isnoneornil(L, 3))
		text_copy(L, sender, sizeof(sender), policy_address_check(L, 3), "the sender");
	if (*sender != '\0' && strcasecmp(address_domain(sender), domain) != 0)
		refuse(L, "%s: the sender is of another domain", "posthorn.spf.check_host");
	q = (struct policy_auth_query){ .client = client_of(k->call.conn, client, sizeof(client)), .sender = sender,
	    .helo = *sender == '\0' ? domain : helo_of(k->call.conn, helo_buf, sizeof(helo_buf)) };
	return spf_ask(L, k, &q);
}

/* posthorn.spf.check_msg(msg): of its envelope sender. */
static int
spf_check_msg(lua_State *L)
{
	struct policy_task *k = policy_auth_task(L, "posthorn.spf.check_msg");
	const struct policy_msg *m = policy_message_check(L);
	char client[64], helo[AUTH_DOMAIN_MAX + 3];
	struct policy_auth_query q;

	if (m->auth != NULL && m->auth->spf.result != 0 && (m->changed & POLICY_MSG_SENDER) == 0)
		return spf_push(L, &m->auth->spf);
	q = (struct policy_auth_query){ .client = client_of(k->call.conn, client, sizeof(client)),
	    .sender = m->env->sender, .helo = helo_of(k->call.conn, helo, sizeof(helo)) };
	return spf_ask(L, k, &q);
}

static const luaL_Reg spf_functions[] = {
	{ "check_host", spf_check_host },
	{ "check_msg", spf_check_msg },
	{ NULL, NULL }
};

void
policy_auth_open(lua_State *L)
{
	luaL_newlib(L, spf_functions);
}

/* ---- DKIM ---- */

static int
on_dkim(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	return dkim_push(L, policy_of(L)->tasks->current->auth);
}

/* msg:dkim_verify(): of the message as it came, whatever policy did to it since. */
int
policy_message_dkim_verify(lua_State *L)
{
	const struct policy_msg *m = policy_message_check(L);
	struct policy_task *k = policy_auth_task(L, "dkim_verify");
	const struct policy_tasks *t = k->policy->tasks;
	struct auth_results none = { .n_signatures = 0 };

	if (m->auth != NULL && m->auth->dkim != 0)
		return dkim_push(L, m->auth);
	if (t->auth != NULL && !m->is_queued)
		k->auth_request = t->auth->dkim(t->auth_host, m->arg, policy_auth_answer, k);
	if (k->auth_request != NULL)
		return lua_yieldk(L, 0, 0, on_dkim);
	auth_results_fail(&none, AUTH_WANT_DKIM, "the check is not available now");
	return dkim_push(L, &none);
}

/* ---- the field ---- */

/* A string at key of the table at the top, or NULL; valid as long as the table has it. Without metamethods: nothing of
 * policy runs while the field is being written. */
static const char *
field_get(lua_State *L, const char *key)
{
	const char *s = NULL;

	lua_pushstring(L, key);
	lua_rawget(L, -2);
	if (lua_type(L, -1) == LUA_TSTRING && lua_rawlen(L, -1) <= TEXT_MAX)
		s = lua_tostring(L, -1);
	lua_pop(L, 1);
	return s;
}

/* Of the table of props at the top. */
static void
props_get(lua_State *L, const char *props[2 * PROPS_MAX + 1])
{
	int table = lua_gettop(L);
	unsigned n = 0;

	lua_pushnil(L);
	while (n < PROPS_MAX && lua_next(L, table) != 0) {
		if (lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING &&
		    lua_rawlen(L, -1) <= TEXT_MAX) {
			props[2 * n] = lua_tostring(L, -2);
			props[2 * n++ + 1] = lua_tostring(L, -1);
		}
		lua_pop(L, 1);
	}
	lua_settop(L, table);
	props[2 * n] = NULL;
}

/* One result, the table at the top. */
static void
clause_write(lua_State *L, struct wbuf *w)
{
	const char *props[2 * PROPS_MAX + 1] = { NULL }, *method = field_get(L, "method"), *result =
	    field_get(L, "result");

	if (method == NULL || result == NULL)
		return;
	lua_pushliteral(L, "props");
	lua_rawget(L, -2);
	if (lua_type(L, -1) == LUA_TTABLE)
		props_get(L, props);
	lua_insert(L, -2);
	authres_clause(w, method, result, field_get(L, "reason"), props);
	lua_remove(L, -2);
}

void
policy_auth_clauses(lua_State *L, int list, struct wbuf *w, const char *fn)
{
	lua_Integer i, n = (lua_Integer)lua_rawlen(L, list);
	int top = lua_gettop(L);

	if (n > CLAUSES_MAX)
		luaL_error(L, "%s: more than %d results", fn, CLAUSES_MAX);
	for (i = 1; i <= n; i++) {
		lua_rawgeti(L, list, i);
		if (lua_type(L, -1) == LUA_TTABLE)
			clause_write(L, w);
		lua_settop(L, top);
	}
}

/* msg:add_authentication_results(server_id, { result, ... }) */
int
policy_message_add_authentication_results(lua_State *L)
{
	struct policy_msg *m = policy_message_check(L);
	const char *id = luaL_checkstring(L, 2);
	struct wbuf *w;

	luaL_checktype(L, 3, LUA_TTABLE);
	if (*id == '\0' || strlen(id) > AUTH_DOMAIN_MAX)
		return luaL_error(L, "add_authentication_results: the server id is not a name");
	w = policy_header_begin(L, m);
	authres_begin(w, id);
	policy_auth_clauses(L, 3, w, "add_authentication_results");
	authres_end(w);
	policy_header_end(L, m);
	return 0;
}
