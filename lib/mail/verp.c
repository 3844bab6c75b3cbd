/* VERP (see verp.h). Hostile: every address that mail comes in for. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "mail/verp.h"

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567"; /* RFC 4648 section 6, in lower case */

_Static_assert(TOKEN_LEN % 5 == 0 && TOKEN_LEN / 5 * 8 == VERP_TOKEN, "base32 without padding");
_Static_assert(VERP_PREFIX_MAX + 1 + VERP_TOKEN == 64, "RFC 5321 section 4.5.3.1.1");

int
verp_make(const struct token_signer *s, const struct envid *env, const char *prefix, const char *domain,
    char out[ADDRESS_MAX])
{
	size_t len = strlen(prefix);
	uint8_t b[TOKEN_LEN];
	char *p = out;

	if (len == 0 || len > VERP_PREFIX_MAX || prefix[0] == '-' ||
	    strspn(prefix, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-") != len ||
	    !address_domain_valid(domain, false))
		return -1;
	token_make_bytes(s, env, b);
	p = stpcpy(p, prefix);
	*p++ = '+';
	for (unsigned i = 0; i < TOKEN_LEN; i += 5) {
		uint64_t group = 0;

		for (unsigned k = 0; k < 5; k++)
			group = group << 8 | b[i + k];
		for (unsigned k = 0; k < 8; k++)
			*p++ = alphabet[group >> (35 - 5 * k) & 31];
	}
	(void)snprintf(p, ADDRESS_MAX - (size_t)(p - out), "@%s", domain);
	return 0;
}

static int
digit(char c)
{
	if (c >= 'a' && c <= 'z')
		return c - 'a';
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	return c >= '2' && c <= '7' ? c - '2' + 26 : -1;
}

enum verp_verdict
verp_check(const char *address, const char *prefix, const struct ql_token_key *keys, unsigned n_keys, int64_t now_ms,
    int64_t lifetime_ms, struct envid *env)
{
	size_t prefix_len = strlen(prefix), local_len = address_local_len(address);
	const char *text = address + prefix_len + 1;
	uint8_t b[TOKEN_LEN];

	if (local_len != prefix_len + 1 + VERP_TOKEN || strncasecmp(address, prefix, prefix_len) != 0 ||
	    address[prefix_len] != '+')
		return VERP_NONE;
	for (unsigned i = 0; i < TOKEN_LEN; i += 5) {
		uint64_t group = 0;

		for (unsigned k = 0; k < 8; k++) {
			int d = digit(*text++);

			if (d == -1)
				return VERP_NONE;
			group = group << 5 | (uint64_t)d;
		}
		for (unsigned k = 0; k < 5; k++)
			b[i + k] = (uint8_t)(group >> (32 - 8 * k));
	}
	if (token_check_bytes(b, keys, n_keys, env) == -1)
		return VERP_FORGED;
	return now_ms - msgid_time(&env->msg) > lifetime_ms ? VERP_EXPIRED : VERP_VALID;
}
