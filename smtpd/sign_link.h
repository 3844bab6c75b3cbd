/* What a worker and its sign role say to each other, over a socketpair: a hash and whose key, and the signature of it;
 * matched by the frame's request id. */
#ifndef SMTPD_SIGN_LINK_H
#define SMTPD_SIGN_LINK_H

#include "base/wire.h"
#include "mail/dkim.h"

enum sign_link_type { SIGN_ASK = 1, SIGN_ANSWER };
/* OTHER: the hash is for an algorithm or a selector that are not the key's; the answer says what is. */
enum sign_status { SIGN_OK = 1, SIGN_OTHER, SIGN_FAILED };

#define SIGN_PATH_MAX 400
#define SIGN_TEXT_MAX 1000
#define SIGN_ASK_MAX 2048u
#define SIGN_ANSWER_MAX 2048u

struct sign_ask {
	char *domain, *selector;   /* as they stand in the field that the hash is of */
	char *key, *key_dir;       /* of the signer; "" as usual */
	bool is_current;           /* the signer names no selector: the directory does */
	uint8_t algorithm;         /* enum dkim_algorithm, not DKIM_BY_KEY */
	uint8_t hash[DKIM_HASH];
};

struct sign_answer {
	uint8_t status;
	uint8_t algorithm;         /* SIGN_OTHER */
	char *text;                /* SIGN_OTHER: the selector; SIGN_FAILED: a sentence */
	uint8_t signature[DKIM_SIGNATURE_MAX];
	size_t len;
};

void sign_ask_encode(const struct sign_ask *, struct wbuf *);
int sign_ask_decode(struct rbuf *, struct sign_ask *) __attribute__((warn_unused_result));
void sign_ask_clear(struct sign_ask *);
void sign_answer_encode(const struct sign_answer *, struct wbuf *);
int sign_answer_decode(struct rbuf *, struct sign_answer *) __attribute__((warn_unused_result));
void sign_answer_clear(struct sign_answer *);

#endif
