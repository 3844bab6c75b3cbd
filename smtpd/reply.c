/* What the session says, and what the event log hears of it (worker role). Texts are ours; what of the client's is in
 * them has been validated, and the logs escape on their own. Every 4xx and 5xx to MAIL, RCPT, DATA, end of data and
 * AUTH, and every refusal of a connection, is a Rejection event. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/tls.h"
#include "mail/bounce_class.h"
#include "mail/names.h"

#include "smtpd/session_private.h"

#define PENALTY_MS 1000

void
reply_plain(struct session *s, const char *line)
{
	struct evbuffer *out = io_output(s->io);

	evbuffer_add(out, line, strlen(line));
	evbuffer_add(out, "\r\n", 2);
	io_dirty(s->io);
}

void
reply_fmt(struct session *s, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	reply_plain(s, line);
}

static void
fill_peer(const struct session *s, struct event_record *ev)
{
	ev->peer_name = s->helo;
	ev->peer_addr = s->client;
	ev->session = s->session_id;
	ev->auth_user = s->is_authenticated ? s->user.name : NULL;
	ev->reception_protocol = session_protocol(s);
	ev->is_local = true;
	if (io_is_tls(s->io) && s->state != ST_HANDSHAKE) {
		ev->tls_version = tls_version(io_ssl(s->io));
		ev->tls_cipher = tls_cipher(io_ssl(s->io));
	}
}

void
reply_to_event(const char *line, struct event_record *ev)
{
	const char *text = line + 4;

	ev->code = (uint16_t)((line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0'));
	text += enhanced_parse(text, strlen(text), &ev->enhanced);
	ev->content = text + strspn(text, " ");
}

static void
write_rejection(struct session *s, enum phase phase, const char *rcpt, const char *line, const char *class)
{
	struct event_record ev = { .type = EV_REJECTION, .phase = (uint8_t)phase };

	fill_peer(s, &ev);
	reply_to_event(line, &ev);
	ev.sender = s->tx.env != NULL ? s->tx.env->sender : NULL;
	ev.recipient = rcpt;
	ev.bounce_classification = class;
	ev.tenant = s->is_authenticated ? s->user.tenant : NULL;
	ev.command = phase == PHASE_DOT ? "." : s->command;
	eventlog_write(s->worker->events, &ev);
}

void
reply_reject(struct session *s, enum phase phase, const char *rcpt, const char *line)
{
	unsigned limit = (unsigned)s->worker->params->smtpd_error_limit;

	reply_plain(s, line);
	if (phase != PHASE_NONE)
		write_rejection(s, phase, rcpt, line, NULL);
	s->errors++;
	if (s->errors >= limit) {
		reply_plain(s, "421 4.7.0 Too many errors, closing connection");
		session_drop(s);
	} else if (s->errors > limit / 2 && s->wait == WAIT_NONE) {
		session_pause(s, WAIT_PENALTY, PENALTY_MS);
	}
}

void
reply_suppressed(struct session *s, const char *rcpt, const char *line)
{
	reply_plain(s, line);
	write_rejection(s, PHASE_RCPT, rcpt, line, BOUNCE_CLASS_SUPPRESSED);
}

void
reply_reject_fmt(struct session *s, enum phase phase, const char *rcpt, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	reply_reject(s, phase, rcpt, line);
}

void
reply_drop(struct session *s, enum phase phase, const char *line)
{
	reply_plain(s, line);
	if (phase != PHASE_NONE)
		write_rejection(s, phase, NULL, line, NULL);
	log_info("session ended by us: %s client=%s session=%s", line, s->client, s->session_id);
	session_drop(s);
}

bool
reply_junk(struct session *s)
{
	unsigned limit = (unsigned)s->worker->params->smtpd_junk_command_limit;

	if (++s->junk > limit) {
		reply_drop(s, PHASE_NONE, "421 4.7.0 Too many commands that do nothing, closing connection");
		return false;
	}
	if (s->junk > limit / 2 && s->wait == WAIT_NONE)
		session_pause(s, WAIT_PENALTY, PENALTY_MS);
	return true;
}

static const char *
common_domain(const struct envelope *e)
{
	const char *domain = address_domain(e->rcpts[0].address);
	uint32_t i;

	for (i = 1; i < e->n_rcpts; i++) {
		if (strcmp(address_domain(e->rcpts[i].address), domain) != 0)
			return NULL;
	}
	return domain;
}

void
reply_reception(struct session *s, const struct message *m, const char *reply_text)
{
	const struct envelope *e = m->envelope;
	struct event_record ev = { .type = EV_RECEPTION, .id = &e->id, .phase = PHASE_DOT, .code = 250, .enhanced = { 2,
	    0, 0 } };
	const char **list = NULL;
	char queue[QUEUE_NAME_TEXT];
	uint32_t i;

	fill_peer(s, &ev);
	ev.sender = e->sender;
	if (e->n_rcpts == 1) {
		ev.recipient = e->rcpts[0].address;
	} else {
		list = reallocarray(NULL, e->n_rcpts, sizeof *list);
		for (i = 0; list != NULL && i < e->n_rcpts; i++)
			list[i] = e->rcpts[i].address;
		ev.recipients = list;
		ev.n_recipients = list != NULL ? e->n_rcpts : 0;
	}
	ev.domain = common_domain(e);
	if (e->queue != NULL) {
		ev.queue = e->queue;
	} else if (ev.domain != NULL) {
		queue_name_make(queue, sizeof queue, e->campaign, e->tenant, ev.domain);
		ev.queue = queue;
	}
	ev.tenant = e->tenant;
	ev.campaign = e->campaign;
	ev.size = message_content_len(m);
	ev.content = reply_text;
	ev.command = ".";
	ev.created = e->received;
	ev.meta = e->meta;
	ev.n_meta = e->n_meta;
	ev.message_id = e->message_id;
	eventlog_write(s->worker->events, &ev);
	free(list);
}
