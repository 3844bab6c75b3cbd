/* The operator's side of the link (posthorn queue, status): requests are checked against a table of verbs, worked
 * on in bounded steps between which everybody else gets their turn, and slowed down by their reader. Who may ask
 * was decided by SO_PEERCRED. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/token.h"

#include "queued/admin.h"
#include "queued/changes.h"
#include "queued/consumer.h"
#include "queued/explain.h"
#include "queued/keys.h"
#include "queued/queued.h"
#include "queued/rebind.h"

#define PENDING_HIGH (256u << 10)
#define PENDING_LOW (64u << 10)
#define PROGRESS_MS 1000 /* longest silence towards an operator who waits */

void
admin_start(struct client *cl)
{
	(void)cl;
}

static void
admin_job_free(struct admin_job **jp)
{
	struct admin_job *j = *jp;

	if (j == NULL)
		return;
	*jp = NULL;
	admin_filter_clear(&j->filter);
	rebind_unref(&j->rebind);
	free(j->reason);
	json_clear(&j->json);
	free(j);
}

void
admin_stop(struct client *cl)
{
	admin_job_free(&cl->job);
	explain_drop(cl);
}

void
admin_send_json(struct admin_job *j)
{
	struct wbuf *out = &j->client->q->clients->out;

	wbuf_u8(&j->json.out, 0);
	wbuf_reset(out);
	ql_str_encode((const char *)j->json.out.p, out);
	ipc_send(j->client->ipc, QL_ADMIN_DATA, j->request, out, -1);
	json_reset(&j->json);
	j->last_sent = loop_now(j->client->q->loop);
}

/* A row that is no row: how many there were so far. */
static void
admin_send_progress(struct admin_job *j)
{
	json_obj(&j->json, NULL);
	json_int(&j->json, "progress", (int64_t)j->count);
	json_obj_end(&j->json);
	admin_send_json(j);
}

void
admin_send_end(struct client *cl, uint32_t request, uint8_t status, const char *sentence)
{
	struct wbuf *out = &cl->q->clients->out;

	wbuf_reset(out);
	ql_end_encode(status, sentence, out);
	ipc_send(cl->ipc, QL_ADMIN_END, request, out, -1);
}

void
admin_end(struct admin_job **jp, uint8_t status, const char *sentence)
{
	admin_send_end((*jp)->client, (*jp)->request, status, sentence);
	admin_job_free(jp);
}

static void
on_low(void *arg)
{
	struct client *cl = arg;

	if (cl->job != NULL)
		cl->job->is_waiting = false;
	loop_again(cl->q->loop);
}

static void
admin_step(struct queued *q, struct client *cl)
{
	struct admin_job *j = cl->job;

	if (j->is_waiting)
		return;
	if (ipc_pending(cl->ipc) > PENDING_HIGH) {
		j->is_waiting = true;
		ipc_on_low(cl->ipc, PENDING_LOW, on_low, cl);
		return;
	}
	if (loop_now(q->loop) - j->last_sent >= PROGRESS_MS)
		admin_send_progress(j);
	loop_again(q->loop);
	if (j->action == ADMIN_OVERRIDES ? admin_overrides_step(q, j)
	    : j->action == ADMIN_SUMMARY ? admin_summary_step(q, j) : admin_queue_step(q, j)) {
		if (j->action >= ADMIN_HOLD) {
			json_obj(&j->json, NULL);
			json_int(&j->json, "count", (int64_t)j->count);
			json_int(&j->json, "cancelling", (int64_t)j->cancelling);
			if (j->action == ADMIN_REBIND)
				json_int(&j->json, "failed", (int64_t)j->failed);
			json_obj_end(&j->json);
			admin_send_json(j);
		}
		/* Mail that was rebound is to be where it was said to be, whatever happens next. */
		if (j->action == ADMIN_REBIND && changes_commit(q->changes) == -1)
			admin_end(&cl->job, 1, "it is done, but not on disk yet: the index cannot be written");
		else
			admin_end(&cl->job, j->refusal != NULL, j->refusal != NULL ? j->refusal : "");
	}
}

void
admin_turn(struct queued *q)
{
	struct client *cl;

	TAILQ_FOREACH(cl, &q->clients->all, next)
		if (cl->job != NULL)
			admin_step(q, cl);
}

static const struct admin_verb {
	const char *name;
	enum admin_action action;
	bool needs_filter;
} verbs[] = {
	{ "override.list", ADMIN_OVERRIDES, false },
	{ "queue.list", ADMIN_LIST, false },
	{ "queue.show", ADMIN_SHOW, true },
	{ "queue.summary", ADMIN_SUMMARY, false },
	{ "queue.hold", ADMIN_HOLD, true },
	{ "queue.release", ADMIN_RELEASE, true },
	{ "queue.retry", ADMIN_RETRY, true },
	{ "queue.bounce", ADMIN_BOUNCE, true },
	{ "queue.delete", ADMIN_DELETE, true },
	{ "queue.rebind", ADMIN_REBIND, true },
};

/* Those of rebind alone; "set.KEY" is a value to set. */
static char *
rebind_arg(struct admin_job *j, const char *key, const char *value)
{
	struct rebind *r = j->rebind;

	if (r != NULL && strncmp(key, "set.", 4) == 0)
		return rebind_set(r, key + 4, value);
	if (r != NULL && strcmp(key, "trigger_rebind_event") == 0)
		r->is_asking = strcmp(value, "yes") == 0;
	else if (r != NULL && strcmp(key, "always_flush") == 0)
		r->is_flushing = strcmp(value, "yes") == 0;
	else
		return xasprintf("unknown argument \"%s\"", key);
	return NULL;
}

static char *
rebind_args_end(struct queued *q, struct admin_job *j)
{
	if (j->rebind == NULL)
		return NULL;
	j->rebind->is_quiet = j->is_quiet;
	j->rebind->reason = j->reason == NULL ? NULL : xstrdup(j->reason);
	return rebind_check(q, j->rebind);
}

/* Arguments into the job. NULL, or a malloced sentence. */
static char *
admin_args(struct admin_job *j, const struct ql_admin *a, bool needs_filter)
{
	bool is_known, is_all = false;
	const char *key, *value;
	uint32_t i;
	char *err;

	for (i = 0; i < a->n_args; i++) {
		key = a->args[i].key;
		value = a->args[i].value;
		if (!admin_filter_set(&j->filter, key, value, &is_known))
			return xasprintf("\"%s\" is not a message id", value);
		if (is_known)
			continue;
		if (strcmp(key, "limit") == 0) {
			j->limit = strtoull(value, NULL, 10);
		} else if (strcmp(key, "all") == 0) {
			is_all = strcmp(value, "yes") == 0;
		} else if (strcmp(key, "quiet") == 0) {
			j->is_quiet = strcmp(value, "yes") == 0;
		} else if (strcmp(key, "headers") == 0) {
			j->want_headers = strcmp(value, "yes") == 0;
		} else if (strcmp(key, "reason") == 0) {
			free(j->reason);
			j->reason = xmemdup0(value, strnlen(value, FAIL_TEXT_MAX));
		} else if ((err = rebind_arg(j, key, value)) != NULL) {
			return err;
		}
	}
	if (needs_filter && !is_all && !j->filter.is_any)
		return xstrdup("name a filter, or say all=yes");
	return rebind_args_end(j->client->q, j);
}

static void
admin_queue_verb(struct client *cl, uint32_t request, const struct admin_verb *verb, const struct ql_admin *a)
{
	struct admin_job *j = xcalloc(1, sizeof(*j));
	char *err;

	j->client = cl;
	j->request = request;
	j->action = verb->action;
	j->rebind = verb->action == ADMIN_REBIND ? rebind_new() : NULL;
	json_init(&j->json);
	if ((err = admin_args(j, a, verb->needs_filter)) != NULL) {
		admin_end(&j, 1, err);
		free(err);
		return;
	}
	if (verb->action == ADMIN_RETRY || (j->rebind != NULL && j->rebind->is_flushing))
		consumers_retry(cl->q); /* before the jobs that this brings */
	if (verb->action >= ADMIN_HOLD)
		log_info("operator uid=%u: %s", cl->cred.uid, verb->name);
	/* The index has everything that is still true afterwards; what cannot be committed now is merely not listed. */
	(void)changes_commit(cl->q->changes);
	cl->job = j;
	/* A change says nothing until it is done: that it was understood is to be known before. */
	if (verb->action >= ADMIN_HOLD)
		admin_send_progress(j);
	j->last_sent = loop_now(cl->q->loop);
	loop_again(cl->q->loop);
}

static void
admin_status(struct client *cl, uint32_t request)
{
	struct wbuf *out = &cl->q->clients->out;
	struct json json;

	json_init(&json);
	admin_status_json(cl->q, &json);
	wbuf_u8(&json.out, 0);
	wbuf_reset(out);
	ql_str_encode((const char *)json.out.p, out);
	ipc_send(cl->ipc, QL_ADMIN_DATA, request, out, -1);
	json_clear(&json);
	admin_send_end(cl, request, 0, "");
}

/* Whose message a token names, if it is ours (mail/token.h). Of what is no longer queued the recipient is in the event
 * log. */
static void
admin_token(struct client *cl, uint32_t request, const struct ql_admin *a)
{
	const char *text = a->n_args == 1 && strcmp(a->args[0].key, "token") == 0 ? a->args[0].value : "";
	struct wbuf *out = &cl->q->clients->out;
	struct admin_view v;
	uint8_t key[ENV_KEY_LEN];
	char hex[MSGID_HEX];
	struct envid id;
	struct json j;

	if (strlen(text) != TOKEN_TEXT - 1 || keys_token_check(cl->q->keys, text, &id) == -1) {
		admin_send_end(cl, request, 1, "that is no token of this node");
		return;
	}
	msgid_hex(&id.msg, hex);
	json_init(&j);
	json_obj(&j, NULL);
	json_str(&j, "id", hex);
	json_int(&j, "recipient_index", id.rcpt == TOKEN_MANY ? -1 : id.rcpt);
	json_int(&j, "received", msgid_time(&id.msg));
	env_key_pack(&id, key);
	if (id.rcpt != TOKEN_MANY && admin_view_open(cl->q, key, &v)) {
		admin_view_read(cl->q, &v);
		if (v.msg != NULL && v.msg->env != NULL && id.rcpt < v.msg->env->n_rcpts)
			json_str(&j, "recipient", v.msg->env->rcpts[id.rcpt].address);
		admin_view_close(cl->q, &v);
	}
	json_obj_end(&j);
	wbuf_u8(&j.out, 0);
	wbuf_reset(out);
	ql_str_encode((const char *)j.out.p, out);
	ipc_send(cl->ipc, QL_ADMIN_DATA, request, out, -1);
	json_clear(&j);
	admin_send_end(cl, request, 0, "");
}

static void
on_admin(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct client *cl = arg;
	struct ql_admin a;
	char *err;
	size_t i;

	if (ql_admin_decode(&m->body, &a) == -1) {
		ipc_reject(ipc, "malformed ADMIN");
		return;
	}
	if (cl->job != NULL || cl->explain != NULL) {
		admin_send_end(cl, m->id, 1, "the last request is still being answered");
		goto out;
	}
	if (strcmp(a.verb, "ping") == 0) {
		admin_send_end(cl, m->id, 0, "");
		goto out;
	}
	if (strcmp(a.verb, "status") == 0) {
		admin_status(cl, m->id);
		goto out;
	}
	if (strcmp(a.verb, "token") == 0) {
		admin_token(cl, m->id, &a);
		goto out;
	}
	if (strcmp(a.verb, "explain") == 0) {
		explain_start(cl, m->id, &a);
		goto out;
	}
	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(a.verb, verbs[i].name) == 0) {
			admin_queue_verb(cl, m->id, &verbs[i], &a);
			goto out;
		}
	}
	if (strncmp(a.verb, "override.", 9) == 0) {
		admin_override(cl, m->id, &a);
		goto out;
	}
	err = xasprintf("queued knows no verb \"%s\"", a.verb);
	admin_send_end(cl, m->id, 1, err);
	free(err);
out:
	ql_admin_clear(&a);
}

static const struct ipc_rule admin_rules[] = {
	{ QL_ADMIN, false, QL_MAX_ADMIN, "ADMIN", on_admin },
};

const struct ipc_ops admin_ops = { admin_rules, 1, client_gone };
