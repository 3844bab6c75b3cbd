/* Encoding of the worker-auth link. Each end treats the other as hostile: lengths and values are checked, every byte
 * is consumed. */
#include <stdlib.h>
#include <string.h>

#include "smtpd/auth_link.h"

void
auth_ask_encode(const struct auth_ask *a, struct wbuf *w)
{
	wbuf_u8(w, a->kind);
	wbuf_str(w, a->name);
	wbuf_str(w, a->password);
}

int
auth_ask_decode(struct rbuf *r, struct auth_ask *a)
{
	memset(a, 0, sizeof *a);
	a->kind = rbuf_u8(r);
	a->name = rbuf_strdup(r, AUTH_NAME_MAX);
	a->password = rbuf_strdup(r, AUTH_PASSWORD_MAX);
	if (rbuf_done(r) && (a->kind == AUTH_CHECK || a->kind == AUTH_LOOKUP))
		return 0;
	auth_ask_clear(a);
	return -1;
}

void
auth_ask_clear(struct auth_ask *a)
{
	free(a->name);
	if (a->password != NULL)
		explicit_bzero(a->password, strlen(a->password));
	free(a->password);
	a->name = a->password = NULL;
}

void
auth_answer_encode(const struct auth_answer *a, struct wbuf *w)
{
	wbuf_u8(w, a->status);
	wbuf_str(w, a->user.name);
	wbuf_str(w, a->user.tenant);
	wbuf_str(w, a->user.domains);
	wbuf_u64(w, a->user.rate);
	wbuf_u64(w, a->user.rate_per);
	wbuf_u8(w, a->user.return_path);
	wbuf_u8(w, a->user.suppressed);
}

static char *
absent_if_empty(char *s)
{
	if (*s != '\0')
		return s;
	free(s);
	return NULL;
}

int
auth_answer_decode(struct rbuf *r, struct auth_answer *a)
{
	memset(a, 0, sizeof *a);
	a->status = rbuf_u8(r);
	a->user.name = rbuf_strdup(r, AUTH_NAME_MAX);
	a->user.tenant = absent_if_empty(rbuf_strdup(r, 2048));
	a->user.domains = absent_if_empty(rbuf_strdup(r, 2048));
	a->user.rate = rbuf_u64(r);
	a->user.rate_per = rbuf_u64(r);
	a->user.return_path = rbuf_u8(r);
	a->user.suppressed = rbuf_u8(r);
	if (rbuf_done(r) && a->status >= AUTH_OK && a->status <= AUTH_BUSY && a->user.return_path <= RETURN_PATH_YES &&
	    a->user.suppressed <= SUPPRESSED_REJECT &&
	    a->user.rate <= 1000000000 && a->user.rate_per <= 86400000 && (a->user.rate == 0) == (a->user.rate_per ==
	    0))
		return 0;
	auth_answer_clear(a);
	return -1;
}

void
auth_answer_clear(struct auth_answer *a)
{
	user_clear(&a->user);
}
