/* A message that may be a bounce (bounce.h), in the main role. It is read by the parse role; what comes back is a
 * stranger's word, in our form. One OOB record for each recipient that it names, or for the one that is proven.
 *
 * What it says is written down in any case. Done is something only for a proof of ours that is not too old, and only
 * to the recipient that the proof names: anybody can send a bounce about anybody.
 *
 * No bounce is ever answered. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/roles.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/bounce_rules.h"
#include "mail/bounce_todo.h"
#include "mail/parse_client.h"
#include "mail/report_content.h"
#include "mail/suppress_request.h"

#include "bouncerd/bounce.h"
#include "bouncerd/bouncerd.h"
#include "bouncerd/history.h"
#include "bouncerd/identity.h"
#include "bouncerd/list.h"

#define TRIES 2            /* of reading one that ends the parse role */
#define RECENT 8192        /* power of two: bounces remembered, so that one said again is told from another */
#define NOTE_MAX SUPPRESS_NOTE_MAX

struct bouncer {
	struct report_role *r;
	struct parse_client *parser;
	struct report_job *job; /* being worked on */
	/* What the parse role read, while our own log is asked about it, or the list cannot be written. */
	struct parse_answer answer;
	bool is_asking;
	uint32_t question;
	unsigned n_asked, n_silent;
	struct timer patience, again;
	struct envid asked;
	struct history known; /* of `asked` */
	struct envid recent[RECENT];
	unsigned n_recent;
};

static const char *const wanted[] = { TOKEN_HEADER };
static const struct enhanced_code later = { 4, 3, 0 }, done = { 2, 0, 0 }, none = { 0, 0, 0 };

/* All of its recipients that have no result yet. */
static void
finish(struct bouncer *b, enum ql_outcome outcome, uint16_t code, struct enhanced_code enhanced, const char *text)
{
	struct report_job *job = b->job;

	b->job = NULL;
	report_job_end(b->r, job, outcome, code, enhanced, text);
}

/* Whether one about the same envelope was there before. */
static bool
is_again(const struct bouncer *b, const struct envid *env)
{
	unsigned i;

	for (i = 0; i < b->n_recent && i < RECENT; i++)
		if (envid_cmp(&b->recent[i], env) == 0)
			return true;
	return false;
}

static void
remember(struct bouncer *b, const struct envid *env)
{
	b->recent[b->n_recent++ % RECENT] = *env;
	if (b->n_recent == 2 * RECENT)
		b->n_recent = RECENT;
}

/* ---- what it means ---- */

static const struct bounce_cause *
cause_of_kind(enum dsn_kind kind)
{
	return kind == DSN_KIND_AUTO_REPLY ? bounce_cause_find("auto_reply") : bounce_cause_find("unclassified");
}

struct meaning {
	struct bounce_reply reply;
	struct bounce_verdict verdict;
	bool has_verdict;
	const struct bounce_cause *cause;
	char *text;
};

/* buf of m->text holds what reply points to. */
static void
find_meaning(const struct bouncer *b, enum dsn_kind kind, const struct dsn_report_rcpt *rcpt, struct meaning *m)
{
	const char *said = rcpt == NULL || rcpt->diagnostic == NULL ? "" : rcpt->diagnostic;
	struct enhanced_code status;

	memset(m, 0, sizeof(*m));
	m->cause = cause_of_kind(kind);
	m->text = xmalloc(strlen(said) + 1);
	bounce_reply_parse(said, strlen(said), m->text, &m->reply);
	if (rcpt != NULL && enhanced_parse(rcpt->status, strlen(rcpt->status), &status) > 0 &&
	    m->reply.status.class == 0)
		m->reply.status = status;
	if (m->reply.code == 0 && m->reply.status.class != 0)
		m->reply.code = m->reply.status.class == 5 ? 550 : m->reply.status.class == 4 ? 451 : 250;
	if (kind != DSN_KIND_FAILED && kind != DSN_KIND_DELAYED)
		return;
	if (b->r->bounce_rules != NULL) {
		bounce_classify(b->r->bounce_rules, &m->reply, &m->verdict);
		m->has_verdict = true;
		m->cause = m->verdict.cause;
	}
}

/* ---- what follows from it ---- */

/* The scope's name, or NULL: nobody is suppressed. -1 in *rc_r and a sentence: not now. */
static const char *
suppress(struct bouncer *b, const struct identity *id, const struct meaning *m, int *rc_r, const char **why_r)
{
	const struct bounce_todo *todo = m->verdict.todo;
	int64_t now = loop_wall(b->r->loop);
	struct suppress_request req = { .reason = SUPPRESS_HARD_BOUNCE, .origin = SUPPRESS_BY_BOUNCE_MAIL,
		.event = id->env.msg, .when = now };
	char note[NOTE_MAX], class[64], cause[64], address[ADDRESS_MAX], *value;
	const char *sender = id->sender == NULL ? "" : address_domain(id->sender);

	*rc_r = 0;
	if (address_parse(id->recipient, true, address) == -1)
		return NULL;
	req.scope = todo->scope == SUPPRESS_TENANT && id->tenant == NULL ? SUPPRESS_SENDER_DOMAIN : todo->scope;
	value = req.scope == SUPPRESS_TENANT ? id->tenant : NULL;
	req.scope_value = xstrdup(value != NULL ? value : sender);
	if (req.scope == SUPPRESS_GLOBAL) {
		free(req.scope_value);
		req.scope_value = NULL;
	}
	(void)snprintf(note, sizeof(note), "%s", m->reply.text);
	(void)snprintf(class, sizeof(class), "%s", m->cause->class);
	(void)snprintf(cause, sizeof(cause), "%s", m->cause->name);
	/* Never the domain, whatever is done after replies: it is one recipient's word about all his neighbours. */
	req.address = xstrdup(address);
	req.note = note[0] != '\0' ? note : NULL;
	req.class = class;
	req.cause = cause;
	req.expires = todo->keep > 0 ? now + todo->keep : 0;
	req.threshold = todo->threshold;
	req.within = todo->within;
	req.spread = todo->spread;
	if (suppress_request_check(&req) == NULL)
		*rc_r = list_request(((struct bouncerd *)b->r->own)->list, &req, now, why_r);
	else
		*rc_r = 1;
	free(req.address);
	free(req.scope_value);
	return *rc_r == 0 ? suppress_scope_names[req.scope] : NULL;
}

/* ---- the record ---- */

struct finding {
	const struct dsn_report *report;
	const struct dsn_report_rcpt *rcpt; /* NULL: the report names none */
	const struct identity *id;
	const struct meaning *meaning;
	const char *recipient, *recipient_by, *suppressed;
	bool is_duplicate;
};

static const char *
trimmed(const char *s)
{
	return s == NULL ? "" : s;
}

static void
write_event(struct bouncer *b, const struct report_item *it, const struct finding *f)
{
	const struct ql_job *q = &b->job->q;
	const struct bounce_cause *c = f->meaning->cause;
	struct event_bounce bounce = { .cause = c->name, .kind = bounce_kind_names[c->kind],
		.scope = bounce_scope_names[c->scope], .action = bounce_action_names[c->action] };
	struct event_oob oob = { .kind = dsn_kind_name(f->rcpt != NULL ? f->rcpt->action : f->report->kind),
		.shape = f->report->shape, .proof = f->id->proof, .why = f->id->why,
		.is_trusted = identity_is_good(f->id), .is_duplicate = f->is_duplicate,
		.message = f->id->proof == NULL ? NULL : &f->id->env.msg, .recipient_by = f->recipient_by,
		.reported = f->rcpt == NULL ? NULL : f->rcpt->address, .remote_mta = f->rcpt == NULL ? NULL :
		f->rcpt->remote_mta, .reporting_mta = f->report->reporting_mta, .suppressed = f->suppressed };
	struct event_record rec = { .type = EV_OOB, .id = &q->rec.id, .sender = f->id->sender != NULL ? f->id->sender :
		q->sender, .recipient = trimmed(f->recipient), .queue = q->queue,
		.domain = f->recipient == NULL ? NULL : address_domain(f->recipient), .tenant = f->id->tenant,
		.campaign = f->id->campaign, .size = q->rec.body_len + q->rec.headers_len,
		.code = f->meaning->reply.code, .enhanced = f->meaning->reply.status,
		.content = f->meaning->reply.text, .peer_name = oob.reporting_mta,
		.created = q->received, .num_attempts = it->rcpt->attempts, .bounce_classification = c->class,
		.meta = f->id->meta, .n_meta = f->id->n_meta, .reception_protocol = "ESMTP", .session = q->session,
		.message_id = f->report->message_id, .bounce = &bounce, .oob = &oob };

	oob.to = it->rcpt->address;
	eventlog_write(b->r->events, &rec);
}

/* One recipient of the report. False: the suppression list cannot be written now; nothing was recorded. */
static bool
take_one(struct bouncer *b, const struct report_item *it, const struct dsn_report *report,
    const struct dsn_report_rcpt *rcpt, const struct identity *id, bool is_duplicate, const char **why_r)
{
	struct finding f = { .report = report, .rcpt = rcpt, .id = id, .is_duplicate = is_duplicate };
	enum dsn_kind kind = rcpt != NULL ? rcpt->action : report->kind;
	struct meaning m;
	int rc = 0;

	find_meaning(b, kind, rcpt, &m);
	f.meaning = &m;
	f.recipient = id->recipient != NULL ? id->recipient : rcpt == NULL ? NULL : rcpt->address;
	f.recipient_by = f.recipient == NULL ? NULL : id->recipient != NULL ? id->proof : "report";
	if (identity_is_good(id) && id->recipient != NULL && !is_duplicate && kind == DSN_KIND_FAILED &&
	    m.has_verdict && bounce_may_suppress(&m.verdict, m.verdict.todo))
		f.suppressed = suppress(b, id, &m, &rc, why_r);
	if (rc != -1)
		write_event(b, it, &f);
	free(m.text);
	return rc != -1;
}

/* Which of the report's is the one that is proven: the one of that address, else the first that failed. */
static const struct dsn_report_rcpt *
proven_rcpt(const struct dsn_report *report, const struct identity *id)
{
	const struct dsn_report_rcpt *first = report->n_rcpts > 0 ? &report->rcpts[0] : NULL;
	unsigned i;

	for (i = 0; i < report->n_rcpts; i++) {
		if (id->recipient != NULL && report->rcpts[i].address != NULL &&
		    strcasecmp(report->rcpts[i].address, id->recipient) == 0)
			return &report->rcpts[i];
		if (first->action != DSN_KIND_FAILED && report->rcpts[i].action == DSN_KIND_FAILED)
			first = &report->rcpts[i];
	}
	return first;
}

/* A proof says which envelope it was. Who that was to may be hidden, and who wrote it is in no proof. */
static bool
lacks_something(const struct identity *id)
{
	return id->proof != NULL && id->env.rcpt != TOKEN_MANY && (id->recipient == NULL || id->sender == NULL);
}

/* The log says the rest. */
static void
use_history(struct bouncer *b, struct identity *id)
{
	struct history *h = &b->known;

	if (!lacks_something(id) || h->recipient == NULL || envid_cmp(&b->asked, &id->env) != 0)
		return;
	if (id->recipient == NULL) {
		id->recipient = h->recipient;
		h->recipient = NULL;
	}
	id->sender = h->sender;
	h->sender = NULL;
	if (id->meta == NULL) {
		id->meta = h->meta;
		id->n_meta = h->n_meta;
		h->meta = NULL;
		h->n_meta = 0;
	}
	if (id->tenant == NULL && h->tenant != NULL)
		id->tenant = xstrdup(h->tenant);
	if (id->campaign == NULL && h->campaign != NULL)
		id->campaign = xstrdup(h->campaign);
}

static bool
take(struct bouncer *b, const struct report_item *it, const struct dsn_report *report, const char **why_r)
{
	struct identity id;
	bool ok = true, is_failure, is_duplicate, is_one;
	unsigned i;

	identity_find(&id, it->rcpt->address, report, job_link_keys(b->r->link), loop_wall(b->r->loop),
	    b->r->params->verp_lifetime);
	use_history(b, &id);
	is_one = id.proof != NULL && id.env.rcpt != TOKEN_MANY;
	/* The same envelope can bounce once; a transaction, once for each of its recipients. */
	is_failure = is_one && identity_is_good(&id) && report->kind == DSN_KIND_FAILED;
	is_duplicate = is_failure && is_again(b, &id.env);
	if (is_one || report->n_rcpts == 0)
		ok = take_one(b, it, report, proven_rcpt(report, &id), &id, is_duplicate, why_r);
	for (i = 0; !is_one && i < report->n_rcpts; i++)
		(void)take_one(b, it, report, &report->rcpts[i], &id, is_duplicate, why_r);
	/* Not one that will be taken again because the list could not be written. */
	if (ok && is_failure && !is_duplicate)
		remember(b, &id.env);
	identity_clear(&id);
	return ok;
}

/* It came by a return path of ours, from the null sender: a bounce, even if nobody knows its form. */
static bool
is_bounce(const struct bouncer *b, const struct report_item *it, const struct dsn_report *report)
{
	struct identity id;
	bool is_ours;

	if (report->kind != DSN_KIND_NONE)
		return true;
	if (b->job->q.sender[0] != '\0')
		return false;
	identity_find(&id, it->rcpt->address, report, job_link_keys(b->r->link), loop_wall(b->r->loop),
	    b->r->params->verp_lifetime);
	is_ours = id.proof != NULL && strcmp(id.proof, "verp") == 0;
	identity_clear(&id);
	return is_ours;
}

/* False: the list cannot be written now, and what is still open is to be tried again. */
static bool
take_all(struct bouncer *b, const struct dsn_report *report)
{
	struct report_job *job = b->job;
	unsigned i, n = job->n_items, left = job->n_open;
	const char *why = "the suppression list cannot be written";

	for (i = 0; i < n && left > 0; i++) {
		struct report_item *it = &job->items[i];
		enum ql_outcome outcome;

		if (!it->is_open)
			continue;
		outcome = is_bounce(b, it, report) ? QL_DELIVERED : QL_PASSED;
		if (outcome == QL_DELIVERED && !take(b, it, report, &why)) {
			log_error("a bounce waits: %s", why);
			return false;
		}
		if (--left == 0) /* the job goes with its last item */
			b->job = NULL;
		report_result(b->r, it, outcome, 250, done, outcome == QL_PASSED ? "no bounce" : "bounce taken");
	}
	return true;
}

/* ---- reading it ---- */

/* The second time it is set aside, and said so: it stays in the queue, for somebody to look at, until it expires. */
static void
broke(struct bouncer *b, const char *why)
{
	static const struct dsn_report nothing = { .kind = DSN_KIND_NONE, .shape = "unreadable" };
	struct report_item *it = report_job_first(b->job);
	unsigned tries = it->rcpt->attempts + 1u;
	char *text = xasprintf("it could not be read: %s", why);
	struct identity id = { .why = text };
	struct meaning m = { .cause = cause_of_kind(DSN_KIND_NONE), .reply = { .text = text } };

	log_error("a bounce could not be read (try %u): %s", tries, why);
	if (tries == TRIES)
		write_event(b, it, &(struct finding){ .report = &nothing, .id = &id, .meaning = &m });
	finish(b, QL_FAILED, 451, later, text);
	free(text);
}

/* ---- our own log ---- */

#define PATIENCE_MS 5000 /* queued is busy, or gone */
#define SILENT_MAX 6     /* times that it is asked and says nothing */
#define LATE_MS 60000    /* the record may be in the file of the next hour */
#define AGAIN_MS 10000   /* after a failure to write the list, which is no fault of the bounce */

static bool
needs_history(struct bouncer *b, const struct dsn_report *report)
{
	struct identity id;
	bool needs;

	identity_find(&id, report_job_first(b->job)->rcpt->address, report, job_link_keys(b->r->link),
	    loop_wall(b->r->loop), b->r->params->verp_lifetime);
	needs = lacks_something(&id) && (id.recipient == NULL || report->kind == DSN_KIND_FAILED);
	b->asked = id.env;
	identity_clear(&id);
	return needs;
}

static void
ask_history(struct bouncer *b, int64_t later_ms)
{
	struct ipc *ipc = job_link_conn(b->r->link);
	struct wbuf w;

	b->is_asking = true;
	b->n_asked = later_ms == 0 ? 1 : b->n_asked + 1;
	timer_set(&b->patience, PATIENCE_MS);
	if (ipc == NULL)
		return; /* again when patience ends: without queued the bounce cannot be done with anyway */
	wbuf_init(&w);
	ql_u64_encode((uint64_t)(msgid_time(&b->asked.msg) + later_ms), &w);
	ipc_send(ipc, QL_LOG_WANT, ++b->question, &w, -1);
	wbuf_clear(&w);
}

static void
go_on(struct bouncer *b)
{
	b->is_asking = false;
	timer_cancel(&b->patience);
	if (take_all(b, &b->answer.dsn)) {
		parse_answer_clear(&b->answer);
		memset(&b->answer, 0, sizeof(b->answer));
	} else {
		timer_set(&b->again, AGAIN_MS);
	}
	history_clear(&b->known);
}

/* With an answer of the parse role. */
static void
begin(void *arg)
{
	struct bouncer *b = arg;

	if (needs_history(b, &b->answer.dsn))
		ask_history(b, 0);
	else
		go_on(b);
}

static void
on_patience(void *arg)
{
	struct bouncer *b = arg;

	if (job_link_conn(b->r->link) == NULL || ++b->n_silent < SILENT_MAX)
		ask_history(b, 0);
	else
		go_on(b);
}

static void
on_log(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct bouncer *b = ((struct bouncerd *)((struct report_role *)job_link_arg(arg))->own)->bouncer;

	(void)ipc;
	if (!b->is_asking || m->id != b->question)
		return;
	if ((m->fd != -1 && history_find(m->fd, &b->asked, &b->known)) || b->n_asked > 1)
		go_on(b);
	else
		ask_history(b, LATE_MS);
}

const struct ipc_rule bounce_rules_of_link[] = {
	{ QL_LOG_HERE, true, 0, "LOG_HERE", on_log },
	{ QL_LOG_NONE, false, 0, "LOG_NONE", on_log },
};
const size_t bounce_n_rules = sizeof(bounce_rules_of_link) / sizeof(bounce_rules_of_link[0]);

static void
on_parsed(enum parse_outcome outcome, struct parse_answer *answer, const char *why, void *arg)
{
	struct bouncer *b = arg;

	if (outcome == PARSE_AWAY)
		finish(b, QL_RETURNED, 0, none, why);
	else if (outcome == PARSE_BROKE)
		broke(b, why);
	else {
		b->answer = *answer;
		memset(answer, 0, sizeof(*answer));
		b->n_silent = 0;
		begin(b);
	}
}

void
bounce_work(struct report_role *r, struct report_job *job)
{
	struct bouncer *b = ((struct bouncerd *)r->own)->bouncer;
	struct parse_ask ask = { .kinds = PARSE_DSN, .mail_from = job->q.sender, .wanted = wanted, .n_wanted = 1 };
	const char *err = "its record cannot be read";
	size_t len = 0;
	char *content;

	b->job = job;
	if (report_job_first(job)->rcpt->attempts >= TRIES) {
		finish(b, QL_FAILED, 451, later, "set aside: the process that reads reports failed on it twice");
		return;
	}
	if ((content = report_content_read(job->seg->fd, &job->q.rec, &len, &err)) == NULL) {
		log_error("segment %llu offset %llu: %s", (unsigned long long)job->q.rec.segment,
		    (unsigned long long)job->q.rec.offset, err);
		finish(b, QL_FAILED, 451, later, err);
		return;
	}
	ask.content = (struct slice){ content, len };
	if (parse_client_ask(b->parser, &ask, on_parsed, b) == NULL)
		finish(b, QL_FAILED, 451, later, "too many reports at a time");
	free(content);
}

void
bounce_parser(struct report_role *r, int fd)
{
	parse_client_set_peer(((struct bouncerd *)r->own)->bouncer->parser, fd);
}

static void
on_overrun(void *arg)
{
	struct bouncer *b = arg;

	if (b->r->roles != NULL)
		role_link_replace_partner(b->r->roles);
}

struct bouncer *
bouncer_new(struct report_role *r)
{
	struct bouncer *b = xcalloc(1, sizeof(*b));

	b->r = r;
	timer_init(&b->patience, r->loop, on_patience, b);
	timer_init(&b->again, r->loop, begin, b);
	b->parser = parse_client_new(r->loop, on_overrun, b);
	return b;
}

void
bouncer_free(struct bouncer **bp)
{
	struct bouncer *b = *bp;

	*bp = NULL;
	if (b == NULL)
		return;
	timer_cancel(&b->patience);
	timer_cancel(&b->again);
	parse_answer_clear(&b->answer);
	history_clear(&b->known);
	parse_client_free(&b->parser);
	free(b);
}
