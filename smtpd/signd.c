/* The sign role: signs hashes for its worker with keys that it reads itself, below one directory, under a user of its
 * own. It sees no message. Whoever breaks into the worker can have things signed while that lasts, and takes no key
 * along.
 *
 * Which key is asked for by name, and what the worker believes of it (algorithm, selector) is checked: the field that
 * the hash is of says both, so a worker that guessed wrong is told and asks again. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/roles.h"
#include "base/sandbox.h"
#include "base/xalloc.h"
#include "mail/dkim_key.h"

#include "smtpd/sign_link.h"
#include "smtpd/signd.h"
#include "smtpd/users.h"

#define WATCHDOG_SECONDS 30

struct signd {
	struct loop *loop;
	struct dkim_keys *keys;
	struct ipc *worker;
	struct role_link *link;
};

static char *
absent_if_empty(char *s)
{
	return *s != '\0' ? s : NULL;
}

static void
on_ask(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct signd *d = arg;
	struct sign_answer ans = { .status = SIGN_FAILED };
	const char *err = "OpenSSL did not sign", *selector;
	struct dkim_signer of;
	struct dkim_key *k;
	struct sign_ask a;
	struct wbuf w;

	if (sign_ask_decode(&m->body, &a) == -1) {
		ipc_reject(ipc, "malformed question");
		return;
	}
	of = (struct dkim_signer){ .domain = a.domain, .selector = a.is_current ? NULL : a.selector,
		.key = absent_if_empty(a.key), .key_dir = absent_if_empty(a.key_dir) };
	if ((k = dkim_keys_find(d->keys, &of, loop_now(d->loop), &selector, &err)) != NULL) {
		ans.algorithm = (uint8_t)dkim_key_algorithm(k);
		if (ans.algorithm != a.algorithm || strcmp(selector, a.selector) != 0)
			ans.status = SIGN_OTHER;
		else if ((ans.len = dkim_key_sign(k, a.hash, ans.signature)) > 0)
			ans.status = SIGN_OK;
	}
	ans.text = xstrdup(ans.status == SIGN_OTHER ? selector : ans.status == SIGN_FAILED ? err : "");
	wbuf_init(&w);
	sign_answer_encode(&ans, &w);
	ipc_send(ipc, SIGN_ANSWER, m->id, &w, -1);
	wbuf_clear(&w);
	sign_answer_clear(&ans);
	sign_ask_clear(&a);
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct signd *d = arg;

	log_info("worker is gone: %s", why);
	if (d->worker == ipc)
		d->worker = NULL;
}

static const struct ipc_rule rules[] = {
	{ SIGN_ASK, false, SIGN_ASK_MAX, "ask", on_ask }
};
static const struct ipc_ops ops = { rules, sizeof rules / sizeof rules[0], on_gone };

struct signd *
signd_new(struct loop *loop, const char *dir)
{
	struct signd *d = xcalloc(1, sizeof *d);

	d->loop = loop;
	d->keys = dkim_keys_new(dir);
	return d;
}

void
signd_set_worker(struct signd *d, int fd)
{
	if (d->worker != NULL)
		ipc_close(&d->worker);
	d->worker = ipc_new(d->loop, fd, &ops, d);
}

void
signd_free(struct signd **dp)
{
	struct signd *d = *dp;

	if (d == NULL)
		return;
	if (d->worker != NULL)
		ipc_close(&d->worker);
	dkim_keys_free(&d->keys);
	free(d);
	*dp = NULL;
}

static void
on_partner(int fd, void *arg)
{
	signd_set_worker(arg, fd);
}

static void
on_word(enum role_word word, void *arg)
{
	struct signd *d = arg;

	/* A draining worker still has mail to be signed; the parent stops us when that one is gone. */
	if (word == ROLE_STOP)
		loop_stop(d->loop);
}

int
signd_main(const struct params *p)
{
	const struct sandbox_path paths[] = { { p->dkim_key_directory, false } };
	/* Where the configuration is closed to all but the daemons. */
	static const char *const groups[] = { "posthorn", NULL };
	struct loop *loop = loop_new();
	struct signd *d = signd_new(loop, p->dkim_key_directory);

	d->link = role_link_new(loop, on_word, NULL, d);
	role_link_on_other(d->link, PLACE_SIGN, on_partner);
	sandbox_enter(&(struct sandbox){
		.role = "smtpd/sign", .user = SIGN_USER, .groups = groups, .mode = (enum sandbox_mode)p->sandbox,
		.allow = SB_FILES_RO, .paths = paths, .n_paths = access(p->dkim_key_directory, F_OK) == 0 ? 1 : 0,
		.max_fds = 64, .max_memory = 1u << 30
	});
	loop_watchdog(loop, WATCHDOG_SECONDS);
	role_link_ready(d->link);
	loop_run(loop);
	role_link_free(&d->link);
	signd_free(&d);
	loop_free(&loop);
	return 0;
}
