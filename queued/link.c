/* queued's socket. Anybody on the host may connect; the peer's user (SO_PEERCRED) decides whether the connection
 * lives at all and which role its HELLO may ask for. In single-user mode, our own uid may take any role. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/consumer.h"
#include "queued/keys.h"
#include "queued/link.h"
#include "queued/logfiles.h"
#include "queued/queued.h"
#include "queued/sched.h"
#include "queued/stage.h"

#define HELLO_MS 10000
#define SILENT_MAX 64 /* connections that have not said HELLO */
#define CLIENTS_MAX 512
#define SHARE_MAX(n) ((n) / 2) /* of either for one user, so that none locks the others out */
#define NAME_MAX_LEN 128
#define STRANGE_POOLS_MAX 64 /* pools that policy does not (or no longer) know */

struct clients *
clients_new(struct queued *q)
{
	struct clients *cs = xcalloc(1, sizeof(*cs));

	cs->q = q;
	TAILQ_INIT(&cs->all);
	wbuf_init(&cs->out);
	return cs;
}

static bool
is_admin(const struct queued *q, const struct client *cl)
{
	if (cl->cred.uid == 0 || cl->cred.uid == q->allowed.self)
		return true;
	return q->allowed.has_admin_gid &&
	    (cl->cred.gid == q->allowed.admin_gid || ipc_peer_in_group(cl->ipc, q->allowed.admin_gid));
}

/* Whose user it is that may be the consumer of that name; NULL: of any. */
static bool
is_consumer(const struct queued *q, uid_t uid, const char *name)
{
	bool is_any = name == NULL;

	if (uid == q->allowed.bouncerd && (is_any || strcmp(name, QL_BOUNCERD) == 0))
		return true;
	if (uid == q->allowed.fblproc && (is_any || strcmp(name, QL_FBLPROC) == 0))
		return true;
	return uid == q->allowed.consumer && (is_any || name[0] != '@');
}

/* name: of a consumer; NULL: any. */
static bool
role_is_allowed(const struct queued *q, const struct client *cl, uint8_t role, const char *name)
{
	bool is_trusted = cl->cred.uid == 0 || (!q->allowed.has_separate && cl->cred.uid == q->allowed.self);

	switch (role) {
	case QL_ROLE_PRODUCER:
		return is_trusted || (q->allowed.has_separate && cl->cred.uid == q->allowed.producer);
	case QL_ROLE_CONSUMER:
		return is_trusted || (q->allowed.has_separate && is_consumer(q, cl->cred.uid, name));
	case QL_ROLE_ADMIN:
		return is_admin(q, cl);
	default:
		return false;
	}
}

void
client_free(struct client **clp)
{
	struct client *cl = *clp;
	struct clients *cs = cl->q->clients;

	*clp = NULL;
	TAILQ_REMOVE(&cs->all, cl, next);
	cs->n--;
	if (cl->role == 0)
		cs->n_silent--;
	free(cl->name);
	free(cl);
}

static void
client_stop(struct client *cl)
{
	switch (cl->role) {
	case QL_ROLE_PRODUCER:
		producer_stop(cl);
		break;
	case QL_ROLE_CONSUMER:
		consumer_stop(cl);
		break;
	case QL_ROLE_ADMIN:
		admin_stop(cl);
		break;
	default:
		break;
	}
}

void
client_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct client *cl = arg;

	(void)ipc;
	if (cl->role == QL_ROLE_PRODUCER || cl->role == QL_ROLE_CONSUMER)
		log_info("%s disconnected: %s", cl->name, why);
	cl->ipc = NULL;
	client_stop(cl);
	client_free(&cl);
}

void
client_send_logfd(struct client *cl)
{
	struct wbuf *out = &cl->q->clients->out;
	const char *hour;
	int fd = logfiles_current(cl->q->logs, &hour);

	if (fd == -1)
		return;
	wbuf_reset(out);
	ql_str_encode(hour, out);
	ipc_send(cl->ipc, QL_LOGFD, 0, out, fd);
}

void
clients_send_logfd(struct clients *cs)
{
	struct client *cl;

	TAILQ_FOREACH(cl, &cs->all, next)
		if (cl->role == QL_ROLE_PRODUCER || cl->role == QL_ROLE_CONSUMER)
			client_send_logfd(cl);
}

void
clients_send_flow(struct clients *cs, uint32_t flow)
{
	struct client *cl;

	TAILQ_FOREACH(cl, &cs->all, next) {
		if (cl->role != QL_ROLE_PRODUCER)
			continue;
		wbuf_reset(&cs->out);
		ql_u32_encode(flow, &cs->out);
		ipc_send(cl->ipc, QL_FLOW, 0, &cs->out, -1);
	}
}

bool
clients_lack_segments(const struct clients *cs)
{
	const struct client *cl;

	TAILQ_FOREACH(cl, &cs->all, next)
		if (cl->wants[0] > 0 || cl->wants[1] > 0)
			return true;
	return false;
}

static void
client_welcome(struct client *cl)
{
	struct ql_welcome w;

	memset(&w, 0, sizeof(w));
	w.proto = QL_PROTO;
	keys_welcome(cl->q->keys, &w);
	wbuf_reset(&cl->q->clients->out);
	ql_welcome_encode(&w, &cl->q->clients->out);
	ipc_send(cl->ipc, QL_WELCOME, 0, &cl->q->clients->out, -1);
	explicit_bzero(&w, sizeof(w));
}

static void
client_send_keys(struct client *cl)
{
	struct wbuf *out = &cl->q->clients->out;
	struct ql_keys keys;

	keys_all(cl->q->keys, stage_is_name(cl->name), &keys);
	wbuf_reset(out);
	ql_keys_encode(&keys, out);
	ipc_send(cl->ipc, QL_KEYS, 0, out, -1);
	explicit_bzero(&keys, sizeof(keys));
}

void
clients_send_keys(struct clients *cs)
{
	struct client *cl;

	TAILQ_FOREACH(cl, &cs->all, next)
		if (cl->role == QL_ROLE_CONSUMER)
			client_send_keys(cl);
}

static void
client_start(struct client *cl)
{
	static const char *const role_names[] = { "", "producer", "consumer", "admin" };

	if (cl->role == QL_ROLE_ADMIN) {
		ipc_set_rules(cl->ipc, &admin_ops, cl);
		admin_start(cl);
		return;
	}
	log_debug("%s connected role=%s pid=%u", cl->name, role_names[cl->role], cl->pid);
	client_welcome(cl);
	client_send_logfd(cl);
	if (cl->role == QL_ROLE_PRODUCER) {
		ipc_set_rules(cl->ipc, &producer_ops, cl);
		producer_start(cl);
	} else {
		ipc_set_rules(cl->ipc, &consumer_ops, cl);
		if (stage_is_name(cl->name))
			client_send_keys(cl);
		consumer_start(cl);
	}
}

static bool
name_is_valid(const char *name)
{
	size_t i, len = strlen(name);

	if (len == 0 || len > NAME_MAX_LEN)
		return false;
	for (i = 0; i < len; i++)
		if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f)
			return false;
	return true;
}

/* A deliverd whose pool policy has dropped still has jobs to tell of; but names cost memory for good. */
static bool
pool_is_welcome(struct queued *q, const char *name)
{
	struct pool *p;

	HASH_FIND(hh, q->pools->all, name, strlen(name), p);
	if (*name == '@')
		return stage_is_name(name);
	return p != NULL || policy_pool_find(q->policy, name) != NULL ||
	    HASH_COUNT(q->pools->all) < policy_pool_count(q->policy) + STRANGE_POOLS_MAX;
}

static void
on_hello(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct client *cl = arg;
	struct ql_hello h;
	const char *why = NULL;

	if (ql_hello_decode(&m->body, &h) == -1) {
		ipc_reject(ipc, "malformed HELLO");
		return;
	}
	if (h.proto != QL_PROTO)
		why = "speaks another version of the protocol";
	else if (!role_is_allowed(cl->q, cl, h.role, h.name))
		why = "its user may not have that role";
	else if (h.role != QL_ROLE_ADMIN && !name_is_valid(h.name))
		why = "bad name in HELLO";
	else if (h.role == QL_ROLE_CONSUMER && !pool_is_welcome(cl->q, h.name))
		why = "there is no such pool";
	if (why == NULL) {
		cl->role = h.role;
		cl->q->clients->n_silent--;
		cl->name = xstrdup(h.name);
		cl->pid = (uint32_t)cl->cred.pid;
		cl->generation = h.generation;
		cl->digest = h.digest;
		client_start(cl);
	} else {
		ipc_reject(ipc, why);
	}
	ql_hello_clear(&h);
}

static const struct ipc_rule hello_rules[] = {
	{ QL_HELLO, false, QL_MAX_SMALL, "HELLO", on_hello },
};
static const struct ipc_ops hello_ops = { hello_rules, 1, client_gone };

/* Whether this client's user has more than his share. */
static bool
is_crowding(const struct clients *cs, const struct client *cl)
{
	const struct client *other;
	uint32_t n = 0, n_silent = 0;

	TAILQ_FOREACH(other, &cs->all, next)
		if (other->cred.uid == cl->cred.uid) {
			n++;
			n_silent += other->role == 0;
		}
	return n > SHARE_MAX(CLIENTS_MAX) || n_silent > SHARE_MAX(SILENT_MAX);
}

static void
on_accept(struct loop *loop, int fd, void *arg)
{
	struct clients *cs = arg;
	struct client *cl;

	if (cs->n >= CLIENTS_MAX || cs->n_silent >= SILENT_MAX) {
		close(fd);
		return;
	}
	cl = xcalloc(1, sizeof(*cl));
	cl->q = cs->q;
	cl->connected = loop_now(loop);
	TAILQ_INIT(&cl->segments);
	TAILQ_INSERT_TAIL(&cs->all, cl, next);
	cs->n++;
	cs->n_silent++;
	cl->ipc = ipc_new(loop, fd, &hello_ops, cl);
	if (ipc_cred(cl->ipc, &cl->cred) == -1 ||
	    !(role_is_allowed(cs->q, cl, QL_ROLE_PRODUCER, NULL) ||
	    role_is_allowed(cs->q, cl, QL_ROLE_CONSUMER, NULL) ||
	    is_admin(cs->q, cl))) {
		log_warn("connection refused uid=%ju pid=%jd", (uintmax_t)cl->cred.uid, (intmax_t)cl->cred.pid);
		ipc_close(&cl->ipc);
		client_free(&cl);
	} else if (is_crowding(cs, cl)) {
		ipc_close(&cl->ipc);
		client_free(&cl);
	}
}

void
clients_serve(struct clients *cs, int listen_fd)
{
	cs->server = ipc_server_new(cs->q->loop, listen_fd, on_accept, cs);
}

void
clients_second(struct clients *cs)
{
	struct client *cl, *next;

	TAILQ_FOREACH_SAFE(cl, &cs->all, next, next) {
		if (cl->role == 0 && loop_now(cs->q->loop) - cl->connected > HELLO_MS) {
			ipc_close(&cl->ipc);
			client_free(&cl);
		} else if (cl->role == QL_ROLE_PRODUCER) {
			producer_retry_wants(cl);
		}
	}
}

void
clients_free(struct clients **csp)
{
	struct clients *cs = *csp;
	struct client *cl, *following;

	if (cs == NULL)
		return;
	ipc_server_free(&cs->server);
	TAILQ_FOREACH_SAFE(cl, &cs->all, next, following) {
		client_stop(cl);
		ipc_close(&cl->ipc);
		client_free(&cl);
	}
	wbuf_clear(&cs->out);
	free(cs);
	*csp = NULL;
}
