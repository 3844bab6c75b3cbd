/* See dns_ask.h. */
#include <stdlib.h>

#include "base/xalloc.h"

#include "dns_ask.h"
#include "dns_child.h"

#define OPEN_MAX_QUESTIONS 200
#define QUESTION_MS 10000
#define WHOLE_MS 60000
#define CHILD_SECONDS 70u

/* What a callback is about. */
struct asked {
	struct asker *a;
	size_t i;
};

struct asker {
	struct loop *loop;
	struct dns_client *dns;
	uint16_t type;
	const char *const *names;
	struct asked *asked;
	size_t n, next, n_open;
	struct timer end;
	dns_ask_fn *fn;
	void *arg;
};

static void on_records(const struct dns_reply *, void *);

static void
questions_send(struct asker *a)
{
	struct asked *q;

	while (a->next < a->n && a->n_open < OPEN_MAX_QUESTIONS) {
		q = &a->asked[a->next];
		*q = (struct asked){ a, a->next };
		if (dns_client_ask(a->dns, a->names[q->i], a->type, QUESTION_MS, on_records, q) == NULL)
			break;
		a->next++;
		a->n_open++;
	}
	if (a->n_open == 0)
		loop_stop(a->loop);
}

static void
on_records(const struct dns_reply *reply, void *arg)
{
	struct asked *q = arg;
	struct asker *a = q->a;

	a->n_open--;
	a->fn(q->i, reply, a->arg);
	questions_send(a);
}

static void
on_end(void *arg)
{
	struct asker *a = arg;

	loop_stop(a->loop);
}

int
dns_ask_all(const struct params *params, uint16_t type, const char *const *names, size_t n, dns_ask_fn *fn,
    void *arg)
{
	struct asker a = { .type = type, .names = names, .n = n, .fn = fn, .arg = arg };
	pid_t pid;
	int fd;

	if (n == 0)
		return 0;
	if ((fd = dns_child_start(params, CHILD_SECONDS, &pid)) == -1)
		return -1;
	a.loop = loop_new();
	a.dns = dns_client_new(a.loop);
	timer_init(&a.end, a.loop, on_end, &a);
	timer_set(&a.end, WHOLE_MS);
	dns_client_set_peer(a.dns, fd);
	a.asked = xcalloc(n, sizeof(*a.asked));
	questions_send(&a);
	if (a.n_open > 0)
		(void)loop_run(a.loop);
	timer_cancel(&a.end);
	dns_client_free(&a.dns);
	loop_free(&a.loop);
	free(a.asked);
	dns_child_end(pid);
	return 0;
}
