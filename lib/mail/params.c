/* The parameters of main.cf(5) and what only several of them together can tell. Every daemon and the admin command
 * at start-up and reload. The manual is compared with the table below by t/30-conf-manual.t, which reads this file:
 * one parameter a line where it fits, bounds written with the unit macros. */
#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/slurp.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/dns_link.h"
#include "mail/params.h"
#include "mail/trace.h"

#define SECONDS(n) ((int64_t)(n) * 1000)
#define MINUTES(n) SECONDS(60 * (n))
#define HOURS(n) MINUTES(60 * (n))
#define DAYS(n) HOURS(24 * (n))
#define KIB(n) ((int64_t)(n) << 10)
#define MIB(n) ((int64_t)(n) << 20)
#define GIB(n) ((int64_t)(n) << 30)
#define TIB(n) ((int64_t)(n) << 40)

#define RUN_DIRECTORY_MAX 80 /* a socket's name must fit behind it in sun_path (108) */

#define PARAM(t, n, d, least, most, list, restart) { .name = #n, .offset = offsetof(struct params, n), .def = (d), \
	.min = (least), .max = (most), .words = (list), .type = (t), .is_restart = (restart) }
#define STR(name, def) PARAM(CONF_STR, name, def, 0, 0, NULL, false)
#define STRS(name, def) PARAM(CONF_STRS, name, def, 0, 0, NULL, false)
#define BOOL(name, def) PARAM(CONF_BOOL, name, def, 0, 0, NULL, false)
#define ENUM(name, def, words) PARAM(CONF_ENUM, name, def, 0, 0, words, false)
#define CIDRS(name, def) PARAM(CONF_CIDRS, name, def, 0, 0, NULL, false)
#define LISTEN(name, def) PARAM(CONF_LISTEN, name, def, 0, 0, NULL, false)
#define INT(name, def, min, max) PARAM(CONF_INT, name, def, min, max, NULL, false)
#define SIZE(name, def, min, max) PARAM(CONF_SIZE, name, def, min, max, NULL, false)
#define TIME(name, def, min, max) PARAM(CONF_TIME, name, def, min, max, NULL, false)
/* A change needs a restart of the suite. */
#define STR_RESTART(name, def) PARAM(CONF_STR, name, def, 0, 0, NULL, true)
#define STRS_RESTART(name, def) PARAM(CONF_STRS, name, def, 0, 0, NULL, true)
#define TIME_RESTART(name, def, min, max) PARAM(CONF_TIME, name, def, min, max, NULL, true)
#define ENUM_RESTART(name, def, words) PARAM(CONF_ENUM, name, def, 0, 0, words, true)
#define INT_RESTART(name, def, min, max) PARAM(CONF_INT, name, def, min, max, NULL, true)
#define SIZE_RESTART(name, def, min, max) PARAM(CONF_SIZE, name, def, min, max, NULL, true)

const char *const params_default_dir = POSTHORN_SYSCONFDIR;

/* In the order of the enums that they name. */
static const char *const sandbox_words[] = { "off", "on", "required", NULL };
static const char *const policy_reload_words[] = { "manual", "auto", NULL };
static const char *const log_level_words[] = { "error", "warn", "info", "debug", NULL };
static const char *const automation_words[] = { "off", "dry-run", "on", NULL };
static const char *const bare_newline_words[] = { "reject", "normalize", NULL };
static const char *const tenant_mismatch_words[] = { "override", "reject", NULL };
static const char *const complaint_words[] = { "none", "global", "tenant", "sender-domain", NULL };
static const char *const guard_words[] = { "no", "yes", "always", NULL };
static const char *const tls_level_words[] = { "none", "may", "encrypt", "verify", NULL };
static const char *const suppressed_words[] = { "accept", "reject", NULL };
static const char *const dns_validation_words[] = { "auto", "yes", "no", NULL };

const struct conf_param params_table[] = {
	/* general */
	STR(myhostname, "$system_hostname"),
	CIDRS(mynetworks, "127.0.0.0/8 [::1]/128"),
	STR_RESTART(queue_directory, "/var/spool/posthorn"),
	STR_RESTART(log_directory, "/var/log/posthorn"),
	STR_RESTART(run_directory, "/run/posthorn"),
	STR_RESTART(data_directory, "/var/lib/posthorn"),
	STR_RESTART(daemon_directory, POSTHORN_LIBEXECDIR),
	STR(policy_file, "$config_directory/policy.lua"),
	STRS(shaping_files, "$config_directory/shaping.lua"),
	STRS(bounce_rules_files, "$config_directory/bounce_rules"),
	STR(passwd_file, "$config_directory/passwd"),
	STR(dkim_key_directory, "$config_directory/dkim"),
	STR_RESTART(admin_group, "posthorn"),
	ENUM(policy_reload, "manual", policy_reload_words),
	ENUM_RESTART(sandbox, "on", sandbox_words),
	ENUM(log_level, "info", log_level_words),
	ENUM(automation, "on", automation_words),
	SIZE(message_size_limit, "50M", KIB(64), GIB(2)),
	STR(tenant_header, "X-Tenant"),
	STR(campaign_header, "X-Campaign"),
	BOOL(remove_tenant_header, "yes"),
	BOOL(remove_campaign_header, "yes"),
	STR(scheduling_header, "X-Schedule"),

	/* smtpd */
	LISTEN(smtpd_listen, "127.0.0.1:25"),
	LISTEN(submission_listen, ""),
	LISTEN(submissions_listen, ""),
	STRS(smtpd_tls_cert_file, ""),
	STRS(smtpd_tls_key_file, ""),
	BOOL(smtpd_tls_auth_only, "yes"),
	INT_RESTART(smtpd_processes, "0", 0, 256),
	INT(smtpd_connection_limit, "20000", 1, 1000000),
	INT(smtpd_client_connection_limit, "50", 0, 1000000),
	INT(smtpd_message_limit, "1000", 0, 1000000),
	INT(smtpd_recipient_limit, "1000", 100, 60000),
	SIZE(line_length_limit, "2048", 1000, KIB(64)),
	SIZE(text_line_length_limit, "1M", 0, GIB(2)),
	SIZE(header_size_limit, "102400", KIB(16), MIB(16)),
	INT(hopcount_limit, "50", 1, 1000),
	INT(smtpd_error_limit, "20", 1, 10000),
	INT(smtpd_junk_command_limit, "100", 1, 10000),
	INT(smtpd_auth_failure_limit, "3", 1, 100),
	TIME(smtpd_timeout, "300s", SECONDS(1), HOURS(1)),
	TIME(submission_timeout, "300s", SECONDS(1), HOURS(1)),
	TIME(smtpd_tls_timeout, "30s", SECONDS(1), MINUTES(10)),
	TIME(smtpd_data_time_limit, "30m", SECONDS(10), DAYS(1)),
	SIZE(smtpd_data_min_rate, "500", 0, MIB(1)),
	TIME(smtpd_hold_limit, "50s", SECONDS(1), MINUTES(10)),
	TIME(smtpd_drain_time, "60s", SECONDS(1), HOURS(1)),
	ENUM(smtpd_bare_newline, "reject", bare_newline_words),
	ENUM(submission_bare_newline, "normalize", bare_newline_words),
	CIDRS(smtpd_authorized_xclient_hosts, ""),
	ENUM(tenant_mismatch, "override", tenant_mismatch_words),
	BOOL(envelope_from_return_path, "no"),
	ENUM(smtpd_suppressed, "accept", suppressed_words),
	STRS(relay_domains, ""),

	/* queued */
	TIME(retry_interval, "20m", 100, DAYS(7)),
	TIME(max_retry_interval, "4h", 100, DAYS(30)),
	TIME(maximal_queue_lifetime, "5d", SECONDS(1), DAYS(100)),
	SIZE(min_free_space, "256M", 0, TIB(1)),
	SIZE(segment_size, "64M", MIB(1), GIB(1)),
	TIME(index_commit_interval, "200ms", 10, SECONDS(1)),
	SIZE_RESTART(index_size_limit, "64G", MIB(64), TIB(4)),
	INT(queue_backlog_limit, "100000", 100, 10000000),
	INT(queue_window_limit, "2000", 1, 1000000),
	BOOL(bounce_notice, "yes"),
	STRS(bounce_notice_disabled_domains, ""),
	TIME(delay_notice_after, "0", 0, DAYS(100)),
	SIZE(bounce_size_limit, "50000", 0, MIB(10)),

	/* deliverd */
	STRS_RESTART(dns_servers, ""),
	STR_RESTART(dns_trust_anchor_file, "/usr/share/dns/root.key"),
	ENUM_RESTART(dns_validation, "auto", dns_validation_words),
	TIME(dns_timeout, "30s", SECONDS(1), MINUTES(10)),
	STR(relayhost, ""),
	CIDRS(prohibited_hosts, "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 "
	    "192.168.0.0/16 224.0.0.0/4 240.0.0.0/4 [::]/128 [::1]/128 [fc00::]/7 [fe80::]/10 [ff00::]/8"),
	INT(smtp_port, "25", 1, 65535),
	ENUM(smtp_tls_security_level, "may", tls_level_words),
	STR_RESTART(smtp_tls_CAfile, "/etc/ssl/certs/ca-certificates.crt"),
	STR_RESTART(smtp_secret_directory, "$config_directory/secrets"),
	BOOL(mta_sts, "yes"),
	STR(tls_report_contact, ""),
	STR(tls_report_organization, "$myhostname"),
	TIME(tls_report_spread, "4h", 0, HOURS(12)),
	TIME_RESTART(mta_sts_timeout, "60s", SECONDS(1), MINUTES(10)),
	TIME(smtp_connect_timeout, "30s", SECONDS(1), HOURS(1)),
	TIME(smtp_banner_timeout, "5m", SECONDS(1), HOURS(1)),
	TIME(smtp_helo_timeout, "5m", SECONDS(1), HOURS(1)),
	TIME(smtp_starttls_timeout, "2m", SECONDS(1), HOURS(1)),
	TIME(smtp_mail_timeout, "5m", SECONDS(1), HOURS(1)),
	TIME(smtp_rcpt_timeout, "5m", SECONDS(1), HOURS(1)),
	TIME(smtp_data_init_timeout, "2m", SECONDS(1), HOURS(1)),
	TIME(smtp_data_xfer_timeout, "3m", SECONDS(1), HOURS(1)),
	TIME(smtp_data_done_timeout, "10m", SECONDS(1), HOURS(1)),
	TIME(smtp_quit_timeout, "5s", SECONDS(1), HOURS(1)),
	TIME(smtp_idle_timeout, "5s", 0, HOURS(1)),
	INT(smtp_connection_limit, "32", 1, 100000),
	INT(smtp_deliveries_per_connection, "1000", 0, 1000000),
	INT(smtp_recipient_limit, "50", 1, 1000),
	INT(smtp_mx_limit, "20", 1, 100),
	INT(smtp_address_limit, "16", 1, 100),
	INT(deliverd_credit, "4000", 1, 1000000),
	TIME(verp_lifetime, "30d", HOURS(1), DAYS(365)),
	STRS(trace_header_fields, "recipient tenant campaign"),

	/* fblproc */
	ENUM(complaint_suppression, "tenant", complaint_words),
	TIME(complaint_suppression_time, "0", 0, DAYS(3650)),
	TIME(feedback_max_age, "30d", HOURS(1), DAYS(365)),
	ENUM(require_authenticated_senders, "yes", guard_words),
	TIME(authenticated_senders_refresh, "1h", SECONDS(1), DAYS(1)),
	TIME(authenticated_senders_retry, "5m", SECONDS(1), HOURS(4)),

	/* posthorn doctor */
	STR(doctor_probe_domain, "gmail.com"),
	STRS(dnsbl_zones, "zen.spamhaus.org bl.spamcop.net psbl.surriel.com"),
};
const size_t params_count = sizeof(params_table) / sizeof(params_table[0]);

struct check {
	const struct params *p;
	const struct conf *conf;
	struct conf_errors *errs;
};

/* The line to blame is that of the first name that the file sets. */
static unsigned
check_line(const struct check *c, const char *first, const char *second)
{
	unsigned line = conf_line(c->conf, first);

	return line != 0 || second == NULL ? line : conf_line(c->conf, second);
}

#define CHECK_ADD(c, first, second, ...) \
	conf_error_add((c)->errs, conf_file((c)->conf), check_line((c), (first), (second)), __VA_ARGS__)

static void
check_trace_fields(const struct check *c)
{
	const struct conf_strs *list = &c->p->trace_header_fields;

	for (size_t i = 0; i < list->n; i++)
		if (!trace_field_valid(list->v[i]))
			CHECK_ADD(c, "trace_header_fields", NULL, "trace_header_fields: the name '%.100s' is taken",
			    list->v[i]);
}

static void
check_path_list(const struct check *c, const char *name, const struct conf_strs *list)
{
	size_t i;

	for (i = 0; i < list->n; i++)
		if (list->v[i][0] != '/')
			CHECK_ADD(c, name, NULL, "%s: '%.100s' is not a path that starts with /", name, list->v[i]);
}

static void
check_paths(const struct check *c)
{
	static const struct {
		const char *name;
		bool may_be_empty;
	} paths[] = {
		{ "queue_directory", false }, { "log_directory", false }, { "run_directory", false },
		{ "data_directory", false },
		{ "daemon_directory", false }, { "policy_file", false }, { "passwd_file", true },
		{ "dkim_key_directory", false },
		{ "dns_trust_anchor_file", true }, { "smtp_tls_CAfile", true },
		{ "smtp_secret_directory", false },
	};
	const char *text;
	size_t i;

	for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		text = conf_text(c->conf, paths[i].name, NULL);
		if (text[0] != '/' && !(text[0] == '\0' && paths[i].may_be_empty))
			CHECK_ADD(c, paths[i].name, NULL, "%s: '%.100s' is not a path that starts with /",
			    paths[i].name, text);
	}
	check_trace_fields(c);
	check_path_list(c, "shaping_files", &c->p->shaping_files);
	check_path_list(c, "bounce_rules_files", &c->p->bounce_rules_files);
	check_path_list(c, "smtpd_tls_cert_file", &c->p->smtpd_tls_cert_file);
	check_path_list(c, "smtpd_tls_key_file", &c->p->smtpd_tls_key_file);
	if (!dns_name_valid(c->p->doctor_probe_domain))
		CHECK_ADD(c, "doctor_probe_domain", NULL, "doctor_probe_domain: '%.100s' is not a domain name",
		    c->p->doctor_probe_domain);
	for (i = 0; i < c->p->dnsbl_zones.n; i++)
		if (!dns_name_valid(c->p->dnsbl_zones.v[i]))
			CHECK_ADD(c, "dnsbl_zones", NULL, "dnsbl_zones: '%.100s' is not a domain name",
			    c->p->dnsbl_zones.v[i]);
	if (strlen(c->p->run_directory) > RUN_DIRECTORY_MAX)
		CHECK_ADD(c, "run_directory", NULL,
		    "run_directory: the path is longer than the %d bytes that socket names below it leave",
		    RUN_DIRECTORY_MAX);
}

static void
check_names(const struct check *c)
{
	const struct params *p = c->p;
	char contact[ADDRESS_MAX];
	size_t i;

	if (!address_domain_valid(p->myhostname, false))
		CHECK_ADD(c, "myhostname", NULL, "myhostname: '%.100s' is not a host name", p->myhostname);
	if (p->tls_report_contact[0] != '\0' && address_parse(p->tls_report_contact, false, contact) != 0)
		CHECK_ADD(c, "tls_report_contact", NULL, "tls_report_contact: '%.100s' is not an address",
		    p->tls_report_contact);
	for (i = 0; i < p->relay_domains.n; i++)
		if (!address_domain_valid(p->relay_domains.v[i], true))
			CHECK_ADD(c, "relay_domains", NULL, "relay_domains: '%.100s' is not a domain",
			    p->relay_domains.v[i]);
	for (i = 0; i < p->bounce_notice_disabled_domains.n; i++)
		if (!address_domain_valid(p->bounce_notice_disabled_domains.v[i], true))
			CHECK_ADD(c, "bounce_notice_disabled_domains", NULL,
			    "bounce_notice_disabled_domains: '%.100s' is not a domain",
			    p->bounce_notice_disabled_domains.v[i]);
	if (p->admin_group[strcspn(p->admin_group, " \t:,/")] != '\0')
		CHECK_ADD(c, "admin_group", NULL, "admin_group: '%.60s' is not the name of a group", p->admin_group);
}

/* Field names of RFC 5322 2.2: printable ASCII without the colon. "" is no header at all. */
static bool
header_name_valid(const char *s)
{
	for (; *s != '\0'; s++)
		if (*s <= ' ' || *s > '~' || *s == ':')
			return false;
	return true;
}

static void
check_headers(const struct check *c)
{
	const struct params *p = c->p;

	if (!header_name_valid(p->tenant_header))
		CHECK_ADD(c, "tenant_header", NULL, "tenant_header: '%.60s' is not the name of a header",
		    p->tenant_header);
	if (!header_name_valid(p->campaign_header))
		CHECK_ADD(c, "campaign_header", NULL, "campaign_header: '%.60s' is not the name of a header",
		    p->campaign_header);
	if (!header_name_valid(p->scheduling_header))
		CHECK_ADD(c, "scheduling_header", NULL, "scheduling_header: '%.60s' is not the name of a header",
		    p->scheduling_header);
	if (p->tenant_header[0] != '\0' && strcasecmp(p->tenant_header, p->campaign_header) == 0)
		CHECK_ADD(c, "campaign_header", "tenant_header",
		    "tenant_header and campaign_header are both '%.60s'; a header can give only one of them",
		    p->tenant_header);
}

static void
check_tls(const struct check *c)
{
	const struct params *p = c->p;
	bool has_cert = p->smtpd_tls_cert_file.n > 0, has_key = p->smtpd_tls_key_file.n > 0;

	if (has_cert && !has_key)
		CHECK_ADD(c, "smtpd_tls_cert_file", NULL,
		    "smtpd_tls_cert_file is set, but not smtpd_tls_key_file; a certificate is of no use without its "
		    "key (they may be one file)");
	if (has_key && !has_cert)
		CHECK_ADD(c, "smtpd_tls_key_file", NULL, "smtpd_tls_key_file is set, but not smtpd_tls_cert_file");
	if (has_cert && has_key && p->smtpd_tls_cert_file.n != p->smtpd_tls_key_file.n)
		CHECK_ADD(c, "smtpd_tls_key_file", "smtpd_tls_cert_file",
		    "smtpd_tls_cert_file names %zu files and smtpd_tls_key_file %zu; each certificate has a key, in "
		    "the same order", p->smtpd_tls_cert_file.n, p->smtpd_tls_key_file.n);
	if (has_cert || has_key)
		return;
	if (p->submission_listen.n > 0)
		CHECK_ADD(c, "submission_listen", NULL,
		    "submission_listen needs STARTTLS: set smtpd_tls_cert_file and smtpd_tls_key_file");
	if (p->submissions_listen.n > 0)
		CHECK_ADD(c, "submissions_listen", NULL,
		    "submissions_listen needs TLS: set smtpd_tls_cert_file and smtpd_tls_key_file");
}

/* An address and port serves one purpose. */
static void
check_listeners(const struct check *c)
{
	const struct {
		const char *name;
		const struct conf_addrs *l;
	} lists[] = {
		{ "smtpd_listen", &c->p->smtpd_listen },
		{ "submission_listen", &c->p->submission_listen },
		{ "submissions_listen", &c->p->submissions_listen },
	};
	size_t a, b, i, j;

	for (a = 0; a < 3; a++)
		for (b = a + 1; b < 3; b++)
			for (i = 0; i < lists[a].l->n; i++)
				for (j = 0; j < lists[b].l->n; j++) {
					const struct conf_addr *x = &lists[a].l->v[i], *y = &lists[b].l->v[j];

					if (x->len == y->len && memcmp(&x->sa, &y->sa, x->len) == 0)
						CHECK_ADD(c, lists[b].name, lists[a].name, "%s and %s both claim %s",
						    lists[a].name, lists[b].name, y->text);
				}
}

static void
check_queue(const struct check *c)
{
	const struct params *p = c->p;

	if (p->retry_interval > p->max_retry_interval)
		CHECK_ADD(c, "retry_interval", "max_retry_interval",
		    "retry_interval (%s) is longer than max_retry_interval (%s)",
		    conf_text(c->conf, "retry_interval", NULL), conf_text(c->conf, "max_retry_interval", NULL));
	if (p->delay_notice_after != 0 && p->delay_notice_after >= p->maximal_queue_lifetime)
		CHECK_ADD(c, "delay_notice_after", "maximal_queue_lifetime",
		    "delay_notice_after (%s) is not shorter than maximal_queue_lifetime (%s): a delay would never be "
		    "told",
		    conf_text(c->conf, "delay_notice_after", NULL), conf_text(c->conf, "maximal_queue_lifetime", NULL));
}

/* Digits only, 1..65535; 0 if not. */
static uint16_t
port_parse(const char *s)
{
	unsigned v = 0;

	if (*s == '\0')
		return 0;
	for (; *s != '\0'; s++) {
		if (!isdigit((unsigned char)*s) || (v = v * 10 + (unsigned)(*s - '0')) > 65535)
			return 0;
	}
	return (uint16_t)v;
}

static bool
dns_server_valid(const char *s)
{
	struct sockaddr_storage sa;
	socklen_t len;
	char addr[64];
	const char *at = strchr(s, '@');
	size_t n = at != NULL ? (size_t)(at - s) : strlen(s);

	if (n >= sizeof(addr) || s[0] == '[' || (at != NULL && port_parse(at + 1) == 0))
		return false;
	memcpy(addr, s, n);
	addr[n] = '\0';
	return sockaddr_parse(addr, 53, &sa, &len) == 0;
}

static void
check_delivery(const struct check *c)
{
	const struct params *p = c->p;
	uint16_t port;
	bool use_mx;
	char *host;
	size_t i;

	for (i = 0; i < p->dns_servers.n; i++)
		if (!dns_server_valid(p->dns_servers.v[i]))
			CHECK_ADD(c, "dns_servers", NULL,
			    "dns_servers: '%.60s' is not an address, or address@port (examples: 192.0.2.1, "
			    "127.0.0.1@5353)",
			    p->dns_servers.v[i]);
	if (p->relayhost[0] == '\0')
		return;
	if (params_relayhost_parse(p->relayhost, &host, &port, &use_mx) == 0)
		free(host);
	else
		CHECK_ADD(c, "relayhost", NULL,
		    "relayhost: '%.100s' is not a host (examples: [smtp.example.com]:587, example.com, [192.0.2.1])",
		    p->relayhost);
}

int
params_relayhost_parse(const char *text, char **host_r, uint16_t *port_r, bool *use_mx_r)
{
	struct sockaddr_storage sa;
	socklen_t salen;
	const char *end, *start = text;
	bool brackets = text[0] == '[';
	uint16_t port = 0;
	char *host;

	if (brackets) {
		start = text + 1;
		if ((end = strchr(start, ']')) == NULL || (end[1] != '\0' && end[1] != ':'))
			return -1;
		if (end[1] == ':' && (port = port_parse(end + 2)) == 0)
			return -1;
	} else if ((end = strchr(start, ':')) != NULL) {
		if ((port = port_parse(end + 1)) == 0)
			return -1;
	} else {
		end = start + strlen(start);
	}
	host = xmemdup0(start, (size_t)(end - start));
	if (sockaddr_parse(host, 25, &sa, &salen) == 0) {
		*use_mx_r = false;
	} else if (address_domain_valid(host, false) && host[0] != '[') {
		*use_mx_r = !brackets;
	} else {
		free(host);
		return -1;
	}
	*host_r = host;
	*port_r = port;
	return 0;
}

/* What is allowed, but hardly meant. */
void
params_warn(const struct params *p, const struct conf *conf, struct conf_errors *warnings)
{
	const struct check c = { .p = p, .conf = conf, .errs = warnings };
	size_t len = strlen(p->myhostname), tail = strlen(".localdomain"), i;

	if (len > tail && strcasecmp(p->myhostname + len - tail, ".localdomain") == 0)
		CHECK_ADD(&c, "myhostname", NULL,
		    "myhostname is %s: receivers distrust a name that does not exist; set the real one",
		    p->myhostname);
	for (i = 0; i < p->mynetworks.n; i++)
		if (p->mynetworks.v[i].bits < (p->mynetworks.v[i].family == AF_INET ? 8 : 16))
			CHECK_ADD(&c, "mynetworks", NULL,
			    "mynetworks has a range of a large part of the internet: an open relay");
	/* Postfix's rule: what is being received must fit into what is kept free, with room for the index. */
	if (p->min_free_space < p->message_size_limit + p->message_size_limit / 2)
		CHECK_ADD(&c, "min_free_space", "message_size_limit",
		    "min_free_space (%s) is less than one and a half times message_size_limit (%s): one message could "
		    "fill the disk",
		    conf_text(conf, "min_free_space", NULL), conf_text(conf, "message_size_limit", NULL));
	if (p->prohibited_hosts.n == 0 && p->relayhost[0] == '\0')
		CHECK_ADD(&c, "prohibited_hosts", NULL,
		    "prohibited_hosts is empty: whoever publishes an MX record can make this host connect into your "
		    "network");
	if (!p->smtpd_tls_auth_only)
		CHECK_ADD(&c, "smtpd_tls_auth_only", NULL,
		    "smtpd_tls_auth_only is no: passwords may cross the network in the clear");
	if (p->retry_interval < SECONDS(10))
		CHECK_ADD(&c, "retry_interval", NULL,
		    "retry_interval (%s) is so short that receivers may take it for an attack",
		    conf_text(conf, "retry_interval", NULL));
}

/* An upgrade does not bring a file into the configuration; only one that main.cf names must exist. */
static void
files_default(const char *name, struct conf_strs *files, const struct conf *conf)
{
	bool is_set = false;

	(void)conf_text(conf, name, &is_set);
	if (is_set || files->n != 1 || slurp_exists(files->v[0]))
		return;
	free(files->v[0]);
	files->n = 0;
}

struct params *
params_load(const char *config_dir, struct conf **conf_r, struct conf_errors *errs)
{
	struct params *p = xcalloc(1, sizeof(*p));
	char *file = xasprintf("%s/main.cf", config_dir);
	size_t before = errs->n;
	struct conf *conf = conf_load(file, params_table, params_count, p, errs);
	struct check c = { .p = p, .conf = conf, .errs = errs };

	free(file);
	if (conf != NULL) {
		files_default("shaping_files", &p->shaping_files, conf);
		files_default("bounce_rules_files", &p->bounce_rules_files, conf);
		check_paths(&c);
		check_names(&c);
		check_headers(&c);
		check_tls(&c);
		check_listeners(&c);
		check_queue(&c);
		check_delivery(&c);
	}
	if (errs->n > before) {
		params_free(&p);
		conf_free(&conf);
	}
	if (conf_r != NULL)
		*conf_r = conf;
	else
		conf_free(&conf);
	return p;
}

void
params_free(struct params **pp)
{
	if (*pp == NULL)
		return;
	conf_target_clear(params_table, params_count, *pp);
	free(*pp);
	*pp = NULL;
}
