/* The index at start-up: looked at before LMDB is given it, set aside if it is damaged. What was set aside is evidence
 * for people, never read again by us; the newest few are kept. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/index_check.h"
#include "queued/index_open.h"
#include "queued/queued.h"
#include "queued/store.h"

#define PREFIX "index.bad-"
#define KEEP_ASIDE 3
#define SAME_SECOND_MAX 100

static int
is_aside(const struct dirent *de)
{
	return strncmp(de->d_name, PREFIX, sizeof(PREFIX) - 1) == 0;
}

static void
remove_aside(const char *queue_directory, const char *name)
{
	static const char *const files[] = { "data.mdb", "lock.mdb" };
	char *path = xasprintf("%s/%s", queue_directory, name), *file;
	size_t i;

	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		file = xasprintf("%s/%s", path, files[i]);
		(void)unlink(file);
		free(file);
	}
	if (rmdir(path) == -1 && (errno != ENOTDIR || unlink(path) == -1))
		log_warn("%s: %s", path, strerror(errno));
	else
		log_info("%s is removed: newer ones are there", path);
	free(path);
}

/* Names are times: in the order of scandir the oldest come first. */
static void
prune_aside(const char *queue_directory)
{
	struct dirent **list = NULL;
	int i, n = scandir(queue_directory, &list, is_aside, alphasort);

	for (i = 0; i < n; i++) {
		if (i < n - KEEP_ASIDE)
			remove_aside(queue_directory, list[i]->d_name);
		free(list[i]);
	}
	free(list);
}

static int
set_aside(const struct queued *q, const char *why, char **err_r)
{
	const char *dir = q->params->queue_directory;
	time_t now = time(NULL);
	char stamp[32], *aside = NULL;
	struct tm tm;
	int i, r = -1;

	gmtime_r(&now, &tm);
	(void)strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	for (i = 0; r == -1 && i < SAME_SECOND_MAX; i++) {
		free(aside);
		aside = i == 0 ? xasprintf("%s/" PREFIX "%s", dir, stamp) :
		    xasprintf("%s/" PREFIX "%s.%02d", dir, stamp, i);
		if ((r = rename(q->index_dir, aside)) == -1 && errno != EEXIST && errno != ENOTEMPTY)
			break;
	}
	if (r == -1)
		*err_r = xasprintf("the index %s is damaged (%s) and cannot be renamed to %s: %s", q->index_dir, why,
		    aside, strerror(errno));
	else
		log_error("the index is damaged: %s; it is set aside as %s", why, aside);
	free(aside);
	prune_aside(dir);
	return r;
}

int
index_open(struct queued *q, bool *empty_r, char **err_r)
{
	bool is_marked = store_marked_bad(q->index_dir, false);
	int64_t started = mono_ms();
	enum store_opened what;
	const char *why = NULL;
	enum index_state state = index_check(q->index_dir, &why);

	log_info("index read in %jd ms", (intmax_t)(mono_ms() - started));
	/* What the last run stumbled over may be what this check does not see. */
	if (is_marked && state == INDEX_SOUND) {
		state = INDEX_DAMAGED;
		why = "the last run found it so";
	}
	if (state == INDEX_DAMAGED) {
		if (set_aside(q, why, err_r) == -1)
			return -1;
		state = INDEX_NEW;
	}
	if (is_marked)
		(void)store_marked_bad(q->index_dir, true);
	*empty_r = state == INDEX_NEW;
	q->store = store_open(q->index_dir, q->params->index_size_limit, &what, err_r);
	if (q->store != NULL || what != STORE_CORRUPT)
		return q->store == NULL ? -1 : 0;
	free(*err_r);
	*empty_r = true;
	if (set_aside(q, "LMDB does not take it", err_r) == -1)
		return -1;
	q->store = store_open(q->index_dir, q->params->index_size_limit, &what, err_r);
	return q->store == NULL ? -1 : 0;
}
