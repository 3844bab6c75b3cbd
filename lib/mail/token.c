/* The recipient token (see token.h): deliverd makes it, whoever reads bounces and complaints checks it. Hostile:
 * tokens that come back from the Internet. A token gives no rights; it names an envelope, and the 80 bits of HMAC
 * stop guessing and forging.
 *
 * Bytes: version, key id, message id (16), recipient index (2, big-endian), HMAC-SHA256 over these (first 10). */

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <string.h>

#include "base/log.h"

#include "mail/token.h"

#define TOKEN_VERSION 1
#define SIGNED_LEN (2 + MSGID_LEN + 2)
#define MAC_LEN 10
#define TOKEN_LEN (SIGNED_LEN + MAC_LEN)

_Static_assert(TOKEN_LEN % 3 == 0 && TOKEN_LEN / 3 * 4 == TOKEN_TEXT - 1, "base64url without padding");

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void
sign(const struct ql_token_key *key, const uint8_t *data, uint8_t mac[MAC_LEN])
{
	uint8_t full[EVP_MAX_MD_SIZE];
	unsigned len;

	if (HMAC(EVP_sha256(), key->key, TOKEN_KEY_LEN, data, SIGNED_LEN, full, &len) == NULL)
		panic("HMAC-SHA256 is not available");
	memcpy(mac, full, MAC_LEN);
}

void
token_make(const struct ql_token_key *key, const struct envid *env, char out[TOKEN_TEXT])
{
	uint8_t b[TOKEN_LEN];

	b[0] = TOKEN_VERSION;
	b[1] = key->id;
	memcpy(b + 2, env->msg.b, MSGID_LEN);
	b[2 + MSGID_LEN] = (uint8_t)(env->rcpt >> 8);
	b[3 + MSGID_LEN] = (uint8_t)env->rcpt;
	sign(key, b, b + SIGNED_LEN);
	for (unsigned i = 0; i < TOKEN_LEN / 3; i++) {
		uint32_t group = (uint32_t)b[3 * i] << 16 | (uint32_t)b[3 * i + 1] << 8 | b[3 * i + 2];

		for (unsigned k = 0; k < 4; k++)
			out[4 * i + k] = alphabet[group >> (18 - 6 * k) & 63];
	}
	out[TOKEN_TEXT - 1] = '\0';
}

static int
decode(const char *text, uint8_t b[TOKEN_LEN])
{
	for (unsigned i = 0; i < TOKEN_LEN / 3; i++) {
		uint32_t group = 0;

		for (unsigned k = 0; k < 4; k++) {
			const char *at = text[4 * i + k] == '\0' ? NULL : strchr(alphabet, text[4 * i + k]);

			if (at == NULL)
				return -1;
			group = group << 6 | (uint32_t)(at - alphabet);
		}
		b[3 * i] = (uint8_t)(group >> 16);
		b[3 * i + 1] = (uint8_t)(group >> 8);
		b[3 * i + 2] = (uint8_t)group;
	}
	return text[TOKEN_TEXT - 1] == '\0' ? 0 : -1;
}

int
token_check(const char *text, const struct ql_token_key *keys, unsigned n_keys, struct envid *env)
{
	uint8_t b[TOKEN_LEN], mac[MAC_LEN];

	if (decode(text, b) == -1 || b[0] != TOKEN_VERSION)
		return -1;
	for (unsigned i = 0; i < n_keys; i++) {
		if (keys[i].id != b[1])
			continue;
		sign(&keys[i], b, mac);
		if (CRYPTO_memcmp(mac, b + SIGNED_LEN, MAC_LEN) != 0)
			continue;
		memcpy(env->msg.b, b + 2, MSGID_LEN);
		env->rcpt = (uint16_t)(b[2 + MSGID_LEN] << 8 | b[3 + MSGID_LEN]);
		return 0;
	}
	return -1;
}
