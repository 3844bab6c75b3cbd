/* DKIM in policy: signers as objects (KumoMTA's names too), msg:dkim_sign, and definitions by the domain of the author
 * for those who need no event. Nothing here reads a key: a signer says which, and the role that signs looks for it. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/dkim.h"
#include "mail/policy_call_private.h"
#include "mail/policy_lib.h"

#define SIGNER_KIND "posthorn.dkim signer"
#define NAME_MAX_OCTETS 76
#define FILE_NAME_MAX 400
#define SENDERS_MAX 10000

#define COMPLAIN(r, ...) conf_error_add((r)->errs, (r)->policy->file, (r)->line, __VA_ARGS__)

/* What a table says, before it is a signer. */
struct dkim_read {
	struct dkim_signer *s;
	struct dkim_def *def;   /* NULL: not a definition */
	int over;               /* over_sign: -1 as usual */
	int64_t expiration;     /* ms */
};

/* In canonical spelling, or NULL after a complaint. */
static const char *
name_value(struct policy_reader *r, lua_State *L, const char *key)
{
	const char *s = policy_string_value(r, L, key);
	size_t i, len = s != NULL ? strlen(s) : 0;

	for (i = 0; i < len && s[i] > ' ' && s[i] <= '~' && s[i] != ':' && s[i] != ';'; i++)
		;
	if (s != NULL && (len == 0 || i < len || len > NAME_MAX_OCTETS)) {
		COMPLAIN(r, "%s: '%.80s' is not the name of a header", r->what, s);
		return NULL;
	}
	return s;
}

static bool
is_usually_over(const char *name)
{
	size_t i;

	for (i = 0; i < dkim_usual_count; i++)
		if (strcasecmp(dkim_usual_names[i].name, name) == 0)
			return dkim_usual_names[i].is_over;
	return false;
}

static bool
has_name(const struct dkim_name *names, size_t n, const char *name)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (strcasecmp(names[i].name, name) == 0)
			return true;
	return false;
}

static void
headers_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	lua_Integer i, n = policy_list_length(r, L, f->name, DKIM_NAMES_MAX);
	struct dkim_read *d = target;
	struct dkim_name *names;
	size_t count = 0;
	char *text, *p;
	const char *s;

	if (n < 0)
		return;
	names = xcalloc((size_t)n + 1, sizeof(*names));
	p = text = xmalloc(((size_t)n + 1) * (NAME_MAX_OCTETS + 1));
	for (i = 1; i <= n; i++) {
		lua_rawgeti(L, -1, i);
		if ((s = name_value(r, L, f->name)) != NULL && !has_name(names, count, s)) {
			names[count++] = (struct dkim_name){ memcpy(p, s, strlen(s) + 1), is_usually_over(s) };
			p += strlen(s) + 1;
		}
		lua_pop(L, 1);
	}
	if (!has_name(names, count, "From"))
		COMPLAIN(r, "%s: headers must have 'From' among them (RFC 6376 section 5.4)", r->what);
	dkim_signer_set_names(d->s, names, count, text);
}

static int
canon_find(const char *s, size_t len)
{
	int i;

	for (i = 0; i < DKIM_CANONS; i++)
		if (strlen(dkim_canon_names[i]) == len && strncasecmp(dkim_canon_names[i], s, len) == 0)
			return i;
	return -1;
}

/* 'relaxed', or for canonicalization 'relaxed/simple': header, then body, which is simple if it is not said. */
static void
canon_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	const char *s = policy_string_value(r, L, f->name), *slash = s != NULL ? strchr(s, '/') : NULL;
	bool is_header = strncmp(f->name, "header", 6) == 0, is_body = strncmp(f->name, "body", 4) == 0;
	struct dkim_read *d = target;
	int first, second;

	if (s == NULL)
		return;
	first = canon_find(s, slash != NULL ? (size_t)(slash - s) : strlen(s));
	second = slash != NULL ? canon_find(slash + 1, strlen(slash + 1)) : DKIM_SIMPLE;
	if (first == -1 || second == -1 || (slash != NULL && (is_header || is_body))) {
		COMPLAIN(r, "%s: %s '%.60s' is not %s", r->what, f->name, s, is_header || is_body ?
		    "'relaxed' or 'simple'" : "like 'relaxed/relaxed'");
		return;
	}
	if (!is_body)
		d->s->header = (enum dkim_canon)first;
	if (is_body)
		d->s->body = (enum dkim_canon)first;
	else if (!is_header)
		d->s->body = (enum dkim_canon)second;
}

static void
text_set(char **out, const char *s)
{
	free(*out);
	*out = xstrdup(s);
}

static void
domain_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	const char *s = policy_string_value(r, L, f->name);
	struct dkim_read *d = target;
	char *p;

	if (s == NULL)
		return;
	if (!address_domain_valid(s, false) || *s == '[' || strlen(s) > DKIM_DOMAIN_MAX) {
		COMPLAIN(r, "%s: domain '%.80s' is not a domain (A-labels, as DNS has it)", r->what, s);
		return;
	}
	text_set(&d->s->domain, s);
	for (p = d->s->domain; *p != '\0'; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p + 32);
	if (p > d->s->domain && p[-1] == '.')
		p[-1] = '\0';
}

static void
selector_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	const char *s = policy_string_value(r, L, f->name);
	struct dkim_read *d = target;

	if (s == NULL)
		return;
	if (dkim_selector_valid(s))
		text_set(&d->s->selector, s);
	else
		COMPLAIN(r, "%s: '%.80s' is not a selector", r->what, s);
}

/* key_file, key_dir, and key, which with KumoMTA may also hold the key itself. */
static void
file_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	struct dkim_read *d = target;
	const char *s;

	if (lua_type(L, -1) == LUA_TTABLE) {
		COMPLAIN(r, "%s: %s must be the name of a file: policy is no place for a private key", r->what,
		    f->name);
		return;
	}
	if ((s = policy_string_value(r, L, f->name)) == NULL)
		return;
	if (*s == '\0' || strlen(s) > FILE_NAME_MAX)
		COMPLAIN(r, "%s: %s '%.60s' is not the name of a file", r->what, f->name, s);
	else
		text_set(strcmp(f->name, "key_dir") == 0 ? &d->s->key_dir : &d->s->key, s);
}

static void
algorithm_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	const char *s = policy_string_value(r, L, f->name);
	struct dkim_read *d = target;
	int i;

	if (s == NULL)
		return;
	for (i = 0; dkim_algorithm_names[i] != NULL && strcmp(dkim_algorithm_names[i], s) != 0; i++)
		;
	if (dkim_algorithm_names[i] == NULL)
		COMPLAIN(r, "%s: algorithm '%.60s' is neither 'rsa-sha256' nor 'ed25519-sha256'", r->what, s);
	d->s->algorithm = (enum dkim_algorithm)i;
}

static void
sender_add(struct policy_reader *r, lua_State *L, const char *key, struct dkim_def *def)
{
	const char *s = policy_string_value(r, L, key);
	char *p;

	if (s == NULL)
		return;
	if (!address_domain_valid(s, true)) {
		COMPLAIN(r, "%s: '%.80s' is not a domain", r->what, s);
		return;
	}
	def->senders[def->n_senders++] = p = xstrdup(s);
	for (; *p != '\0'; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p + 32);
}

/* A list of domains, or '*'. */
static void
senders_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	struct dkim_def *def = ((struct dkim_read *)target)->def;
	lua_Integer i, n;

	if (lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "*") == 0)
		return;
	if ((n = policy_list_length(r, L, f->name, SENDERS_MAX)) < 1) {
		if (n == 0)
			COMPLAIN(r, "%s: senders has no domain; for all of them write '*'", r->what);
		return;
	}
	def->senders = xcalloc((size_t)n, sizeof(*def->senders));
	for (i = 1; i <= n; i++) {
		lua_rawgeti(L, -1, i);
		sender_add(r, L, f->name, def);
		lua_pop(L, 1);
	}
}

static void
subdomains_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	if (lua_type(L, -1) != LUA_TBOOLEAN)
		COMPLAIN(r, "%s: %s must be true or false", r->what, f->name);
	((struct dkim_read *)target)->def->has_subdomains = lua_toboolean(L, -1);
}

#define CALL(key, fn) { .name = (key), .type = FIELD_CALL, .read = (fn) }
#define SIGNER_FIELDS \
	CALL("domain", domain_read), CALL("selector", selector_read), CALL("headers", headers_read), \
	CALL("canonicalization", canon_read), CALL("header_canonicalization", canon_read), \
	CALL("body_canonicalization", canon_read), CALL("algorithm", algorithm_read), CALL("key", file_read), \
	CALL("key_file", file_read), CALL("key_dir", file_read), \
	{ .name = "over_sign", .type = FIELD_TRI, .offset = offsetof(struct dkim_read, over) }, \
	{ .name = "expiration", .type = FIELD_TIME, .offset = offsetof(struct dkim_read, expiration), .min = 1000, \
	    .max = 315360000000 }, \
	LATER("atps"), LATER("atpsh"), LATER("ttl")

static const struct policy_field signer_fields[] = {
	SIGNER_FIELDS, { .name = NULL }
};
static const struct policy_field definition_fields[] = {
	SIGNER_FIELDS, CALL("senders", senders_read), CALL("subdomains", subdomains_read), { .name = NULL }
};

/* over_sign, given or not: of all names, of none, or of those that usually are. */
static void
over_set(struct dkim_signer *s, int over)
{
	size_t i, size = 0;
	char *text, *p;
	struct dkim_name *names;

	if (over == -1)
		return;
	names = xcalloc(s->n_names + 1, sizeof(*names));
	for (i = 0; i < s->n_names; i++)
		size += strlen(s->names[i].name) + 1;
	p = text = xmalloc(size + 1);
	for (i = 0; i < s->n_names; i++) {
		names[i] = (struct dkim_name){ memcpy(p, s->names[i].name, strlen(s->names[i].name) + 1), over == 1 };
		p += strlen(p) + 1;
	}
	dkim_signer_set_names(s, names, s->n_names, text);
}

/* The table at the top of the stack. */
static void
signer_read(struct policy_reader *r, lua_State *L, struct dkim_read *d)
{
	size_t before = r->errs->n;

	d->over = -1;
	policy_table_read(r, L, d->def != NULL ? definition_fields : signer_fields, d);
	over_set(d->s, d->over);
	d->s->expiration = d->expiration / 1000;
	if (r->errs->n > before)
		return;
	if (d->s->domain == NULL)
		COMPLAIN(r, "%s: domain is missing", r->what);
	else if (d->s->key != NULL && (d->s->selector == NULL || d->s->key_dir != NULL))
		COMPLAIN(r, "%s: a key_file needs its selector, and no key_dir", r->what);
}

/* ---- objects ---- */

static int
signer_gc(lua_State *L)
{
	dkim_signer_unref(luaL_checkudata(L, 1, SIGNER_KIND));
	return 0;
}

/* Of the table at the index, which is not relative: on the top of the stack. Raises an error for a mistake. */
static struct dkim_signer *
signer_push(lua_State *L, int table, const char *what, enum dkim_algorithm algorithm)
{
	struct dkim_signer **box = lua_newuserdatauv(L, sizeof(struct dkim_signer *), 0);
	struct conf_errors errs = { NULL, 0 };
	struct policy_reader r = { .policy = policy_of(L), .errs = &errs, .what = what };
	struct dkim_read d = { .over = -1 };

	*box = NULL;
	luaL_setmetatable(L, SIGNER_KIND);
	*box = d.s = dkim_signer_new();
	lua_pushvalue(L, table);
	signer_read(&r, L, &d);
	lua_pop(L, 1);
	if (algorithm != DKIM_BY_KEY)
		d.s->algorithm = algorithm;
	if (errs.n > 0) {
		lua_pushstring(L, errs.v[0].text);
		conf_errors_clear(&errs);
		luaL_error(L, "%s", lua_tostring(L, -1));
	}
	return *box;
}

static int
signer_make(lua_State *L, const char *what, enum dkim_algorithm algorithm)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	signer_push(L, 1, what, algorithm);
	return 1;
}

static int
dkim_signer(lua_State *L)
{
	return signer_make(L, "posthorn.dkim.signer", DKIM_BY_KEY);
}

static int
dkim_rsa_sha256_signer(lua_State *L)
{
	return signer_make(L, "posthorn.dkim.rsa_sha256_signer", DKIM_RSA);
}

static int
dkim_ed25519_sha256_signer(lua_State *L)
{
	return signer_make(L, "posthorn.dkim.ed25519_sha256_signer", DKIM_ED25519);
}

struct dkim_signer *
policy_signer_check(lua_State *L, int arg, const char *fn)
{
	struct dkim_signer **box, *s;

	if (lua_type(L, arg) == LUA_TTABLE) {
		s = signer_push(L, arg, fn, DKIM_BY_KEY);
		lua_replace(L, arg);
		return s;
	}
	box = luaL_checkudata(L, arg, SIGNER_KIND);
	return *box;
}

/* (signer) or (table): noted now, done when the message is written, after everything that policy changes. */
int
policy_message_dkim_sign(lua_State *L)
{
	struct policy_msg *m = policy_message_check(L);
	struct dkim_signer *s;

	lua_settop(L, 2);
	if (m->head == NULL)
		return luaL_error(L, "a message cannot be signed in this event");
	if (m->n_signers == POLICY_SIGNERS_MAX)
		return luaL_error(L, "a message gets at most %d signatures", POLICY_SIGNERS_MAX);
	s = policy_signer_check(L, 2, "dkim_sign");
	m->signers[m->n_signers++] = dkim_signer_ref(s);
	return 0;
}

/* ---- definitions ---- */

/* posthorn.dkim { ... }: the table is called, and comes first. */
static int
dkim_define(lua_State *L)
{
	struct policy *p = policy_of(L);
	struct dkim_def *def;
	struct dkim_read d = { .over = -1 };
	struct policy_reader r = { .policy = p, .errs = p->errs, .line = policy_caller_line(L), .what =
	    "posthorn.dkim" };
	bool is_for_all;

	if (p->errs == NULL)
		return luaL_error(L, "posthorn.dkim may only be called while the policy loads, not in an event");
	luaL_checktype(L, 2, LUA_TTABLE);
	lua_settop(L, 2);
	if (p->n_dkim >= POLICY_DKIM_MAX)
		return luaL_error(L, "posthorn.dkim: more than %d of them", POLICY_DKIM_MAX);
	d.def = def = xcalloc(1, sizeof(*def));
	p->dkim = xreallocarray(p->dkim, p->n_dkim + 1, sizeof(*p->dkim));
	p->dkim[p->n_dkim++] = def;
	d.s = def->signer = dkim_signer_new();
	def->line = r.line;
	lua_getfield(L, 2, "senders");
	is_for_all = lua_type(L, -1) == LUA_TSTRING;
	lua_pop(L, 1);
	signer_read(&r, L, &d);
	if (!is_for_all && def->senders == NULL && d.s->domain != NULL) {
		def->senders = xcalloc(1, sizeof(*def->senders));
		def->senders[def->n_senders++] = xstrdup(d.s->domain);
	}
	return 0;
}

static int
sender_cmp(const void *a, const void *b)
{
	const struct dkim_sender *x = a, *y = b;
	int c = strcmp(x->domain, y->domain);

	return c != 0 ? c : x->def < y->def ? -1 : x->def > y->def;
}

void
policy_dkim_index(struct policy *p)
{
	size_t i, j, n = 0;

	for (i = 0; i < p->n_dkim; i++)
		n += p->dkim[i]->n_senders;
	p->dkim_senders = xcalloc(n + 1, sizeof(*p->dkim_senders));
	for (i = 0; i < p->n_dkim; i++)
		for (j = 0; j < p->dkim[i]->n_senders; j++)
			p->dkim_senders[p->n_dkim_senders++] = (struct dkim_sender){ p->dkim[i]->senders[j], i };
	qsort(p->dkim_senders, n, sizeof(*p->dkim_senders), sender_cmp);
}

void
policy_dkim_free(struct policy *p)
{
	size_t i;

	for (i = 0; i < p->n_dkim; i++) {
		while (p->dkim[i]->n_senders > 0)
			free(p->dkim[i]->senders[--p->dkim[i]->n_senders]);
		free(p->dkim[i]->senders);
		dkim_signer_unref(&p->dkim[i]->signer);
		free(p->dkim[i]);
	}
	free(p->dkim);
	free(p->dkim_senders);
}

/* The first one for that domain, or where it would be. */
static size_t
sender_find(const struct policy *p, const char *domain)
{
	size_t lo = 0, hi = p->n_dkim_senders, mid;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (strcmp(p->dkim_senders[mid].domain, domain) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Adds it once, in its place. */
static size_t
def_add(size_t *defs, size_t n, size_t max, size_t def)
{
	size_t i;

	for (i = 0; i < n && defs[i] < def; i++)
		;
	if ((i < n && defs[i] == def) || n == max)
		return n;
	memmove(defs + i + 1, defs + i, (n - i) * sizeof(*defs));
	defs[i] = def;
	return n + 1;
}

size_t
policy_dkim_signers(const struct policy *p, const char *domain, struct dkim_signer **out, size_t max)
{
	size_t defs[POLICY_SIGNERS_MAX] = { 0 }, i, n = 0, limit = max < POLICY_SIGNERS_MAX ? max : POLICY_SIGNERS_MAX;
	const char *d = domain;

	while (d != NULL) {
		for (i = sender_find(p, d); i < p->n_dkim_senders && strcmp(p->dkim_senders[i].domain, d) == 0; i++)
			if (d == domain || p->dkim[p->dkim_senders[i].def]->has_subdomains)
				n = def_add(defs, n, limit, p->dkim_senders[i].def);
		if ((d = strchr(d, '.')) != NULL)
			d++;
	}
	for (i = 0; i < p->n_dkim && n < limit; i++)
		if (p->dkim[i]->n_senders == 0)
			n = def_add(defs, n, limit, i);
	for (i = 0; i < n; i++)
		out[i] = p->dkim[defs[i]]->signer;
	return n;
}

size_t
policy_dkim_count(const struct policy *p)
{
	return p->n_dkim;
}

const struct dkim_signer *
policy_dkim_at(const struct policy *p, size_t i, unsigned *line_r)
{
	*line_r = p->dkim[i]->line;
	return p->dkim[i]->signer;
}

bool
policy_signs_by_domain(const struct policy *p)
{
	return p->n_dkim > 0;
}

bool
policy_may_sign(const struct policy *p)
{
	return p->n_dkim > 0 || policy_answers(p, POLICY_ON_MESSAGE);
}

static const luaL_Reg dkim_functions[] = {
	{ "signer", dkim_signer },
	{ "rsa_sha256_signer", dkim_rsa_sha256_signer },
	{ "ed25519_sha256_signer", dkim_ed25519_sha256_signer },
	{ NULL, NULL }
};

static const luaL_Reg no_methods[] = { { NULL, NULL } };

void
policy_dkim_open(lua_State *L)
{
	policy_lib_class(L, SIGNER_KIND, no_methods, signer_gc);
	lua_newtable(L);
	luaL_setfuncs(L, dkim_functions, 0);
	policy_lib_seal(L, "posthorn.dkim");
	if (lua_getmetatable(L, -1)) {
		lua_pushcfunction(L, dkim_define);
		lua_setfield(L, -2, "__call");
		lua_pop(L, 1);
	}
	lua_setfield(L, -2, "dkim");
}
