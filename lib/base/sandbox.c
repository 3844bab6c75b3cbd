/* How a role gives up what it does not need. Runs once in each role, after everything that needs rights or files was
 * opened and before the first hostile byte. The order matters: lookups and paths while root, groups before user, the
 * proof that there is no way back, then what works without rights (no_new_privs, limits, Landlock), and the filter
 * last because it forbids all of the above.
 *
 * Nothing here degrades in silence: whatever could not be had is in the one line at the end, or ends the process. */
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#include "base/sandbox_impl.h"

#define MAX_GROUPS 16
#define NOBODY 65534

/* Who the role will be; looked up while name services can still be asked. */
struct identity {
	bool change;
	char name[64];
	uid_t uid;
	gid_t gid;
	gid_t groups[MAX_GROUPS];
	size_t n_groups;
};

struct achieved {
	int abi;            /* Landlock's, 0: not in force */
	const char *filter;
};

bool
sandbox_separate_users(const char *user)
{
	return geteuid() == 0 && getpwnam(user) != NULL;
}

static void
identity_add_groups(struct identity *who, const struct sandbox *sb)
{
	const struct group *gr;

	for (const char *const *g = sb->groups; g != NULL && *g != NULL; g++) {
		if ((gr = getgrnam(*g)) == NULL) {
			log_warn("sandbox: there is no group %s", *g);
			continue;
		}
		if (who->n_groups == MAX_GROUPS)
			fatal("sandbox: more than %d groups for role %s", MAX_GROUPS, sb->role);
		who->groups[who->n_groups++] = gr->gr_gid;
	}
}

static void
identity_find(struct identity *who, const struct sandbox *sb)
{
	const struct passwd *pw;

	memset(who, 0, sizeof(*who));
	if (sb->user == NULL || geteuid() != 0)
		return;
	who->change = true;
	if ((pw = getpwnam(sb->user)) != NULL) {
		if (pw->pw_uid == 0 || pw->pw_gid == 0)
			fatal("sandbox: user %s is root or has its group", sb->user);
		snprintf(who->name, sizeof(who->name), "%s", sb->user);
		who->uid = pw->pw_uid;
		who->gid = pw->pw_gid;
		who->groups[who->n_groups++] = who->gid;
		identity_add_groups(who, sb);
		return;
	}
	log_warn("sandbox: the suite's users do not exist (%s): role %s runs as nobody, not separated from the others",
	    sb->user,
	    sb->role);
	pw = getpwnam("nobody");
	snprintf(who->name, sizeof(who->name), "nobody");
	who->uid = pw != NULL && pw->pw_uid != 0 ? pw->pw_uid : NOBODY;
	who->gid = pw != NULL && pw->pw_gid != 0 ? pw->pw_gid : NOBODY;
	who->groups[who->n_groups++] = who->gid;
}

/* systemd can start us with ambient capabilities, and odd secure bits would keep root's. */
static void
drop_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } }, now[2];

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == -1 && errno != EINVAL)
		fatal("sandbox: cannot clear ambient capabilities: %m");
	if (syscall(SYS_capset, &head, none) == -1)
		fatal("sandbox: cannot drop capabilities: %m");
	if (syscall(SYS_capget, &head, now) == -1)
		fatal("sandbox: cannot read capabilities: %m");
	for (size_t i = 0; i < 2; i++)
		if (now[i].effective != 0 || now[i].permitted != 0 || now[i].inheritable != 0)
			fatal("sandbox: capabilities are left after the drop");
}

static void
verify_identity(const struct identity *who)
{
	uid_t ruid, euid, suid;
	gid_t rgid, egid, sgid, groups[MAX_GROUPS];
	int n;

	if (getresuid(&ruid, &euid, &suid) == -1 || getresgid(&rgid, &egid, &sgid) == -1)
		fatal("sandbox: cannot read the user: %m");
	if (ruid != who->uid || euid != who->uid || suid != who->uid || rgid != who->gid || egid != who->gid ||
	    sgid != who->gid)
		fatal("sandbox: the change to user %s is not complete", who->name);
	if ((n = getgroups(MAX_GROUPS, groups)) == -1 || (size_t)n > who->n_groups)
		fatal("sandbox: groups are left after the change to user %s", who->name);
	for (int i = 0; i < n; i++)
		if (groups[i] == 0)
			fatal("sandbox: root's group is left after the change to user %s", who->name);
	if (setresuid((uid_t)-1, 0, (uid_t)-1) != -1 || setuid(0) != -1 || setgid(0) != -1 || setgroups(0, NULL) != -1)
		fatal("sandbox: user %s can become root again", who->name);
}

static void
enter_identity(const struct identity *who)
{
	if (!who->change)
		return;
	if (setgroups(who->n_groups, who->groups) == -1)
		fatal("sandbox: cannot set the groups of %s: %m", who->name);
	if (setresgid(who->gid, who->gid, who->gid) == -1)
		fatal("sandbox: cannot become group %u: %m", (unsigned)who->gid);
	if (setresuid(who->uid, who->uid, who->uid) == -1)
		fatal("sandbox: cannot become user %s: %m", who->name);
}

static void
set_limit(int which, const char *name, rlim_t soft, rlim_t hard)
{
	struct rlimit rl = { soft, hard };

	if (setrlimit((__rlimit_resource_t)which, &rl) == -1)
		fatal("sandbox: cannot set limit %s: %m", name);
}

#define FILES_ENOUGH 8192

/* While still root: only root may raise the hard limit. Others get what there is. */
static void
limit_files(const struct sandbox *sb)
{
	struct rlimit rl;

	if (sb->max_fds == 0 || getrlimit(RLIMIT_NOFILE, &rl) == -1)
		return;
	if (sb->max_fds > rl.rlim_max) {
		struct rlimit higher = { sb->max_fds, sb->max_fds };

		if (setrlimit(RLIMIT_NOFILE, &higher) == 0)
			return;
		/* A few thousand serve anybody; fewer may not. */
		(rl.rlim_max < FILES_ENOUGH ? log_warn : log_debug)(
		    "sandbox: role %s wants %zu descriptors and gets %llu", sb->role, sb->max_fds,
		    (unsigned long long)rl.rlim_max);
		set_limit(RLIMIT_NOFILE, "NOFILE", rl.rlim_max, rl.rlim_max);
		return;
	}
	/* A parent's children are sized by themselves. */
	set_limit(RLIMIT_NOFILE, "NOFILE", sb->max_fds, (sb->allow & SB_SPAWN) != 0 ? rl.rlim_max : sb->max_fds);
}

static void
limit_rest(const struct sandbox *sb)
{
	set_limit(RLIMIT_CORE, "CORE", 0, 0);
	if (SANDBOX_SANITIZED) {
		/* The leak check traces this process from a clone of it: it must be dumpable, which the user change
		 * undid. */
		prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
		return;
	}
	if ((sb->allow & (SB_SPAWN | SB_THREADS)) == 0)
		set_limit(RLIMIT_NPROC, "NPROC", 0, 0);
	if (sb->max_memory > 0)
		set_limit(RLIMIT_AS, "AS", sb->max_memory, sb->max_memory);
	/* No other process of the same user may read our memory. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1)
		fatal("sandbox: cannot become undumpable: %m");
}

/* Under `required` everything must be there. */
static void
missing(const struct sandbox *sb, const char *what, int error)
{
	if (sb->mode == SANDBOX_REQUIRED)
		fatal("sandbox: %s is required and failed: %s", what, strerror(error));
	log_warn("sandbox: role %s goes on without %s: %s", sb->role, what, strerror(error));
}

/* The ruleset is made before the user changes: the role's paths may lie in folders that only root may pass. */
static int
prepare_landlock(const struct sandbox *sb, struct achieved *done)
{
	size_t missing_paths;
	int fd;

	if (sb->mode == SANDBOX_OFF || ((sb->allow & SB_SPAWN) != 0 && sb->n_paths == 0))
		return -1;
	if ((done->abi = landlock_abi()) == 0) {
		missing(sb, "Landlock", ENOSYS);
		return -1;
	}
	if ((fd = landlock_prepare(sb, done->abi, &missing_paths)) == -1) {
		done->abi = 0;
		missing(sb, "Landlock", errno);
	} else if (missing_paths > 0 && sb->mode == SANDBOX_REQUIRED)
		fatal("sandbox: role %s would miss %zu of its paths", sb->role, missing_paths);
	return fd;
}

static void
enter_filter(const struct sandbox *sb, struct achieved *done)
{
	int rc;

	if (sb->mode == SANDBOX_OFF) {
		done->filter = "off";
		return;
	}
	if (SANDBOX_SANITIZED) {
		done->filter = "none(sanitizer build)";
		return;
	}
	if ((rc = filter_load(sb->allow)) == 0) {
		done->filter = (sb->allow & SB_SPAWN) != 0 ? "parent" : "kill";
		return;
	}
	done->filter = "none";
	missing(sb, "the system-call filter", -rc);
}

static void
log_achieved(const struct sandbox *sb, const struct identity *who, const struct achieved *done)
{
	struct rlimit files, memory;
	char landlock[32] = "none", as[32] = "any";

	if (sb->mode == SANDBOX_OFF)
		snprintf(landlock, sizeof(landlock), "off");
	else if (done->abi > 0)
		snprintf(landlock, sizeof(landlock), "abi%d", done->abi);
	if (getrlimit(RLIMIT_NOFILE, &files) == -1)
		files.rlim_cur = 0;
	if (getrlimit(RLIMIT_AS, &memory) == 0 && memory.rlim_cur != RLIM_INFINITY)
		snprintf(as, sizeof(as), "%llu", (unsigned long long)memory.rlim_cur);
	log_info("sandboxed role=%s user=%s uid=%u gid=%u groups=%zu no_new_privs=1 landlock=%s paths=%zu filter=%s "
	    "allow=0x%x files=%llu memory=%s", sb->role, who->change ? who->name : "unchanged", (unsigned)geteuid(),
	    (unsigned)getegid(), who->n_groups, landlock, sb->n_paths, done->filter, sb->allow,
	    (unsigned long long)files.rlim_cur, as);
}

void
sandbox_enter(const struct sandbox *sb)
{
	struct achieved done = { 0, "none" };
	struct identity who;
	int ruleset;

	identity_find(&who, sb);
	ruleset = prepare_landlock(sb, &done);
	limit_files(sb);
	enter_identity(&who);
	/* Root that keeps its user (a parent) keeps its rights too. */
	if (geteuid() != 0)
		drop_capabilities();
	if (who.change)
		verify_identity(&who);
	limit_rest(sb);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
		fatal("sandbox: cannot set no_new_privs: %m");
	if (ruleset != -1 && landlock_enforce(ruleset) == -1) {
		done.abi = 0;
		missing(sb, "Landlock", errno);
	}
	enter_filter(sb, &done);
	log_achieved(sb, &who, &done);
}
