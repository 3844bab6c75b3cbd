/* The generation in force: the file that daemons load (mail/config.h), who runs it already, and what happens to those
 * that do not follow: SIGHUP again, then a restart. Numbers count on from the file in run_directory, so that they grow
 * over restarts of the suite until the host itself starts again. */
#include <sys/stat.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "supervise.h"

#define RETRY_MS 10000
#define NEXT ".next"

uint32_t
sup_generation_first(const struct supervisor *sup)
{
	struct config_image *old = config_image_open(sup->image_path);
	uint32_t number = old != NULL ? old->number + 1 : 1;

	config_image_free(&old);
	return number != 0 ? number : 1;
}

static bool
is_behind(const struct supervisor *sup, const struct sup_daemon *d)
{
	return !d->is_vanished && (d->state != SUP_READY || d->generation != sup->image->number);
}

/* A daemon that is ready, but runs another generation, is told again, and at last replaced. */
static void
on_retry(void *arg)
{
	struct supervisor *sup = arg;
	struct sup_daemon *d;
	bool is_done = true;

	sup->retries++;
	TAILQ_FOREACH(d, &sup->daemons, entry) {
		if (!is_behind(sup, d) || d->state != SUP_READY)
			continue;
		is_done = false;
		log_warn("%s runs generation %u, not %u: %s", d->name, d->generation, sup->image->number,
		    sup->retries > 1 ? "it is restarted" : "it is told again");
		if (sup->retries > 1)
			sup_daemon_stop(d, true);
		else
			sup_daemon_reload(d);
	}
	if (!is_done)
		timer_set(&sup->retry, RETRY_MS);
	sup_advance(sup);
}

/* Daemons read the configuration again as their own users, of which no two share a group. So the image is for
 * everybody, but never more so than the files that it was made of. */
static bool
is_public(const struct config_image *image)
{
	struct stat st;
	size_t i;

	for (i = 0; i < image->n; i++)
		if (stat(image->files[i].file, &st) == -1 || (st.st_mode & S_IROTH) == 0) {
			log_warn("%s is not readable by the daemons' users: they can take it over at their start only",
			    image->files[i].file);
			return false;
		}
	return true;
}

int
sup_generation_write(const struct supervisor *sup, const struct config_image *image)
{
	mode_t mode = geteuid() != 0 || !is_public(image) ? 0600 : 0644;
	char *next = xasprintf("%s" NEXT, sup->image_path);
	int rv = config_image_save(image, next, mode, (gid_t)-1);

	if (rv == -1)
		log_error("%s: %s", next, strerror(errno));
	free(next);
	return rv;
}

int
sup_generation_begin(struct supervisor *sup, const char *by)
{
	char *next = xasprintf("%s" NEXT, sup->image_path);
	int rv = rename(next, sup->image_path);

	if (rv == -1)
		log_error("%s: %s", sup->image_path, strerror(errno));
	free(next);
	if (rv == -1)
		return -1;
	sup->in_force_since = wall_ms();
	sup->in_force_by = by;
	sup->retries = 0;
	timer_cancel(&sup->retry);
	timer_init(&sup->retry, sup->loop, on_retry, sup);
	timer_set(&sup->retry, RETRY_MS);
	return 0;
}

bool
sup_generation_reached(const struct supervisor *sup, char **text_r)
{
	const struct sup_daemon *d;

	TAILQ_FOREACH(d, &sup->daemons, entry) {
		if (!is_behind(sup, d))
			continue;
		if (text_r != NULL)
			*text_r = d->state == SUP_READY ? xasprintf("generation %u is in force, but %s still runs %u",
			    sup->image->number, d->name, d->generation) : xasprintf("generation %u is in force, but %s "
			    "is %s", sup->image->number, d->name, sup_state_names[d->state]);
		return false;
	}
	return true;
}
