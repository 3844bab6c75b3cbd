/* Questions of checks to name servers, one at a time: a check is a plain function, and the loop runs while it waits.
 * Each question is asked once. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/spf_run.h"

#include "doctor.h"

#define QUESTION_MS 10000

struct doctor_reply {
	struct doctor_reply *next;
	struct loop *loop;
	char *name;
	uint16_t type;
	bool is_there;
	struct dns_reply reply;
};

/* A copy, by way of the link's own words. */
static void
reply_keep(struct doctor_reply *a, const struct dns_reply *reply)
{
	struct wbuf w;
	struct rbuf r;

	wbuf_init(&w);
	dns_reply_encode(reply, &w);
	rbuf_init(&r, w.p, w.len);
	if (dns_reply_decode(&r, &a->reply) == -1)
		a->reply.status = DNS_TEMPORARY;
	wbuf_clear(&w);
	a->is_there = true;
}

static void
on_answer(const struct dns_reply *reply, void *arg)
{
	struct doctor_reply *a = arg;

	reply_keep(a, reply);
	loop_stop(a->loop);
}

const struct dns_reply *
doctor_known(const struct doctor *d, const char *name, uint16_t type)
{
	const struct doctor_reply *a;

	for (a = d->replies; a != NULL; a = a->next)
		if (a->type == type && strcasecmp(a->name, name) == 0)
			return &a->reply;
	return NULL;
}

const struct dns_reply *
doctor_ask(struct doctor *d, const char *name, uint16_t type)
{
	char unavailable[] = "the resolver is not there", no_name[] = "not a name";
	struct dns_reply none = { .status = DNS_TEMPORARY, .text = unavailable };
	const struct dns_reply *known = doctor_known(d, name, type);
	struct doctor_reply *a;

	if (known != NULL)
		return known;
	a = xcalloc(1, sizeof(*a));
	a->name = xstrdup(name);
	a->type = type;
	a->loop = d->loop;
	a->next = d->replies;
	d->replies = a;
	if (!dns_name_askable(name)) {
		none = (struct dns_reply){ .status = DNS_NXDOMAIN, .text = no_name };
		reply_keep(a, &none);
	} else if (dns_client_ask(d->dns, name, type, QUESTION_MS, on_answer, a) == NULL) {
		reply_keep(a, &none);
	}
	if (!a->is_there)
		(void)loop_run(d->loop);
	if (!a->is_there)
		reply_keep(a, &none);
	return &a->reply;
}

void
doctor_forget(struct doctor *d)
{
	struct doctor_reply *a;

	while ((a = d->replies) != NULL) {
		d->replies = a->next;
		free(a->name);
		dns_reply_clear(&a->reply);
		free(a);
	}
}

const unsigned char *
doctor_source_ip(const struct doctor_source *s)
{
	if (s->sa.ss_family == AF_INET)
		return (const unsigned char *)&((const struct sockaddr_in *)&s->sa)->sin_addr;
	return (const unsigned char *)&((const struct sockaddr_in6 *)&s->sa)->sin6_addr;
}

bool
doctor_has_address(struct doctor *d, const char *name, const struct doctor_source *s, bool *failed_r)
{
	bool is_ip6 = s->sa.ss_family == AF_INET6;
	const struct dns_reply *r = doctor_ask(d, name, is_ip6 ? DNS_TYPE_AAAA : DNS_TYPE_A);
	unsigned char ip[16];
	unsigned i;

	*failed_r = r->status == DNS_TEMPORARY;
	for (i = 0; i < r->n_records; i++)
		if (inet_pton(s->sa.ss_family, r->records[i].text, ip) == 1 &&
		    memcmp(ip, doctor_source_ip(s), is_ip6 ? 16 : 4) == 0)
			return true;
	return false;
}

struct spf_wait {
	struct loop *loop;
	struct spf_verdict *out;
};

static void
on_verdict(const struct spf_verdict *v, void *arg)
{
	struct spf_wait *w = arg;

	*w->out = *v;
	loop_stop(w->loop);
}

void
doctor_spf(struct doctor *d, const struct spf_query *q, struct spf_verdict *out)
{
	struct spf_wait w = { d->loop, out };

	(void)spf_run_start(d->loop, d->dns, q, on_verdict, &w);
	(void)loop_run(d->loop);
}
