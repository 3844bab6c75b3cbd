/* The verbs over overrides (posthorn suspend, resume, limit, bounce, overrides): an administrator makes, lists and ends
 * them. Whoever asks is root or in the admin group; what is asked is checked all the same, with a sentence. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/log.h"
#include "base/xalloc.h"

#include "queued/admin.h"
#include "queued/overrides.h"
#include "queued/queued.h"

#define STEP_ROWS 200
#define DURATION_MAX (365 * 86400000ll)
#define SETTINGS_MAX 16
#define IDS_MAX 1000

struct ask {
	struct override_scope scope;
	enum override_kind kind;
	const char *settings[SETTINGS_MAX], *values[SETTINGS_MAX];
	size_t n_settings;
	uint64_t ids[IDS_MAX];
	size_t n_ids;
	const char *user, *reason, *rule;
	int64_t duration; /* 0: until cancelled */
	bool has_duration, is_everything, is_quiet;
};

static char *
ask_kind(struct ask *a, const char *value)
{
	unsigned k;

	for (k = OVERRIDE_SUSPEND; k <= OVERRIDE_BOUNCE; k++)
		if (strcmp(value, override_kind_name((enum override_kind)k)) == 0) {
			a->kind = (enum override_kind)k;
			return NULL;
		}
	return xasprintf("there is no override of kind \"%.60s\"", value);
}

static char *
ask_id(struct ask *a, const char *value)
{
	char *end;
	uint64_t id;

	errno = 0;
	id = strtoull(value, &end, 10);
	if (errno != 0 || *value < '0' || *value > '9' || *end != '\0' || id == 0)
		return xasprintf("\"%.60s\" is not the number of an override", value);
	if (a->n_ids == IDS_MAX)
		return xasprintf("no more than %d numbers at a time", IDS_MAX);
	a->ids[a->n_ids++] = id;
	return NULL;
}

static char *
ask_duration(struct ask *a, const char *value)
{
	a->has_duration = true;
	if (strcmp(value, "cancelled") == 0)
		return NULL;
	if (conf_time_parse(value, &a->duration) != 0)
		return xasprintf("\"%.60s\" is not a duration (examples: '30s', '20 min', '5d')", value);
	if (a->duration < 1000 || a->duration > DURATION_MAX)
		return xstrdup("a duration is from 1 second to 365 days; without an end: --until cancelled");
	return NULL;
}

/* True: it is one of a scope. */
static bool
ask_scope(struct ask *a, const char *key, const char *value, char **err_r)
{
	char **part;
	unsigned i;

	for (i = 0; override_scope_name(i) != NULL; i++) {
		if (strcmp(key, override_scope_name(i)) != 0)
			continue;
		part = override_scope_part(&a->scope, i);
		if (*part != NULL)
			*err_r = xasprintf("%s is said twice: an override has one of each", key);
		else if (*value == '\0' || strlen(value) > OVERRIDE_TEXT_MAX || strpbrk(value, "\r\n") != NULL)
			*err_r = xasprintf("%s is empty, too long or no line of text", key);
		else
			*part = xstrdup(value);
		return true;
	}
	return false;
}

static char *
ask_one(struct ask *a, const char *key, const char *value)
{
	char *err = NULL;

	if (ask_scope(a, key, value, &err))
		return err;
	if (strcmp(key, "kind") == 0)
		return ask_kind(a, value);
	if (strcmp(key, "id") == 0)
		return ask_id(a, value);
	if (strcmp(key, "duration") == 0)
		return ask_duration(a, value);
	if (strncmp(key, "set.", 4) == 0) {
		if (a->n_settings == SETTINGS_MAX)
			return xasprintf("no more than %d settings at a time", SETTINGS_MAX);
		a->settings[a->n_settings] = key + 4;
		a->values[a->n_settings++] = value;
	} else if (strcmp(key, "everything") == 0) {
		a->is_everything = strcmp(value, "yes") == 0;
	} else if (strcmp(key, "quiet") == 0) {
		a->is_quiet = strcmp(value, "yes") == 0;
	} else if (strcmp(key, "user") == 0) {
		a->user = value;
	} else if (strcmp(key, "reason") == 0) {
		a->reason = value;
	} else if (strcmp(key, "rule") == 0) {
		a->rule = value;
	} else {
		return xasprintf("unknown argument \"%.60s\"", key);
	}
	return NULL;
}

static char *
ask_read(struct ask *a, const struct ql_admin *req)
{
	char *err = NULL;
	uint32_t i;

	for (i = 0; i < req->n_args && err == NULL; i++)
		err = ask_one(a, req->args[i].key, req->args[i].value);
	return err;
}

static char *
ask_scope_check(const struct ask *a)
{
	if (override_scope_is_empty(&a->scope) && !a->is_everything)
		return xstrdup("say what it is for (domain, tenant, provider, ...), or everything");
	if (!override_scope_is_empty(&a->scope) && a->is_everything)
		return xstrdup("everything and a part of it exclude each other");
	return NULL;
}

static void
send_row(struct client *cl, uint32_t request, struct json *j)
{
	struct wbuf *out = &cl->q->clients->out;

	wbuf_u8(&j->out, 0);
	wbuf_reset(out);
	ql_str_encode((const char *)j->out.p, out);
	ipc_send(cl->ipc, QL_ADMIN_DATA, request, out, -1);
	json_reset(j);
}

static char *
text_of(const char *s)
{
	char *copy = xmemdup0(s, strnlen(s, OVERRIDE_TEXT_MAX)), *p;

	for (p = copy; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
	return copy;
}

static void
ask_override(const struct client *cl, const struct ask *a, size_t setting, struct override *o)
{
	memset(o, 0, sizeof(*o));
	o->kind = (uint8_t)a->kind;
	override_scope_copy(&o->scope, &a->scope);
	if (a->kind == OVERRIDE_LIMIT && a->n_settings > 0) {
		o->setting = text_of(a->settings[setting]);
		o->value = text_of(a->values[setting]);
	}
	o->is_quiet = a->is_quiet && a->kind == OVERRIDE_BOUNCE;
	o->made_by = a->user == NULL ? xasprintf("admin uid %u", cl->cred.uid) : text_of(a->user);
	o->reason = a->reason == NULL || *a->reason == '\0' ? xasprintf("by %s", o->made_by) : text_of(a->reason);
	o->expires = a->has_duration && a->duration == 0 ? 0 : queue_now(cl->q) + a->duration;
}

/* All settings or none. */
static char *
put_all(struct client *cl, uint32_t request, const struct ask *a)
{
	size_t i, n = a->kind == OVERRIDE_LIMIT ? a->n_settings : 1;
	struct override o;
	struct effect *ef;
	struct json j;
	char *err = NULL;

	for (i = 0; i < n && err == NULL; i++) {
		ask_override(cl, a, i, &o);
		err = override_check(&o);
		override_clear(&o);
	}
	json_init(&j);
	for (i = 0; i < n && err == NULL; i++) {
		ask_override(cl, a, i, &o);
		if ((ef = overrides_put(cl->q, &o, false, &err)) == NULL)
			break;
		overrides_json(cl->q, ef, &j);
		send_row(cl, request, &j);
	}
	json_clear(&j);
	return err;
}

static char *
verb_put(struct client *cl, uint32_t request, struct ask *a)
{
	char *err;

	if (a->kind == 0)
		return xstrdup("of what kind?");
	if ((err = ask_scope_check(a)) != NULL)
		return err;
	if (a->kind == OVERRIDE_LIMIT && a->n_settings == 0)
		return xstrdup("a limit needs a setting and its value, like connection_limit=1");
	if (a->kind != OVERRIDE_LIMIT && a->n_settings > 0)
		return xstrdup("only a limit has settings");
	if (!a->has_duration)
		a->duration = 5 * 60000;
	return put_all(cl, request, a);
}

static void
send_count(struct client *cl, uint32_t request, uint64_t n)
{
	struct json j;

	json_init(&j);
	json_obj(&j, NULL);
	json_int(&j, "cancelled", (int64_t)n);
	json_obj_end(&j);
	send_row(cl, request, &j);
	json_clear(&j);
}

static char *
who(const struct client *cl, const struct ask *a)
{
	char *user = a->user == NULL ? xasprintf("uid %u", cl->cred.uid) : text_of(a->user);
	char *why = xasprintf("cancelled by %s", user);

	free(user);
	return why;
}

/* By a rule of shaping data, or a verdict of the bounce rules. */
static bool
is_made_by(const struct effect *ef, const char *rule)
{
	const char *id = strchr(ef->o.made_by, ' ');

	return id != NULL && strcmp(id + 1, rule) == 0 &&
	    (strncmp(ef->o.made_by, "rule ", 5) == 0 || strncmp(ef->o.made_by, "verdict ", 8) == 0);
}

static char *
verb_cancel(struct client *cl, uint32_t request, struct ask *a)
{
	struct overrides *set = cl->q->overrides;
	struct effect *ef, *next;
	uint64_t n = 0;
	char *why;
	size_t i;

	if (a->n_ids == 0 && a->rule == NULL)
		return xstrdup("cancel which? Name numbers, or a rule");
	for (i = 0; i < a->n_ids; i++)
		if (overrides_find(set, a->ids[i]) == NULL)
			return xasprintf("there is no override %" PRIu64 "%s", a->ids[i],
			    a->n_ids > 1 ? "; nothing was cancelled" : "");
	why = who(cl, a);
	for (i = 0; i < a->n_ids; i++) {
		if ((ef = overrides_find(set, a->ids[i])) == NULL)
			continue; /* named twice */
		overrides_end(cl->q, &ef, why);
		n++;
	}
	HASH_ITER(hh, set->by_id, ef, next)
		if (a->rule != NULL && is_made_by(ef, a->rule)) {
			overrides_end(cl->q, &ef, why);
			n++;
		}
	free(why);
	send_count(cl, request, n);
	return n > 0 ? NULL : xasprintf("no override was made by rule %s", a->rule);
}

static char *
verb_resume(struct client *cl, uint32_t request, struct ask *a)
{
	struct overrides *set = cl->q->overrides;
	struct effect *ef, *next;
	char *err = ask_scope_check(a), *why, *text;
	uint64_t n = 0;

	if (err != NULL)
		return err;
	why = who(cl, a);
	HASH_ITER(hh, set->by_id, ef, next)
		if (ef->o.kind == OVERRIDE_SUSPEND && override_scope_equals(&ef->o.scope, &a->scope)) {
			overrides_end(cl->q, &ef, why);
			n++;
		}
	free(why);
	if (n > 0) {
		send_count(cl, request, n);
		return NULL;
	}
	text = override_scope_text(&a->scope);
	err = xasprintf("no suspension is of exactly that (%s); `posthorn overrides list' shows those there are", text);
	free(text);
	return err;
}

/* Lists from where the last step stopped. */
int
admin_overrides_step(struct queued *q, struct admin_job *j)
{
	struct effect *ef;
	unsigned n = 0;

	for (ef = q->overrides->by_id; ef != NULL; ef = ef->hh.next) {
		if (ef->o.id <= j->last_override)
			continue;
		if (n++ == STEP_ROWS)
			return 0;
		overrides_json(q, ef, &j->json);
		admin_send_json(j);
		j->last_override = ef->o.id;
		j->count++;
	}
	return 1;
}

static char *
verb_show(struct client *cl, uint32_t request, struct ask *a)
{
	struct effect *ef;
	struct json j;
	size_t i;

	if (a->n_ids == 0)
		return xstrdup("show which?");
	for (i = 0; i < a->n_ids; i++) {
		if ((ef = overrides_find(cl->q->overrides, a->ids[i])) == NULL)
			return xasprintf("there is no override %" PRIu64, a->ids[i]);
		json_init(&j);
		overrides_json(cl->q, ef, &j);
		send_row(cl, request, &j);
		json_clear(&j);
	}
	return NULL;
}

/* NULL, or a sentence: then it is refused. */
static char *
run(struct client *cl, uint32_t request, const char *verb, struct ask *a)
{
	if (strcmp(verb, "override.put") == 0)
		return verb_put(cl, request, a);
	if (strcmp(verb, "override.show") == 0)
		return verb_show(cl, request, a);
	if (strcmp(verb, "override.cancel") == 0)
		return verb_cancel(cl, request, a);
	if (strcmp(verb, "override.resume") == 0)
		return verb_resume(cl, request, a);
	return xasprintf("queued knows no verb \"%.60s\"", verb);
}

void
admin_override(struct client *cl, uint32_t request, const struct ql_admin *req)
{
	struct ask a;
	char *err;

	memset(&a, 0, sizeof(a));
	if ((err = ask_read(&a, req)) == NULL)
		err = run(cl, request, req->verb, &a);
	if (strcmp(req->verb, "override.show") != 0)
		log_info("operator uid=%u: %s%s%s", cl->cred.uid, req->verb, err == NULL ? "" : ": ",
		    err == NULL ? "" : err);
	admin_send_end(cl, request, err == NULL ? 0 : 1, err == NULL ? "" : err);
	free(err);
	override_scope_clear(&a.scope);
}
