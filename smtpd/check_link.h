/* What a worker and its check role say to each other, over a socketpair. The frame's request id is the number of the
 * check. A check begins with BEGIN; its content follows in DATA, header block first, as far as TAKEN says that there is
 * room; QUESTION and REPLY are for name servers, which the role cannot ask itself; RESULT ends it, or DROP. */
#ifndef SMTPD_CHECK_LINK_H
#define SMTPD_CHECK_LINK_H

#include "base/wire.h"
#include "mail/authres.h"
#include "mail/dns_link.h"

enum check_link_type {
	CHECK_BEGIN = 1, /* w>r */
	CHECK_DATA,      /* w>r, octets */
	CHECK_DROP,      /* w>r, nothing */
	CHECK_REPLY,     /* w>r, u32 number of the question, dns_reply */
	CHECK_QUESTION,  /* r>w */
	CHECK_TAKEN,     /* r>w, u32 octets */
	CHECK_RESULT     /* r>w */
};

#define CHECK_BEGIN_MAX 2048u
#define CHECK_DATA_MAX (64u << 10)
#define CHECK_WINDOW (4 * CHECK_DATA_MAX) /* octets that may be on their way */
#define CHECK_REPLY_MAX (DNS_ANSWER_MAX + 4)
#define CHECK_QUESTION_MAX 512u
#define CHECK_RESULT_MAX (16u << 10)
#define CHECK_HEAD_MAX ((16u << 20) + 16) /* header_size_limit goes no further, but for a blank line of ours */
#define CHECK_QUESTIONS_MAX 200    /* of one check: SPF's, keys (of ARC: 51), DMARC */
#define CHECK_CLIENT_MAX 45
#define CHECK_HELO_MAX 255

struct check_begin {
	uint8_t want;     /* AUTH_WANT_* */
	char *client;     /* address, text */
	char *helo;
	char *sender;     /* "": the null sender */
	char *receiver;   /* our name */
	uint32_t head_len;
	uint64_t body_len;
};

struct check_question {
	uint32_t number;
	uint16_t type;
	char name[MX_NAME_MAX + 1]; /* dns_name_askable() */
};

/* A text that is too long is cut. */
void check_begin_encode(const struct check_begin *, struct wbuf *);
int check_begin_decode(struct rbuf *, struct check_begin *) __attribute__((warn_unused_result));
void check_begin_clear(struct check_begin *);
void check_question_encode(const struct check_question *, struct wbuf *);
int check_question_decode(struct rbuf *, struct check_question *) __attribute__((warn_unused_result));
void check_reply_encode(uint32_t number, const struct dns_reply *, struct wbuf *);
/* On success the reply is to be cleared. */
int check_reply_decode(struct rbuf *, uint32_t *number_r, struct dns_reply *) __attribute__((warn_unused_result));
void check_result_encode(const struct auth_results *, struct wbuf *);
int check_result_decode(struct rbuf *, struct auth_results *) __attribute__((warn_unused_result));

#endif
