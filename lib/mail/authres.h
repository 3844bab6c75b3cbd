/* What is known of where a message comes from (SPF, DKIM, DMARC), and the field that says so: Authentication-Results
 * (RFC 8601), which only the server that it names may write. */
#ifndef MAIL_AUTHRES_H
#define MAIL_AUTHRES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/wire.h"
#include "mail/address.h"

/* 0: not looked at. */
enum auth_result {
	AUTH_NONE = 1,
	AUTH_PASS,
	AUTH_FAIL,
	AUTH_SOFTFAIL,
	AUTH_NEUTRAL,
	AUTH_POLICY,
	AUTH_TEMPERROR,
	AUTH_PERMERROR,
	AUTH_RESULTS
};
extern const char *const auth_result_names[AUTH_RESULTS];

#define AUTH_SIGNATURES_MAX 8
#define AUTH_DOMAIN_MAX 253
#define AUTH_REASON_MAX 200
#define AUTH_WORD_MAX 20

struct auth_spf {
	uint8_t result;
	bool is_helo;                       /* the identity is the HELO name, not the envelope sender */
	char identity[ADDRESS_MAX + 1];
	char domain[AUTH_DOMAIN_MAX + 1];     /* whose record was asked for */
	char reason[AUTH_REASON_MAX + 1];   /* "": none */
};

struct auth_signature {
	uint8_t result;
	char domain[AUTH_DOMAIN_MAX + 1], selector[AUTH_DOMAIN_MAX + 1]; /* "": not readable */
	char algorithm[AUTH_WORD_MAX + 1];
	char mark[AUTH_WORD_MAX + 1];       /* how b= begins: tells signatures apart */
	char reason[AUTH_REASON_MAX + 1];
};

struct auth_dmarc {
	uint8_t result;
	char domain[AUTH_DOMAIN_MAX + 1];     /* of the author; "": there is not exactly one */
	char policy[AUTH_WORD_MAX + 1];     /* "none", "quarantine", "reject"; "": no record */
	char reason[AUTH_REASON_MAX + 1];
};

/* Of the chain of ARC sets (RFC 8617). */
struct auth_arc {
	uint8_t result;                     /* none, pass, fail, or temperror */
	uint8_t n;                          /* sets of a chain that passes */
	uint8_t next;                       /* the instance of the next set; 0: nobody may add one */
	char domain[AUTH_DOMAIN_MAX + 1];   /* who has sealed last; "": nobody, or not readable */
	char reason[AUTH_REASON_MAX + 1];
};

struct auth_results {
	struct auth_spf spf;
	uint8_t dkim;                       /* of all signatures together */
	char dkim_reason[AUTH_REASON_MAX + 1]; /* if there is no signature in the list */
	struct auth_signature signatures[AUTH_SIGNATURES_MAX];
	unsigned n_signatures;
	struct auth_dmarc dmarc;
	struct auth_arc arc;
};

/* All that was asked for and is not known yet gets that result. */
enum { AUTH_WANT_SPF = 1, AUTH_WANT_DKIM = 2, AUTH_WANT_DMARC = 4, AUTH_WANT_ARC = 8, AUTH_WANT_ALL = 15 };
void auth_results_fail(struct auth_results *, unsigned want, const char *reason);
/* Computes `dkim` of the list. */
void auth_results_sum_up(struct auth_results *);
/* "a.example,b.example": the domains with a signature that passed, each once, as many as there is room for. */
void auth_results_domains(const struct auth_results *, char *out, size_t size);

/* Copies at most size - 1 octets: printable ASCII, the rest as '?'. */
void auth_text(char *out, size_t size, const char *text);

/* Appends the whole field. id: who says so. */
void authres_write(const struct auth_results *, const char *id, struct wbuf *w);
/* The field in pieces: its beginning, clauses, its end. */
void authres_begin(struct wbuf *w, const char *id);
/* That of an ARC-Authentication-Results field. */
void authres_begin_arc(struct wbuf *w, unsigned instance, const char *id);
/* The clauses of all that was looked at. */
void authres_clauses(const struct auth_results *, struct wbuf *w);
void authres_end(struct wbuf *w);
/* One clause, "method=result reason="..." prop=value", of parts that anybody may have said: what does not fit the
 * grammar is quoted or left out. For policy's own results. props: pairs of name and value, the last name NULL. */
void authres_clause(struct wbuf *w, const char *method, const char *result, const char *reason,
    const char *const *props);
/* "pass" and the like: something that may stand in the field as it is. */
bool authres_is_keyword(const char *);
/* Takes out of a header block every Authentication-Results field that claims to be id's, or that cannot be told not to
 * be: they were not written here. How many. */
unsigned authres_strip(struct wbuf *head, const char *id);

#endif
