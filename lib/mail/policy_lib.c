/* Puts the helpers (policy_lib.h) into the module table. A misspelt name is an error that suggests, as everywhere in
 * policy; the tables cannot be changed, so what one event does cannot change the next. */
#include <string.h>

#include "base/suggest.h"
#include "mail/policy_lib.h"

static const luaL_Reg top_functions[] = {
	{ "json_parse", policy_lib_json_parse },
	{ "json_encode", policy_lib_json_encode },
	{ "log_info", policy_lib_log_info },
	{ "log_warn", policy_lib_log_warn },
	{ "log_error", policy_lib_log_error },
	{ "map", policy_lib_map },
	{ NULL, NULL }
};

static const struct {
	const char *name;
	const luaL_Reg *functions;
} tables[] = {
	{ "regex", policy_lib_regex },
	{ "string", policy_lib_string },
	{ "serde", policy_lib_serde },
	{ "time", policy_lib_time },
	{ "encode", policy_lib_encode },
	{ "digest", policy_lib_digest },
	{ "domain_map", policy_lib_domain_map },
};

/* Upvalues: the table, its name. The suggestion is looked for among the names in the table. */
static int
member_unknown(lua_State *L)
{
	const char *what = lua_tostring(L, lua_upvalueindex(2));
	const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
	struct suggest s;

	suggest_init(&s, key);
	for (lua_pushnil(L); lua_next(L, lua_upvalueindex(1)) != 0; lua_pop(L, 1))
		if (lua_type(L, -2) == LUA_TSTRING)
			suggest_consider(&s, lua_tostring(L, -2));
	if (s.best != NULL)
		return luaL_error(L, "%s.%s does not exist; did you mean %s.%s?", what, key, what, s.best);
	return luaL_error(L, "%s.%s does not exist in this version", what, key);
}

static int
member_fixed(lua_State *L)
{
	return luaL_error(L, "the %s module cannot be changed", lua_tostring(L, lua_upvalueindex(1)));
}

/* The table at the top gets a metatable whose __index complains. */
static void
complain_about_others(lua_State *L, const char *what)
{
	lua_newtable(L);
	lua_pushvalue(L, -2);
	lua_pushstring(L, what);
	lua_pushcclosure(L, member_unknown, 2);
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, -2);
}

void
policy_lib_seal(lua_State *L, const char *what)
{
	complain_about_others(L, what);
	lua_newtable(L);
	lua_newtable(L);
	lua_pushvalue(L, -3);
	lua_setfield(L, -2, "__index");
	lua_pushstring(L, what);
	lua_pushcclosure(L, member_fixed, 1);
	lua_setfield(L, -2, "__newindex");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
	lua_remove(L, -2);
}

void
policy_lib_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc)
{
	luaL_newmetatable(L, name);
	lua_newtable(L);
	luaL_setfuncs(L, methods, 0);
	complain_about_others(L, name);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	if (gc != NULL) {
		lua_pushcfunction(L, gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_pop(L, 1);
}

void
policy_lib_install(lua_State *L)
{
	size_t i;

	luaL_setfuncs(L, top_functions, 0);
	for (i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		lua_newtable(L);
		luaL_setfuncs(L, tables[i].functions, 0);
		lua_pushfstring(L, "posthorn.%s", tables[i].name);
		lua_insert(L, -2);
		policy_lib_seal(L, lua_tostring(L, -2));
		lua_setfield(L, -3, tables[i].name);
		lua_pop(L, 1);
	}
	policy_lib_regex_open(L);
	policy_lib_serde_open(L);
	policy_lib_map_open(L);
	policy_lib_domain_map_open(L);
}
