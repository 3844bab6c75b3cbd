/* XCLIENT (Postfix's XCLIENT_README): a listed proxy says for whom it speaks. Only the connecting address counts for
 * the permission, not one that an earlier XCLIENT gave. Values are xtext, decoded and validated again. The session
 * starts over afterwards. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cidr.h"
#include "base/xalloc.h"

#include "smtpd/session_private.h"

struct xclient {
	char addr[64], helo[256], login[AUTH_NAME_MAX + 1];
	bool has_addr, has_helo, has_login;
	struct sockaddr_storage sa;
};

static bool
is_unavailable(const char *v)
{
	return strcasecmp(v, "[UNAVAILABLE]") == 0 || strcasecmp(v, "[TEMPUNAVAIL]") == 0;
}

static int
set_addr(struct xclient *x, const char *v)
{
	socklen_t len;

	if (strncasecmp(v, "IPV6:", 5) == 0)
		v += 5;
	if (strlen(v) >= sizeof x->addr || sockaddr_parse(v, 0, &x->sa, &len) == -1)
		return -1;
	sockaddr_text((const struct sockaddr *)&x->sa, x->addr);
	x->has_addr = true;
	return 0;
}

/* The proxy does not know: then it is nobody whom we trust, least of all the proxy itself. */
static int
set_unknown(struct xclient *x)
{
	memset(&x->sa, 0, sizeof x->sa); /* AF_UNSPEC is in no list */
	memcpy(x->addr, "unknown", sizeof "unknown");
	x->has_addr = true;
	return 0;
}

static int
set_attr(struct xclient *x, const char *name, const char *v)
{
	if (strcasecmp(name, "ADDR") == 0)
		return is_unavailable(v) ? set_unknown(x) : set_addr(x, v);
	if (strcasecmp(name, "HELO") == 0) {
		if (is_unavailable(v))
			return 0;
		if (!address_helo_valid(v))
			return -1;
		x->has_helo = true;
		memcpy(x->helo, v, strlen(v) + 1);
		return 0;
	}
	if (strcasecmp(name, "LOGIN") == 0) {
		if (is_unavailable(v))
			return 0;
		if (*v == '\0' || strlen(v) > AUTH_NAME_MAX)
			return -1;
		x->has_login = true;
		memcpy(x->login, v, strlen(v) + 1);
		return 0;
	}
	if (strcasecmp(name, "PORT") == 0)
		return is_unavailable(v) || (*v != '\0' && strlen(v) <= 5 && v[strspn(v, "0123456789")] == '\0') ? 0 :
		    -1;
	if (strcasecmp(name, "PROTO") == 0)
		return strcasecmp(v, "SMTP") == 0 || strcasecmp(v, "ESMTP") == 0 ? 0 : -1;
	/* The name is for logs of hosts that look names up; ours do not. */
	return strcasecmp(name, "NAME") == 0 ? 0 : -1;
}

static int
parse(const char *args, struct xclient *x)
{
	char name[16], value[256];
	size_t nlen, vlen;

	memset(x, 0, sizeof *x);
	if (*args == '\0')
		return -1;
	while (*args != '\0') {
		nlen = strcspn(args, "= ");
		vlen = args[nlen] == '=' ? strcspn(args + nlen + 1, " ") : 0;
		if (nlen == 0 || nlen >= sizeof name || args[nlen] != '=' ||
		    xtext_decode(args + nlen + 1, vlen, value, sizeof value) == -1)
			return -1;
		memcpy(name, args, nlen);
		name[nlen] = '\0';
		if (set_attr(x, name, value) == -1)
			return -1;
		args += nlen + 1 + vlen;
		while (*args == ' ')
			args++;
	}
	return 0;
}

static void
restart(struct session *s)
{
	session_set_wait(s, WAIT_NONE);
	session_set_state(s, ST_GREETING);
	session_greet(s);
}

/* The proxy vouches for the login; a user whom we do not know has no binding and no limits. */
static void
on_lookup(enum auth_status status, const struct user *u, void *arg)
{
	struct session *s = arg;

	s->auth_request = NULL;
	s->command = "XCLIENT";
	if (status == AUTH_BUSY) {
		free(s->auth_name);
		s->auth_name = NULL;
		session_set_wait(s, WAIT_NONE);
		reply_drop(s, PHASE_AUTH, "421 4.3.0 Authentication is not available now, try again later");
	} else {
		if (u != NULL)
			user_copy(&s->user, u);
		else
			user_copy(&s->user, &(struct user){ .name = s->auth_name });
		free(s->auth_name);
		s->auth_name = NULL;
		s->is_authenticated = true;
		restart(s);
	}
	s->command = NULL;
	session_continue(s);
	session_settle(s);
}

void
cmd_xclient(struct session *s, const char *args)
{
	struct xclient x;

	if (!s->may_xclient) {
		reply_reject(s, PHASE_NONE, NULL, "550 5.7.0 Not allowed");
		return;
	}
	if (parse(args, &x) == -1) {
		reply_reject(s, PHASE_NONE, NULL, "501 5.5.4 Bad XCLIENT attribute");
		return;
	}
	session_forget(s);
	policy_conn_clear(&s->conn);
	if (x.has_addr) {
		memcpy(s->client, x.addr, sizeof s->client);
		s->is_mynetworks = cidr_list_match(&s->worker->params->mynetworks, (const struct sockaddr *)&x.sa);
	}
	if (x.has_helo)
		s->helo = xstrdup(x.helo);
	if (!x.has_login) {
		restart(s);
		return;
	}
	s->auth_request = auth_ask(s->worker->auth, AUTH_LOOKUP, x.login, "", on_lookup, s);
	if (s->auth_request == NULL) {
		reply_drop(s, PHASE_AUTH, "421 4.3.0 Authentication is not available now, try again later");
		return;
	}
	s->auth_name = xstrdup(x.login);
	session_set_wait(s, WAIT_AUTH);
}
