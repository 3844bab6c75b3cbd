/* posthorn.serde: JSON, by jansson. Whole numbers stay integers and others floats. A member of an object that is null
 * is absent; in a list null becomes false, so that the list keeps its length. Text and depth are bounded before jansson
 * sees them, for its memory is not counted as Lua's. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mail/policy_lib.h"

#define BOX "json"

/* A Lua error leaves by a long jump; the box's finalizer then frees what jansson made. */
static json_t **
box_push(lua_State *L)
{
	json_t **box = lua_newuserdatauv(L, sizeof(json_t *), 0);

	*box = NULL;
	luaL_setmetatable(L, BOX);
	return box;
}

static int
box_gc(lua_State *L)
{
	json_t **box = luaL_checkudata(L, 1, BOX);

	json_decref(*box);
	*box = NULL;
	return 0;
}

static void
value_push(lua_State *L, json_t *v)
{
	const char *key;
	json_t *member;
	size_t i;

	luaL_checkstack(L, 4, "JSON");
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		lua_createtable(L, 0, (int)json_object_size(v));
		json_object_foreach(v, key, member) {
			if (json_is_null(member))
				continue;
			value_push(L, member);
			lua_setfield(L, -2, key);
		}
		break;
	case JSON_ARRAY:
		lua_createtable(L, (int)json_array_size(v), 0);
		json_array_foreach(v, i, member) {
			if (json_is_null(member))
				lua_pushboolean(L, 0);
			else
				value_push(L, member);
			lua_rawseti(L, -2, (lua_Integer)i + 1);
		}
		break;
	case JSON_STRING:
		lua_pushlstring(L, json_string_value(v), json_string_length(v));
		break;
	case JSON_INTEGER:
		lua_pushinteger(L, json_integer_value(v));
		break;
	case JSON_REAL:
		lua_pushnumber(L, json_real_value(v));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		lua_pushboolean(L, json_is_true(v));
		break;
	case JSON_NULL:
		lua_pushnil(L);
		break;
	}
}

/* Brackets outside strings; what is not JSON is found by jansson. */
static bool
is_deep(const char *s, size_t len)
{
	unsigned depth = 0;
	bool in_string = false;
	size_t i;

	for (i = 0; i < len; i++) {
		if (in_string) {
			if (s[i] == '\\')
				i++;
			else if (s[i] == '"')
				in_string = false;
		} else if (s[i] == '"') {
			in_string = true;
		} else if (s[i] == '[' || s[i] == '{') {
			if (++depth > POLICY_LIB_DEPTH_MAX)
				return true;
		} else if ((s[i] == ']' || s[i] == '}') && depth > 0) {
			depth--;
		}
	}
	return false;
}

void
policy_lib_json_push(lua_State *L, const char *text, size_t len)
{
	json_error_t err;
	json_t **box;

	if (len > POLICY_LIB_JSON_MAX)
		luaL_error(L, "the JSON text is longer than %d KiB", (int)(POLICY_LIB_JSON_MAX >> 10));
	if (is_deep(text, len))
		luaL_error(L, "the JSON text is nested deeper than %d levels", POLICY_LIB_DEPTH_MAX);
	box = box_push(L);
	if ((*box = json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &err)) == NULL) {
		luaL_error(L, "not JSON: line %d, column %d: %s", err.line, err.column, err.text);
		return; /* it does not */
	}
	value_push(L, *box);
	json_decref(*box);
	*box = NULL;
	lua_remove(L, -2);
}

int
policy_lib_json_parse(lua_State *L)
{
	size_t len;
	const char *text = luaL_checklstring(L, 1, &len);

	policy_lib_json_push(L, text, len);
	policy_clock_check(L, 1);
	return 1;
}

/* Into *out, which the box holds as soon as it exists. */
static void value_take(lua_State *L, int at, json_t **out, unsigned depth);

static void
child_take(lua_State *L, json_t *parent, const char *key, unsigned depth)
{
	json_t **box = box_push(L);
	int rc;

	value_take(L, lua_gettop(L) - 1, box, depth);
	rc = key != NULL ? json_object_set_new(parent, key, *box) : json_array_append_new(parent, *box);
	*box = NULL;
	if (rc != 0)
		luaL_error(L, "json_encode: out of memory, or a key is not UTF-8");
	lua_pop(L, 1);
}

static void
table_take(lua_State *L, int at, json_t **out, unsigned depth)
{
	lua_Integer i, n = (lua_Integer)lua_rawlen(L, at), keys = 0;

	if (depth > POLICY_LIB_DEPTH_MAX)
		luaL_error(L, "json_encode: nested deeper than %d levels, or a table that contains itself",
		    POLICY_LIB_DEPTH_MAX);
	luaL_checkstack(L, 8, "JSON");
	policy_clock_check(L, 1);
	for (lua_pushnil(L); lua_next(L, at) != 0; lua_pop(L, 1))
		keys++;
	if (n > 0 && keys == n) {
		*out = json_array();
		for (i = 1; i <= n; i++) {
			lua_rawgeti(L, at, i);
			child_take(L, *out, NULL, depth + 1);
			lua_pop(L, 1);
		}
		return;
	}
	*out = json_object();
	for (lua_pushnil(L); lua_next(L, at) != 0; lua_pop(L, 1)) {
		if (lua_type(L, -2) != LUA_TSTRING || strlen(lua_tostring(L, -2)) != lua_rawlen(L, -2))
			luaL_error(L, "json_encode: a table is a list without gaps or has only strings as keys");
		child_take(L, *out, lua_tostring(L, -2), depth + 1);
	}
}

static void
value_take(lua_State *L, int at, json_t **out, unsigned depth)
{
	size_t len;
	const char *s;

	switch (lua_type(L, at)) {
	case LUA_TTABLE:
		table_take(L, at, out, depth);
		break;
	case LUA_TSTRING:
		s = lua_tolstring(L, at, &len);
		if ((*out = json_stringn(s, len)) == NULL)
			luaL_error(L, "json_encode: a string is not UTF-8");
		break;
	case LUA_TNUMBER:
		if (lua_isinteger(L, at))
			*out = json_integer(lua_tointeger(L, at));
		else if (isfinite(lua_tonumber(L, at)))
			*out = json_real(lua_tonumber(L, at));
		else
			luaL_error(L, "json_encode: JSON has no number such as inf or nan");
		break;
	case LUA_TBOOLEAN:
		*out = json_boolean(lua_toboolean(L, at));
		break;
	case LUA_TNIL:
		*out = json_null();
		break;
	default:
		luaL_error(L, "json_encode: a %s cannot be written as JSON", luaL_typename(L, at));
	}
	if (*out == NULL)
		luaL_error(L, "not enough memory");
}

static int
encode(lua_State *L, size_t flags)
{
	json_t **box;
	size_t len;
	char *out;

	luaL_checkany(L, 1);
	lua_settop(L, 1);
	box = box_push(L);
	value_take(L, 1, box, 0);
	flags |= JSON_ENCODE_ANY | JSON_SORT_KEYS;
	len = json_dumpb(*box, NULL, 0, flags);
	out = lua_newuserdatauv(L, len + 1, 0);
	if (len == 0 || json_dumpb(*box, out, len, flags) != len)
		return luaL_error(L, "json_encode: not enough memory");
	lua_pushlstring(L, out, len);
	return 1;
}

int
policy_lib_json_encode(lua_State *L)
{
	return encode(L, JSON_COMPACT);
}

static int
serde_json_encode_pretty(lua_State *L)
{
	return encode(L, JSON_INDENT(2));
}

const luaL_Reg policy_lib_serde[] = {
	{ "json_encode", policy_lib_json_encode },
	{ "json_encode_pretty", serde_json_encode_pretty },
	{ "json_parse", policy_lib_json_parse },
	{ NULL, NULL }
};

void
policy_lib_serde_open(lua_State *L)
{
	luaL_newmetatable(L, BOX);
	lua_pushcfunction(L, box_gc);
	lua_setfield(L, -2, "__gc");
	lua_pop(L, 1);
}
