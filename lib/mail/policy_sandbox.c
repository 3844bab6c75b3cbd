/* The jail around Lua: which libraries a policy sees, how much memory and time it gets, and how its errors come
 * back. Any process that loads policy. The policy is the administrator's, yet it runs on what strangers send, inside
 * daemons that serve everybody: an endless loop or a table that grows for ever must cost one request.
 *
 * What was found to escape an instruction hook, and what is done about it: pcall in a loop (once over time the hook
 * fires at every instruction and raises again and again, so the loop around pcall dies too); xpcall, whose handler
 * runs with hooks off, finalizers, likewise, and coroutines, whose pending __close does (none of them is here); long
 * work inside C (policy_guard.c). The process's watchdog stands behind all of it. */
#include <lualib.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/suggest.h"
#include "base/xalloc.h"
#include "mail/policy_private.h"

#define HOOK_COUNT 1000      /* instructions between looks at the clock */
#define LOG_REPEAT_SECONDS 10 /* the same error is logged once in that time */

struct policy *
policy_of(lua_State *L)
{
	return *(struct policy **)lua_getextraspace(L);
}

void *
policy_memory_alloc(void *ud, void *ptr, size_t osize, size_t nsize)
{
	struct policy *p = ud;
	void *q;

	if (ptr == NULL)
		osize = 0; /* Lua passes a type there */
	if (nsize == 0) {
		free(ptr);
		p->memory -= osize;
		return NULL;
	}
	if (nsize > osize && p->memory - osize + nsize > POLICY_MEMORY_MAX)
		return NULL;
	if ((q = realloc(ptr, nsize)) != NULL)
		p->memory += nsize - osize;
	return q;
}

int64_t
policy_cpu_now(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) != 0)
		panic("policy: no thread clock");
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void
hook(lua_State *L, lua_Debug *ar)
{
	(void)ar;
	policy_clock_check(L, 0);
}

/* The clock is first read at the first hook, so that a short event costs no system call. */
bool
policy_clock_is_over(lua_State *L)
{
	struct policy *p = policy_of(L);

	if (p->is_overrun)
		return true;
	if (p->cpu_start == 0) {
		p->cpu_start = policy_cpu_now();
		return false;
	}
	if (policy_cpu_now() - p->cpu_start < p->cpu_limit)
		return false;
	p->is_overrun = true;
	lua_sethook(L, hook, LUA_MASKCOUNT, 1);
	return true;
}

void
policy_clock_extend(struct policy *p, int64_t ns)
{
	if (p->cpu_start != 0)
		p->cpu_start += ns;
}

void
policy_clock_check(lua_State *L, int level)
{
	struct policy *p = policy_of(L);

	if (!policy_clock_is_over(L))
		return;
	luaL_where(L, level);
	lua_pushfstring(L, "used more than %d ms of CPU time", (int)(p->cpu_limit / 1000000));
	lua_concat(L, 2);
	lua_error(L);
}

/* Newlines would be escaped by the log; an arrow reads better. */
static void
flatten(char *s)
{
	char *in, *out = s;

	for (in = s; *in != '\0'; in++) {
		if (*in == '\n' && in[1] == '\t') {
			*out++ = ' ';
			*out++ = '<';
			in++;
			continue;
		}
		*out++ = *in == '\n' || *in == '\t' ? ' ' : *in;
	}
	*out = '\0';
}

void
policy_log(struct policy *p, const char *text)
{
	struct timespec now;
	char *line;

	if (clock_gettime(CLOCK_MONOTONIC_COARSE, &now) != 0)
		now.tv_sec = 0;
	line = xstrdup(text);
	flatten(line);
	if (p->logged != NULL && strcmp(p->logged, line) == 0 && now.tv_sec - p->logged_at < LOG_REPEAT_SECONDS) {
		free(line);
		return;
	}
	log_warn("policy: %s", line);
	free(p->logged);
	p->logged = line;
	p->logged_at = now.tv_sec;
}

/* Runs where the error happened, while the stack still shows it. */
static int
message_handler(lua_State *L)
{
	struct policy *p = policy_of(L);

	if (lua_type(L, 1) != LUA_TSTRING) {
		lua_settop(L, 0);
		lua_pushfstring(L, "%s: an error that is not a string was raised", p->chunk);
	}
	if (p->errs == NULL) {
		luaL_traceback(L, L, lua_tostring(L, 1), 1);
		policy_log(p, lua_tostring(L, -1));
		lua_settop(L, 1);
	}
	return 1;
}

char *
policy_run(struct policy *p, lua_CFunction fn, void *arg, unsigned ms)
{
	lua_State *L = p->L;
	char *err = NULL;
	int rc;

	p->cpu_limit = (int64_t)ms * 1000000;
	p->cpu_start = 0;
	lua_pushcfunction(L, message_handler);
	lua_pushcfunction(L, fn);
	lua_pushlightuserdata(L, arg);
	rc = lua_pcall(L, 1, 0, -3);
	if (rc != LUA_OK) {
		if (rc == LUA_ERRMEM)
			err = xasprintf("%s: used more than %u MiB of memory", p->chunk, POLICY_MEMORY_MAX >> 20);
		else
			err = xstrdup(lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "unknown error");
		if (rc != LUA_ERRRUN && p->errs == NULL)
			policy_log(p, err);
	}
	lua_settop(L, 0);
	if (p->is_overrun) {
		p->is_overrun = false;
		lua_sethook(L, hook, LUA_MASKCOUNT, HOOK_COUNT);
	}
	return err;
}

static int
print_to_log(lua_State *L)
{
	int i, n = lua_gettop(L);
	luaL_Buffer b;

	/* Each argument becomes a string in its own slot first: a buffer under construction owns the top of the
	 * stack. */
	for (i = 1; i <= n; i++) {
		luaL_tolstring(L, i, NULL);
		lua_replace(L, i);
	}
	luaL_buffinit(L, &b);
	for (i = 1; i <= n; i++) {
		if (i > 1)
			luaL_addchar(&b, ' ');
		lua_pushvalue(L, i);
		luaL_addvalue(&b);
	}
	luaL_pushresult(&b);
	log_info("policy: %s", lua_tostring(L, -1));
	return 0;
}

static int
module_require(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);

	if (strcmp(name, "posthorn") != 0 && strcmp(name, "kumo") != 0)
		return luaL_error(L, "there is no module '%s'; policy has 'posthorn' (also called 'kumo') and no files",
		    name);
	lua_settop(L, 0);
	lua_getglobal(L, "posthorn");
	return 1;
}

/* Plain Lua reads a misspelt variable as nil, and `if tenat == 'promotional'` quietly chooses the other pool. */
static int
global_unknown(lua_State *L)
{
	const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
	struct suggest s;

	suggest_init(&s, key);
	lua_settop(L, 2);
	for (lua_pushnil(L); lua_next(L, 1) != 0; lua_pop(L, 1))
		if (lua_type(L, -2) == LUA_TSTRING)
			suggest_consider(&s, lua_tostring(L, -2));
	if (s.best != NULL)
		return luaL_error(L, "undefined variable '%s'; did you mean '%s'?", key, s.best);
	return luaL_error(L, "undefined variable '%s'", key);
}

static void
globals_remove(lua_State *L)
{
	static const char *const gone[] = { "collectgarbage", "dofile", "load", "loadfile", "warn", "xpcall", NULL };
	int i;

	for (i = 0; gone[i] != NULL; i++) {
		lua_pushnil(L);
		lua_setglobal(L, gone[i]);
	}
	lua_getglobal(L, "string");
	lua_pushnil(L);
	lua_setfield(L, -2, "dump");
	lua_pop(L, 1);
}

static void
os_open(lua_State *L)
{
	static const char *const kept[] = { "clock", "date", "difftime", "time", NULL };
	int i;

	luaL_requiref(L, LUA_OSLIBNAME, luaopen_os, 0);
	lua_newtable(L);
	for (i = 0; kept[i] != NULL; i++) {
		lua_getfield(L, -2, kept[i]);
		lua_setfield(L, -2, kept[i]);
	}
	lua_setglobal(L, LUA_OSLIBNAME);
	lua_pop(L, 1);
}

static void
globals_guard(lua_State *L)
{
	lua_pushglobaltable(L);
	lua_newtable(L);
	lua_pushcfunction(L, global_unknown);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
	lua_pop(L, 1);
}

static int
libraries_open(lua_State *L)
{
	luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
	luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
	luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 1);
	luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 1);
	luaL_requiref(L, LUA_UTF8LIBNAME, luaopen_utf8, 1);
	lua_settop(L, 0);
	globals_remove(L);
	os_open(L);
	policy_guard_install(L);
	lua_pushcfunction(L, print_to_log);
	lua_setglobal(L, "print");
	lua_pushcfunction(L, module_require);
	lua_setglobal(L, "require");
	if (policy_of(L)->shaping != NULL)
		shaping_define_open(L);
	else
		policy_define_open(L);
	lua_pushvalue(L, -1);
	lua_setglobal(L, "kumo");
	lua_setglobal(L, "posthorn");
	globals_guard(L);
	return 0;
}

static int
at_panic(lua_State *L)
{
	panic("policy: Lua error outside a protected call: %s",
	    lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?");
}

int
policy_sandbox_open(struct policy *p)
{
	char *err;

	if ((p->L = lua_newstate(policy_memory_alloc, p)) == NULL)
		return -1;
	*(struct policy **)lua_getextraspace(p->L) = p;
	lua_atpanic(p->L, at_panic);
	lua_sethook(p->L, hook, LUA_MASKCOUNT, HOOK_COUNT);
	/* os.date reads the time zone file on first use; that must be over before the process gives up its files. */
	tzset();
	if ((err = policy_run(p, libraries_open, NULL, POLICY_LOAD_MS)) == NULL)
		return 0;
	free(err);
	return -1;
}

void
policy_sandbox_close(struct policy *p)
{
	if (p->L != NULL)
		lua_close(p->L);
	p->L = NULL;
	free(p->logged);
	p->logged = NULL;
}
