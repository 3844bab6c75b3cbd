/* What a worker and its auth role say to each other, over a socketpair: one question and one answer, matched by the
 * frame's request id. */
#ifndef SMTPD_AUTH_LINK_H
#define SMTPD_AUTH_LINK_H

#include "base/wire.h"

#include "smtpd/user.h"

enum auth_link_type { AUTH_ASK = 1, AUTH_ANSWER };
enum auth_kind { AUTH_CHECK = 1, AUTH_LOOKUP }; /* LOOKUP: attributes only, for XCLIENT LOGIN */
enum auth_status { AUTH_OK = 1, AUTH_BAD, AUTH_BUSY };

#define AUTH_NAME_MAX 255
#define AUTH_PASSWORD_MAX 1024
#define AUTH_ASK_MAX 2048u
#define AUTH_ANSWER_MAX 8192u

struct auth_ask {
	uint8_t kind;
	char *name;
	char *password;
};

struct auth_answer {
	uint8_t status;
	struct user user; /* all absent unless AUTH_OK */
};

void auth_ask_encode(const struct auth_ask *, struct wbuf *);
int auth_ask_decode(struct rbuf *, struct auth_ask *) __attribute__((warn_unused_result));
void auth_ask_clear(struct auth_ask *);
void auth_answer_encode(const struct auth_answer *, struct wbuf *);
int auth_answer_decode(struct rbuf *, struct auth_answer *) __attribute__((warn_unused_result));
void auth_answer_clear(struct auth_answer *);

#endif
