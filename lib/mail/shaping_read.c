/* From Lua to the blocks of shaping data: posthorn.shaping.default, provider, site and domain. Runs in the jail of
 * policy while a file loads. Every key is looked at, so that all errors of a file are reported at once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/suggest.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/shaping_private.h"

#define COMPLAIN(r, ...) conf_error_add((r)->errs, (r)->policy->file, (r)->line, __VA_ARGS__)
#define OWN_FIELDS 16

static void
lower(char *s)
{
	for (; *s != '\0'; s++)
		if (*s >= 'A' && *s <= 'Z')
			*s = (char)(*s + ('a' - 'A'));
}

/* A string or a list of strings. */
static void
strs_read(struct policy_reader *r, lua_State *L, const char *key, struct conf_strs *out)
{
	lua_Integer i, n;
	const char *s;

	if (lua_type(L, -1) == LUA_TSTRING) {
		if ((s = policy_string_value(r, L, key)) != NULL)
			shaping_strs_add(out, s);
		return;
	}
	n = policy_list_length(r, L, key, SHAPING_LIST_MAX);
	for (i = 1; i <= n; i++) {
		lua_rawgeti(L, -1, i);
		if ((s = policy_string_value(r, L, key)) != NULL)
			shaping_strs_add(out, s);
		lua_pop(L, 1);
	}
}

/* A list, or a single table in its place, each member given to `each`. */
static void
tables_read(struct policy_reader *r, lua_State *L, const char *key, size_t max,
    void (*each)(struct policy_reader *, lua_State *, void *), void *arg)
{
	lua_Integer i, n;

	if (lua_type(L, -1) == LUA_TTABLE && lua_rawlen(L, -1) == 0) {
		lua_pushnil(L);
		if (lua_next(L, -2) == 0)
			return; /* an empty list */
		lua_pop(L, 2);
		each(r, L, arg);
		return;
	}
	n = policy_list_length(r, L, key, max);
	for (i = 1; i <= n; i++) {
		lua_rawgeti(L, -1, i);
		each(r, L, arg);
		lua_pop(L, 1);
	}
}

/* Actions. */

static const struct {
	const char *word;
	enum shaping_action_type type;
} action_words[] = {
	{ "Suspend", ACTION_SUSPEND }, { "SuspendTenant", ACTION_SUSPEND_TENANT },
	{ "SuspendCampaign", ACTION_SUSPEND_CAMPAIGN }, { "Bounce", ACTION_BOUNCE },
	{ "BounceTenant", ACTION_BOUNCE_TENANT }, { "BounceCampaign", ACTION_BOUNCE_CAMPAIGN },
};

static struct shaping_action *
action_add(struct rule_def *d, enum shaping_action_type type)
{
	d->actions = xreallocarray(d->actions, d->rule.n_actions + 1, sizeof(*d->actions));
	d->actions[d->rule.n_actions] = (struct shaping_action){ .type = type, .field = -1 };
	return &d->actions[d->rule.n_actions++];
}

static void
action_word(struct policy_reader *r, const char *word, struct rule_def *d)
{
	struct suggest near;
	size_t i;

	suggest_init(&near, word);
	for (i = 0; i < sizeof(action_words) / sizeof(action_words[0]); i++) {
		suggest_consider(&near, action_words[i].word);
		if (strcmp(action_words[i].word, word) == 0) {
			action_add(d, action_words[i].type);
			return;
		}
	}
	COMPLAIN(r, "%s: unknown action '%.60s'" SUGGEST_FMT, r->what, word, SUGGEST_ARGS(near.best));
}

static const char *
setting_nearest(const char *name)
{
	struct suggest near;
	size_t i;

	suggest_init(&near, name);
	for (i = 0; i < policy_path_count(); i++)
		if (policy_path_find(policy_path_name(i)) >= 0)
			suggest_consider(&near, policy_path_name(i));
	return near.best;
}

/* The number of a setting, or -1 after a complaint. */
static int
setting_find(struct policy_reader *r, const char *key, const char *name)
{
	int field = policy_path_find(name);
	const char *near;

	if (field >= 0)
		return field;
	near = setting_nearest(name);
	COMPLAIN(r, "%s: %s: there is no setting '%.60s'" SUGGEST_FMT, r->what, key, name, SUGGEST_ARGS(near));
	return -1;
}

/* { name = 'connection_limit', value = 1 } at the top of the stack. */
static void
set_config_read(struct policy_reader *r, lua_State *L, struct rule_def *d)
{
	struct policy_path_config scratch;
	struct shaping_action *a;
	const char *value = NULL;
	int field = -1;
	char *err;

	if (lua_type(L, -1) != LUA_TTABLE) {
		COMPLAIN(r, "%s: SetConfig must be a table such as { name = 'connection_limit', value = 1 }", r->what);
		return;
	}
	lua_getfield(L, -1, "name");
	if (lua_type(L, -1) == LUA_TSTRING)
		field = setting_find(r, "SetConfig", lua_tostring(L, -1));
	else
		COMPLAIN(r, "%s: SetConfig: name is missing", r->what);
	lua_pop(L, 1);
	lua_getfield(L, -1, "value");
	if (lua_type(L, -1) == LUA_TBOOLEAN)
		value = lua_toboolean(L, -1) ? "true" : "false";
	else if (lua_type(L, -1) == LUA_TNUMBER || lua_type(L, -1) == LUA_TSTRING)
		value = lua_tostring(L, -1); /* a copy on the stack: the table keeps its number */
	else
		COMPLAIN(r, "%s: SetConfig: value is missing", r->what);
	if (value != NULL && field >= 0) {
		policy_path_config_init(&scratch);
		if ((err = policy_path_set(&scratch, (size_t)field, value)) != NULL) {
			COMPLAIN(r, "%s: SetConfig: %s", r->what, err);
			free(err);
		} else {
			a = action_add(d, ACTION_SET_CONFIG);
			a->field = field;
			a->value = xstrdup(value);
		}
		policy_path_config_clear(&scratch);
	}
	lua_pop(L, 1);
}

static void
action_table(struct policy_reader *r, lua_State *L, struct rule_def *d)
{
	const char *key;

	for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
		key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
		if (strcmp(key, "SetConfig") == 0)
			set_config_read(r, L, d);
		else if (strcmp(key, "SetDomainConfig") == 0)
			COMPLAIN(r, "%s: instead of SetDomainConfig write SetConfig and, in the rule, scope = 'domain'",
			    r->what);
		else
			action_word(r, key, d);
	}
}

static void
action_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	struct rule_def *d = target;
	lua_Integer i, n;

	if (lua_type(L, -1) == LUA_TSTRING) {
		action_word(r, lua_tostring(L, -1), d);
	} else if (lua_type(L, -1) == LUA_TTABLE && lua_rawlen(L, -1) == 0) {
		action_table(r, L, d);
	} else {
		n = policy_list_length(r, L, f->name, 16);
		for (i = 1; i <= n; i++) {
			lua_rawgeti(L, -1, i);
			if (lua_type(L, -1) == LUA_TSTRING)
				action_word(r, lua_tostring(L, -1), d);
			else if (lua_type(L, -1) == LUA_TTABLE)
				action_table(r, L, d);
			else
				COMPLAIN(r, "%s: an action is a word or a table", r->what);
			lua_pop(L, 1);
		}
	}
}

/* Triggers: 'Immediate', or { Threshold = '2/h' }. */
static void
trigger_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	struct rule_def *d = target;
	const char *text = NULL, *why;
	struct rate rate;

	d->has_trigger = true;
	if (lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "Immediate") == 0)
		return;
	if (lua_type(L, -1) == LUA_TTABLE) {
		lua_getfield(L, -1, "Threshold");
		if (lua_type(L, -1) == LUA_TSTRING)
			text = lua_tostring(L, -1);
		lua_pop(L, 1); /* the table keeps it */
	}
	if (text == NULL) {
		COMPLAIN(r, "%s: %s must be 'Immediate' or { Threshold = '2/h' }", r->what, f->name);
	} else if ((why = rate_parse(text, RATE_BUDGET, &rate)) != NULL) {
		COMPLAIN(r, "%s: Threshold: '%.60s' %s", r->what, text, why);
	} else if (rate.quantity > 1000000 || rate.period > 7 * 86400000ll) {
		COMPLAIN(r, "%s: Threshold: '%.60s' is more than can be counted: at most 1000000 in 7 days", r->what,
		    text);
	} else {
		d->rule.trigger_count = (uint64_t)rate.quantity;
		d->rule.trigger_period = rate.quantity > 1 ? rate.period : 0;
	}
}

static void
regex_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	struct rule_def *d = target;
	struct conf_strs texts = { NULL, 0 };
	size_t i;
	char *err;

	strs_read(r, L, f->name, &texts);
	d->patterns = xcalloc(texts.n > 0 ? texts.n : 1, sizeof(*d->patterns));
	for (i = 0; i < texts.n; i++)
		if ((err = pattern_compile(&d->patterns[d->n_patterns], texts.v[i], 0)) != NULL) {
			COMPLAIN(r, "%s: %s", r->what, err);
			free(err);
		} else {
			d->n_patterns++;
		}
	shaping_strs_clear(&texts);
}

static void
samples_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	strs_read(r, L, f->name, (struct conf_strs *)(void *)((char *)target + f->offset));
}

static const char *const scope_words[] = { "path", "provider", "provider_total", "domain", NULL };

#define RULE(f) offsetof(struct rule_def, f)
static const struct policy_field rule_fields[] = {
	{ .name = "name", .type = FIELD_NAME, .offset = RULE(name) },
	{ .name = "regex", .type = FIELD_CALL, .read = regex_read },
	{ .name = "trigger", .type = FIELD_CALL, .read = trigger_read },
	{ .name = "action", .type = FIELD_CALL, .read = action_read },
	{ .name = "duration", .type = FIELD_TIME, .offset = RULE(rule.duration), .min = 1000,
	    .max = SHAPING_DURATION_MAX },
	{ .name = "scope", .type = FIELD_WORD, .offset = RULE(rule.scope), .words = scope_words },
	{ .name = "match_internal", .type = FIELD_BOOL, .offset = RULE(rule.match_internal) },
	{ .name = "dry_run", .type = FIELD_BOOL, .offset = RULE(rule.is_dry_run) },
	{ .name = "gradual", .type = FIELD_BOOL, .offset = RULE(rule.is_gradual) },
	{ .name = "samples", .type = FIELD_CALL, .offset = RULE(samples), .read = samples_read },
	{ .name = "not_samples", .type = FIELD_CALL, .offset = RULE(not_samples), .read = samples_read },
	{ .name = NULL }
};
_Static_assert(sizeof(enum shaping_scope) == sizeof(int), "FIELD_WORD writes an int");

/* A table that posthorn.shaping.rule has seen knows its line; the registry has them, with weak keys. */
static const char rule_lines;

static void
rule_lines_push(lua_State *L)
{
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &rule_lines) == LUA_TTABLE)
		return;
	lua_pop(L, 1);
	lua_newtable(L);
	lua_newtable(L);
	lua_pushliteral(L, "k");
	lua_setfield(L, -2, "__mode");
	lua_setmetatable(L, -2);
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &rule_lines);
}

/* The line of the file itself where we are, not that of a function which makes rules. */
static unsigned
main_line(lua_State *L)
{
	unsigned line = policy_caller_line(L);
	lua_Debug ar;
	int level;

	for (level = 1; lua_getstack(L, level, &ar) != 0; level++)
		if (lua_getinfo(L, "Sl", &ar) != 0 && strcmp(ar.what, "main") == 0 && ar.currentline > 0)
			line = (unsigned)ar.currentline;
	return line;
}

/* posthorn.shaping.rule: its table, unchanged. */
static int
rule_note(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	rule_lines_push(L);
	lua_pushvalue(L, 1);
	lua_pushinteger(L, main_line(L));
	lua_rawset(L, -3);
	lua_pop(L, 1);
	return 1;
}

/* Of the rule at the top of the stack; otherwise what is known of the surrounding call. */
static unsigned
rule_line(lua_State *L, unsigned otherwise)
{
	lua_Integer line;

	rule_lines_push(L);
	lua_pushvalue(L, -2);
	lua_rawget(L, -2);
	line = lua_tointeger(L, -1);
	lua_pop(L, 2);
	return line > 0 ? (unsigned)line : otherwise;
}

static void
rule_read(struct policy_reader *outer, lua_State *L, void *arg)
{
	struct policy_reader own = *outer, *r = &own;
	struct block *b = arg;
	struct rule_def *d = xcalloc(1, sizeof(*d));
	char *what = NULL;
	size_t i, before = r->errs->n;

	own.line = rule_line(L, outer->line);
	b->rules = xreallocarray(b->rules, b->n_rules + 1, sizeof(struct rule_def *));
	b->rules[b->n_rules++] = d;
	d->rule.origin = b->origin;
	d->rule.origin.line = own.line;
	d->rule.trigger_count = 1;
	d->rule.is_gradual = true;
	if (lua_type(L, -1) != LUA_TTABLE) {
		COMPLAIN(r, "%s: automation must be a list of tables, not of a %s", r->what, luaL_typename(L, -1));
		return;
	}
	policy_table_read(r, L, rule_fields, d);
	if (d->name == NULL)
		d->name = xasprintf("%s-%u-%zu", r->policy->chunk, r->line, b->n_rules);
	for (i = 0; i + 1 < b->n_rules; i++)
		if (strcmp(b->rules[i]->name, d->name) == 0)
			COMPLAIN(r, "%s: there are two rules '%s'", r->what, d->name);
	if (r->errs->n == before) {
		what = xasprintf("%s: the rule '%s'", r->what, d->name);
		if (d->n_patterns == 0)
			COMPLAIN(r, "%s has no regex", what);
		if (d->rule.n_actions == 0)
			COMPLAIN(r, "%s has no action", what);
		if (d->rule.duration == 0)
			COMPLAIN(r, "%s has no duration", what);
	}
	free(what);
}

static void
automation_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	tables_read(r, L, f->name, SHAPING_RULES_MAX, rule_read, target);
}

/* Which paths a block is for. */

static const struct {
	const char *word;
	enum match_kind kind;
} match_words[] = {
	{ "mx_suffix", MATCH_MX_SUFFIX }, { "MXSuffix", MATCH_MX_SUFFIX }, { "mx_host", MATCH_MX_HOST },
	{ "HostName", MATCH_MX_HOST }, { "domain_suffix", MATCH_DOMAIN_SUFFIX },
	{ "DomainSuffix", MATCH_DOMAIN_SUFFIX },
};

static void
match_add(struct policy_reader *r, struct block *b, const char *key, const char *text)
{
	struct match_rule m = { .kind = MATCH_MX_SUFFIX };
	struct suggest near;
	size_t i, len;

	suggest_init(&near, key);
	for (i = 0; i < sizeof(match_words) / sizeof(match_words[0]); i++) {
		suggest_consider(&near, match_words[i].word);
		if (strcmp(match_words[i].word, key) == 0)
			break;
	}
	if (i == sizeof(match_words) / sizeof(match_words[0])) {
		COMPLAIN(r, "%s: match: unknown key '%.60s'" SUGGEST_FMT, r->what, key, SUGGEST_ARGS(near.best));
		return;
	}
	m.kind = match_words[i].kind;
	if (b->kind == LAYER_SITE && m.kind == MATCH_DOMAIN_SUFFIX) {
		COMPLAIN(r, "%s: match: a site is known by its MX hosts, not by a domain_suffix", r->what);
		return;
	}
	m.text = xstrdup(text[0] == '.' && m.kind != MATCH_MX_HOST ? text + 1 : text);
	len = strlen(m.text);
	if (len > 0 && m.text[len - 1] == '.') {
		m.had_dot = true;
		m.text[len - 1] = '\0';
	}
	lower(m.text);
	if (!address_domain_valid(m.text, false)) {
		COMPLAIN(r, "%s: match: %s '%.80s' is not a host name or the end of one (there are no wildcards)",
		    r->what, key, text);
		free(m.text);
		return;
	}
	b->match = xreallocarray(b->match, b->n_match + 1, sizeof(*b->match));
	b->match[b->n_match++] = m;
}

static void
match_one(struct policy_reader *r, lua_State *L, void *arg)
{
	const char *text;

	if (lua_type(L, -1) != LUA_TTABLE) {
		COMPLAIN(r, "%s: match must be a list such as { { mx_suffix = '.example.com' } }", r->what);
		return;
	}
	for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
		if (lua_type(L, -2) != LUA_TSTRING)
			COMPLAIN(r, "%s: match: every value needs a name (mx_suffix = '.example.com')", r->what);
		else if ((text = policy_string_value(r, L, "match")) != NULL)
			match_add(r, arg, lua_tostring(L, -2), text);
	}
}

static void
match_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	tables_read(r, L, f->name, SHAPING_LIST_MAX, match_one, target);
}

static struct known *
known_add(struct policy_reader *r, struct block *b, const char *domain)
{
	if (!address_domain_valid(domain, false) || strchr(domain, '.') == NULL) {
		COMPLAIN(r, "%s: known: '%.80s' is not a domain", r->what, domain);
		return NULL;
	}
	b->known = xreallocarray(b->known, b->n_known + 1, sizeof(*b->known));
	b->known[b->n_known] = (struct known){ .domain = xstrdup(domain) };
	lower(b->known[b->n_known].domain);
	return &b->known[b->n_known++];
}

static int
known_cmp(const void *a, const void *b)
{
	return strcmp(((const struct known *)a)->domain, ((const struct known *)b)->domain);
}

/* known = { 'gmail.com', ['googlemail.com'] = { 'gmail-smtp-in.l.google.com' } } */
static void
known_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	struct block *b = target;
	struct known *k;
	const char *s;

	if (lua_type(L, -1) != LUA_TTABLE) {
		COMPLAIN(r, "%s: %s must be a table of domains and MX host names", r->what, f->name);
		return;
	}
	for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
		if (b->n_known >= SHAPING_LIST_MAX)
			COMPLAIN(r, "%s: %s has more than %d members", r->what, f->name, SHAPING_LIST_MAX);
		else if (lua_type(L, -2) == LUA_TSTRING) {
			if ((k = known_add(r, b, lua_tostring(L, -2))) != NULL)
				strs_read(r, L, f->name, &k->mx);
		} else if ((s = policy_string_value(r, L, f->name)) != NULL)
			known_add(r, b, s);
	}
	if (b->n_known > 0) /* Lua's order differs from run to run */
		qsort(b->known, b->n_known, sizeof(*b->known), known_cmp);
}

/* Settings and what is taken away. */

static void
unset_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	struct settings *s = target;
	struct conf_strs names = { NULL, 0 };
	size_t i;
	int field;

	strs_read(r, L, f->name, &names);
	for (i = 0; i < names.n; i++)
		if ((field = setting_find(r, f->name, names.v[i])) >= 0)
			s->unset[field] = true;
	shaping_strs_clear(&names);
}

static void
remove_rules_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	struct block *b = target;

	if (lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "all") == 0)
		b->removes_all = true;
	else
		strs_read(r, L, f->name, &b->removed);
}

static void
mx_rollup_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	(void)target;
	if (lua_type(L, -1) != LUA_TBOOLEAN)
		COMPLAIN(r, "%s: %s must be true or false", r->what, f->name);
	else if (lua_toboolean(L, -1))
		COMPLAIN(r, "%s: a domain block is for the domain alone; for all domains with its MX hosts write "
		    "posthorn.shaping.site { name = ..., match = { { mx_suffix = ... } } }", r->what);
}

static void read_fields(struct policy_reader *, lua_State *, const struct policy_field *own, void *target);
static void sources_read(struct policy_reader *, lua_State *, const struct policy_field *, void *);

#define CALL(key, fn) { .name = (key), .type = FIELD_CALL, .read = (fn) }
#define COMMON CALL("unset", unset_read), CALL("remove_rules", remove_rules_read), \
	CALL("automation", automation_read), CALL("sources", sources_read), \
	{ .name = "replace_base", .type = FIELD_BOOL, .offset = offsetof(struct block, is_replacing) }
#define END { .name = NULL }

static const struct policy_field default_own[] = { COMMON, END };
static const struct policy_field provider_own[] = { COMMON, CALL("match", match_read), CALL("known", known_read),
	{ .name = "name", .type = FIELD_NAME, .offset = offsetof(struct block, name) }, END };
static const struct policy_field site_own[] = { COMMON, CALL("match", match_read),
	{ .name = "name", .type = FIELD_HOST, .offset = offsetof(struct block, name) }, END };
static const struct policy_field domain_own[] = { COMMON, CALL("mx_rollup", mx_rollup_read),
	{ .name = "name", .type = FIELD_DOMAIN, .offset = offsetof(struct block, name) }, END };
static const struct policy_field source_own[] = { CALL("unset", unset_read), END };

/* The settings of a path, and the block's own keys. */
static void
read_fields(struct policy_reader *r, lua_State *L, const struct policy_field *own, void *target)
{
	struct policy_field fields[POLICY_PATH_FIELDS_MAX + OWN_FIELDS];
	size_t n = policy_path_fields_count;

	memcpy(fields, policy_path_fields, n * sizeof(fields[0]));
	while ((fields[n++] = *own++).name != NULL)
		;
	policy_table_read(r, L, fields, target);
}

static void
sources_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	struct block *b = target;
	struct policy_reader inner = *r;
	struct source_block *s;

	if (lua_type(L, -1) != LUA_TTABLE) {
		COMPLAIN(r, "%s: %s must be a table such as { ['ip-1'] = { connection_limit = 2 } }", r->what, f->name);
		return;
	}
	for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
		if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TTABLE ||
		    b->n_sources >= SHAPING_LIST_MAX) {
			COMPLAIN(r, "%s: %s must be a table such as { ['ip-1'] = { connection_limit = 2 } }, of at "
			    "most %d sources", r->what, f->name, SHAPING_LIST_MAX);
			return;
		}
		s = xcalloc(1, sizeof(*s));
		policy_path_config_init(&s->settings.config);
		b->sources = xreallocarray(b->sources, b->n_sources + 1, sizeof(struct source_block *));
		b->sources[b->n_sources++] = s;
		s->name = xstrdup(lua_tostring(L, -2));
		s->layer = xasprintf("%s, source %s", b->layer, s->name);
		s->origin = (struct shaping_origin){ b->origin.file, b->origin.line, s->layer };
		read_fields(&inner, L, source_own, s);
	}
}

/* The name must be known before the rest is read: rules and sources are called after it. */
static void
name_peek(lua_State *L, struct block *b, const char *kind)
{
	lua_getfield(L, 1, "name");
	if (b->kind == LAYER_DEFAULT)
		b->layer = xstrdup("default");
	else
		b->layer = xasprintf("%s %.*s", kind, 255, lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?");
	lua_pop(L, 1);
	lower(b->layer + (b->kind == LAYER_DEFAULT ? 0 : strlen(kind)));
}

static int
define(lua_State *L, enum layer_kind kind, const char *word, const struct policy_field *own)
{
	struct policy *p = policy_of(L);
	struct shaping *s = p->shaping;
	struct policy_reader r = { .policy = p, .errs = p->errs, .line = policy_caller_line(L) };
	char what[64];
	struct block *b;
	size_t i, before = p->errs->n;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	if (s->said.n >= SHAPING_BLOCKS_MAX)
		return luaL_error(L, "more than %d blocks of shaping data", SHAPING_BLOCKS_MAX);
	(void)snprintf(what, sizeof(what), "posthorn.shaping.%s", word);
	r.what = what;
	b = xcalloc(1, sizeof(*b));
	policy_path_config_init(&b->settings.config);
	b->kind = kind;
	s->said.v = xreallocarray(s->said.v, s->said.n + 1, sizeof(struct block *));
	s->said.v[s->said.n++] = b;
	b->file = s->n_files - 1;
	name_peek(L, b, word);
	b->origin = (struct shaping_origin){ s->files[b->file], r.line, b->layer };
	read_fields(&r, L, own, b);
	if (kind == LAYER_DEFAULT)
		b->name = xstrdup("default");
	else if (b->name == NULL && p->errs->n == before)
		COMPLAIN(&r, "%s: name is missing", what);
	if (b->name == NULL)
		return 0;
	lower(b->name);
	if (kind == LAYER_DOMAIN && strchr(b->name, '.') == NULL)
		COMPLAIN(&r, "%s: '%s' has no dot: write the whole domain", what, b->name);
	for (i = 0; i + 1 < s->said.n; i++)
		if (s->said.v[i]->file == b->file && s->said.v[i]->kind == kind && s->said.v[i]->name != NULL &&
		    strcmp(s->said.v[i]->name, b->name) == 0)
			COMPLAIN(&r, "%s '%s' is said twice in this file: here and in line %u", word, b->name,
			    s->said.v[i]->origin.line);
	return 0;
}

static int
default_define(lua_State *L)
{
	return define(L, LAYER_DEFAULT, "default", default_own);
}

static int
provider_define(lua_State *L)
{
	return define(L, LAYER_PROVIDER, "provider", provider_own);
}

static int
site_define(lua_State *L)
{
	return define(L, LAYER_SITE, "site", site_own);
}

static int
domain_define(lua_State *L)
{
	return define(L, LAYER_DOMAIN, "domain", domain_own);
}

static const luaL_Reg functions[] = {
	{ "default", default_define }, { "provider", provider_define }, { "site", site_define },
	{ "domain", domain_define }, { "rule", rule_note }, { NULL, NULL }
};

static int
member_unknown(lua_State *L)
{
	const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
	const luaL_Reg *f;
	struct suggest near;

	suggest_init(&near, key);
	for (f = functions; f->name != NULL; f++)
		suggest_consider(&near, f->name);
	if (near.best != NULL)
		return luaL_error(L, "posthorn.shaping.%s does not exist; did you mean posthorn.shaping.%s?", key,
		    near.best);
	return luaL_error(L, "posthorn.shaping.%s does not exist", key);
}

static int
module_unknown(lua_State *L)
{
	return luaL_error(L, "posthorn.%s does not exist here: a file of shaping data has only posthorn.shaping",
	    lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?");
}

static void
guard(lua_State *L, lua_CFunction fn)
{
	lua_newtable(L);
	lua_pushcfunction(L, fn);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
}

void
shaping_define_open(lua_State *L)
{
	lua_newtable(L);
	luaL_newlib(L, functions);
	guard(L, member_unknown);
	lua_setfield(L, -2, "shaping");
	guard(L, module_unknown);
}
