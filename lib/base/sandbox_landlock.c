/* Landlock (landlock(7)): what is left of the file system, of TCP ports, and of abstract sockets and signals of
 * others. Runs once in each role's start. Debian 12's kernel has ABI 2, newer ones more; its headers know rights up
 * to ABI 2 and its libc no wrapper, hence the definitions here. Every right that the running kernel knows is taken
 * away; the rules give back the paths of the role.
 *
 * Descriptors that are open already are not touched by any of this: they are how a role reaches its files. */
#include <sys/stat.h>
#include <sys/syscall.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdint.h>
#include <unistd.h>

#include "base/log.h"

#include "base/sandbox_impl.h"

#define LL_CREATE_RULESET_VERSION (1U << 0)
#define LL_RULE_PATH_BENEATH 1
#define LL_RULE_NET_PORT 2

#define LL_FS_EXECUTE (1ULL << 0)
#define LL_FS_WRITE_FILE (1ULL << 1)
#define LL_FS_READ_FILE (1ULL << 2)
#define LL_FS_READ_DIR (1ULL << 3)
#define LL_FS_REMOVE_DIR (1ULL << 4)
#define LL_FS_REMOVE_FILE (1ULL << 5)
#define LL_FS_MAKE_DIR (1ULL << 7)
#define LL_FS_MAKE_REG (1ULL << 8)
#define LL_FS_MAKE_SYM (1ULL << 12)
#define LL_FS_ABI1 ((1ULL << 13) - 1)
#define LL_FS_REFER (1ULL << 13)     /* ABI 2 */
#define LL_FS_TRUNCATE (1ULL << 14)  /* ABI 3 */
#define LL_FS_IOCTL_DEV (1ULL << 15) /* ABI 5 */

#define LL_NET_BIND_TCP (1ULL << 0) /* ABI 4 */
#define LL_NET_CONNECT_TCP (1ULL << 1)

#define LL_SCOPE_ABSTRACT_UNIX (1ULL << 0) /* ABI 6 */
#define LL_SCOPE_SIGNAL (1ULL << 1)

#define LL_FS_READ (LL_FS_READ_FILE | LL_FS_READ_DIR)
#define LL_FS_WRITE                                                                                        \
	(LL_FS_WRITE_FILE | LL_FS_TRUNCATE | LL_FS_REMOVE_FILE | LL_FS_REMOVE_DIR | LL_FS_MAKE_REG | \
	    LL_FS_MAKE_DIR | LL_FS_MAKE_SYM | LL_FS_REFER)
/* What a rule for something that is not a directory may name. */
#define LL_FS_OF_FILES (LL_FS_EXECUTE | LL_FS_READ_FILE | LL_FS_WRITE_FILE | LL_FS_TRUNCATE)

/* An older kernel takes the longer structure as long as what it does not know is zero. */
struct ll_ruleset_attr {
	uint64_t handled_fs;
	uint64_t handled_net;
	uint64_t scoped;
};

struct ll_path_attr {
	uint64_t allowed;
	int32_t parent_fd;
} __attribute__((packed));

struct ll_port_attr {
	uint64_t allowed;
	uint64_t port;
};

int
landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LL_CREATE_RULESET_VERSION);

	return abi < 0 ? 0 : (int)abi;
}

static struct ll_ruleset_attr
handled_rights(const struct sandbox *sb, int abi)
{
	struct ll_ruleset_attr attr = { .handled_fs = LL_FS_ABI1 };

	if (abi >= 2)
		attr.handled_fs |= LL_FS_REFER;
	if (abi >= 3)
		attr.handled_fs |= LL_FS_TRUNCATE;
	if (abi >= 4) {
		attr.handled_net = LL_NET_BIND_TCP;
		/* Where mail goes, and which port a name server has, is not known here. */
		if ((sb->allow & (SB_CONNECT_IN | SB_UDP)) == 0 || sb->connect_port != 0)
			attr.handled_net |= LL_NET_CONNECT_TCP;
	}
	if (abi >= 5)
		attr.handled_fs |= LL_FS_IOCTL_DEV;
	if (abi >= 6 && (sb->allow & SB_SPAWN) == 0)
		attr.scoped = LL_SCOPE_ABSTRACT_UNIX | LL_SCOPE_SIGNAL;
	return attr;
}

static int
add_path(int ruleset, const char *path, uint64_t rights)
{
	struct ll_path_attr rule = { .allowed = rights };
	struct stat st;
	int rc = -1, saved;

	if ((rule.parent_fd = open(path, O_PATH | O_CLOEXEC)) == -1)
		return -1;
	if (fstat(rule.parent_fd, &st) == 0) {
		if (!S_ISDIR(st.st_mode))
			rule.allowed &= LL_FS_OF_FILES;
		rc = (int)syscall(SYS_landlock_add_rule, ruleset, LL_RULE_PATH_BENEATH, &rule, 0U);
	}
	saved = errno;
	close(rule.parent_fd);
	errno = saved;
	return rc;
}

/* Reports of a sanitizer need the process's maps and the program's symbols. */
static void
add_sanitizer_paths(int ruleset)
{
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (n > 0) {
		exe[n] = '\0';
		if (add_path(ruleset, dirname(exe), LL_FS_READ) == -1)
			log_debug("no rule for the folder of the executable: %m");
	}
	if (add_path(ruleset, "/proc", LL_FS_READ) == -1 || add_path(ruleset, "/usr", LL_FS_READ) == -1)
		log_debug("no rule for the sanitizer: %m");
}

static int
add_rules(const struct sandbox *sb, int ruleset, const struct ll_ruleset_attr *attr, size_t *missing_r)
{
	/* An outgoing connection may choose its address, not a port to be found at. */
	struct ll_port_attr any_port = { .allowed = LL_NET_BIND_TCP, .port = 0 };
	struct ll_port_attr the_port = { .allowed = LL_NET_CONNECT_TCP, .port = sb->connect_port };
	uint64_t rights;

	for (size_t i = 0; i < sb->n_paths; i++) {
		rights = LL_FS_READ | (sb->paths[i].write ? LL_FS_WRITE : 0);
		if ((sb->allow & SB_SPAWN) != 0)
			rights |= LL_FS_EXECUTE;
		if (add_path(ruleset, sb->paths[i].path, rights & attr->handled_fs) == 0)
			continue;
		log_warn("sandbox: %s will not be reachable: %m", sb->paths[i].path);
		(*missing_r)++;
	}
	if (SANDBOX_SANITIZED)
		add_sanitizer_paths(ruleset);
	if ((attr->handled_net & LL_NET_CONNECT_TCP) != 0 && sb->connect_port != 0 &&
	    syscall(SYS_landlock_add_rule, ruleset, LL_RULE_NET_PORT, &the_port, 0U) == -1)
		return -1;
	if (attr->handled_net != 0 && (sb->allow & (SB_CONNECT_IN | SB_UDP)) != 0)
		return (int)syscall(SYS_landlock_add_rule, ruleset, LL_RULE_NET_PORT, &any_port, 0U);
	return 0;
}

int
landlock_prepare(const struct sandbox *sb, int abi, size_t *missing_r)
{
	struct ll_ruleset_attr attr = handled_rights(sb, abi);
	int ruleset, saved;

	*missing_r = 0;
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0U);
	if (ruleset == -1)
		return -1;
	if (add_rules(sb, ruleset, &attr, missing_r) == -1) {
		saved = errno;
		close(ruleset);
		errno = saved;
		return -1;
	}
	return ruleset;
}

int
landlock_enforce(int ruleset)
{
	int rc = (int)syscall(SYS_landlock_restrict_self, ruleset, 0U), saved = errno;

	close(ruleset);
	errno = saved;
	return rc;
}
