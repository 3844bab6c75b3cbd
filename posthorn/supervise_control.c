/* The supervisor's own socket, $run_directory/posthorn.sock: status, stop, reload, restart. Its clients are root, our
 * own user and the admin group (SO_PEERCRED, SO_PEERGROUPS); anybody else is dropped before a byte is read. Requests
 * are bounded in number and length; a client that waits for a daemon is answered when the wish has come true, has
 * failed, or took too long. */
#include <sys/stat.h>

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/queue_link.h"

#include "supervise.h"

#define CONTROL_NAME "posthorn.sock"
#define CLIENTS_MAX 64
#define RELOAD_LIMIT 30000 /* ms until a reload is answered with who does not follow */
#define WAIT_LIMIT 90000 /* ms until a wish for readiness is answered anyway */

enum client_wish { WISH_NONE, WISH_READY, WISH_STOPPED };

struct sup_client {
	TAILQ_ENTRY(sup_client) entry;
	struct supervisor *sup;
	struct ipc *ipc;
	enum client_wish wish;
	uint32_t id;       /* of the request */
	char *target;      /* a daemon's name, "deliverd" for all pools; NULL: all */
	char *sentence;    /* for the happy end */
	bool is_reload;    /* the daemons are also to run the generation in force */
	int64_t since;     /* only a start after this counts */
	struct timer timer;
};

static void
client_free(struct sup_client **cp)
{
	struct sup_client *c = *cp;

	timer_cancel(&c->timer);
	TAILQ_REMOVE(&c->sup->clients, c, entry);
	if (c->ipc != NULL)
		ipc_close(&c->ipc);
	free(c->target);
	free(c->sentence);
	free(c);
	*cp = NULL;
}

static void
client_answer(struct sup_client *c, uint8_t status, const char *sentence)
{
	struct wbuf body;

	wbuf_init(&body);
	ql_end_encode(status, sentence, &body);
	ipc_send(c->ipc, QL_ADMIN_END, c->id, &body, -1);
	wbuf_clear(&body);
	c->wish = WISH_NONE;
	timer_cancel(&c->timer);
}

static bool
client_is_about(const struct sup_client *c, const struct sup_daemon *d)
{
	return c->target == NULL || strcmp(c->target, d->name) == 0 ||
	    (strcmp(c->target, "deliverd") == 0 && d->kind == SUP_DELIVERD);
}

static void
client_on_limit(void *arg)
{
	struct sup_client *c = arg;
	char *text = NULL;

	if (c->is_reload && !sup_generation_reached(c->sup, &text))
		client_answer(c, 1, text);
	else
		client_answer(c, 1, "not ready yet; see `posthorn status'");
	free(text);
}

/* True if all that the client waits for are ready; answers it if one has died since. */
static void
client_poll(struct sup_client *c)
{
	const struct sup_daemon *d;
	bool is_ready = true;

	TAILQ_FOREACH(d, &c->sup->daemons, entry) {
		if (!client_is_about(c, d) || d->is_vanished)
			continue;
		if (!c->is_reload && d->state == SUP_WAITING && d->started >= c->since) {
			char *text = xasprintf("%s %s", d->name, d->last_exit);

			client_answer(c, 1, text);
			free(text);
			return;
		}
		is_ready = is_ready && d->state == SUP_READY && (c->target == NULL || d->started >= c->since);
	}
	if (is_ready && (!c->is_reload || sup_generation_reached(c->sup, NULL)))
		client_answer(c, 0, c->sentence != NULL ? c->sentence : "");
}

void
sup_control_poll(struct supervisor *sup)
{
	struct sup_client *c, *next;

	TAILQ_FOREACH_SAFE(c, &sup->clients, entry, next) {
		if (c->wish == WISH_READY)
			client_poll(c);
	}
}

static void
client_wait_ready(struct sup_client *c, char *sentence)
{
	c->wish = WISH_READY;
	free(c->sentence);
	c->sentence = sentence;
	timer_set(&c->timer, c->is_reload ? RELOAD_LIMIT : WAIT_LIMIT);
	client_poll(c);
}

static void
control_restart(struct sup_client *c, const char *name)
{
	struct sup_daemon *d;
	unsigned n = 0;

	free(c->target);
	c->target = xstrdup(name);
	c->is_reload = false;
	c->since = loop_now(c->sup->loop);
	TAILQ_FOREACH(d, &c->sup->daemons, entry) {
		if (!client_is_about(c, d) || d->is_vanished)
			continue;
		sup_daemon_stop(d, true);
		n++;
	}
	if (n == 0)
		client_answer(c, 1, "there is no such daemon; `posthorn status' lists them");
	else
		client_wait_ready(c, NULL);
}

static void
control_reload(struct sup_client *c)
{
	char *sentence = NULL;

	free(c->target);
	c->target = NULL;
	c->is_reload = true;
	c->since = loop_now(c->sup->loop);
	if (sup_reload(c->sup, "hand", &sentence)) {
		client_wait_ready(c, sentence);
	} else {
		client_answer(c, 1, sentence);
		free(sentence);
	}
}

static const char *
control_arg(const struct ql_admin *req, const char *key)
{
	for (uint32_t i = 0; i < req->n_args; i++) {
		if (strcmp(req->args[i].key, key) == 0)
			return req->args[i].value;
	}
	return NULL;
}

static void
control_do(struct sup_client *c, const struct ql_admin *req)
{
	bool is_serving = c->sup->phase == PHASE_SERVE;
	const char *daemon;

	if (strcmp(req->verb, "status") == 0) {
		sup_status(c->sup, c->ipc, c->id);
		client_answer(c, 0, "");
	} else if (strcmp(req->verb, "stop") == 0) {
		log_info("stopping: asked to");
		c->wish = WISH_STOPPED;
		sup_stop(c->sup, 0);
	} else if (strcmp(req->verb, "reload") == 0 || strcmp(req->verb, "restart") == 0) {
		daemon = control_arg(req, "daemon");
		if (!is_serving)
			client_answer(c, 1, c->sup->phase == PHASE_START ? "still starting" : "already stopping");
		else if (strcmp(req->verb, "reload") == 0)
			control_reload(c);
		else if (daemon == NULL)
			client_answer(c, 1, "restart what?");
		else
			control_restart(c, daemon);
	} else {
		client_answer(c, 1, "the supervisor does not know this request");
	}
}

static void
control_on_admin(struct ipc *ipc, struct ipc_msg *msg, void *arg)
{
	struct sup_client *c = arg;
	struct ql_admin req;

	if (ql_admin_decode(&msg->body, &req) == -1) {
		ipc_reject(ipc, "malformed request");
		return;
	}
	if (c->wish != WISH_NONE) {
		ipc_reject(ipc, "a second request before the answer to the first");
	} else {
		c->id = msg->id;
		control_do(c, &req);
	}
	ql_admin_clear(&req);
}

static void
control_on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct sup_client *c = arg;

	(void)ipc;
	log_debug("an admin client is gone: %s", why);
	c->ipc = NULL; /* ipc frees itself after this */
	client_free(&c);
}

static const struct ipc_rule control_rules[] = {
	{ QL_ADMIN, false, QL_MAX_SMALL, "ADMIN", control_on_admin },
};
static const struct ipc_ops control_ops = { control_rules, 1, control_on_gone };

static bool
control_may(const struct supervisor *sup, const struct ipc *ipc)
{
	struct ipc_cred cred;

	if (ipc_cred(ipc, &cred) == -1)
		return false;
	return cred.uid == 0 || cred.uid == geteuid() ||
	    (sup->has_admin_gid && (cred.gid == sup->admin_gid || ipc_peer_in_group(ipc, sup->admin_gid)));
}

static void
control_on_accept(struct loop *loop, int fd, void *arg)
{
	struct supervisor *sup = arg;
	struct sup_client *c, *it;
	unsigned n = 0;

	TAILQ_FOREACH(it, &sup->clients, entry)
		n++;
	if (n >= CLIENTS_MAX) {
		log_warn("too many admin clients");
		close(fd);
		return;
	}
	c = xcalloc(1, sizeof(*c));
	c->sup = sup;
	timer_init(&c->timer, loop, client_on_limit, c);
	TAILQ_INSERT_TAIL(&sup->clients, c, entry);
	c->ipc = ipc_new(loop, fd, &control_ops, c);
	if (!control_may(sup, c->ipc)) {
		log_warn("an admin client was refused: neither root, nor our user, nor in the admin group");
		client_free(&c);
	}
}

int
sup_control_open(struct supervisor *sup)
{
	const char *name = sup->params->admin_group;
	const struct group *gr = name != NULL && *name != '\0' ? getgrnam(name) : NULL;
	int fd;

	sup->has_admin_gid = gr != NULL;
	if (gr != NULL)
		sup->admin_gid = gr->gr_gid;
	sup->control_path = xasprintf("%s/" CONTROL_NAME, sup->params->run_directory);
	fd = ipc_listen(sup->control_path, gr != NULL ? 0660 : 0600);
	if (fd == -1) {
		log_error("%s: %s", sup->control_path, strerror(errno));
		return -1;
	}
	if (gr != NULL && geteuid() == 0 && chown(sup->control_path, 0, gr->gr_gid) == -1)
		log_warn("%s: %s", sup->control_path, strerror(errno));
	sup->control = ipc_server_new(sup->loop, fd, control_on_accept, sup);
	return 0;
}

void
sup_control_close(struct supervisor *sup)
{
	struct sup_client *c, *next;

	TAILQ_FOREACH_SAFE(c, &sup->clients, entry, next) {
		if (c->wish == WISH_STOPPED)
			client_answer(c, 0, "");
		client_free(&c); /* flushes what fits */
	}
	if (sup->control != NULL) {
		ipc_server_free(&sup->control);
		unlink(sup->control_path);
	}
	free(sup->control_path);
	sup->control_path = NULL;
}
