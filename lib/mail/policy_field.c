/* Lua tables to C structs, by a table of fields. Any process that loads policy. A key nobody knows is an error with
 * a suggestion, never ignored: a misspelt limit that is silently absent sends too fast. Tables are read raw (no
 * metamethods), so no policy code runs while a struct is half filled. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/suggest.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/keysource.h"
#include "mail/params.h"
#include "mail/policy_private.h"

#define HOSTS_MAX 1000

#define COMPLAIN(r, ...) conf_error_add((r)->errs, (r)->policy->file, (r)->line, __VA_ARGS__)

static bool
name_valid(const char *s, size_t len)
{
	size_t i;

	if (len == 0 || len > POLICY_NAME_MAX)
		return false;
	for (i = 0; i < len; i++)
		if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= '0' && s[i] <= '9') ||
		    (i > 0 && (s[i] == '.' || s[i] == '_' || s[i] == '-'))))
			return false;
	return true;
}

/* The string at the top of the stack, or NULL after a complaint. */
const char *
policy_string_value(struct policy_reader *r, lua_State *L, const char *key)
{
	const char *s;
	size_t len;

	if (lua_type(L, -1) != LUA_TSTRING) {
		COMPLAIN(r, "%s: %s must be a string, not a %s", r->what, key, luaL_typename(L, -1));
		return NULL;
	}
	s = lua_tolstring(L, -1, &len);
	if (strlen(s) != len) {
		COMPLAIN(r, "%s: %s has a NUL character", r->what, key);
		return NULL;
	}
	return s;
}

static void
string_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, char **out)
{
	const char *s = policy_string_value(r, L, f->name);
	struct sockaddr_storage sa;
	socklen_t salen;
	char *p;

	if (s == NULL)
		return;
	if (f->type == FIELD_NAME && !name_valid(s, strlen(s)))
		COMPLAIN(r, "%s: '%.80s' is not a name (up to %d letters, digits, and . _ - behind the first)", r->what,
		    s,
		    POLICY_NAME_MAX);
	else if (f->type == FIELD_ADDRESS && strcmp(s, "unspecified") == 0)
		return;
	else if (f->type == FIELD_ADDRESS && sockaddr_parse(s, 0, &sa, &salen) != 0)
		COMPLAIN(r, "%s: %s '%.80s' is not an IP address (write 'unspecified' to let the kernel choose)",
		    r->what,
		    f->name, s);
	else if (f->type == FIELD_HOST && !address_domain_valid(s, false))
		COMPLAIN(r, "%s: %s '%.80s' is not a host name", r->what, f->name, s);
	else if (f->type == FIELD_DOMAIN && strcmp(s, "*") != 0 && !address_domain_valid(s, true))
		COMPLAIN(r, "%s: %s '%.80s' is not a domain", r->what, f->name, s);
	else
		*out = xstrdup(s);
	for (p = f->type == FIELD_DOMAIN ? *out : NULL; p != NULL && *p != '\0'; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p + ('a' - 'A'));
}

/* Whether the number at the top of the stack is whole and within the field's bounds; complains otherwise. */
static bool
int_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, int64_t *out)
{
	lua_Integer v;
	int is_int = 0;

	v = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &is_int) : 0;
	if (!is_int) {
		COMPLAIN(r, "%s: %s must be a whole number", r->what, f->name);
		return false;
	}
	if (v < f->min || v > f->max) {
		COMPLAIN(r, "%s: %s must be from %lld to %lld, not %lld", r->what, f->name, (long long)f->min,
		    (long long)f->max, (long long)v);
		return false;
	}
	*out = v;
	return true;
}

static void
time_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, int64_t *out)
{
	const char *s;
	double seconds;
	int64_t ms;

	if (lua_type(L, -1) == LUA_TNUMBER) {
		seconds = lua_tonumber(L, -1);
		ms = seconds >= 0 && seconds < 1e12 ? (int64_t)(seconds * 1000 + 0.5) : -1;
	} else if (lua_type(L, -1) != LUA_TSTRING) {
		COMPLAIN(r, "%s: %s must be a number of seconds or a string such as '20 min', not a %s", r->what,
		    f->name,
		    luaL_typename(L, -1));
		return;
	} else {
		if ((s = policy_string_value(r, L, f->name)) == NULL)
			return;
		if (conf_time_parse(s, &ms) != 0) {
			COMPLAIN(r,
			    "%s: %s '%.60s' is not a time (examples: '30s', '20 min', '5d'; a number means seconds)",
			    r->what,
			    f->name, s);
			return;
		}
	}
	if (ms < f->min || ms > f->max)
		COMPLAIN(r, "%s: %s must be from %g to %g seconds", r->what, f->name, (double)f->min / 1000,
		    (double)f->max / 1000);
	else
		*out = ms;
}

static void
tls_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, int *out)
{
	static const struct {
		const char *word;
		int level;
	} words[] = {
		{ "Disabled", TLS_LEVEL_NONE }, { "Opportunistic", TLS_LEVEL_MAY_VERIFY },
		{ "OpportunisticInsecure", TLS_LEVEL_MAY }, { "Required", TLS_LEVEL_VERIFY },
		{ "RequiredInsecure", TLS_LEVEL_ENCRYPT },
	};
	const char *s = policy_string_value(r, L, f->name);
	struct suggest near;
	size_t i;

	if (s == NULL)
		return;
	suggest_init(&near, s);
	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		suggest_consider(&near, words[i].word);
		if (strcmp(words[i].word, s) != 0)
			continue;
		*out = words[i].level;
		return;
	}
	COMPLAIN(r, "%s: %s '%.60s' is not one of 'Disabled', 'Opportunistic', 'OpportunisticInsecure', "
	    "'RequiredInsecure'" SUGGEST_FMT, r->what, f->name, s, SUGGEST_ARGS(near.best));
}

static void
word_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, int *out)
{
	const char *s = policy_string_value(r, L, f->name);
	struct suggest near;
	int i;

	if (s == NULL)
		return;
	suggest_init(&near, s);
	for (i = 0; f->words[i] != NULL; i++) {
		suggest_consider(&near, f->words[i]);
		if (strcmp(f->words[i], s) == 0) {
			*out = i;
			return;
		}
	}
	COMPLAIN(r, "%s: %s does not know '%.60s'" SUGGEST_FMT, r->what, f->name, s, SUGGEST_ARGS(near.best));
}

static void
rate_read(struct policy_reader *r, lua_State *L, const char *name, enum rate_default def, struct rate *out)
{
	const char *s = policy_string_value(r, L, name), *why;

	if (s != NULL && (why = rate_parse(s, def, out)) != NULL)
		COMPLAIN(r, "%s: %s: '%.60s' %s", r->what, name, s, why);
}

/* A table of names and limits: { ['all-gmail'] = 20 }, { ['all-gmail'] = '100/s' }. */
static void
limits_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, struct policy_limits *out)
{
	struct policy_limit *l;
	const char *name;

	if (lua_type(L, -1) != LUA_TTABLE) {
		COMPLAIN(r, "%s: %s must be a table of names and limits, not a %s", r->what, f->name,
		    luaL_typename(L, -1));
		return;
	}
	for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
		name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
		if (!name_valid(name, strlen(name)) || out->n == POLICY_LIMITS_MAX) {
			COMPLAIN(r, out->n == POLICY_LIMITS_MAX ? "%s: %s has too many members at '%.80s'" :
			    "%s: %s: '%.80s' is not a name", r->what, f->name, name);
			continue;
		}
		out->v = xreallocarray(out->v, out->n + 1, sizeof(*out->v));
		l = &out->v[out->n++];
		memset(l, 0, sizeof(*l));
		l->name = xstrdup(name);
		if (f->type == FIELD_LIMITS)
			int_read(r, L, f, &l->value);
		else
			rate_read(r, L, f->name, f->type == FIELD_BUDGETS ? RATE_BUDGET : RATE_PACED, &l->rate);
	}
}

/* The length of the list at the top of the stack, or -1 after a complaint: a list has no other keys than 1..n. */
lua_Integer
policy_list_length(struct policy_reader *r, lua_State *L, const char *key, size_t max)
{
	lua_Integer n, keys = 0;

	if (lua_type(L, -1) != LUA_TTABLE) {
		COMPLAIN(r, "%s: %s must be a list { ... }, not a %s", r->what, key, luaL_typename(L, -1));
		return -1;
	}
	n = (lua_Integer)lua_rawlen(L, -1);
	for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1))
		keys++;
	if (keys != n) {
		COMPLAIN(r, "%s: %s must be a plain list { ... } without names or gaps", r->what, key);
		return -1;
	}
	if ((size_t)n > max) {
		COMPLAIN(r, "%s: %s has more than %zu members", r->what, key, max);
		return -1;
	}
	return n;
}

static void
hosts_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, struct cidr_list *out)
{
	lua_Integer i, n = policy_list_length(r, L, f->name, HOSTS_MAX);
	const char *s, *why;

	if (n <= 0)
		return;
	free(out->v);
	out->n = 0;
	out->v = xcalloc((size_t)n, sizeof(*out->v));
	for (i = 1; i <= n; i++) {
		lua_rawgeti(L, -1, i);
		if ((s = policy_string_value(r, L, f->name)) != NULL) {
			if ((why = conf_cidr_parse(s, &out->v[out->n])) == NULL)
				out->n++;
			else
				COMPLAIN(r, "%s: %s: '%.60s' %s", r->what, f->name, s, why);
		}
		lua_pop(L, 1);
	}
}

static const struct policy_field entry_fields[] = {
	{ .name = "name", .type = FIELD_NAME, .offset = offsetof(struct entry_def, name) },
	{ .name = "weight", .type = FIELD_INT, .offset = offsetof(struct entry_def, weight), .min = 1, .max = 1000000 },
	{ .name = NULL }
};

static void
entries_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, struct pool_def *pool)
{
	lua_Integer i, n = policy_list_length(r, L, f->name, POLICY_ENTRIES_MAX);
	struct policy_reader entry = *r;
	struct entry_def *e;

	if (n <= 0)
		return;
	entry.what = "an entry of posthorn.pool";
	pool->entries = xcalloc((size_t)n, sizeof(*pool->entries));
	for (i = 1; i <= n; i++) {
		lua_rawgeti(L, -1, i);
		e = &pool->entries[pool->n_entries++];
		e->weight = 1;
		if (lua_type(L, -1) == LUA_TTABLE)
			policy_table_read(&entry, L, entry_fields, e);
		else
			COMPLAIN(r, "%s: entries must be tables such as { name = 'ip-1', weight = 2 }, not a %s",
			    r->what,
			    luaL_typename(L, -1));
		lua_pop(L, 1);
	}
}

/* 'file', or { key_data = 'text' }. */
static void
keysource_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, char **out)
{
	const char *text = NULL, *why;
	lua_Integer keys = 0;

	if (lua_type(L, -1) == LUA_TSTRING) {
		if ((text = policy_string_value(r, L, f->name)) == NULL)
			return;
		why = keysource_of_file(text, out);
	} else if (lua_type(L, -1) == LUA_TTABLE) {
		for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1))
			keys++;
		lua_pushliteral(L, "key_data");
		lua_rawget(L, -2);
		if (keys != 1 || lua_isnil(L, -1))
			why = "is a table other than { key_data = '...' }";
		else if ((text = policy_string_value(r, L, "key_data")) != NULL)
			why = keysource_of_text(text, out);
		else
			why = NULL;
		lua_pop(L, 1);
	} else {
		why = "must be the name of a file, or { key_data = '...' }";
	}
	if (why != NULL) /* without the value: it may be a secret at the wrong place */
		COMPLAIN(r, "%s: %s %s", r->what, f->name, why);
}

static void
value_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	void *field = (char *)target + f->offset;
	int64_t v;

	switch (f->type) {
	case FIELD_NAME:
	case FIELD_TEXT:
	case FIELD_ADDRESS:
	case FIELD_HOST:
	case FIELD_DOMAIN:
		string_read(r, L, f, field);
		break;
	case FIELD_BOOL:
		if (lua_type(L, -1) == LUA_TBOOLEAN)
			*(bool *)field = lua_toboolean(L, -1);
		else
			COMPLAIN(r, "%s: %s must be true or false, not a %s", r->what, f->name, luaL_typename(L, -1));
		break;
	case FIELD_INT:
		int_read(r, L, f, field);
		break;
	case FIELD_PORT:
		if (int_read(r, L, f, &v))
			*(uint16_t *)field = (uint16_t)v;
		break;
	case FIELD_PORT32:
		if (int_read(r, L, f, &v))
			*(int32_t *)field = (int32_t)v;
		break;
	case FIELD_TIME:
		time_read(r, L, f, field);
		break;
	case FIELD_TRI:
		if (lua_type(L, -1) == LUA_TBOOLEAN)
			*(int *)field = lua_toboolean(L, -1);
		else
			COMPLAIN(r, "%s: %s must be true or false, not a %s", r->what, f->name, luaL_typename(L, -1));
		break;
	case FIELD_WORD:
		word_read(r, L, f, field);
		break;
	case FIELD_RATE:
	case FIELD_BUDGET:
		rate_read(r, L, f->name, f->type == FIELD_BUDGET ? RATE_BUDGET : RATE_PACED, field);
		break;
	case FIELD_LIMITS:
	case FIELD_RATES:
	case FIELD_BUDGETS:
		limits_read(r, L, f, field);
		break;
	case FIELD_TLS:
		tls_read(r, L, f, field);
		break;
	case FIELD_HOSTS:
		hosts_read(r, L, f, field);
		break;
	case FIELD_ENTRIES:
		entries_read(r, L, f, target);
		break;
	case FIELD_KEYSOURCE:
		keysource_read(r, L, f, field);
		break;
	case FIELD_CALL:
		f->read(r, L, f, target);
		break;
	case FIELD_LATER:
		COMPLAIN(r, "%s: %s is not supported by this version", r->what, f->name);
		break;
	}
}

static void
unknown_key(struct policy_reader *r, const char *key, const struct policy_field *fields)
{
	struct suggest s;

	suggest_init(&s, key);
	for (; fields->name != NULL; fields++)
		if (fields->type != FIELD_LATER)
			suggest_consider(&s, fields->name);
	COMPLAIN(r, "%s: unknown key '%.60s'" SUGGEST_FMT, r->what, key, SUGGEST_ARGS(s.best));
}

void
policy_table_read(struct policy_reader *r, lua_State *L, const struct policy_field *fields, void *target)
{
	const struct policy_field *f;
	const char *key;

	luaL_checkstack(L, 8, NULL);
	for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
		/* lua_tostring would change a number key under lua_next's feet. */
		if (lua_type(L, -2) != LUA_TSTRING) {
			COMPLAIN(r, "%s: every value needs a name (name = value)", r->what);
			continue;
		}
		key = lua_tostring(L, -2);
		for (f = fields; f->name != NULL && strcmp(f->name, key) != 0; f++)
			;
		if (f->name == NULL) {
			unknown_key(r, key, fields);
			continue;
		}
		if (f->flag != 0)
			*(bool *)((char *)target + f->flag - 1) = true;
		value_read(r, L, f, target);
	}
}
