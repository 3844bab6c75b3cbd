/* The parse role (parse_role.h): the link to the role that asks, and the jail. What is done with a message is in
 * dsn_parse.c and arf_parse.c, which are bounded by themselves; this is for the day when they are not. */
#include <stdlib.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/roles.h"
#include "base/xalloc.h"

#include "mail/parse_link.h"
#include "mail/parse_role.h"

#define LONELY_MS 5000
#define MAX_FDS 32

struct parse_role {
	struct loop *loop;
	struct ipc *peer;
	struct role_link *link; /* NULL: not a role */
	struct timer lonely;
};

static void
on_ask(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct parse_answer answer = { .kinds = 0 };
	struct parse_asked asked;
	const struct parse_ask *a = &asked.ask;
	struct wbuf w;

	(void)arg;
	if (parse_ask_decode(&m->body, &asked) == -1) {
		ipc_reject(ipc, "malformed question");
		return;
	}
	loop_progress();
	answer.kinds = a->kinds;
	if ((a->kinds & PARSE_DSN) != 0)
		dsn_parse(&answer.dsn, a->content.base, a->content.len, a->mail_from, a->wanted, a->n_wanted);
	if ((a->kinds & PARSE_ARF) != 0)
		arf_parse(&answer.arf, a->content.base, a->content.len, a->wanted, a->n_wanted);
	wbuf_init(&w);
	parse_answer_encode(&answer, &w);
	ipc_send(ipc, PARSE_ANSWER, m->id, &w, -1);
	wbuf_clear(&w);
	parse_answer_clear(&answer);
	parse_asked_clear(&asked);
}

/* An asking role that died has a successor by now, who brings a new link. If the link alone broke, there is nobody to
 * bring one: only our own successor can. */
static void
on_lonely(void *arg)
{
	struct parse_role *d = arg;

	log_warn("nobody asks any more, ending for a successor");
	loop_stop(d->loop);
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct parse_role *d = arg;

	log_info("the asking role is gone: %s", why);
	if (d->peer == ipc) {
		d->peer = NULL;
		timer_set(&d->lonely, LONELY_MS);
	}
}

static const struct ipc_rule rules[] = {
	{ PARSE_ASK, false, PARSE_ASK_MAX, "ask", on_ask },
};
static const struct ipc_ops ops = { rules, sizeof(rules) / sizeof(rules[0]), on_gone };

struct parse_role *
parse_role_new(struct loop *loop)
{
	struct parse_role *d = xcalloc(1, sizeof(*d));

	d->loop = loop;
	timer_init(&d->lonely, loop, on_lonely, d);
	return d;
}

void
parse_role_free(struct parse_role **dp)
{
	struct parse_role *d = *dp;

	*dp = NULL;
	if (d == NULL)
		return;
	ipc_close(&d->peer);
	timer_cancel(&d->lonely);
	free(d);
}

void
parse_role_set_peer(struct parse_role *d, int fd)
{
	ipc_close(&d->peer);
	timer_cancel(&d->lonely);
	d->peer = ipc_new(d->loop, fd, &ops, d);
}

static void
on_partner(int fd, void *arg)
{
	parse_role_set_peer(arg, fd);
}

/* It has no configuration: a reload changes nothing. A role that drains still asks: the parent stops us after it. */
static void
on_word(enum role_word word, void *arg)
{
	struct parse_role *d = arg;

	if (word == ROLE_RELOAD)
		role_link_ready(d->link);
	if (word == ROLE_STOP || (word == ROLE_DRAIN && d->peer == NULL))
		loop_stop(d->loop);
}

void
parse_role_jail(const char *role, const char *user, enum sandbox_mode mode)
{
	const struct sandbox box = { .role = role, .user = user, .mode = mode, .allow = 0, .max_fds = MAX_FDS,
		.max_memory = PARSE_MEMORY };

	sandbox_enter(&box);
}

int
parse_role_main(const char *role, const char *user, enum sandbox_mode mode)
{
	struct loop *loop = loop_new();
	struct parse_role *d = parse_role_new(loop);
	int status;

	parse_role_jail(role, user, mode);
	parse_role_set_peer(d, ROLE_PARTNER_FD);
	d->link = role_link_new(loop, on_word, on_partner, d);
	loop_watchdog(loop, PARSE_SECONDS);
	loop_watchdog_cpu(loop, PARSE_CPU_SECONDS);
	role_link_ready(d->link);
	status = loop_run(loop);
	role_link_free(&d->link);
	parse_role_free(&d);
	loop_free(&loop);
	return status == 0 ? 0 : 1;
}
