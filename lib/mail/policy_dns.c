/* posthorn.dns: questions of policy to name servers (policy_call.h). The thread of the handler waits for the answer; so
 * these work in events that can wait, smtpd's, and where Lua is called from Lua only. The names are often a stranger's
 * and the answers always are: what is wrong with them is no error in policy, but nil and a sentence. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/cidr.h"
#include "base/log.h"
#include "mail/dns_reverse.h"
#include "mail/policy_call_private.h"

#define NAME_ROOM 512

/* Two results, the second a sentence. */
static int
push_failure(lua_State *L, const char *text)
{
	lua_settop(L, 1);
	lua_pushnil(L);
	lua_pushstring(L, text);
	return 2;
}

static void
on_answer(const struct dns_reply *reply, void *arg)
{
	struct policy_task *k = arg;

	k->request = NULL;
	k->reply = reply;
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

/* Raises an error where no event can wait. */
static struct policy_task *
task_check(lua_State *L, const char *fn)
{
	struct policy_tasks *t = policy_of(L)->tasks;
	struct policy_task *k;

	if (t == NULL || t->current == NULL || t->loop == NULL)
		refuse(L, "posthorn.dns.%s may only be called in an event of smtpd", fn);
	k = t->current;
	if (!lua_isyieldable(L))
		luaL_error(L, "posthorn.dns.%s may not be called from within table.sort, string.gsub or their like",
		    fn);
	if (++k->n_questions > POLICY_QUESTIONS_MAX)
		luaL_error(L, "more than %d questions to name servers in one event", POLICY_QUESTIONS_MAX);
	return k;
}

/* The answer goes to fn, as a continuation; what it needs is on the stack. */
static int
ask(lua_State *L, struct policy_task *k, const char *name, uint16_t type, lua_KFunction fn)
{
	struct dns_client *c = k->policy->tasks->dns;

	if (!dns_name_valid(name))
		return push_failure(L, "not a domain name");
	if (c != NULL)
		k->request = dns_client_ask(c, name, type, k->policy->tasks->question_ms, on_answer, k);
	if (k->request == NULL)
		return push_failure(L, "the name service is not available now");
	return lua_yieldk(L, 0, 0, fn);
}

/* A name without its final dot, in out. */
static const char *
name_arg(lua_State *L, int arg, char out[NAME_ROOM])
{
	size_t len;
	const char *s = lua_type(L, arg) == LUA_TUSERDATA ? policy_address_check(L, arg) : luaL_checklstring(L, arg,
	    &len);

	len = strlen(s);
	if (len >= NAME_ROOM)
		return "";
	memcpy(out, s, len + 1);
	if (len > 1 && out[len - 1] == '.')
		out[len - 1] = '\0';
	return out;
}

/* The reply of this leg; a failure has been pushed if NULL. */
static const struct dns_reply *
reply_take(lua_State *L)
{
	const struct dns_reply *r = policy_of(L)->tasks->current->reply;

	if (r->status == DNS_OK)
		return r;
	push_failure(L, r->text != NULL && *r->text != '\0' ? r->text : "no answer");
	return NULL;
}

/* Appends the texts to the table at the top. dot: names end in one, as KumoMTA has them. */
static void
list_add(lua_State *L, const struct dns_reply *r, bool dot)
{
	lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
	unsigned i;

	for (i = 0; i < r->n_records; i++) {
		lua_pushlstring(L, r->records[i].text, r->records[i].len);
		if (dot) {
			lua_pushliteral(L, ".");
			lua_concat(L, 2);
		}
		lua_rawseti(L, -2, ++n);
	}
}

static int
on_list(lua_State *L, int status, lua_KContext ctx)
{
	const struct dns_reply *r = reply_take(L);

	(void)status, (void)ctx;
	if (r == NULL)
		return 2;
	lua_newtable(L);
	list_add(L, r, false);
	return 1;
}

static int
on_names(lua_State *L, int status, lua_KContext ctx)
{
	const struct dns_reply *r = reply_take(L);

	(void)status, (void)ctx;
	if (r == NULL)
		return 2;
	lua_newtable(L);
	list_add(L, r, true);
	return 1;
}

static int
lookup_txt(lua_State *L)
{
	struct policy_task *k = task_check(L, "lookup_txt");
	char name[NAME_ROOM];

	return ask(L, k, name_arg(L, 1, name), DNS_TYPE_TXT, on_list);
}

/* ---- addresses: A, then AAAA ---- */

static int
on_aaaa(lua_State *L, int status, lua_KContext ctx)
{
	const struct dns_reply *r = policy_of(L)->tasks->current->reply;

	(void)status, (void)ctx;
	lua_settop(L, 2);
	if (r->status == DNS_OK)
		list_add(L, r, false);
	else if (lua_rawlen(L, 2) == 0)
		return push_failure(L, r->text != NULL ? r->text : "no answer");
	return 1;
}

static int
on_a(lua_State *L, int status, lua_KContext ctx)
{
	struct policy_task *k = policy_of(L)->tasks->current;
	char name[NAME_ROOM];

	(void)status, (void)ctx;
	lua_settop(L, 1);
	if (k->reply->status == DNS_NXDOMAIN)
		return reply_take(L) == NULL ? 2 : 0;
	lua_newtable(L);
	if (k->reply->status == DNS_OK)
		list_add(L, k->reply, false);
	return ask(L, k, name_arg(L, 1, name), DNS_TYPE_AAAA, on_aaaa);
}

static int
lookup_addr(lua_State *L)
{
	struct policy_task *k = task_check(L, "lookup_addr");
	char name[NAME_ROOM];

	lua_settop(L, 1);
	return ask(L, k, name_arg(L, 1, name), DNS_TYPE_A, on_a);
}

/* ---- mail exchangers: a table as KumoMTA's ---- */

/* The hosts, best first, as two lists; the table is at the top. */
static void
mx_lists(lua_State *L, const struct dns_reply *r)
{
	unsigned order[DNS_RECORDS_MAX], n = 0, i, j, t;

	for (i = 0; i < r->n_records; i++)
		if (r->records[i].len > 0) /* the root: RFC 7505, no mail here */
			order[n++] = i;
	for (i = 1; i < n; i++)
		for (j = i; j > 0; j--) {
			const struct dns_record *a = &r->records[order[j - 1]], *b = &r->records[order[j]];

			if (a->pref < b->pref || (a->pref == b->pref && strcmp(a->text, b->text) <= 0))
				break;
			t = order[j];
			order[j] = order[j - 1];
			order[j - 1] = t;
		}
	lua_newtable(L); /* hosts */
	lua_newtable(L); /* by_pref */
	for (i = 0; i < n; i++) {
		const struct dns_record *d = &r->records[order[i]];

		lua_pushfstring(L, "%s.", d->text);
		lua_pushvalue(L, -1);
		lua_rawseti(L, -4, (lua_Integer)i + 1);
		if (lua_rawgeti(L, -2, d->pref) == LUA_TNIL) {
			lua_pop(L, 1);
			lua_newtable(L);
			lua_pushvalue(L, -1);
			lua_rawseti(L, -4, d->pref);
		}
		lua_insert(L, -2);
		lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
		lua_pop(L, 1);
	}
	lua_setfield(L, -3, "by_pref");
	lua_setfield(L, -2, "hosts");
}

static int
on_mx(lua_State *L, int status, lua_KContext ctx)
{
	const struct dns_reply *r = reply_take(L);
	char name[NAME_ROOM];

	(void)status, (void)ctx;
	if (r == NULL)
		return 2;
	lua_settop(L, 1);
	lua_newtable(L);
	mx_lists(L, r);
	lua_pushfstring(L, "%s.", name_arg(L, 1, name));
	lua_pushvalue(L, -1);
	lua_setfield(L, -3, "domain_name");
	if (r->n_records == 0) {
		/* RFC 5321 5.1: the domain is its own exchanger. */
		lua_getfield(L, -2, "hosts");
		lua_insert(L, -2);
		lua_rawseti(L, -2, 1);
	}
	lua_pop(L, 1);
	lua_pushboolean(L, r->n_records > 0);
	lua_setfield(L, -2, "is_mx");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "is_domain_literal");
	return 1;
}

static int
lookup_mx(lua_State *L)
{
	struct policy_task *k = task_check(L, "lookup_mx");
	char name[NAME_ROOM];

	return ask(L, k, name_arg(L, 1, name), DNS_TYPE_MX, on_mx);
}

/* ---- by IP address ---- */

/* The name below tail of an address given as text. The address may have a port behind it. 0 or -1. */
static int
reverse(const char *text, const char *tail, char out[NAME_ROOM])
{
	struct sockaddr_storage ss;
	socklen_t len;
	char buf[80];

	if (strlen(text) >= sizeof(buf))
		return -1;
	memcpy(buf, text, strlen(text) + 1);
	if (buf[0] == '[' && strchr(buf, ']') != NULL) {
		*strchr(buf, ']') = '\0';
		memmove(buf, buf + 1, strlen(buf));
	} else if (strchr(buf, ':') != NULL && strchr(buf, ':') == strrchr(buf, ':')) {
		*strchr(buf, ':') = '\0';
	}
	if (sockaddr_parse(buf, 0, &ss, &len) == -1)
		return -1;
	if (ss.ss_family == AF_INET)
		dns_reverse_name(false, (const uint8_t *)&((const struct sockaddr_in *)&ss)->sin_addr, tail, out,
		    NAME_ROOM);
	else
		dns_reverse_name(true, (const uint8_t *)&((const struct sockaddr_in6 *)&ss)->sin6_addr, tail, out,
		    NAME_ROOM);
	return 0;
}

static int
lookup_ptr(lua_State *L)
{
	struct policy_task *k = task_check(L, "lookup_ptr");
	char name[NAME_ROOM];

	if (reverse(luaL_checkstring(L, 1), NULL, name) == -1)
		return push_failure(L, "not an IP address");
	return ask(L, k, name, DNS_TYPE_PTR, on_names);
}

/* Whatever the reason says, the address is listed. */
static int
on_rbl_txt(lua_State *L, int status, lua_KContext ctx)
{
	const struct dns_reply *r = policy_of(L)->tasks->current->reply;

	(void)status, (void)ctx;
	lua_settop(L, 3);
	if (r->status != DNS_OK || r->n_records == 0)
		return 1;
	lua_pushlstring(L, r->records[0].text, r->records[0].len);
	return 2;
}

static int
on_rbl_a(lua_State *L, int status, lua_KContext ctx)
{
	struct policy_task *k = policy_of(L)->tasks->current;
	const struct dns_reply *r = k->reply;
	char name[NAME_ROOM], zone[NAME_ROOM];
	const char *tail;

	(void)status, (void)ctx;
	lua_settop(L, 2);
	/* Not listed: two nils, no sentence. */
	if (r->status == DNS_NXDOMAIN || (r->status == DNS_OK && r->n_records == 0)) {
		lua_pushnil(L);
		lua_pushnil(L);
		return 2;
	}
	if (reply_take(L) == NULL)
		return 2;
	lua_pushlstring(L, r->records[0].text, r->records[0].len);
	tail = name_arg(L, 2, zone);
	if (reverse(lua_tostring(L, 1), tail, name) == -1)
		return 1;
	k->request = dns_client_ask(k->policy->tasks->dns, name, DNS_TYPE_TXT, k->policy->tasks->question_ms,
	    on_answer, k);
	return k->request == NULL ? 1 : lua_yieldk(L, 0, 0, on_rbl_txt);
}

static int
rbl_lookup(lua_State *L)
{
	struct policy_task *k = task_check(L, "rbl_lookup");
	char name[NAME_ROOM], zone[NAME_ROOM];
	const char *tail;

	lua_settop(L, 2);
	luaL_checkstring(L, 2);
	tail = name_arg(L, 2, zone);
	if (reverse(luaL_checkstring(L, 1), tail, name) == -1)
		return push_failure(L, "not an IP address");
	return ask(L, k, name, DNS_TYPE_A, on_rbl_a);
}

static const luaL_Reg functions[] = {
	{ "lookup_mx", lookup_mx },
	{ "lookup_addr", lookup_addr },
	{ "lookup_txt", lookup_txt },
	{ "lookup_ptr", lookup_ptr },
	{ "rbl_lookup", rbl_lookup },
	{ NULL, NULL }
};

void
policy_dns_open(lua_State *L)
{
	luaL_newlib(L, functions);
}
