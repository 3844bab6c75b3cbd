/* The last edit of a message: its DKIM signatures and its ARC set, on their way from the role that holds the keys. */
#ifndef SMTPD_SIGN_H
#define SMTPD_SIGN_H

#include "mail/arc.h"

#include "smtpd/message.h"
#include "smtpd/sign_client.h"

/* The hashes of a body that does not stay in memory, taken while it goes by. All NULL: none has begun. */
struct sign_bodies {
	struct dkim_body *of[DKIM_CANONS];
};
void sign_bodies_update(struct sign_bodies *, const struct wbuf *);
void sign_bodies_clear(struct sign_bodies *);

struct signing;
/* line: NULL, or a whole reply: the message must not leave as it is. The signing is over. */
typedef void sign_done_fn(const char *line, void *arg);

/* Whose signatures the message is to have: those that policy asked for, and those that are defined for its author's
 * domain if it comes from one of ours. Taken over from msg, which may be NULL. How many. */
size_t sign_choose(const struct policy *, struct policy_msg *msg, bool is_trusted, const char *head, size_t len,
    struct dkim_signer *out[POLICY_SIGNERS_MAX]);
/* Signs m by the n signers, and seals it then if there is an order (NULL: not); one of both is there, all are taken
 * over. bodies: what was hashed already (ended here). m is borrowed, until done(), which is not called before this
 * returns. NULL: the header has too many fields for it. */
struct signing *sign_begin(struct sign_client *, struct message *m, struct dkim_signer **, size_t n,
    struct arc_order *, struct sign_bodies *bodies, sign_done_fn *done, void *arg);
/* At any time: forgets it. */
void sign_free(struct signing **);

#endif
