/* From a line to a verb (worker role): reads one command, checks what holds for all verbs, and calls the right one.
 * Every byte is hostile. RFC 5321 4.1 (syntax, order), RFC 2920 3.1 (which commands end a group). */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"

#include "smtpd/line.h"
#include "smtpd/session_private.h"

enum {
	CMD_LAST = 1 << 0,     /* must be the last of a pipelined group */
	CMD_HELO = 1 << 1,     /* needs HELO or EHLO before it */
	CMD_NO_TX = 1 << 2,    /* not inside a transaction */
	CMD_HOLD = 1 << 3,     /* begins or completes new mail: waits while queued holds back */
	CMD_RATE = 1 << 4      /* counts against the user's rate */
};

struct command {
	const char *verb;
	cmd_fn *fn;
	unsigned flags;
};

static const struct command commands[] = {
	{ "MAIL", cmd_mail, CMD_HELO | CMD_HOLD | CMD_RATE },
	{ "RCPT", cmd_rcpt, CMD_HELO },
	{ "DATA", cmd_data, CMD_HELO | CMD_LAST | CMD_HOLD },
	{ "BDAT", cmd_bdat, 0 },
	{ "RSET", cmd_rset, 0 },
	{ "NOOP", cmd_noop, CMD_LAST },
	{ "QUIT", cmd_quit, CMD_LAST },
	{ "EHLO", cmd_ehlo, CMD_LAST },
	{ "HELO", cmd_helo, CMD_LAST },
	{ "AUTH", cmd_auth, CMD_HELO | CMD_LAST | CMD_NO_TX },
	{ "STARTTLS", cmd_starttls, CMD_LAST | CMD_NO_TX },
	{ "VRFY", cmd_vrfy, CMD_LAST },
	{ "EXPN", cmd_expn, CMD_LAST },
	{ "HELP", cmd_help, CMD_LAST },
	{ "XCLIENT", cmd_xclient, CMD_LAST | CMD_NO_TX }
};

/* Other protocols that are made to talk to us (cross-protocol attacks from a browser): never a second line. */
static bool
is_foreign(const char *line)
{
	static const char *const verbs[] = { "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE",
	    "PATCH", "PRI" };
	size_t len = strcspn(line, " "), i;

	for (i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
		if (strlen(verbs[i]) == len && strncasecmp(line, verbs[i], len) == 0)
			return true;
	}
	/* "Host:" and its like; no verb of SMTP ends in a colon. */
	if (len > 1 && line[len - 1] == ':')
		return true;
	return line[0] != '\0' && !isalpha((unsigned char)line[0]);
}

static const struct command *
find(const char *line, const char **args_r)
{
	size_t len = strcspn(line, " "), i;
	const char *p = line + len;

	while (*p == ' ')
		p++;
	*args_r = p;
	for (i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		if (strlen(commands[i].verb) == len && strncasecmp(line, commands[i].verb, len) == 0)
			return &commands[i];
	}
	return NULL;
}

enum hold { HOLD_NO, HOLD_YES, HOLD_GIVE_UP };

/* New mail waits here, with the command still in the input, instead of being refused: applications take 4xx for a
 * failure. */
static enum hold
hold(struct session *s, const struct command *c)
{
	struct worker *w = s->worker;
	enum session_wait why = WAIT_FLOW;
	int64_t limit = w->params->smtpd_hold_limit, ms = limit, left;

	if ((c->flags & CMD_HOLD) == 0)
		return HOLD_NO;
	if (!w->is_held) {
		why = WAIT_RATE;
		if ((c->flags & CMD_RATE) == 0 || (ms = tx_take_rate(s)) == 0) {
			s->hold_since = 0;
			return HOLD_NO;
		}
	}
	if (s->hold_since == 0)
		s->hold_since = loop_now(w->loop);
	left = limit - (loop_now(w->loop) - s->hold_since);
	if (left <= 0) {
		s->hold_since = 0;
		return HOLD_GIVE_UP;
	}
	session_pause(s, why, ms < left ? ms : left);
	return HOLD_YES;
}

/* What holds for the verb wherever it stands. True: a reply was given. */
static bool
is_out_of_order(struct session *s, const struct command *c, bool has_more)
{
	if (has_more && (c->flags & CMD_LAST) != 0 && (!session_is_submission(s) || c->fn == cmd_starttls)) {
		reply_drop(s, PHASE_NONE, "554 5.5.0 Protocol error: you did not wait for my reply");
		return true;
	}
	if ((c->flags & CMD_HELO) != 0 && s->helo == NULL) {
		reply_reject(s, PHASE_NONE, NULL, "503 5.5.1 Send HELO or EHLO first");
		return true;
	}
	if ((c->flags & CMD_NO_TX) != 0 && s->tx.env != NULL) {
		reply_reject(s, PHASE_NONE, NULL, "503 5.5.1 Not during a mail transaction");
		return true;
	}
	return false;
}

/* False: the command stays in the input for later. */
static bool
run(struct session *s, size_t taken)
{
	struct evbuffer *in = io_input(s->io);
	const char *line = s->worker->line, *args;
	const struct command *c;
	enum hold h;

	s->command = line;
	if (is_foreign(line)) {
		evbuffer_drain(in, taken);
		reply_drop(s, PHASE_NONE, "421 4.7.0 This is an SMTP server, good bye");
		return true;
	}
	if ((c = find(line, &args)) == NULL) {
		evbuffer_drain(in, taken);
		reply_reject(s, PHASE_NONE, NULL, *line == '\0' ? "500 5.5.2 Empty command" :
		    "500 5.5.2 Command not recognized");
		return true;
	}
	/* What is refused in any case does not wait first. */
	if (is_out_of_order(s, c, evbuffer_get_length(in) > taken)) {
		evbuffer_drain(in, taken);
		return true;
	}
	if ((h = hold(s, c)) == HOLD_YES)
		return false;
	evbuffer_drain(in, taken);
	if (h == HOLD_GIVE_UP) {
		reply_reject(s, c->fn == cmd_mail ? PHASE_MAIL : PHASE_DATA, NULL, s->worker->is_held ?
		    "451 4.3.2 The queue is busy, try again later" :
		    "450 4.7.1 Your sending rate is exceeded, try again later");
		return true;
	}
	c->fn(s, args);
	/* MAIL was refused: its part of the rate was not used. */
	if ((c->flags & CMD_RATE) != 0 && s->tx.env == NULL)
		tx_reset(s);
	return true;
}

static bool
bad_line(struct session *s, enum line_status status, bool is_auth, size_t taken)
{
	s->command = NULL;
	switch (status) {
	case LINE_TOO_LONG:
		/* RFC 4954 section 4.2 has a code of its own. */
		reply_drop(s, is_auth ? PHASE_AUTH : PHASE_NONE, is_auth ?
		    "500 5.5.6 Authentication message is too long" : "500 5.5.2 Command line is too long");
		break;
	case LINE_NUL:
		evbuffer_drain(io_input(s->io), taken);
		reply_reject(s, PHASE_NONE, NULL, "501 5.5.2 Command contains NUL");
		break;
	default:
		reply_drop(s, PHASE_NONE, "500 5.5.2 Bare CR or LF in a command: lines end in CRLF");
		break;
	}
	return !s->is_dead;
}

bool
command_step(struct session *s)
{
	struct evbuffer *in = io_input(s->io);
	size_t limit = (size_t)s->worker->params->line_length_limit, taken;
	enum line_status status;
	bool is_auth;
	char head[5];

	/* Servers try again; applications do not (session.c). */
	if (s->worker->is_drain_due && s->tx.env == NULL && !session_is_submission(s)) {
		reply_plain(s, "421 4.3.2 Server is restarting, connect again");
		session_drop(s);
		return false;
	}
	if (evbuffer_copyout(in, head, sizeof head) < 1)
		return false;
	/* A TLS record: handshake. */
	if (head[0] == 0x16 && !io_is_tls(s->io)) {
		s->command = NULL;
		reply_drop(s, PHASE_NONE, "554 5.5.1 This port does not begin with TLS");
		return false;
	}
	status = line_peek(in, limit, s->worker->line, &taken);
	is_auth = status == LINE_TOO_LONG && strncasecmp(head, "AUTH ", 5) == 0;
	if (is_auth && limit < AUTH_LINE_MAX)
		status = line_peek(in, AUTH_LINE_MAX, s->worker->line, &taken);
	if (status == LINE_MORE)
		return false;
	if (status != LINE_OK)
		return bad_line(s, status, is_auth, taken);
	if (!run(s, taken)) {
		s->command = NULL;
		return false;
	}
	/* The next command has its own time. */
	if (!s->is_dead && s->wait == WAIT_NONE)
		session_set_wait(s, WAIT_NONE);
	s->command = NULL;
	return true;
}
