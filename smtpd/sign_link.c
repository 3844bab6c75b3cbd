/* Encoding of the link between worker and sign role. Each end treats the other as hostile: the worker talks to
 * strangers, and the role that holds the keys takes nothing from it but names that it looks at and 32 octets. */
#include <stdlib.h>
#include <string.h>

#include "smtpd/sign_link.h"

void
sign_ask_encode(const struct sign_ask *a, struct wbuf *w)
{
	wbuf_str(w, a->domain);
	wbuf_str(w, a->selector);
	wbuf_str(w, a->key);
	wbuf_str(w, a->key_dir);
	wbuf_u8(w, a->is_current);
	wbuf_u8(w, a->algorithm);
	wbuf_raw(w, a->hash, DKIM_HASH);
}

int
sign_ask_decode(struct rbuf *r, struct sign_ask *a)
{
	uint8_t is_current;

	memset(a, 0, sizeof *a);
	a->domain = rbuf_strdup(r, DKIM_DOMAIN_MAX);
	a->selector = rbuf_strdup(r, DKIM_SELECTOR_MAX);
	a->key = rbuf_strdup(r, SIGN_PATH_MAX);
	a->key_dir = rbuf_strdup(r, SIGN_PATH_MAX);
	is_current = rbuf_u8(r);
	a->algorithm = rbuf_u8(r);
	rbuf_raw(r, a->hash, DKIM_HASH);
	a->is_current = is_current == 1;
	if (rbuf_done(r) && is_current <= 1 && a->algorithm < DKIM_BY_KEY && *a->domain != '\0' && *a->domain != '.' &&
	    strchr(a->domain, '/') == NULL && dkim_selector_valid(a->selector))
		return 0;
	sign_ask_clear(a);
	return -1;
}

void
sign_ask_clear(struct sign_ask *a)
{
	free(a->domain);
	free(a->selector);
	free(a->key);
	free(a->key_dir);
	memset(a, 0, sizeof *a);
}

void
sign_answer_encode(const struct sign_answer *a, struct wbuf *w)
{
	wbuf_u8(w, a->status);
	wbuf_u8(w, a->algorithm);
	wbuf_str(w, a->text);
	wbuf_bytes(w, a->signature, a->len);
}

int
sign_answer_decode(struct rbuf *r, struct sign_answer *a)
{
	struct slice signature;

	memset(a, 0, sizeof *a);
	a->status = rbuf_u8(r);
	a->algorithm = rbuf_u8(r);
	a->text = rbuf_strdup(r, SIGN_TEXT_MAX);
	signature = rbuf_bytes(r, DKIM_SIGNATURE_MAX);
	if (rbuf_done(r) && a->status >= SIGN_OK && a->status <= SIGN_FAILED && a->algorithm < DKIM_BY_KEY &&
	    (a->status != SIGN_OK || signature.len > 0) &&
	    (a->status != SIGN_OTHER || dkim_selector_valid(a->text))) {
		a->len = signature.len;
		memcpy(a->signature, signature.base, signature.len);
		return 0;
	}
	sign_answer_clear(a);
	return -1;
}

void
sign_answer_clear(struct sign_answer *a)
{
	free(a->text);
	a->text = NULL;
}
