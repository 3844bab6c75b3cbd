/* The suppression list in bouncerd (list.h): opening it and its socket while privileged, requests of queued, expiry.
 * Requests come from our own daemons and are decoded and checked by mail/suppress_request; those of a turn are one
 * transaction, and are answered when it is durable. */
#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/job_link.h"

#include "bouncerd/bouncerd.h"
#include "bouncerd/list_private.h"

#define CLIENTS_MAX 32
#define SWEEP_MS 2000   /* between steps of looking for what has expired */
#define SWEEP_ROWS 5000 /* 10 million rows: once in an hour or so */
#define REQUESTS_MAX 2000
#define REST_MS 10000   /* after a failure to write */

/* Requests of this turn, for one transaction. */
struct list_requests {
	struct {
		struct job_link *link;
		uint64_t number;
		struct suppress_request r;
	} v[REQUESTS_MAX];
	unsigned n;
};

struct list *
list_open(const struct params *p, struct sandbox *box)
{
	char *path = xasprintf("%s/" QL_BOUNCERD_SOCKET, p->run_directory);
	struct list *l = xcalloc(1, sizeof(*l));
	const struct group *gr;

	TAILQ_INIT(&l->clients);
	wbuf_init(&l->out);
	json_init(&l->json);
	l->requests = xcalloc(1, sizeof(*l->requests));
	if ((l->store = suppress_store_open(p->queue_directory, &l->trouble)) == NULL)
		log_error("%s", l->trouble);
	if (p->admin_group != NULL && *p->admin_group != '\0' && (gr = getgrnam(p->admin_group)) != NULL) {
		l->admin_gid = gr->gr_gid;
		l->has_admin_gid = true;
	}
	if ((l->listen_fd = ipc_listen(path, 0666)) == -1)
		fatal("%s: %s", path, strerror(errno));
	free(path);
	box->allow |= SB_ACCEPT | SB_FSYNC | SB_FLOCK;
	return l;
}

static bool
is_admin(const struct list *l, const struct list_client *c)
{
	if (c->cred.uid == 0 || c->cred.uid == l->self)
		return true;
	return l->has_admin_gid && (c->cred.gid == l->admin_gid || ipc_peer_in_group(c->ipc, l->admin_gid));
}

static void
on_accept(struct loop *loop, int fd, void *arg)
{
	struct list *l = arg;
	struct list_client *c;

	if (l->n_clients >= CLIENTS_MAX) {
		close(fd);
		return;
	}
	c = xcalloc(1, sizeof(*c));
	c->list = l;
	TAILQ_INSERT_TAIL(&l->clients, c, next);
	l->n_clients++;
	c->ipc = ipc_new(loop, fd, &list_admin_ops, c);
	if (ipc_cred(c->ipc, &c->cred) == -1 || !is_admin(l, c)) {
		log_warn("connection refused uid=%ju pid=%jd", (uintmax_t)c->cred.uid, (intmax_t)c->cred.pid);
		ipc_close(&c->ipc);
		list_client_free(&c);
	}
}

static void
on_sweep(void *arg)
{
	struct list *l = arg;
	uint64_t removed = 0;

	timer_set(&l->sweep, SWEEP_MS);
	if (l->store == NULL)
		return;
	switch (suppress_store_sweep(l->store, &l->sweep_at, SWEEP_ROWS, loop_wall(l->loop), &removed)) {
	case 0:
		l->sweep_at.len = 0;
		break;
	case -1:
		log_warn("%s", suppress_store_error(l->store));
		break;
	default:
		break;
	}
	if (removed > 0)
		log_debug("%ju rows of the suppression list have expired", (uintmax_t)removed);
}

/* All requests of the turn, in one transaction. A request that makes no sense is told apart from a disk that is full.
 * */
static bool
write_requests(struct list *l, struct list_requests *q)
{
	const char *why;
	unsigned i;

	if (suppress_store_begin(l->store) == -1)
		return false;
	for (i = 0; i < q->n; i++) {
		if (suppress_store_request(l->store, &q->v[i].r, loop_wall(l->loop), &why) != SUPPRESS_FAILED)
			continue;
		if (why == NULL) {
			suppress_store_abort(l->store);
			return false;
		}
		log_warn("a request to suppress %s is dropped: %s", q->v[i].r.address, why);
	}
	return suppress_store_commit(l->store) == 0;
}

static void
requests_clear(struct list_requests *q)
{
	unsigned i;

	for (i = 0; i < q->n; i++)
		suppress_request_clear(&q->v[i].r);
	q->n = 0;
}

/* queued is there again, and says everything that was not answered: an answer to what it said before would be to
 * nothing that it asked, and what is kept of it would fill the room until the disk takes something again. */
void
list_up(struct list *l)
{
	requests_clear(l->requests);
}

/* What cannot be written now is kept, and tried again; queued keeps it too, until it is answered. */
static void
flush_requests(struct list *l)
{
	struct list_requests *q = l->requests;
	struct ipc *ipc;
	unsigned i;

	if (q->n == 0 || loop_now(l->loop) < l->rest_until)
		return;
	if (l->store == NULL || !write_requests(l, q)) {
		l->rest_until = loop_now(l->loop) + REST_MS;
		log_error("%u addresses are not suppressed yet: %s", q->n,
		    l->store != NULL ? suppress_store_error(l->store) : l->trouble);
		return;
	}
	for (i = 0; i < q->n; i++) {
		if ((ipc = job_link_conn(q->v[i].link)) == NULL)
			continue; /* queued says it again, which changes nothing */
		wbuf_reset(&l->out);
		ql_u64_encode(q->v[i].number, &l->out);
		ipc_send(ipc, QL_SUPPRESSED, 0, &l->out, -1);
	}
	requests_clear(q);
}

static void
on_suppress(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct job_link *link = arg;
	struct report_role *role = job_link_arg(link);
	struct list *l = ((struct bouncerd *)role->own)->list;
	struct list_requests *q = l->requests;

	if (q->n == REQUESTS_MAX)
		flush_requests(l);
	if (q->n == REQUESTS_MAX)
		return; /* queued says it again when it connects anew */
	if (ql_suppress_decode(&m->body, &q->v[q->n].number, &q->v[q->n].r) == -1) {
		ipc_reject(ipc, "malformed SUPPRESS");
		return;
	}
	q->v[q->n++].link = link;
	loop_again(l->loop);
}

const struct ipc_rule list_rules[] = {
	{ QL_SUPPRESS, false, QL_MAX_SUPPRESS, "SUPPRESS", on_suppress },
};
const size_t list_n_rules = sizeof(list_rules) / sizeof(list_rules[0]);

static void
on_turn(void *arg)
{
	struct list *l = arg;
	struct list_client *c, *following;

	flush_requests(l);
	TAILQ_FOREACH_SAFE(c, &l->clients, next, following)
		if (c->is_walking)
			list_walk_step(c);
}

void
list_start(struct list *l, struct loop *loop)
{
	l->loop = loop;
	l->self = getuid();
	l->server = ipc_server_new(loop, l->listen_fd, on_accept, l);
	l->listen_fd = -1;
	timer_init(&l->sweep, loop, on_sweep, l);
	timer_set(&l->sweep, SWEEP_MS);
	loop_before_sleep(loop, LOOP_COMMIT, on_turn, l);
}

int
list_request(struct list *l, const struct suppress_request *r, int64_t now, const char **why_r)
{
	const char *bad = NULL;

	*why_r = l->trouble;
	if (l->store == NULL)
		return -1;
	if (suppress_store_begin(l->store) == 0) {
		if (suppress_store_request(l->store, r, now, &bad) != SUPPRESS_FAILED || bad != NULL) {
			if (bad != NULL)
				log_warn("a request to suppress %s is dropped: %s", r->address, bad);
			if (suppress_store_commit(l->store) == 0)
				return 0;
		} else {
			suppress_store_abort(l->store);
		}
	}
	*why_r = suppress_store_error(l->store);
	return -1;
}

void
list_free(struct list **lp)
{
	struct list *l = *lp;
	struct list_client *c, *following;

	*lp = NULL;
	if (l == NULL)
		return;
	if (l->loop != NULL) {
		flush_requests(l);
		timer_cancel(&l->sweep);
	}
	ipc_server_free(&l->server);
	if (l->listen_fd > 0)
		close(l->listen_fd);
	TAILQ_FOREACH_SAFE(c, &l->clients, next, following) {
		ipc_close(&c->ipc);
		list_client_free(&c);
	}
	suppress_store_close(&l->store);
	wbuf_clear(&l->out);
	json_clear(&l->json);
	requests_clear(l->requests);
	free(l->requests);
	free(l->trouble);
	free(l);
}
