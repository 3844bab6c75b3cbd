/* The supervisor's two sockets, in one world of a queued and a deliverd that are made up: admin requests of a client
 * that sends anything, and readiness messages (sd_notify(3)). The daemons are not started: the functions of
 * supervise_daemon.c and supervise.c are stood in for, and count. A request has at most one answer; a daemon is ready
 * only by a line READY=1 of its own. Frame type 0x7e is a readiness message, 0x7d makes a daemon ready. */
#include <sys/un.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/queue_link.h"
#include "posthorn/supervise.h"
#include "t/fuzz/dir.h"
#include "t/fuzz/frames.h"
#include "t/fuzz/turn.h"

#define STEP_NOTIFY 0x7e
#define STEP_READY 0x7d
#define NOTIFY_TEXT_MAX 1024 /* what the supervisor reads of a message */

static struct {
	struct supervisor sup;
	struct params params;
	struct sup_daemon daemons[2];
	unsigned n_ready, n_ready_due, n_asked, n_answered;
	bool is_known; /* the sender of readiness messages is a daemon of ours */
	bool is_raw;
} x;

const char *const sup_state_names[] = { "stopped", "starting", "ready", "stopping", "waiting" };

void
sup_daemon_stop(struct sup_daemon *d, bool start_again)
{
	d->state = start_again ? SUP_STARTING : SUP_STOPPING;
	d->started = loop_now(x.sup.loop);
}

void
sup_stop(struct supervisor *sup, int exit_status)
{
	sup->phase = PHASE_STOP;
	sup->exit_status = exit_status;
}

bool
sup_reload(struct supervisor *sup, const char *by, char **sentence_r)
{
	(void)by;
	*sentence_r = xstrdup("reloaded");
	return TAILQ_FIRST(&sup->daemons)->state == SUP_READY;
}

bool
sup_generation_reached(const struct supervisor *sup, char **text_r)
{
	(void)sup;
	(void)text_r;
	return x.n_ready > 0;
}

void
sup_advance(struct supervisor *sup)
{
	sup_control_poll(sup);
}

struct sup_daemon *
sup_daemon_find(struct supervisor *sup, pid_t pid)
{
	(void)sup;
	FUZZ_ASSERT(pid == getpid());
	return x.is_known ? &x.daemons[0] : NULL;
}

void
sup_daemon_ready(struct sup_daemon *d)
{
	d->state = SUP_READY;
	x.n_ready++;
}

static void
world_open(void)
{
	static char queued[] = "queued", deliverd[] = "deliverd/pool-a", pool[] = "pool-a";
	static char died[] = "exited with status 1";
	static char group[] = "";
	int i;

	memset(&x, 0, sizeof(x));
	x.params.run_directory = xstrdup(fuzz_dir());
	x.params.admin_group = group;
	x.sup.loop = loop_new();
	x.sup.params = &x.params;
	x.sup.config_dir = "/etc/posthorn";
	x.sup.phase = PHASE_SERVE;
	TAILQ_INIT(&x.sup.daemons);
	TAILQ_INIT(&x.sup.clients);
	for (i = 0; i < 2; i++) {
		x.daemons[i].sup = &x.sup;
		x.daemons[i].kind = i == 0 ? SUP_QUEUED : SUP_DELIVERD;
		x.daemons[i].name = i == 0 ? queued : deliverd;
		x.daemons[i].pool = i == 0 ? NULL : pool;
		x.daemons[i].state = SUP_READY;
		x.daemons[i].last_exit = died;
		TAILQ_INSERT_TAIL(&x.sup.daemons, &x.daemons[i], entry);
	}
	FUZZ_ASSERT(sup_control_open(&x.sup) == 0 && sup_notify_open(&x.sup) == 0);
}

static void
world_close(void)
{
	sup_control_close(&x.sup);
	sup_notify_close(&x.sup);
	loop_free(&x.sup.loop);
	free(x.params.run_directory);
}

static int
connect_to(const char *name, int type)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	FUZZ_ASSERT(fd != -1 && snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%s", fuzz_dir(), name) <
	    (int)sizeof(sun.sun_path));
	FUZZ_ASSERT(connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	return fd;
}

/* Whether a line of the text says so, as sd_notify(3) describes it. */
static bool
says_ready(const uint8_t *p, size_t len)
{
	char text[NOTIFY_TEXT_MAX + 1], *line, *save = NULL;

	if (len > NOTIFY_TEXT_MAX)
		len = NOTIFY_TEXT_MAX;
	memcpy(text, p, len);
	text[len] = '\0';
	for (line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save))
		if (strcmp(line, "READY=1") == 0)
			return true;
	return false;
}

static void
notify(int sock, const struct fuzz_frame *f, int fd)
{
	x.is_known = (f->id & 1) != 0;
	if (fuzz_send(sock, f->body, f->len, &fd, f->has_fd ? 1 : 0) == f->len && f->len > 0 && x.is_known &&
	    says_ready(f->body, f->len))
		x.n_ready_due++;
	fuzz_turn(x.sup.loop);
	FUZZ_ASSERT(x.n_ready == x.n_ready_due);
}

static void
on_row(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	char *text;

	(void)ipc, (void)arg;
	FUZZ_ASSERT(ql_str_decode(&m->body, QL_MAX_ADMIN, &text) == 0);
	FUZZ_ASSERT(fuzz_is_clean(text) && text[0] == '{');
	free(text);
}

static void
on_end(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	uint8_t status;
	char *text;

	(void)ipc, (void)arg;
	FUZZ_ASSERT(ql_end_decode(&m->body, &status, &text) == 0 && status <= 1);
	x.n_answered++;
	FUZZ_ASSERT(x.is_raw || x.n_answered <= x.n_asked);
	free(text);
}

static const struct ipc_rule rules[] = {
	{ QL_ADMIN_DATA, false, QL_MAX_ADMIN, "DATA", on_row }, { QL_ADMIN_END, false, QL_MAX_SMALL, "END", on_end },
};

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct ipc **reader = arg;

	(void)ipc, (void)why;
	*reader = NULL;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ipc_ops ops = { rules, 2, on_gone };
	struct fuzz_in in = { data, size };
	struct fuzz_frame f;
	struct fuzz_fd fd = fuzz_fd_new();
	struct ipc *reader;
	int control, datagrams, ours;

	log_init("fuzz", LOG_LVL_ERROR);
	world_open();
	control = connect_to("posthorn.sock", SOCK_STREAM);
	datagrams = connect_to("notify.sock", SOCK_DGRAM);
	FUZZ_ASSERT((ours = dup(control)) != -1);
	reader = ipc_new(x.sup.loop, ours, &ops, &reader);
	fuzz_turn(x.sup.loop);
	while (fuzz_frame_next(&in, &f)) {
		if (f.type == STEP_NOTIFY) {
			notify(datagrams, &f, fd.writer);
		} else if (f.type == STEP_READY) {
			x.daemons[f.id & 1].state = (f.id & 2) != 0 ? SUP_WAITING : SUP_READY;
			sup_control_poll(&x.sup);
		} else {
			x.is_raw = x.is_raw || f.type == FUZZ_FRAME_RAW;
			x.n_asked += f.type == QL_ADMIN;
			fuzz_frame_send(control, &f, fd.writer);
		}
		fuzz_turn(x.sup.loop);
	}
	shutdown(control, SHUT_WR);
	fuzz_turn(x.sup.loop);
	fuzz_turn(x.sup.loop);
	ipc_close(&reader);
	close(control);
	close(datagrams);
	world_close();
	fuzz_fd_end(&fd);
	return 0;
}
