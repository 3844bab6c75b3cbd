/* The supervisor's parts (posthorn start). One struct supervisor per process, made in supervise.c and passed to all;
 * each daemon is a struct sup_daemon, whose state only supervise_daemon.c changes. */
#ifndef POSTHORN_SUPERVISE_H
#define POSTHORN_SUPERVISE_H

#include <sys/types.h>

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/ipc.h"
#include "base/loop.h"
#include "mail/config.h"
#include "mail/params.h"

#include "check.h"

/* Order of starting; stopping is the reverse. */
enum sup_kind { SUP_QUEUED, SUP_BOUNCERD, SUP_FBLPROC, SUP_DELIVERD, SUP_SMTPD, SUP_KINDS };

enum sup_state {
	SUP_DOWN,     /* not running, and nothing is planned */
	SUP_STARTING, /* running, has not said READY=1 */
	SUP_READY,
	SUP_STOPPING, /* was sent SIGTERM */
	SUP_WAITING   /* died; will be started again when the back-off is over */
};
extern const char *const sup_state_names[];

enum sup_phase { PHASE_START, PHASE_SERVE, PHASE_STOP };

struct supervisor;

struct sup_daemon {
	TAILQ_ENTRY(sup_daemon) entry;
	struct supervisor *sup;
	enum sup_kind kind;
	char *name; /* "smtpd", "deliverd/pool-a" */
	char *pool; /* NULL but for deliverd */
	enum sup_state state;
	pid_t pid;
	int64_t started;    /* loop_now() of the last start */
	int64_t ready;      /* of the last READY=1 */
	unsigned restarts;  /* after deaths, not those asked for */
	unsigned failures;  /* deaths before READY=1, in a row */
	int64_t backoff;    /* ms, of the next death */
	char *last_exit;    /* "killed by signal 9 (Killed)"; NULL */
	int64_t last_exit_wall;
	bool is_wanted;     /* start again when it goes */
	bool is_vanished;   /* its pool is gone: free it when it is down */
	uint32_t generation; /* that it says it runs; 0: none yet */
	bool is_hup_due;    /* reload came while it was starting: SIGHUP once it can take it */
	struct timer timer; /* back-off, limit of starting, limit of stopping */
};

struct sup_socket {
	char *name; /* "smtpd", "submission", "submissions" */
	char *text; /* "127.0.0.1:25" */
	int fd;
};

struct sup_sockets {
	struct sup_socket *v;
	size_t n;
};

struct sup_client;
TAILQ_HEAD(sup_daemons, sup_daemon);
TAILQ_HEAD(sup_clients, sup_client);

struct supervisor {
	struct loop *loop;
	const char *config_dir;
	struct params *params;
	struct conf *conf;
	struct config_image *image; /* in force */
	char *image_path;
	int64_t in_force_since;   /* wall */
	const char *in_force_by;  /* "start", "hand", "auto" */
	struct timer retry;       /* daemons that have not followed */
	unsigned retries;
	struct timer watch;       /* supervise_watch.c */
	struct timer report;      /* supervise_report.c */
	pid_t report_pid;         /* 0: none */
	int64_t report_day, report_due; /* since the epoch; wall, 0: not today any more */
	uint64_t seen, handled;   /* signatures of the files: at the last look; when last acted upon */
	unsigned disk_errors;     /* of the files as they are now; 0: none, or in force */
	int64_t disk_errors_since;
	uint64_t refused;         /* digest of what was refused last, if there are errors */
	struct sup_daemons daemons;
	struct sup_sockets sockets;
	bool has_foreign_sockets; /* from systemd: never bound or closed here */
	enum sup_phase phase;
	enum sup_kind stage;      /* of starting or stopping */
	int exit_status;
	const struct sup_daemon *failed; /* the daemon because of which `start' gave up; NULL */
	int64_t started_wall;
	int64_t stopping_since;   /* loop_now() of the first wish to stop */
	int lock_fd, queue_lock_fd;
	int alive_fd;             /* write end of the daemons' standard input: closes with us */
	int notify_fd;
	char *notify_path;
	struct event notify_ev;
	struct ipc_server *control;
	char *control_path;
	gid_t admin_gid;
	bool has_admin_gid;
	struct sup_clients clients;
};

/* supervise.c */
void sup_stop(struct supervisor *, int exit_status);
void sup_log_warnings(const struct conf_errors *);
/* To be called after every change of a daemon's state: goes on with starting or stopping, and answers who waits for
 * it. */
void sup_advance(struct supervisor *);

/* supervise_daemon.c */
struct sup_daemon *sup_daemon_new(struct supervisor *, enum sup_kind, const char *pool);
void sup_daemon_free(struct sup_daemon **);
struct sup_daemon *sup_daemon_find(struct supervisor *, pid_t);
void sup_daemon_start(struct sup_daemon *);
void sup_daemon_stop(struct sup_daemon *, bool start_again);
void sup_daemon_reload(struct sup_daemon *);
void sup_daemon_ready(struct sup_daemon *);
void sup_daemon_gone(struct sup_daemon *, int wait_status);

/* supervise_notify.c: $NOTIFY_SOCKET of the daemons. 0, or -1 (logged). */
int sup_notify_open(struct supervisor *) __attribute__((warn_unused_result));
void sup_notify_close(struct supervisor *);

/* supervise_dirs.c: directories and lock. 0, or -1 (said on standard error). */
int sup_dirs_make(const struct params *) __attribute__((warn_unused_result));
int sup_lock(struct supervisor *) __attribute__((warn_unused_result));

/* supervise_listen.c: sockets of the listen parameters: taken from `old` where it has them (moved out of it), else
 * bound. 0, or -1 and *err_r. */
int sup_sockets_open(const struct params *, struct sup_sockets *old, struct sup_sockets *out, char **err_r)
    __attribute__((warn_unused_result));
/* Those that systemd passed; n = 0 if none. */
void sup_sockets_inherit(struct sup_sockets *out);
void sup_sockets_close(struct sup_sockets *);

/* supervise_control.c: $run_directory/posthorn.sock */
int sup_control_open(struct supervisor *) __attribute__((warn_unused_result));
void sup_control_close(struct supervisor *);
void sup_control_poll(struct supervisor *); /* answers clients whose wish has come true */

/* supervise_reload.c. True if done; a malloced sentence (several lines if several errors) in both cases. */
bool sup_reload(struct supervisor *, const char *by, char **sentence_r);
/* Writes the image beside the one in force: what can fail for lack of space fails here. 0, or -1 (logged). */
int sup_generation_write(const struct supervisor *, const struct config_image *) __attribute__((warn_unused_result));
/* Puts what was written in force: for daemons that start or reload from now on. 0, or -1 (logged). */
int sup_generation_begin(struct supervisor *, const char *by) __attribute__((warn_unused_result));
/* The next number: after the one that lies in run_directory. */
uint32_t sup_generation_first(const struct supervisor *);
/* All daemons run the generation in force? Else *text_r, malloced, says who does not. */
bool sup_generation_reached(const struct supervisor *, char **text_r);
/* supervise_watch.c: policy_reload = auto. */
void sup_watch_open(struct supervisor *);

/* supervise_report.c: the daily reports of TLS. True: it was that child. */
void sup_report_open(struct supervisor *);
bool sup_report_gone(struct supervisor *, pid_t, int wait_status);

/* supervise_status.c: sends one QL_ADMIN_DATA for the supervisor and one for each daemon. */
void sup_status(struct supervisor *, struct ipc *, uint32_t id);

#endif
