/* posthorn.domain_map: values by domain, as in KumoMTA: the domain itself, or else the nearest '*.parent'. A Lua table
 * behind an object; domains are compared without case, and come from strangers when looked up. */
#include <string.h>

#include "mail/policy_lib.h"

#define CLASS "domain map"
#define DOMAIN_MAX 255

/* Pushes the key in lower case; false if it is none. */
static bool
key_push(lua_State *L, int arg)
{
	char low[DOMAIN_MAX];
	size_t len, i;
	const char *s = lua_type(L, arg) == LUA_TSTRING ? lua_tolstring(L, arg, &len) : NULL;

	if (s == NULL || len == 0 || len > sizeof(low))
		return false;
	for (i = 0; i < len; i++)
		low[i] = s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] + 32) : s[i];
	if (len > 1 && low[len - 1] == '.')
		len--;
	lua_pushlstring(L, low, len);
	return true;
}

static int
domain_map_set(lua_State *L)
{
	luaL_checkudata(L, 1, CLASS);
	luaL_checkany(L, 3);
	luaL_argcheck(L, key_push(L, 2), 2, "a domain such as 'example.com' or '*.example.com' expected");
	lua_getiuservalue(L, 1, 1);
	lua_insert(L, -2);
	lua_pushvalue(L, 3);
	lua_rawset(L, -3);
	return 0;
}

static int
domain_map_get(lua_State *L)
{
	char wild[DOMAIN_MAX + 2] = "*";
	const char *domain, *dot;

	luaL_checkudata(L, 1, CLASS);
	lua_settop(L, 2);
	if (!key_push(L, 2)) {
		luaL_argcheck(L, lua_isnil(L, 2) || lua_type(L, 2) == LUA_TSTRING, 2, "a domain expected");
		return 0;
	}
	domain = lua_tostring(L, 3);
	lua_getiuservalue(L, 1, 1);
	lua_pushvalue(L, 3);
	if (lua_rawget(L, 4) != LUA_TNIL)
		return 1;
	for (dot = strchr(domain, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
		lua_settop(L, 4);
		memcpy(wild + 1, dot, strlen(dot) + 1);
		lua_pushstring(L, wild);
		if (lua_rawget(L, 4) != LUA_TNIL)
			return 1;
	}
	return 0;
}

/* With a table: its members, { ['*.example.com'] = 'x' }. */
static int
domain_map_new(lua_State *L)
{
	if (!lua_isnoneornil(L, 1))
		luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	lua_newuserdatauv(L, 1, 1);
	lua_newtable(L);
	lua_setiuservalue(L, 2, 1);
	luaL_setmetatable(L, CLASS);
	if (lua_isnil(L, 1))
		return 1;
	for (lua_pushnil(L); lua_next(L, 1) != 0; lua_pop(L, 1)) {
		lua_pushcfunction(L, domain_map_set);
		lua_pushvalue(L, 2);
		lua_pushvalue(L, -4);
		lua_pushvalue(L, -4);
		lua_call(L, 3, 0);
	}
	return 1;
}

const luaL_Reg policy_lib_domain_map[] = {
	{ "new", domain_map_new },
	{ NULL, NULL }
};

void
policy_lib_domain_map_open(lua_State *L)
{
	luaL_newmetatable(L, CLASS);
	lua_pushcfunction(L, domain_map_get);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, domain_map_set);
	lua_setfield(L, -2, "__newindex");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
}
