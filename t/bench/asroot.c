/* Lets Postfix run as an ordinary user, for `make bench`: its programs insist on starting as root and on changing to
 * other users. Preloaded into them, this says "you are root", lets every change of user or owner succeed, and only
 * remembers which user the process believes to be. It costs nothing that a bench would see, and is not used when the
 * bench itself runs as root. */
#include <sys/types.h>

#include <grp.h>
#include <unistd.h>

static uid_t uid, euid;

uid_t
getuid(void)
{
	return uid;
}

uid_t
geteuid(void)
{
	return euid;
}

int
setuid(uid_t u)
{
	uid = euid = u;
	return 0;
}

int
seteuid(uid_t u)
{
	euid = u;
	return 0;
}

int
setgid(gid_t gid)
{
	(void)gid;
	return 0;
}

int
setegid(gid_t gid)
{
	(void)gid;
	return 0;
}

int
setgroups(size_t n, const gid_t *list)
{
	(void)n;
	(void)list;
	return 0;
}

int
initgroups(const char *user, gid_t group)
{
	(void)user;
	(void)group;
	return 0;
}

int
chown(const char *path, uid_t u, gid_t g)
{
	(void)path;
	(void)u;
	(void)g;
	return 0;
}

int
fchown(int fd, uid_t u, gid_t g)
{
	(void)fd;
	(void)u;
	(void)g;
	return 0;
}
