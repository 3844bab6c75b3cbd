/* posthorn reload: first a child says whether the new configuration is good, policy and all; only then anything
 * changes. Pools that are new get a deliverd, those of vanished pools stop, addresses are bound or given up, and the
 * rest get SIGHUP. What cannot change while running is named. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/wire.h"
#include "base/xalloc.h"

#include "supervise.h"

#define ANSWER_MAX 2900 /* of the answer's 3072 octets (mail/queue_link.h) */

/* All go to the log; the answer has as many as it holds, and says how many more there are. */
static char *
reload_errors_text(const struct conf_errors *errors)
{
	bool is_full = false;
	struct wbuf out;
	char *text;

	wbuf_init(&out);
	for (size_t i = 0; i < errors->n; i++) {
		char *line = conf_error_text(&errors->v[i]), *more;

		log_error("reload refused: %s", line);
		if (!is_full && out.len + strlen(line) + 1 > ANSWER_MAX) {
			is_full = true;
			more = xasprintf("\nand %zu more errors: `posthorn check' lists all", errors->n - i);
			wbuf_raw(&out, more, strlen(more));
			free(more);
		} else if (!is_full) {
			wbuf_raw(&out, "\n", i > 0);
			wbuf_raw(&out, line, strlen(line));
		}
		free(line);
	}
	text = xmemdup0(out.p, out.len);
	wbuf_clear(&out);
	return text;
}

static bool
param_differs(const struct conf *a, const struct conf *b, const char *name)
{
	const char *x = conf_text(a, name, NULL), *y = conf_text(b, name, NULL);

	return strcmp(x != NULL ? x : "", y != NULL ? y : "") != 0;
}

/* "queue_directory, smtpd_processes", or NULL. The listen parameters are our own business, in sup_sockets_open(). */
static char *
reload_needs_restart(const struct conf *old, const struct conf *new)
{
	char *list = NULL;

	for (size_t i = 0; i < params_count; i++) {
		const char *name = params_table[i].name;
		char *more;

		if (!params_table[i].is_restart || params_table[i].type == CONF_LISTEN ||
		    !param_differs(old, new, name))
			continue;
		more = list == NULL ? xstrdup(name) : xasprintf("%s, %s", list, name);
		free(list);
		list = more;
	}
	return list;
}

/* Directories that are in use stay what they are until the suite is stopped: everything that we made lies there. */
static void
reload_keep(struct params *new, const struct params *old)
{
	free(new->run_directory);
	new->run_directory = xstrdup(old->run_directory);
	free(new->daemon_directory);
	new->daemon_directory = xstrdup(old->daemon_directory);
}

static bool
pool_listed(const struct pool_list *pools, const char *name)
{
	for (size_t i = 0; i < pools->n; i++) {
		if (strcmp(pools->v[i], name) == 0)
			return true;
	}
	return false;
}

static struct sup_daemon *
pool_daemon(struct supervisor *sup, const char *pool)
{
	struct sup_daemon *d;

	TAILQ_FOREACH(d, &sup->daemons, entry) {
		if (d->pool != NULL && strcmp(d->pool, pool) == 0)
			return d;
	}
	return NULL;
}

/* Those that go first, then those that come: a source may have moved from one pool to another. */
static void
reload_pools(struct supervisor *sup, const struct pool_list *pools)
{
	struct sup_daemon *d, *next;

	TAILQ_FOREACH_SAFE(d, &sup->daemons, entry, next) {
		if (d->pool == NULL || d->is_vanished || pool_listed(pools, d->pool))
			continue;
		log_info("pool %s is gone from the policy", d->pool);
		d->is_vanished = true;
		sup_daemon_stop(d, false);
	}
	for (size_t i = 0; i < pools->n; i++) {
		d = pool_daemon(sup, pools->v[i]);
		if (d == NULL) {
			log_info("pool %s is new in the policy", pools->v[i]);
			sup_daemon_start(sup_daemon_new(sup, SUP_DELIVERD, pools->v[i]));
		} else if (d->is_vanished) {
			d->is_vanished = false; /* it came back while its deliverd was still stopping */
			sup_daemon_stop(d, true);
		}
	}
}

/* SIGHUP to who was running before; smtpd is replaced if it needs other sockets, while clients wait in the backlog. */
static void
reload_tell(struct supervisor *sup, const struct pool_list *pools, bool new_sockets)
{
	struct sup_daemon *d;

	TAILQ_FOREACH(d, &sup->daemons, entry) {
		if (d->kind == SUP_SMTPD && new_sockets)
			sup_daemon_stop(d, true);
		else if (d->pool == NULL || pool_listed(pools, d->pool))
			sup_daemon_reload(d);
	}
	reload_pools(sup, pools);
}

/* Binds what is new. 1: the set has changed; 0: it has not; -1: an address could not be bound. */
static int
reload_sockets(struct supervisor *sup, const struct params *new, char **err_r)
{
	struct sup_sockets fresh;
	int changed = 0;
	size_t old_n = sup->sockets.n;

	if (sup->has_foreign_sockets)
		return 0;
	if (sup_sockets_open(new, &sup->sockets, &fresh, err_r) == -1)
		return -1;
	/* What is still in the old set is in no parameter any more. */
	for (size_t i = 0; i < sup->sockets.n; i++)
		changed |= sup->sockets.v[i].fd != -1;
	changed |= fresh.n != old_n;
	sup_sockets_close(&sup->sockets);
	sup->sockets = fresh;
	return changed;
}

static char *
reload_apply(struct supervisor *sup, struct config_image *image, struct params *new, struct conf *conf,
    const struct pool_list *pools,
    bool new_sockets)
{
	char *list = reload_needs_restart(sup->conf, conf), *sentence;

	config_image_free(&sup->image);
	sup->image = image;
	reload_keep(new, sup->params);
	params_free(&sup->params);
	conf_free(&sup->conf);
	sup->params = new;
	sup->conf = conf;
	log_set_level((enum log_level)new->log_level);
	reload_tell(sup, pools, new_sockets);
	if (list == NULL)
		return xasprintf("generation %u is in force", sup->image->number);
	log_warn("reloaded, but a change of %s takes a restart of the suite", list);
	sentence = xasprintf("generation %u is in force; the change of %s takes a restart of the suite",
	    sup->image->number, list);
	free(list);
	return sentence;
}

/* A file that was missing when the image was made, and there when it was looked at for errors, is in no image. */
static bool
is_whole(const struct config_image *image, char **err_r)
{
	if (!image->is_whole)
		*err_r = xstrdup("the files changed while they were read; reload again");
	return image->is_whole;
}

bool
sup_reload(struct supervisor *sup, const char *by, char **sentence_r)
{
	struct conf_errors errors = { NULL, 0 }, warnings = { NULL, 0 };
	struct pool_list pools = { NULL, 0, NULL, 0 };
	struct params *new = NULL;
	struct conf *conf = NULL;
	struct config_image *image;
	int changed = -1;

	*sentence_r = NULL;
	image = config_image_read(sup->config_dir);
	image->number = sup->image->number + 1;
	config_image_enter(image); /* also for the child that checks */
	if (check_config(sup->config_dir, &pools, NULL, &errors, &warnings) == 0 &&
	    (new = params_load(sup->config_dir, &conf, &errors)) != NULL &&
	    (check_files(new, conf, &errors, &warnings), errors.n == 0) && is_whole(image, sentence_r) &&
	    sup_generation_write(sup, image) == 0 && (changed = reload_sockets(sup, new, sentence_r)) != -1 &&
	    sup_generation_begin(sup, by) == 0) {
		sup_log_warnings(&warnings);
		*sentence_r = reload_apply(sup, image, new, conf, &pools, changed == 1);
		log_info("reloaded, %zu pools generation=%u digest=%016jx by=%s", pools.n, sup->image->number,
		    (uintmax_t)sup->image->digest, by);
		sup->disk_errors = 0;
	} else {
		changed = -1;
		if (sup->disk_errors == 0)
			sup->disk_errors_since = wall_ms();
		sup->disk_errors = errors.n > 0 ? (unsigned)errors.n : 1;
		sup->refused = image->digest;
		config_image_free(&image);
		params_free(&new);
		conf_free(&conf);
		if (*sentence_r == NULL)
			*sentence_r = reload_errors_text(&errors);
		else
			log_error("reload refused: %s", *sentence_r);
	}
	config_image_leave();
	conf_errors_clear(&errors);
	conf_errors_clear(&warnings);
	pool_list_clear(&pools);
	return changed != -1;
}
