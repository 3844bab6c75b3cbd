/* base/sandbox.h: for each group one call that works and one that kills; Landlock's paths; the user change;
 * `required`. Each case is a child that enters the sandbox and does one thing. A sanitizer build has no filter,
 * hence no tests of it. */
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sandbox.h"
#include "base/sandbox_impl.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define KILLED 1000 /* by SIGSYS */

/* What the parent prepared for all cases. */
static struct {
	char dir[64];
	char file[96];
	char other[64];      /* a folder that no rule names */
	char other_file[96];
	int file_fd;
	int listen_fd;
	struct sockaddr_in addr;
	int pair[2];
} world;

/* 0 or errno. */
static int
err(long rc)
{
	return rc == -1 ? errno : 0;
}

static int
do_open(const char *path, int flags)
{
	int fd = open(path, flags, 0600);

	if (fd == -1)
		return errno;
	close(fd);
	return 0;
}

static int
op_base(void)
{
	struct timespec ts;
	struct stat st;
	char *p = malloc(1 << 20), c;
	int status = 0;

	if (p == NULL)
		return ENOMEM;
	memset(p, 1, 1 << 20);
	free(p);
	status |= err(clock_gettime(CLOCK_REALTIME, &ts)) | err(fstat(world.file_fd, &st));
	status |= err(write(world.pair[0], "x", 1) - 1) | err(read(world.pair[1], &c, 1) - 1);
	status |= err(pread(world.file_fd, &c, 1, 0) - 1);
	status |= err(fcntl(world.pair[0], F_SETFL, O_NONBLOCK)) | err(alarm(0));
	return status;
}

static int op_open_file(void) { return do_open(world.file, O_RDONLY); }
static int op_open_write(void) { return do_open(world.file, O_WRONLY); }
static int op_open_other(void) { return do_open(world.other_file, O_RDONLY); }
static int op_socket_tcp(void) { return err(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)); }
static int op_socket_tcp6(void) { return err(socket(AF_INET6, SOCK_STREAM, IPPROTO_TCP)); }
static int op_socket_mptcp(void) { return err(socket(AF_INET, SOCK_STREAM, 262)); }
static int op_socket_udp(void) { return err(socket(AF_INET, SOCK_DGRAM, 0)); }
static int op_socket_raw(void) { return err(socket(AF_INET, SOCK_RAW, IPPROTO_TCP)); }
static int op_socket_unix(void) { return err(socket(AF_UNIX, SOCK_STREAM, 0)); }
static int op_socket_netlink(void) { return err(socket(AF_NETLINK, SOCK_RAW, 0)); }
static int op_socketpair(void) { int v[2]; return err(socketpair(AF_UNIX, SOCK_STREAM, 0, v)); }
static int op_flock(void) { return err(flock(world.file_fd, LOCK_EX)); }
static int op_fdatasync(void) { return err(fdatasync(world.file_fd)); }
static int op_pwrite(void) { return err(pwrite(world.file_fd, "x", 1, 0) - 1); }
static int op_ftruncate(void) { return err(ftruncate(world.file_fd, 10)); }
static int op_fork(void) { return err(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)); }
static int op_ptrace(void) { return err(syscall(SYS_ptrace, 0, 0, 0, 0)); }
static int op_io_uring(void) { return err(syscall(SYS_io_uring_setup, 1, NULL)); }
static int op_kill_self(void) { return err(kill(getpid(), 0)); }
static int op_kill_other(void) { return err(kill(getppid(), 0)); }
static int op_setuid(void) { return err(syscall(SYS_setuid, 0)); }
static int op_set_limit(void) { struct rlimit r = { 1, 1 }; return err(setrlimit(RLIMIT_NOFILE, &r)); }
static int op_get_limit(void) { struct rlimit r; return err(getrlimit(RLIMIT_NOFILE, &r)); }
static int op_setfl_owner(void) { return err(fcntl(world.pair[0], F_SETOWN, 1)); }
static int op_ioctl_other(void) { return err(syscall(SYS_ioctl, 0, 0x5412, "x")); } /* TIOCSTI */
static int op_isatty(void) { return isatty(world.file_fd) == 0 && errno == ENOTTY ? 0 : 1; }
static int op_listen(void) { return err(listen(world.listen_fd, 1)); }
static int op_stat(void) { struct stat st; return err(stat(world.file, &st)); }
static int op_unlink_missing(void) { return unlinkat(AT_FDCWD, "nowhere", 0) == -1 && errno == ENOENT ? 0 : 1; }
static int op_bpf(void) { return err(syscall(SYS_bpf, 0, NULL, 0)); }

static int
op_mmap_exec(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? errno : 0;
}

static int
op_abort(void)
{
	abort();
}

static int
op_exec(void)
{
	char *const argv[] = { strdup("/bin/true"), NULL };

	execv(argv[0], argv);
	return errno;
}

static int
op_accept(void)
{
	return accept4(world.listen_fd, NULL, NULL, SOCK_NONBLOCK) == -1 && errno == EAGAIN ? 0 : errno;
}

static int
op_connect(void)
{
	struct sockaddr_in source = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	return err(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one))) |
	    err(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))) |
	    err(bind(fd, (struct sockaddr *)&source, sizeof(source))) |
	    err(connect(fd, (struct sockaddr *)&world.addr, sizeof(world.addr)));
}

static int
set_ip_option(int option)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	return err(setsockopt(fd, IPPROTO_IP, option, &one, sizeof(one)));
}

static int op_freebind(void) { return set_ip_option(IP_FREEBIND); }

static int
op_bind_device(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return err(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
}

static int
op_bind_port(void)
{
	struct sockaddr_in sin = world.addr;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	sin.sin_port = htons((uint16_t)(ntohs(sin.sin_port) ^ 1));
	return err(bind(fd, (struct sockaddr *)&sin, sizeof(sin)));
}

static int
op_readdir(void)
{
	DIR *d = opendir(world.dir);

	if (d == NULL)
		return errno;
	return readdir(d) == NULL;
}

static int
op_create_rename_unlink(void)
{
	char a[128], b[128];

	snprintf(a, sizeof(a), "%s/new", world.dir);
	snprintf(b, sizeof(b), "%s/newer", world.dir);
	return do_open(a, O_RDWR | O_CREAT | O_TRUNC) | err(rename(a, b)) | err(unlink(b)) | err(symlink("x", a)) |
	    err(unlink(a));
}

static int
create_in(const char *dir)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/new", dir);
	return do_open(path, O_RDWR | O_CREAT);
}

static int op_create(void) { return create_in(world.dir); }
static int op_create_other(void) { return create_in(world.other); }

static void *
nothing(void *arg)
{
	return arg;
}

static int
op_thread(void)
{
	pthread_t t;
	int rc = pthread_create(&t, NULL, nothing, NULL);

	return rc != 0 ? rc : pthread_join(t, NULL);
}

static int
op_spawn(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execl("/bin/true", "true", (char *)NULL);
		_exit(1);
	}
	return pid == -1 || waitpid(pid, &status, 0) != pid ? errno : status;
}

/* A role below a jailed parent enters its own, smaller sandbox. */
static int
op_child_sandbox(void)
{
	struct sandbox sb = { .role = "child", .mode = SANDBOX_REQUIRED };
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		sandbox_enter(&sb);
		op_socket_tcp();
		_exit(0);
	}
	if (pid == -1 || waitpid(pid, &status, 0) != pid)
		return errno;
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS ? 0 : 1;
}

struct op_case {
	const char *what;
	unsigned allow;
	int (*op)(void);
	int want; /* errno, 0, KILLED, or -signal */
};

/* Runs op in a child that is in the sandbox. */
static int
in_sandbox(const struct sandbox *sb, int (*op)(void))
{
	int status;
	pid_t pid;

	fflush(NULL);
	if ((pid = fork()) == 0) {
		sandbox_enter(sb);
		_exit(op());
	}
	assert_int_not_equal(pid, -1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	return WTERMSIG(status) == SIGSYS ? KILLED : -WTERMSIG(status);
}

static void
run_cases(const struct op_case *c, size_t n, bool with_paths)
{
	const struct sandbox_path paths[] = { { world.dir, true }, { "/bin", false }, { "/usr", false }, { "/lib",
	    false },
		{ "/etc", false } };

	for (; n > 0; c++, n--) {
		struct sandbox sb = { .role = c->what, .mode = SANDBOX_REQUIRED, .allow = c->allow };
		int got;

		if (with_paths) {
			sb.paths = paths;
			sb.n_paths = COUNT(paths);
		}
		got = in_sandbox(&sb, c->op);
		if (got != c->want)
			fail_msg("%s: %d instead of %d", c->what, got, c->want);
	}
}

static void
test_base_set(void **state)
{
	static const struct op_case cases[] = {
		{ "base", 0, op_base, 0 }, { "get limit", 0, op_get_limit, 0 }, { "kill self", 0, op_kill_self, 0 },
		{ "isatty", 0, op_isatty, 0 }, { "abort", 0, op_abort, -SIGABRT },
		{ "open", 0, op_open_file, EACCES }, { "stat", 0, op_stat, EACCES },
		{ "socket", 0, op_socket_tcp, KILLED }, { "unix socket", 0, op_socket_unix, KILLED },
		{ "accept", 0, op_accept, KILLED }, { "listen", 0, op_listen, KILLED },
		{ "socketpair", 0, op_socketpair, KILLED },
		{ "flock", 0, op_flock, KILLED }, { "fdatasync", 0, op_fdatasync, KILLED },
		{ "pwrite", 0, op_pwrite, KILLED },
		{ "fork", 0, op_fork, KILLED }, { "exec", 0, op_exec, KILLED }, { "thread", 0, op_thread, KILLED },
		{ "ptrace", 0, op_ptrace, KILLED }, { "io_uring", 0, op_io_uring, KILLED },
		{ "bpf", 0, op_bpf, KILLED },
		{ "kill other", 0, op_kill_other, KILLED }, { "mmap exec", 0, op_mmap_exec, KILLED },
		{ "setuid", 0, op_setuid, KILLED }, { "set limit", 0, op_set_limit, KILLED },
		{ "F_SETOWN", 0, op_setfl_owner, KILLED }, { "TIOCSTI", 0, op_ioctl_other, KILLED },
		{ "unlink", 0, op_unlink_missing, KILLED },
	};

	(void)state;
	run_cases(cases, COUNT(cases), false);
}

static void
test_network_groups(void **state)
{
	static const struct op_case cases[] = {
		{ "accept", SB_ACCEPT, op_accept, 0 }, { "accept: socket", SB_ACCEPT, op_socket_tcp, KILLED },
		{ "connect", SB_CONNECT_IN, op_connect, 0 }, { "connect: tcp6", SB_CONNECT_IN, op_socket_tcp6, 0 },
		{ "connect: udp", SB_CONNECT_IN, op_socket_udp, KILLED },
		{ "connect: raw", SB_CONNECT_IN, op_socket_raw, KILLED },
		{ "connect: mptcp", SB_CONNECT_IN, op_socket_mptcp, KILLED },
		{ "connect: unix", SB_CONNECT_IN, op_socket_unix, KILLED },
		{ "connect: listen", SB_CONNECT_IN, op_listen, KILLED },
		{ "connect: accept", SB_CONNECT_IN, op_accept, KILLED },
		{ "connect: freebind", SB_CONNECT_IN, op_freebind, KILLED },
		{ "connect: device", SB_CONNECT_IN, op_bind_device, KILLED },
		{ "unix", SB_CONNECT_UN, op_socket_unix, 0 }, { "unix: tcp", SB_CONNECT_UN, op_socket_tcp, KILLED },
		{ "udp", SB_UDP, op_socket_udp, 0 }, { "udp: tcp", SB_UDP, op_connect, 0 },
		{ "udp: netlink", SB_UDP, op_socket_netlink, KILLED }, { "udp: unix", SB_UDP, op_socket_unix, KILLED },
		{ "udp: freebind", SB_UDP, op_freebind, KILLED },
		{ "fd pass", SB_FD_PASS, op_socketpair, 0 }, { "fd pass: socket", SB_FD_PASS, op_socket_unix, KILLED },
	};

	(void)state;
	run_cases(cases, COUNT(cases), false);
}

static void
test_file_groups(void **state)
{
	static const struct op_case cases[] = {
		{ "ro", SB_FILES_RO, op_open_file, 0 }, { "ro: stat", SB_FILES_RO, op_stat, 0 },
		{ "ro: readdir", SB_FILES_RO, op_readdir, 0 }, { "ro: write", SB_FILES_RO, op_open_write, EACCES },
		{ "ro: other", SB_FILES_RO, op_open_other, EACCES },
		{ "ro: unlink", SB_FILES_RO, op_unlink_missing, KILLED },
		{ "ro: fsync", SB_FILES_RO, op_fdatasync, KILLED },
		{ "ro: socket", SB_FILES_RO, op_socket_tcp, KILLED },
		{ "rw", SB_FILES_RW, op_create_rename_unlink, 0 }, { "rw: write", SB_FILES_RW, op_open_write, 0 },
		{ "rw: other", SB_FILES_RW, op_open_other, EACCES },
		{ "rw: create other", SB_FILES_RW, op_create_other, EACCES },
		{ "rw: exec", SB_FILES_RW, op_exec, KILLED },
		{ "ro+rw", SB_FILES_RO | SB_FILES_RW, op_create_rename_unlink, 0 },
		{ "fsync", SB_FSYNC, op_fdatasync, 0 }, { "fsync: pwrite", SB_FSYNC, op_pwrite, 0 },
		{ "fsync: ftruncate", SB_FSYNC, op_ftruncate, 0 }, { "fsync: open", SB_FSYNC, op_open_file, EACCES },
		{ "fsync: flock", SB_FSYNC, op_flock, KILLED },
		{ "flock", SB_FLOCK, op_flock, 0 }, { "flock: fsync", SB_FLOCK, op_fdatasync, KILLED },
	};

	(void)state;
	run_cases(cases, COUNT(cases), true);
}

static void
test_process_groups(void **state)
{
	static const struct op_case cases[] = {
		{ "threads", SB_THREADS, op_thread, 0 }, { "threads: fork", SB_THREADS, op_fork, KILLED },
		{ "threads: exec", SB_THREADS, op_exec, KILLED },
		{ "spawn", SB_SPAWN, op_spawn, 0 }, { "spawn: child", SB_SPAWN, op_child_sandbox, 0 },
		{ "spawn: io_uring", SB_SPAWN, op_io_uring, KILLED }, { "spawn: ptrace", SB_SPAWN, op_ptrace, KILLED },
		{ "spawn: bpf", SB_SPAWN, op_bpf, KILLED },
	};

	(void)state;
	run_cases(cases, COUNT(cases), true);
	run_cases(cases, COUNT(cases), false);
}

/* Landlock alone: the filter of these groups would let the calls pass; the suite's sanitizer build proves it too. */
static void
test_landlock(void **state)
{
	struct sandbox_path paths[] = { { world.dir, false } };
	struct sandbox sb = { .role = "landlock", .mode = SANDBOX_REQUIRED, .allow = SB_FILES_RW | SB_CONNECT_IN,
	    .paths = paths,
		.n_paths = 1 };

	(void)state;
	assert_true(landlock_abi() > 0);
	assert_int_equal(in_sandbox(&sb, op_open_file), 0);
	assert_int_equal(in_sandbox(&sb, op_open_write), EACCES);
	assert_int_equal(in_sandbox(&sb, op_open_other), EACCES);
	assert_int_equal(in_sandbox(&sb, op_create), EACCES);
	paths[0].write = true;
	assert_int_equal(in_sandbox(&sb, op_open_write), 0);
	assert_int_equal(in_sandbox(&sb, op_create_rename_unlink), 0);
	assert_int_equal(in_sandbox(&sb, op_create_other), EACCES);
	paths[0].path = world.file; /* a rule for a single file */
	assert_int_equal(in_sandbox(&sb, op_open_write), 0);
	assert_int_equal(in_sandbox(&sb, op_readdir), EACCES);
	sb.n_paths = 0;
	assert_int_equal(in_sandbox(&sb, op_open_file), EACCES);
	assert_int_equal(in_sandbox(&sb, op_connect), 0);
	if (landlock_abi() >= 4)
		assert_int_equal(in_sandbox(&sb, op_bind_port), EACCES);
	sb.mode = SANDBOX_OFF;
	assert_int_equal(in_sandbox(&sb, op_open_file), 0);
	assert_int_equal(in_sandbox(&sb, op_create_other), 0);
}

static int
op_who_is_nobody(void)
{
	const struct passwd *pw = getpwnam("nobody"); /* only in mode off: reads a file */
	uid_t r, e, s;
	gid_t groups[8];

	if (pw == NULL || getresuid(&r, &e, &s) == -1 || r != pw->pw_uid || e != r || s != r)
		return 1;
	if (getgid() != pw->pw_gid || getgroups(8, groups) != 1 || groups[0] != pw->pw_gid)
		return 2;
	if (setuid(0) != -1 || seteuid(0) != -1 || setgid(0) != -1)
		return 3;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 4;
	return do_open("/etc/shadow", O_RDONLY) == EACCES ? 0 : 5;
}

static int
op_has_mail_group(void)
{
	const struct group *gr = getgrnam("mail");
	gid_t groups[8];
	int n = getgroups(8, groups);

	for (int i = 0; i < n; i++)
		if (gr != NULL && groups[i] == gr->gr_gid)
			return n == 2 ? 0 : 2;
	return 1;
}

static void
test_user(void **state)
{
	static const char *const groups[] = { "mail", "no-such-group", NULL };
	struct sandbox sb = { .role = "user", .user = "nobody", .mode = SANDBOX_OFF };

	(void)state;
	if (geteuid() != 0) {
		sb.mode = SANDBOX_REQUIRED;
		assert_int_equal(in_sandbox(&sb, op_base), 0); /* keeps its user, and says so */
		return;
	}
	assert_int_equal(in_sandbox(&sb, op_who_is_nobody), 0);
	sb.groups = groups;
	assert_int_equal(in_sandbox(&sb, op_has_mail_group), 0);
	sb.groups = NULL;
	sb.user = "posthorn-no-such-user";
	assert_int_equal(in_sandbox(&sb, op_who_is_nobody), 0);
	sb.user = "root";
	assert_int_equal(in_sandbox(&sb, op_base), 1); /* fatal */
	assert_true(sandbox_separate_users("nobody"));
	assert_false(sandbox_separate_users("posthorn-no-such-user"));
	/* Everything together. */
	sb = (struct sandbox){ .role = "whole", .user = "nobody", .mode = SANDBOX_REQUIRED, .allow = SB_FILES_RO,
		.paths = (struct sandbox_path[]){ { world.dir, false } }, .n_paths = 1, .max_fds = 64 };
	assert_int_equal(in_sandbox(&sb, op_open_file), 0);
	assert_int_equal(in_sandbox(&sb, op_open_other), EACCES);
	if (!SANDBOX_SANITIZED)
		assert_int_equal(in_sandbox(&sb, op_setuid), KILLED);
}

static int
op_limits(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == -1 || r.rlim_cur != 77 || r.rlim_max != 77)
		return 1;
	if (getrlimit(RLIMIT_CORE, &r) == -1 || r.rlim_cur != 0 || r.rlim_max != 0)
		return 2;
	if (SANDBOX_SANITIZED)
		return 0;
	if (getrlimit(RLIMIT_NPROC, &r) == -1 || r.rlim_max != 0)
		return 3;
	if (getrlimit(RLIMIT_AS, &r) == -1 || r.rlim_cur != 256 << 20)
		return 4;
	return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : 5;
}

/* In hundreds: an exit status is a byte. */
static int
op_file_limit(void)
{
	struct rlimit r;

	return getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur == r.rlim_max ? (int)(r.rlim_cur / 100) : 0;
}

static bool
may_raise_limits(void)
{
	struct rlimit high = { 2000, 2000 };
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(setrlimit(RLIMIT_NOFILE, &high) == 0);
	return pid != -1 && waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 1;
}

/* Who may raises the hard limit; who may not (a user, or root in a container) gets what there is. */
static void
test_limits(void **state)
{
	struct sandbox sb = { .role = "limits", .mode = SANDBOX_ON, .max_fds = 77, .max_memory = 256 << 20 };
	struct rlimit saved, low = { 1000, 1000 };

	(void)state;
	assert_int_equal(in_sandbox(&sb, op_limits), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &saved), 0);
	low.rlim_max = saved.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	sb.max_fds = 1200; /* above the soft limit */
	sb.max_memory = 0;
	sb.user = "nobody";
	assert_int_equal(in_sandbox(&sb, op_file_limit), 12);
	low.rlim_max = 1000;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0); /* last: there may be no way back */
	sb.max_fds = 2000;
	assert_int_equal(in_sandbox(&sb, op_file_limit), may_raise_limits() ? 20 : 10);
}

static void
test_required(void **state)
{
	struct sandbox_path path = { "/nonexistent/path", false };
	struct sandbox sb = { .role = "required", .mode = SANDBOX_REQUIRED, .paths = &path, .n_paths = 1 };

	(void)state;
	assert_int_equal(in_sandbox(&sb, op_base), 1); /* fatal */
	sb.mode = SANDBOX_ON;
	assert_int_equal(in_sandbox(&sb, op_base), 0);
}

static void
make_place(char *dir, size_t size, char *file, size_t file_size, const char *name)
{
	int fd;

	snprintf(dir, size, "/tmp/posthorn-%s-XXXXXX", name);
	assert_non_null(mkdtemp(dir));
	chmod(dir, 0755);
	snprintf(file, file_size, "%s/file", dir);
	fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(write(fd, "0123456789", 10), 10);
	close(fd);
}

static int
setup(void **state)
{
	socklen_t len = sizeof(world.addr);

	(void)state;
	make_place(world.dir, sizeof(world.dir), world.file, sizeof(world.file), "sandbox");
	make_place(world.other, sizeof(world.other), world.other_file, sizeof(world.other_file), "other");
	world.file_fd = open(world.file, O_RDWR | O_CLOEXEC);
	world.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	world.addr.sin_family = AF_INET;
	world.addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (world.file_fd == -1 || bind(world.listen_fd, (struct sockaddr *)&world.addr, len) == -1 ||
	    listen(world.listen_fd, 64) == -1 || getsockname(world.listen_fd, (struct sockaddr *)&world.addr,
	    &len) == -1)
		return -1;
	return socketpair(AF_UNIX, SOCK_STREAM, 0, world.pair);
}

static int
teardown(void **state)
{
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/new", world.other);
	unlink(path);
	unlink(world.file);
	unlink(world.other_file);
	rmdir(world.other);
	return rmdir(world.dir);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		/* First those that need the filter. */
		cmocka_unit_test(test_base_set),
		cmocka_unit_test(test_network_groups),
		cmocka_unit_test(test_file_groups),
		cmocka_unit_test(test_process_groups),
		cmocka_unit_test(test_landlock),
		cmocka_unit_test(test_user),
		cmocka_unit_test(test_required),
		cmocka_unit_test(test_limits), /* last: lowers this process's limit */
	};
	size_t first = SANDBOX_SANITIZED ? 4 : 0;

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return _cmocka_run_group_tests("sandbox", tests + first, COUNT(tests) - first, setup, teardown);
}
