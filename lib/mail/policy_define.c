/* The module that policy.lua sees as `posthorn` and `kumo`: definitions of sources, pools and listener domains,
 * registration of events, and KumoMTA's make_* constructors, which here only hand back their table. Any process that
 * loads policy. Mistakes in definitions are collected, with their lines, instead of ending the load at the first. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/suggest.h"
#include "base/xalloc.h"
#include "mail/params.h"
#include "mail/policy_lib.h"
#include "mail/policy_private.h"

/* KumoMTA's { trigger = 'Immediate', duration = '5m' }: here every source is out at once while its address is not on
 * this host, and looked at again, so there is nothing to keep; what would be something else is refused. */
static void
unplumbed_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	bool is_immediate;

	(void)target;
	if (lua_type(L, -1) != LUA_TTABLE) {
		conf_error_add(r->errs, r->policy->file, r->line, "%s: %s must be a table", r->what, f->name);
		return;
	}
	lua_pushliteral(L, "trigger");
	lua_rawget(L, -2);
	is_immediate = lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "Immediate") == 0;
	lua_pop(L, 1);
	if (!is_immediate)
		conf_error_add(r->errs, r->policy->file, r->line, "%s: %s: only trigger 'Immediate' is supported",
		    r->what, f->name);
}

static const struct policy_field source_fields[] = {
	{ .name = "name", .type = FIELD_NAME, .offset = offsetof(struct policy_source, name) },
	{ .name = "source_address", .type = FIELD_ADDRESS, .offset = offsetof(struct policy_source, source_address) },
	{ .name = "ehlo_domain", .type = FIELD_HOST, .offset = offsetof(struct policy_source, ehlo_domain) },
	{ .name = "remote_port", .type = FIELD_PORT, .offset = offsetof(struct policy_source, remote_port), .min = 1,
	    .max = 65535 },
	LATER("socks5_proxy_server"), LATER("socks5_proxy_source_address"), LATER("ha_proxy_server"),
	LATER("ha_proxy_source_address"), LATER("ttl"),
	{ .name = "suspend_when_unplumbed", .type = FIELD_CALL, .read = unplumbed_read },
	{ .name = NULL }
};

/* true, false, or 'always'. */
static void
guard_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	struct pool_def *d = target;

	if (lua_type(L, -1) == LUA_TBOOLEAN)
		d->pool.guard = lua_toboolean(L, -1) ? GUARD_YES : GUARD_NO;
	else if (lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "always") == 0)
		d->pool.guard = GUARD_ALWAYS;
	else
		conf_error_add(r->errs, r->policy->file, r->line, "%s: %s must be true, false or 'always'", r->what,
		    f->name);
}

static const struct policy_field pool_fields[] = {
	{ .name = "name", .type = FIELD_NAME, .offset = offsetof(struct pool_def, pool.name) },
	{ .name = "entries", .type = FIELD_ENTRIES },
	{ .name = "fallback", .type = FIELD_NAME, .offset = offsetof(struct pool_def, pool.fallback) },
	{ .name = "require_authenticated_senders", .type = FIELD_CALL, .read = guard_read },
	LATER("ttl"),
	{ .name = NULL }
};

/* KumoMTA's words; true is LogThenRelay. */
static void
report_action_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	static const char *const words[] = { "Ignore", "LogThenDrop", "LogThenRelay" };
	enum report_action *out = (void *)((char *)target + f->offset);
	const char *s;

	if (lua_type(L, -1) == LUA_TBOOLEAN) {
		*out = lua_toboolean(L, -1) ? REPORT_RELAY : REPORT_IGNORE;
		return;
	}
	s = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(s, words[i]) == 0) {
			*out = (enum report_action)i;
			return;
		}
	conf_error_add(r->errs, r->policy->file, r->line,
	    "%s: %s must be true, false, 'LogThenRelay', 'LogThenDrop' or 'Ignore'", r->what, f->name);
}

static const struct policy_field listener_fields[] = {
	{ .name = "name", .type = FIELD_DOMAIN, .offset = offsetof(struct policy_listener_domain, name) },
	{ .name = "relay_to", .type = FIELD_BOOL, .offset = offsetof(struct policy_listener_domain, relay_to) },
	{ .name = "log_oob", .type = FIELD_CALL, .offset = offsetof(struct policy_listener_domain, log_oob),
	    .read = report_action_read },
	{ .name = "log_arf", .type = FIELD_CALL, .offset = offsetof(struct policy_listener_domain, log_arf),
	    .read = report_action_read },
	LATER("relay_from"), LATER("relay_from_authz"),
	{ .name = NULL }
};

/* KumoMTA's other events: known, so that the message can say more than "unknown". */
static const char *const later_events[] = {
	"pre_init", "init", "get_egress_source", "get_listener_domain", "smtp_server_get_dynamic_parameters",
	"smtp_server_data", "smtp_server_rewrite_response", "smtp_server_split_transaction",
	"http_message_generated", "http_server_validate_auth_basic", "should_enqueue_log_record",
	"smtp_client_rewrite_delivery_status", "throttle_insert_ready_queue", NULL
};

unsigned
policy_caller_line(lua_State *L)
{
	lua_Debug ar;

	if (lua_getstack(L, 1, &ar) == 0 || lua_getinfo(L, "l", &ar) == 0 || ar.currentline < 0)
		return 0;
	return (unsigned)ar.currentline;
}

/* Lua leaves by a long jump; this says so to the compiler. */
static void refuse(lua_State *, const char *fmt, const char *what, int n) __attribute__((noreturn));

static void
refuse(lua_State *L, const char *fmt, const char *what, int n)
{
	luaL_error(L, fmt, what, n);
	panic("policy: luaL_error returned");
}

struct policy *
policy_definition_begin(lua_State *L, struct policy_reader *r, const char *what, size_t n, size_t max)
{
	struct policy *p = policy_of(L);

	if (p->errs == NULL)
		refuse(L, "%s may only be called while the policy loads, not in an event", what, 0);
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	if (n >= max)
		refuse(L, "%s: more than %d of them", what, (int)max);
	*r = (struct policy_reader){ .policy = p, .errs = p->errs, .line = policy_caller_line(L), .what = what };
	return p;
}

static int
source_define(lua_State *L)
{
	struct policy_reader r;
	struct policy *p = policy_definition_begin(L, &r, "posthorn.source", policy_of(L)->n_sources,
	    POLICY_SOURCES_MAX);
	struct source_def *d = xcalloc(1, sizeof(*d));
	size_t i, before = r.errs->n;

	p->sources = xreallocarray(p->sources, p->n_sources + 1, sizeof(struct source_def *));
	p->sources[p->n_sources++] = d;
	d->line = r.line;
	policy_table_read(&r, L, source_fields, &d->source);
	lua_getfield(L, 1, "source_address");
	if (lua_isnil(L, -1))
		conf_error_add(r.errs, p->file, r.line,
		    "posthorn.source: source_address is missing (write 'unspecified' to let the kernel choose)");
	if (d->source.name == NULL && r.errs->n == before)
		conf_error_add(r.errs, p->file, r.line, "posthorn.source: name is missing");
	for (i = 0; d->source.name != NULL && i + 1 < p->n_sources; i++)
		if (p->sources[i]->source.name != NULL && strcmp(p->sources[i]->source.name, d->source.name) == 0) {
			conf_error_add(r.errs, p->file, r.line, "the source '%s' is defined twice: here and in line %u",
			    d->source.name, p->sources[i]->line);
			break;
		}
	return 0;
}

static int
pool_define(lua_State *L)
{
	struct policy_reader r;
	struct policy *p = policy_definition_begin(L, &r, "posthorn.pool", policy_of(L)->n_pools, POLICY_POOLS_MAX);
	struct pool_def *d = xcalloc(1, sizeof(*d));
	size_t i, before = r.errs->n;

	p->pools = xreallocarray(p->pools, p->n_pools + 1, sizeof(struct pool_def *));
	p->pools[p->n_pools++] = d;
	d->line = r.line;
	d->pool.guard = -1;
	policy_table_read(&r, L, pool_fields, d);
	if (d->pool.name == NULL && r.errs->n == before)
		conf_error_add(r.errs, p->file, r.line, "posthorn.pool: name is missing");
	if (d->n_entries == 0 && r.errs->n == before)
		conf_error_add(r.errs, p->file, r.line, "the pool '%s' has no entries: nothing could leave through it",
		    d->pool.name);
	for (i = 0; i < d->n_entries && r.errs->n == before; i++)
		if (d->entries[i].name == NULL)
			conf_error_add(r.errs, p->file, r.line, "an entry of the pool '%s' has no name", d->pool.name);
	for (i = 0; d->pool.name != NULL && i + 1 < p->n_pools; i++)
		if (p->pools[i]->pool.name != NULL && strcmp(p->pools[i]->pool.name, d->pool.name) == 0) {
			conf_error_add(r.errs, p->file, r.line, "the pool '%s' is defined twice: here and in line %u",
			    d->pool.name, p->pools[i]->line);
			break;
		}
	return 0;
}

static int
listener_domain_define(lua_State *L)
{
	struct policy_reader r;
	struct policy *p = policy_definition_begin(L, &r, "posthorn.listener_domain", policy_of(L)->n_listeners,
	    POLICY_LISTENER_DOMAINS_MAX);
	struct listener_def *d = xcalloc(1, sizeof(*d));
	size_t before = r.errs->n;

	p->listeners = xreallocarray(p->listeners, p->n_listeners + 1, sizeof(struct listener_def *));
	p->listeners[p->n_listeners++] = d;
	d->line = r.line;
	policy_table_read(&r, L, listener_fields, &d->domain);
	if (r.errs->n > before)
		return 0;
	if (d->domain.name == NULL)
		conf_error_add(r.errs, p->file, r.line, "posthorn.listener_domain: name is missing");
	else if (!d->domain.relay_to && d->domain.log_oob == REPORT_IGNORE && d->domain.log_arf == REPORT_IGNORE)
		conf_error_add(r.errs, p->file, r.line,
		    "the listener domain '%s' accepts nothing: relay_to, log_oob or log_arf must be true",
		    d->domain.name);
	return 0;
}

static void
event_unknown(struct policy *p, unsigned line, const char *name)
{
	const char *const *later;
	const char *near;

	for (later = later_events; *later != NULL; later++)
		if (strcmp(*later, name) == 0) {
			conf_error_add(p->errs, p->file, line, "the event '%s' is not supported by this version", name);
			return;
		}
	near = suggest_nearest(name, policy_event_names);
	conf_error_add(p->errs, p->file, line, "unknown event '%.60s'" SUGGEST_FMT, name, SUGGEST_ARGS(near));
}

static int
event_on(lua_State *L)
{
	struct policy *p = policy_of(L);
	const char *name = luaL_checkstring(L, 1);
	struct policy_handler *h;
	lua_Debug ar;
	int i;

	if (p->errs == NULL)
		return luaL_error(L, "posthorn.on may only be called while the policy loads, not in an event");
	luaL_checktype(L, 2, LUA_TFUNCTION);
	for (i = 0; i < POLICY_EVENTS && strcmp(policy_event_names[i], name) != 0; i++)
		;
	if (i == POLICY_EVENTS) {
		event_unknown(p, policy_caller_line(L), name);
		return 0;
	}
	h = &p->handlers[i];
	if (h->ref != LUA_NOREF) {
		conf_error_add(p->errs, p->file, policy_caller_line(L),
		    "the event %s has a function already, in line %u",
		    name, h->line);
		return 0;
	}
	lua_settop(L, 2);
	lua_pushvalue(L, 2);
	lua_getinfo(L, ">S", &ar);
	h->line = ar.linedefined > 0 ? (unsigned)ar.linedefined : policy_caller_line(L);
	h->ref = luaL_ref(L, LUA_REGISTRYINDEX);
	return 0;
}

static int
table_return(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	return 1;
}

static const luaL_Reg module_functions[] = {
	{ "source", source_define },
	{ "pool", pool_define },
	{ "listener_domain", listener_domain_define },
	{ "sender_domain", policy_sender_domain_define },
	{ "feedback_source", policy_feedback_define },
	{ "list_unsubscribe", policy_unsubscribe_define },
	{ "on", event_on },
	{ "make_queue_config", table_return },
	{ "make_egress_path", table_return },
	{ "make_egress_pool", table_return },
	{ "make_egress_source", table_return },
	{ NULL, NULL }
};

void
policy_define_open(lua_State *L)
{
	luaL_newlib(L, module_functions);
	policy_call_open(L);
	policy_lib_install(L);
	policy_dkim_open(L);
	policy_lib_seal(L, "posthorn");
}
