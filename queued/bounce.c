/* Writing notices to senders. Gathered per message, so that recipients that failed together share one notice;
 * written in batches, one fdatasync for all of a commit. The texts come from remote replies; lib/mail/dsn.c folds
 * and cleans them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/header.h"

#include "queued/bounce.h"
#include "queued/changes.h"
#include "queued/ownseg.h"
#include "queued/queued.h"
#include "queued/recover.h"
#include "queued/stage.h"

#define NOTICES_PER_COMMIT 500
#define BYTES_PER_COMMIT (8u << 20)
#define HEADERS_RETURNED_MAX (256u << 10)

struct notice {
	TAILQ_ENTRY(notice) next; /* of message->notices */
	struct qenv *env;
	enum dsn_action action;
	struct enhanced_code status;
	char *remote_mta, *diagnostic;
	char *to;         /* who is told in place of the sender; NULL */
	const char *hint; /* static; NULL */
	bool is_local;
	int64_t when, will_retry_until;
};
TAILQ_HEAD(notice_list, notice);

struct notices {
	struct queued *q;
	TAILQ_HEAD(noticed_list, message) messages;
	struct ownseg own;
	bool is_failing; /* and it was said */
};

/* A notice that is on disk but not yet taken in. */
struct written {
	struct message *about;
	struct record rec;
	struct envelope *env;
};

struct notices *
notices_new(struct queued *q)
{
	struct notices *ns = xcalloc(1, sizeof(*ns));

	ns->q = q;
	TAILQ_INIT(&ns->messages);
	ownseg_init(&ns->own, q, SEG_KIND_OWN);
	return ns;
}

static void
notice_free(struct notice *n)
{
	free(n->remote_mta);
	free(n->diagnostic);
	free(n->to);
	free(n);
}

void
notices_free(struct notices **nsp)
{
	struct message *msg;
	struct notice *n;

	if (*nsp == NULL)
		return;
	TAILQ_FOREACH(msg, &(*nsp)->messages, noticed)
		while ((n = TAILQ_FIRST(&msg->notices)) != NULL) {
			TAILQ_REMOVE(&msg->notices, n, next);
			notice_free(n);
		}
	if ((*nsp)->own.fd != -1)
		close((*nsp)->own.fd);
	free(*nsp);
	*nsp = NULL;
}

bool
notices_pending(const struct notices *ns)
{
	return !TAILQ_EMPTY(&ns->messages);
}

static bool
notice_is_wanted(const struct queued *q, const struct qenv *e, const struct notice_facts *f)
{
	const struct params *p = q->params;
	const struct envelope *env = e->msg->env;
	int notices = e->queue->config.notices;
	const char *domain = address_domain(env->sender);
	size_t i;

	if (*env->sender == '\0' || e->rcpt >= env->n_rcpts || !dsn_wanted(env->rcpts[e->rcpt].notify, f->action))
		return false;
	if (!p->bounce_notice || notices == NOTICES_NONE || (notices == NOTICES_HARD && f->hard == NULL) ||
	    !stage_may_tell(q, e))
		return false;
	for (i = 0; i < p->bounce_notice_disabled_domains.n; i++)
		if (strcasecmp(p->bounce_notice_disabled_domains.v[i], domain) == 0)
			return false;
	return true;
}

static char *
dup_or_null(const char *s)
{
	return s == NULL || *s == '\0' ? NULL : xstrdup(s);
}

void
notice_add(struct queued *q, struct qenv *e, const struct notice_facts *f)
{
	struct notices *ns = q->notices;
	struct notice *n;

	if (!notice_is_wanted(q, e, f))
		return;
	n = xcalloc(1, sizeof(*n));
	n->env = e;
	n->action = f->action;
	n->status = f->status;
	if (n->status.class == 0) {
		n->status.class = f->action == DSN_FAILED ? 5 : f->action == DSN_DELAYED ? 4 : 2;
		n->status.subject = n->status.detail = 0;
	}
	n->remote_mta = dup_or_null(f->remote_mta);
	n->diagnostic = dup_or_null(f->diagnostic);
	n->to = dup_or_null(e->queue->config.notices_to);
	n->hint = e->queue->config.notices == NOTICES_HARD ? f->hard : NULL;
	n->is_local = f->is_local;
	n->when = loop_wall(q->loop);
	n->will_retry_until = f->will_retry_until;
	e->awaits_notice++;
	if (TAILQ_EMPTY(&e->msg->notices)) {
		message_ref(q->mem, e->msg);
		TAILQ_INSERT_TAIL(&ns->messages, e->msg, noticed);
	}
	TAILQ_INSERT_TAIL(&e->msg->notices, n, next);
	changes_poke(q->changes);
}

/* Part of the original's record, for the notice: at most max bytes, malloced; empty if it cannot be read. */
static char *
original_part(struct queued *q, const struct message *msg, uint64_t off, uint64_t len, struct slice *out)
{
	int fd = segment_fd(q->segs, msg->seg);
	char *buf;
	ssize_t n;

	out->base = "";
	out->len = 0;
	if (fd == -1 || len == 0)
		return NULL;
	buf = xmalloc(len);
	n = pread(fd, buf, len, (off_t)(msg->rec.offset + off));
	if (n <= 0) {
		free(buf);
		return NULL;
	}
	out->base = buf;
	out->len = (size_t)n;
	return buf;
}

/* One DSN is for one address: that of the first of them. */
static bool
is_together(const struct message *msg, const struct notice *n)
{
	const char *to = TAILQ_FIRST(&msg->notices)->to;

	return n->to == to || (n->to != NULL && to != NULL && strcmp(n->to, to) == 0);
}

static unsigned
notice_rcpts(const struct message *msg, struct dsn_rcpt **v_r)
{
	const struct rcpt *rcpt;
	struct dsn_rcpt *v = NULL;
	struct notice *n;
	unsigned i = 0;

	TAILQ_FOREACH(n, &msg->notices, next)
		i++;
	v = xcalloc(i, sizeof(*v));
	i = 0;
	TAILQ_FOREACH(n, &msg->notices, next) {
		if (!is_together(msg, n))
			continue;
		rcpt = &msg->env->rcpts[n->env->rcpt];
		v[i].address = rcpt->address;
		v[i].orcpt = rcpt->orcpt;
		v[i].action = n->action;
		v[i].status = n->status;
		v[i].remote_mta = n->remote_mta;
		v[i].diagnostic = n->diagnostic;
		v[i].hint = n->hint;
		v[i].is_local = n->is_local;
		v[i].last_attempt = n->when;
		v[i].will_retry_until = n->will_retry_until;
		i++;
	}
	*v_r = v;
	return i;
}

/* Headers and body of the notice about msg. */
static void
notice_build(struct queued *q, const struct message *msg, const struct msgid *id, struct wbuf *headers,
    struct wbuf *body)
{
	const struct record *rec = &msg->rec;
	uint64_t hlen = rec->headers_len > HEADERS_RETURNED_MAX ? HEADERS_RETURNED_MAX : rec->headers_len;
	struct dsn_rcpt *rcpts;
	struct dsn d;
	char *h, *b = NULL;

	memset(&d, 0, sizeof(d));
	d.id = id;
	d.reporting_mta = q->params->myhostname;
	d.about = msg->env;
	d.n_rcpts = notice_rcpts(msg, &rcpts);
	d.rcpts = rcpts;
	d.now = loop_wall(q->loop);
	h = original_part(q, msg, record_headers_off(rec), hlen, &d.headers);
	d.body.base = "";
	if (msg->env->ret == RET_FULL && rec->body_len + rec->headers_len <= (uint64_t)q->params->bounce_size_limit)
		b = original_part(q, msg, record_body_off(rec), rec->body_len, &d.body);
	dsn_build(&d, headers, body);
	free(h);
	free(b);
	free(rcpts);
}

static uint32_t
content_flags(const struct wbuf *headers, const struct wbuf *body)
{
	uint32_t flags = MSG_GENERATED;

	if (!is_ascii((const char *)headers->p, headers->len))
		flags |= MSG_8BIT | MSG_SMTPUTF8;
	if (!is_ascii((const char *)body->p, body->len))
		flags |= MSG_8BIT;
	if ((body->len > 0 && body->p[0] == '.') || memmem(body->p, body->len, "\n.", 2) != NULL)
		flags |= MSG_HAS_DOTS;
	return flags;
}

static struct envelope *
notice_envelope(struct queued *q, const struct message *msg, const struct msgid *id, const struct wbuf *headers,
    uint32_t flags)
{
	struct envelope *env = envelope_new();
	struct header_field f;
	const char *to = TAILQ_FIRST(&msg->notices)->to;
	char value[512];

	if (to == NULL)
		to = msg->env->sender;
	env->id = *id;
	env->received = loop_wall(q->loop);
	free(env->sender);
	env->sender = xstrdup("");
	env->flags = flags;
	if (!is_ascii(to, strlen(to)))
		env->flags |= MSG_SMTPUTF8;
	if (msg->env->tenant != NULL)
		env->tenant = xstrdup(msg->env->tenant);
	if (header_find((const char *)headers->p, headers->len, "Message-ID", &f)) {
		(void)header_value(&f, value, sizeof(value));
		free(env->message_id);
		env->message_id = xstrdup(value);
	}
	envelope_add_rcpt(env, to, NULL, NOTIFY_NEVER);
	return env;
}

static int
notice_write(struct notices *ns, struct message *msg, struct written *w)
{
	struct queued *q = ns->q;
	struct wbuf headers, body, enc;
	struct msgid id;
	int r;

	wbuf_init(&headers);
	wbuf_init(&body);
	wbuf_init(&enc);
	msgid_new(&id, loop_wall(q->loop));
	notice_build(q, msg, &id, &headers, &body);
	memset(w, 0, sizeof(*w));
	w->about = msg;
	w->env = notice_envelope(q, msg, &id, &headers, content_flags(&headers, &body));
	envelope_encode(w->env, &enc);
	w->rec.id = id;
	w->rec.flags = w->env->flags;
	w->rec.n_rcpts = 1;
	r = ownseg_append(&ns->own, &w->rec, (struct slice){ (char *)body.p, body.len },
	    (struct slice){ (char *)headers.p, headers.len }, (struct slice){ (char *)enc.p, enc.len });
	wbuf_clear(&headers);
	wbuf_clear(&body);
	wbuf_clear(&enc);
	if (r == -1)
		envelope_free(&w->env);
	return r;
}

static void
notice_done(struct notices *ns, struct written *w)
{
	struct queued *q = ns->q;
	struct message *about = w->about;
	struct segment *seg = segment_find(q->segs, w->rec.segment);
	struct notice *n, *next;
	struct notice_list written;

	intake_record(q, seg, &w->rec, w->env);
	seg->seen = w->rec.offset + record_len(&w->rec);
	segment_mark_dirty(q->segs, seg);
	q->count.notices++;
	TAILQ_INIT(&written);
	for (n = TAILQ_LAST(&about->notices, notice_chain); n != NULL; n = next) {
		next = TAILQ_PREV(n, notice_chain, next);
		if (is_together(about, n)) {
			TAILQ_REMOVE(&about->notices, n, next);
			TAILQ_INSERT_HEAD(&written, n, next);
		}
	}
	while ((n = TAILQ_FIRST(&written)) != NULL) {
		TAILQ_REMOVE(&written, n, next);
		changes_notice_written(q->changes, n->env);
		notice_free(n);
	}
	if (!TAILQ_EMPTY(&about->notices)) {
		changes_poke(q->changes); /* those for somebody else: by the next commit */
		return;
	}
	TAILQ_REMOVE(&ns->messages, about, noticed);
	message_unref(q->mem, about);
}

/* Appends what is pending, within bounds. Returns how many, or -1. */
static int
notices_append(struct notices *ns, struct written *w)
{
	uint64_t start = ns->own.pos;
	struct message *msg;
	int n = 0;

	TAILQ_FOREACH(msg, &ns->messages, noticed) {
		if (n == NOTICES_PER_COMMIT || ns->own.pos - start > BYTES_PER_COMMIT)
			break;
		if (notice_write(ns, msg, &w[n]) == -1) {
			while (n > 0)
				envelope_free(&w[--n].env);
			return -1;
		}
		n++;
	}
	return n;
}

void
notices_write(struct notices *ns)
{
	struct written *w;
	uint64_t start;
	int i, n;

	if (TAILQ_EMPTY(&ns->messages))
		return;
	if (ownseg_open(&ns->own) == -1) {
		if (!ns->is_failing)
			log_error("no segment for notices: %s: they are tried again", strerror(errno));
		ns->is_failing = true;
		return;
	}
	w = xcalloc(NOTICES_PER_COMMIT, sizeof(*w));
	start = ns->own.pos;
	n = notices_append(ns, w);
	if (n >= 0 && ownseg_sync(&ns->own) == -1) {
		for (i = 0; i < n; i++)
			envelope_free(&w[i].env);
		n = -1;
	}
	if (n == -1) {
		if (!ns->is_failing)
			log_error("writing notices: %s: they are tried again", strerror(errno));
		ownseg_rewind(&ns->own, start);
	}
	ns->is_failing = n == -1;
	for (i = 0; i < n; i++)
		notice_done(ns, &w[i]);
	free(w);
}
