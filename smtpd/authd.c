/* The auth role: holds the password hashes and answers its worker's questions. It has one socket to its worker and
 * nothing else; one crypt(3) is computed per turn of the loop, so that answers from the cache overtake slow ones, and
 * the queue is bounded: what does not fit is answered "busy" (454 to the client). Names and passwords are a
 * stranger's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <bsd/sys/queue.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/roles.h"
#include "base/sandbox.h"
#include "base/xalloc.h"

#include "smtpd/auth_link.h"
#include "smtpd/authd.h"
#include "smtpd/users.h"

#define QUEUE_MAX 64
#define ANSWER_WITHIN_MS 20000 /* older questions have lost their client */

struct job {
	TAILQ_ENTRY(job) entry;
	uint32_t id;
	int64_t asked;
	struct auth_ask ask;
};

struct authd {
	struct loop *loop;
	struct checker *checker;
	struct ipc *worker;
	TAILQ_HEAD(, job) jobs;
	size_t n_jobs;
};

static void
job_free(struct authd *a, struct job *j)
{
	TAILQ_REMOVE(&a->jobs, j, entry);
	a->n_jobs--;
	auth_ask_clear(&j->ask);
	free(j);
}

static void
answer(struct authd *a, uint32_t id, enum auth_status status, const struct passwd_entry *e)
{
	struct auth_answer ans = { .status = (uint8_t)status };
	struct wbuf w;

	if (e != NULL)
		ans.user = e->user; /* borrowed for the encoding */
	wbuf_init(&w);
	auth_answer_encode(&ans, &w);
	ipc_send(a->worker, AUTH_ANSWER, id, &w, -1);
	wbuf_clear(&w);
}

static void
on_ask(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct authd *a = arg;
	const struct passwd_entry *e;
	struct auth_ask ask;
	struct job *j;

	if (auth_ask_decode(&m->body, &ask) == -1) {
		ipc_reject(ipc, "malformed question");
		return;
	}
	if (ask.kind == AUTH_LOOKUP) {
		e = checker_lookup(a->checker, ask.name);
		answer(a, m->id, e != NULL ? AUTH_OK : AUTH_BAD, e);
	} else if ((e = checker_cached(a->checker, ask.name, ask.password, loop_now(a->loop))) != NULL) {
		answer(a, m->id, AUTH_OK, e);
	} else if (a->n_jobs >= QUEUE_MAX) {
		answer(a, m->id, AUTH_BUSY, NULL);
	} else {
		j = xcalloc(1, sizeof *j);
		j->id = m->id;
		j->asked = loop_now(a->loop);
		j->ask = ask;
		TAILQ_INSERT_TAIL(&a->jobs, j, entry);
		a->n_jobs++;
		loop_again(a->loop);
		return;
	}
	auth_ask_clear(&ask);
}

/* One slow check a turn (LOOP_COMMIT, so that the answer leaves in the same turn's LOOP_IPC). */
static void
work(void *arg)
{
	struct authd *a = arg;
	const struct passwd_entry *e;
	struct job *j = TAILQ_FIRST(&a->jobs);

	if (j == NULL)
		return;
	if (loop_now(a->loop) - j->asked > ANSWER_WITHIN_MS) {
		answer(a, j->id, AUTH_BUSY, NULL);
	} else {
		e = checker_cached(a->checker, j->ask.name, j->ask.password, loop_now(a->loop));
		if (e == NULL)
			e = checker_verify(a->checker, j->ask.name, j->ask.password, loop_now(a->loop));
		answer(a, j->id, e != NULL ? AUTH_OK : AUTH_BAD, e);
	}
	job_free(a, j);
	if (a->n_jobs > 0)
		loop_again(a->loop);
}

static void
forget_jobs(struct authd *a)
{
	struct job *j;

	while ((j = TAILQ_FIRST(&a->jobs)) != NULL)
		job_free(a, j);
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct authd *a = arg;

	log_info("worker is gone: %s", why);
	if (a->worker == ipc)
		a->worker = NULL;
	forget_jobs(a);
}

static const struct ipc_rule rules[] = {
	{ AUTH_ASK, false, AUTH_ASK_MAX, "ask", on_ask }
};
static const struct ipc_ops ops = { rules, sizeof rules / sizeof rules[0], on_gone };

struct authd *
authd_new(struct loop *loop, struct passwd_file *file)
{
	struct authd *a = xcalloc(1, sizeof *a);

	TAILQ_INIT(&a->jobs);
	a->loop = loop;
	a->checker = checker_new(file);
	loop_before_sleep(loop, LOOP_COMMIT, work, a);
	return a;
}

void
authd_set_worker(struct authd *a, int fd)
{
	if (a->worker != NULL)
		ipc_close(&a->worker);
	forget_jobs(a);
	a->worker = ipc_new(a->loop, fd, &ops, a);
}

/* At the end of the loop's life: its step refers to us. */
void
authd_free(struct authd **ap)
{
	struct authd *a = *ap;

	if (a == NULL)
		return;
	forget_jobs(a);
	if (a->worker != NULL)
		ipc_close(&a->worker);
	checker_free(&a->checker);
	free(a);
	*ap = NULL;
}

static void
on_partner(int fd, void *arg)
{
	authd_set_worker(arg, fd);
}

static void
on_word(enum role_word word, void *arg)
{
	struct authd *a = arg;

	/* A draining worker still needs its helper; the parent stops us when that one is gone. */
	if (word == ROLE_STOP)
		loop_stop(a->loop);
}

int
authd_main(const struct params *p, unsigned instance)
{
	struct loop *loop = loop_new();
	struct passwd_file *file = NULL;
	struct role_link *link;
	struct authd *a;

	if (p->passwd_file != NULL && *p->passwd_file != '\0' && (file = passwd_load(p->passwd_file)) == NULL &&
	    instance == 0 && p->submission_listen.n + p->submissions_listen.n > 0)
		log_warn("cannot read %s: %s: nobody can log in", p->passwd_file, strerror(errno));
	if (file == NULL)
		file = xcalloc(1, sizeof *file);
	log_debug("instance %u knows %zu users", instance, file->n);
	a = authd_new(loop, file);
	link = role_link_new(loop, on_word, on_partner, a);
	authd_set_worker(a, ROLE_PARTNER_FD);
	sandbox_enter(&(struct sandbox){
		.role = "smtpd/auth", .user = SMTPD_USER, .mode = (enum sandbox_mode)p->sandbox, .max_fds = 64,
		.max_memory = 1u << 30
	});
	loop_watchdog(loop, 30);
	role_link_ready(link);
	loop_run(loop);
	authd_free(&a);
	role_link_free(&link);
	loop_free(&loop);
	return 0;
}
