/* check_arc.h (check role). The fields and the keys are strangers': lib/mail/arc.c reads them, with bounds. A chain
 * passes if all its seals verify and the newest message signature does (RFC 8617 section 5.2; older ones may be broken
 * by whoever sealed after them). What name servers do not say now may be said later: that is no failure of the chain,
 * but temperror, unless something else of it has failed already. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/arc.h"

#include "smtpd/check_arc.h"

#define KEY_MAX 2047

enum key_state { KEY_UNKNOWN, KEY_ASKED, KEY_THERE, KEY_ABSENT, KEY_LATER };

struct key {
	char *name;       /* NULL: there is no such signature, or no such name */
	unsigned same;    /* whose answer it is */
	enum key_state state;
	char *text;
};

struct check_arc {
	struct arc_chain chain;
	struct dkim_body *body;
	struct key keys[CHECK_ARC_KEYS]; /* the last: of the message signature */
};

_Static_assert(CHECK_ARC_KEYS == ARC_SETS_MAX + 1, "a key for each seal and one");

static const struct arc_signature *
signature_at(const struct check_arc *c, unsigned i)
{
	return i < ARC_SETS_MAX ? &c->chain.seals[i] : &c->chain.message;
}

static bool
is_needed(const struct check_arc *c, unsigned i)
{
	return c->chain.problem == NULL && c->chain.n > 0 && (i < c->chain.n || i == ARC_SETS_MAX);
}

static void
names_make(struct check_arc *c)
{
	const struct arc_signature *s;
	struct key *k;
	unsigned i, j;

	for (i = 0; i < CHECK_ARC_KEYS; i++) {
		k = &c->keys[i];
		k->same = i;
		if (!is_needed(c, i))
			continue;
		s = signature_at(c, i);
		k->name = xasprintf("%s._domainkey.%s", s->selector, s->domain);
		if (strlen(k->name) > AUTH_DOMAIN_MAX || !dns_name_valid(s->domain) || !dns_name_valid(k->name)) {
			k->state = KEY_ABSENT;
			continue;
		}
		for (j = 0; j < i && k->same == i; j++)
			if (c->keys[j].name != NULL && strcasecmp(c->keys[j].name, k->name) == 0)
				k->same = j;
	}
}

struct check_arc *
check_arc_new(const char *head, size_t len, int64_t now)
{
	struct check_arc *c = xcalloc(1, sizeof *c);

	arc_chain_read(&c->chain, head, len, now);
	names_make(c);
	if (is_needed(c, 0))
		c->body = dkim_body_new((enum dkim_canon)c->chain.body);
	return c;
}

void
check_arc_free(struct check_arc **cp)
{
	struct check_arc *c = *cp;
	unsigned i;

	if (c == NULL)
		return;
	for (i = 0; i < CHECK_ARC_KEYS; i++) {
		free(c->keys[i].name);
		free(c->keys[i].text);
	}
	dkim_body_free(&c->body);
	free(c);
	*cp = NULL;
}

const char *
check_arc_ask(struct check_arc *c, unsigned *number_r)
{
	struct key *k;
	unsigned i;

	for (i = 0; i < CHECK_ARC_KEYS; i++) {
		k = &c->keys[i];
		if (k->name == NULL || k->same != i || k->state != KEY_UNKNOWN)
			continue;
		k->state = KEY_ASKED;
		*number_r = i;
		return k->name;
	}
	return NULL;
}

/* Of several records the first that looks like a key is taken, as check_dkim.c does. */
void
check_arc_key(struct check_arc *c, unsigned number, const struct dns_reply *r)
{
	struct key *k = &c->keys[number];
	unsigned n;

	if (k->state != KEY_ASKED)
		return;
	if (r == NULL || (r->status != DNS_OK && r->status != DNS_NXDOMAIN && r->status != DNS_NO_ADDRESS)) {
		k->state = KEY_LATER;
		return;
	}
	k->state = KEY_ABSENT;
	for (n = 0; n < r->n_records && k->text == NULL; n++) {
		const struct dns_record *d = &r->records[n];

		if (d->len == 0 || d->len > KEY_MAX || memchr(d->text, '\0', d->len) != NULL ||
		    strchr(d->text, '=') == NULL)
			continue;
		k->text = xstrdup(d->text);
		k->state = KEY_THERE;
	}
}

void
check_arc_body(struct check_arc *c, const void *p, size_t n)
{
	if (c->body != NULL)
		dkim_body_update(c->body, p, n);
}

/* ---- the result ---- */

/* NULL, or why the chain is broken. *is_later: a key is not known now. */
static const char *
judge(struct check_arc *c, bool *is_later)
{
	uint8_t hash[DKIM_HASH];
	const char *problem;
	const struct key *k;
	unsigned i;

	dkim_body_final(&c->body, hash);
	if (memcmp(hash, c->chain.body_hash, DKIM_HASH) != 0)
		return "the body was changed after the last ARC set was made";
	/* From the last one, the newest message signature, down to the first seal. */
	for (i = CHECK_ARC_KEYS; i-- > 0;) {
		if (!is_needed(c, i))
			continue;
		k = &c->keys[c->keys[i].same];
		if (k->state == KEY_ABSENT)
			return "there is no key for an ARC signature";
		if (k->state != KEY_THERE)
			*is_later = true;
		else if ((problem = arc_verify_hash(signature_at(c, i), k->text)) != NULL)
			return problem;
	}
	return NULL;
}

static void
domain_set(const struct check_arc *c, struct auth_arc *r)
{
	size_t len;

	if (c->chain.n == 0)
		return;
	auth_text(r->domain, sizeof r->domain, c->chain.seals[c->chain.n - 1].domain);
	if ((len = strlen(r->domain)) > 0 && r->domain[len - 1] == '.')
		r->domain[len - 1] = '\0';
	if (!dns_name_valid(r->domain))
		r->domain[0] = '\0';
}

void
check_arc_end(struct check_arc *c, struct auth_arc *r)
{
	const char *problem = c->chain.problem;
	bool is_later = false;

	memset(r, 0, sizeof *r);
	domain_set(c, r);
	if (problem == NULL && c->chain.n > 0)
		problem = judge(c, &is_later);
	if (!c->chain.is_ended && c->chain.highest < ARC_SETS_MAX)
		r->next = (uint8_t)(c->chain.highest + 1);
	if (problem != NULL) {
		r->result = AUTH_FAIL;
		auth_text(r->reason, sizeof r->reason, problem);
	} else if (is_later) {
		r->result = AUTH_TEMPERROR;
		r->next = 0;
		auth_text(r->reason, sizeof r->reason, "the name servers do not say a key of the ARC chain now");
	} else {
		r->result = c->chain.n > 0 ? AUTH_PASS : AUTH_NONE;
		r->n = (uint8_t)c->chain.n;
	}
}
