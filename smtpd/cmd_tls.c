/* STARTTLS (RFC 3207). Whatever was said in the clear is forgotten: the name, the transaction, the user. Plaintext
 * behind the command is an injection (CVE-2011-0411 and kin); command.c drops the connection for it before we come
 * here, and the connection layer refuses it once more. */
#include "smtpd/session_private.h"

void
cmd_starttls(struct session *s, const char *args)
{
	SSL_CTX *tls = s->worker->tls[s->kind];

	if (*args != '\0') {
		reply_reject(s, PHASE_STARTTLS, NULL, "501 5.5.4 Syntax: STARTTLS");
	} else if (io_is_tls(s->io)) {
		reply_reject(s, PHASE_STARTTLS, NULL, "554 5.5.1 TLS is already active");
	} else if (tls == NULL) {
		reply_reject(s, PHASE_STARTTLS, NULL, "502 5.5.1 STARTTLS is not offered");
	} else if (s->worker->keys != NULL && !key_client_is_there(s->worker->keys)) {
		reply_reject(s, PHASE_STARTTLS, NULL, "454 4.7.0 TLS is not available now, try again later");
	} else {
		reply_plain(s, "220 2.0.0 Ready to start TLS");
		session_forget(s);
		session_set_state(s, ST_HANDSHAKE);
		if (io_tls_accept(s->io, tls) == -1)
			session_drop(s);
	}
}
