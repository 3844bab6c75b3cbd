/* The link between deliverd's net role and its sts role, which fetches MTA-STS policies (RFC 8461): types, one encoder
 * and one decoder each. The frame's request id ties an answer to its question. Either side treats what the other says
 * as a stranger's word: one speaks to web servers, the other to mail servers. */
#ifndef MAIL_STS_LINK_H
#define MAIL_STS_LINK_H

#include "base/wire.h"
#include "mail/mx.h"
#include "mail/sts_policy.h"

#define STS_CACHE_DIR "mta-sts" /* below data_directory: a file for each policy that is in force */

enum sts_link_type {
	STS_ASK = 1, /* net: the policy of a domain */
	STS_ANSWER,  /* sts */
	STS_REFRESH  /* sts: the policy of this domain is old, somebody should ask again */
};
#define STS_ASK_MAX 2048u
#define STS_ANSWER_MAX (STS_POLICY_MAX + 2048u)
#define STS_REFRESH_MAX 512u
#define STS_WHY_MAX 300u

struct sts_ask {
	char domain[MX_NAME_MAX + 1]; /* dns_name_valid(), lower case */
	char id[STS_ID_MAX + 1];      /* of the TXT record; "": there is none, or it could not be had */
	uint8_t is_refresh;           /* no mail waits for it */
	struct mx_list *host;         /* with id: mta-sts.DOMAIN */
};

enum sts_found {
	STS_FOUND_NONE = 1, /* no policy is in force */
	STS_FOUND_POLICY,
	STS_FOUND_LATER     /* not known: too much to do */
};
/* What stood in the way of a newer policy than this, in the words of RFC 8460 section 4.3. */
enum sts_problem { STS_PROBLEM_NONE, STS_PROBLEM_FETCH, STS_PROBLEM_INVALID, STS_PROBLEM_WEBPKI };
extern const char *const sts_problem_names[];

struct sts_answer {
	uint8_t found;   /* enum sts_found */
	uint8_t problem; /* enum sts_problem */
	char *why;       /* a sentence, with a problem */
	char id[STS_ID_MAX + 1];
	int64_t fetched, expires; /* wall ms */
	char *text;      /* of the policy, with STS_FOUND_POLICY: sts_policy_parse() takes it */
	size_t len;
};

void sts_ask_encode(const struct sts_ask *, struct wbuf *);
/* 0, or -1 if malformed (then nothing is left to free). */
int sts_ask_decode(struct rbuf *, struct sts_ask *) __attribute__((warn_unused_result));
void sts_ask_clear(struct sts_ask *);
void sts_answer_encode(const struct sts_answer *, struct wbuf *);
int sts_answer_decode(struct rbuf *, struct sts_answer *) __attribute__((warn_unused_result));
void sts_answer_clear(struct sts_answer *);
/* Of STS_REFRESH: its body is a domain. */
int sts_refresh_decode(struct rbuf *, char domain[MX_NAME_MAX + 1]) __attribute__((warn_unused_result));
/* What may be a file's name in the cache: a host name in lower case. */
bool sts_domain_valid(const char *);

#endif
