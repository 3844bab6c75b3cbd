/* The objects `connection` and `address` of policy, and what set_meta takes (policy_call.h). Any process whose events
 * have them. What policy sets goes into envelopes and event records, so it is checked as what strangers send is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/codec.h"
#include "mail/policy_call_private.h"

const char *const policy_conn_keys[CONN_KEYS + 1] = {
	[CONN_RECEIVED_FROM] = "received_from",
	[CONN_RECEIVED_VIA] = "received_via",
	[CONN_HOSTNAME] = "hostname",
	[CONN_EHLO_DOMAIN] = "ehlo_domain",
	[CONN_AUTHN_ID] = "authn_id",
	[CONN_AUTHZ_ID] = "authz_id",
	[CONN_TLS_CIPHER] = "tls_cipher",
	[CONN_TLS_PROTOCOL_VERSION] = "tls_protocol_version",
	[CONN_RECEPTION_PROTOCOL] = "reception_protocol",
	[CONN_KEYS] = NULL
};

static int
key_find(const char *key)
{
	int i;

	for (i = 0; i < CONN_KEYS && strcmp(policy_conn_keys[i], key) != 0; i++)
		;
	return i;
}

const char *
policy_conn_meta(const struct policy_conn *c, const char *key)
{
	uint32_t i;

	for (i = 0; i < c->n_meta; i++)
		if (strcmp(c->meta[i].key, key) == 0)
			return c->meta[i].value;
	return NULL;
}

void
policy_conn_clear(struct policy_conn *c)
{
	codec_free_meta(c->meta, c->n_meta);
	c->meta = NULL;
	c->n_meta = 0;
}

const char *
policy_conn_value(const struct policy_conn *c, const char *key, char *buf, size_t size)
{
	int i = key_find(key);

	return i < CONN_KEYS ? c->get(c->arg, (enum policy_conn_key)i, buf, size) : policy_conn_meta(c, key);
}

/* No line break and no NUL: it must not split a record. */
static const char *
line_check(lua_State *L, int arg, size_t max, const char *what)
{
	size_t len;
	const char *s = luaL_checklstring(L, arg, &len);

	if (len > max)
		luaL_error(L, "%s is longer than %d octets", what, (int)max);
	if (strlen(s) != len || strpbrk(s, "\r\n") != NULL)
		luaL_error(L, "%s holds a line break or NUL", what);
	return s;
}

const char *
policy_meta_key_check(lua_State *L, int arg)
{
	const char *key;

	if (lua_type(L, arg) != LUA_TSTRING)
		luaL_typeerror(L, arg, "string");
	key = line_check(L, arg, CODEC_MAX_META_KEY, "the key");
	if (*key == '\0')
		luaL_error(L, "the key is empty");
	if (*key == '@')
		luaL_error(L, "keys that begin with @ are not policy's");
	return key;
}

const char *
policy_meta_check(lua_State *L, int arg)
{
	switch (lua_type(L, arg)) {
	case LUA_TNIL:
	case LUA_TNONE:
		return NULL;
	case LUA_TBOOLEAN:
		return lua_toboolean(L, arg) ? "true" : "false";
	case LUA_TNUMBER:
	case LUA_TSTRING:
		return line_check(L, arg, CODEC_MAX_META_VALUE, "the value");
	case LUA_TUSERDATA:
		return policy_address_check(L, arg);
	default:
		luaL_error(L, "a value must be a string, a number or a boolean, not a %s", luaL_typename(L, arg));
		return NULL;
	}
}

/* The arrays grow as envelope_set_meta() lets them. */
void
policy_meta_set(lua_State *L, struct meta **v, uint32_t *n, const char *key, const char *value)
{
	struct envelope e = { .meta = *v, .n_meta = *n };
	uint32_t i;

	for (i = 0; i < *n && strcmp((*v)[i].key, key) != 0; i++)
		;
	if (value != NULL) {
		if (i == *n && i >= META_POLICY_MAX)
			luaL_error(L, "more than %d values", META_POLICY_MAX);
		envelope_set_meta(&e, key, value);
		*v = e.meta;
		*n = e.n_meta;
	} else if (i < *n) {
		free((*v)[i].key);
		free((*v)[i].value);
		(*v)[i] = (*v)[--*n];
	}
}

/* ---- connection ---- */

static int
conn_get_meta(lua_State *L)
{
	struct policy_task *k = policy_object_task(L, POLICY_CONN_KIND);
	char buf[512];

	lua_pushstring(L, policy_conn_value(k->call.conn, policy_meta_key_check(L, 2), buf, sizeof(buf)));
	return 1;
}

static int
conn_set_meta(lua_State *L)
{
	struct policy_task *k = policy_object_task(L, POLICY_CONN_KIND);
	const char *key = policy_meta_key_check(L, 2), *value = policy_meta_check(L, 3);

	if (key_find(key) < CONN_KEYS)
		return luaL_error(L, "'%s' is what the connection says and cannot be set", key);
	policy_meta_set(L, &k->call.conn->meta, &k->call.conn->n_meta, key, value);
	return 0;
}

static const luaL_Reg conn_methods[] = {
	{ "get_meta", conn_get_meta },
	{ "set_meta", conn_set_meta },
	{ NULL, NULL }
};

/* ---- address: its text, with a NUL ---- */

void
policy_address_push(lua_State *L, const char *address)
{
	size_t len = strlen(address) + 1;

	memcpy(lua_newuserdatauv(L, len, 0), address, len);
	luaL_setmetatable(L, POLICY_ADDRESS_KIND);
}

const char *
policy_address_check(lua_State *L, int arg)
{
	const char *s = luaL_testudata(L, arg, POLICY_ADDRESS_KIND);
	size_t len;

	if (s != NULL)
		return s;
	if (lua_type(L, arg) != LUA_TSTRING)
		luaL_typeerror(L, arg, "address");
	s = lua_tolstring(L, arg, &len);
	if (strlen(s) != len)
		luaL_argerror(L, arg, "holds NUL");
	return s;
}

static int
address_text(lua_State *L)
{
	lua_pushstring(L, luaL_checkudata(L, 1, POLICY_ADDRESS_KIND));
	return 1;
}

static int
address_field(lua_State *L)
{
	const char *s = luaL_checkudata(L, 1, POLICY_ADDRESS_KIND), *key = luaL_checkstring(L, 2);

	if (strcmp(key, "user") == 0)
		lua_pushlstring(L, s, *address_domain(s) == '\0' ? strlen(s) : address_local_len(s));
	else if (strcmp(key, "domain") == 0)
		lua_pushstring(L, address_domain(s));
	else if (strcmp(key, "email") == 0)
		lua_pushstring(L, s);
	else
		return luaL_error(L, "an address has user, domain and email, not '%s'", key);
	return 1;
}

static int
address_same(lua_State *L)
{
	lua_pushboolean(L, strcmp(policy_address_check(L, 1), policy_address_check(L, 2)) == 0);
	return 1;
}

static int
address_concat(lua_State *L)
{
	luaL_tolstring(L, 1, NULL);
	luaL_tolstring(L, 2, NULL);
	lua_concat(L, 2);
	return 1;
}

static int
address_len(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)strlen(luaL_checkudata(L, 1, POLICY_ADDRESS_KIND)));
	return 1;
}

static const luaL_Reg address_meta[] = {
	{ "__index", address_field },
	{ "__tostring", address_text },
	{ "__eq", address_same },
	{ "__concat", address_concat },
	{ "__len", address_len },
	{ NULL, NULL }
};

void
policy_conn_open(lua_State *L)
{
	policy_object_kind(L, POLICY_CONN_KIND, conn_methods);
	luaL_newmetatable(L, POLICY_ADDRESS_KIND);
	luaL_setfuncs(L, address_meta, 0);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
}
