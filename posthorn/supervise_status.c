/* What the supervisor knows, as JSON rows for `posthorn status`. Memory is that of the daemon and of the roles it
 * started, as /proc shows it, without what maps files: pages of the index are the kernel's cache, and go when others
 * need the room. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/xalloc.h"
#include "mail/queue_link.h"

#include "supervise.h"

#define TREE_DEPTH 3
#define TREE_MAX 256 /* processes */

static size_t
proc_read(pid_t pid, const char *what, char *buf, size_t size)
{
	char path[96];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) == -1)
		return 0;
	n = read(fd, buf, size - 1);
	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

/* Resident bytes of its own (not of files) of a process and of its descendants. */
static int64_t
proc_tree_memory(pid_t pid, unsigned depth, unsigned *budget)
{
	char buf[8192], what[64], *at = buf;
	long resident = 0, shared = 0;
	int64_t total;

	if (depth == 0 || *budget == 0 || proc_read(pid, "statm", buf, sizeof(buf)) == 0)
		return 0;
	--*budget;
	/* "size resident shared ...", in pages; what is shared is of files */
	for (unsigned i = 0; i < 3; i++) {
		long n = strtol(at, &at, 10);

		resident = i == 1 ? n : resident;
		shared = i == 2 ? n : shared;
	}
	total = (int64_t)(resident - shared) * sysconf(_SC_PAGESIZE);
	snprintf(what, sizeof(what), "task/%d/children", (int)pid);
	if (proc_read(pid, what, buf, sizeof(buf)) > 0) {
		for (char *save = NULL, *word = strtok_r(buf, " \n", &save); word != NULL; word = strtok_r(NULL, " \n",
		    &save))
			total += proc_tree_memory((pid_t)strtol(word, NULL, 10), depth - 1, budget);
	}
	return total;
}

static void
status_send(struct ipc *ipc, uint32_t id, struct json *j)
{
	struct wbuf body;
	char *text = xmemdup0(j->out.p, j->out.len);

	wbuf_init(&body);
	ql_str_encode(text, &body);
	ipc_send(ipc, QL_ADMIN_DATA, id, &body, -1);
	wbuf_clear(&body);
	free(text);
}

static void
json_hex64(struct json *j, const char *key, uint64_t v)
{
	char text[17];

	snprintf(text, sizeof(text), "%016jx", (uintmax_t)v);
	json_str(j, key, text);
}

static void
status_supervisor(const struct supervisor *sup, struct json *j)
{
	static const char *const phases[] = { "starting", "serving", "stopping" };

	json_obj(j, NULL);
	json_str(j, "kind", "supervisor");
	json_int(j, "pid", getpid());
	json_str(j, "version", POSTHORN_VERSION);
	json_str(j, "state", phases[sup->phase]);
	json_str(j, "config_directory", sup->config_dir);
	json_time(j, "started", sup->started_wall);
	json_int(j, "uptime_ms", loop_wall(sup->loop) - sup->started_wall);
	json_bool(j, "separate_users", suite_has_users());
	if (sup->image != NULL) {
		json_int(j, "generation", sup->image->number);
		json_hex64(j, "digest", sup->image->digest);
		json_time(j, "generation_since", sup->in_force_since);
		json_int(j, "generation_ms_ago", loop_wall(sup->loop) - sup->in_force_since);
		json_str(j, "generation_by", sup->in_force_by);
	}
	if (sup->disk_errors > 0) {
		json_int(j, "disk_errors", sup->disk_errors);
		json_time(j, "disk_errors_since", sup->disk_errors_since);
		json_int(j, "disk_errors_ms_ago", loop_wall(sup->loop) - sup->disk_errors_since);
	}
	json_arr(j, "listen");
	for (size_t i = 0; i < sup->sockets.n; i++) {
		json_obj(j, NULL);
		json_str(j, "name", sup->sockets.v[i].name);
		json_str(j, "address", sup->sockets.v[i].text);
		json_obj_end(j);
	}
	json_arr_end(j);
	json_obj_end(j);
}

static void
status_daemon(const struct sup_daemon *d, struct json *j)
{
	unsigned budget = TREE_MAX;

	json_obj(j, NULL);
	json_str(j, "kind", "daemon");
	json_str(j, "name", d->name);
	json_str(j, "state", sup_state_names[d->state]);
	json_int(j, "restarts", d->restarts);
	json_int(j, "generation", d->generation);
	if (d->pid > 0) {
		json_int(j, "pid", d->pid);
		json_int(j, "uptime_ms", loop_now(d->sup->loop) - d->started);
		json_int(j, "memory", proc_tree_memory(d->pid, TREE_DEPTH, &budget));
	}
	if (d->last_exit != NULL) {
		json_str(j, "last_exit", d->last_exit);
		json_time(j, "last_exit_time", d->last_exit_wall);
		json_int(j, "last_exit_ms_ago", loop_wall(d->sup->loop) - d->last_exit_wall);
	}
	json_obj_end(j);
}

void
sup_status(struct supervisor *sup, struct ipc *ipc, uint32_t id)
{
	const struct sup_daemon *d;
	struct json j;

	json_init(&j);
	status_supervisor(sup, &j);
	status_send(ipc, id, &j);
	TAILQ_FOREACH(d, &sup->daemons, entry) {
		json_reset(&j);
		status_daemon(d, &j);
		status_send(ipc, id, &j);
	}
	json_clear(&j);
}
