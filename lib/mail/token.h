/* The recipient token: says to us alone, authenticated, which message and which recipient a returned message was.
 * In VERP return paths (verp.h), and in other words in the trace header (trace.h). Text: base64url of {version, key id,
 * message id, recipient index, first 10 bytes of HMAC-SHA256}. An index of TOKEN_MANY: a transaction with several
 * recipients. */
#ifndef MAIL_TOKEN_H
#define MAIL_TOKEN_H

#include <openssl/evp.h>

#include "mail/queue_link.h"

#define TOKEN_MANY 0xffff
#define TOKEN_LEN 30  /* octets */
#define TOKEN_TEXT 41 /* 40 characters and NUL */
#define TOKEN_HEADER "X-Posthorn-Ref"

/* A key and the HMAC that was made ready with it: five times cheaper than from the key each time. All zero: no key. */
struct token_signer {
	struct ql_token_key key;
	EVP_MAC_CTX *mac;
};

void token_signer_set(struct token_signer *, const struct ql_token_key *);
void token_signer_clear(struct token_signer *);
bool token_signer_is_set(const struct token_signer *);
/* The first mac_len (at most 32) octets of HMAC-SHA256: for other texts that we sign, which must not begin with the
 * version of a token, 1. */
void token_mac(const struct token_signer *, const void *data, size_t data_len, uint8_t *mac, size_t mac_len);

void token_make(const struct token_signer *, const struct envid *, char out[TOKEN_TEXT]);
/* 0 and *env; -1 if it is none of ours or the key does not fit. Constant-time comparison. */
int token_check(const char *text, const struct ql_token_key *keys, unsigned n_keys, struct envid *env)
    __attribute__((warn_unused_result));
/* The same as octets, for another text. */
void token_make_bytes(const struct token_signer *, const struct envid *, uint8_t b[TOKEN_LEN]);
int token_check_bytes(const uint8_t b[TOKEN_LEN], const struct ql_token_key *keys, unsigned n_keys, struct envid *env)
    __attribute__((warn_unused_result));

#endif
