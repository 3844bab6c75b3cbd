/* What a worker and its key role say to each other, over a socketpair: what is to be signed, by which of the long-term
 * keys of TLS, and the signature. The worker's side waits for the answer in place (key_client.h), since OpenSSL's
 * callbacks cannot be left and come back to. */
#ifndef SMTPD_KEY_LINK_H
#define SMTPD_KEY_LINK_H

#include "base/wire.h"

enum key_link_type { KEY_ASK = 1, KEY_ANSWER };
/* RSA_PKCS1: a DigestInfo, to be padded and signed. RSA_PSS: the encoded message of RFC 8017 9.1, as long as the
 * modulus; the role signs nothing else without padding. ECDSA: a hash. ED25519: the message. */
enum key_operation { KEY_RSA_PKCS1 = 1, KEY_RSA_PSS, KEY_ECDSA, KEY_ED25519 };

#define KEY_ID 32u          /* SHA-256 of the public key's SubjectPublicKeyInfo */
#define KEY_DATA_MAX 2048u
#define KEY_SIGNATURE_MAX 2048u
#define KEY_ASK_MAX (KEY_ID + 1 + 4 + KEY_DATA_MAX)
#define KEY_ANSWER_MAX (4 + KEY_SIGNATURE_MAX)

struct key_ask {
	uint8_t id[KEY_ID];
	uint8_t operation;
	struct slice data;
};

void key_ask_encode(const struct key_ask *, struct wbuf *);
/* data points into the reader's memory. */
int key_ask_decode(struct rbuf *, struct key_ask *) __attribute__((warn_unused_result));
/* Empty: it did not sign. */
void key_answer_encode(const void *signature, size_t len, struct wbuf *);
int key_answer_decode(struct rbuf *, struct slice *signature_r) __attribute__((warn_unused_result));

#endif
