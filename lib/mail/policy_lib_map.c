/* posthorn.map: a file of the configuration directory as a table (policy_map.h). Look-ups keep the content fresh; the
 * time that goes into reading is not the event's. The rows are outside Lua's memory cap, and bounded by their own. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/conf.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "mail/policy_lib.h"
#include "mail/policy_map.h"

#define CLASS "map"

struct map_def {
	char *name, *file, *key, *value;
	int format; /* -1: by the name of the file */
};

struct map_object {
	struct policy_map *map;
	struct map_def def; /* while it is read; then only the name */
};

static const char *const formats[] = { "csv", "json", NULL };

#define MAP(f) offsetof(struct map_def, f)
static const struct policy_field map_fields[] = {
	{ .name = "name", .type = FIELD_NAME, .offset = MAP(name) },
	{ .name = "file", .type = FIELD_TEXT, .offset = MAP(file) },
	{ .name = "format", .type = FIELD_WORD, .offset = MAP(format), .words = formats },
	{ .name = "key", .type = FIELD_TEXT, .offset = MAP(key) },
	{ .name = "value", .type = FIELD_TEXT, .offset = MAP(value) },
	{ .name = NULL }
};

static void
def_clear(struct map_def *d)
{
	free(d->name);
	free(d->file);
	free(d->key);
	free(d->value);
	memset(d, 0, sizeof(*d));
}

static int
map_gc(lua_State *L)
{
	struct map_object *o = luaL_checkudata(L, 1, CLASS);

	policy_map_free(&o->map);
	def_clear(&o->def);
	return 0;
}

/* The folder that holds the file is what a jail must leave to who reads it again: a new content comes by rename(2). */
static void
directory_add(struct policy *p, const char *file)
{
	size_t len = (size_t)(strrchr(file, '/') - file), i;

	for (i = 0; i < p->n_map_dirs; i++)
		if (strlen(p->map_dirs[i]) == len && memcmp(p->map_dirs[i], file, len) == 0)
			return;
	p->map_dirs = xreallocarray(p->map_dirs, p->n_map_dirs + 1, sizeof(*p->map_dirs));
	p->map_dirs[p->n_map_dirs++] = len > 0 ? xmemdup0(file, len) : xstrdup("/");
}

const char *const *
policy_map_directories(const struct policy *p, size_t *n_r)
{
	*n_r = p->n_map_dirs;
	return (const char *const *)p->map_dirs;
}

/* The file by its full name, which must be below the policy's directory: daemons may read nothing else. NULL and a
 * sentence. */
static char *
file_resolve(struct policy *p, const char *file, char **err_r)
{
	size_t dir_len = (size_t)(p->chunk - p->file);
	char *dir = dir_len > 0 ? xmemdup0(p->file, dir_len) : xstrdup("./");
	char *full = file[0] == '/' ? xstrdup(file) : xasprintf("%s%s", dir, file);
	char *real = realpath(full, NULL), *real_dir;
	int error = errno;
	size_t n;

	*err_r = NULL;
	if ((real_dir = realpath(dir, NULL)) == NULL && real != NULL)
		error = errno;
	if (real == NULL || real_dir == NULL) {
		*err_r = xasprintf("%s cannot be read: %s", full, strerror(error));
	} else {
		n = strcmp(real_dir, "/") == 0 ? 0 : strlen(real_dir);
		if (strncmp(real, real_dir, n) != 0 || real[n] != '/') {
			*err_r = xasprintf("%s is outside %s: daemons read only files in the directory of the policy",
			    full,
			    real_dir);
		} else {
			directory_add(p, full);
			directory_add(p, real);
		}
	}
	free(dir);
	free(real);
	free(real_dir);
	if (*err_r != NULL) {
		free(full);
		full = NULL;
	}
	return full;
}

/* The sentence is freed before the error leaves. */
static void raise(lua_State *, char *sentence) __attribute__((noreturn));

static void
raise(lua_State *L, char *sentence)
{
	luaL_where(L, 1);
	lua_pushstring(L, sentence);
	free(sentence);
	lua_concat(L, 2);
	lua_error(L);
	abort();
}

static void
def_read(lua_State *L, struct map_def *d)
{
	struct conf_errors errs = { NULL, 0 };
	struct policy_reader r = { .policy = policy_of(L), .errs = &errs, .what = "posthorn.map" };
	char *err = NULL;

	d->format = -1;
	lua_pushvalue(L, 1);
	policy_table_read(&r, L, map_fields, d);
	lua_pop(L, 1);
	if (errs.n > 0)
		err = xstrdup(errs.v[0].text);
	else if (d->file == NULL || *d->file == '\0')
		err = xstrdup("posthorn.map: file is missing");
	conf_errors_clear(&errs);
	if (err == NULL && d->file != NULL && d->format < 0) {
		size_t n = strlen(d->file);

		d->format = n > 5 && strcmp(d->file + n - 5, ".json") == 0 ? 1 :
		    n > 4 && strcmp(d->file + n - 4, ".csv") == 0 ? 0 : -1;
		if (d->format < 0)
			err = xstrdup("posthorn.map: format is missing ('csv' or 'json')");
	}
	if (err == NULL && d->format == 1 && (d->key != NULL || d->value != NULL))
		err = xstrdup("posthorn.map: key and value are columns of CSV; JSON has none");
	if (err != NULL)
		raise(L, err);
}

int
policy_lib_map(lua_State *L)
{
	struct policy *p = policy_of(L);
	struct map_object *o;
	struct policy_map_spec spec;
	char *full, *err;
	int64_t start;

	if (p->errs == NULL)
		return luaL_error(L, "posthorn.map may only be called while the policy loads, not in an event");
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	o = lua_newuserdatauv(L, sizeof(*o), 0);
	memset(o, 0, sizeof(*o));
	luaL_setmetatable(L, CLASS);
	def_read(L, &o->def);
	if ((full = file_resolve(p, o->def.file, &err)) == NULL)
		raise(L, err);
	spec = (struct policy_map_spec){ full, o->def.format == 1, o->def.key, o->def.value };
	start = policy_cpu_now();
	o->map = policy_map_open(&spec, &err);
	policy_clock_extend(p, policy_cpu_now() - start);
	free(full);
	if (o->map == NULL)
		raise(L, err);
	return 1;
}

/* A look-up never fails for what became of the file. */
static void
keep_fresh(lua_State *L, struct map_object *o)
{
	struct timespec ts;
	int64_t now, start;
	char *err, *line;
	int rc;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	now = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
	if (!policy_map_is_due(o->map, now))
		return;
	start = policy_cpu_now();
	rc = policy_map_tend(o->map, now, &err);
	policy_clock_extend(policy_of(L), policy_cpu_now() - start);
	if (rc > 0)
		log_info("policy: the map %s has its new content, %zu rows", o->def.name != NULL ? o->def.name :
		    o->def.file, policy_map_count(o->map));
	if (err != NULL) {
		line = xasprintf("%s; the map keeps its old content", err);
		log_warn("policy: %s", line);
		free(line);
		free(err);
	}
}

static void
row_push(lua_State *L, const struct policy_map *m, const struct policy_map_value *v)
{
	size_t i, n;
	const char *const *columns = policy_map_columns(m, &n), *p = v->data;
	uint32_t len;

	lua_createtable(L, 0, (int)n);
	for (i = 0; i < n; i++) {
		memcpy(&len, p, sizeof(len));
		lua_pushlstring(L, p + sizeof(len), len);
		lua_setfield(L, -2, columns[i]);
		p += sizeof(len) + len;
	}
}

static int
map_get(lua_State *L)
{
	struct map_object *o = luaL_checkudata(L, 1, CLASS);
	struct policy_map_value v;
	size_t len;
	const char *key;

	/* What an event does not know is nil, and is no key. */
	if (lua_isnil(L, 2))
		return 0;
	key = luaL_checklstring(L, 2, &len);
	keep_fresh(L, o);
	if (!policy_map_get(o->map, key, len, &v))
		return 0;
	if (v.kind == POLICY_MAP_STRING)
		lua_pushlstring(L, v.data, v.len);
	else if (v.kind == POLICY_MAP_ROW)
		row_push(L, o->map, &v);
	else
		policy_lib_json_push(L, v.data, v.len);
	return 1;
}

static int
map_count(lua_State *L)
{
	struct map_object *o = luaL_checkudata(L, 1, CLASS);

	keep_fresh(L, o);
	lua_pushinteger(L, (lua_Integer)policy_map_count(o->map));
	return 1;
}

static const luaL_Reg map_methods[] = {
	{ "count", map_count },
	{ "get", map_get },
	{ NULL, NULL }
};

/* map:get and map:count are methods; any other member is a key. */
static int
map_index(lua_State *L)
{
	const luaL_Reg *m;

	for (m = map_methods; m->name != NULL && lua_type(L, 2) == LUA_TSTRING; m++) {
		if (strcmp(m->name, lua_tostring(L, 2)) == 0) {
			lua_pushcfunction(L, m->func);
			return 1;
		}
	}
	return map_get(L);
}

void
policy_lib_map_open(lua_State *L)
{
	policy_lib_class(L, CLASS, map_methods, map_gc);
	luaL_getmetatable(L, CLASS);
	lua_pushcfunction(L, map_index);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
}
