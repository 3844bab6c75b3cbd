/* The settings of an egress path, laid over one another: main.cf, shaping data, what the policy's
 * get_egress_path_config says, overrides; and what follows from them. Asked once for each path and configuration. In
 * the net process; input is the administrator's. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "deliverd/conn.h"
#include "deliverd/path.h"

#define MAX_FAILURES 100 /* connections in a row, until a path gets a rest */
#define BROKEN_TLS_MS 600000
#define RSET_MS 5000
#define AUTH_MS 60000

/* Each setting that the layer has replaces what is there, and its origin. */
static void
lay(struct path *p, const struct policy_path_config *layer, enum path_layer which)
{
	size_t i;

	for (i = 0; i < policy_path_count(); i++)
		if (policy_path_is_set(layer, i)) {
			policy_path_merge(&p->config, layer, i);
			p->layers[i] = (uint8_t)which;
		}
}

static void
lay_main(struct path *p)
{
	const struct params *d = p->net->params;
	struct policy_path_config c;

	policy_path_config_init(&c);
	c.connection_limit = d->smtp_connection_limit;
	c.max_deliveries_per_connection = d->smtp_deliveries_per_connection;
	c.recipient_limit = d->smtp_recipient_limit;
	c.consecutive_connection_failures_before_delay = MAX_FAILURES;
	c.connect_timeout = d->smtp_connect_timeout;
	c.banner_timeout = d->smtp_banner_timeout;
	c.ehlo_timeout = d->smtp_helo_timeout;
	c.starttls_timeout = d->smtp_starttls_timeout;
	c.mail_from_timeout = d->smtp_mail_timeout;
	c.rcpt_to_timeout = d->smtp_rcpt_timeout;
	c.data_timeout = d->smtp_data_init_timeout;
	c.data_dot_timeout = d->smtp_data_done_timeout;
	c.idle_timeout = d->smtp_idle_timeout;
	c.rset_timeout = RSET_MS;
	c.auth_timeout = AUTH_MS;
	c.smtp_port = (int32_t)d->smtp_port;
	c.enable_tls = d->smtp_tls_security_level;
	c.remember_broken_tls = BROKEN_TLS_MS;
	c.enable_dane = c.enable_mta_sts = c.enable_pipelining = c.enable_rset = 1;
	c.try_next_host_on_transport_error = 0;
	c.ip_lookup_strategy = IP_LOOKUP_BOTH;
	c.reconnect_strategy = RECONNECT_TERMINATE;
	lay(p, &c, PATH_LAYER_MAIN);
	policy_path_config_clear(&c);
}

static void
lay_shaping(struct path *p)
{
	const struct mx_list *mx = p->site->mx;
	const char *hosts[MX_HOSTS_MAX];
	struct shaping_path at = { .domain = p->domain, .site = p->site->name, .source = p->source->name,
		.mx = hosts };
	struct shaping_settings s;
	size_t i;

	if (p->net->shaping == NULL)
		return;
	for (; at.n_mx < mx->n_hosts; at.n_mx++)
		hosts[at.n_mx] = mx->hosts[at.n_mx].name;
	shaping_settings(p->net->shaping, &at, &s);
	lay(p, &s.config, PATH_LAYER_SHAPING);
	for (i = 0; i < policy_path_count(); i++)
		p->origins[i] = s.origins[i];
	policy_path_config_clear(&s.config);
}

static int
lay_policy(struct path *p, char **err_r)
{
	struct policy_path_config c;
	int r;

	policy_path_config_init(&c);
	r = policy_get_path_config(p->net->policy, p->domain, p->source->name, p->site->name, &c, err_r);
	if (r != -1)
		lay(p, &c, PATH_LAYER_POLICY);
	policy_path_config_clear(&c);
	return r;
}

static unsigned
zero_is_no_limit(int64_t n)
{
	return n <= 0 ? UINT_MAX : (unsigned)n;
}

static void
set_timeouts(struct path *p)
{
	const struct policy_path_config *c = &p->config;
	const struct params *d = p->net->params;
	int64_t *t = p->limits.timeouts;

	t[T_CONNECT] = c->connect_timeout;
	t[T_BANNER] = c->banner_timeout;
	t[T_EHLO] = c->ehlo_timeout;
	t[T_STARTTLS] = c->starttls_timeout;
	t[T_RSET] = c->rset_timeout;
	t[T_MAIL] = c->mail_from_timeout;
	t[T_RCPT] = c->rcpt_to_timeout;
	t[T_DATA] = c->data_timeout;
	t[T_XFER] = d->smtp_data_xfer_timeout;
	t[T_DOT] = c->data_dot_timeout;
	t[T_QUIT] = d->smtp_quit_timeout;
	t[T_IDLE] = c->idle_timeout;
	t[T_AUTH] = c->auth_timeout;
}

static void
add_rate(struct path *p, enum limit_kind kind, const struct rate *rate, char *name, char *whose)
{
	if (rate->quantity > 0)
		limit_set_add(p->net->limits, &p->sets[kind], kind, name, whose, rate, 0);
	free(name);
	free(whose);
}

static void
add_conns(struct path *p, int64_t max, char *name, char *whose)
{
	if (max > 0)
		limit_set_add(p->net->limits, &p->sets[LIMIT_CONNS], LIMIT_CONNS, name, whose, NULL, max);
	free(name);
	free(whose);
}

static void
add_named(struct path *p)
{
	const struct policy_path_config *c = &p->config;
	const struct policy_limit *l;
	size_t i;

	for (i = 0; i < c->additional_message_rate_throttles.n; i++) {
		l = &c->additional_message_rate_throttles.v[i];
		add_rate(p, LIMIT_MESSAGE, &l->rate, xasprintf("named %s msg", l->name), xasprintf("'%s'", l->name));
	}
	for (i = 0; i < c->additional_source_selection_rates.n; i++) {
		l = &c->additional_source_selection_rates.v[i];
		add_rate(p, LIMIT_SELECT, &l->rate, xasprintf("named %s select", l->name),
		    xasprintf("'%s'", l->name));
	}
	for (i = 0; i < c->additional_connection_limits.n; i++) {
		l = &c->additional_connection_limits.v[i];
		add_conns(p, l->value, xasprintf("named %s conns", l->name), xasprintf("'%s'", l->name));
	}
}

/* Over all sites of the provider, for this source; `total` for all sources. */
static void
add_provider(struct path *p)
{
	const struct policy_path_config *c = &p->config;
	const char *name = c->provider_name, *source = p->source->name;

	if (name == NULL)
		return;
	add_rate(p, LIMIT_MESSAGE, &c->provider_max_message_rate, xasprintf("provider %s %s msg", name, source),
	    xasprintf("provider %s, source %s", name, source));
	add_rate(p, LIMIT_CONNECT, &c->provider_max_connection_rate, xasprintf("provider %s %s conn", name, source),
	    xasprintf("provider %s, source %s", name, source));
	add_rate(p, LIMIT_SELECT, &c->provider_source_selection_rate,
	    xasprintf("provider %s %s select", name, source), xasprintf("provider %s, source %s", name, source));
	add_rate(p, LIMIT_MESSAGE, &c->provider_total_max_message_rate, xasprintf("provider %s * msg", name),
	    xasprintf("provider %s", name));
	add_rate(p, LIMIT_CONNECT, &c->provider_total_max_connection_rate, xasprintf("provider %s * conn", name),
	    xasprintf("provider %s", name));
	add_conns(p, c->provider_connection_limit, xasprintf("provider %s %s conns", name, source),
	    xasprintf("provider %s, source %s", name, source));
	add_conns(p, c->provider_total_connection_limit, xasprintf("provider %s * conns", name),
	    xasprintf("provider %s", name));
}

/* What is open counts on, now with the limits of now. */
void
path_share_limits(struct path *p)
{
	const struct policy_path_config *c = &p->config;
	struct limit_set *conns = &p->sets[LIMIT_CONNS];
	unsigned i;

	path_leave_limits(p);
	for (i = 0; i < conns->n; i++) {
		conns->v[i]->n_conns -= p->n_conns;
		conns->v[i]->n_idle -= p->n_idle;
	}
	for (i = 0; i < LIMIT_KINDS; i++)
		limit_set_clear(&p->sets[i]);
	add_rate(p, LIMIT_MESSAGE, &c->max_message_rate, xasprintf("path %s msg", p->name),
	    xasprintf("path %s", p->name));
	add_rate(p, LIMIT_CONNECT, &c->max_connection_rate, xasprintf("path %s conn", p->name),
	    xasprintf("path %s", p->name));
	/* Domains with the same hosts may have sites of their own, by what vouches for the hosts (site.c): it is one
	 * server. */
	add_conns(p, c->connection_limit, xasprintf("path %s conns", p->name), xasprintf("path %s", p->name));
	add_rate(p, LIMIT_SELECT, &c->source_selection_rate, xasprintf("select %s %s", p->source->name, p->site->name),
	    xasprintf("source %s for %s", p->source->name, p->site->name));
	add_named(p);
	add_provider(p);
	for (i = 0; i < conns->n; i++) {
		conns->v[i]->n_conns += p->n_conns;
		conns->v[i]->n_idle += p->n_idle;
	}
}

static void
set_rest(struct path *p)
{
	const struct policy_path_config *c = &p->config;
	struct path_limits *l = &p->limits;
	uint16_t relay_port = p->site->mx->port;
	const char *ehlo = c->ehlo_domain != NULL ? c->ehlo_domain : p->source->ehlo != NULL ? p->source->ehlo :
	    p->net->params->myhostname;

	l->connections = (unsigned)c->connection_limit;
	l->deliveries = zero_is_no_limit(c->max_deliveries_per_connection);
	l->recipients = (unsigned)c->recipient_limit;
	l->ready = zero_is_no_limit(c->max_ready);
	l->failures = (unsigned)c->consecutive_connection_failures_before_delay;
	l->tls = c->enable_tls;
	l->prohibited = c->has_prohibited_hosts ? &c->prohibited_hosts : &p->net->params->prohibited_hosts;
	free(l->ehlo);
	l->ehlo = xstrdup(ehlo);
	if (relay_port != 0) /* said together with the host, so it is the host's */
		l->port = relay_port;
	else if (p->source->remote_port != 0)
		l->port = p->source->remote_port;
	else
		l->port = (uint16_t)c->smtp_port;
	if (p->window > l->connections)
		p->window = l->connections;
}

int
path_configure(struct path *p, char **err_r)
{
	policy_path_config_clear(&p->config);
	policy_path_config_init(&p->config);
	memset(p->layers, 0, sizeof(p->layers));
	memset(p->origins, 0, sizeof(p->origins));
	lay_main(p);
	lay_shaping(p);
	if (lay_policy(p, err_r) == -1)
		return -1;
	credentials_clear(&p->credentials);
	if ((*err_r = credentials_load(&p->credentials, &p->config, p->net->params->smtp_secret_directory)) != NULL)
		return -1;
	path_lay_imposed(p);
	set_timeouts(p);
	set_rest(p);
	path_share_limits(p);
	p->return_at = 0; /* it was by the limits of before */
	p->generation = p->net->generation;
	return 0;
}
