/* The object `message` of policy: envelope, queue, meta, schedule, content (policy_call.h); its header block is
 * policy_headers.c. Changes go into the host's envelope at once and are checked as what strangers send is, for other
 * processes read it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/arc.h"
#include "mail/dkim.h"
#include "mail/names.h"
#include "mail/policy_call_private.h"
#include "mail/schedule.h"

static void
replace(char **p, const char *value)
{
	free(*p);
	*p = value != NULL ? xstrdup(value) : NULL;
}

void
policy_msg_queue_name(const struct policy_msg *m, const char *domain, char *out, size_t size)
{
	const struct envelope *e = m->env;

	if (e->queue != NULL)
		snprintf(out, size, "%s", e->queue);
	else
		queue_name_make(out, size, e->campaign, e->tenant, m->routing_domain != NULL ? m->routing_domain :
		    domain);
}

void
policy_msg_settle(struct policy_msg *m)
{
	char name[QUEUE_NAME_TEXT];

	if (m->routing_domain == NULL || m->env->queue != NULL)
		return;
	policy_msg_queue_name(m, "", name, sizeof(name));
	replace(&m->env->queue, name);
}

void
policy_msg_clear(struct policy_msg *m)
{
	wbuf_clear(&m->edited);
	wbuf_clear(&m->scratch);
	while (m->n_signers > 0)
		dkim_signer_unref(&m->signers[--m->n_signers]);
	arc_order_free(&m->seal);
	free(m->routing_domain);
	m->routing_domain = NULL;
}

struct policy_msg *
policy_message_check(lua_State *L)
{
	return policy_object_task(L, POLICY_MESSAGE_KIND)->call.msg;
}

static int
msg_id(lua_State *L)
{
	char hex[MSGID_HEX];

	msgid_hex(&policy_message_check(L)->env->id, hex);
	lua_pushstring(L, hex);
	return 1;
}

static int
msg_sender(lua_State *L)
{
	policy_address_push(L, policy_message_check(L)->env->sender);
	return 1;
}

static int
msg_recipient_list(lua_State *L)
{
	const struct envelope *e = policy_message_check(L)->env;
	uint32_t i;

	lua_createtable(L, (int)e->n_rcpts, 0);
	for (i = 0; i < e->n_rcpts; i++) {
		policy_address_push(L, e->rcpts[i].address);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

/* One address, or a list of several. */
static int
msg_recipient(lua_State *L)
{
	const struct envelope *e = policy_message_check(L)->env;

	if (e->n_rcpts != 1)
		return msg_recipient_list(L);
	policy_address_push(L, e->rcpts[0].address);
	return 1;
}

/* The address at the top of the stack, in canonical form. */
static void
address_take(lua_State *L, const struct policy_msg *m, char out[ADDRESS_MAX])
{
	const char *s = policy_address_check(L, -1);

	if (address_parse(s, m->is_utf8, out) == -1)
		luaL_error(L, "'%s' is not a valid address%s", s,
		    is_ascii(s, strlen(s)) || m->is_utf8 ? "" : " (the client did not ask for SMTPUTF8)");
}

static int
msg_set_sender(lua_State *L)
{
	struct policy_msg *m = policy_message_check(L);
	char address[ADDRESS_MAX] = "";

	lua_settop(L, 2);
	if (m->is_queued)
		return luaL_error(L, "the sender cannot be changed in this event");
	if (*policy_address_check(L, 2) != '\0')
		address_take(L, m, address);
	replace(&m->env->sender, address);
	m->changed |= POLICY_MSG_SENDER;
	return 0;
}

static bool
has_rcpt(const struct envelope *e, const char *address)
{
	uint32_t i;

	for (i = 0; i < e->n_rcpts; i++)
		if (strcmp(e->rcpts[i].address, address) == 0)
			return true;
	return false;
}

static void
rcpts_free(struct envelope *e)
{
	while (e->n_rcpts > 0) {
		e->n_rcpts--;
		free(e->rcpts[e->n_rcpts].address);
		free(e->rcpts[e->n_rcpts].orcpt);
	}
	free(e->rcpts);
	e->rcpts = NULL;
}

/* Another recipient for the only one is who the mail was for all along: notifications stay as they were asked for. */
static int
rcpt_replace(lua_State *L, struct policy_msg *m)
{
	char address[ADDRESS_MAX];

	address_take(L, m, address);
	replace(&m->env->rcpts[0].address, address);
	m->changed |= POLICY_MSG_RCPTS;
	return 0;
}

static int
msg_set_recipient(lua_State *L)
{
	struct policy_msg *m = policy_message_check(L);
	char address[ADDRESS_MAX];
	lua_Integer i, n;

	lua_settop(L, 2);
	if (m->max_rcpts == 0)
		return luaL_error(L, "recipients cannot be changed in this event");
	if (lua_type(L, 2) != LUA_TTABLE) {
		if (m->env->n_rcpts == 1)
			return rcpt_replace(L, m);
		lua_createtable(L, 1, 0);
		lua_insert(L, 2);
		lua_rawseti(L, 2, 1);
	}
	n = (lua_Integer)lua_rawlen(L, 2);
	if (n < 1 || n > (lua_Integer)m->max_rcpts)
		return luaL_error(L, "a message has from 1 to %d recipients, not %d", (int)m->max_rcpts, (int)n);
	/* All are looked at before the first is used. */
	for (i = 1; i <= n; i++, lua_pop(L, 1)) {
		lua_rawgeti(L, 2, i);
		address_take(L, m, address);
	}
	rcpts_free(m->env);
	for (i = 1; i <= n; i++, lua_pop(L, 1)) {
		lua_rawgeti(L, 2, i);
		address_take(L, m, address);
		if (!has_rcpt(m->env, address))
			envelope_add_rcpt(m->env, address, NULL, NOTIFY_DEFAULT);
		policy_clock_check(L, 1);
	}
	m->changed |= POLICY_MSG_RCPTS;
	return 0;
}

static int
msg_queue_name(lua_State *L)
{
	const struct policy_msg *m = policy_message_check(L);
	const char *domain = m->env->n_rcpts > 0 ? address_domain(m->env->rcpts[0].address) : "";
	char name[QUEUE_NAME_TEXT];
	uint32_t i;

	/* Each recipient has a queue; where they differ there is no one answer. */
	for (i = 1; i < m->env->n_rcpts && m->env->queue == NULL && m->routing_domain == NULL; i++)
		if (strcmp(address_domain(m->env->rcpts[i].address), domain) != 0)
			return luaL_error(L, "the recipients are of several domains: there is no one queue");
	policy_msg_queue_name(m, domain, name, sizeof(name));
	lua_pushstring(L, name);
	return 1;
}

static int
msg_num_attempts(lua_State *L)
{
	lua_pushinteger(L, policy_message_check(L)->num_attempts);
	return 1;
}

/* ---- meta ---- */

static const char *
meta_get(const struct policy_task *k, const char *key, char *buf, size_t size)
{
	const struct policy_msg *m = k->call.msg;
	const struct policy_conn set = { .meta = m->env->meta, .n_meta = m->env->n_meta };
	const char *v;

	if (strcmp(key, "tenant") == 0)
		return m->env->tenant;
	if (strcmp(key, "campaign") == 0)
		return m->env->campaign;
	if (strcmp(key, "queue") == 0)
		return m->env->queue;
	if (strcmp(key, "routing_domain") == 0)
		return m->routing_domain;
	if ((v = policy_conn_meta(&set, key)) != NULL)
		return v;
	if (k->call.conn != NULL)
		return policy_conn_value(k->call.conn, key, buf, size);
	return strcmp(key, "authn_id") == 0 || strcmp(key, "authz_id") == 0 ? m->env->auth_user :
	    strcmp(key, "ehlo_domain") == 0 ? m->env->helo : NULL;
}

static int
msg_get_meta(lua_State *L)
{
	struct policy_task *k = policy_object_task(L, POLICY_MESSAGE_KIND);
	char buf[512];

	lua_pushstring(L, meta_get(k, policy_meta_key_check(L, 2), buf, sizeof(buf)));
	return 1;
}

static void
campaign_set(lua_State *L, struct envelope *e, const char *value)
{
	char clean[CAMPAIGN_MAX + 1];

	if (value != NULL) {
		if (*value == '\0' || strlen(value) > CAMPAIGN_MAX)
			luaL_error(L, "a campaign has from 1 to %d characters", CAMPAIGN_MAX);
		memcpy(clean, value, strlen(value) + 1);
		campaign_clean(clean);
		value = clean;
	}
	replace(&e->campaign, value);
}

static void
routing_domain_set(lua_State *L, struct policy_msg *m, const char *value)
{
	char lower[QUEUE_NAME_TEXT];
	size_t i;

	if (value != NULL) {
		for (i = 0; value[i] != '\0' && i + 1 < sizeof(lower); i++)
			lower[i] = *value != '[' && value[i] >= 'A' && value[i] <= 'Z' ? (char)(value[i] + 32) :
			    value[i];
		lower[i] = '\0';
		if (value[i] != '\0' || !destination_valid(lower))
			luaL_error(L, "routing_domain: '%s' is not a domain, nor an address in brackets", value);
		value = lower;
	}
	replace(&m->routing_domain, value);
}

void
policy_message_meta_set(lua_State *L, struct policy_msg *m, const char *key, const char *value)
{
	m->changed |= POLICY_MSG_QUEUE;
	if (strcmp(key, "tenant") == 0) {
		if (value != NULL && !tenant_valid(value))
			luaL_error(L, "tenant: '%s' is not a name (letters, digits, '._+-', at most %d)", value,
			    TENANT_MAX);
		replace(&m->env->tenant, value);
	} else if (strcmp(key, "campaign") == 0) {
		campaign_set(L, m->env, value);
	} else if (strcmp(key, "queue") == 0) {
		if (value != NULL && !queue_name_valid(value))
			luaL_error(L, "queue: '%s' is not like campaign:tenant@domain", value);
		replace(&m->env->queue, value);
	} else if (strcmp(key, "routing_domain") == 0) {
		routing_domain_set(L, m, value);
	} else {
		policy_meta_set(L, &m->env->meta, &m->env->n_meta, key, value);
		m->changed |= POLICY_MSG_META;
	}
}

static int
msg_set_meta(lua_State *L)
{
	struct policy_msg *m = policy_message_check(L);
	const char *key = policy_meta_key_check(L, 2);

	policy_message_meta_set(L, m, key, policy_meta_check(L, 3));
	return 0;
}

/* ---- schedule ---- */

static void
schedule_take(struct policy_msg *m, const struct schedule *s)
{
	m->env->first_attempt = s->first_attempt;
	m->env->expires = s->expires;
	m->changed |= POLICY_MSG_SCHEDULE;
}

static int
msg_set_scheduling(lua_State *L)
{
	struct policy_msg *m = policy_message_check(L);
	struct schedule s = { 0, 0 };
	const char *err = NULL;
	bool is_number;

	lua_settop(L, 2);
	if (m->is_queued)
		return luaL_error(L, "the schedule cannot be changed in this event");
	if (!lua_isnil(L, 2)) {
		luaL_checktype(L, 2, LUA_TTABLE);
		for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
			is_number = lua_type(L, -1) == LUA_TNUMBER;
			if (lua_type(L, -2) != LUA_TSTRING || (!is_number && lua_type(L, -1) != LUA_TSTRING))
				return luaL_error(L, "set_scheduling: a value is neither a time nor a number of "
				    "seconds");
			if (schedule_set(&s, lua_tostring(L, -2), is_number ? NULL : lua_tostring(L, -1),
			    is_number ? lua_tonumber(L, -1) : 0, m->now, &err) == -1)
				return luaL_error(L, "set_scheduling: %s", err);
		}
		if (schedule_check(&s, m->now, &err) == -1)
			return luaL_error(L, "set_scheduling: %s", err);
	}
	schedule_take(m, &s);
	return 0;
}

/* Like the header that smtpd reads by itself; a mistake in it is the sender's: an error that policy may catch. */
static int
msg_import_scheduling_header(lua_State *L)
{
	struct policy_msg *m = policy_message_check(L);
	struct schedule s;
	const char *err = NULL, *text;
	size_t len;

	lua_settop(L, 3);
	if (m->is_queued)
		return luaL_error(L, "the schedule cannot be changed in this event");
	lua_getfield(L, 1, "get_first_named_header_value");
	lua_pushvalue(L, 1);
	lua_pushvalue(L, 2);
	lua_call(L, 2, 1);
	if (lua_isnil(L, -1))
		return 0;
	text = lua_tolstring(L, -1, &len);
	if (schedule_parse(text, len, m->now, &s, &err) == -1)
		return luaL_error(L, "import_scheduling_header: %s", err);
	schedule_take(m, &s);
	if (lua_toboolean(L, 3)) {
		lua_getfield(L, 1, "remove_all_named_headers");
		lua_pushvalue(L, 1);
		lua_pushvalue(L, 2);
		lua_call(L, 2, 0);
	}
	return 0;
}

/* ---- content ---- */

static int
msg_get_data(lua_State *L)
{
	const struct policy_msg *m = policy_message_check(L);
	luaL_Buffer b;

	if (m->head == NULL || m->body == NULL)
		return luaL_error(L, "the content is not in memory (it is larger than 1 MiB, or the event has none)");
	luaL_buffinitsize(L, &b, m->head_len + m->body_len + 1);
	luaL_addlstring(&b, m->head, m->head_len);
	luaL_addlstring(&b, (const char *)m->body, m->body_len);
	luaL_pushresult(&b);
	return 1;
}

static int
msg_set_data(lua_State *L)
{
	struct policy_msg *m = policy_message_check(L);
	const char *err = NULL, *text;
	size_t len;

	text = luaL_checklstring(L, 2, &len);
	if (m->set_data == NULL || m->body == NULL)
		return luaL_error(L, "the content cannot be replaced here (it is larger than 1 MiB, or the event has "
		    "none)");
	if (m->set_data(m->arg, text, len, &err) == -1)
		return luaL_error(L, "set_data: %s", err);
	wbuf_reset(&m->edited);
	m->changed |= POLICY_MSG_HEAD;
	return 0;
}

static int
msg_not_yet(lua_State *L)
{
	return luaL_error(L, "this method of KumoMTA's messages is not supported by this version");
}

static const luaL_Reg methods[] = {
	{ "id", msg_id },
	{ "sender", msg_sender },
	{ "set_sender", msg_set_sender },
	{ "recipient", msg_recipient },
	{ "recipient_list", msg_recipient_list },
	{ "set_recipient", msg_set_recipient },
	{ "queue_name", msg_queue_name },
	{ "num_attempts", msg_num_attempts },
	{ "get_meta", msg_get_meta },
	{ "set_meta", msg_set_meta },
	{ "set_scheduling", msg_set_scheduling },
	{ "import_scheduling_header", msg_import_scheduling_header },
	{ "get_data", msg_get_data },
	{ "set_data", msg_set_data },
	{ "dkim_sign", policy_message_dkim_sign },
	{ "dkim_verify", policy_message_dkim_verify },
	{ "arc_verify", policy_message_arc_verify },
	{ "arc_seal", policy_message_arc_seal },
	{ "add_authentication_results", policy_message_add_authentication_results },
	{ NULL, NULL }
};

static const char *const later[] = {
	"append_text_plain", "append_text_html", "parse_mime",
	"parse_rfc3464", "check_fix_conformance", "set_due", "set_force_sync", "save",
	"shrink", "shrink_data", "from_header", "to_header", "get_address_header", "increment_num_attempts", NULL
};

void
policy_message_open(lua_State *L)
{
	int i;

	policy_object_kind(L, POLICY_MESSAGE_KIND, methods);
	luaL_getmetatable(L, POLICY_MESSAGE_KIND);
	lua_getfield(L, -1, "__index");
	luaL_setfuncs(L, policy_header_methods, 0);
	for (i = 0; later[i] != NULL; i++) {
		lua_pushcfunction(L, msg_not_yet);
		lua_setfield(L, -2, later[i]);
	}
	lua_pop(L, 2);
}
