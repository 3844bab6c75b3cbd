/* libopendkim, kept within bounds (check role). What it is given is a stranger's, and it is not robust: so its own
 * parser of messages is not used, the number and length of fields and signatures are bounded before it sees them (names
 * longer than 4 KiB have written past its stack, it takes any number of signatures, and what a signature covers is
 * looked up in quadratic time), it asks no name server (keys come by callback, and are there by then), and it never
 * signs. DKIM_OPTS_SKIPHDRS is not set.
 *
 * A signature that is right by the letter and proves nothing does not pass here: one that leaves part of the body open
 * (l=), is made with SHA-1 (RFC 8301) or with a key that its owner calls a test, or stands in a message with more than
 * one From field, for then nobody knows which author it speaks of. */
#include <sys/types.h>

#include <ctype.h>
#include <opendkim/dkim.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/header.h"

#include "smtpd/check_dkim.h"

#define KEY_MAX 2047 /* octets of a key record; libopendkim takes no more */

struct key {
	char *name;            /* NULL: not needed */
	char *text;            /* the record; NULL: none */
	DKIM_CBSTAT status;    /* what the callback says */
};

struct check_dkim_library {
	DKIM_LIB *lib;
};

struct check_dkim {
	DKIM *dkim;
	DKIM_SIGINFO **list;    /* libopendkim's */
	struct key keys[AUTH_SIGNATURES_MAX];
	unsigned n, n_from;
	const char *refusal;    /* why nothing is verified; NULL: it is */
	enum auth_result refusal_result;
	bool is_broken;         /* libopendkim does not go on */
};

static DKIM_CBSTAT
key_find(DKIM *d, DKIM_SIGINFO *sig, u_char *buf, size_t size)
{
	struct check_dkim *c = dkim_get_user_context(d);
	unsigned i;

	for (i = 0; i < c->n; i++) {
		if (c->list[i] != sig)
			continue;
		if (c->keys[i].text == NULL)
			return c->keys[i].status;
		snprintf((char *)buf, size, "%s", c->keys[i].text);
		return DKIM_CBSTAT_CONTINUE;
	}
	return DKIM_CBSTAT_NOTFOUND;
}

/* Without this libopendkim would stop at the first signature that passes. */
static DKIM_CBSTAT
on_all(DKIM *d, DKIM_SIGINFO **list, int n)
{
	int i;

	for (i = 0; i < n; i++)
		(void)dkim_sig_process(d, list[i]);
	return DKIM_CBSTAT_CONTINUE;
}

struct check_dkim_library *
check_dkim_library_new(void)
{
	struct check_dkim_library *l = xcalloc(1, sizeof *l);
	unsigned flags = DKIM_LIBFLAGS_DELAYSIGPROC;

	if ((l->lib = dkim_init(NULL, NULL)) == NULL || dkim_options(l->lib, DKIM_OP_SETOPT, DKIM_OPTS_FLAGS, &flags,
	    sizeof flags) != DKIM_STAT_OK || dkim_set_key_lookup(l->lib, key_find) != DKIM_STAT_OK ||
	    dkim_set_final(l->lib, on_all) != DKIM_STAT_OK)
		check_dkim_library_free(&l);
	return l;
}

void
check_dkim_library_free(struct check_dkim_library **lp)
{
	struct check_dkim_library *l = *lp;

	if (l == NULL)
		return;
	if (l->lib != NULL)
		dkim_close(l->lib);
	free(l);
	*lp = NULL;
}

static void
refuse(struct check_dkim *c, enum auth_result result, const char *why)
{
	if (c->refusal != NULL)
		return;
	c->refusal = why;
	c->refusal_result = result;
}

/* Fields that are too much are left out: a signature that covers one does not pass then. */
static void
feed(struct check_dkim *c, const char *head, size_t len)
{
	unsigned n_signatures = 0, n_fields = 0;
	struct header_iter it;
	struct header_field f;
	bool is_signature;
	char *copy;
	size_t n;

	header_iter_init(&it, head, len);
	while (c->refusal == NULL && header_next(&it, &f)) {
		if (++n_fields > CHECK_FIELDS_MAX)
			refuse(c, AUTH_POLICY, "the header has too many fields");
		is_signature = header_name_is(&f, "DKIM-Signature");
		c->n_from += header_name_is(&f, "From");
		if (f.name.len > CHECK_NAME_LEN_MAX || memchr(f.whole.base, '\0', f.whole.len) != NULL ||
		    (is_signature && (f.whole.len > CHECK_SIGNATURE_LEN_MAX ||
		    ++n_signatures > AUTH_SIGNATURES_MAX)))
			continue;
		n = (size_t)(f.value.base + f.value.len - f.whole.base);
		copy = xmemdup0(f.whole.base, n);
		(void)dkim_header(c->dkim, (u_char *)copy, n);
		free(copy);
	}
	if (n_signatures == 0)
		refuse(c, AUTH_NONE, "the message is not signed");
	else if (c->n_from == 0)
		refuse(c, AUTH_PERMERROR, "the message has no From field");
}

/* The name is made of what the signature says: only one that is a name is asked for. */
static void
key_name(struct check_dkim *c, unsigned i)
{
	const char *domain = (const char *)dkim_sig_getdomain(c->list[i]);
	const char *selector = (const char *)dkim_sig_getselector(c->list[i]);
	char *name;

	c->keys[i].status = DKIM_CBSTAT_NOTFOUND;
	if (domain == NULL || selector == NULL || dkim_sig_geterror(c->list[i]) > DKIM_SIGERROR_OK)
		return;
	name = xasprintf("%s._domainkey.%s", selector, domain);
	if (strlen(name) <= AUTH_DOMAIN_MAX && dns_name_valid(domain) && dns_name_valid(name))
		c->keys[i].name = name;
	else
		free(name);
}

static void
header_end(struct check_dkim *c)
{
	DKIM_STAT status = dkim_eoh(c->dkim);
	int n = 0;
	unsigned i;

	if (status == DKIM_STAT_NOSIG)
		refuse(c, AUTH_NEUTRAL, "no signature can be read");
	else if (status != DKIM_STAT_OK)
		refuse(c, AUTH_PERMERROR, dkim_getresultstr(status));
	if (c->refusal != NULL || dkim_getsiglist(c->dkim, &c->list, &n) != DKIM_STAT_OK || n < 0)
		return;
	c->n = (unsigned)n < AUTH_SIGNATURES_MAX ? (unsigned)n : AUTH_SIGNATURES_MAX;
	for (i = 0; i < c->n; i++)
		key_name(c, i);
}

struct check_dkim *
check_dkim_new(struct check_dkim_library *l, const char *head, size_t len)
{
	struct check_dkim *c = xcalloc(1, sizeof *c);
	DKIM_STAT status;

	if ((c->dkim = dkim_verify(l->lib, (const u_char *)"check", NULL, &status)) == NULL) {
		refuse(c, AUTH_TEMPERROR, "the signatures cannot be verified now");
		return c;
	}
	(void)dkim_set_user_context(c->dkim, c);
	feed(c, head, len);
	if (c->refusal == NULL)
		header_end(c);
	return c;
}

void
check_dkim_free(struct check_dkim **cp)
{
	struct check_dkim *c = *cp;
	unsigned i;

	if (c == NULL)
		return;
	if (c->dkim != NULL)
		(void)dkim_free(c->dkim);
	for (i = 0; i < AUTH_SIGNATURES_MAX; i++) {
		free(c->keys[i].name);
		free(c->keys[i].text);
	}
	free(c);
	*cp = NULL;
}

const char *
check_dkim_key_name(const struct check_dkim *c, unsigned i)
{
	return i < c->n ? c->keys[i].name : NULL;
}

/* RFC 6376 section 3.6.2.2: of several records the result is undefined; the first that looks like a key is taken. */
void
check_dkim_key(struct check_dkim *c, unsigned i, const struct dns_reply *r)
{
	struct key *k = &c->keys[i];
	unsigned n;

	if (r == NULL || (r->status != DNS_OK && r->status != DNS_NXDOMAIN && r->status != DNS_NO_ADDRESS)) {
		k->status = DKIM_CBSTAT_TRYAGAIN;
		return;
	}
	k->status = DKIM_CBSTAT_NOTFOUND;
	for (n = 0; n < r->n_records && k->text == NULL; n++) {
		const struct dns_record *d = &r->records[n];

		if (d->len > 0 && d->len <= KEY_MAX && memchr(d->text, '\0', d->len) == NULL &&
		    strchr(d->text, '=') != NULL)
			k->text = xstrdup(d->text);
	}
}

void
check_dkim_body(struct check_dkim *c, const void *p, size_t n)
{
	u_char *copy;

	if (c->refusal != NULL || c->is_broken || n == 0)
		return;
	/* It says that it does not write to it, but not in its type. */
	copy = (u_char *)xmemdup0(p, n);
	c->is_broken = dkim_body(c->dkim, copy, n) != DKIM_STAT_OK;
	free(copy);
}

/* ---- results ---- */

static enum auth_result
result_of_error(int error)
{
	switch (error) {
	case DKIM_SIGERROR_KEYFAIL:
		return AUTH_TEMPERROR;
	case DKIM_SIGERROR_BADSIG:
	case DKIM_SIGERROR_EXPIRED:
	case DKIM_SIGERROR_TOOLARGE_L:
	case DKIM_SIGERROR_UNKNOWN:
	case DKIM_SIGERROR_OK:
		return AUTH_FAIL;
	case DKIM_SIGERROR_KEYTOOSMALL:
	case DKIM_SIGERROR_MBSFAILED:
		return AUTH_POLICY;
	case DKIM_SIGERROR_NOKEY:
	case DKIM_SIGERROR_DNSSYNTAX:
	case DKIM_SIGERROR_MULTIREPLY:
	case DKIM_SIGERROR_KEYREVOKED:
	case DKIM_SIGERROR_KEYDECODE:
	case DKIM_SIGERROR_KEYVERSION:
	case DKIM_SIGERROR_KEYUNKNOWNHASH:
	case DKIM_SIGERROR_KEYHASHMISMATCH:
	case DKIM_SIGERROR_NOTEMAILKEY:
	case DKIM_SIGERROR_KEYTYPEMISSING:
	case DKIM_SIGERROR_KEYTYPEUNKNOWN:
	case DKIM_SIGERROR_SUBDOMAIN:
	case DKIM_SIGERROR_DOMAIN:
	case DKIM_SIGERROR_FUTURE:
	case DKIM_SIGERROR_TIMESTAMPS:
	case DKIM_SIGERROR_INVALID_H:
		return AUTH_PERMERROR;
	default:
		return AUTH_NEUTRAL;
	}
}

/* Why one that verifies proves nothing, or NULL. */
static const char *
objection(struct check_dkim *c, DKIM_SIGINFO *sig, dkim_alg_t alg)
{
	const u_char *l = dkim_sig_gettagvalue(sig, false, (u_char *)(uintptr_t)"l");
	ssize_t msg = 0;

	if (c->n_from > 1)
		return "the message has more than one From field";
	if (alg == DKIM_SIGN_RSASHA1)
		return "SHA-1 proves nothing any more";
	/* Compared with the body as it came, which the canonical form may be shorter than: too strict for a signer who
	 * says the length of all of it, which nobody needs to. */
	if (l != NULL && (dkim_sig_getcanonlen(c->dkim, sig, &msg, NULL, NULL) != DKIM_STAT_OK ||
	    strtoull((const char *)l, NULL, 10) < (unsigned long long)msg))
		return "the signature does not cover the whole body";
	return NULL;
}

static void
facts_of(DKIM_SIGINFO *sig, dkim_alg_t alg, struct auth_signature *s)
{
	const char *domain = (const char *)dkim_sig_getdomain(sig), *selector =
	    (const char *)dkim_sig_getselector(sig);
	const u_char *b = dkim_sig_gettagvalue(sig, false, (u_char *)(uintptr_t)"b");
	size_t n = 0;

	/* "Example.COM." is example.com. */
	auth_text(s->domain, sizeof s->domain, domain != NULL ? domain : "");
	if ((n = strlen(s->domain)) > 0 && s->domain[n - 1] == '.')
		s->domain[n - 1] = '\0';
	if (!dns_name_valid(s->domain))
		s->domain[0] = '\0';
	auth_text(s->selector, sizeof s->selector, selector != NULL ? selector : "");
	auth_text(s->algorithm, sizeof s->algorithm, alg == DKIM_SIGN_RSASHA1 ? "rsa-sha1" :
	    alg == DKIM_SIGN_RSASHA256 ? "rsa-sha256" : alg == DKIM_SIGN_ED25519SHA256 ? "ed25519-sha256" : "");
	for (n = 0; b != NULL && *b != '\0' && n < 8; b++)
		if (!isspace(*b))
			s->mark[n++] = isalnum(*b) || *b == '+' || *b == '/' ? (char)*b : '?';
}

static void
judge(struct check_dkim *c, unsigned i, struct auth_signature *s)
{
	DKIM_SIGINFO *sig = c->list[i];
	dkim_alg_t alg = DKIM_SIGN_UNKNOWN;
	const char *why = NULL;

	(void)dkim_sig_getsignalg(sig, &alg);
	facts_of(sig, alg, s);
	if (DKIM_SIG_CHECK(sig) && dkim_sig_geterror(sig) == DKIM_SIGERROR_OK && *s->domain != '\0') {
		if ((why = objection(c, sig, alg)) != NULL)
			s->result = AUTH_POLICY;
		else if ((dkim_sig_getflags(sig) & DKIM_SIGFLAG_TESTKEY) != 0)
			s->result = AUTH_NEUTRAL, why = "the key is for tests";
		else
			s->result = AUTH_PASS;
	} else if (c->keys[i].status == DKIM_CBSTAT_TRYAGAIN && c->keys[i].name != NULL && c->keys[i].text == NULL) {
		s->result = AUTH_TEMPERROR;
		why = "the name servers do not say the key now";
	} else if (dkim_sig_geterror(sig) <= DKIM_SIGERROR_OK || dkim_sig_geterror(sig) == DKIM_SIGERROR_BADSIG) {
		s->result = AUTH_FAIL;
		why = dkim_sig_getbh(sig) == DKIM_SIGBH_MISMATCH ? "the body was changed" :
		    "the signature does not verify";
	} else {
		s->result = (uint8_t)result_of_error(dkim_sig_geterror(sig));
		why = dkim_sig_geterrorstr(dkim_sig_geterror(sig));
	}
	auth_text(s->reason, sizeof s->reason, why != NULL ? why : "");
}

void
check_dkim_end(struct check_dkim *c, struct auth_results *r)
{
	DKIM_STAT status;
	unsigned i;

	r->n_signatures = 0;
	if (c->refusal == NULL && c->is_broken)
		refuse(c, AUTH_PERMERROR, "the body cannot be read");
	if (c->refusal == NULL) {
		status = dkim_eom(c->dkim, NULL);
		if (c->n == 0)
			refuse(c, AUTH_NEUTRAL, dkim_getresultstr(status));
	}
	if (c->refusal != NULL) {
		r->dkim = (uint8_t)c->refusal_result;
		auth_text(r->dkim_reason, sizeof r->dkim_reason, c->refusal);
		return;
	}
	for (i = 0; i < c->n; i++)
		judge(c, i, &r->signatures[i]);
	r->n_signatures = c->n;
	auth_results_sum_up(r);
}
