/* TlsSession records (tls_report.h), in the net process. Result types are those of RFC 8460 section 4.3. */
#include <openssl/x509_vfy.h>

#include <string.h>

#include "base/tls.h"
#include "deliverd/resolve.h"
#include "deliverd/sts_peer.h"
#include "deliverd/tls_report.h"

#define SUCCESS "success"

/* Whose mail it is for: a connection that several domains share counts for the one that it was made for. */
static const char *
domain_of(const struct path *p)
{
	const struct item *it = TAILQ_FIRST(&p->ready);

	return it != NULL ? it->job->q.domain : p->domain;
}

static void
write_record(struct path *p, const struct conn *c, const char *policy, const char *result, const char *why)
{
	const char *domain = domain_of(p);
	const struct sts_known *k = resolver_sts(p->net->resolver, domain);
	struct event_record ev = { .type = EV_TLS_SESSION, .domain = domain, .site = p->name, .tls_policy = policy,
		.tls_result = result, .content = why, .egress_pool = p->net->pool_name,
		.egress_source = p->source->name, .is_local = true };

	/* A policy that is announced, but cannot be had (section 4.3.2.2). */
	if (policy == NULL && k != NULL && !k->is_known && k->problem != STS_PROBLEM_NONE) {
		ev.tls_policy = "sts";
		ev.tls_result = sts_problem_names[k->problem];
		ev.content = k->why;
	}
	if (ev.tls_policy == NULL)
		ev.tls_policy = "no-policy-found";
	if (c != NULL) {
		ev.peer_name = conn_host(c)->name;
		ev.peer_addr = c->peer_addr[0] != '\0' ? c->peer_addr : NULL;
		ev.source_address = c->source_text[0] != '\0' ? c->source_text : NULL;
		ev.session = c->session;
		ev.tls_version = c->tls_version;
		ev.tls_cipher = c->tls_cipher;
		ev.tls_verified = c->tls_verified;
	}
	eventlog_write(p->net->events, &ev);
}

static bool
is_wanted(const struct path *p)
{
	return p->net->params->tls_report_contact[0] != '\0';
}

static const char *
result_of(long verify)
{
	switch (verify) {
	case X509_V_OK:
		return "validation-failure";
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return "certificate-expired";
	case X509_V_ERR_HOSTNAME_MISMATCH:
		return "certificate-host-mismatch";
	case X509_V_ERR_CERT_NOT_YET_VALID:
	case X509_V_ERR_DANE_NO_MATCH:
		return "validation-failure";
	default:
		return "certificate-not-trusted";
	}
}

void
tls_report_ready(const struct conn *c)
{
	const char *wrong = tls_unexpected(io_ssl(c->io));

	if (!is_wanted(c->path))
		return;
	if (wrong != NULL)
		write_record(c->path, c, c->need.policy, result_of(SSL_get_verify_result(io_ssl(c->io))), wrong);
	else if (c->need.is_observed && conn_host(c)->sts == MX_STS_TESTING_NOT)
		write_record(c->path, c, c->need.policy, "validation-failure", "the policy does not name this host");
	else
		write_record(c->path, c, c->need.policy, SUCCESS, NULL);
}

void
tls_report_failed(const struct conn *c, const char *why)
{
	const char *wrong = io_ssl(c->io) != NULL ? tls_unexpected(io_ssl(c->io)) : NULL;

	if (is_wanted(c->path))
		write_record(c->path, c, c->need.policy, wrong == NULL ? "validation-failure" :
		    result_of(SSL_get_verify_result(io_ssl(c->io))), wrong != NULL ? wrong : why);
}

void
tls_report_absent(const struct conn *c)
{
	if (is_wanted(c->path))
		write_record(c->path, c, c->need.policy, "starttls-not-supported", NULL);
}

void
tls_report_unusable(const struct conn *c, const char *why)
{
	if (is_wanted(c->path))
		write_record(c->path, c, conn_host(c)->dane != MX_DANE_NONE ? "tlsa" : "sts",
		    conn_host(c)->dane != MX_DANE_NONE ? "dnssec-invalid" : "validation-failure", why);
}

void
tls_report_forbidden(struct path *p, const char *why)
{
	if (is_wanted(p))
		write_record(p, NULL, "sts", "validation-failure", why);
}
