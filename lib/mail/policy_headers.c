/* The header block as policy sees and edits it: methods of the object `message` (policy_call.h). The block is a
 * stranger's; what policy adds may be made of it, so names and values are checked, and no line gets longer than RFC
 * 5322 allows. An edit writes a new block; fields that stay are copied as they are, to the octet. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mail/address.h"
#include "mail/header.h"
#include "mail/policy_call_private.h"

#define LINE_MAX_OCTETS 998        /* RFC 5322 2.1.1 */
#define FOLD_AT 900                /* a longer value is folded before this octet */
#define NAME_MAX_OCTETS 76
#define VALUE_MAX (32 << 10)
#define BLOCK_MAX (1 << 20)
#define LIST_MAX 100               /* names in one call: each field is compared with each */
#define FIELDS_A_LOOK 64           /* between looks at the clock */
#define ENCODED_CHUNK 45           /* 60 characters of base64: with its frame under 75 (RFC 2047 section 2) */

static struct policy_msg *
check(lua_State *L)
{
	struct policy_msg *m = policy_message_check(L);

	if (m->head == NULL)
		luaL_error(L, "the header block is not to be had in this event");
	return m;
}

static const char *
name_check(lua_State *L, int arg)
{
	size_t len, i;
	const char *s = luaL_checklstring(L, arg, &len);

	if (len == 0 || len > NAME_MAX_OCTETS)
		luaL_error(L, "the name of a header has from 1 to %d characters", NAME_MAX_OCTETS);
	for (i = 0; i < len; i++)
		if (s[i] <= ' ' || s[i] > '~' || s[i] == ':')
			luaL_error(L, "'%s' is not the name of a header", s);
	return s;
}

static const char *
value_check(lua_State *L, int arg, size_t *len)
{
	const char *s;
	size_t i;

	if (lua_type(L, arg) == LUA_TUSERDATA) {
		lua_pushstring(L, policy_address_check(L, arg));
		lua_replace(L, arg);
	}
	s = luaL_checklstring(L, arg, len);
	if (*len > VALUE_MAX)
		luaL_error(L, "the value of a header has at most %d octets", VALUE_MAX);
	for (i = 0; i < *len; i++)
		if (((unsigned char)s[i] < ' ' && s[i] != '\t') || s[i] == 0x7f)
			luaL_error(L, "the value of a header holds a line break or another control character");
	if (!utf8_valid(s, *len))
		luaL_error(L, "the value of a header is not valid UTF-8");
	return s;
}

/* ---- edits ---- */

/* The length of the block without the blank line at its end. */
static size_t
fields_len(const struct policy_msg *m)
{
	size_t n = m->head_len;

	if (n == 2 && memcmp(m->head, "\r\n", 2) == 0)
		return 0;
	return n >= 4 && memcmp(m->head + n - 4, "\r\n\r\n", 4) == 0 ? n - 2 : n;
}

/* A new block is written here: it belongs to the message, so an error on the way loses nothing. */
static struct wbuf *
block_begin(struct policy_msg *m, size_t room)
{
	wbuf_reset(&m->scratch);
	wbuf_reserve(&m->scratch, room);
	return &m->scratch;
}

/* The block is now what was written. */
static void
block_set(lua_State *L, struct policy_msg *m)
{
	struct wbuf old = m->edited;

	m->edited = m->scratch;
	m->scratch = old;
	m->head = m->edited.len > 0 ? (const char *)m->edited.p : "";
	m->head_len = m->edited.len;
	m->changed |= POLICY_MSG_HEAD;
	policy_clock_check(L, 1);
}

struct wbuf *
policy_header_begin(lua_State *L, struct policy_msg *m)
{
	if (m->head == NULL)
		luaL_error(L, "the header cannot be changed here");
	return block_begin(m, m->head_len + 1024);
}

void
policy_header_end(lua_State *L, struct policy_msg *m)
{
	if (m->head_len + m->scratch.len > BLOCK_MAX)
		luaL_error(L, "the header block would have more than %d octets", BLOCK_MAX);
	wbuf_raw(&m->scratch, m->head, m->head_len);
	block_set(L, m);
}

/* Splits off the next line of a value at white space: its length. 0: a word is too long for any line. */
static size_t
fold_at(const char *s, size_t len, size_t room)
{
	size_t n;

	if (len <= room)
		return len;
	for (n = room < FOLD_AT ? room : FOLD_AT; n > 0 && s[n] != ' ' && s[n] != '\t'; n--)
		;
	if (n > 0)
		return n;
	/* Beyond the place where folding is nice, up to where it is needed. */
	for (n = 1; n <= room && s[n] != ' ' && s[n] != '\t'; n++)
		;
	return n <= room ? n : 0;
}

static void
value_write(lua_State *L, struct wbuf *w, const char *s, size_t len, size_t used)
{
	size_t n;

	do {
		if ((n = fold_at(s, len, LINE_MAX_OCTETS - used)) == 0 && len > 0)
			luaL_error(L, "a word of more than %d octets fits no line", LINE_MAX_OCTETS - (int)used);
		/* The next line begins with the white space that it was cut at. */
		wbuf_raw(w, s, n);
		wbuf_raw(w, "\r\n", 2);
		s += n;
		len -= n;
		used = 0;
	} while (len > 0);
}

static void
base64_write(struct wbuf *w, const uint8_t *p, size_t n)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t v;
	size_t i;

	for (i = 0; i < n; i += 3) {
		v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
		wbuf_u8(w, (uint8_t)set[v >> 18]);
		wbuf_u8(w, (uint8_t)set[v >> 12 & 63]);
		wbuf_u8(w, i + 1 < n ? (uint8_t)set[v >> 6 & 63] : '=');
		wbuf_u8(w, i + 2 < n ? (uint8_t)set[v & 63] : '=');
	}
}

/* RFC 2047: no character is cut in two. */
static void
encoded_write(struct wbuf *w, const char *s, size_t len)
{
	size_t n;

	while (len > 0) {
		n = len < ENCODED_CHUNK ? len : ENCODED_CHUNK;
		while (n > 0 && n < len && ((unsigned char)s[n] & 0xc0) == 0x80)
			n--;
		wbuf_raw(w, "=?UTF-8?B?", 10);
		base64_write(w, (const uint8_t *)s, n);
		wbuf_raw(w, "?=\r\n ", n < len ? 5 : 4);
		s += n;
		len -= n;
	}
}

/* (name, value, encode): at the beginning or at the end of the fields. */
static int
header_add(lua_State *L, bool is_first)
{
	struct policy_msg *m = check(L);
	const char *name = name_check(L, 2), *value;
	size_t len, fields = fields_len(m), at = is_first ? 0 : fields;
	struct wbuf *w;

	lua_settop(L, 4);
	value = value_check(L, 3, &len);
	while (len > 0 && (*value == ' ' || *value == '\t'))
		value++, len--;
	while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
		len--;
	if (m->head_len + strlen(name) + len > BLOCK_MAX)
		return luaL_error(L, "the header block would have more than %d octets", BLOCK_MAX);
	w = block_begin(m, m->head_len + strlen(name) + len + 64);
	wbuf_raw(w, m->head, at);
	wbuf_raw(w, name, strlen(name));
	wbuf_raw(w, ": ", 2);
	if (lua_toboolean(L, 4) && !is_ascii(value, len))
		encoded_write(w, value, len);
	else
		value_write(L, w, value, len, strlen(name) + 2);
	wbuf_raw(w, m->head + at, m->head_len - at);
	block_set(L, m);
	return 0;
}

static int
msg_prepend_header(lua_State *L)
{
	return header_add(L, true);
}

static int
msg_append_header(lua_State *L)
{
	return header_add(L, false);
}

/* Whether a field is one of those that the list at `list` names (index 0: none is given, then every X- field). */
static bool
is_listed(lua_State *L, const struct header_field *f, int list)
{
	lua_Integer i, n;
	bool is_it = false;

	if (list == 0)
		return f->name.len > 2 && strncasecmp(f->name.base, "X-", 2) == 0;
	n = (lua_Integer)lua_rawlen(L, list);
	for (i = 1; i <= n && !is_it; i++, lua_pop(L, 1)) {
		lua_rawgeti(L, list, i);
		is_it = lua_type(L, -1) == LUA_TSTRING && header_name_is(f, lua_tostring(L, -1));
	}
	return is_it;
}

static void
list_check(lua_State *L, int list)
{
	lua_Integer i, n;

	luaL_checktype(L, list, LUA_TTABLE);
	if ((n = (lua_Integer)lua_rawlen(L, list)) > LIST_MAX)
		luaL_error(L, "more than %d names", LIST_MAX);
	for (i = 1; i <= n; i++, lua_pop(L, 1)) {
		lua_rawgeti(L, list, i);
		name_check(L, lua_gettop(L));
	}
}

/* Writes the block without the fields that goes() names. list: an index, 0 for none. */
static void
remove_fields(lua_State *L, struct policy_msg *m, bool (*goes)(lua_State *, const struct header_field *, int), int list)
{
	struct wbuf *w = block_begin(m, m->head_len + 1);
	const char *from = m->head;
	struct header_iter it;
	struct header_field f;
	unsigned n = 0;

	header_iter_init(&it, m->head, m->head_len);
	while (header_next(&it, &f)) {
		if (++n % FIELDS_A_LOOK == 0)
			policy_clock_check(L, 1);
		if (!goes(L, &f, list))
			continue;
		wbuf_raw(w, from, (size_t)(f.whole.base - from));
		from = f.whole.base + f.whole.len;
	}
	wbuf_raw(w, from, (size_t)(m->head + m->head_len - from));
	if (w->len != m->head_len)
		block_set(L, m);
}

static int
msg_remove_all_named_headers(lua_State *L)
{
	struct policy_msg *m = check(L);

	name_check(L, 2);
	lua_settop(L, 2);
	lua_createtable(L, 1, 0);
	lua_insert(L, 2);
	lua_rawseti(L, 2, 1);
	remove_fields(L, m, is_listed, 2);
	return 0;
}

static int
msg_remove_x_headers(lua_State *L)
{
	struct policy_msg *m = check(L);

	lua_settop(L, 2);
	if (!lua_isnil(L, 2))
		list_check(L, 2);
	remove_fields(L, m, is_listed, lua_isnil(L, 2) ? 0 : 2);
	return 0;
}

/* ---- reading ---- */

static void
value_push(lua_State *L, const struct header_field *f)
{
	luaL_Buffer b;
	char *p = luaL_buffinitsize(L, &b, f->value.len + 1);

	luaL_pushresultsize(&b, header_value(f, p, f->value.len + 1));
}

static int
msg_get_first_named_header_value(lua_State *L)
{
	const struct policy_msg *m = check(L);
	struct header_field f;

	if (header_find(m->head, m->head_len, name_check(L, 2), &f))
		value_push(L, &f);
	else
		lua_pushnil(L);
	return 1;
}

static int
msg_get_all_named_header_values(lua_State *L)
{
	const struct policy_msg *m = check(L);
	const char *name = name_check(L, 2);
	struct header_iter it;
	struct header_field f;
	lua_Integer n = 0;

	lua_newtable(L);
	header_iter_init(&it, m->head, m->head_len);
	while (header_next(&it, &f))
		if (header_name_is(&f, name)) {
			value_push(L, &f);
			lua_rawseti(L, -2, ++n);
		}
	return 1;
}

static int
msg_get_all_headers(lua_State *L)
{
	const struct policy_msg *m = check(L);
	struct header_iter it;
	struct header_field f;
	lua_Integer n = 0;

	lua_newtable(L);
	header_iter_init(&it, m->head, m->head_len);
	while (header_next(&it, &f)) {
		lua_createtable(L, 2, 0);
		lua_pushlstring(L, f.name.base, f.name.len);
		lua_rawseti(L, -2, 1);
		value_push(L, &f);
		lua_rawseti(L, -2, 2);
		lua_rawseti(L, -2, ++n);
	}
	policy_clock_check(L, 1);
	return 1;
}

/* ---- to meta ---- */

/* Not to be had by the name of a header: a queue is chosen with set_meta, in so many words. */
static bool
is_special(const char *key)
{
	return strcmp(key, "tenant") == 0 || strcmp(key, "campaign") == 0 || strcmp(key, "queue") == 0 ||
	    strcmp(key, "routing_domain") == 0;
}

/* "X-Client-Id" as x_client_id. A stranger's value: what would not do in a record becomes a space, what is too long is
 * cut; beyond the number of keys that a message has, fields are left out. */
static void
field_import(lua_State *L, struct policy_msg *m, const struct header_field *f, const char *target, bool only_new)
{
	char key[NAME_MAX_OCTETS + 1], value[1024];
	const struct policy_conn set = { .meta = m->env->meta, .n_meta = m->env->n_meta };
	size_t i, n = header_value(f, value, sizeof(value));

	for (i = 0; i < n; i++)
		if ((unsigned char)value[i] < ' ' || value[i] == 0x7f)
			value[i] = ' ';
	if (target == NULL) {
		if (f->name.len >= sizeof(key))
			return;
		for (i = 0; i < f->name.len; i++)
			key[i] = f->name.base[i] == '-' ? '_' : f->name.base[i] >= 'A' && f->name.base[i] <= 'Z' ?
			    (char)(f->name.base[i] + 32) : f->name.base[i];
		key[i] = '\0';
		target = key;
	}
	if (is_special(target))
		return;
	if (policy_conn_meta(&set, target) != NULL ? only_new : m->env->n_meta >= META_POLICY_MAX)
		return;
	policy_meta_set(L, &m->env->meta, &m->env->n_meta, target, value);
	m->changed |= POLICY_MSG_META;
}

static int
msg_import_x_headers(lua_State *L)
{
	struct policy_msg *m = check(L);
	struct header_iter it;
	struct header_field f;
	int list;

	lua_settop(L, 3);
	list = lua_isnil(L, 2) ? 0 : 2;
	if (list != 0)
		list_check(L, 2);
	header_iter_init(&it, m->head, m->head_len);
	while (header_next(&it, &f))
		if (is_listed(L, &f, list))
			field_import(L, m, &f, NULL, lua_toboolean(L, 3));
	policy_clock_check(L, 1);
	return 0;
}

/* Pushes a field of the table at that index, without metamethods: no Lua may run, and edit the block, while it is
 * walked. */
static void
spec_get(lua_State *L, int at, const char *key)
{
	at = lua_absindex(L, at);
	lua_pushstring(L, key);
	lua_rawget(L, at);
}

/* One table of import_headers, at the top: whether the field is it. */
static bool
spec_matches(lua_State *L, const struct header_field *f)
{
	const char *name;
	size_t len;
	bool is_it;

	spec_get(L, -1, "name");
	name = luaL_checklstring(L, -1, &len);
	if (len > 1 && name[len - 1] == '*')
		is_it = f->name.len >= len - 1 && strncasecmp(f->name.base, name, len - 1) == 0;
	else
		is_it = header_name_is(f, name);
	lua_pop(L, 1);
	return is_it;
}

static void
spec_check(lua_State *L)
{
	const char *key, *name;
	size_t len;

	luaL_checktype(L, -1, LUA_TTABLE);
	for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
		key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
		if (strcmp(key, "remove") == 0)
			continue;
		if (strcmp(key, "name") != 0 && strcmp(key, "match") != 0 && strcmp(key, "target") != 0)
			luaL_error(L,
			    "import_headers: there is no '%s' in this version; there are name, match, target and "
			    "remove",
			    key);
		luaL_checktype(L, -1, LUA_TSTRING);
		name = lua_tostring(L, -1);
		if (strcmp(key, "match") == 0 && strcmp(name, "first") != 0 && strcmp(name, "last") != 0)
			luaL_error(L, "import_headers: match is 'first' or 'last'");
	}
	spec_get(L, -1, "name");
	name = luaL_checklstring(L, -1, &len);
	if (len == 0 || strcmp(name, "*") == 0 || (strchr(name, '*') != NULL && strchr(name, '*') != name + len - 1))
		luaL_error(L, "import_headers: a name may end in *, behind at least one character");
	spec_get(L, -2, "target");
	if (!lua_isnil(L, -1)) {
		if (is_special(policy_meta_key_check(L, lua_gettop(L))))
			luaL_error(L, "import_headers: '%s' decides the queue: use set_meta", lua_tostring(L, -1));
		if (name[len - 1] == '*')
			luaL_error(L, "import_headers: a target is for one name");
	}
	lua_pop(L, 2);
}

/* The first table of the list that matches the field decides: it is at the top then. */
static bool
spec_find(lua_State *L, const struct header_field *f, int list)
{
	lua_Integer i, n = (lua_Integer)lua_rawlen(L, list);

	for (i = 1; i <= n; i++, lua_pop(L, 1)) {
		lua_rawgeti(L, list, i);
		if (spec_matches(L, f))
			return true;
	}
	return false;
}

static bool
is_to_go(lua_State *L, const struct header_field *f, int list)
{
	bool goes;

	if (!spec_find(L, f, list))
		return false;
	spec_get(L, -1, "remove");
	goes = lua_toboolean(L, -1);
	lua_pop(L, 2);
	return goes;
}

static void
spec_import(lua_State *L, struct policy_msg *m, const struct header_field *f)
{
	if (!spec_find(L, f, 2))
		return;
	spec_get(L, -1, "match");
	spec_get(L, -2, "target");
	field_import(L, m, f, lua_tostring(L, -1),
	    lua_type(L, -2) == LUA_TSTRING && strcmp(lua_tostring(L, -2), "first") == 0);
	lua_pop(L, 3);
}

static int
msg_import_headers(lua_State *L)
{
	struct policy_msg *m = check(L);
	struct header_iter it;
	struct header_field f;
	lua_Integer i, n;

	lua_settop(L, 2);
	luaL_checktype(L, 2, LUA_TTABLE);
	if ((n = (lua_Integer)lua_rawlen(L, 2)) > LIST_MAX)
		return luaL_error(L, "more than %d tables", LIST_MAX);
	for (i = 1; i <= n; i++, lua_pop(L, 1)) {
		lua_rawgeti(L, 2, i);
		spec_check(L);
	}
	header_iter_init(&it, m->head, m->head_len);
	for (n = 1; header_next(&it, &f); n++) {
		if (n % FIELDS_A_LOOK == 0)
			policy_clock_check(L, 1);
		spec_import(L, m, &f);
	}
	remove_fields(L, m, is_to_go, 2);
	return 0;
}

const luaL_Reg policy_header_methods[] = {
	{ "get_first_named_header_value", msg_get_first_named_header_value },
	{ "get_all_named_header_values", msg_get_all_named_header_values },
	{ "get_all_headers", msg_get_all_headers },
	{ "prepend_header", msg_prepend_header },
	{ "append_header", msg_append_header },
	{ "remove_all_named_headers", msg_remove_all_named_headers },
	{ "remove_x_headers", msg_remove_x_headers },
	{ "import_headers", msg_import_headers },
	{ "import_x_headers", msg_import_x_headers },
	{ NULL, NULL }
};
