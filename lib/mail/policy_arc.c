/* ARC in policy: msg:arc_verify and msg:arc_seal, as KumoMTA has them. The check is the host's, as in policy_auth.c;
 * a message is checked once, and a seal says what came of it. What is to be sealed is noted, and done when the message
 * is written, after everything else. What is said in the results is a stranger's. */
#include <string.h>

#include "base/xalloc.h"
#include "mail/arc.h"
#include "mail/authres.h"
#include "mail/policy_call_private.h"

static int
arc_push(lua_State *L, const struct auth_arc *a)
{
	const char *const props[] = { "header.d", a->domain, NULL };

	policy_auth_push(L, "arc", a->result, a->reason, props);
	return 1;
}

/* Whether the check is over, with m->arc as its result; if not, the host has been asked. */
static bool
is_known(lua_State *L, struct policy_msg *m, const char *fn)
{
	struct auth_results none;
	const struct policy_tasks *t;
	struct policy_task *k;

	if (m->arc.result != 0)
		return true;
	k = policy_auth_task(L, fn);
	t = k->policy->tasks;
	if (t->auth != NULL && !m->is_queued)
		k->auth_request = t->auth->arc(t->auth_host, m->arg, policy_auth_answer, k);
	if (k->auth_request != NULL)
		return false;
	memset(&none, 0, sizeof(none));
	auth_results_fail(&none, AUTH_WANT_ARC, "the check is not available now");
	m->arc = none.arc;
	return true;
}

static int
on_verified(lua_State *L, int status, lua_KContext ctx)
{
	struct policy_msg *m = policy_message_check(L);

	(void)status, (void)ctx;
	m->arc = policy_of(L)->tasks->current->auth->arc;
	return arc_push(L, &m->arc);
}

static void
no_resolver(lua_State *L, int arg, const char *fn)
{
	if (!lua_isnoneornil(L, arg))
		luaL_error(L, "%s: there are no resolvers to choose from; keys are asked of dns_servers", fn);
}

/* msg:arc_verify(): of the message as it came. */
int
policy_message_arc_verify(lua_State *L)
{
	struct policy_msg *m = policy_message_check(L);

	no_resolver(L, 2, "arc_verify");
	lua_settop(L, 1);
	if (!is_known(L, m, "arc_verify"))
		return lua_yieldk(L, 0, 0, on_verified);
	return arc_push(L, &m->arc);
}

/* ---- sealing ---- */

/* (msg, signer, server_id, results): the check is over. */
static int
seal(lua_State *L, struct policy_msg *m)
{
	struct auth_results all;
	struct arc_order *o;

	if (m->arc.next == 0) {
		lua_pushboolean(L, false);
		lua_pushstring(L, *m->arc.reason != '\0' ? m->arc.reason : "nobody may add to the chain");
		return 2;
	}
	m->seal = o = arc_order_new(policy_signer_check(L, 2, "arc_seal"), m->arc.next, m->arc.result == AUTH_PASS ?
	    ARC_CV_PASS : m->arc.result == AUTH_NONE ? ARC_CV_NONE : ARC_CV_FAIL);
	authres_begin_arc(&o->results, o->instance, lua_tostring(L, 3));
	if (lua_type(L, 4) == LUA_TTABLE) {
		policy_auth_clauses(L, 4, &o->results, "arc_seal");
	} else {
		memset(&all, 0, sizeof(all));
		if (m->auth != NULL)
			all = *m->auth;
		all.arc = m->arc;
		authres_clauses(&all, &o->results);
	}
	authres_end(&o->results);
	lua_pushboolean(L, true);
	return 1;
}

static int
on_seal(lua_State *L, int status, lua_KContext ctx)
{
	struct policy_msg *m = policy_message_check(L);

	(void)status, (void)ctx;
	m->arc = policy_of(L)->tasks->current->auth->arc;
	lua_settop(L, 4);
	return seal(L, m);
}

/* msg:arc_seal(signer, server_id [, { result, ... }]): true, or false and why there is nothing to be added. */
int
policy_message_arc_seal(lua_State *L)
{
	struct policy_msg *m = policy_message_check(L);
	const char *id = luaL_checkstring(L, 3);

	if (!lua_isnoneornil(L, 4))
		luaL_checktype(L, 4, LUA_TTABLE);
	no_resolver(L, 5, "arc_seal");
	if (m->head == NULL || m->is_queued)
		return luaL_error(L, "a message cannot be sealed in this event");
	if (m->seal != NULL)
		return luaL_error(L, "a message is sealed once, and this one is to be sealed already");
	if (*id == '\0' || strlen(id) > AUTH_DOMAIN_MAX)
		return luaL_error(L, "arc_seal: the server id is not a name");
	/* An error before the wait. */
	(void)policy_signer_check(L, 2, "arc_seal");
	lua_settop(L, 4);
	if (!is_known(L, m, "arc_seal"))
		return lua_yieldk(L, 0, 0, on_seal);
	return seal(L, m);
}
