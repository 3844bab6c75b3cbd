/* bouncerd(8): bounces that come as mail, and the suppression list. The process is mail/report_main, the role's loop
 * mail/report_role; what is done with a report is in bounce.c, the list in list.c. */
#include <stdlib.h>

#include "base/xalloc.h"
#include "mail/parse_role.h"
#include "mail/report_role.h"

#include "bouncerd/bounce.h"
#include "bouncerd/bouncerd.h"
#include "bouncerd/list.h"

static void
on_open(struct report_role *r, struct sandbox *box)
{
	struct bouncerd *b = xcalloc(1, sizeof(*b));

	r->own = b;
	b->list = list_open(r->params, box);
}

static void
on_start(struct report_role *r)
{
	struct bouncerd *b = r->own;

	list_start(b->list, r->loop);
	b->bouncer = bouncer_new(r);
}

static void
on_up(struct report_role *r)
{
	list_up(((struct bouncerd *)r->own)->list);
}

static void
on_close(struct report_role *r)
{
	struct bouncerd *b = r->own;

	if (b == NULL)
		return;
	bouncer_free(&b->bouncer);
	list_free(&b->list);
	free(b);
	r->own = NULL;
}

static int
parse_main(const struct params *p, const char *user)
{
	return parse_role_main(PARSE_ROLE, user, (enum sandbox_mode)p->sandbox);
}

#define RULES_MAX 8

int
main(int argc, char **argv)
{
	static struct ipc_rule rules[RULES_MAX];
	static size_t n_rules;
	static const struct report_spec spec = { .name = "bouncerd", .user = "posthorn-bouncerd",
		.consumer = QL_BOUNCERD, .open = on_open, .start = on_start, .work = bounce_work,
		.up = on_up, .parser = bounce_parser, .close = on_close, .rules = rules, .n_rules = &n_rules,
		.parse_main = parse_main };

	for (size_t i = 0; i < list_n_rules && n_rules < RULES_MAX; i++)
		rules[n_rules++] = list_rules[i];
	for (size_t i = 0; i < bounce_n_rules && n_rules < RULES_MAX; i++)
		rules[n_rules++] = bounce_rules_of_link[i];
	return report_main(&spec, argc, argv);
}
