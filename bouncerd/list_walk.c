/* The suppression list as a list (posthorn suppress list, export): in steps, between which everybody else gets their
 * turn, and no faster than its reader reads. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#include "bouncerd/list_private.h"

#define STEP_ROWS 2000
#define PENDING_HIGH (512u << 10)
#define PENDING_LOW (128u << 10)

void
list_filter_clear(struct list_filter *f)
{
	free(f->domain);
	free(f->tenant);
	free(f->sender_domain);
	memset(f, 0, sizeof(*f));
}

static char *
domain_of(const char *text, const char **why_r)
{
	char target[ADDRESS_MAX];

	if (suppress_target(text, target, why_r) == -1)
		return NULL;
	if (strchr(target, '@') == NULL)
		return xstrdup(target);
	*why_r = "that is not a domain";
	return NULL;
}

/* NULL, or a sentence. */
static const char *
filter_set(struct list_filter *f, const struct ql_admin *a)
{
	const char *domain = list_arg(a, "domain"), *tenant = list_arg(a, "tenant"), *scope = list_arg(a, "scope");
	const char *sender = list_arg(a, "sender_domain"), *reason = list_arg(a, "reason");
	const char *limit = list_arg(a, "limit");
	const char *why = NULL;

	if (domain != NULL && (f->domain = domain_of(domain, &why)) == NULL)
		return why;
	if (sender != NULL && (f->sender_domain = domain_of(sender, &why)) == NULL)
		return why;
	f->tenant = tenant == NULL ? NULL : xstrdup(tenant);
	if (reason != NULL && (f->reason = suppress_word(suppress_reason_names, SUPPRESS_REASONS, reason)) == 0)
		return "there is no such reason";
	if (scope != NULL && (f->scope = suppress_word(suppress_scope_names, SUPPRESS_SCOPES, scope)) == 0)
		return "there is no such scope";
	f->limit = limit == NULL ? 0 : strtoull(limit, NULL, 10);
	f->has_expired = list_arg(a, "expired") != NULL;
	return NULL;
}

static bool
is_wanted(const struct list_filter *f, const struct suppress_row *row, int64_t now)
{
	const struct suppress_request *r = &row->r;

	if ((f->scope != 0 && r->scope != f->scope) || (f->reason != 0 && r->reason != f->reason))
		return false;
	if (f->tenant != NULL && (r->scope != SUPPRESS_TENANT || strcmp(r->scope_value, f->tenant) != 0))
		return false;
	if (f->sender_domain != NULL &&
	    (r->scope != SUPPRESS_SENDER_DOMAIN || strcmp(r->scope_value, f->sender_domain) != 0))
		return false;
	return f->has_expired || r->expires == 0 || r->expires > now;
}

static bool
on_row(const struct suppress_row *row, void *arg)
{
	struct list_client *c = arg;
	struct list_filter *f = &c->filter;
	int64_t now = loop_wall(c->list->loop);
	const char *at = strrchr(row->r.address, '@'), *domain = at == NULL ? row->r.address : at + 1;

	if (f->domain != NULL && strcmp(domain, f->domain) != 0) {
		c->is_walking = false; /* rows of a domain are neighbours */
		return false;
	}
	if (!is_wanted(f, row, now))
		return true;
	json_obj(&c->list->json, NULL);
	suppress_row_json(row, &c->list->json);
	json_bool(&c->list->json, "in_force", row->r.expires == 0 || row->r.expires > now);
	json_obj_end(&c->list->json);
	list_send_json(c, c->request);
	if (++c->n_sent != f->limit)
		return true;
	c->is_walking = false;
	return false;
}

static void
finish(struct list_client *c, uint8_t status, const char *sentence)
{
	c->is_walking = false;
	list_filter_clear(&c->filter);
	list_send_end(c, c->request, status, sentence);
}

static void
on_low(void *arg)
{
	struct list_client *c = arg;

	c->is_waiting = false;
	loop_again(c->list->loop);
}

void
list_walk_step(struct list_client *c)
{
	int more;

	if (c->is_waiting)
		return;
	if (ipc_pending(c->ipc) > PENDING_HIGH) {
		c->is_waiting = true;
		ipc_on_low(c->ipc, PENDING_LOW, on_low, c);
		return;
	}
	more = suppress_store_walk(c->list->store, &c->at, STEP_ROWS, on_row, c);
	if (more == -1)
		finish(c, 1, suppress_store_error(c->list->store));
	else if (more == 0 || !c->is_walking)
		finish(c, 0, "");
	else
		loop_again(c->list->loop);
}

void
list_walk_start(struct list_client *c, uint32_t request, const struct ql_admin *a)
{
	const char *why = filter_set(&c->filter, a);

	if (why != NULL) {
		list_send_end(c, request, 1, why);
		list_filter_clear(&c->filter);
		return;
	}
	c->request = request;
	c->n_sent = 0;
	c->at.len = 0;
	if (c->filter.domain != NULL) {
		suppress_key_prefix(&c->at, c->filter.domain);
		c->at.len--; /* before the domain's own row: its local part is empty */
	}
	c->is_walking = true;
	loop_again(c->list->loop);
}
