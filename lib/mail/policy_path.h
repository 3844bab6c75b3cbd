/* The settings of an egress path, as layers of shaping data, the event get_egress_path_config and overrides give
 * them. One table (policy_path.c) names and bounds them for all three; each may be absent, and the layers are laid over
 * one another by policy_path_merge(). */
#ifndef MAIL_POLICY_PATH_H
#define MAIL_POLICY_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cidr.h"
#include "mail/rate.h"

/* A named limit: whoever names it shares it. */
struct policy_limit {
	char *name;
	int64_t value;    /* connections */
	struct rate rate; /* or this */
};

#define POLICY_LIMITS_MAX 32

struct policy_limits {
	struct policy_limit *v;
	size_t n;
};

enum policy_ip_lookup { IP_LOOKUP_BOTH, IP_LOOKUP_4, IP_LOOKUP_6, IP_LOOKUP_6_THEN_4, IP_LOOKUP_4_THEN_6 };
enum policy_reconnect { RECONNECT_NEXT_HOST, RECONNECT_SAME_HOST, RECONNECT_TERMINATE };

/* Absent: -1, a quantity of 0, n = 0, NULL, has_ false. */
struct policy_path_config {
	/* per source and site */
	int64_t connection_limit, max_deliveries_per_connection, recipient_limit, max_ready;
	int64_t consecutive_connection_failures_before_delay;
	struct rate max_message_rate, max_connection_rate, source_selection_rate;
	/* shared by all paths that name them */
	struct policy_limits additional_connection_limits, additional_message_rate_throttles,
	    additional_source_selection_rates;
	/* over all sites of the provider: per source; `total`: over all sources too */
	char *provider_name;
	int64_t provider_connection_limit, provider_total_connection_limit;
	struct rate provider_max_message_rate, provider_max_connection_rate, provider_source_selection_rate,
	    provider_total_max_message_rate, provider_total_max_connection_rate;
	int64_t connect_timeout, banner_timeout, ehlo_timeout, mail_from_timeout, rcpt_to_timeout, data_timeout,
	    data_dot_timeout, idle_timeout, starttls_timeout, rset_timeout; /* ms */
	int32_t smtp_port;
	int enable_tls;                /* TLS_LEVEL_* */
	int64_t remember_broken_tls;   /* ms */
	int opportunistic_tls_reconnect_on_failed_handshake; /* 0, 1; unset: only where nothing is verified */
	int enable_dane, enable_mta_sts; /* 0, 1 */
	int enable_pipelining, enable_rset, try_next_host_on_transport_error; /* 0, 1 */
	int ip_lookup_strategy;        /* enum policy_ip_lookup */
	int reconnect_strategy;        /* enum policy_reconnect */
	char *ehlo_domain;
	char *smtp_auth_plain_username;
	/* keysource.h */
	char *smtp_auth_plain_password, *tls_certificate, *tls_private_key;
	int allow_smtp_auth_plain_without_tls, allow_smtp_auth_plain_without_valid_certificate; /* 0, 1 */
	int64_t auth_timeout; /* ms */
	bool has_prohibited_hosts, has_skip_hosts;
	struct cidr_list prohibited_hosts, skip_hosts;
};

#define POLICY_PATH_FIELDS_MAX 64

void policy_path_config_init(struct policy_path_config *);
void policy_path_config_clear(struct policy_path_config *);
/* How many settings there are; the name of one; the number of a name (-1: none); whether it is said. */
size_t policy_path_count(void);
const char *policy_path_name(size_t field);
int policy_path_find(const char *name);
bool policy_path_is_set(const struct policy_path_config *, size_t field);
/* Makes it absent again. */
void policy_path_unset(struct policy_path_config *, size_t field);
/* Copies one setting over another's; the maps of named limits are merged by name. */
void policy_path_merge(struct policy_path_config *into, const struct policy_path_config *from, size_t field);
/* The setting as policy would write it ("5", "100/s", "5m", "RequiredInsecure"), malloced; NULL: absent. A secret is
 * never part of it. */
char *policy_path_text(const struct policy_path_config *, size_t field) __attribute__((warn_unused_result));
/* Sets one from such a text (an administrator's, or an override's). NULL, or a malloced sentence. Maps, host lists and
 * names of providers cannot be set so. */
char *policy_path_set(struct policy_path_config *, size_t field, const char *text)
    __attribute__((warn_unused_result));

#endif
