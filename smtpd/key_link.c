/* Encoding of the link between worker and key role. Each end treats the other as hostile: the worker talks to
 * strangers, and may be theirs one day. */
#include "smtpd/key_link.h"

void
key_ask_encode(const struct key_ask *a, struct wbuf *w)
{
	wbuf_raw(w, a->id, KEY_ID);
	wbuf_u8(w, a->operation);
	wbuf_bytes(w, a->data.base, a->data.len);
}

int
key_ask_decode(struct rbuf *r, struct key_ask *a)
{
	rbuf_raw(r, a->id, KEY_ID);
	a->operation = rbuf_u8(r);
	a->data = rbuf_bytes(r, KEY_DATA_MAX);
	return rbuf_done(r) && a->operation >= KEY_RSA_PKCS1 && a->operation <= KEY_ED25519 && a->data.len > 0 ? 0 : -1;
}

void
key_answer_encode(const void *signature, size_t len, struct wbuf *w)
{
	wbuf_bytes(w, signature, len);
}

int
key_answer_decode(struct rbuf *r, struct slice *signature_r)
{
	*signature_r = rbuf_bytes(r, KEY_SIGNATURE_MAX);
	return rbuf_done(r) ? 0 : -1;
}
