/* The parts of the evaluator (spf.h): terms of a record, and macros. Pure; for lib/mail/spf*.c and their tests. */
#ifndef MAIL_SPF_PRIVATE_H
#define MAIL_SPF_PRIVATE_H

#include <stddef.h>
#include <time.h>

#include "base/wire.h"
#include "mail/spf.h"

enum spf_kind {
	SPF_ALL = 1, SPF_INCLUDE, SPF_A, SPF_MX, SPF_PTR, SPF_IP4, SPF_IP6, SPF_EXISTS, /* mechanisms */
	SPF_REDIRECT, SPF_EXP, SPF_OTHER /* modifiers */
};

struct spf_term {
	enum spf_kind kind;
	enum spf_result effect;     /* of its qualifier, if it matches */
	struct slice text, spec;    /* all of it; its domain-spec, base NULL if it has none */
	unsigned bits4, bits6;      /* of a, mx, ip4, ip6 */
	unsigned char ip[16];       /* ip4, ip6 */
};

/* The next term at *pos of a record, from behind its version on. 1; 0 at the end; -1: a syntax error, *why says
 * which. */
int spf_term_next(struct slice record, size_t *pos, struct spf_term *, const char **why);

struct spf_macros {
	const struct spf_query *query;
	const char *local, *sender_domain, *domain;
	const unsigned char *ip;
	bool is_ip6;
	const char *validated; /* %{p} */
	time_t now;
};

/* Whether it is a macro-string; with is_text an explain-string, which may have spaces and c, r, t. */
bool spf_macro_valid(struct slice, bool is_text);
/* Whether it is a domain-spec. */
bool spf_domain_spec_valid(struct slice);
/* Whether %{p} is in it. */
bool spf_macro_has_p(struct slice);
/* The name that a valid domain-spec stands for: left labels are dropped from a long one, a final dot goes. */
void spf_expand_domain(const struct spf_macros *, struct slice, char out[SPF_NAME_MAX + 1]);
/* An explain-string; -1: what came out is not printable ASCII. */
int spf_expand_text(const struct spf_macros *, struct slice, char *out, size_t size);

#endif
