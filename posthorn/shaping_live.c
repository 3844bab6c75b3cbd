/* The known domains of providers, resolved (shaping_live.h). The library that speaks DNS runs in a child in the jail of
 * the daemons' dns role, and dies with this command; its answers are decoded like a stranger's. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/dns_client.h"

#include "dns_child.h"
#include "shaping_live.h"

#define OPEN_MAX_QUESTIONS 200
#define QUESTION_MS 10000
#define WHOLE_MS 60000
#define CHILD_SECONDS 70u

/* What a callback is about. */
struct asked {
	struct asker *a;
	struct live_domain *d;
};

struct asker {
	struct loop *loop;
	struct asked *asked; /* as many as there are domains */
	struct dns_client *dns;
	struct live *live;
	size_t next, n_open;
	struct timer end;
};

static void
strs_add(struct conf_strs *l, const char *s)
{
	l->v = xreallocarray(l->v, l->n + 1, sizeof(char *));
	l->v[l->n++] = xstrdup(s);
}

static int
name_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void questions_send(struct asker *);

static void
on_records(const struct dns_reply *reply, void *arg)
{
	struct asked *q = arg;
	struct asker *a = q->a;
	struct live_domain *d = q->d;
	size_t len = strlen(d->known.domain);
	const char *text = reply->text != NULL ? reply->text : "no answer";
	unsigned i;

	a->n_open--;
	free(d->problem);
	d->problem = NULL;
	if (reply->status != DNS_OK) {
		/* It begins with the domain, which our own sentence has. */
		if (strncmp(text, d->known.domain, len) == 0 && strncmp(text + len, ": ", 2) == 0)
			text += len + 2;
		d->problem = xstrdup(text);
	} else if (reply->n_records == 0) {
		d->problem = xstrdup("has no MX");
	} else {
		for (i = 0; i < reply->n_records; i++)
			if (dns_name_valid(reply->records[i].text))
				strs_add(&d->mx, reply->records[i].text);
		if (d->mx.n > 0)
			qsort(d->mx.v, d->mx.n, sizeof(char *), name_cmp);
		else
			d->problem = xstrdup("does not accept mail");
	}
	questions_send(a);
}

static void
questions_send(struct asker *a)
{
	struct asked *q;

	while (a->next < a->live->n && a->n_open < OPEN_MAX_QUESTIONS) {
		q = &a->asked[a->next];
		*q = (struct asked){ a, &a->live->v[a->next] };
		if (dns_client_ask(a->dns, q->d->known.domain, DNS_TYPE_MX, QUESTION_MS, on_records, q) == NULL)
			break;
		a->next++;
		a->n_open++;
	}
	if (a->n_open == 0)
		loop_stop(a->loop);
}

static void
on_end(void *arg)
{
	struct asker *a = arg;

	loop_stop(a->loop);
}

static void
known_collect(const struct shaping *s, struct live *live)
{
	struct shaping_known k;
	size_t i;

	for (i = 0; shaping_known(s, i, &k); i++) {
		live->v = xreallocarray(live->v, live->n + 1, sizeof(*live->v));
		live->v[live->n++] = (struct live_domain){ .known = k,
			.problem = xstrdup("the name service gave no answer in time") };
	}
}

static void
domain_judge(const struct shaping *s, struct live_domain *d, struct conf_errors *f)
{
	struct shaping_path path = { .domain = d->known.domain, .mx = (const char *const *)d->mx.v, .n_mx = d->mx.n };
	const struct shaping_origin *o = d->known.origin;

	if (d->problem != NULL) {
		conf_error_add(f, o->file, o->line, "%s: its known domain %s: %s", o->layer, d->known.domain,
		    d->problem);
		return;
	}
	d->found = shaping_provider(s, &path);
	if (d->found == NULL || strcmp(d->found, d->known.provider) != 0)
		conf_error_add(f, o->file, o->line, "%s: its known domain %s now has %s%s as MX and falls to %s",
		    o->layer, d->known.domain, d->mx.v[0], d->mx.n > 1 ? " and others" : "",
		    d->found != NULL ? d->found : "no provider");
}

int
live_check(const struct params *params, const struct shaping *s, struct live *live, struct conf_errors *findings)
{
	struct asker a = { .live = live };
	pid_t pid;
	size_t i;
	int fd;

	*live = (struct live){ NULL, 0 };
	known_collect(s, live);
	if (live->n == 0)
		return 0;
	if ((fd = dns_child_start(params, CHILD_SECONDS, &pid)) == -1)
		return -1;
	a.loop = loop_new();
	a.dns = dns_client_new(a.loop);
	timer_init(&a.end, a.loop, on_end, &a);
	timer_set(&a.end, WHOLE_MS);
	dns_client_set_peer(a.dns, fd);
	a.asked = xcalloc(live->n, sizeof(*a.asked));
	questions_send(&a);
	if (a.n_open > 0)
		(void)loop_run(a.loop); /* what has no answer by then says so */
	timer_cancel(&a.end);
	dns_client_free(&a.dns);
	loop_free(&a.loop);
	free(a.asked);
	dns_child_end(pid);
	for (i = 0; i < live->n; i++)
		domain_judge(s, &live->v[i], findings);
	return 0;
}

void
live_clear(struct live *live)
{
	size_t i, j;

	for (i = 0; i < live->n; i++) {
		for (j = 0; j < live->v[i].mx.n; j++)
			free(live->v[i].mx.v[j]);
		free(live->v[i].mx.v);
		free(live->v[i].problem);
	}
	free(live->v);
	*live = (struct live){ NULL, 0 };
}
