/* The verbs without consequences (RFC 5321 4.1.1.5-10): RSET, NOOP, QUIT, VRFY, EXPN, HELP. None but RSET touches a
 * transaction. All are counted, for a client may send them without end. */
#include "smtpd/session_private.h"

void
cmd_rset(struct session *s, const char *args)
{
	if (*args != '\0') {
		reply_reject(s, PHASE_NONE, NULL, "501 5.5.4 Syntax: RSET");
		return;
	}
	tx_reset(s);
	if (reply_junk(s))
		reply_plain(s, "250 2.0.0 Ok");
}

void
cmd_noop(struct session *s, const char *args)
{
	(void)args;
	/* Who asks whether the connection lives can take a no. */
	if (s->worker->is_drain_due && s->tx.env == NULL) {
		reply_plain(s, "421 4.3.2 Server is restarting, connect again");
		session_drop(s);
	} else if (reply_junk(s)) {
		reply_plain(s, "250 2.0.0 Ok");
	}
}

void
cmd_quit(struct session *s, const char *args)
{
	(void)args;
	reply_plain(s, "221 2.0.0 Bye");
	session_drop(s);
}

void
cmd_vrfy(struct session *s, const char *args)
{
	if (!reply_junk(s))
		return;
	if (*args == '\0')
		reply_reject(s, PHASE_NONE, NULL, "501 5.5.4 Syntax: VRFY address");
	else
		reply_plain(s, "252 2.0.0 Send some mail, I will try to deliver it");
}

void
cmd_expn(struct session *s, const char *args)
{
	(void)args;
	if (reply_junk(s))
		reply_reject(s, PHASE_NONE, NULL, "502 5.5.1 EXPN is not offered");
}

void
cmd_help(struct session *s, const char *args)
{
	(void)args;
	if (reply_junk(s))
		reply_plain(s, "214 2.0.0 RFC 5321");
}
