/* Library functions that can work for hours inside C, where the instruction hook does not look: pattern matching
 * with several repetitions, string.rep of nothing, table functions on a table whose length is a lie. Each is
 * replaced by one that refuses what cannot end soon and looks at the clock after what took long. Arguments may come
 * from strangers (a domain), the functions around them from the administrator. */
#include <string.h>

#include "mail/policy_private.h"

#define STEPS_MAX (1u << 25)   /* matching steps that are refused beforehand: a third of a second */
#define STEPS_CHECK (1u << 13) /* from here the clock is looked at afterwards */
#define COUNT_MAX 1000000      /* repetitions, elements */

static uint64_t
mul_capped(uint64_t a, uint64_t b)
{
	uint64_t v;

	return __builtin_mul_overflow(a, b, &v) || v > UINT32_MAX ? UINT32_MAX : v;
}

/* The most steps a match may take: each start position times each way to share the subject among the repetitions; %b
 * and back references walk the subject once more, and a set is as long as its pattern. */
static uint64_t
pattern_steps(const char *pat, size_t plen, size_t slen, bool anchors)
{
	uint64_t all = (uint64_t)slen + 1, steps = anchors && plen > 0 && pat[0] == '^' ? 1 : all;
	bool walks = false;
	size_t i;

	for (i = 0; i < plen; i++) {
		if (pat[i] == '%') {
			i++; /* the next character is no operator */
			if (i < plen && (pat[i] == 'b' || (pat[i] >= '0' && pat[i] <= '9')))
				walks = true;
		} else if (pat[i] == '*' || pat[i] == '+' || pat[i] == '-') {
			steps = mul_capped(steps, all);
		} else if (pat[i] == '?') {
			steps = mul_capped(steps, 2);
		}
	}
	if (walks)
		steps = mul_capped(steps, all);
	return mul_capped(steps, 1 + plen / 64);
}

/* Calls the original, upvalue 1, with all arguments. */
static int
original_call(lua_State *L, bool is_long)
{
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
	if (is_long)
		policy_clock_check(L, 1);
	return lua_gettop(L);
}

static int
pattern_call(lua_State *L, bool anchors, bool may_be_plain)
{
	size_t slen, plen;
	uint64_t steps;
	const char *pat;

	luaL_checklstring(L, 1, &slen);
	pat = luaL_checklstring(L, 2, &plen);
	if (may_be_plain && lua_toboolean(L, 4))
		steps = mul_capped(slen + 1, plen + 1);
	else
		steps = pattern_steps(pat, plen, slen, anchors);
	if (steps > STEPS_MAX)
		return luaL_error(L,
		    "the pattern is too costly for a text of %d characters (fewer of * + - or a shorter text)",
		    (int)slen);
	return original_call(L, steps > STEPS_CHECK);
}

static int
guarded_find(lua_State *L)
{
	return pattern_call(L, true, true);
}

static int
guarded_match(lua_State *L)
{
	return pattern_call(L, true, false);
}

/* ^ is no anchor in gmatch. */
static int
guarded_gmatch(lua_State *L)
{
	return pattern_call(L, false, false);
}

static int
guarded_rep(lua_State *L)
{
	lua_Integer n = luaL_checkinteger(L, 2);

	if (n > COUNT_MAX)
		return luaL_error(L, "string.rep: more than %d repetitions", COUNT_MAX);
	return original_call(L, n > 1000);
}

static int
guarded_move(lua_State *L)
{
	lua_Integer from = luaL_checkinteger(L, 2), to = luaL_checkinteger(L, 3);

	if (to >= from && ((lua_Unsigned)to - (lua_Unsigned)from) >= COUNT_MAX)
		return luaL_error(L, "table.move: more than %d elements", COUNT_MAX);
	return original_call(L, to > from && (lua_Unsigned)to - (lua_Unsigned)from > STEPS_CHECK);
}

/* insert, remove, concat, sort, unpack: without __len the length is what memory holds. */
static int
guarded_table(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	if (luaL_getmetafield(L, 1, "__len") != LUA_TNIL)
		return luaL_error(L, "table functions do not take a table with __len here");
	return original_call(L, lua_rawlen(L, 1) > STEPS_CHECK);
}

/* Finalizers run with hooks off. */
static int
guarded_setmetatable(lua_State *L)
{
	if (lua_type(L, 2) == LUA_TTABLE) {
		lua_pushliteral(L, "__gc");
		if (lua_rawget(L, 2) != LUA_TNIL)
			return luaL_error(L, "metatables with __gc are not allowed in policy");
		lua_pop(L, 1);
	}
	return original_call(L, false);
}

static const struct {
	const char *table; /* NULL: global */
	const char *name;
	lua_CFunction fn;
} guards[] = {
	{ "string", "find", guarded_find },
	{ "string", "match", guarded_match },
	{ "string", "gsub", guarded_match },
	{ "string", "gmatch", guarded_gmatch },
	{ "string", "rep", guarded_rep },
	{ "table", "move", guarded_move },
	{ "table", "insert", guarded_table },
	{ "table", "remove", guarded_table },
	{ "table", "concat", guarded_table },
	{ "table", "sort", guarded_table },
	{ "table", "unpack", guarded_table },
	{ NULL, "setmetatable", guarded_setmetatable },
};

void
policy_guard_install(lua_State *L)
{
	size_t i;

	for (i = 0; i < sizeof(guards) / sizeof(guards[0]); i++) {
		lua_pushglobaltable(L);
		if (guards[i].table != NULL) {
			lua_getfield(L, -1, guards[i].table);
			lua_remove(L, -2);
		}
		lua_getfield(L, -1, guards[i].name);
		lua_pushcclosure(L, guards[i].fn, 1);
		lua_setfield(L, -2, guards[i].name);
		lua_pop(L, 1);
	}
}
