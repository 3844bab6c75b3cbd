/* posthorn.list_unsubscribe: whose mail gets the fields of RFC 8058, and what is in them. Any process that loads
 * policy. What is written here ends up in the header of every message of the tenant, so nothing passes that could end
 * the field, the brackets around an address, or the list of them. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/dkim.h"
#include "mail/names.h"
#include "mail/policy_lib.h"
#include "mail/policy_private.h"

#define TOKEN_MARK "{token}"

#define COMPLAIN(r, ...) conf_error_add((r)->errs, (r)->policy->file, (r)->line, __VA_ARGS__)

static void
tenant_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	const char *s = policy_string_value(r, L, f->name);
	struct policy_unsubscribe *u = target;

	if (s == NULL)
		return;
	if (strcmp(s, "*") != 0 && !tenant_valid(s))
		COMPLAIN(r, "%s: '%.80s' is not the name of a tenant, nor '*'", r->what, s);
	else
		u->tenant = xstrdup(s);
}

/* NULL, or why the text cannot stand in a list of addresses in angle brackets: RFC 3986 characters only, and of braces
 * the one mark. */
static const char *
text_fault(const char *s, bool needs_token)
{
	const char *mark = strstr(s, TOKEN_MARK);
	const char *p;

	if (strlen(s) > POLICY_UNSUBSCRIBE_MAX)
		return "is too long";
	if (mark == NULL && needs_token)
		return "must have {token} in it, or nobody could tell whose subscription ends (RFC 8058 section 3.1)";
	if (mark != NULL && strstr(mark + 1, TOKEN_MARK) != NULL)
		return "has {token} twice";
	for (p = s; *p != '\0'; p++) {
		if (p == mark)
			p += sizeof(TOKEN_MARK) - 2;
		else if (*p <= ' ' || *p >= 0x7f || strchr("<>\"\\^`{|},", *p) != NULL)
			return "has a character that must be written as %XX there";
	}
	return NULL;
}

/* The host of what stands behind https://; the mark is no part of it. */
static bool
host_valid(const char *s)
{
	size_t len = strcspn(s, "/?#"), host = strcspn(s, ":/?#");
	char name[256];

	if (host == 0 || *s == '[' || host >= sizeof(name) || memchr(s, '@', len) != NULL)
		return false;
	memcpy(name, s, host);
	name[host] = '\0';
	return address_domain_valid(name, false) && strspn(s + host, ":0123456789") == len - host;
}

static void
url_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	const char *s = policy_string_value(r, L, f->name), *fault;
	struct policy_unsubscribe *u = target;

	if (s == NULL)
		return;
	if (strncasecmp(s, "https://", 8) != 0 || !host_valid(s + 8))
		COMPLAIN(r, "%s: url '%.80s' does not begin with https:// and a host: RFC 8058 has no other", r->what,
		    s);
	else if ((fault = text_fault(s, true)) != NULL)
		COMPLAIN(r, "%s: url '%.80s' %s", r->what, s, fault);
	else
		u->url = xstrdup(s);
}

static void
mailto_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	const char *s = policy_string_value(r, L, f->name), *fault, *at;
	struct policy_unsubscribe *u = target;
	char domain[256];
	size_t len;

	if (s == NULL)
		return;
	if (strncasecmp(s, "mailto:", 7) == 0)
		s += 7;
	at = strchr(s, '@');
	len = at != NULL ? strcspn(at + 1, "?") : 0;
	if (at == NULL || at == s || len >= sizeof(domain)) {
		COMPLAIN(r, "%s: mailto '%.80s' is not an address", r->what, s);
		return;
	}
	memcpy(domain, at + 1, len);
	domain[len] = '\0';
	if (!address_domain_valid(domain, false))
		COMPLAIN(r, "%s: mailto '%.80s' is not an address", r->what, s);
	else if ((fault = text_fault(s, false)) != NULL)
		COMPLAIN(r, "%s: mailto '%.80s' %s", r->what, s, fault);
	else
		u->mailto = xstrdup(s);
}

static const struct policy_field unsubscribe_fields[] = {
	{ .name = "tenant", .type = FIELD_CALL, .read = tenant_read },
	{ .name = "url", .type = FIELD_CALL, .read = url_read },
	{ .name = "mailto", .type = FIELD_CALL, .read = mailto_read },
	{ .name = "complete", .type = FIELD_BOOL, .offset = offsetof(struct policy_unsubscribe, complete) },
	{ .name = NULL }
};

int
policy_unsubscribe_define(lua_State *L)
{
	struct policy *p = policy_of(L);
	struct unsubscribe_def *d;
	struct policy_reader r = { .policy = p, .errs = p->errs, .line = policy_caller_line(L), .what =
	    "posthorn.list_unsubscribe" };
	size_t before;

	if (p->errs == NULL)
		return luaL_error(L, "%s may only be called while the policy loads, not in an event", r.what);
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	if (p->n_unsubscribe >= POLICY_UNSUBSCRIBES_MAX)
		return luaL_error(L, "%s: more than %d of them", r.what, POLICY_UNSUBSCRIBES_MAX);
	before = r.errs->n;
	d = xcalloc(1, sizeof(*d));
	p->unsubscribe = xreallocarray(p->unsubscribe, p->n_unsubscribe + 1, sizeof(struct unsubscribe_def *));
	p->unsubscribe[p->n_unsubscribe++] = d;
	d->line = r.line;
	policy_table_read(&r, L, unsubscribe_fields, &d->u);
	if (r.errs->n == before && d->u.tenant == NULL)
		COMPLAIN(&r, "%s: tenant is missing (for all that have none of their own write '*')", r.what);
	if (r.errs->n == before && d->u.url == NULL)
		COMPLAIN(&r, "%s: url is missing", r.what);
	return 0;
}

static bool
covers(const struct dkim_signer *s, const char *name)
{
	size_t i;

	for (i = 0; i < s->n_names; i++)
		if (strcasecmp(s->names[i].name, name) == 0)
			return true;
	return false;
}

static int
def_cmp(const void *a, const void *b)
{
	const struct unsubscribe_def *x = *(struct unsubscribe_def *const *)a, *y = *(struct unsubscribe_def *const *)b;
	int c = strcmp(x->u.tenant, y->u.tenant);

	return c != 0 ? c : x->line < y->line ? -1 : x->line > y->line;
}

void
policy_unsubscribe_index(struct policy *p)
{
	const struct dkim_signer *s;
	size_t i;

	if (p->n_unsubscribe > 0)
		qsort(p->unsubscribe, p->n_unsubscribe, sizeof(struct unsubscribe_def *), def_cmp);
	for (i = 1; i < p->n_unsubscribe; i++)
		if (strcmp(p->unsubscribe[i - 1]->u.tenant, p->unsubscribe[i]->u.tenant) == 0)
			conf_error_add(p->errs, p->file, p->unsubscribe[i]->line, "posthorn.list_unsubscribe: the "
			    "tenant '%s' has one twice: here and in line %u", p->unsubscribe[i]->u.tenant,
			    p->unsubscribe[i - 1]->line);
	for (i = 0; p->n_unsubscribe > 0 && i < p->n_dkim; i++) {
		s = p->dkim[i]->signer;
		if (!covers(s, "List-Unsubscribe") || !covers(s, "List-Unsubscribe-Post"))
			conf_error_add(p->errs, p->file, p->dkim[i]->line, "posthorn.dkim: headers must have "
			    "'List-Unsubscribe' and 'List-Unsubscribe-Post' among them, which "
			    "posthorn.list_unsubscribe adds (RFC 8058 section 4)");
	}
}

void
policy_unsubscribe_free(struct policy *p)
{
	size_t i;

	for (i = 0; i < p->n_unsubscribe; i++) {
		free(p->unsubscribe[i]->u.tenant);
		free(p->unsubscribe[i]->u.url);
		free(p->unsubscribe[i]->u.mailto);
		free(p->unsubscribe[i]);
	}
	free(p->unsubscribe);
}

static const struct unsubscribe_def *
find(const struct policy *p, const char *tenant)
{
	size_t lo = 0, hi = p->n_unsubscribe, mid;
	int cmp;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if ((cmp = strcmp(tenant, p->unsubscribe[mid]->u.tenant)) == 0)
			return p->unsubscribe[mid];
		if (cmp < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

const struct policy_unsubscribe *
policy_unsubscribe_of(const struct policy *p, const char *tenant)
{
	const struct unsubscribe_def *d;

	if (p->n_unsubscribe == 0)
		return NULL;
	d = tenant != NULL ? find(p, tenant) : NULL;
	if (d == NULL)
		d = find(p, "*");
	return d != NULL ? &d->u : NULL;
}

char *
policy_unsubscribe_fill(const char *text, const char *token)
{
	const char *mark = strstr(text, TOKEN_MARK);

	if (mark == NULL)
		return xstrdup(text);
	return xasprintf("%.*s%s%s", (int)(mark - text), text, token, mark + sizeof(TOKEN_MARK) - 1);
}
