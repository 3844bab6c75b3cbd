/* The limits of an egress path: what the policy's get_egress_path_config says, main.cf where it says nothing. Asked
 * once for each path and configuration. In the net process; input is the administrator's. */
#include <limits.h>
#include <stdlib.h>

#include "base/xalloc.h"
#include "deliverd/path.h"

static int64_t
either(int64_t from_policy, int64_t from_params)
{
	return from_policy >= 0 ? from_policy : from_params;
}

static unsigned
at_least_one(int64_t n)
{
	return n < 1 ? 1 : n > INT32_MAX ? INT32_MAX : (unsigned)n;
}

static unsigned
zero_is_no_limit(int64_t n)
{
	return n == 0 ? UINT_MAX : at_least_one(n);
}

static void
set_timeouts(struct path *p)
{
	const struct policy_path_config *c = &p->config;
	const struct params *d = p->net->params;
	int64_t *t = p->limits.timeouts;

	t[T_CONNECT] = either(c->connect_timeout, d->smtp_connect_timeout);
	t[T_BANNER] = either(c->banner_timeout, d->smtp_banner_timeout);
	t[T_EHLO] = either(c->ehlo_timeout, d->smtp_helo_timeout);
	t[T_STARTTLS] = either(c->starttls_timeout, d->smtp_starttls_timeout);
	t[T_MAIL] = either(c->mail_from_timeout, d->smtp_mail_timeout);
	t[T_RCPT] = either(c->rcpt_to_timeout, d->smtp_rcpt_timeout);
	t[T_DATA] = either(c->data_timeout, d->smtp_data_init_timeout);
	t[T_XFER] = d->smtp_data_xfer_timeout;
	t[T_DOT] = either(c->data_dot_timeout, d->smtp_data_done_timeout);
	t[T_QUIT] = d->smtp_quit_timeout;
	t[T_IDLE] = either(c->idle_timeout, d->smtp_idle_timeout);
}

int
path_configure(struct path *p, char **err_r)
{
	const struct params *d = p->net->params;
	struct path_limits *l = &p->limits;
	uint16_t relay_port = p->site->mx->port;

	policy_path_config_clear(&p->config);
	policy_path_config_init(&p->config);
	if (policy_get_path_config(p->net->policy, p->domain, p->source->name, p->site->name, &p->config, err_r) == -1)
		return -1;
	set_timeouts(p);
	l->connections = at_least_one(either(p->config.connection_limit, d->smtp_connection_limit));
	l->deliveries = zero_is_no_limit(either(p->config.max_deliveries_per_connection,
	    d->smtp_deliveries_per_connection));
	l->recipients = at_least_one(either(p->config.recipient_limit, d->smtp_recipient_limit));
	l->tls = p->config.enable_tls >= 0 ? p->config.enable_tls : d->smtp_tls_security_level;
	l->prohibited = p->config.has_prohibited_hosts ? &p->config.prohibited_hosts : &d->prohibited_hosts;
	if (relay_port != 0) /* said together with the host, so it is the host's */
		l->port = relay_port;
	else if (p->source->remote_port != 0)
		l->port = p->source->remote_port;
	else
		l->port = (uint16_t)either(p->config.smtp_port, d->smtp_port);
	p->generation = p->net->generation;
	return 0;
}
