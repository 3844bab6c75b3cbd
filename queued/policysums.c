/* Sums of policysums.h. Names and numbers come from our own daemons, which strangers may have taken over: there is room
 * for so many names, and no number leaves what JSON readers take. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/policy_errors.h"
#include "mail/queue_link.h"
#include "queued/link.h"
#include "queued/policysums.h"
#include "queued/queued.h"

#define DAEMONS_MAX 300 /* each pool has one; beyond it they are one */
#define COUNT_MAX (1ull << 53)

struct sum {
	char *daemon;
	struct policy_errors errors;
};

struct policy_sums {
	struct sum *v;
	size_t n;
};

struct policy_sums *
policy_sums_new(void)
{
	return xcalloc(1, sizeof(struct policy_sums));
}

void
policy_sums_free(struct policy_sums **sp)
{
	struct policy_sums *s = *sp;
	size_t i;

	*sp = NULL;
	if (s == NULL)
		return;
	for (i = 0; i < s->n; i++)
		free(s->v[i].daemon);
	free(s->v);
	free(s);
}

static struct sum *
sum_of(struct policy_sums *s, const char *daemon)
{
	size_t i;

	if (s->n >= DAEMONS_MAX)
		daemon = "others";
	for (i = 0; i < s->n; i++)
		if (strcmp(s->v[i].daemon, daemon) == 0)
			return &s->v[i];
	s->v = xreallocarray(s->v, s->n + 1, sizeof(*s->v));
	s->v[s->n] = (struct sum){ .daemon = xstrdup(daemon) };
	return &s->v[s->n++];
}

/* The name is that of `posthorn status`: the workers of smtpd are one daemon, each pool has its own deliverd. */
void
policy_sums_on_errors(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct client *cl = arg;
	struct policy_errors more;
	struct sum *sum;
	char *daemon;
	size_t i;

	if (policy_errors_decode(&m->body, &more) == -1) {
		ipc_reject(ipc, "malformed POLICY_ERRORS");
		return;
	}
	daemon = cl->role == QL_ROLE_CONSUMER ? xasprintf("deliverd/%s", cl->name) : xstrdup("smtpd");
	sum = sum_of(cl->q->policy_sums, daemon);
	free(daemon);
	for (i = 0; i < POLICY_ERRORS_MAX; i++)
		sum->errors.n[i] = more.n[i] < COUNT_MAX - sum->errors.n[i] ? sum->errors.n[i] + more.n[i] : COUNT_MAX;
}

static void
sum_json(const char *daemon, const struct policy_errors *e, struct json *j)
{
	const char *event;
	size_t i;

	for (i = 0; (event = policy_errors_event(i)) != NULL; i++) {
		if (e->n[i] == 0)
			continue;
		json_obj(j, NULL);
		json_str(j, "daemon", daemon);
		json_str(j, "event", event);
		json_int(j, "errors", (int64_t)e->n[i]);
		json_obj_end(j);
	}
}

void
policy_sums_json(const struct policy_sums *s, struct json *j)
{
	size_t i;

	json_arr(j, "policy_errors");
	sum_json("queued", policy_errors_own(), j);
	for (i = 0; i < s->n; i++)
		sum_json(s->v[i].daemon, &s->v[i].errors, j);
	json_arr_end(j);
}
