/* Results and Delivery events (result.h), in the net process. The text of a reply is a stranger's; reply.h has made
 * it harmless. */
#include <string.h>

#include "deliverd/conn.h"
#include "deliverd/qlink.h"
#include "deliverd/result.h"

static struct enhanced_code
status_code(const char *status)
{
	struct enhanced_code e = { 0, 0, 0 };

	(void)enhanced_parse(status, strlen(status), &e);
	return e;
}

struct outcome
outcome_local(enum phase phase, uint16_t code, const char *status, const char *text)
{
	return (struct outcome){ .kind = QL_FAILED, .phase = phase, .is_local = true, .code = code,
		.enhanced = status_code(status), .text = text };
}

struct outcome
outcome_returned(const char *text, uint32_t retry_after)
{
	return (struct outcome){ .kind = QL_RETURNED, .phase = PHASE_NONE, .is_local = true, .code = 451,
		.enhanced = { 4, 3, 2 }, .text = text, .retry_after = retry_after };
}

/* The frame's struct owns its strings when decoded; an encoder only reads them. */
static char *
lend(const char *s)
{
	return (char *)(uintptr_t)s;
}

static uint32_t
span(int64_t from, int64_t to)
{
	return to > from ? (uint32_t)(to - from < UINT32_MAX ? to - from : UINT32_MAX) : 0;
}

static void
fill_timing(struct net *net, const struct item *it, const struct conn *c, struct ql_timing *t)
{
	int64_t now = loop_now(net->loop), wall = loop_wall(net->loop);

	memset(t, 0, sizeof(*t));
	t->dns = it->job->dns_ms;
	t->queue = span(it->job->q.received, wall);
	if (c == NULL)
		return;
	if (c->n_tx == 0) {
		t->connect = c->connect_ms;
		t->tls = c->tls_ms;
	}
	if (c->step > STEP_IDLE) {
		t->transfer = span(c->tx.started, now);
		t->queue = span(it->job->q.received, wall - t->transfer);
	}
}

static void
fill_conn(struct ql_result *r, const struct conn *c)
{
	const struct mx_host *h = conn_host(c);

	r->session = lend(c->session);
	r->source_address = c->source_text[0] != '\0' ? lend(c->source_text) : NULL;
	r->peer_name = h != NULL ? lend(h->name) : NULL;
	r->peer_addr = c->peer_addr[0] != '\0' ? lend(c->peer_addr) : NULL;
	r->tls_version = lend(c->tls_version);
	r->tls_cipher = lend(c->tls_cipher);
	r->tls_verified = lend(c->tls_verified);
	r->tls_policy = lend(c->need.policy);
}

static void
write_delivery(struct net *net, const struct item *it, const struct ql_result *r)
{
	const struct ql_job *q = &it->job->q;
	struct event_record ev = {
		.type = EV_DELIVERY, .id = &q->rec.id, .sender = q->sender, .recipient = it->rcpt->address,
		.queue = q->queue, .domain = q->domain, .tenant = q->tenant, .campaign = q->campaign, .site = r->site,
		.size = q->rec.headers_len + q->rec.body_len, .code = r->code, .enhanced = r->enhanced, .content =
		    r->text,
		.command = r->command, .peer_name = r->peer_name, .peer_addr = r->peer_addr, .created = q->received,
		.num_attempts = it->rcpt->attempts, .egress_pool = net->pool_name, .egress_source = r->source,
		.source_address = r->source_address, .provider = r->provider, .meta = q->meta,
		    .n_meta = q->n_meta, .delivery_protocol = "ESMTP",
		.tls_version = r->tls_version, .tls_cipher = r->tls_cipher, .tls_verified = r->tls_verified,
		.tls_policy = r->tls_policy,
		.session = r->session,
		.message_id = q->message_id, .auth_user = q->auth_user, .phase = r->phase, .timing = &r->timing,
	};

	eventlog_write(net->events, &ev);
}

void
item_finish(struct net *net, struct item *it, const struct outcome *o, const struct path *path, const struct conn *c)
{
	struct ql_result r = {
		.env = it->env, .outcome = (uint8_t)o->kind, .phase = (uint8_t)o->phase, .is_local = o->is_local,
		.code = o->code, .enhanced = o->enhanced, .text = lend(o->text), .command = lend(o->command),
		.retry_after = o->retry_after,
	};

	if (path != NULL) {
		r.site = path->name;
		r.source = path->source->name;
		r.provider = path->config.provider_name;
	}
	if (c != NULL)
		fill_conn(&r, c);
	if (o->kind == QL_RETURNED && (path != NULL || it->state == ITEM_READY))
		path_unselect(path != NULL ? (struct path *)(uintptr_t)path : it->path, it);
	fill_timing(net, it, c, &r.timing);
	if (o->kind == QL_DELIVERED) {
		/* RFC 3461 section 5.2.2: the peer was given NOTIFY, and the duty with it. */
		r.dsn_passed = c != NULL && (c->caps & CAP_DSN) && it->rcpt->notify != NOTIFY_DEFAULT;
		write_delivery(net, it, &r);
	}
	qlink_result(net->queue, &r);
	item_release(net, it);
}
