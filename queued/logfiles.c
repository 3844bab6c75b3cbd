/* $log_directory/events/YYYYMMDDTHH.jsonl (UTC), append only, readable by the group. The previous descriptor stays
 * with those who still write to it, so no line is lost at the change of the hour. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/link.h"
#include "queued/logfiles.h"
#include "queued/queued.h"

struct logfiles {
	struct queued *q;
	char hour[16];
	int fd;
	bool has_failed;
};

static void
hour_of(int64_t wall, char out[16])
{
	time_t t = (time_t)(wall / 1000);
	struct tm tm;

	gmtime_r(&t, &tm);
	if (strftime(out, 16, "%Y%m%dT%H", &tm) == 0)
		out[0] = '\0';
}

/* `current` names the file of the hour at every moment, also while it changes: a reader by name (tail -F) goes on. */
static void
logfiles_point(struct logfiles *l, const char *hour)
{
	char *link = xasprintf("%s/current", l->q->events_dir), *made = xasprintf("%s/.current", l->q->events_dir);
	char target[32];

	(void)snprintf(target, sizeof(target), "%s.jsonl", hour);
	(void)unlink(made); /* left by a crash */
	if (symlink(target, made) == -1 || rename(made, link) == -1)
		log_warn("event log %s: %s", link, strerror(errno));
	free(link);
	free(made);
}

static void
logfiles_open(struct logfiles *l, const char *hour)
{
	char *path = xasprintf("%s/%s.jsonl", l->q->events_dir, hour);
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);

	if (fd == -1) {
		if (!l->has_failed)
			log_error("event log %s: %s%s", path, strerror(errno),
			    l->fd != -1 ? ": events go to the file of the hour before, until it can be opened" : "");
		l->has_failed = true;
		free(path);
		return;
	}
	free(path);
	l->has_failed = false;
	logfiles_point(l, hour);
	if (l->fd != -1)
		close(l->fd);
	l->fd = fd;
	(void)snprintf(l->hour, sizeof(l->hour), "%s", hour);
	/* The writer closes what it is given; clients get theirs from ours. */
	eventlog_set_fd(l->q->events, fcntl(fd, F_DUPFD_CLOEXEC, 3));
	if (l->q->clients != NULL)
		clients_send_logfd(l->q->clients);
}

void
logfiles_at(struct logfiles *l, int64_t wall)
{
	char hour[16];

	hour_of(wall, hour);
	if (strcmp(hour, l->hour) != 0)
		logfiles_open(l, hour);
}

void
logfiles_second(struct logfiles *l)
{
	logfiles_at(l, loop_wall(l->q->loop));
}

/* Without a file nothing that happens could be recorded; later, that of the last hour goes on if the next cannot be
 * opened. */
struct logfiles *
logfiles_new(struct queued *q, char **err_r)
{
	struct logfiles *l = xcalloc(1, sizeof(*l));

	l->q = q;
	l->fd = -1;
	logfiles_second(l);
	if (l->fd == -1) {
		*err_r = xasprintf("the event log in %s cannot be written", q->events_dir);
		logfiles_free(&l);
	}
	return l;
}

void
logfiles_free(struct logfiles **lp)
{
	if (*lp == NULL)
		return;
	if ((*lp)->fd != -1)
		close((*lp)->fd);
	free(*lp);
	*lp = NULL;
}

int
logfiles_reader(const struct logfiles *l, int64_t wall)
{
	char hour[16], *path;
	int fd;

	hour_of(wall, hour);
	path = xasprintf("%s/%s.jsonl", l->q->events_dir, hour);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	free(path);
	return fd;
}

int
logfiles_current(const struct logfiles *l, const char **hour_r)
{
	*hour_r = l->hour;
	return l->fd;
}
