/* check_host() of RFC 7208 (spf.h). The evaluator is a plain recursive function which runs from the beginning whenever
 * an answer has come; where it needs one that it does not have it leaves the question behind and unwinds. So nothing
 * is kept between answers but the answers, of which there are few (SPF_QUESTIONS_MAX), and a run takes microseconds. */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/dns_answer.h"
#include "mail/dns_reverse.h"
#include "mail/spf_private.h"

#define SPF_NEED ((enum spf_result)0) /* beside the results: an answer is missing */
#define SURVEY_MAX 100 /* look-ups that a survey counts */

/* What is kept of an answer. */
struct answer {
	struct spf_question question;
	bool is_error;
	unsigned n, n_all; /* kept; there were */
	bool is_policy;    /* TXT: SPF records are among them, and only those are kept */
	struct dns_record *records; /* addresses as octets; MX best first */
	char problem[128];
};

struct spf {
	struct spf_query query;
	struct spf_macros macros;
	unsigned char ip[16];
	char *sender, *helo, *receiver, *local;
	char domain[SPF_NAME_MAX + 1], sender_domain[SPF_NAME_MAX + 1], validated[SPF_NAME_MAX + 1];
	struct answer *answers;
	unsigned n_answers;
	struct spf_question question;
	bool is_done;
	struct spf_verdict verdict;
};

/* The record that check_host() looks at. */
struct frame {
	const char *domain;
	struct slice record;
	bool is_included;
	struct slice exp, redirect;
};

static enum spf_result check_host(struct spf *, const char *domain, bool is_included);

static enum spf_result
conclude(struct spf *s, enum spf_result result, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Names in it are a stranger's. */
static enum spf_result
conclude(struct spf *s, enum spf_result result, const char *fmt, ...)
{
	va_list ap;
	char *c;

	va_start(ap, fmt);
	vsnprintf(s->verdict.problem, sizeof(s->verdict.problem), fmt, ap);
	va_end(ap);
	for (c = s->verdict.problem; *c != '\0'; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
	return result;
}

/* Printable, as it came: terms stand in sentences. */
static void
term_text(struct slice t, char out[SPF_TERM_MAX])
{
	size_t i;

	for (i = 0; i < t.len && i < SPF_TERM_MAX - 1; i++)
		out[i] = t.base[i] > 0x20 && t.base[i] < 0x7f ? t.base[i] : '?';
	out[i] = '\0';
}

/* The answer, or NULL: it is asked for (SPF_NEED), or there were too many (a verdict). */
static const struct answer *
lookup(struct spf *s, const char *name, uint16_t type, enum spf_result *r)
{
	unsigned i;

	for (i = 0; i < s->n_answers; i++)
		if (s->answers[i].question.type == type && strcasecmp(s->answers[i].question.name, name) == 0)
			return &s->answers[i];
	if (s->n_answers >= SPF_QUESTIONS_MAX) {
		*r = conclude(s, SPF_PERMERROR, "more than %d questions to name servers", SPF_QUESTIONS_MAX);
		return NULL;
	}
	snprintf(s->question.name, sizeof(s->question.name), "%s", name);
	s->question.type = type;
	*r = SPF_NEED;
	return NULL;
}

/* The same for the name of a term: whether there is anything counts. */
static const struct answer *
lookup_term(struct spf *s, const char *name, uint16_t type, enum spf_result *r)
{
	static const struct answer nothing;
	const struct answer *a;

	if (!dns_name_askable(name))
		return &nothing;
	if ((a = lookup(s, name, type, r)) == NULL)
		return NULL;
	if (a->is_error) {
		*r = conclude(s, SPF_TEMPERROR, "%s", a->problem);
		return NULL;
	}
	if (a->n == 0 && ++s->verdict.voids > SPF_VOIDS_MAX && !s->query.survey) {
		*r = conclude(s, SPF_PERMERROR, "more than %d look-ups found nothing, the last of %s", SPF_VOIDS_MAX,
		    name);
		return NULL;
	}
	return a;
}

static bool
prefix_equal(const unsigned char *a, const unsigned char *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	return memcmp(a, b, whole) == 0 && (rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0);
}

static bool
has_address(const struct spf *s, const struct answer *a, unsigned bits4, unsigned bits6)
{
	unsigned i;

	for (i = 0; i < a->n; i++)
		if (prefix_equal((const unsigned char *)a->records[i].text, s->ip,
		    s->macros.is_ip6 ? bits6 : bits4))
			return true;
	return false;
}

static uint16_t
address_type(const struct spf *s)
{
	return s->macros.is_ip6 ? DNS_TYPE_AAAA : DNS_TYPE_A;
}

static bool
name_is_below(const char *name, const char *domain)
{
	size_t n = strlen(name), d = strlen(domain);

	return n >= d && strcasecmp(name + n - d, domain) == 0 && (n == d || name[n - d - 1] == '.');
}

/* Whether a name that the address' PTR gives has that address. SPF_PASS, SPF_FAIL, or what is to be returned. */
static enum spf_result
name_validate(struct spf *s, const char *name)
{
	enum spf_result r;
	const struct answer *a;

	if (!dns_name_askable(name))
		return SPF_FAIL;
	if ((a = lookup(s, name, address_type(s), &r)) == NULL)
		return r;
	return !a->is_error && has_address(s, a, 32, 128) ? SPF_PASS : SPF_FAIL;
}

static const struct answer *
lookup_ptr(struct spf *s, enum spf_result *r)
{
	char name[128];

	dns_reverse_name(s->macros.is_ip6, s->ip, NULL, name, sizeof(name));
	return lookup(s, name, DNS_TYPE_PTR, r);
}

/* %{p}: the best of the names that the address has and that have it: the domain itself, one below it, any. */
static enum spf_result
validated_find(struct spf *s, const char *domain)
{
	const char *best = NULL;
	const struct answer *a;
	enum spf_result r = SPF_FAIL;
	unsigned i, rank, best_rank = 0;

	snprintf(s->validated, sizeof(s->validated), "unknown");
	if ((a = lookup_ptr(s, &r)) == NULL)
		return r;
	for (i = 0; i < a->n; i++) {
		rank = strcasecmp(a->records[i].text, domain) == 0 ? 3 :
		    name_is_below(a->records[i].text, domain) ? 2 : 1;
		if (rank <= best_rank)
			continue;
		if ((r = name_validate(s, a->records[i].text)) != SPF_PASS && r != SPF_FAIL)
			return r;
		if (r == SPF_FAIL)
			continue;
		best = a->records[i].text;
		best_rank = rank;
	}
	if (best != NULL)
		snprintf(s->validated, sizeof(s->validated), "%s", best);
	return SPF_PASS;
}

/* The name that a term speaks of. SPF_PASS, or what is to be returned. */
static enum spf_result
target_name(struct spf *s, const struct frame *f, struct slice spec, char out[SPF_NAME_MAX + 1])
{
	enum spf_result r;

	if (spec.base == NULL) {
		snprintf(out, SPF_NAME_MAX + 1, "%s", f->domain);
		return SPF_PASS;
	}
	if (spf_macro_has_p(spec) && (r = validated_find(s, f->domain)) != SPF_PASS)
		return r;
	s->macros.domain = f->domain;
	spf_expand_domain(&s->macros, spec, out);
	return SPF_PASS;
}

static enum spf_result
match_a(struct spf *s, const struct spf_term *t, const char *name)
{
	enum spf_result r;
	const struct answer *a = lookup_term(s, name, address_type(s), &r);

	if (a == NULL)
		return r;
	return has_address(s, a, t->bits4, t->bits6) ? SPF_PASS : SPF_FAIL;
}

static enum spf_result
match_mx(struct spf *s, const struct spf_term *t, const char *name)
{
	enum spf_result r;
	const struct answer *mx = lookup_term(s, name, DNS_TYPE_MX, &r), *a;
	unsigned i;

	for (i = 0; mx != NULL && i < mx->n; i++) {
		if (i == SPF_NAMES_MAX)
			return conclude(s, SPF_PERMERROR, "%s has more than %d mail exchangers", name, SPF_NAMES_MAX);
		if (!dns_name_askable(mx->records[i].text)) /* the root: no mail here */
			continue;
		if ((a = lookup(s, mx->records[i].text, address_type(s), &r)) == NULL)
			return r;
		if (a->is_error)
			return conclude(s, SPF_TEMPERROR, "%s", a->problem);
		if (has_address(s, a, t->bits4, t->bits6))
			return SPF_PASS;
	}
	return mx == NULL ? r : SPF_FAIL;
}

static enum spf_result
match_ptr(struct spf *s, const char *name)
{
	enum spf_result r = SPF_FAIL;
	const struct answer *a = lookup_ptr(s, &r);
	unsigned i;

	if (a == NULL)
		return r;
	if (a->n == 0 && !a->is_error && ++s->verdict.voids > SPF_VOIDS_MAX)
		return conclude(s, SPF_PERMERROR, "more than %d look-ups found nothing", SPF_VOIDS_MAX);
	for (i = 0; i < a->n; i++) {
		if (!name_is_below(a->records[i].text, name))
			continue;
		if ((r = name_validate(s, a->records[i].text)) != SPF_FAIL)
			return r;
	}
	return SPF_FAIL;
}

static enum spf_result
match_exists(struct spf *s, const char *name)
{
	enum spf_result r;
	const struct answer *a = lookup_term(s, name, DNS_TYPE_A, &r);

	return a == NULL ? r : a->n > 0 ? SPF_PASS : SPF_FAIL;
}

/* Section 5.2. */
static enum spf_result
match_include(struct spf *s, const char *name)
{
	enum spf_result r = check_host(s, name, true);

	if (r == SPF_NONE)
		return conclude(s, SPF_PERMERROR, "%s is included and has no SPF record", name);
	return r == SPF_NEUTRAL || r == SPF_SOFTFAIL ? SPF_FAIL : r;
}

/* Whether DNS must be asked for it, which is counted. */
static bool
term_asks(enum spf_kind kind)
{
	return kind == SPF_INCLUDE || kind == SPF_A || kind == SPF_MX || kind == SPF_PTR || kind == SPF_EXISTS;
}

static enum spf_result
count_lookup(struct spf *s)
{
	if (++s->verdict.lookups > (s->query.survey ? SURVEY_MAX : SPF_LOOKUPS_MAX))
		return conclude(s, SPF_PERMERROR, "more than %u terms ask name servers",
		    s->query.survey ? SURVEY_MAX : SPF_LOOKUPS_MAX);
	return SPF_PASS;
}

/* SPF_PASS if it matches, SPF_FAIL if not; SPF_NEED, SPF_TEMPERROR, SPF_PERMERROR. */
static enum spf_result
match(struct spf *s, const struct frame *f, const struct spf_term *t)
{
	char name[SPF_NAME_MAX + 1];
	enum spf_result r;

	if (term_asks(t->kind) && (r = count_lookup(s)) != SPF_PASS)
		return r;
	if (s->query.survey && t->kind != SPF_INCLUDE)
		return SPF_FAIL;
	if (t->kind == SPF_ALL)
		return SPF_PASS;
	if (t->kind == SPF_IP4 || t->kind == SPF_IP6)
		return s->macros.is_ip6 == (t->kind == SPF_IP6) &&
		    prefix_equal(t->ip, s->ip, t->kind == SPF_IP4 ? t->bits4 : t->bits6) ? SPF_PASS : SPF_FAIL;
	if ((r = target_name(s, f, t->spec, name)) != SPF_PASS)
		return r;
	switch (t->kind) {
	case SPF_A:
		return match_a(s, t, name);
	case SPF_MX:
		return match_mx(s, t, name);
	case SPF_PTR:
		return match_ptr(s, name);
	case SPF_EXISTS:
		return match_exists(s, name);
	default:
		r = match_include(s, name);
		return s->query.survey && r == SPF_PASS ? SPF_FAIL : r;
	}
}

/* Errors anywhere in a record are found before anything is evaluated (section 4.6). */
static enum spf_result
record_check(struct spf *s, struct frame *f)
{
	char text[SPF_TERM_MAX];
	const char *why;
	struct spf_term t;
	struct slice *once;
	size_t pos = 6;
	int r;

	while ((r = spf_term_next(f->record, &pos, &t, &why)) == 1) {
		if (t.kind != SPF_REDIRECT && t.kind != SPF_EXP)
			continue;
		once = t.kind == SPF_REDIRECT ? &f->redirect : &f->exp;
		if (once->base != NULL)
			return conclude(s, SPF_PERMERROR, "the SPF record of %s has %s twice", f->domain,
			    t.kind == SPF_REDIRECT ? "redirect" : "exp");
		*once = t.spec;
	}
	if (r == 0)
		return SPF_PASS;
	term_text(t.text, text);
	return conclude(s, SPF_PERMERROR, "the SPF record of %s has %s: `%s'", f->domain, why, text);
}

/* The explanation of a fail; whatever goes wrong, there is none (section 6.2). */
static enum spf_result
explain(struct spf *s, const struct frame *f)
{
	char name[SPF_NAME_MAX + 1];
	const struct answer *a;
	enum spf_result r;
	struct slice text;

	s->verdict.explanation[0] = '\0';
	if (f->exp.base == NULL || s->query.survey)
		return SPF_FAIL;
	if ((r = target_name(s, f, f->exp, name)) != SPF_PASS)
		return r == SPF_NEED ? r : SPF_FAIL;
	if (!dns_name_askable(name))
		return SPF_FAIL;
	if ((a = lookup(s, name, DNS_TYPE_TXT, &r)) == NULL)
		return r == SPF_NEED ? r : SPF_FAIL;
	if (a->is_error || a->n_all != 1 || a->records[0].len >= DNS_RECORD_MAX)
		return SPF_FAIL;
	text = (struct slice){ a->records[0].text, a->records[0].len };
	if (!spf_macro_valid(text, true))
		return SPF_FAIL;
	if (spf_macro_has_p(text) && (r = validated_find(s, f->domain)) != SPF_PASS)
		return r == SPF_NEED ? r : SPF_FAIL;
	s->macros.domain = f->domain;
	if (spf_expand_text(&s->macros, text, s->verdict.explanation, sizeof(s->verdict.explanation)) == -1)
		s->verdict.explanation[0] = '\0';
	return SPF_FAIL;
}

static enum spf_result
redirect(struct spf *s, const struct frame *f)
{
	char name[SPF_NAME_MAX + 1];
	enum spf_result r;

	if (f->redirect.base == NULL)
		return SPF_NEUTRAL;
	if ((r = count_lookup(s)) != SPF_PASS || (r = target_name(s, f, f->redirect, name)) != SPF_PASS)
		return r;
	if ((r = check_host(s, name, f->is_included)) == SPF_NONE)
		return conclude(s, SPF_PERMERROR, "%s redirects to %s, which has no SPF record", f->domain, name);
	return r;
}

static enum spf_result
record_evaluate(struct spf *s, struct frame *f)
{
	struct spf_term t;
	enum spf_result r;
	const char *why;
	size_t pos = 6;

	if ((r = record_check(s, f)) != SPF_PASS)
		return r;
	while (spf_term_next(f->record, &pos, &t, &why) == 1) {
		if (t.kind >= SPF_REDIRECT)
			continue;
		if (s->query.survey && t.kind == SPF_ALL) /* what follows costs nothing */
			return SPF_NEUTRAL;
		if ((r = match(s, f, &t)) == SPF_FAIL)
			continue;
		if (r != SPF_PASS)
			return r;
		if (!f->is_included)
			term_text(t.text, s->verdict.term);
		return t.effect == SPF_FAIL && !f->is_included ? explain(s, f) : t.effect;
	}
	return redirect(s, f);
}

static enum spf_result
check_host(struct spf *s, const char *domain, bool is_included)
{
	struct frame f = { .domain = domain, .is_included = is_included };
	const struct answer *a;
	enum spf_result r;

	/* Section 4.3: nor is an address. */
	if (!dns_name_askable(domain) || strchr(domain, '.') == NULL || domain[0] == '[')
		return conclude(s, SPF_NONE, "`%.100s' is not a domain name", domain);
	if ((a = lookup(s, domain, DNS_TYPE_TXT, &r)) == NULL)
		return r;
	if (a->is_error)
		return conclude(s, SPF_TEMPERROR, "%s", a->problem);
	if (!a->is_policy)
		return conclude(s, SPF_NONE, "%s has no SPF record", domain);
	if (a->n > 1)
		return conclude(s, SPF_PERMERROR, "%s has more than one SPF record", domain);
	/* It was cut there, perhaps; what follows may be what counts. */
	if (a->records[0].len >= DNS_RECORD_MAX)
		return conclude(s, SPF_PERMERROR, "the SPF record of %s is too long", domain);
	f.record = (struct slice){ a->records[0].text, a->records[0].len };
	return record_evaluate(s, &f);
}

/* ---- what is kept of answers ---- */

static void
answer_clear(struct answer *a)
{
	while (a->n > 0)
		free(a->records[--a->n].text);
	free(a->records);
}

static int
pref_cmp(const void *a, const void *b)
{
	const struct dns_record *x = a, *y = b;

	return x->pref != y->pref ? (x->pref < y->pref ? -1 : 1) : strcmp(x->text, y->text);
}

/* How many of a type matter; one more than is allowed shows that there are more. */
static unsigned
kept_max(uint16_t type)
{
	return type == DNS_TYPE_TXT ? 2 : type == DNS_TYPE_PTR ? SPF_NAMES_MAX : type == DNS_TYPE_MX ?
	    SPF_NAMES_MAX + 1 : DNS_RECORDS_MAX;
}

static void
answer_keep(struct answer *a, const struct dns_record *d)
{
	unsigned char ip[16];
	uint16_t type = a->question.type;
	size_t len = d->len;
	char *text;

	if (type == DNS_TYPE_A || type == DNS_TYPE_AAAA) {
		if (inet_pton(type == DNS_TYPE_A ? AF_INET : AF_INET6, d->text, ip) != 1)
			return;
		len = type == DNS_TYPE_A ? 4 : 16;
		text = xmemdup0((const char *)ip, len);
	} else {
		text = xmemdup0(d->text, len);
	}
	a->records = xreallocarray(a->records, a->n + 1, sizeof(*a->records));
	a->records[a->n++] = (struct dns_record){ d->pref, text, len };
}

static void
answer_fill(struct answer *a, const struct dns_reply *reply)
{
	struct dns_record order[DNS_RECORDS_MAX];
	unsigned i, n = reply->n_records < DNS_RECORDS_MAX ? reply->n_records : DNS_RECORDS_MAX;

	if (n > 0)
		memcpy(order, reply->records, n * sizeof(order[0]));
	if (a->question.type == DNS_TYPE_MX && n > 0)
		qsort(order, n, sizeof(order[0]), pref_cmp);
	a->n_all = n;
	for (i = 0; i < n && a->question.type == DNS_TYPE_TXT; i++)
		a->is_policy |= spf_is_record(order[i].text, order[i].len);
	for (i = 0; i < n && a->n < kept_max(a->question.type); i++)
		if (!a->is_policy || spf_is_record(order[i].text, order[i].len))
			answer_keep(a, &order[i]);
}

/* ---- the interface ---- */

static void
run(struct spf *s)
{
	struct spf_verdict *v = &s->verdict;

	v->lookups = v->voids = 0;
	v->term[0] = v->problem[0] = v->explanation[0] = '\0';
	if ((v->result = check_host(s, s->domain, false)) == SPF_NEED)
		return;
	s->is_done = true;
	if (v->result != SPF_NONE && v->result != SPF_TEMPERROR && v->result != SPF_PERMERROR)
		v->problem[0] = '\0';
}

/* Both in one family: the address of a client that came over IPv6 to an IPv4 port's mapping is IPv4 (section 5). */
static void
take_client(struct spf *s, const struct sockaddr *sa)
{
	const struct in6_addr *in6 = &((const struct sockaddr_in6 *)sa)->sin6_addr;

	if (sa->sa_family == AF_INET) {
		memcpy(s->ip, &((const struct sockaddr_in *)sa)->sin_addr, 4);
	} else if (IN6_IS_ADDR_V4MAPPED(in6)) {
		memcpy(s->ip, in6->s6_addr + 12, 4);
	} else {
		memcpy(s->ip, in6->s6_addr, 16);
		s->macros.is_ip6 = true;
	}
}

static void
domain_copy(char out[SPF_NAME_MAX + 1], const char *name)
{
	size_t n = strlen(name);

	if (n > 1 && name[n - 1] == '.')
		n--;
	if (n > SPF_NAME_MAX) /* no name: nobody has such a record */
		n = 0;
	memcpy(out, name, n);
	out[n] = '\0';
}

struct spf *
spf_new(const struct spf_query *q)
{
	struct spf *s = xcalloc(1, sizeof(*s));
	const char *at;

	s->query = *q;
	s->sender = xstrdup(q->sender);
	s->query.helo = s->helo = xstrdup(q->helo);
	if (q->receiver != NULL)
		s->query.receiver = s->receiver = xstrdup(q->receiver);
	take_client(s, q->client);
	at = strrchr(s->sender, '@');
	domain_copy(s->sender_domain, at != NULL ? at + 1 : *s->sender != '\0' ? s->sender : s->helo);
	/* Section 4.3. */
	s->local = at != NULL && at > s->sender ? xmemdup0(s->sender, (size_t)(at - s->sender)) :
	    xstrdup("postmaster");
	memcpy(s->domain, s->sender_domain, sizeof(s->domain));
	memcpy(s->verdict.domain, s->domain, sizeof(s->verdict.domain));
	s->macros.query = &s->query;
	s->macros.local = s->local;
	s->macros.sender_domain = s->sender_domain;
	s->macros.domain = s->domain;
	s->macros.ip = s->ip;
	s->macros.validated = s->validated;
	s->macros.now = time(NULL);
	run(s);
	return s;
}

void
spf_free(struct spf **sp)
{
	struct spf *s = *sp;

	*sp = NULL;
	if (s == NULL)
		return;
	while (s->n_answers > 0)
		answer_clear(&s->answers[--s->n_answers]);
	free(s->answers);
	free(s->sender);
	free(s->helo);
	free(s->receiver);
	free(s->local);
	free(s);
}

const struct spf_question *
spf_question(const struct spf *s)
{
	return s->is_done ? NULL : &s->question;
}

void
spf_answer(struct spf *s, const struct dns_reply *reply)
{
	struct answer *a;

	if (s->is_done)
		return;
	s->answers = xreallocarray(s->answers, s->n_answers + 1, sizeof(*s->answers));
	a = &s->answers[s->n_answers++];
	memset(a, 0, sizeof(*a));
	a->question = s->question;
	if (reply->status == DNS_OK) {
		answer_fill(a, reply);
	} else if (reply->status != DNS_NXDOMAIN) {
		a->is_error = true;
		snprintf(a->problem, sizeof(a->problem), "%s", reply->text != NULL ? reply->text : "no answer");
	}
	run(s);
}

void
spf_give_up(struct spf *s, const char *why)
{
	if (s->is_done)
		return;
	s->verdict.result = conclude(s, SPF_TEMPERROR, "%s", why);
	s->is_done = true;
}

const struct spf_verdict *
spf_verdict(const struct spf *s)
{
	return &s->verdict;
}

const char *
spf_result_name(enum spf_result r)
{
	static const char *const names[] = { [SPF_NONE] = "none", [SPF_NEUTRAL] = "neutral", [SPF_PASS] = "pass",
		[SPF_FAIL] = "fail", [SPF_SOFTFAIL] = "softfail", [SPF_TEMPERROR] = "temperror",
		[SPF_PERMERROR] = "permerror" };

	return r >= SPF_NONE && r <= SPF_PERMERROR ? names[r] : "none";
}
