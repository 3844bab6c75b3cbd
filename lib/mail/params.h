/* The parameters of main.cf(5): one table, one struct. A parameter that is added here is described in
 * man/main.cf.5; a test compares them. */
#ifndef MAIL_PARAMS_H
#define MAIL_PARAMS_H

#include "base/conf.h"

enum { BARE_NEWLINE_REJECT, BARE_NEWLINE_NORMALIZE };
enum { RELOAD_MANUAL, RELOAD_AUTO };
enum { AUTOMATION_OFF, AUTOMATION_DRY_RUN, AUTOMATION_ON };
enum { TENANT_OVERRIDE, TENANT_REJECT };
enum { COMPLAINT_NONE, COMPLAINT_GLOBAL, COMPLAINT_TENANT, COMPLAINT_SENDER_DOMAIN };
/* Of outbound TLS: none; if offered, unverified; always, unverified; always, verified; if offered, verified. */
enum { TLS_LEVEL_NONE, TLS_LEVEL_MAY, TLS_LEVEL_ENCRYPT, TLS_LEVEL_VERIFY, TLS_LEVEL_MAY_VERIFY };
enum { DNS_VALIDATION_AUTO, DNS_VALIDATION_YES, DNS_VALIDATION_NO };

/* Whose mail must be such that it passes DMARC (deliverd/guard.h): that to public destinations; all. */
enum guard_mode { GUARD_NO, GUARD_YES, GUARD_ALWAYS };

struct params {
	/* general */
	char *myhostname;
	struct cidr_list mynetworks;
	char *queue_directory, *log_directory, *run_directory, *data_directory, *daemon_directory;
	char *policy_file, *passwd_file, *dkim_key_directory;
	struct conf_strs shaping_files; /* empty if main.cf is silent and the default does not exist */
	struct conf_strs bounce_rules_files; /* likewise */
	char *admin_group;
	int policy_reload; /* RELOAD_MANUAL, RELOAD_AUTO */
	int automation; /* AUTOMATION_* */
	int sandbox; /* enum sandbox_mode: off, on, required */
	int log_level;
	int64_t message_size_limit;
	char *tenant_header, *campaign_header;
	bool remove_tenant_header, remove_campaign_header;
	char *scheduling_header;         /* "": none */

	/* smtpd */
	struct conf_addrs smtpd_listen, submission_listen, submissions_listen;
	struct conf_strs smtpd_tls_cert_file, smtpd_tls_key_file; /* as many of both */
	bool smtpd_tls_auth_only;
	int64_t smtpd_processes; /* 0: one for two cores */
	int64_t smtpd_connection_limit, smtpd_client_connection_limit;
	int64_t smtpd_message_limit;   /* per connection */
	int64_t smtpd_recipient_limit;
	int64_t line_length_limit;     /* commands */
	int64_t text_line_length_limit;/* content; 0: none */
	int64_t header_size_limit, hopcount_limit;
	int64_t smtpd_error_limit, smtpd_junk_command_limit, smtpd_auth_failure_limit;
	int64_t smtpd_timeout, submission_timeout, smtpd_tls_timeout, smtpd_data_time_limit;
	int64_t smtpd_hold_limit, smtpd_drain_time;
	int64_t smtpd_data_min_rate;   /* octets a second, measured over the DATA phase after 30 s */
	int smtpd_bare_newline, submission_bare_newline;
	struct cidr_list smtpd_authorized_xclient_hosts;
	int require_authenticated_senders; /* enum guard_mode */
	int64_t authenticated_senders_refresh, authenticated_senders_retry;
	int tenant_mismatch;
	bool envelope_from_return_path; /* default for users that do not say */
	int smtpd_suppressed;            /* 0: accept, 1: reject; the same */
	struct conf_strs relay_domains;  /* accepted from anybody on smtpd_listen, beside listener domains of policy */

	/* queued */
	int64_t retry_interval, max_retry_interval, maximal_queue_lifetime;
	int64_t min_free_space, segment_size, index_commit_interval, index_size_limit;
	int64_t queue_backlog_limit;     /* envelopes in memory before producers are slowed */
	int64_t queue_window_limit;      /* outstanding envelopes per scheduled queue at most */
	bool bounce_notice;              /* write DSNs */
	struct conf_strs bounce_notice_disabled_domains; /* sender domains */
	int64_t delay_notice_after;      /* 0: never */
	int64_t bounce_size_limit;       /* of the original returned in a DSN */

	/* deliverd */
	struct conf_strs dns_servers;    /* ip@port */
	char *dns_trust_anchor_file;
	int64_t dns_timeout;
	char *relayhost;                 /* "[host]:port", "host", "host:port", address literal; "" */
	struct cidr_list prohibited_hosts;
	int64_t smtp_port;
	int smtp_tls_security_level;
	char *smtp_tls_CAfile;
	char *smtp_secret_directory;     /* of what policy names as secrets */
	bool mta_sts;
	char *tls_report_contact;        /* an address; "": no reports */
	char *tls_report_organization;
	int64_t tls_report_spread;
	int64_t mta_sts_timeout;
	int dns_validation;
	int64_t smtp_connect_timeout, smtp_banner_timeout, smtp_helo_timeout, smtp_starttls_timeout, smtp_mail_timeout,
	    smtp_rcpt_timeout, smtp_data_init_timeout, smtp_data_xfer_timeout, smtp_data_done_timeout,
	    smtp_quit_timeout;
	int64_t smtp_idle_timeout;       /* of a connection that waits for the next message */
	int64_t smtp_connection_limit;   /* per egress path */
	int64_t smtp_deliveries_per_connection, smtp_recipient_limit;
	int64_t smtp_mx_limit, smtp_address_limit;
	int64_t deliverd_credit;         /* envelopes a deliverd holds */
	int64_t verp_lifetime;           /* a return path is believed so long after the message came */
	struct conf_strs trace_header_fields; /* what trace.h says of a message */

	/* fblproc */
	int complaint_suppression; /* COMPLAINT_* */
	int64_t complaint_suppression_time; /* 0: for ever */
	int64_t feedback_max_age; /* of the message complained about */

	/* posthorn doctor */
	char *doctor_probe_domain;
	struct conf_strs dnsbl_zones;
};

extern const struct conf_param params_table[];
extern const size_t params_count;

/* Reads config_dir/main.cf and checks what only several parameters together can tell. NULL and errors. */
struct params *params_load(const char *config_dir, struct conf **conf_r, struct conf_errors *);
/* Adds what is allowed but hardly meant (an open relay, a host name that does not exist): for `posthorn check` to
 * show. */
void params_warn(const struct params *, const struct conf *, struct conf_errors *warnings);
void params_free(struct params **);
/* Takes a relayhost value apart. *host_r is malloced, without brackets; *port_r 0: not given; *use_mx_r: look up its MX
 * records (a name without brackets). 0 or -1. */
int params_relayhost_parse(const char *text, char **host_r, uint16_t *port_r, bool *use_mx_r)
    __attribute__((warn_unused_result));
/* The default configuration directory (compiled in; environment POSTHORN_CONFIG and -c override). */
extern const char *const params_default_dir;

#endif
