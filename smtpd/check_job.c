/* check_job.h: SPF begins at once; keys of DKIM and ARC and the record of DMARC are asked for when the header block
 * is there, while the body comes; what is open when the time is over is temperror. Everything in it is a stranger's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cidr.h"
#include "base/xalloc.h"
#include "mail/dns_answer.h"
#include "mail/orgdomain.h"
#include "mail/spf.h"

#include "smtpd/check_arc.h"
#include "smtpd/check_dmarc.h"
#include "smtpd/check_job.h"

/* Numbers of questions: each is open at most once. */
enum { Q_SPF = 1, Q_DMARC, Q_DMARC_ORGANIZATION, Q_KEY, Q_ARC = Q_KEY + AUTH_SIGNATURES_MAX };

#define ARC_OPEN_MAX 4 /* keys of ARC that are asked for at a time: the worker takes no more than 16 of all */

struct check_job {
	struct check_dkim_library *library;
	const struct check_job_ops *ops;
	void *arg;
	struct check_begin begin;
	struct timer timer;    /* the end of the time */
	struct auth_results results;
	bool is_done, is_late;
	/* Content. */
	struct wbuf head;
	uint64_t body_left;
	bool is_head_done, is_whole;
	/* SPF */
	struct spf *spf;
	/* DKIM */
	struct check_dkim *dkim;
	bool is_key_open[AUTH_SIGNATURES_MAX];
	/* ARC */
	struct check_arc *arc;
	bool is_arc_open[CHECK_ARC_KEYS];
	unsigned n_arc_open;
	/* DMARC */
	bool is_record_open, has_record;
	struct dns_reply record; /* kept until SPF and DKIM are known */
	char record_at[AUTH_DOMAIN_MAX + 1];
};

static void
ask(struct check_job *j, uint32_t number, const char *name, uint16_t type)
{
	struct check_question q = { .number = number, .type = type };

	memcpy(q.name, name, strlen(name) + 1);
	j->ops->ask(&q, j->arg);
}

/* ---- SPF ---- */

static const uint8_t spf_results[] = {
	[SPF_NONE] = AUTH_NONE, [SPF_NEUTRAL] = AUTH_NEUTRAL, [SPF_PASS] = AUTH_PASS, [SPF_FAIL] = AUTH_FAIL,
	[SPF_SOFTFAIL] = AUTH_SOFTFAIL, [SPF_TEMPERROR] = AUTH_TEMPERROR, [SPF_PERMERROR] = AUTH_PERMERROR
};

static void
spf_end(struct check_job *j)
{
	const struct spf_verdict *v = spf_verdict(j->spf);
	struct auth_spf *s = &j->results.spf;
	char text[SPF_TERM_MAX + 300];

	s->result = spf_results[v->result];
	auth_text(s->domain, sizeof s->domain, v->domain);
	if (v->problem[0] != '\0')
		snprintf(text, sizeof text, "%s", v->problem);
	else if (v->term[0] != '\0')
		snprintf(text, sizeof text, "matched '%s' directive", v->term);
	else
		snprintf(text, sizeof text, "no directive matched");
	auth_text(s->reason, sizeof s->reason, text);
	spf_free(&j->spf);
}

static void
spf_go_on(struct check_job *j)
{
	const struct spf_question *q = spf_question(j->spf);

	if (q == NULL)
		spf_end(j);
	else
		ask(j, Q_SPF, q->name, q->type);
}

static void
spf_begin(struct check_job *j)
{
	const struct check_begin *b = &j->begin;
	struct auth_spf *s = &j->results.spf;
	struct sockaddr_storage client;
	socklen_t len;

	s->is_helo = *b->sender == '\0';
	auth_text(s->identity, sizeof s->identity, s->is_helo ? b->helo : b->sender);
	if (sockaddr_parse(b->client, 0, &client, &len) == -1) {
		s->result = AUTH_NONE;
		auth_text(s->reason, sizeof s->reason, "the client has no IP address");
		return;
	}
	j->spf = spf_new(&(struct spf_query){ .client = (const struct sockaddr *)&client, .sender = b->sender,
	    .helo = b->helo, .receiver = *b->receiver != '\0' ? b->receiver : NULL });
	spf_go_on(j);
}

/* ---- DKIM and DMARC: the header block is there ---- */

static const char *
head_of(const struct check_job *j)
{
	return j->head.len > 0 ? (const char *)j->head.p : "";
}

static void
dmarc_begin(struct check_job *j)
{
	struct auth_dmarc *d = &j->results.dmarc;
	const char *why = check_dmarc_author(head_of(j), j->head.len, d->domain);
	char name[AUTH_DOMAIN_MAX + 16];

	if (why != NULL) {
		d->result = AUTH_PERMERROR;
		auth_text(d->reason, sizeof d->reason, why);
		return;
	}
	snprintf(name, sizeof name, "_dmarc.%s", d->domain);
	if (strlen(name) > AUTH_DOMAIN_MAX) {
		d->result = AUTH_PERMERROR;
		auth_text(d->reason, sizeof d->reason, "the author's domain is too long");
		return;
	}
	j->is_record_open = true;
	ask(j, Q_DMARC, name, DNS_TYPE_TXT);
}

static void
arc_go_on(struct check_job *j)
{
	const char *name;
	unsigned i;

	while (j->n_arc_open < ARC_OPEN_MAX && (name = check_arc_ask(j->arc, &i)) != NULL) {
		j->is_arc_open[i] = true;
		j->n_arc_open++;
		ask(j, Q_ARC + i, name, DNS_TYPE_TXT);
	}
}

static void
arc_reply(struct check_job *j, unsigned i, const struct dns_reply *r)
{
	j->is_arc_open[i] = false;
	j->n_arc_open--;
	check_arc_key(j->arc, i, r);
}

static void
head_end(struct check_job *j)
{
	const char *name;
	unsigned i;

	if ((j->begin.want & AUTH_WANT_DKIM) != 0) {
		j->dkim = check_dkim_new(j->library, head_of(j), j->head.len);
		for (i = 0; i < AUTH_SIGNATURES_MAX; i++)
			if ((name = check_dkim_key_name(j->dkim, i)) != NULL) {
				j->is_key_open[i] = true;
				ask(j, Q_KEY + i, name, DNS_TYPE_TXT);
			}
	}
	if ((j->begin.want & AUTH_WANT_DMARC) != 0)
		dmarc_begin(j);
	if ((j->begin.want & AUTH_WANT_ARC) != 0) {
		j->arc = check_arc_new(head_of(j), j->head.len, time(NULL));
		arc_go_on(j);
	}
	wbuf_clear(&j->head);
	j->is_head_done = true;
}

static bool
has_open_keys(const struct check_job *j)
{
	unsigned i;

	for (i = 0; i < AUTH_SIGNATURES_MAX; i++)
		if (j->is_key_open[i])
			return true;
	return false;
}

/* No record at the name: its organizational domain's counts (RFC 7489 section 6.6.3). */
static void
dmarc_next(struct check_job *j)
{
	struct auth_dmarc *d = &j->results.dmarc;
	const char *org = orgdomain_of(d->domain);
	char name[AUTH_DOMAIN_MAX + 16];

	if (strcmp(j->record_at, d->domain) != 0 || strcmp(org, d->domain) == 0) {
		d->result = AUTH_NONE;
		auth_text(d->reason, sizeof d->reason, "there is no record");
		return;
	}
	dns_reply_clear(&j->record);
	j->has_record = false;
	j->is_record_open = true;
	snprintf(name, sizeof name, "_dmarc.%s", org);
	ask(j, Q_DMARC_ORGANIZATION, name, DNS_TYPE_TXT);
}

/* The reply's texts move over. */
static void
record_take(struct check_job *j, const struct dns_reply *r, const char *at)
{
	unsigned i;

	j->is_record_open = false;
	j->has_record = true;
	memcpy(j->record_at, at, strlen(at) + 1);
	j->record = (struct dns_reply){ .status = r->status };
	for (i = 0; i < r->n_records; i++)
		dns_reply_add(&j->record, 0, xmemdup0(r->records[i].text, r->records[i].len), r->records[i].len);
}

/* ---- the end ---- */

static void
finish(struct check_job *j)
{
	auth_results_fail(&j->results, j->begin.want, "the name servers took too long");
	j->is_done = true;
	timer_cancel(&j->timer);
	j->ops->done(&j->results, j->arg);
}

/* What can be concluded is. */
static void
go_on(struct check_job *j)
{
	struct auth_results *r = &j->results;
	uint8_t want = j->begin.want;

	if (j->is_done)
		return;
	if (j->dkim != NULL && j->is_whole && !has_open_keys(j)) {
		check_dkim_end(j->dkim, r);
		check_dkim_free(&j->dkim);
	}
	if (j->arc != NULL && j->is_whole && j->n_arc_open == 0) {
		check_arc_end(j->arc, &r->arc);
		check_arc_free(&j->arc);
	}
	if ((want & AUTH_WANT_DMARC) != 0 && r->dmarc.result == 0 && j->has_record &&
	    ((want & AUTH_WANT_SPF) == 0 || r->spf.result != 0) && ((want & AUTH_WANT_DKIM) == 0 || r->dkim != 0)) {
		if (!check_dmarc_judge(r, &j->record, j->record_at))
			dmarc_next(j);
	}
	if (j->is_late || (((want & AUTH_WANT_SPF) == 0 || r->spf.result != 0) &&
	    ((want & AUTH_WANT_DKIM) == 0 || r->dkim != 0) && ((want & AUTH_WANT_DMARC) == 0 ||
	    r->dmarc.result != 0) && ((want & AUTH_WANT_ARC) == 0 || r->arc.result != 0)))
		finish(j);
}

static void
on_timer(void *arg)
{
	struct check_job *j = arg;
	unsigned i;

	j->is_late = true;
	if (j->spf != NULL) {
		spf_give_up(j->spf, "the name servers took too long");
		spf_end(j);
	}
	for (i = 0; i < AUTH_SIGNATURES_MAX; i++)
		if (j->is_key_open[i]) {
			j->is_key_open[i] = false;
			check_dkim_key(j->dkim, i, NULL);
		}
	for (i = 0; i < CHECK_ARC_KEYS; i++)
		if (j->is_arc_open[i])
			arc_reply(j, i, NULL);
	go_on(j);
}

struct check_job *
check_job_new(struct loop *loop, struct check_dkim_library *library, const struct check_begin *b,
    const struct check_job_ops *ops, void *arg)
{
	struct check_job *j = xcalloc(1, sizeof *j);

	j->library = library;
	j->ops = ops;
	j->arg = arg;
	j->begin = *b;
	j->begin.client = xstrdup(b->client);
	j->begin.helo = xstrdup(b->helo);
	j->begin.sender = xstrdup(b->sender);
	j->begin.receiver = xstrdup(b->receiver);
	j->body_left = b->body_len;
	wbuf_init(&j->head);
	timer_init(&j->timer, loop, on_timer, j);
	timer_set(&j->timer, CHECK_JOB_MS);
	return j;
}

/* What needs no content. */
void
check_job_start(struct check_job *j)
{
	if ((j->begin.want & AUTH_WANT_SPF) != 0)
		spf_begin(j);
	if (j->begin.head_len == 0)
		head_end(j);
	j->is_whole = j->begin.head_len == 0 && j->body_left == 0;
	go_on(j);
}

void
check_job_free(struct check_job **jp)
{
	struct check_job *j = *jp;

	if (j == NULL)
		return;
	timer_cancel(&j->timer);
	check_begin_clear(&j->begin);
	wbuf_clear(&j->head);
	spf_free(&j->spf);
	check_dkim_free(&j->dkim);
	check_arc_free(&j->arc);
	dns_reply_clear(&j->record);
	free(j);
	*jp = NULL;
}

int
check_job_data(struct check_job *j, const void *data, size_t n)
{
	const uint8_t *p = data;
	size_t head_left = j->begin.head_len - j->head.len, take;

	if (j->is_whole || n == 0)
		return -1;
	if (!j->is_head_done) {
		take = n < head_left ? n : head_left;
		wbuf_raw(&j->head, p, take);
		p += take;
		n -= take;
		if (take == head_left)
			head_end(j);
	}
	if (n > j->body_left)
		return -1;
	if (n > 0 && j->dkim != NULL)
		check_dkim_body(j->dkim, p, n);
	if (n > 0 && j->arc != NULL)
		check_arc_body(j->arc, p, n);
	j->body_left -= n;
	j->is_whole = j->is_head_done && j->body_left == 0;
	if (j->is_whole)
		go_on(j);
	return 0;
}

void
check_job_reply(struct check_job *j, uint32_t number, const struct dns_reply *r)
{
	const char *domain = j->results.dmarc.domain;

	if (j->is_done)
		return;
	if (number == Q_SPF && j->spf != NULL) {
		spf_answer(j->spf, r);
		spf_go_on(j);
	} else if (number == Q_DMARC && j->is_record_open && *j->record_at == '\0') {
		record_take(j, r, domain);
	} else if (number == Q_DMARC_ORGANIZATION && j->is_record_open && *j->record_at != '\0') {
		record_take(j, r, orgdomain_of(domain));
	} else if (number >= Q_KEY && number < Q_KEY + AUTH_SIGNATURES_MAX && j->is_key_open[number - Q_KEY]) {
		j->is_key_open[number - Q_KEY] = false;
		check_dkim_key(j->dkim, number - Q_KEY, r);
	} else if (number >= Q_ARC && number < Q_ARC + CHECK_ARC_KEYS && j->is_arc_open[number - Q_ARC]) {
		arc_reply(j, number - Q_ARC, r);
		arc_go_on(j);
	} else {
		return;
	}
	go_on(j);
}
