/* policy_reload = auto: looks at the configuration's files once a second, by name, so that editors that write another
 * file and rename it are seen; acts when a look finds what the last look found, and that is not what was acted upon. So
 * an edit has a second to settle, and a broken file is complained of once. */
#include <sys/stat.h>

#include <stdlib.h>

#include "base/log.h"

#include "supervise.h"

#define LOOK_MS 1000

static uint64_t
mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15u;
	return h ^ (h >> 29);
}

/* Of names, inodes, sizes and times of change of the files in force; never 0. */
static uint64_t
of_files(const struct supervisor *sup)
{
	uint64_t h = 1;
	struct stat st;

	for (size_t i = 0; i < sup->image->n; i++) {
		if (stat(sup->image->files[i].file, &st) == -1) {
			h = mix(h, 1);
			continue;
		}
		h = mix(mix(h, (uint64_t)st.st_ino), (uint64_t)st.st_size);
		h = mix(mix(h, (uint64_t)st.st_mtim.tv_sec), (uint64_t)st.st_mtim.tv_nsec);
		h = mix(mix(h, (uint64_t)st.st_ctim.tv_sec), (uint64_t)st.st_ctim.tv_nsec);
	}
	return h != 0 ? h : 1;
}

/* What is on the disk with errors may consist of other files, and of some that are missing: what is in them counts. */
static uint64_t
with_digest(uint64_t files, uint64_t digest)
{
	uint64_t h = mix(files, digest);

	return h != 0 ? h : 1;
}

static uint64_t
signature(const struct supervisor *sup, uint64_t files)
{
	struct config_image *now;
	uint64_t digest;

	if (sup->disk_errors == 0)
		return files;
	now = config_image_read(sup->config_dir);
	digest = now->digest;
	config_image_free(&now);
	return with_digest(files, digest);
}

static void
watch_act(struct supervisor *sup, uint64_t files)
{
	struct config_image *now = config_image_read(sup->config_dir);
	bool is_same = now->digest == sup->image->digest;
	char *sentence = NULL;

	config_image_free(&now);
	if (is_same) {
		sup->disk_errors = 0; /* touched, or put back */
		return;
	}
	/* It says in the log what it did, or every error. After a success the set of files may be another one, and an
	 * edit may have come after the files were read: the next look compares again. */
	sup->seen = sup->handled = sup_reload(sup, "auto", &sentence) ? 0 : with_digest(files, sup->refused);
	free(sentence);
	sup_advance(sup);
}

static void
on_look(void *arg)
{
	struct supervisor *sup = arg;
	uint64_t now, files, before = sup->seen;

	timer_set(&sup->watch, LOOK_MS);
	if (sup->phase != PHASE_SERVE || sup->params->policy_reload != RELOAD_AUTO)
		return;
	files = of_files(sup);
	sup->seen = now = signature(sup, files);
	if (now != before || now == sup->handled)
		return;
	sup->handled = now;
	watch_act(sup, files);
}

void
sup_watch_open(struct supervisor *sup)
{
	timer_init(&sup->watch, sup->loop, on_look, sup);
	sup->seen = sup->handled = 0; /* the first quiet second finds what was edited while we started */
	timer_set(&sup->watch, LOOK_MS);
}
