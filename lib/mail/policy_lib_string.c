/* posthorn.string: what KumoMTA has beside Lua's own string library and is asked for often. Texts are bytes, letters are
 * those of ASCII; separators are plain text, not patterns. */
#include <string.h>

#include "mail/policy_lib.h"

#define CHECK_EVERY 1024 /* pieces between looks at the clock */

static bool
is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static int
trim(lua_State *L, bool at_start, bool at_end)
{
	size_t len;
	const char *s = luaL_checklstring(L, 1, &len), *end = s + len;

	while (at_start && s < end && is_space(*s))
		s++;
	while (at_end && s < end && is_space(end[-1]))
		end--;
	lua_pushlstring(L, s, (size_t)(end - s));
	return 1;
}

static int
string_trim(lua_State *L)
{
	return trim(L, true, true);
}

static int
string_trim_start(lua_State *L)
{
	return trim(L, true, false);
}

static int
string_trim_end(lua_State *L)
{
	return trim(L, false, true);
}

static int
string_starts_with(lua_State *L)
{
	size_t len, n;
	const char *s = luaL_checklstring(L, 1, &len), *with = luaL_checklstring(L, 2, &n);

	lua_pushboolean(L, len >= n && memcmp(s, with, n) == 0);
	return 1;
}

static int
string_ends_with(lua_State *L)
{
	size_t len, n;
	const char *s = luaL_checklstring(L, 1, &len), *with = luaL_checklstring(L, 2, &n);

	lua_pushboolean(L, len >= n && memcmp(s + len - n, with, n) == 0);
	return 1;
}

static int
string_contains(lua_State *L)
{
	size_t len, n;
	const char *s = luaL_checklstring(L, 1, &len), *what = luaL_checklstring(L, 2, &n);

	lua_pushboolean(L, n == 0 || memmem(s, len, what, n) != NULL);
	return 1;
}

static int
change_case(lua_State *L, char from, char to)
{
	size_t len, i;
	const char *s = luaL_checklstring(L, 1, &len);
	luaL_Buffer b;
	char *out = luaL_buffinitsize(L, &b, len);

	for (i = 0; i < len; i++)
		out[i] = s[i] >= from && s[i] <= from + 25 ? (char)(s[i] + (to - from)) : s[i];
	luaL_pushresultsize(&b, len);
	return 1;
}

static int
string_to_lowercase(lua_State *L)
{
	return change_case(L, 'A', 'a');
}

static int
string_to_uppercase(lua_State *L)
{
	return change_case(L, 'a', 'A');
}

static int
string_eq_ignore_ascii_case(lua_State *L)
{
	size_t len, n, i;
	const char *a = luaL_checklstring(L, 1, &len), *b = luaL_checklstring(L, 2, &n);
	unsigned char x, y;

	for (i = 0; len == n && i < len; i++) {
		x = (unsigned char)a[i];
		y = (unsigned char)b[i];
		if (x != y && ((x | 32) != (y | 32) || (x | 32) < 'a' || (x | 32) > 'z'))
			break;
	}
	lua_pushboolean(L, len == n && i == len);
	return 1;
}

/* Pieces between separators, at most `max`: the last has the rest. */
static int
split(lua_State *L, int subject, int separator, lua_Integer max)
{
	size_t len, n;
	const char *s = luaL_checklstring(L, subject, &len), *sep = luaL_checklstring(L, separator, &n), *hit;
	lua_Integer i = 0;

	luaL_argcheck(L, n > 0, separator, "the separator is empty");
	lua_newtable(L);
	while (i + 1 < max && (hit = memmem(s, len, sep, n)) != NULL) {
		lua_pushlstring(L, s, (size_t)(hit - s));
		lua_rawseti(L, -2, ++i);
		len -= (size_t)(hit - s) + n;
		s = hit + n;
		if (i % CHECK_EVERY == 0)
			policy_clock_check(L, 1);
	}
	lua_pushlstring(L, s, len);
	lua_rawseti(L, -2, i + 1);
	return 1;
}

static int
string_split(lua_State *L)
{
	return split(L, 1, 2, LUA_MAXINTEGER);
}

static int
string_splitn(lua_State *L)
{
	lua_Integer max = luaL_checkinteger(L, 2);

	luaL_argcheck(L, max > 0, 2, "the limit must be at least 1");
	return split(L, 1, 3, max);
}

static int
string_split_ascii_whitespace(lua_State *L)
{
	size_t len;
	const char *s = luaL_checklstring(L, 1, &len), *end = s + len, *word;
	lua_Integer i = 0;

	lua_newtable(L);
	for (;;) {
		while (s < end && is_space(*s))
			s++;
		if (s == end)
			return 1;
		for (word = s; s < end && !is_space(*s); s++)
			;
		lua_pushlstring(L, word, (size_t)(s - word));
		lua_rawseti(L, -2, ++i);
		if (i % CHECK_EVERY == 0)
			policy_clock_check(L, 1);
	}
}

static int
replace(lua_State *L, lua_Integer max)
{
	size_t len, n, m;
	const char *s = luaL_checklstring(L, 1, &len), *from = luaL_checklstring(L, 2, &n);
	const char *to = luaL_checklstring(L, 3, &m), *hit;
	lua_Integer i = 0;
	luaL_Buffer b;

	luaL_argcheck(L, n > 0, 2, "the text to replace is empty");
	luaL_buffinit(L, &b);
	for (; i < max && (hit = memmem(s, len, from, n)) != NULL; i++) {
		luaL_addlstring(&b, s, (size_t)(hit - s));
		luaL_addlstring(&b, to, m);
		len -= (size_t)(hit - s) + n;
		s = hit + n;
	}
	luaL_addlstring(&b, s, len);
	luaL_pushresult(&b);
	policy_clock_check(L, 1);
	return 1;
}

static int
string_replace(lua_State *L)
{
	return replace(L, LUA_MAXINTEGER);
}

static int
string_replacen(lua_State *L)
{
	return replace(L, luaL_checkinteger(L, 4));
}

const luaL_Reg policy_lib_string[] = {
	{ "contains", string_contains },
	{ "ends_with", string_ends_with },
	{ "eq_ignore_ascii_case", string_eq_ignore_ascii_case },
	{ "replace", string_replace },
	{ "replacen", string_replacen },
	{ "split", string_split },
	{ "split_ascii_whitespace", string_split_ascii_whitespace },
	{ "splitn", string_splitn },
	{ "starts_with", string_starts_with },
	{ "to_lowercase", string_to_lowercase },
	{ "to_uppercase", string_to_uppercase },
	{ "trim", string_trim },
	{ "trim_end", string_trim_end },
	{ "trim_start", string_trim_start },
	{ NULL, NULL }
};
