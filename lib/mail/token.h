/* The recipient token: says to us alone, authenticated, which message and which recipient a returned message was.
 * In the trace header of each outgoing message, later in VERP return paths. Text: base64url of {version, key id,
 * message id, recipient index, first 10 bytes of HMAC-SHA256}. An index of TOKEN_MANY: a transaction with several
 * recipients. */
#ifndef MAIL_TOKEN_H
#define MAIL_TOKEN_H

#include "mail/queue_link.h"

#define TOKEN_MANY 0xffff
#define TOKEN_TEXT 41 /* 40 characters and NUL */
#define TOKEN_HEADER "X-Posthorn-Ref"

void token_make(const struct ql_token_key *, const struct envid *, char out[TOKEN_TEXT]);
/* 0 and *env; -1 if it is none of ours or the key does not fit. Constant-time comparison. */
int token_check(const char *text, const struct ql_token_key *keys, unsigned n_keys, struct envid *env)
    __attribute__((warn_unused_result));

#endif
