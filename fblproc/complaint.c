/* One message at a time that may be a complaint (complaint.h), in the main role. The request to suppress is in queued's
 * index before the message is done with: whatever is restarted, nothing is lost, and what is done twice is the same
 * as once.
 *
 * A message that the parse role could not read twice is not read again: it stays in the queue under that reason until
 * it expires, for somebody to look at. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/roles.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/parse_client.h"
#include "mail/parse_role.h"
#include "mail/report_content.h"
#include "mail/suppress_request.h"

#include "fblproc/complaint.h"
#include "fblproc/finding.h"

#define TRIES 2
#define RECENT 8192 /* complaints remembered, so that one said again is told from another */

struct fblproc {
	struct report_role *r;
	struct parse_client *parser;
	struct report_job *job;  /* being worked on */
	struct wbuf request;     /* QL_SUPPRESS that queued has not confirmed; empty: none */
	uint64_t number;         /* of it */
	uint64_t recent[RECENT]; /* a ring of hashes */
	size_t n_recent;
};

static const struct enhanced_code later = { 4, 3, 0 }, done = { 2, 0, 0 };

/* The same for every recipient: it is one report, whatever addresses it was sent to. */
static void
finish(struct fblproc *f, enum ql_outcome outcome, uint16_t code, struct enhanced_code enhanced, const char *text)
{
	struct report_job *job = f->job;

	f->job = NULL;
	report_job_end(f->r, job, outcome, code, enhanced, text);
}

/* ---- the record ---- */

static void
write_event(struct fblproc *f, const struct event_feedback *ev)
{
	const struct ql_job *q = &f->job->q;
	const struct report_item *it = report_job_first(f->job);
	struct event_record rec = { .type = EV_FEEDBACK, .id = &q->rec.id, .sender = q->sender,
		.recipient = it->rcpt->address, .queue = q->queue, .size = q->rec.body_len + q->rec.headers_len,
		.code = 250, .enhanced = done, .content = ev->why == NULL ? "complaint taken" : ev->why,
		.created = q->received, .num_attempts = it->rcpt->attempts, .meta = q->meta,
		.n_meta = q->n_meta, .delivery_protocol = "ARF", .reception_protocol = "ESMTP", .session = q->session,
		.is_local = true, .feedback = ev };

	rec.message_id = ev->report->message_id;
	for (uint32_t i = 0; i < ev->n_trace; i++) {
		if (strcmp(ev->trace[i].key, "tenant") == 0)
			rec.tenant = ev->trace[i].value;
		else if (strcmp(ev->trace[i].key, "campaign") == 0)
			rec.campaign = ev->trace[i].value;
	}
	rec.domain = ev->recipient == NULL ? NULL : address_domain(ev->recipient);
	eventlog_write(f->r->events, &rec);
}

/* ---- what follows from it ---- */

/* FNV-1a over message, recipient index, recipient, and what follows: "not spam" about a message is not the complaint
 * about it. */
static uint64_t
hash_of(const struct finding *g, uint8_t reason)
{
	uint64_t h = 0xcbf29ce484222325;

	for (unsigned i = 0; i < MSGID_LEN; i++)
		h = (h ^ g->trace.env.msg.b[i]) * 0x100000001b3;
	h = (h ^ g->trace.env.rcpt) * 0x100000001b3;
	h = (h ^ reason) * 0x100000001b3;
	for (const char *p = g->recipient == NULL ? "" : g->recipient; *p != '\0'; p++)
		h = (h ^ (uint64_t)tolower((unsigned char)*p)) * 0x100000001b3;
	return h;
}

/* Whether it was there before; it is from now on. */
static bool
is_again(struct fblproc *f, uint64_t hash)
{
	for (size_t i = 0; i < f->n_recent && i < RECENT; i++)
		if (f->recent[i] == hash)
			return true;
	f->recent[f->n_recent++ % RECENT] = hash;
	return false;
}

/* What the types of RFC 5965, of 6591 and of the field say of the recipient's wish; 0: nothing. */
static uint8_t
reason_of(const char *type)
{
	static const struct {
		const char *type;
		uint8_t reason;
	} types[] = { { "abuse", SUPPRESS_COMPLAINT }, { "fraud", SUPPRESS_COMPLAINT },
		{ "opt-out", SUPPRESS_UNSUBSCRIBE }, { "opt-out-list", SUPPRESS_UNSUBSCRIBE } };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (type != NULL && strcmp(types[i].type, type) == 0)
			return types[i].reason;
	return 0;
}

/* By configuration; what the wanted scope would need and the complaint does not say makes it global. */
static uint8_t
scope_of(const struct params *p, const struct arf_report *report, const struct finding *g, const char **value_r)
{
	const char *domain = report->from == NULL ? "" : strrchr(report->from, '@');
	static char buf[ADDRESS_MAX];
	size_t n;

	*value_r = NULL;
	if (p->complaint_suppression == COMPLAINT_TENANT && g->tenant != NULL) {
		*value_r = g->tenant;
		return SUPPRESS_TENANT;
	}
	if (p->complaint_suppression != COMPLAINT_SENDER_DOMAIN || domain == NULL || *domain == '\0')
		return SUPPRESS_GLOBAL;
	n = strcspn(domain + 1, "> ");
	if (n == 0 || n >= sizeof(buf))
		return SUPPRESS_GLOBAL;
	memcpy(buf, domain + 1, n);
	buf[n] = '\0';
	*value_r = buf;
	return address_domain_valid(buf, true) ? SUPPRESS_SENDER_DOMAIN : SUPPRESS_GLOBAL;
}

static void
send_request(struct fblproc *f)
{
	struct ipc *ipc = f->r->link == NULL ? NULL : job_link_conn(f->r->link);

	if (ipc != NULL && f->request.len > 0)
		ipc_send(ipc, QL_SUPPRESS, 0, &f->request, -1);
}

/* The scope's name, or NULL and *why_r (may stay NULL): nobody is suppressed. */
static const char *
suppress(struct fblproc *f, const struct arf_report *report, const struct finding *g, const char **why_r)
{
	const struct params *p = f->r->params;
	int64_t now = loop_wall(f->r->loop);
	char address[ADDRESS_MAX], *note;
	struct suppress_request req = { .reason = reason_of(report->feedback_type), .origin = SUPPRESS_BY_REPORT,
		.event = g->trace.env.msg, .when = now, .address = address };
	const char *value;

	if (p->complaint_suppression == COMPLAINT_NONE || req.reason == 0)
		return NULL;
	if (g->recipient == NULL || address_parse(g->recipient, true, address) == -1) {
		*why_r = "whose complaint it is is not said";
		return NULL;
	}
	if (!g->is_recipient_sure) {
		*why_r = "whose complaint it is is said by the message that came back alone";
		return NULL;
	}
	req.scope = scope_of(p, report, g, &value);
	if (req.scope == SUPPRESS_GLOBAL)
		value = NULL;
	req.scope_value = value == NULL ? NULL : xstrdup(value);
	req.expires = p->complaint_suppression_time == 0 ? 0 : now + p->complaint_suppression_time;
	note = xasprintf("%s reported by %s", report->feedback_type, g->source);
	req.note = note;
	if ((*why_r = suppress_request_check(&req)) == NULL) {
		wbuf_reset(&f->request);
		ql_suppress_encode(++f->number, &req, &f->request);
	}
	free(note);
	free(req.scope_value);
	return *why_r == NULL ? suppress_scope_names[req.scope] : NULL;
}

static void
on_suppressed(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct fblproc *f = ((struct report_role *)job_link_arg(arg))->own;
	uint64_t number;

	if (ql_u64_decode(&m->body, &number) == -1) {
		ipc_reject(ipc, "malformed SUPPRESSED");
		return;
	}
	if (f->request.len == 0 || number != f->number)
		return; /* said twice, because queued came back */
	wbuf_reset(&f->request);
	finish(f, QL_DELIVERED, 250, done, "complaint taken");
}

const struct ipc_rule complaint_rules[] = {
	{ QL_SUPPRESSED, false, QL_MAX_SMALL, "SUPPRESSED", on_suppressed },
};
const size_t n_complaint_rules = sizeof(complaint_rules) / sizeof(complaint_rules[0]);

void
complaint_up(struct report_role *r)
{
	send_request(r->own);
}

/* ---- what it is ---- */

static const char *
meta_of(const struct ql_job *q, const char *key)
{
	for (uint32_t i = 0; i < q->n_meta; i++)
		if (strcmp(q->meta[i].key, key) == 0)
			return q->meta[i].value;
	return NULL;
}

static void
take(struct fblproc *f, const struct arf_report *report)
{
	const struct ql_job *q = &f->job->q;
	const struct ql_keys *keys = job_link_keys(f->r->link);
	const char *err = NULL;
	struct envelope *env = record_read_envelope(f->job->seg->fd, &q->rec, &err);
	struct finding_input in = { report, f->r->policy, env == NULL ? NULL : env->client,
		meta_of(q, "auth_dkim_domains"), keys->v, keys->n, loop_wall(f->r->loop),
		f->r->params->feedback_max_age };
	struct finding g;
	struct event_feedback ev;

	finding_make(&g, &in);
	ev = (struct event_feedback){ .report = report, .trace = g.trace.meta, .n_trace = g.trace.n_meta,
		.source = g.source, .source_by = g.source_by, .proof = g.proof, .is_trusted = g.is_trusted,
		.why = g.why, .message = g.proof == NULL ? NULL : &g.trace.env.msg, .recipient = g.recipient,
		.recipient_by = g.recipient_by };
	if (g.is_trusted && is_again(f, hash_of(&g, reason_of(report->feedback_type)))) {
		ev.is_duplicate = true;
		ev.why = "it was reported before";
	} else if (g.is_trusted)
		ev.suppressed = suppress(f, report, &g, &ev.why);
	write_event(f, &ev);
	finding_clear(&g);
	envelope_free(&env);
	if (f->request.len > 0)
		send_request(f); /* the answer ends it */
	else
		finish(f, QL_DELIVERED, 250, done, "complaint taken");
}

/* The second time it is set aside, and said so. */
static void
broke(struct fblproc *f, const char *why)
{
	static const struct arf_report nothing = { .shape = "none" };
	char *text = xasprintf("it could not be read: %s", why);
	unsigned tries = report_job_first(f->job)->rcpt->attempts + 1u;

	log_error("a report could not be read (try %u): %s", tries, why);
	if (tries >= TRIES)
		write_event(f, &(struct event_feedback){ .report = &nothing, .why = text });
	finish(f, QL_FAILED, 451, later, text);
	free(text);
}

static void
on_parsed(enum parse_outcome outcome, struct parse_answer *answer, const char *why, void *arg)
{
	struct fblproc *f = arg;

	if (outcome == PARSE_AWAY)
		finish(f, QL_RETURNED, 0, (struct enhanced_code){ 0, 0, 0 }, why);
	else if (outcome == PARSE_BROKE)
		broke(f, why);
	else if (!answer->arf.is_report)
		finish(f, QL_PASSED, 250, done, "not a complaint");
	else
		take(f, &answer->arf);
}

/* ---- reading it ---- */

void
complaint_work(struct report_role *r, struct report_job *job)
{
	struct fblproc *f = r->own;
	struct parse_ask ask = { .kinds = PARSE_ARF, .mail_from = job->q.sender, .wanted = finding_wanted,
		.n_wanted = FINDING_WANTED };
	const char *err = "its record cannot be read";
	size_t len = 0;
	char *content;

	f->job = job;
	if (report_job_first(job)->rcpt->attempts >= TRIES) {
		finish(f, QL_FAILED, 451, later, "set aside: the process that reads reports failed on it twice");
		return;
	}
	if ((content = report_content_read(job->seg->fd, &job->q.rec, &len, &err)) == NULL) {
		log_error("segment %llu offset %llu: %s", (unsigned long long)job->q.rec.segment,
		    (unsigned long long)job->q.rec.offset, err);
		finish(f, QL_FAILED, 451, later, err);
		return;
	}
	ask.content = (struct slice){ content, len };
	if (parse_client_ask(f->parser, &ask, on_parsed, f) == NULL)
		finish(f, QL_FAILED, 451, later, "too many reports at a time");
	free(content);
}

/* ---- the role ---- */

static void
on_overrun(void *arg)
{
	struct fblproc *f = arg;

	if (f->r->roles != NULL)
		role_link_replace_partner(f->r->roles);
}

void
complaint_start(struct report_role *r)
{
	struct fblproc *f = xcalloc(1, sizeof(*f));

	f->r = r;
	r->own = f;
	wbuf_init(&f->request);
	f->parser = parse_client_new(r->loop, on_overrun, f);
}

void
complaint_close(struct report_role *r)
{
	struct fblproc *f = r->own;

	if (f == NULL)
		return;
	r->own = NULL;
	parse_client_free(&f->parser);
	wbuf_clear(&f->request);
	free(f);
}

void
complaint_parser(struct report_role *r, int fd)
{
	struct fblproc *f = r->own;

	parse_client_set_peer(f->parser, fd);
}

int
complaint_parse_main(const struct params *p, const char *user)
{
	return parse_role_main(PARSE_ROLE, user, (enum sandbox_mode)p->sandbox);
}
