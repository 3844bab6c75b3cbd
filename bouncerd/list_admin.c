/* Operators at the suppression list (posthorn suppress): who may ask was decided by SO_PEERCRED, what is asked is
 * decoded and checked all the same. What changes the list is durable when it is answered. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/suppress_rows.h"

#include "bouncerd/list_private.h"

void
list_client_free(struct list_client **cp)
{
	struct list_client *c = *cp;

	*cp = NULL;
	TAILQ_REMOVE(&c->list->clients, c, next);
	c->list->n_clients--;
	list_filter_clear(&c->filter);
	free(c);
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct list_client *c = arg;

	(void)ipc;
	(void)why;
	c->ipc = NULL;
	list_client_free(&c);
}

void
list_send_end(struct list_client *c, uint32_t request, uint8_t status, const char *sentence)
{
	struct wbuf *out = &c->list->out;

	wbuf_reset(out);
	ql_end_encode(status, sentence, out);
	ipc_send(c->ipc, QL_ADMIN_END, request, out, -1);
}

void
list_send_json(struct list_client *c, uint32_t request)
{
	struct list *l = c->list;

	wbuf_u8(&l->json.out, 0);
	wbuf_reset(&l->out);
	ql_str_encode((const char *)l->json.out.p, &l->out);
	ipc_send(c->ipc, QL_ADMIN_DATA, request, &l->out, -1);
	json_reset(&l->json);
}

const char *
list_arg(const struct ql_admin *a, const char *key)
{
	uint32_t i;

	for (i = 0; i < a->n_args; i++)
		if (strcmp(a->args[i].key, key) == 0 && a->args[i].value[0] != '\0')
			return a->args[i].value;
	return NULL;
}

static void
say_row(struct list_client *c, uint32_t request, const struct suppress_row *row, const char *what)
{
	struct json *j = &c->list->json;
	int64_t now = loop_wall(c->list->loop);

	json_obj(j, NULL);
	if (what != NULL)
		json_str(j, "result", what);
	suppress_row_json(row, j);
	json_bool(j, "in_force", row->r.expires == 0 || row->r.expires > now);
	json_obj_end(j);
	list_send_json(c, request);
}

/* The scope that the arguments say: global unless a tenant or a sender's domain is named. NULL, or a sentence. */
static const char *
scope_of(const struct ql_admin *a, unsigned *scope_r, const char **value_r)
{
	const char *tenant = list_arg(a, "tenant"), *domain = list_arg(a, "sender_domain");

	if (tenant != NULL && domain != NULL)
		return "either a tenant or a sender's domain, not both";
	*scope_r = tenant != NULL ? SUPPRESS_TENANT : domain != NULL ? SUPPRESS_SENDER_DOMAIN : SUPPRESS_GLOBAL;
	*value_r = tenant != NULL ? tenant : domain;
	return NULL;
}

/* The row that `add` describes, but for the address. */
static const char *
row_of(const struct ql_admin *a, int64_t now, struct suppress_row *row)
{
	const char *reason = list_arg(a, "reason"), *expires = list_arg(a, "expires"), *note = list_arg(a, "note");
	const char *why;
	const char *value;
	unsigned scope;
	char *end;

	memset(row, 0, sizeof(*row));
	if ((why = scope_of(a, &scope, &value)) != NULL)
		return why;
	row->added = row->r.when = now;
	row->r.scope = (uint8_t)scope;
	row->r.origin = SUPPRESS_BY_ADMIN;
	row->r.reason = SUPPRESS_MANUAL;
	if (reason != NULL)
		row->r.reason = (uint8_t)suppress_word(suppress_reason_names, SUPPRESS_REASONS, reason);
	if (row->r.reason == 0)
		return "there is no such reason";
	if (expires != NULL) {
		row->r.expires = strtoll(expires, &end, 10);
		if (*end != '\0' || row->r.expires <= now)
			return "it is to expire in the past";
	}
	row->r.scope_value = value == NULL ? NULL : xstrdup(value);
	row->r.note = note == NULL ? NULL : xstrdup(note);
	row->r.cause = NULL;
	return NULL;
}

static const char *const put_words[] = { "added", "updated", "unchanged", "counted", "failed" };

/* One address of an `add`, in the open transaction. */
static char *
add_one(struct list_client *c, uint32_t request, const struct suppress_row *model, const char *address)
{
	struct suppress_row row = *model;
	enum suppress_put result = SUPPRESS_FAILED;
	const char *err = NULL;
	char *why = NULL;

	row.r.address = xstrdup(address);
	row.r.scope_value = model->r.scope_value == NULL ? NULL : xstrdup(model->r.scope_value);
	row.r.note = model->r.note == NULL ? NULL : xstrdup(model->r.note);
	if (suppress_row_settle(&row, &err) == -1)
		why = xasprintf("%s: %s", address, err);
	else if ((result = suppress_store_put(c->list->store, &row, row.added)) == SUPPRESS_FAILED)
		why = xstrdup(suppress_store_error(c->list->store));
	else
		say_row(c, request, &row, put_words[result]);
	suppress_row_clear(&row);
	return why;
}

/* All of it or nothing. */
static char *
verb_add(struct list_client *c, uint32_t request, const struct ql_admin *a)
{
	struct list *l = c->list;
	struct suppress_row model;
	const char *bad = row_of(a, loop_wall(l->loop), &model);
	char *why = bad == NULL ? NULL : xstrdup(bad);
	uint32_t i, n = 0;

	if (why == NULL && suppress_store_begin(l->store) == -1)
		why = xstrdup(suppress_store_error(l->store));
	else if (why == NULL) {
		for (i = 0; i < a->n_args && why == NULL; i++)
			if (strcmp(a->args[i].key, "address") == 0 && ++n > 0)
				why = add_one(c, request, &model, a->args[i].value);
		if (why == NULL && n == 0)
			why = xstrdup("which address?");
		if (why != NULL)
			suppress_store_abort(l->store);
		else if (suppress_store_commit(l->store) == -1)
			why = xstrdup(suppress_store_error(l->store));
	}
	suppress_row_clear(&model);
	return why;
}

struct finder {
	struct list_client *c;
	uint32_t request;
	const char *target;
	struct wbuf scopes; /* of the rows found: scope, value */
	unsigned n;
	bool is_said;
};

static bool
on_found(const struct suppress_row *row, void *arg)
{
	struct finder *f = arg;

	if (strcmp(row->r.address, f->target) != 0)
		return false;
	f->n++;
	if (f->is_said) {
		say_row(f->c, f->request, row, NULL);
	} else {
		wbuf_u8(&f->scopes, row->r.scope);
		wbuf_str(&f->scopes, row->r.scope_value);
	}
	return true;
}

#define FIND_MAX 10000 /* scopes of one address that are said */

static int
find(struct finder *f)
{
	struct suppress_key at;

	suppress_key_prefix(&at, f->target);
	return suppress_store_walk(f->c->list->store, &at, FIND_MAX, on_found, f);
}

/* What there is about an address, and about its domain. */
static char *
verb_check(struct list_client *c, uint32_t request, const struct ql_admin *a)
{
	const char *text = list_arg(a, "address"), *err = NULL, *at;
	struct finder f = { .c = c, .request = request, .is_said = true };
	char target[ADDRESS_MAX];

	if (text == NULL)
		return xstrdup("which address?");
	if (suppress_target(text, target, &err) == -1)
		return xasprintf("%s: %s", text, err);
	f.target = target;
	if (find(&f) == -1)
		return xstrdup(suppress_store_error(c->list->store));
	if ((at = strrchr(target, '@')) != NULL) {
		f.target = at + 1;
		if (find(&f) == -1)
			return xstrdup(suppress_store_error(c->list->store));
	}
	return NULL;
}

/* In the open transaction: those of all scopes, or of one. The number, or -1. */
static int
remove_one(struct list_client *c, const char *target, bool is_all, unsigned scope, const char *value)
{
	struct finder f = { .c = c, .target = target };
	struct rbuf r;
	int n = 0, one = 0;
	char *v;

	if (!is_all)
		return suppress_store_remove(c->list->store, target, scope, value);
	wbuf_init(&f.scopes);
	if (find(&f) == -1)
		one = -1;
	rbuf_init(&r, f.scopes.p, f.scopes.len);
	while (one != -1 && rbuf_left(&r) > 0) {
		scope = rbuf_u8(&r);
		v = rbuf_strdup(&r, SUPPRESS_KEY_MAX);
		one = suppress_store_remove(c->list->store, target, scope, v);
		n += one;
		free(v);
	}
	wbuf_clear(&f.scopes);
	return one == -1 ? -1 : n;
}

static char *
remove_address(struct list_client *c, uint32_t request, const struct ql_admin *a, const char *text)
{
	bool is_all = list_arg(a, "all_scopes") != NULL;
	char target[ADDRESS_MAX], value[ADDRESS_MAX];
	const char *err = NULL, *name = NULL;
	unsigned scope = SUPPRESS_GLOBAL;
	int n;

	if ((err = scope_of(a, &scope, &name)) != NULL)
		return xstrdup(err);
	if (suppress_target(text, target, &err) == -1 || suppress_scope_value(scope, name, value, &err) == -1)
		return xasprintf("%s: %s", text, err);
	if ((n = remove_one(c, target, is_all, scope, value)) == -1)
		return xstrdup(suppress_store_error(c->list->store));
	json_obj(&c->list->json, NULL);
	json_str(&c->list->json, "address", target);
	json_int(&c->list->json, "removed", n);
	json_obj_end(&c->list->json);
	list_send_json(c, request);
	return NULL;
}

static char *
verb_remove(struct list_client *c, uint32_t request, const struct ql_admin *a)
{
	struct suppress_store *st = c->list->store;
	char *why = NULL;
	uint32_t i;

	if (suppress_store_begin(st) == -1)
		return xstrdup(suppress_store_error(st));
	for (i = 0; i < a->n_args && why == NULL; i++)
		if (strcmp(a->args[i].key, "address") == 0)
			why = remove_address(c, request, a, a->args[i].value);
	if (why != NULL)
		suppress_store_abort(st);
	else if (suppress_store_commit(st) == -1)
		why = xstrdup(suppress_store_error(st));
	return why;
}

static char *
verb_stats(struct list_client *c, uint32_t request, const struct ql_admin *a)
{
	struct json *j = &c->list->json;
	struct suppress_stats s;
	unsigned i, k;

	(void)a;
	suppress_store_stats(c->list->store, &s);
	json_obj(j, NULL);
	json_int(j, "total", (int64_t)s.total);
	json_int(j, "bytes", (int64_t)s.bytes);
	for (i = 1; i < SUPPRESS_SCOPES; i++) {
		json_obj(j, suppress_scope_names[i]);
		for (k = 1; k < SUPPRESS_REASONS; k++)
			json_int(j, suppress_reason_names[k], (int64_t)s.rows[i][k]);
		json_obj_end(j);
	}
	json_obj_end(j);
	list_send_json(c, request);
	return NULL;
}

static const struct {
	const char *name;
	char *(*fn)(struct list_client *, uint32_t, const struct ql_admin *);
	bool is_change;
} verbs[] = {
	{ "suppress.add", verb_add, true },
	{ "suppress.remove", verb_remove, true },
	{ "suppress.check", verb_check, false },
	{ "suppress.stats", verb_stats, false },
};

/* False: it was refused, and that said. */
static bool
may_ask(struct list_client *c, uint32_t request)
{
	if (c->list->store == NULL)
		list_send_end(c, request, 1, c->list->trouble);
	else if (c->is_walking)
		list_send_end(c, request, 1, "the last request is still being answered");
	else
		return true;
	return false;
}

static void
run_verb(struct list_client *c, uint32_t request, const struct ql_admin *a)
{
	char *why = NULL;
	size_t i;

	if (strcmp(a->verb, "suppress.list") == 0) {
		list_walk_start(c, request, a);
		return;
	}
	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(a->verb, verbs[i].name) == 0)
			break;
	if (i == sizeof(verbs) / sizeof(verbs[0])) {
		why = xasprintf("bouncerd knows no verb \"%s\"", a->verb);
	} else {
		if (verbs[i].is_change)
			log_info("operator uid=%ju: %s", (uintmax_t)c->cred.uid, a->verb);
		why = verbs[i].fn(c, request, a);
		json_reset(&c->list->json);
	}
	list_send_end(c, request, why != NULL, why == NULL ? "" : why);
	free(why);
}

static void
on_admin(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct list_client *c = arg;
	struct ql_admin a;

	if (ql_admin_decode(&m->body, &a) == -1) {
		ipc_reject(ipc, "malformed ADMIN");
		return;
	}
	if (may_ask(c, m->id))
		run_verb(c, m->id, &a);
	ql_admin_clear(&a);
}

static void
say_counts(struct list_client *c, uint32_t request, const uint64_t n[SUPPRESS_FAILED])
{
	struct json *j = &c->list->json;

	json_obj(j, NULL);
	json_int(j, "added", (int64_t)n[SUPPRESS_ADDED]);
	json_int(j, "updated", (int64_t)n[SUPPRESS_UPDATED]);
	json_int(j, "unchanged", (int64_t)n[SUPPRESS_SAME]);
	json_obj_end(j);
	list_send_json(c, request);
}

/* A batch of an import: one transaction. */
static void
on_rows(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct list_client *c = arg;
	struct suppress_store *st = c->list->store;
	uint64_t n[SUPPRESS_FAILED] = { 0 };
	int64_t now = loop_wall(c->list->loop);
	struct suppress_row row;
	enum suppress_put r = SUPPRESS_SAME;
	int one;

	if (!may_ask(c, m->id))
		return;
	if (suppress_store_begin(st) == -1) {
		list_send_end(c, m->id, 1, suppress_store_error(st));
		return;
	}
	while (r != SUPPRESS_FAILED && (one = suppress_rows_next(&m->body, &row)) == 1) {
		if ((r = suppress_store_put(st, &row, now)) != SUPPRESS_FAILED)
			n[r]++;
		suppress_row_clear(&row);
	}
	if (r != SUPPRESS_FAILED && one == -1) {
		suppress_store_abort(st);
		ipc_reject(ipc, "malformed SUPPRESS_ROWS");
		return;
	}
	if (r == SUPPRESS_FAILED)
		suppress_store_abort(st);
	if (r == SUPPRESS_FAILED || suppress_store_commit(st) == -1) {
		list_send_end(c, m->id, 1, suppress_store_error(st));
		return;
	}
	say_counts(c, m->id, n);
	list_send_end(c, m->id, 0, "");
}

static const struct ipc_rule rules[] = {
	{ QL_ADMIN, false, QL_MAX_ADMIN, "ADMIN", on_admin },
	{ QL_SUPPRESS_ROWS, false, QL_MAX_ADMIN, "SUPPRESS_ROWS", on_rows },
};

const struct ipc_ops list_admin_ops = { rules, sizeof(rules) / sizeof(rules[0]), on_gone };
