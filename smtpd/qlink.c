/* Link to queued (worker role). The peer is our own daemon; its frames are validated all the same. While it is away
 * nothing is queued for it here: notices of received mail may be lost (it scans the segments that we name again), and
 * segments that end meanwhile are closed, which releases the lock that tells queued so. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/xalloc.h"

#include "mail/policy_errors.h"
#include "mail/queue_client.h"

#include "smtpd/qlink.h"

struct qlink {
	struct ipc_client *client;
	struct policy_errors_report *errors;
	struct eventlog *events;
	struct spool *spool;
	const struct qlink_ops *ops;
	void *arg;
	char *name;
	uint32_t flow; /* as said last */
	struct token_signer token;
	struct wbuf out; /* scratch for frames */
};

static void
on_welcome(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = arg;

	(void)queue_client_welcome(ipc, m, q->events, &q->token);
}

static void
on_logfd(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = arg;

	queue_client_logfd(ipc, m, q->events);
}

static void
on_grant(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = arg;
	uint64_t segment, limit;
	uint8_t kind;

	if (ql_seg_decode(&m->body, &segment, &kind, &limit) == -1) {
		ipc_reject(ipc, "malformed grant");
		return;
	}
	spool_grant(q->spool, segment, kind, limit, m->fd);
	m->fd = -1;
	q->ops->granted(q->arg);
}

static void
on_stop(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = arg;
	uint64_t segment, unused;
	uint8_t kind;

	if (ql_seg_decode(&m->body, &segment, &kind, &unused) == -1) {
		ipc_reject(ipc, "malformed stop");
		return;
	}
	log_info("queued takes segment %016llx back", (unsigned long long)segment);
	spool_stop(q->spool, segment);
}

static void
set_flow(struct qlink *q, uint32_t flow)
{
	if (q->flow == flow)
		return;
	q->flow = flow;
	spool_set_room(q->spool, (flow & QL_FLOW_REFUSE) != 0 ? SPOOL_REFUSE :
	    (flow & QL_FLOW_NO_SEGMENTS) != 0 ? SPOOL_NO_SEGMENTS : SPOOL_ROOM);
	q->ops->flow((flow & QL_FLOW_HOLD) != 0, q->arg);
}

static void
on_flow(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = arg;
	uint32_t flow;

	if (ql_u32_decode(&m->body, &flow) == -1 || flow > QL_FLOW_ALL) {
		ipc_reject(ipc, "malformed flow");
		return;
	}
	if (q->flow != flow)
		log_info("queued says: %s", (flow & QL_FLOW_REFUSE) != 0 ? "refuse new mail" :
		    (flow & QL_FLOW_HOLD) != 0 ? "hold back new mail" :
		    (flow & QL_FLOW_NO_SEGMENTS) != 0 ? "no space for more segments" : "go on with new mail");
	set_flow(q, flow);
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct qlink *q = arg;

	(void)ipc;
	log_warn("queued is away (%s); going on with the segments at hand", why);
	/* What held us back is gone with it. */
	set_flow(q, 0);
}

static const struct ipc_rule rules[] = {
	{ QL_WELCOME, false, QL_MAX_SMALL, "welcome", on_welcome },
	{ QL_LOGFD, true, QL_MAX_SMALL, "logfd", on_logfd },
	{ QL_SEG_GRANT, true, QL_MAX_SMALL, "seg-grant", on_grant },
	{ QL_SEG_STOP, false, QL_MAX_SMALL, "seg-stop", on_stop },
	{ QL_FLOW, false, QL_MAX_SMALL, "flow", on_flow }
};
static const struct ipc_ops link_ops = { rules, sizeof rules / sizeof rules[0], on_gone };

static void
send_seg(struct qlink *q, uint16_t type, uint64_t segment, uint8_t kind, uint64_t value)
{
	struct ipc *ipc = ipc_client_conn(q->client);

	if (ipc == NULL)
		return;
	wbuf_reset(&q->out);
	ql_seg_encode(segment, kind, value, &q->out);
	ipc_send(ipc, type, 0, &q->out, -1);
}

static void
send_held(uint64_t segment, uint8_t kind, uint64_t end, void *arg)
{
	send_seg(arg, QL_SEG_HELD, segment, kind, end);
}

static void
on_up(struct ipc *ipc, void *arg)
{
	struct qlink *q = arg;
	struct ql_hello hello = { .proto = QL_PROTO, .role = QL_ROLE_PRODUCER, .name = q->name, .pid =
	    (uint32_t)getpid() };

	log_debug("connected to queued");
	wbuf_reset(&q->out);
	ql_hello_encode(&hello, &q->out);
	ipc_send(ipc, QL_HELLO, 0, &q->out, -1);
	spool_relink(q->spool, send_held, q);
}

static bool
send_errors(const struct wbuf *body, void *arg)
{
	struct qlink *q = arg;
	struct ipc *ipc = ipc_client_conn(q->client);

	if (ipc != NULL)
		ipc_send(ipc, QL_POLICY_ERRORS, 0, body, -1);
	return ipc != NULL;
}

struct qlink *
qlink_new(struct loop *loop, const char *run_directory, const char *name, struct eventlog *events,
    struct spool *spool, const struct qlink_ops *ops, void *arg)
{
	struct qlink *q = xcalloc(1, sizeof *q);
	char *path = xasprintf("%s/%s", run_directory, QL_SOCKET);

	q->events = events;
	q->spool = spool;
	q->ops = ops;
	q->arg = arg;
	q->name = xstrdup(name);
	wbuf_init(&q->out);
	q->client = ipc_client_new(loop, path, &link_ops, on_up, q);
	q->errors = policy_errors_report_new(loop, send_errors, q);
	free(path);
	return q;
}

void
qlink_free(struct qlink **qp)
{
	struct qlink *q = *qp;

	if (q == NULL)
		return;
	policy_errors_report_free(&q->errors);
	ipc_client_free(&q->client);
	wbuf_clear(&q->out);
	token_signer_clear(&q->token);
	free(q->name);
	free(q);
	*qp = NULL;
}

const struct token_signer *
qlink_token(const struct qlink *q)
{
	return token_signer_is_set(&q->token) ? &q->token : NULL;
}

void
qlink_want(struct qlink *q, uint8_t kind)
{
	send_seg(q, QL_SEG_WANT, 0, kind, 0);
}

void
qlink_done(struct qlink *q, uint64_t segment, uint64_t end)
{
	send_seg(q, QL_SEG_DONE, segment, 0, end);
}

void
qlink_received(struct qlink *q, const struct record *rec, const struct wbuf *envelope)
{
	struct ipc *ipc = ipc_client_conn(q->client);

	if (ipc == NULL)
		return;
	wbuf_reset(&q->out);
	ql_received_encode(rec, envelope, &q->out);
	ipc_send(ipc, QL_RECEIVED, 0, &q->out, -1);
}
