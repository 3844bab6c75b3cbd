/* Giving up what a role does not need, in an order that works and is verified (role start-up, in each daemon's main.c):
 * user and groups, no_new_privs, resource limits, Landlock, and last a seccomp filter whose answer to anything else is
 * to kill the process. */
#ifndef BASE_SANDBOX_H
#define BASE_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

enum sandbox_mode { SANDBOX_OFF, SANDBOX_ON, SANDBOX_REQUIRED };

/* System-call groups a role may add to the base set (read/write/epoll/memory/clock/exit...). */
enum sandbox_allow {
	SB_ACCEPT = 1 << 0,   /* accept4 and socket options of accepted connections */
	SB_CONNECT_IN = 1 << 1,/* TCP sockets of its own: socket(AF_INET*,SOCK_STREAM), bind, connect */
	SB_CONNECT_UN = 1 << 2,/* reconnecting to a UNIX socket */
	SB_UDP = 1 << 3,      /* the dns role */
	SB_FD_PASS = 1 << 4,  /* socketpair: making descriptors for others (sendmsg and recvmsg are in the base set) */
	SB_FILES_RO = 1 << 5, /* openat read-only, fstat, getdents: for paths that Landlock allows */
	SB_FILES_RW = 1 << 6, /* creating, renaming, unlinking, truncating: queued */
	SB_FSYNC = 1 << 7,    /* fdatasync, fsync, pwrite on descriptors it holds */
	/* fork, exec, wait, kill: parents of roles. A filter outlives exec and the children must still be able to
	 * enter theirs: so a parent has a list of what nobody below it ever needs (io_uring, ptrace, mount, bpf...)
	 * instead of an allow-list, and Landlock only if paths are given (which must then do for the children too). */
	SB_SPAWN = 1 << 8,
	SB_FLOCK = 1 << 9,
	SB_THREADS = 1 << 10  /* clone for threads: libunbound if it needs it */
};

struct sandbox_path {
	const char *path;
	bool write;
};

struct sandbox {
	const char *role;  /* for the log line */
	const char *user;  /* NULL: keep */
	const char *const *groups; /* supplementary group names, NULL-terminated, may be NULL */
	enum sandbox_mode mode;
	unsigned allow;    /* enum sandbox_allow */
	const struct sandbox_path *paths; /* what Landlock leaves reachable */
	size_t n_paths;
	unsigned connect_port; /* SB_CONNECT_IN: only to this TCP port, where the kernel can tell; 0: any */
	size_t max_fds;    /* RLIMIT_NOFILE; 0: keep */
	size_t max_memory; /* RLIMIT_AS in bytes; 0: none (the LMDB owner maps more than it uses) */
};

/* Enters it; logs one line that says what was achieved: role, uid, Landlock ABI, filter, limits. Does not return if
 * the drop cannot be verified, or if anything is missing under SANDBOX_REQUIRED. Started as an ordinary user, the
 * user change is skipped and said so. If `user` does not exist and we are root: nobody, and said so. SANDBOX_OFF
 * still changes the user and sets the limits. The process must have one thread. A build with a sanitizer has no
 * filter and no memory limit, and says so. What does not work afterwards: opening anything but by the groups above
 * (EACCES), setsockopt options that sandbox_filter.c does not list, the first use of a time zone. */
void sandbox_enter(const struct sandbox *);
/* Whether this process runs as root with the suite's users present (their separation is in force). */
bool sandbox_separate_users(const char *user);

#endif
