/* The recipient token (see token.h): deliverd makes it, whoever reads bounces and complaints checks it. Hostile:
 * tokens that come back from the Internet. A token gives no rights; it names an envelope, and the 80 bits of HMAC
 * stop guessing and forging.
 *
 * Bytes: version, key id, message id (16), recipient index (2, big-endian), HMAC-SHA256 over these (first 10). */

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <string.h>

#include "base/log.h"

#include "mail/token.h"

#define TOKEN_VERSION 1
#define SIGNED_LEN (2 + MSGID_LEN + 2)
#define MAC_LEN 10

_Static_assert(TOKEN_LEN == SIGNED_LEN + MAC_LEN && TOKEN_LEN / 3 * 4 == TOKEN_TEXT - 1, "base64url without padding");

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void
token_signer_set(struct token_signer *s, const struct ql_token_key *key)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string("digest", digest, 0), OSSL_PARAM_construct_end() };
	EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);

	token_signer_clear(s);
	s->key = *key;
	if (hmac == NULL || (s->mac = EVP_MAC_CTX_new(hmac)) == NULL ||
	    EVP_MAC_init(s->mac, s->key.key, TOKEN_KEY_LEN, params) != 1)
		panic("HMAC-SHA256 is not available");
	EVP_MAC_free(hmac);
}

void
token_signer_clear(struct token_signer *s)
{
	EVP_MAC_CTX_free(s->mac);
	explicit_bzero(s, sizeof(*s));
}

bool
token_signer_is_set(const struct token_signer *s)
{
	return s->mac != NULL;
}

void
token_mac(const struct token_signer *s, const void *data, size_t data_len, uint8_t *mac, size_t mac_len)
{
	uint8_t full[EVP_MAX_MD_SIZE];
	size_t len;

	/* Without a key: the one it was made ready with. */
	if (EVP_MAC_init(s->mac, NULL, 0, NULL) != 1 || EVP_MAC_update(s->mac, data, data_len) != 1 ||
	    EVP_MAC_final(s->mac, full, &len, sizeof(full)) != 1)
		panic("HMAC-SHA256 failed");
	memcpy(mac, full, mac_len);
}

static void
sign(const struct token_signer *s, const uint8_t *data, uint8_t mac[MAC_LEN])
{
	token_mac(s, data, SIGNED_LEN, mac, MAC_LEN);
}

void
token_make_bytes(const struct token_signer *s, const struct envid *env, uint8_t b[TOKEN_LEN])
{
	b[0] = TOKEN_VERSION;
	b[1] = s->key.id;
	memcpy(b + 2, env->msg.b, MSGID_LEN);
	b[2 + MSGID_LEN] = (uint8_t)(env->rcpt >> 8);
	b[3 + MSGID_LEN] = (uint8_t)env->rcpt;
	sign(s, b, b + SIGNED_LEN);
}

void
token_make(const struct token_signer *s, const struct envid *env, char out[TOKEN_TEXT])
{
	uint8_t b[TOKEN_LEN];

	token_make_bytes(s, env, b);
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
token_check_bytes(const uint8_t b[TOKEN_LEN], const struct ql_token_key *keys, unsigned n_keys, struct envid *env)
{
	uint8_t mac[MAC_LEN];
	struct token_signer s = { .mac = NULL };

	if (b[0] != TOKEN_VERSION)
		return -1;
	for (unsigned i = 0; i < n_keys; i++) {
		if (keys[i].id != b[1])
			continue;
		token_signer_set(&s, &keys[i]);
		sign(&s, b, mac);
		token_signer_clear(&s);
		if (CRYPTO_memcmp(mac, b + SIGNED_LEN, MAC_LEN) != 0)
			continue;
		memcpy(env->msg.b, b + 2, MSGID_LEN);
		env->rcpt = (uint16_t)(b[2 + MSGID_LEN] << 8 | b[3 + MSGID_LEN]);
		return 0;
	}
	return -1;
}

int
token_check(const char *text, const struct ql_token_key *keys, unsigned n_keys, struct envid *env)
{
	uint8_t b[TOKEN_LEN];

	return decode(text, b) == -1 ? -1 : token_check_bytes(b, keys, n_keys, env);
}
