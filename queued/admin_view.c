/* One envelope as an operator sees it, wherever it is: filters over it, and its JSON. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "mail/address.h"

#include "queued/admin.h"
#include "queued/consumer.h"
#include "queued/overrides.h"
#include "queued/queued.h"
#include "queued/reason.h"
#include "queued/sched.h"
#include "queued/squeue.h"

#define HEADERS_MAX (64u << 10)

static void
replace(char **p, const char *value)
{
	free(*p);
	*p = xstrdup(value);
}

bool
admin_filter_set(struct admin_filter *f, const char *key, const char *value, bool *is_known_r)
{
	*is_known_r = true;
	if (strcmp(key, "domain") == 0) {
		replace(&f->domain, value);
	} else if (strcmp(key, "tenant") == 0) {
		replace(&f->tenant, value);
	} else if (strcmp(key, "campaign") == 0) {
		replace(&f->campaign, value);
	} else if (strcmp(key, "recipient") == 0) {
		replace(&f->recipient, value);
	} else if (strcmp(key, "sender") == 0) {
		replace(&f->sender, value);
	} else if (strcmp(key, "id") == 0) {
		if (msgid_parse(value, &f->id) == -1)
			return false;
		f->has_id = true;
	} else {
		*is_known_r = false;
		return true;
	}
	f->is_any = true;
	return true;
}

void
admin_filter_clear(struct admin_filter *f)
{
	free(f->domain);
	free(f->tenant);
	free(f->campaign);
	free(f->recipient);
	free(f->sender);
	memset(f, 0, sizeof(*f));
}

static bool
equals(const char *want, const char *have)
{
	return want == NULL || (have != NULL && strcmp(want, have) == 0);
}

bool
admin_filter_match_queue(const struct admin_filter *f, const struct squeue *sq)
{
	return (f->domain == NULL || strcasecmp(f->domain, sq->domain) == 0) && equals(f->tenant, sq->tenant) &&
	    equals(f->campaign, sq->campaign);
}

/* "a@b", or "@b": anybody there. Domains are compared without regard to case, and local parts too: it is a search. */
static bool
address_matches(const char *want, const char *have)
{
	if (*want == '@')
		return strcasecmp(want + 1, address_domain(have)) == 0;
	return strcasecmp(want, have) == 0;
}

bool
admin_filter_has_queue(const struct admin_filter *f)
{
	return f->domain != NULL || f->tenant != NULL || f->campaign != NULL;
}

bool
admin_filter_match(struct queued *q, const struct admin_filter *f, struct admin_view *v)
{
	const struct envelope *env;

	if (f->has_id && msgid_cmp(&f->id, &v->id.msg) != 0)
		return false;
	if (!admin_filter_match_queue(f, v->sq))
		return false;
	if (f->recipient == NULL && f->sender == NULL)
		return true;
	admin_view_read(q, v);
	env = v->msg == NULL ? NULL : v->msg->env;
	if (env == NULL || v->id.rcpt >= env->n_rcpts)
		return false;
	if (f->sender != NULL && !(strcmp(f->sender, "<>") == 0 ? *env->sender == '\0'
	    : address_matches(f->sender, env->sender)))
		return false;
	return f->recipient == NULL || address_matches(f->recipient, env->rcpts[v->id.rcpt].address);
}

static bool
view_from_row(struct queued *q, struct admin_view *v)
{
	struct segment *seg;
	struct env_row row;
	bool ok = false;

	store_read_begin(q->store);
	if (!store_get_env(q->store, v->key, &row) || (v->sq = squeue_by_id(q->queues, row.queue)) == NULL)
		goto out;
	v->state = row.flags & (ENV_HELD | ENV_GUARDED) ? ENVELOPE_HELD : row.due <= queue_now(q) ? ENVELOPE_READY
	    : ENVELOPE_DEFERRED;
	v->attempts = row.attempts;
	v->flags = row.flags;
	v->code = row.code;
	v->due = queue_wall(q, row.due);
	v->expires = queue_wall(q, row.expires);
	if (row.text.len > 0)
		memcpy(v->text, row.text.base, row.text.len);
	if ((seg = segment_find(q->segs, row.segment)) != NULL)
		v->msg = message_at(q->mem, &v->id.msg, seg, row.offset);
	ok = true;
out:
	store_read_end(q->store);
	return ok;
}

bool
admin_view_open(struct queued *q, const uint8_t key[ENV_KEY_LEN], struct admin_view *v)
{
	memset(v, 0, sizeof(*v));
	memcpy(v->key, key, ENV_KEY_LEN);
	env_key_unpack(key, &v->id);
	if ((v->e = qenv_find_key(q->mem, key)) != NULL) {
		v->sq = v->e->queue;
		v->msg = v->e->msg;
		v->state = v->e->state == ENVELOPE_DEFERRED && (v->e->flags & ENV_GUARDED) != 0 ? ENVELOPE_HELD :
		    v->e->state;
		v->attempts = v->e->attempts;
		v->flags = v->e->flags;
		v->code = v->e->code;
		v->due = queue_wall(q, v->e->due);
		v->expires = queue_wall(q, v->e->expires);
		if (v->e->text != NULL)
			memcpy(v->text, v->e->text, strnlen(v->e->text, FAIL_TEXT_MAX));
		if (v->state == ENVELOPE_DONE)
			return false;
	} else if (!view_from_row(q, v)) {
		return false;
	}
	v->sq->refs++;
	if (v->msg != NULL)
		message_ref(q->mem, v->msg);
	return true;
}

void
admin_view_read(struct queued *q, struct admin_view *v)
{
	if (v->is_read)
		return;
	v->is_read = true;
	if (v->msg == NULL)
		v->unreadable = "its segment is missing";
	else
		(void)message_envelope(q->mem, v->msg, &v->unreadable);
}

void
admin_view_close(struct queued *q, struct admin_view *v)
{
	if (v->msg != NULL)
		message_unref(q->mem, v->msg);
	v->msg = NULL;
	v->sq->refs--;
	squeue_release(q->queues, v->sq);
}

/* Why it is still here, as a sentence. */
static char *
view_reason(struct queued *q, const struct admin_view *v)
{
	const struct squeue *sq = v->sq;
	char *why;

	if (v->unreadable != NULL)
		return xasprintf("held: %s", v->unreadable);
	switch (v->state) {
	case ENVELOPE_INFLIGHT:
		return xasprintf("with deliverd of pool %s", v->e->with->consumer->pool->name);
	case ENVELOPE_HELD:
		if ((v->flags & (ENV_HELD | ENV_GUARDED)) == ENV_GUARDED)
			return xasprintf("held: %s", v->text);
		return xstrdup(v->flags & ENV_DAMAGED ? "held: its record is damaged" : "held by the operator");
	case ENVELOPE_DEFERRED:
		if ((v->flags & ENV_PATH_WAIT) && (why = overrides_path_why(q, sq)) != NULL)
			return why;
		return xstrdup(v->attempts > 0 ? "waits for its next attempt after a temporary failure"
		    : "waits for its time");
	default:
		break;
	}
	if ((why = squeue_reason(q, sq)) != NULL)
		return why;
	return xasprintf("waits for its turn in pool %s", sq->pool->name);
}

void
admin_view_json(struct queued *q, const struct admin_view *v, bool is_full, struct json *j)
{
	const struct envelope *env = v->msg == NULL ? NULL : v->msg->env;
	bool has_rcpt = env != NULL && v->id.rcpt < env->n_rcpts;
	char hex[MSGID_HEX], *reason = view_reason(q, v);

	msgid_hex(&v->id.msg, hex);
	json_obj(j, NULL);
	json_str(j, "id", hex);
	json_int(j, "recipient_index", v->id.rcpt);
	json_str(j, "state", env_state_names[v->state]);
	json_str(j, "queue", v->sq->name);
	json_str(j, "pool", v->sq->pool == NULL ? NULL : v->sq->pool->name);
	json_str(j, "sender", env == NULL ? NULL : env->sender);
	json_str(j, "recipient", has_rcpt ? env->rcpts[v->id.rcpt].address : NULL);
	json_int(j, "received", env == NULL ? msgid_time(&v->id.msg) : env->received);
	json_int(j, "size", env == NULL ? 0 : (int64_t)(v->msg->rec.body_len + v->msg->rec.headers_len));
	json_int(j, "attempts", v->attempts);
	if (v->state == ENVELOPE_DEFERRED || (v->flags & (ENV_HELD | ENV_GUARDED)) == ENV_GUARDED)
		json_int(j, "next_attempt", v->due);
	json_int(j, "expires", v->expires);
	json_str(j, "reason", reason);
	if (v->text[0] != '\0') {
		json_str(j, "last_failure", v->text);
		json_int(j, "last_code", v->code);
	}
	if (is_full && env != NULL) {
		json_str(j, "tenant", v->flags & ENV_REBOUND ? v->sq->tenant : env->tenant);
		json_str(j, "campaign", v->flags & ENV_REBOUND ? v->sq->campaign : env->campaign);
		json_str(j, "domain", v->sq->domain);
		json_str(j, "message_id", env->message_id);
		json_str(j, "client", env->client);
		json_str(j, "auth_user", env->auth_user);
		json_str(j, "session", env->session);
		json_str(j, "envid", env->envid);
		json_int(j, "recipients", env->n_rcpts);
		json_int(j, "segment", (int64_t)v->msg->rec.segment);
		json_int(j, "offset", (int64_t)v->msg->rec.offset);
	}
	(void)q;
	free(reason);
}

void
admin_view_headers(struct queued *q, const struct admin_view *v, struct json *j)
{
	struct slice s;
	size_t len;
	ssize_t n;
	char *buf;
	int fd;

	if (v->msg == NULL || v->msg->env == NULL || (fd = segment_fd(q->segs, v->msg->seg)) == -1)
		return;
	len = v->msg->rec.headers_len > HEADERS_MAX ? HEADERS_MAX : v->msg->rec.headers_len;
	buf = xmalloc(len + 1);
	n = pread(fd, buf, len, (off_t)(v->msg->rec.offset + record_headers_off(&v->msg->rec)));
	s.base = buf;
	s.len = n > 0 ? (size_t)n : 0;
	json_slice(j, "headers", s, HEADERS_MAX);
	free(buf);
}
