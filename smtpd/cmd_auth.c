/* AUTH PLAIN and LOGIN (RFC 4954, RFC 4616, draft-murchison-sasl-login). Never a mechanism that needs recoverable
 * passwords. Name and password are a stranger's and are decoded strictly; the password is wiped after use and never
 * logged, a name that failed is logged (escaped) for those who watch for guessing. Checking is the auth role's: the
 * session waits, the loop does not. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "mail/names.h"

#include "smtpd/base64.h"
#include "smtpd/events.h"
#include "smtpd/line.h"
#include "smtpd/session_private.h"

#define DECODED_MAX (AUTH_LINE_MAX / 4 * 3)

static void
back_to_commands(struct session *s)
{
	session_set_wait(s, WAIT_NONE);
	session_set_state(s, ST_COMMAND);
	free(s->auth_name);
	s->auth_name = NULL;
}

/* Of the credentials that failed last: a client that tries each mechanism with one wrong password has failed once. */
static void
digest(const struct session *s, const char *name, const char *password, uint8_t out[16])
{
	uint8_t text[AUTH_NAME_MAX + AUTH_PASSWORD_MAX + 2], md[EVP_MAX_MD_SIZE];
	size_t nlen = strlen(name) + 1, plen = strlen(password) + 1;
	unsigned len = 0;

	memcpy(text, name, nlen);
	memcpy(text + nlen, password, plen);
	if (HMAC(EVP_sha256(), s->session_id, sizeof s->session_id, text, nlen + plen, md, &len) == NULL)
		panic("HMAC-SHA256 failed");
	memcpy(out, md, 16);
	explicit_bzero(text, sizeof text);
}

static void
refuse(struct session *s)
{
	back_to_commands(s);
	reply_reject(s, PHASE_AUTH, NULL, "535 5.7.8 Authentication failed");
}

static void
busy(struct session *s)
{
	back_to_commands(s);
	reply_reject(s, PHASE_AUTH, NULL, "454 4.7.0 Authentication is not available now, try again later");
}

static void
on_answer(enum auth_status status, const struct user *u, void *arg)
{
	struct session *s = arg;

	s->auth_request = NULL;
	s->command = "AUTH";
	switch (status) {
	case AUTH_OK:
		s->has_auth_last = false;
		user_copy(&s->user, u);
		s->is_authenticated = true;
		back_to_commands(s);
		reply_plain(s, "235 2.7.0 Authentication successful");
		break;
	case AUTH_BAD:
		s->auth_failures++;
		log_info("authentication failed user=%s client=%s session=%s", s->auth_name, s->client, s->session_id);
		refuse(s);
		break;
	case AUTH_BUSY:
		s->has_auth_last = false;
		busy(s);
		break;
	}
	s->command = NULL;
	session_continue(s);
	session_settle(s);
}

void
auth_timeout(struct session *s)
{
	auth_cancel(s->worker->auth, &s->auth_request);
	s->has_auth_last = false;
	s->command = "AUTH";
	busy(s);
	s->command = NULL;
	session_continue(s);
}

/* The passwd file decides. */
static void
ask_helper(struct session *s, const char *name, const char *password)
{
	s->auth_request = s->worker->has_users ? auth_ask(s->worker->auth, AUTH_CHECK, name, password, on_answer,
	    s) : NULL;
	if (s->auth_request == NULL) {
		s->has_auth_last = false;
		busy(s);
		return;
	}
	if (s->auth_name == NULL)
		s->auth_name = xstrdup(name);
	session_set_state(s, ST_COMMAND);
	session_set_wait(s, WAIT_AUTH);
}

void
auth_asked_clear(struct session *s)
{
	struct auth_asked *a = &s->auth_asked;

	if (a->password != NULL)
		explicit_bzero(a->password, strlen(a->password));
	free(a->authz);
	free(a->name);
	free(a->password);
	*a = (struct auth_asked){ NULL, NULL, NULL };
}

static bool
is_for_another(const char *authz, const char *name)
{
	return *authz != '\0' && strcmp(authz, name) != 0;
}

/* Policy said yes: the user has no binding but the tenant that it gave the connection. */
static void
accept_user(struct session *s, const struct auth_asked *a)
{
	const char *tenant = policy_conn_meta(&s->conn, "tenant");
	struct user u = { .name = a->name };
	char bound[TENANT_MAX + 1];

	if (tenant != NULL && !tenant_valid(tenant)) {
		log_warn("policy: smtp_server_auth_plain gave the connection a tenant that is not a name: %s", tenant);
		s->has_auth_last = false;
		back_to_commands(s);
		reply_reject(s, PHASE_AUTH, NULL, "451 4.3.5 Local policy error, try again later");
		return;
	}
	if (tenant != NULL) {
		memcpy(bound, tenant, strlen(tenant) + 1);
		u.tenant = bound;
	}
	user_copy(&s->user, &u);
	free(s->authz);
	s->authz = is_for_another(a->authz, a->name) ? xstrdup(a->authz) : NULL;
	s->has_auth_last = false;
	s->is_authenticated = true;
	back_to_commands(s);
	reply_plain(s, "235 2.7.0 Authentication successful");
}

static void
policy_then(struct session *s, const struct policy_verdict *v)
{
	const struct auth_asked *a = &s->auth_asked;

	if (v->outcome != POLICY_PASSED) {
		/* A temporary failure says nothing about the password. */
		s->has_auth_last = s->has_auth_last && v->line[0] == '5';
		s->auth_failures += v->line[0] == '5';
		back_to_commands(s);
		(void)event_refused(s, v, PHASE_AUTH, NULL);
	} else if (v->answer == 1) {
		accept_user(s, a);
	} else if (v->answer == 0 || !s->worker->has_users || is_for_another(a->authz, a->name)) {
		s->auth_failures++;
		log_info("authentication failed user=%s client=%s session=%s", a->name, s->client, s->session_id);
		refuse(s);
	} else {
		ask_helper(s, a->name, a->password);
	}
	auth_asked_clear(s);
}

static void
check(struct session *s, const char *authz, const char *name, const char *password)
{
	uint8_t now[16];

	/* Nobody acts for somebody else here, but by policy. */
	if (is_for_another(authz, name) && (!event_wanted(s, POLICY_ON_AUTH) || strlen(authz) > AUTH_NAME_MAX)) {
		s->auth_failures++;
		refuse(s);
		return;
	}
	if (*name == '\0' || strlen(name) > AUTH_NAME_MAX || strlen(password) > AUTH_PASSWORD_MAX) {
		s->auth_failures++;
		refuse(s);
		return;
	}
	digest(s, name, password, now);
	if (s->has_auth_last && memcmp(now, s->auth_last, sizeof now) == 0) {
		refuse(s);
		return;
	}
	memcpy(s->auth_last, now, sizeof now);
	s->has_auth_last = true;
	if (!event_wanted(s, POLICY_ON_AUTH)) {
		ask_helper(s, name, password);
		return;
	}
	s->auth_asked = (struct auth_asked){ xstrdup(authz), xstrdup(name), xstrdup(password) };
	session_set_state(s, ST_COMMAND);
	event_ask(s, &(struct policy_call){ .id = POLICY_ON_AUTH, .text = { s->auth_asked.authz, s->auth_asked.name,
	    s->auth_asked.password } }, policy_then);
}

/* RFC 4616: authorization identity, NUL, name, NUL, password. */
static void
plain(struct session *s, char *text, size_t len)
{
	char *name = memchr(text, '\0', len), *password;

	if (name == NULL || (password = memchr(name + 1, '\0', len - (size_t)(name + 1 - text))) == NULL ||
	    memchr(password + 1, '\0', len - (size_t)(password + 1 - text)) != NULL) {
		back_to_commands(s);
		reply_reject(s, PHASE_AUTH, NULL, "501 5.5.2 Malformed authentication message");
		return;
	}
	name++;
	password++;
	check(s, text, name, password);
}

static void
login(struct session *s, char *text, size_t len)
{
	if (memchr(text, '\0', len) != NULL) {
		back_to_commands(s);
		reply_reject(s, PHASE_AUTH, NULL, "501 5.5.2 Malformed authentication message");
	} else if (s->auth_step == AUTH_STEP_NAME) {
		free(s->auth_name);
		s->auth_name = xstrdup(text);
		s->auth_step = AUTH_STEP_PASSWORD;
		session_set_state(s, ST_AUTH);
		reply_plain(s, "334 UGFzc3dvcmQ6");
	} else {
		char *name = s->auth_name;

		s->auth_name = NULL;
		check(s, "", name, text);
		free(name);
	}
}

/* One base64 answer of the client. */
static void
take(struct session *s, const char *line)
{
	char text[DECODED_MAX + 1];
	long len;

	if (strcmp(line, "*") == 0) {
		back_to_commands(s);
		reply_reject(s, PHASE_AUTH, NULL, "501 5.7.0 Authentication cancelled");
		return;
	}
	if ((len = base64_decode(line, (unsigned char *)text, DECODED_MAX)) == -1) {
		back_to_commands(s);
		reply_reject(s, PHASE_AUTH, NULL, "501 5.5.2 Malformed base64");
		return;
	}
	text[len] = '\0';
	if (s->auth_step == AUTH_STEP_PLAIN)
		plain(s, text, (size_t)len);
	else
		login(s, text, (size_t)len);
	explicit_bzero(text, (size_t)len);
}

bool
auth_step(struct session *s)
{
	char *line = s->worker->line;
	size_t taken;

	s->command = "AUTH";
	switch (line_peek(io_input(s->io), AUTH_LINE_MAX, line, &taken)) {
	case LINE_MORE:
		return false;
	case LINE_OK:
		evbuffer_drain(io_input(s->io), taken);
		take(s, line);
		break;
	case LINE_TOO_LONG:
		reply_drop(s, PHASE_AUTH, "500 5.5.6 Authentication message is too long");
		break;
	case LINE_NUL:
		evbuffer_drain(io_input(s->io), taken);
		back_to_commands(s);
		reply_reject(s, PHASE_AUTH, NULL, "501 5.5.2 Malformed base64");
		break;
	default:
		reply_drop(s, PHASE_NONE, "500 5.5.2 Bare CR or LF: lines end in CRLF");
		break;
	}
	explicit_bzero(line, taken);
	s->command = NULL;
	return !s->is_dead;
}

static const char *
refusal(const struct session *s)
{
	const struct worker *w = s->worker;

	if (!s->is_esmtp)
		return "503 5.5.1 Send EHLO first";
	if (!w->has_users && !event_wanted(s, POLICY_ON_AUTH))
		return "502 5.5.1 AUTH is not offered";
	if (s->is_authenticated)
		return "503 5.5.1 Already authenticated";
	if (!io_is_tls(s->io) && w->params->smtpd_tls_auth_only)
		return "538 5.7.11 Encryption required: issue STARTTLS first";
	return NULL;
}

void
cmd_auth(struct session *s, const char *args)
{
	size_t len = strcspn(args, " ");
	const char *initial = args + len, *line = refusal(s);
	bool is_plain = len == 5 && strncasecmp(args, "PLAIN", 5) == 0;

	/* What the log may show of this command. */
	s->command = is_plain ? "AUTH PLAIN" : "AUTH";
	while (*initial == ' ')
		initial++;
	if (line == NULL && len == 0)
		line = "501 5.5.4 Syntax: AUTH mechanism";
	if (line == NULL && !is_plain && (len != 5 || strncasecmp(args, "LOGIN", 5) != 0))
		line = "504 5.5.4 Mechanism is not offered";
	if (line != NULL) {
		reply_reject(s, PHASE_AUTH, NULL, line);
		return;
	}
	if (s->auth_failures >= (unsigned)s->worker->params->smtpd_auth_failure_limit) {
		reply_drop(s, PHASE_AUTH, "421 4.7.0 Too many failed authentications");
		return;
	}
	s->auth_step = is_plain ? AUTH_STEP_PLAIN : AUTH_STEP_NAME;
	if (*initial == '\0') {
		session_set_state(s, ST_AUTH);
		reply_plain(s, is_plain ? "334 " : "334 VXNlcm5hbWU6");
		return;
	}
	/* RFC 4954 section 4: "=" is an empty initial response. */
	take(s, strcmp(initial, "=") == 0 ? "" : initial);
	explicit_bzero(s->worker->line, strlen(s->worker->line));
}
