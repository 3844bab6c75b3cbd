/* The check role: a process for what strangers' bytes are most likely to break, libopendkim and libopendmarc above all.
 * It has one socket, to its worker, that gives it content and asks name servers for it; it can open nothing and reach
 * nobody. If it dies, the checks that were under way are answered with temperror by the worker, and it is started
 * again. The worker may have been broken into: what it says is validated, and bounded. */
#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>
#include <stdlib.h>
#include <string.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/roles.h"
#include "base/sandbox.h"
#include "base/xalloc.h"
#include "mail/orgdomain.h"

#include "smtpd/check_job.h"
#include "smtpd/checkd.h"
#include "smtpd/users.h"

#define WATCHDOG_SECONDS 30
#define WATCHDOG_CPU_SECONDS 5
#define JOBS_MAX 512 /* twice what a worker has at a time: those that were dropped may cross */

TAILQ_HEAD(job_list, job);

struct job {
	RB_ENTRY(job) entry;
	TAILQ_ENTRY(job) in_list;
	struct checkd *d;
	uint32_t id;
	bool is_done;
	struct check_job *check;
};

static int
job_cmp(struct job *a, struct job *b)
{
	return a->id < b->id ? -1 : a->id > b->id;
}

RB_HEAD(job_tree, job);
RB_GENERATE_INTERNAL(job_tree, job, entry, job_cmp, __attribute__((unused)) static)

struct checkd {
	struct loop *loop;
	struct check_dkim_library *library;
	struct ipc *worker;
	struct job_tree jobs;
	unsigned n_jobs;
	struct job_list live, done; /* each is in one; those that are done are freed by `reap` */
	struct timer reap;
	struct role_link *link;
};

static void
job_free(struct job *j)
{
	RB_REMOVE(job_tree, &j->d->jobs, j);
	TAILQ_REMOVE(j->is_done ? &j->d->done : &j->d->live, j, in_list);
	j->d->n_jobs--;
	check_job_free(&j->check);
	free(j);
}

static struct job *
job_find(struct checkd *d, uint32_t id)
{
	struct job probe = { .id = id };

	return RB_FIND(job_tree, &d->jobs, &probe);
}

static void
send_to_worker(struct job *j, uint16_t type, struct wbuf *w)
{
	if (j->d->worker != NULL)
		ipc_send(j->d->worker, type, j->id, w, -1);
	wbuf_clear(w);
}

static void
job_ask(const struct check_question *q, void *arg)
{
	struct wbuf w;

	wbuf_init(&w);
	check_question_encode(q, &w);
	send_to_worker(arg, CHECK_QUESTION, &w);
}

static void
job_done(const struct auth_results *r, void *arg)
{
	struct job *j = arg;
	struct wbuf w;

	wbuf_init(&w);
	check_result_encode(r, &w);
	send_to_worker(j, CHECK_RESULT, &w);
	j->is_done = true;
	TAILQ_REMOVE(&j->d->live, j, in_list);
	TAILQ_INSERT_TAIL(&j->d->done, j, in_list);
	timer_set(&j->d->reap, 0);
}

static const struct check_job_ops job_ops = { job_ask, job_done };

/* Not while their own functions run. */
static void
on_reap(void *arg)
{
	struct checkd *d = arg;
	struct job *j;

	while ((j = TAILQ_FIRST(&d->done)) != NULL)
		job_free(j);
}

static void
on_begin(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct checkd *d = arg;
	struct check_begin b;
	struct job *j;

	if (check_begin_decode(&m->body, &b) == -1) {
		ipc_reject(ipc, "malformed question");
		return;
	}
	if (d->n_jobs >= JOBS_MAX || job_find(d, m->id) != NULL) {
		ipc_reject(ipc, "too many questions, or one twice");
		check_begin_clear(&b);
		return;
	}
	j = xcalloc(1, sizeof *j);
	j->d = d;
	j->id = m->id;
	RB_INSERT(job_tree, &d->jobs, j);
	TAILQ_INSERT_TAIL(&d->live, j, in_list);
	d->n_jobs++;
	j->check = check_job_new(d->loop, d->library, &b, &job_ops, j);
	check_begin_clear(&b);
	check_job_start(j->check);
}

static void
on_data(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct job *j = job_find(arg, m->id);
	size_t n = rbuf_left(&m->body);
	struct wbuf w;

	/* One that is over: the result is on its way. */
	if (j == NULL || j->is_done)
		return;
	if (check_job_data(j->check, m->body.p + m->body.pos, n) == -1) {
		ipc_reject(ipc, "more content than announced");
		return;
	}
	if (j->is_done)
		return;
	wbuf_init(&w);
	wbuf_u32(&w, (uint32_t)n);
	send_to_worker(j, CHECK_TAKEN, &w);
}

static void
on_drop(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct job *j = job_find(arg, m->id);

	(void)ipc;
	if (j != NULL)
		job_free(j);
}

static void
on_reply(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct job *j = job_find(arg, m->id);
	struct dns_reply reply;
	uint32_t number;

	if (check_reply_decode(&m->body, &number, &reply) == -1) {
		ipc_reject(ipc, "malformed answer");
		return;
	}
	if (j != NULL)
		check_job_reply(j->check, number, &reply);
	dns_reply_clear(&reply);
}

static void
forget_all(struct checkd *d)
{
	struct job *j;

	while ((j = TAILQ_FIRST(&d->live)) != NULL || (j = TAILQ_FIRST(&d->done)) != NULL)
		job_free(j);
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct checkd *d = arg;

	log_info("worker is gone: %s", why);
	if (d->worker == ipc) {
		d->worker = NULL;
		forget_all(d);
	}
}

static const struct ipc_rule rules[] = {
	{ CHECK_BEGIN, false, CHECK_BEGIN_MAX, "begin", on_begin },
	{ CHECK_DATA, false, CHECK_DATA_MAX, "data", on_data },
	{ CHECK_DROP, false, 0, "drop", on_drop },
	{ CHECK_REPLY, false, CHECK_REPLY_MAX, "reply", on_reply }
};
static const struct ipc_ops ops = { rules, sizeof rules / sizeof rules[0], on_gone };

struct checkd *
checkd_new(struct loop *loop)
{
	struct checkd *d = xcalloc(1, sizeof *d);

	d->loop = loop;
	RB_INIT(&d->jobs);
	TAILQ_INIT(&d->live);
	TAILQ_INIT(&d->done);
	timer_init(&d->reap, loop, on_reap, d);
	if ((d->library = check_dkim_library_new()) == NULL)
		checkd_free(&d);
	return d;
}

void
checkd_set_worker(struct checkd *d, int fd)
{
	if (d->worker != NULL)
		ipc_close(&d->worker);
	forget_all(d);
	d->worker = ipc_new(d->loop, fd, &ops, d);
}

void
checkd_free(struct checkd **dp)
{
	struct checkd *d = *dp;

	if (d == NULL)
		return;
	forget_all(d);
	timer_cancel(&d->reap);
	if (d->worker != NULL)
		ipc_close(&d->worker);
	check_dkim_library_free(&d->library);
	free(d);
	*dp = NULL;
}

static void
on_partner(int fd, void *arg)
{
	checkd_set_worker(arg, fd);
}

static void
on_word(enum role_word word, void *arg)
{
	struct checkd *d = arg;

	/* A draining worker still takes mail; the parent stops us when that one is gone. */
	if (word == ROLE_STOP)
		loop_stop(d->loop);
}

int
checkd_main(const struct params *p)
{
	struct loop *loop = loop_new();
	struct checkd *d = checkd_new(loop);

	if (d == NULL)
		fatal("libopendkim cannot be used");
	orgdomain_load();
	d->link = role_link_new(loop, on_word, NULL, d);
	role_link_on_other(d->link, PLACE_CHECK, on_partner);
	sandbox_enter(&(struct sandbox){
		.role = "smtpd/check", .user = SMTPD_USER, .mode = (enum sandbox_mode)p->sandbox, .allow = 0,
		.max_fds = 16, .max_memory = 1u << 30
	});
	loop_watchdog(loop, WATCHDOG_SECONDS);
	loop_watchdog_cpu(loop, WATCHDOG_CPU_SECONDS);
	role_link_ready(d->link);
	loop_run(loop);
	role_link_free(&d->link);
	checkd_free(&d);
	orgdomain_unload();
	loop_free(&loop);
	return 0;
}
