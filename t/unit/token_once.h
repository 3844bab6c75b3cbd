/* A single token of a key, for tests. */
#ifndef T_UNIT_TOKEN_ONCE_H
#define T_UNIT_TOKEN_ONCE_H

#include "mail/token.h"

static inline void
token_once(const struct ql_token_key *key, const struct envid *env, char text[TOKEN_TEXT])
{
	struct token_signer s = { .mac = NULL };

	token_signer_set(&s, key);
	token_make(&s, env, text);
	token_signer_clear(&s);
}

#endif
