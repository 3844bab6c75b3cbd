/* Between sessions and policy (worker role): what conn_meta shows, and the wait for handlers that ask name servers.
 * While a session waits its input stays where it is, so pipelined commands keep their order; other sessions go on. A
 * worker without a policy, or one that does not answer the event, pays a comparison. */
#include <bsd/string.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cidr.h"
#include "base/tls.h"
#include "base/xalloc.h"

#include "smtpd/events.h"

static const char *
local_address(const struct session *s, char *buf, size_t size)
{
	struct sockaddr_storage ss = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof ss;
	char text[56];

	if (s->io == NULL || getsockname(io_fd(s->io), (struct sockaddr *)&ss, &len) == -1 ||
	    (ss.ss_family != AF_INET && ss.ss_family != AF_INET6))
		return NULL;
	sockaddr_port_text((const struct sockaddr *)&ss, text);
	strlcpy(buf, text, size);
	return buf;
}

/* A client that XCLIENT named has no port. */
static const char *
remote_address(const struct session *s, char *buf, size_t size)
{
	char text[56], address[46];

	sockaddr_text((const struct sockaddr *)&s->peer, address);
	if (strcmp(address, s->client) != 0)
		return s->client;
	sockaddr_port_text((const struct sockaddr *)&s->peer, text);
	strlcpy(buf, text, size);
	return buf;
}

static const char *
conn_get(void *arg, enum policy_conn_key key, char *buf, size_t size)
{
	const struct session *s = arg;
	bool is_tls = s->io != NULL && io_is_tls(s->io) && s->state != ST_HANDSHAKE;

	switch (key) {
	case CONN_RECEIVED_FROM:
		return remote_address(s, buf, size);
	case CONN_RECEIVED_VIA:
		return local_address(s, buf, size);
	case CONN_HOSTNAME:
		return s->worker->params->myhostname;
	case CONN_EHLO_DOMAIN:
		return s->helo;
	case CONN_AUTHN_ID:
		return s->is_authenticated ? s->user.name : NULL;
	case CONN_AUTHZ_ID:
		return !s->is_authenticated ? NULL : s->authz != NULL ? s->authz : s->user.name;
	case CONN_TLS_CIPHER:
		return is_tls ? tls_cipher(io_ssl(s->io)) : NULL;
	case CONN_TLS_PROTOCOL_VERSION:
		return is_tls ? tls_version(io_ssl(s->io)) : NULL;
	case CONN_RECEPTION_PROTOCOL:
		return s->helo == NULL || s->io == NULL ? NULL : session_protocol(s);
	case CONN_KEYS:
		break;
	}
	return NULL;
}

bool
event_wanted(const struct session *s, enum policy_call_id id)
{
	return s->worker->policy != NULL && policy_answers(s->worker->policy, id);
}

static void
on_verdict(const struct policy_verdict *v, void *arg)
{
	struct session *s = arg;
	event_then_fn *then = s->then;
	char *command = s->then_command;

	s->task = NULL;
	s->then = NULL;
	s->then_command = NULL;
	s->command = command;
	session_set_wait(s, WAIT_NONE);
	then(s, v);
	s->command = NULL;
	free(command);
	session_continue(s);
	session_settle(s);
}

void
event_ask(struct session *s, struct policy_call *call, event_then_fn *then)
{
	struct policy_verdict v = { .outcome = POLICY_PASSED, .answer = -1 };

	if (!event_wanted(s, call->id)) {
		then(s, &v);
		return;
	}
	s->conn.get = conn_get;
	s->conn.arg = s;
	call->conn = &s->conn;
	if ((s->task = policy_call(s->worker->policy, call, &v, on_verdict, s)) == NULL) {
		then(s, &v);
		return;
	}
	s->then = then;
	s->then_command = s->command != NULL ? xstrdup(s->command) : NULL;
	session_set_wait(s, WAIT_POLICY);
}

bool
event_refused(struct session *s, const struct policy_verdict *v, enum phase phase, const char *rcpt)
{
	if (v->outcome == POLICY_PASSED)
		return false;
	if (v->is_last)
		reply_drop(s, phase, v->line);
	else
		reply_reject(s, phase, rcpt, v->line);
	return true;
}

void
event_cancel(struct session *s)
{
	policy_cancel(&s->task);
	free(s->then_command);
	s->then_command = NULL;
	s->then = NULL;
}
