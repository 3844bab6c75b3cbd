/* The system-call filter (seccomp(2), by libseccomp). An allow-list per role made of groups; anything else kills the
 * process, and its parent starts a new one: a call that is not here is either an attack or our mistake, and both
 * must be seen.
 *
 * Three rules for who changes the tables:
 *  - Calls without argument conditions cost nothing (the kernel keeps a bitmap of them, since 5.11); the hot ones
 *    are among those.
 *  - Calls that libraries try and survive get an errno instead of death (opening files above all).
 *  - Never io_uring: what it does passes no filter.
 *
 * Integer arguments are compared in their low 32 bits: the upper half of the register is not defined for them.
 *
 * A filter stays in force across exec. Parents of roles (SB_SPAWN) therefore get a list of calls that nothing below
 * them ever needs; each role's own list comes on top. */
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <termios.h>
#include <unistd.h>

#include "base/sandbox_impl.h"

#ifndef TCP_NOTSENT_LOWAT
#define TCP_NOTSENT_LOWAT 25
#endif
#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

#define FILES (SB_FILES_RO | SB_FILES_RW)
#define CONNECTS (SB_CONNECT_IN | SB_CONNECT_UN | SB_UDP)
#define INET (SB_CONNECT_IN | SB_UDP)

#define ACT_ALLOW 0 /* any other value of an action is the errno to return */

/* A whole call; `need`: any of these groups, 0: every role. */
struct call {
	unsigned need;
	int nr;
};

#define CALL(need, name) { need, SCMP_SYS(name) }

static const struct call allowed[] = {
	/* Input and output on descriptors that the role holds. */
	CALL(0, read), CALL(0, readv), CALL(0, pread64), CALL(0, preadv), CALL(0, preadv2),
	CALL(0, write), CALL(0, writev), CALL(0, sendfile), CALL(0, lseek), CALL(0, close), CALL(0, close_range),
	CALL(0, fstat), CALL(0, fstatfs), CALL(0, fadvise64), CALL(0, dup), CALL(0, dup2), CALL(0, dup3),
	CALL(0, recvfrom), CALL(0, recvmsg), CALL(0, recvmmsg), CALL(0, sendto), CALL(0, sendmsg), CALL(0, sendmmsg),
	CALL(0, shutdown), CALL(0, getsockname), CALL(0, getpeername), CALL(0, getsockopt),
	/* Waiting. */
	CALL(0, epoll_create1), CALL(0, epoll_ctl), CALL(0, epoll_wait), CALL(0, epoll_pwait), CALL(0, epoll_pwait2),
	CALL(0, poll), CALL(0, ppoll), CALL(0, select), CALL(0, pselect6), CALL(0, pipe2), CALL(0, pipe),
	CALL(0, eventfd2),
	CALL(0, nanosleep), CALL(0, clock_nanosleep), CALL(0, pause), CALL(0, restart_syscall),
	/* Time. */
	CALL(0, clock_gettime), CALL(0, clock_getres), CALL(0, gettimeofday), CALL(0, time), CALL(0, times),
	CALL(0, timerfd_create), CALL(0, timerfd_settime), CALL(0, timerfd_gettime), CALL(0, alarm), CALL(0, setitimer),
	CALL(0, getitimer),
	/* Memory; mmap and mprotect have conditions. */
	CALL(0, brk), CALL(0, munmap), CALL(0, mremap), CALL(0, madvise),
	/* Signals to itself, locks, and what libc and OpenSSL ask about the process. */
	CALL(0, rt_sigaction), CALL(0, rt_sigprocmask), CALL(0, rt_sigreturn), CALL(0, rt_sigpending),
	CALL(0, rt_sigsuspend),
	CALL(0, rt_sigtimedwait), CALL(0, sigaltstack), CALL(0, futex), CALL(0, get_robust_list),
	CALL(0, set_robust_list),
	CALL(0, rseq), CALL(0, set_tid_address), CALL(0, sched_yield), CALL(0, sched_getaffinity), CALL(0, getcpu),
	CALL(0, getpid), CALL(0, gettid), CALL(0, getppid), CALL(0, getuid), CALL(0, geteuid), CALL(0, getgid),
	CALL(0, getegid),
	CALL(0, getresuid), CALL(0, getresgid), CALL(0, getgroups), CALL(0, uname), CALL(0, sysinfo),
	CALL(0, getrandom),
	CALL(0, getrusage), CALL(0, getrlimit), CALL(0, umask), CALL(0, exit), CALL(0, exit_group),

	CALL(SB_ACCEPT, accept4), CALL(SB_ACCEPT, accept),

	CALL(INET, bind), CALL(CONNECTS, connect),

	CALL(FILES, newfstatat), CALL(FILES, stat), CALL(FILES, lstat), CALL(FILES, statx), CALL(FILES, getdents64),
	CALL(FILES, readlink), CALL(FILES, readlinkat), CALL(FILES, access), CALL(FILES, faccessat),
	CALL(FILES, faccessat2),
	CALL(FILES, statfs), CALL(FILES, getcwd),

	CALL(SB_FILES_RW, openat), CALL(SB_FILES_RW, mkdir), CALL(SB_FILES_RW, mkdirat), CALL(SB_FILES_RW, rename),
	CALL(SB_FILES_RW, renameat), CALL(SB_FILES_RW, renameat2), CALL(SB_FILES_RW, unlink),
	CALL(SB_FILES_RW, unlinkat), CALL(SB_FILES_RW, symlink), CALL(SB_FILES_RW, symlinkat),
	CALL(SB_FILES_RW, rmdir), CALL(SB_FILES_RW, truncate), CALL(SB_FILES_RW, fchmod), CALL(SB_FILES_RW, fchown),
	CALL(SB_FILES_RW, copy_file_range),

	CALL(SB_FSYNC | SB_FILES_RW, ftruncate), CALL(SB_FSYNC | SB_FILES_RW, fallocate),
	CALL(SB_FSYNC | SB_FILES_RW, pwrite64), CALL(SB_FSYNC | SB_FILES_RW, pwritev),
	CALL(SB_FSYNC | SB_FILES_RW, pwritev2),
	CALL(SB_FSYNC, fdatasync), CALL(SB_FSYNC, fsync), CALL(SB_FSYNC, sync_file_range), CALL(SB_FSYNC, msync),

	CALL(SB_FLOCK, flock),
};

/* A call under conditions. `need` as above; `without`: only for roles that have none of these groups. */
struct conditional {
	unsigned need;
	unsigned without;
	int nr;
	int action;
	unsigned n;
	struct scmp_arg_cmp cmp[3];
};

#define IS(arg, value) { arg, SCMP_CMP_MASKED_EQ, 0xffffffffULL, (uint32_t)(value) }
#define BITS(arg, mask, value) { arg, SCMP_CMP_MASKED_EQ, mask, value }
#define IF1(need, name, a) { need, 0, SCMP_SYS(name), ACT_ALLOW, 1, { a } }
#define IF2(need, name, a, b) { need, 0, SCMP_SYS(name), ACT_ALLOW, 2, { a, b } }
#define IF3(need, name, a, b, c) { need, 0, SCMP_SYS(name), ACT_ALLOW, 3, { a, b, c } }
#define ERRNO0(without, name, error) { 0, without, SCMP_SYS(name), error, 0, { { 0 } } }
#define ERRNO1(need, without, name, error, a) { need, without, SCMP_SYS(name), error, 1, { a } }
#define FCNTL(cmd) IF1(0, fcntl, IS(1, cmd))
#define SOCKOPT(need, level, option) IF2(need, setsockopt, IS(1, level), IS(2, option))
/* No MPTCP, SCTP or the like: the protocol is the default one or named. */
#define SOCKET(need, family, type, protocol) \
	IF3(need, socket, IS(0, family), BITS(1, 0xf, type), IS(2, 0)), \
	    IF3(need, socket, IS(0, family), BITS(1, 0xf, type), IS(2, protocol))

#define THREAD_FLAGS (CLONE_VM | CLONE_SIGHAND | CLONE_THREAD)

static const struct conditional conditionals[] = {
	IF1(0, mmap, BITS(2, PROT_EXEC, 0)),
	IF1(0, mprotect, BITS(2, PROT_EXEC, 0)),
	/* Reading limits, of itself. */
	IF2(0, prlimit64, IS(0, 0), BITS(2, ~0ULL, 0)),

	IF1(0, ioctl, IS(1, FIONREAD)),
	IF1(0, ioctl, IS(1, FIONBIO)),
	ERRNO1(0, 0, ioctl, ENOTTY, IS(1, TCGETS)), /* stdio asks */

	FCNTL(F_GETFL), FCNTL(F_SETFL), FCNTL(F_GETFD), FCNTL(F_SETFD), FCNTL(F_DUPFD), FCNTL(F_DUPFD_CLOEXEC),
	FCNTL(F_GETLK), FCNTL(F_SETLK), FCNTL(F_SETLKW), FCNTL(F_OFD_GETLK), FCNTL(F_OFD_SETLK), FCNTL(F_OFD_SETLKW),

	IF1(0, prctl, IS(0, PR_SET_NAME)),
	IF1(0, prctl, IS(0, PR_GET_NAME)),
	IF1(0, prctl, IS(0, PR_GET_DUMPABLE)),
	IF1(0, prctl, IS(0, PR_SET_PDEATHSIG)),

	SOCKOPT(0, SOL_SOCKET, SO_KEEPALIVE), SOCKOPT(0, SOL_SOCKET, SO_LINGER), SOCKOPT(0, SOL_SOCKET, SO_SNDBUF),
	SOCKOPT(0, SOL_SOCKET, SO_RCVBUF), SOCKOPT(0, SOL_SOCKET, SO_RCVTIMEO), SOCKOPT(0, SOL_SOCKET, SO_SNDTIMEO),
	SOCKOPT(0, SOL_SOCKET, SO_PASSCRED), SOCKOPT(0, SOL_SOCKET, SO_REUSEADDR),
	SOCKOPT(0, IPPROTO_TCP, TCP_NODELAY), SOCKOPT(0, IPPROTO_TCP, TCP_QUICKACK), SOCKOPT(0, IPPROTO_TCP, TCP_CORK),
	SOCKOPT(0, IPPROTO_TCP, TCP_KEEPIDLE), SOCKOPT(0, IPPROTO_TCP, TCP_KEEPINTVL),
	SOCKOPT(0, IPPROTO_TCP, TCP_KEEPCNT),
	SOCKOPT(0, IPPROTO_TCP, TCP_USER_TIMEOUT), SOCKOPT(0, IPPROTO_TCP, TCP_NOTSENT_LOWAT),

	/* Not IP_FREEBIND: with it an unprivileged process could send from addresses that are not ours. */
	SOCKET(SB_CONNECT_IN | SB_UDP, AF_INET, SOCK_STREAM, IPPROTO_TCP),
	SOCKET(SB_CONNECT_IN | SB_UDP, AF_INET6, SOCK_STREAM, IPPROTO_TCP),
	SOCKOPT(INET, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT), SOCKOPT(INET, IPPROTO_IP, IP_TOS),
	SOCKOPT(INET, IPPROTO_IPV6, IPV6_V6ONLY), SOCKOPT(INET, IPPROTO_IPV6, IPV6_TCLASS),

	/* What libunbound sets on the sockets that it opens for each question. */
	SOCKET(SB_UDP, AF_INET, SOCK_DGRAM, IPPROTO_UDP),
	SOCKET(SB_UDP, AF_INET6, SOCK_DGRAM, IPPROTO_UDP),
	SOCKOPT(SB_UDP, SOL_SOCKET, SO_REUSEPORT), SOCKOPT(SB_UDP, SOL_SOCKET, SO_RCVBUFFORCE),
	SOCKOPT(SB_UDP, SOL_SOCKET, SO_SNDBUFFORCE), SOCKOPT(SB_UDP, SOL_SOCKET, SO_TIMESTAMP),
	SOCKOPT(SB_UDP, SOL_SOCKET, SO_TIMESTAMPNS), SOCKOPT(SB_UDP, IPPROTO_IP, IP_MTU_DISCOVER),
	SOCKOPT(SB_UDP, IPPROTO_IP, IP_PKTINFO), SOCKOPT(SB_UDP, IPPROTO_IP, IP_RECVERR),
	SOCKOPT(SB_UDP, IPPROTO_IPV6, IPV6_MTU_DISCOVER), SOCKOPT(SB_UDP, IPPROTO_IPV6, IPV6_MTU),
	SOCKOPT(SB_UDP, IPPROTO_IPV6, IPV6_RECVPKTINFO), SOCKOPT(SB_UDP, IPPROTO_IPV6, IPV6_RECVERR),
	SOCKOPT(SB_UDP, IPPROTO_TCP, TCP_MAXSEG), SOCKOPT(SB_UDP, IPPROTO_TCP, TCP_FASTOPEN_CONNECT),

	SOCKET(SB_CONNECT_UN, AF_UNIX, SOCK_STREAM, 0),
	IF1(SB_FD_PASS, socketpair, IS(0, AF_UNIX)),

	/* Files: an error for who holds none, so that libraries that look for theirs live on (NSS, time zone,
	 * OpenSSL). */
	ERRNO0(0, open, EACCES), /* libc opens by openat */
	ERRNO0(FILES, openat, EACCES),
	ERRNO0(FILES, stat, EACCES), ERRNO0(FILES, lstat, EACCES), ERRNO0(FILES, statx, EACCES),
	ERRNO0(FILES, access, EACCES), ERRNO0(FILES, faccessat, EACCES), ERRNO0(FILES, faccessat2, EACCES),
	ERRNO0(FILES, readlink, EACCES), ERRNO0(FILES, readlinkat, EACCES),
	{ 0, FILES, SCMP_SYS(newfstatat), ACT_ALLOW, 1, { BITS(3, AT_EMPTY_PATH, AT_EMPTY_PATH) } }, /* fstat(3) */
	ERRNO1(0, FILES, newfstatat, EACCES, BITS(3, AT_EMPTY_PATH, 0)),
	/* Read only: any sign of writing is refused (O_TMPFILE's own bit, without that of O_DIRECTORY). */
	{ SB_FILES_RO, SB_FILES_RW, SCMP_SYS(openat), ACT_ALLOW, 1,
	    { BITS(2, O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY), 0) } },
	ERRNO1(SB_FILES_RO, SB_FILES_RW, openat, EACCES, BITS(2, O_WRONLY, O_WRONLY)),
	ERRNO1(SB_FILES_RO, SB_FILES_RW, openat, EACCES, BITS(2, O_RDWR, O_RDWR)),
	ERRNO1(SB_FILES_RO, SB_FILES_RW, openat, EACCES, BITS(2, O_CREAT, O_CREAT)),
	ERRNO1(SB_FILES_RO, SB_FILES_RW, openat, EACCES, BITS(2, O_TRUNC, O_TRUNC)),

	IF1(SB_THREADS, clone, BITS(0, THREAD_FLAGS, THREAD_FLAGS)),
	/* Its flags are in memory; libc falls back to clone. */
	{ SB_THREADS, 0, SCMP_SYS(clone3), ENOSYS, 0, { { 0 } } },
};

/* What no process below a parent of roles has any business with. */
static const int never[] = {
	SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register), SCMP_SYS(bpf),
	SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd), SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev), SCMP_SYS(pidfd_getfd), SCMP_SYS(kcmp), SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(delete_module), SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(reboot), SCMP_SYS(mount),
	SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(move_mount), SCMP_SYS(open_tree), SCMP_SYS(fsopen),
	SCMP_SYS(fsconfig), SCMP_SYS(fsmount), SCMP_SYS(fspick), SCMP_SYS(mount_setattr), SCMP_SYS(swapon),
	SCMP_SYS(swapoff), SCMP_SYS(chroot), SCMP_SYS(setns), SCMP_SYS(unshare), SCMP_SYS(add_key),
	SCMP_SYS(request_key),
	SCMP_SYS(keyctl), SCMP_SYS(open_by_handle_at), SCMP_SYS(acct), SCMP_SYS(settimeofday), SCMP_SYS(clock_settime),
	SCMP_SYS(clock_adjtime), SCMP_SYS(adjtimex), SCMP_SYS(iopl), SCMP_SYS(ioperm), SCMP_SYS(modify_ldt),
	SCMP_SYS(quotactl), SCMP_SYS(fanotify_init), SCMP_SYS(move_pages), SCMP_SYS(migrate_pages), SCMP_SYS(mbind),
	SCMP_SYS(set_mempolicy), SCMP_SYS(sethostname), SCMP_SYS(setdomainname), SCMP_SYS(syslog), SCMP_SYS(vhangup),
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool
applies(unsigned need, unsigned without, unsigned allow)
{
	return (need == 0 || (need & allow) != 0) && (without & allow) == 0;
}

/* A call that this architecture does not have (open on arm64) is no error. */
static int
add(scmp_filter_ctx ctx, uint32_t action, int nr, unsigned n, const struct scmp_arg_cmp *cmp)
{
	int rc = seccomp_rule_add_array(ctx, action, nr, n, cmp);

	return rc == -EDOM ? 0 : rc;
}

/* abort(3) and raise(3); in a role with threads the process is the same. */
static int
add_signals_to_self(scmp_filter_ctx ctx)
{
	struct scmp_arg_cmp self = IS(0, getpid());
	int rc;

	if ((rc = add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, &self)) == 0)
		rc = add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(kill), 1, &self);
	return rc;
}

static int
add_allowed(scmp_filter_ctx ctx, unsigned allow)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < COUNT(allowed); i++)
		if (applies(allowed[i].need, 0, allow))
			rc = add(ctx, SCMP_ACT_ALLOW, allowed[i].nr, 0, NULL);
	for (size_t i = 0; rc == 0 && i < COUNT(conditionals); i++) {
		const struct conditional *c = &conditionals[i];

		if (applies(c->need, c->without, allow))
			rc = add(ctx, c->action == ACT_ALLOW ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO((uint32_t)c->action),
			    c->nr,
			    c->n, c->cmp);
	}
	return rc == 0 ? add_signals_to_self(ctx) : rc;
}

static int
add_never(scmp_filter_ctx ctx)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < COUNT(never); i++)
		rc = add(ctx, SCMP_ACT_KILL_PROCESS, never[i], 0, NULL);
	return rc;
}

int
filter_load(unsigned allow)
{
	bool parent = (allow & SB_SPAWN) != 0;
	scmp_filter_ctx ctx = seccomp_init(parent ? SCMP_ACT_ALLOW : SCMP_ACT_KILL_PROCESS);
	int rc;

	if (ctx == NULL)
		return -ENOMEM;
	/* Foreign call tables (32-bit, x32) are never ours. A tree instead of a list of comparisons: some ten steps
	 * a call. */
	if ((rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS)) == 0 &&
	    (rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2)) == 0 &&
	    (rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1)) == 0 &&
	    (rc = parent ? add_never(ctx) : add_allowed(ctx, allow)) == 0)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	return rc;
}
