/* Questions to the sts role, in the net process (stsd.h), and what becomes of an answer: the domain's policy, laid over
 * its hosts. */
#ifndef DELIVERD_STS_PEER_H
#define DELIVERD_STS_PEER_H

#include "mail/params.h"
#include "mail/sts_link.h"
#include "deliverd/net.h"

/* A domain's policy as it is in force, for those who explain and report. */
struct sts_known {
	bool is_known;  /* there is one */
	enum sts_mode mode;
	char id[STS_ID_MAX + 1];
	int64_t expires; /* wall ms */
	char *mx;        /* what it names, as text, cut if there is much */
	enum sts_problem problem; /* nothing newer can be had */
	char *why;
};
void sts_known_clear(struct sts_known *);

struct sts_peer;
struct sts_request;
/* NULL: the sts role failed over this question. The answer is valid during the call. */
typedef void sts_peer_fn(const struct sts_answer *, void *arg);
/* refresh: the policy of this domain is old; whoever asks for it again will have a new one soon. */
struct sts_peer *sts_peer_new(struct loop *, void (*refresh)(const char *domain, void *arg), void *arg);
void sts_peer_free(struct sts_peer **);
/* The sts role's end of a socketpair; open questions are asked again. */
void sts_peer_set(struct sts_peer *, int fd);
/* fn is called once, not before this returns, unless cancelled. */
struct sts_request *sts_peer_ask(struct sts_peer *, const struct sts_ask *, sts_peer_fn *, void *arg);
void sts_peer_cancel(struct sts_peer *, struct sts_request **);
/* Marks the hosts by the policy, and says what there is to know of it. */
void sts_apply(const struct sts_answer *, struct mx_list *, struct sts_known *);

#endif
