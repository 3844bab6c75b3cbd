/* posthorn.regex: Perl's regular expressions, by PCRE2. Patterns are the administrator's, subjects come from strangers,
 * and some pairs of them take for ever; so a match is bounded in steps, depth and heap, and looks at the event's clock
 * through automatic callouts. No JIT: the daemons may not have memory that is both written and executed.
 *
 * Texts are bytes: `.` is any byte and case is that of ASCII. In UTF mode a single invalid byte would end a match,
 * which is a way for a stranger to step around a rule. (*UTF) is refused. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "mail/policy_lib.h"

#define CLASS "regex"
#define PATTERN_MAX (64u << 10)
#define MATCH_LIMIT 10000000u /* steps from one start */
#define DEPTH_LIMIT 100000u
#define HEAP_LIMIT_KIB 8192u
#define CALLOUT_WORK 65536u   /* bytes that may have been looked at between looks at the clock */

struct regex {
	pcre2_general_context *general;
	pcre2_code *code;
	pcre2_match_context *context;
	pcre2_match_data *data;
	lua_State *L; /* of the running match */
	size_t work;
};

/* PCRE2 does not say how long a block is when it frees it. */
union block {
	size_t size;
	max_align_t align;
};

static void *
counted_malloc(size_t size, void *ud)
{
	union block *b = NULL;

	if (size < POLICY_MEMORY_MAX)
		b = policy_memory_alloc(ud, NULL, 0, size + sizeof(*b));
	if (b == NULL)
		return NULL;
	b->size = size + sizeof(*b);
	return b + 1;
}

static void
counted_free(void *ptr, void *ud)
{
	union block *b = ptr;

	if (b != NULL)
		policy_memory_alloc(ud, b - 1, b[-1].size, 0);
}

static void
regex_release(struct regex *r)
{
	pcre2_match_data_free(r->data);
	pcre2_match_context_free(r->context);
	pcre2_code_free(r->code);
	pcre2_general_context_free(r->general);
	memset(r, 0, sizeof(*r));
}

static int
regex_gc(lua_State *L)
{
	regex_release(luaL_checkudata(L, 1, CLASS));
	return 0;
}

/* One step may look at the whole subject. Lua errors cannot be raised through PCRE2. */
static int
on_callout(pcre2_callout_block *block, void *ud)
{
	struct regex *r = ud;

	r->work += 1 + block->subject_length / 64;
	if (r->work < CALLOUT_WORK / 16)
		return 0;
	r->work = 0;
	return policy_clock_is_over(r->L) ? PCRE2_ERROR_CALLOUT : 0;
}

/* 0, or PCRE2's error. */
static int
compile(struct policy *p, struct regex *r, const char *pattern, size_t len, PCRE2_SIZE *at)
{
	pcre2_compile_context *cc;
	int err = PCRE2_ERROR_NOMEMORY;

	if ((r->general = pcre2_general_context_create(counted_malloc, counted_free, p)) == NULL ||
	    (cc = pcre2_compile_context_create(r->general)) == NULL)
		return err;
	r->code = pcre2_compile((PCRE2_SPTR)pattern, len, PCRE2_AUTO_CALLOUT | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP, &err,
	    at, cc);
	pcre2_compile_context_free(cc);
	if (r->code == NULL)
		return err == PCRE2_ERROR_HEAP_FAILED ? PCRE2_ERROR_NOMEMORY : err;
	r->data = pcre2_match_data_create_from_pattern(r->code, r->general);
	r->context = pcre2_match_context_create(r->general);
	if (r->data == NULL || r->context == NULL)
		return PCRE2_ERROR_NOMEMORY;
	pcre2_set_match_limit(r->context, MATCH_LIMIT);
	pcre2_set_depth_limit(r->context, DEPTH_LIMIT);
	pcre2_set_heap_limit(r->context, HEAP_LIMIT_KIB);
	pcre2_set_callout(r->context, on_callout, r);
	return 0;
}

static int
regex_compile(lua_State *L)
{
	size_t len;
	const char *pattern = luaL_checklstring(L, 1, &len);
	struct regex *r = lua_newuserdatauv(L, sizeof(*r), 0);
	PCRE2_UCHAR why[256];
	PCRE2_SIZE at = 0;
	int err;

	luaL_argcheck(L, len <= PATTERN_MAX, 1, "the pattern is longer than 64 KiB");
	memset(r, 0, sizeof(*r));
	luaL_setmetatable(L, CLASS);
	if ((err = compile(policy_of(L), r, pattern, len, &at)) == PCRE2_ERROR_NOMEMORY) {
		/* Lua does not see how large patterns are that nobody has any more. */
		regex_release(r);
		lua_gc(L, LUA_GCCOLLECT);
		err = compile(policy_of(L), r, pattern, len, &at);
	}
	if (err == PCRE2_ERROR_NOMEMORY)
		return luaL_error(L, "used more than %d MiB of memory", (int)(POLICY_MEMORY_MAX >> 20));
	if (err != 0) {
		pcre2_get_error_message(err, why, sizeof(why));
		return luaL_error(L, "the pattern is wrong at character %d: %s", (int)at + 1, (const char *)why);
	}
	policy_clock_check(L, 1);
	return 1;
}

static int
regex_escape(lua_State *L)
{
	size_t len, i;
	const char *s = luaL_checklstring(L, 1, &len);
	luaL_Buffer b;

	luaL_buffinit(L, &b);
	for (i = 0; i < len; i++) {
		if (s[i] == '\0') {
			luaL_addstring(&b, "\\x00");
			continue;
		}
		if (s[i] == '\n') { /* \ in front of it is itself under (?x) only; the escape always is */
			luaL_addstring(&b, "\\n");
			continue;
		}
		if (strchr("\\.+*?()|[]{}^$#&-~/ \t", s[i]) != NULL)
			luaL_addchar(&b, '\\');
		luaL_addchar(&b, s[i]);
	}
	luaL_pushresult(&b);
	return 1;
}

struct subject {
	struct regex *r;
	const char *s;
	size_t len;
	size_t *at; /* of the match: pairs of offsets */
	int n;      /* pairs */
};

static void
match_failed(lua_State *L, int rc)
{
	PCRE2_UCHAR why[128];

	policy_clock_check(L, 1);
	if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT || rc == PCRE2_ERROR_HEAPLIMIT) {
		luaL_error(L, "the pattern is too costly for this text");
		return;
	}
	pcre2_get_error_message(rc, why, sizeof(why));
	luaL_error(L, "regex: %s", (const char *)why);
}

static void
subject_begin(lua_State *L, struct subject *su, int arg)
{
	su->r = luaL_checkudata(L, 1, CLASS);
	su->s = luaL_checklstring(L, arg, &su->len);
	su->at = pcre2_get_ovector_pointer(su->r->data);
	su->r->L = L;
}

/* From that offset on. */
static bool
match_at(lua_State *L, struct subject *su, size_t from, uint32_t options)
{
	int rc = pcre2_match(su->r->code, (PCRE2_SPTR)su->s, su->len, from, options, su->r->data, su->r->context);

	if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
		match_failed(L, rc);
	su->n = rc;
	/* \K behind a lookahead can turn these round. */
	if (rc > 0 && su->at[0] > su->at[1])
		luaL_error(L, "the pattern uses \\K in a way that is not supported");
	return rc > 0;
}

/* The next match behind the previous; an empty one does not touch the previous. */
static bool
match_next(lua_State *L, struct subject *su, size_t *from, bool *no_empty)
{
	for (;;) {
		if (*from > su->len)
			return false;
		if (match_at(L, su, *from, *no_empty ? PCRE2_NOTEMPTY_ATSTART | PCRE2_ANCHORED : 0))
			break;
		if (!*no_empty)
			return false;
		*no_empty = false;
		++*from;
	}
	*no_empty = true;
	*from = su->at[1];
	policy_clock_check(L, 1);
	return true;
}

static int
regex_is_match(lua_State *L)
{
	struct subject su;

	subject_begin(L, &su, 2);
	lua_pushboolean(L, match_at(L, &su, 0, 0));
	return 1;
}

static int
regex_find(lua_State *L)
{
	struct subject su;

	subject_begin(L, &su, 2);
	if (!match_at(L, &su, 0, 0))
		return 0;
	lua_pushlstring(L, su.s + su.at[0], su.at[1] - su.at[0]);
	return 1;
}

static int
regex_find_all(lua_State *L)
{
	struct subject su;
	size_t from = 0;
	bool no_empty = false;
	lua_Integer i = 0;

	subject_begin(L, &su, 2);
	lua_newtable(L);
	while (match_next(L, &su, &from, &no_empty)) {
		lua_pushlstring(L, su.s + su.at[0], su.at[1] - su.at[0]);
		lua_rawseti(L, -2, ++i);
	}
	return 1;
}

static bool
group_push(lua_State *L, const struct subject *su, uint32_t i)
{
	if (i >= (uint32_t)su->n || su->at[2 * i] == PCRE2_UNSET || su->at[2 * i] > su->at[2 * i + 1])
		return false;
	lua_pushlstring(L, su->s + su->at[2 * i], su->at[2 * i + 1] - su->at[2 * i]);
	return true;
}

/* Groups by number, the whole match as 0, and by name. */
static int
regex_captures(lua_State *L)
{
	struct subject su;
	uint32_t i, names = 0, size = 0;
	PCRE2_SPTR entry = NULL;

	subject_begin(L, &su, 2);
	if (!match_at(L, &su, 0, 0))
		return 0;
	lua_newtable(L);
	for (i = 0; i < (uint32_t)su.n; i++) {
		if (group_push(L, &su, i))
			lua_rawseti(L, -2, (lua_Integer)i);
	}
	pcre2_pattern_info(su.r->code, PCRE2_INFO_NAMECOUNT, &names);
	pcre2_pattern_info(su.r->code, PCRE2_INFO_NAMEENTRYSIZE, &size);
	pcre2_pattern_info(su.r->code, PCRE2_INFO_NAMETABLE, &entry);
	for (i = 0; i < names; i++, entry += size) {
		if (group_push(L, &su, (uint32_t)entry[0] << 8 | entry[1]))
			lua_setfield(L, -2, (const char *)entry + 2);
	}
	return 1;
}

/* $1, ${1}, $name, ${name}, and $$ for the sign itself, as in KumoMTA. Groups that did not take part are empty. */
static void
template_add(lua_State *L, luaL_Buffer *b, const struct subject *su, const char *t, size_t len)
{
	char name[33];
	size_t i = 0, n;
	bool is_braced;
	int group;

	while (i < len) {
		if (t[i] != '$') {
			luaL_addchar(b, t[i++]);
			continue;
		}
		if (++i < len && t[i] == '$') {
			luaL_addchar(b, t[i++]);
			continue;
		}
		is_braced = i < len && t[i] == '{';
		i += is_braced;
		for (n = 0; i < len && n < sizeof(name) - 1 && (t[i] == '_' || (t[i] >= '0' && t[i] <= '9') ||
		    ((t[i] | 32) >= 'a' && (t[i] | 32) <= 'z')); i++)
			name[n++] = t[i];
		name[n] = '\0';
		if (n == 0 || (is_braced && (i >= len || t[i] != '}')))
			luaL_error(L, "the replacement has a $ without a group (write $$ for the sign itself)");
		i += is_braced;
		group = strspn(name, "0123456789") == n ? (n < 6 ? (int)strtol(name, NULL, 10) : 99999) :
		    pcre2_substring_number_from_name(su->r->code, (PCRE2_SPTR)name);
		if (group < 0 || (uint32_t)group >= pcre2_get_ovector_count(su->r->data))
			luaL_error(L, "the replacement names the group '%s', which the pattern does not have", name);
		if (group < su->n && su->at[2 * group] != PCRE2_UNSET && su->at[2 * group] <= su->at[2 * group + 1])
			luaL_addlstring(b, su->s + su->at[2 * group], su->at[2 * group + 1] - su->at[2 * group]);
	}
}

static int
replace(lua_State *L, lua_Integer max)
{
	struct subject su;
	size_t from = 0, copied = 0, len;
	bool no_empty = false;
	const char *with = luaL_checklstring(L, 3, &len);
	luaL_Buffer b;

	subject_begin(L, &su, 2);
	luaL_buffinit(L, &b);
	while (max-- > 0 && match_next(L, &su, &from, &no_empty)) {
		luaL_addlstring(&b, su.s + copied, su.at[0] - copied);
		copied = su.at[1];
		template_add(L, &b, &su, with, len);
	}
	luaL_addlstring(&b, su.s + copied, su.len - copied);
	luaL_pushresult(&b);
	return 1;
}

static int
regex_replace(lua_State *L)
{
	return replace(L, 1);
}

static int
regex_replace_all(lua_State *L)
{
	return replace(L, LUA_MAXINTEGER);
}

static int
regex_split(lua_State *L)
{
	struct subject su;
	size_t from = 0, begin = 0;
	bool no_empty = false;
	lua_Integer i = 0;

	subject_begin(L, &su, 2);
	lua_newtable(L);
	while (match_next(L, &su, &from, &no_empty)) {
		lua_pushlstring(L, su.s + begin, su.at[0] - begin);
		lua_rawseti(L, -2, ++i);
		begin = su.at[1];
	}
	lua_pushlstring(L, su.s + begin, su.len - begin);
	lua_rawseti(L, -2, ++i);
	return 1;
}

const luaL_Reg policy_lib_regex[] = {
	{ "compile", regex_compile },
	{ "escape", regex_escape },
	{ NULL, NULL }
};

static const luaL_Reg regex_methods[] = {
	{ "captures", regex_captures },
	{ "find", regex_find },
	{ "find_all", regex_find_all },
	{ "is_match", regex_is_match },
	{ "replace", regex_replace },
	{ "replace_all", regex_replace_all },
	{ "split", regex_split },
	{ NULL, NULL }
};

void
policy_lib_regex_open(lua_State *L)
{
	policy_lib_class(L, CLASS, regex_methods, regex_gc);
}
