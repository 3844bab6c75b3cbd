/* posthorn.feedback_source: who may report complaints, and how such a report is known to come from them. Any process
 * that loads policy; asked by fblproc. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/policy_private.h"

#define DOMAINS_MAX 100

static void
domain_add(struct policy_reader *r, lua_State *L, const struct policy_field *f, struct policy_feedback_source *s)
{
	const char *domain = policy_string_value(r, L, f->name);

	if (domain == NULL)
		return;
	if (!address_domain_valid(domain, true))
		conf_error_add(r->errs, r->policy->file, r->line, "%s: %s '%.80s' is not a domain", r->what, f->name,
		    domain);
	else
		s->dkim_domains[s->n_dkim_domains++] = xstrdup(domain);
}

/* One domain, or a list of them. */
static void
domains_read(struct policy_reader *r, lua_State *L, const struct policy_field *f, void *target)
{
	struct policy_feedback_source *s = target;
	lua_Integer n = lua_type(L, -1) == LUA_TSTRING ? 1 : policy_list_length(r, L, f->name, DOMAINS_MAX);

	if (n <= 0)
		return;
	s->dkim_domains = xcalloc((size_t)n, sizeof(*s->dkim_domains));
	if (lua_type(L, -1) == LUA_TSTRING) {
		domain_add(r, L, f, s);
		return;
	}
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, -1, i);
		domain_add(r, L, f, s);
		lua_pop(L, 1);
	}
}

static const struct policy_field feedback_fields[] = {
	{ .name = "name", .type = FIELD_NAME, .offset = offsetof(struct policy_feedback_source, name) },
	{ .name = "dkim_domain", .type = FIELD_CALL, .read = domains_read },
	{ .name = "addresses", .type = FIELD_HOSTS, .offset = offsetof(struct policy_feedback_source, addresses) },
	{ .name = NULL }
};

static void
feedback_check(struct policy *p, struct policy_reader *r, const struct policy_feedback_source *s)
{
	if (s->name == NULL) {
		conf_error_add(r->errs, p->file, r->line, "%s: name is missing", r->what);
		return;
	}
	if (s->n_dkim_domains == 0 && s->addresses.n == 0)
		conf_error_add(r->errs, p->file, r->line,
		    "the feedback source '%s' cannot be told from others: dkim_domain or addresses must be given",
		    s->name);
	for (size_t i = 0; i + 1 < p->n_feedback; i++)
		if (p->feedback[i].name != NULL && strcmp(p->feedback[i].name, s->name) == 0)
			conf_error_add(r->errs, p->file, r->line, "the feedback source '%s' is defined twice", s->name);
}

int
policy_feedback_define(lua_State *L)
{
	struct policy_reader r;
	struct policy *p = policy_definition_begin(L, &r, "posthorn.feedback_source", policy_of(L)->n_feedback,
	    POLICY_FEEDBACK_MAX);
	struct policy_feedback_source *s;
	size_t before = r.errs->n;

	p->feedback = xreallocarray(p->feedback, p->n_feedback + 1, sizeof(*p->feedback));
	s = &p->feedback[p->n_feedback++];
	memset(s, 0, sizeof(*s));
	policy_table_read(&r, L, feedback_fields, s);
	if (r.errs->n == before)
		feedback_check(p, &r, s);
	return 0;
}

void
policy_feedback_free(struct policy *p)
{
	for (size_t i = 0; i < p->n_feedback; i++) {
		struct policy_feedback_source *s = &p->feedback[i];

		free(s->name);
		for (size_t k = 0; k < s->n_dkim_domains; k++)
			free(s->dkim_domains[k]);
		free(s->dkim_domains);
		free(s->addresses.v);
	}
	free(p->feedback);
}

const struct policy_feedback_source *
policy_feedback_by_address(const struct policy *p, const struct sockaddr *client)
{
	for (size_t i = 0; i < p->n_feedback; i++)
		if (cidr_list_match(&p->feedback[i].addresses, client))
			return &p->feedback[i];
	return NULL;
}

static bool
is_below(const char *domain, size_t len, const char *top)
{
	size_t n = strlen(top);

	return len >= n && strncasecmp(domain + len - n, top, n) == 0 && (len == n || domain[len - n - 1] == '.');
}

const struct policy_feedback_source *
policy_feedback_by_domain(const struct policy *p, const char *domain, size_t len)
{
	for (size_t i = 0; i < p->n_feedback; i++)
		for (size_t k = 0; k < p->feedback[i].n_dkim_domains; k++)
			if (is_below(domain, len, p->feedback[i].dkim_domains[k]))
				return &p->feedback[i];
	return NULL;
}
