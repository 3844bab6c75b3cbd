/* posthorn.log_info and its like: lines of policy in the program log. A stranger decides how often an event runs, so
 * the same line is written once in ten seconds, and 100 lines at most in that time. */
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "mail/policy_lib.h"

#define WINDOW_SECONDS 10
#define WINDOW_LINES 100
#define LINE_MAX_LEN 1000

/* One line of all arguments, as print writes them. */
static const char *
line_make(lua_State *L)
{
	int i, n = lua_gettop(L);
	luaL_Buffer b;

	luaL_checkany(L, 1);
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
	return lua_tostring(L, -1);
}

static uint32_t
line_hash(const char *s)
{
	uint32_t h = 2166136261u;

	for (; *s != '\0'; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	return h;
}

static int
write_line(lua_State *L, enum log_level level)
{
	struct policy_log_window *w = &policy_of(L)->log_window;
	const char *line = line_make(L);
	uint32_t hash = line_hash(line) ^ (uint32_t)level;
	struct timespec now;
	unsigned i;

	if (clock_gettime(CLOCK_MONOTONIC_COARSE, &now) != 0)
		now.tv_sec = 0;
	if (now.tv_sec - w->begin >= WINDOW_SECONDS) {
		if (w->dropped > 0)
			log_warn("policy: %u lines of policy were not written", w->dropped);
		*w = (struct policy_log_window){ .begin = now.tv_sec };
	}
	for (i = 0; i < w->n; i++)
		if (w->hashes[i] == hash)
			return 0;
	if (w->n == WINDOW_LINES) {
		w->dropped++;
		return 0;
	}
	w->hashes[w->n++] = hash;
	if (level == LOG_LVL_ERROR)
		log_error("policy: %.*s", LINE_MAX_LEN, line);
	else if (level == LOG_LVL_WARN)
		log_warn("policy: %.*s", LINE_MAX_LEN, line);
	else
		log_info("policy: %.*s", LINE_MAX_LEN, line);
	return 0;
}

int
policy_lib_log_info(lua_State *L)
{
	return write_line(L, LOG_LVL_INFO);
}

int
policy_lib_log_warn(lua_State *L)
{
	return write_line(L, LOG_LVL_WARN);
}

int
policy_lib_log_error(lua_State *L)
{
	return write_line(L, LOG_LVL_ERROR);
}
