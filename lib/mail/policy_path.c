/* The settings of an egress path (policy_path.h): the table that events, shaping data, overrides and the manual have in
 * common, and what can be done with any field by its type. The administrator's data, in any process. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/wire.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/keysource.h"
#include "mail/params.h"
#include "mail/policy_private.h"

static const char *const ip_lookup_words[] = { "Ipv4AndIpv6", "Ipv4Only", "Ipv6Only", "Ipv6ThenIpv4", "Ipv4ThenIpv6",
	NULL };
static const char *const reconnect_words[] = { "ConnectNextHost", "ReconnectSameHost", "TerminateSession", NULL };
/* By TLS_LEVEL_*. */
static const char *const tls_words[] = { "Disabled", "OpportunisticInsecure", "RequiredInsecure", "Required",
	"Opportunistic", NULL };

#define PATH(f) offsetof(struct policy_path_config, f)
#define PATH_TIME(key, least) { .name = #key, .type = FIELD_TIME, .offset = PATH(key), .min = (least), .max = 3600000 }
#define PATH_INT(key, least, most) { .name = #key, .type = FIELD_INT, .offset = PATH(key), .min = (least), \
	.max = (most) }
#define PATH_OF(t, key) { .name = #key, .type = (t), .offset = PATH(key), .min = 1, .max = 100000 }
#define PATH_WORD(key, list) { .name = #key, .type = FIELD_WORD, .offset = PATH(key), .words = (list) }
#define PATH_HOSTS(key) { .name = #key, .type = FIELD_HOSTS, .offset = PATH(key), .flag = PATH(has_##key) + 1 }

const struct policy_field policy_path_fields[] = {
	PATH_INT(connection_limit, 1, 100000),
	PATH_INT(max_deliveries_per_connection, 0, 1000000),
	{ .name = "max_recipients_per_batch", .type = FIELD_INT, .offset = PATH(recipient_limit), .min = 1,
	    .max = 1000 },
	PATH_INT(max_ready, 1, 1000000),
	PATH_INT(consecutive_connection_failures_before_delay, 1, 1000000),
	PATH_OF(FIELD_RATE, max_message_rate),
	PATH_OF(FIELD_RATE, max_connection_rate),
	PATH_OF(FIELD_BUDGET, source_selection_rate),
	PATH_OF(FIELD_LIMITS, additional_connection_limits),
	PATH_OF(FIELD_RATES, additional_message_rate_throttles),
	PATH_OF(FIELD_BUDGETS, additional_source_selection_rates),
	PATH_OF(FIELD_NAME, provider_name),
	PATH_INT(provider_connection_limit, 1, 100000),
	PATH_INT(provider_total_connection_limit, 1, 100000),
	PATH_OF(FIELD_RATE, provider_max_message_rate),
	PATH_OF(FIELD_RATE, provider_max_connection_rate),
	PATH_OF(FIELD_BUDGET, provider_source_selection_rate),
	PATH_OF(FIELD_RATE, provider_total_max_message_rate),
	PATH_OF(FIELD_RATE, provider_total_max_connection_rate),
	PATH_TIME(connect_timeout, 1000),
	PATH_TIME(banner_timeout, 1000),
	PATH_TIME(ehlo_timeout, 1000),
	PATH_TIME(mail_from_timeout, 1000),
	PATH_TIME(rcpt_to_timeout, 1000),
	PATH_TIME(data_timeout, 1000),
	PATH_TIME(data_dot_timeout, 1000),
	PATH_TIME(idle_timeout, 0),
	PATH_TIME(starttls_timeout, 1000),
	PATH_TIME(rset_timeout, 1000),
	{ .name = "smtp_port", .type = FIELD_PORT32, .offset = PATH(smtp_port), .min = 1, .max = 65535 },
	PATH_OF(FIELD_TLS, enable_tls),
	{ .name = "remember_broken_tls", .type = FIELD_TIME, .offset = PATH(remember_broken_tls), .min = 0,
	    .max = 30 * 86400000ll },
	PATH_OF(FIELD_TRI, opportunistic_tls_reconnect_on_failed_handshake),
	PATH_OF(FIELD_TRI, enable_dane),
	PATH_OF(FIELD_TRI, enable_pipelining),
	PATH_OF(FIELD_TRI, enable_rset),
	PATH_OF(FIELD_TRI, try_next_host_on_transport_error),
	PATH_WORD(ip_lookup_strategy, ip_lookup_words),
	PATH_WORD(reconnect_strategy, reconnect_words),
	PATH_OF(FIELD_HOST, ehlo_domain),
	PATH_HOSTS(prohibited_hosts),
	PATH_HOSTS(skip_hosts),
	PATH_OF(FIELD_TEXT, smtp_auth_plain_username),
	PATH_OF(FIELD_KEYSOURCE, smtp_auth_plain_password),
	PATH_OF(FIELD_KEYSOURCE, tls_certificate),
	PATH_OF(FIELD_KEYSOURCE, tls_private_key),
	PATH_OF(FIELD_TRI, allow_smtp_auth_plain_without_tls),
	PATH_OF(FIELD_TRI, allow_smtp_auth_plain_without_valid_certificate),
	PATH_TIME(auth_timeout, 1000),
	PATH_OF(FIELD_TRI, enable_mta_sts),
	LATER("use_lmtp"), LATER("refresh_interval"), LATER("refresh_strategy"),
	{ .name = NULL }
};
const size_t policy_path_fields_count = sizeof(policy_path_fields) / sizeof(policy_path_fields[0]) - 1;
_Static_assert(sizeof(policy_path_fields) / sizeof(policy_path_fields[0]) <= POLICY_PATH_FIELDS_MAX,
    "origins are kept in arrays of POLICY_PATH_FIELDS_MAX");

static void *
at(struct policy_path_config *c, size_t field)
{
	return (char *)c + policy_path_fields[field].offset;
}

static const void *
at_const(const struct policy_path_config *c, size_t field)
{
	return (const char *)c + policy_path_fields[field].offset;
}

size_t
policy_path_count(void)
{
	return policy_path_fields_count;
}

const char *
policy_path_name(size_t field)
{
	return policy_path_fields[field].name;
}

int
policy_path_find(const char *name)
{
	size_t i;

	for (i = 0; i < policy_path_fields_count; i++)
		if (policy_path_fields[i].type != FIELD_LATER && strcmp(policy_path_fields[i].name, name) == 0)
			return (int)i;
	return -1;
}

bool
policy_path_is_set(const struct policy_path_config *c, size_t field)
{
	const struct policy_field *f = &policy_path_fields[field];
	const void *p = at_const(c, field);

	switch (f->type) {
	case FIELD_INT:
	case FIELD_TIME:
		return *(const int64_t *)p >= 0;
	case FIELD_PORT32:
		return *(const int32_t *)p >= 0;
	case FIELD_TRI:
	case FIELD_WORD:
	case FIELD_TLS:
		return *(const int *)p >= 0;
	case FIELD_RATE:
	case FIELD_BUDGET:
		return ((const struct rate *)p)->quantity > 0;
	case FIELD_LIMITS:
	case FIELD_RATES:
	case FIELD_BUDGETS:
		return ((const struct policy_limits *)p)->n > 0;
	case FIELD_NAME:
	case FIELD_HOST:
	case FIELD_TEXT:
	case FIELD_KEYSOURCE:
		return *(char *const *)p != NULL;
	case FIELD_HOSTS:
		return *(const bool *)((const char *)c + f->flag - 1);
	default:
		return false;
	}
}

static void
limits_clear(struct policy_limits *l)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		free(l->v[i].name);
	free(l->v);
	*l = (struct policy_limits){ NULL, 0 };
}

void
policy_path_unset(struct policy_path_config *c, size_t field)
{
	const struct policy_field *f = &policy_path_fields[field];
	struct cidr_list *hosts;
	void *p = at(c, field);

	switch (f->type) {
	case FIELD_INT:
	case FIELD_TIME:
		*(int64_t *)p = -1;
		break;
	case FIELD_PORT32:
		*(int32_t *)p = -1;
		break;
	case FIELD_TRI:
	case FIELD_WORD:
	case FIELD_TLS:
		*(int *)p = -1;
		break;
	case FIELD_RATE:
	case FIELD_BUDGET:
		memset(p, 0, sizeof(struct rate));
		break;
	case FIELD_LIMITS:
	case FIELD_RATES:
	case FIELD_BUDGETS:
		limits_clear(p);
		break;
	case FIELD_KEYSOURCE:
		keysource_free(p);
		break;
	case FIELD_NAME:
	case FIELD_HOST:
	case FIELD_TEXT:
		free(*(char **)p);
		*(char **)p = NULL;
		break;
	case FIELD_HOSTS:
		hosts = p;
		free(hosts->v);
		*hosts = (struct cidr_list){ NULL, 0 };
		*(bool *)((char *)c + f->flag - 1) = false;
		break;
	default:
		break;
	}
}

void
policy_path_config_init(struct policy_path_config *c)
{
	size_t i;

	memset(c, 0, sizeof(*c));
	for (i = 0; i < policy_path_fields_count; i++)
		policy_path_unset(c, i);
}

void
policy_path_config_clear(struct policy_path_config *c)
{
	size_t i;

	for (i = 0; i < policy_path_fields_count; i++)
		policy_path_unset(c, i);
}

static void
limits_merge(struct policy_limits *into, const struct policy_limits *from)
{
	size_t i, j;

	for (i = 0; i < from->n; i++) {
		for (j = 0; j < into->n && strcmp(into->v[j].name, from->v[i].name) != 0; j++)
			;
		if (j == into->n) {
			into->v = xreallocarray(into->v, into->n + 1, sizeof(*into->v));
			into->v[into->n++].name = xstrdup(from->v[i].name);
		}
		into->v[j].value = from->v[i].value;
		into->v[j].rate = from->v[i].rate;
	}
}

static void
hosts_copy(struct cidr_list *into, const struct cidr_list *from)
{
	into->v = xcalloc(from->n > 0 ? from->n : 1, sizeof(*into->v));
	into->n = from->n;
	if (from->n > 0)
		memcpy(into->v, from->v, from->n * sizeof(*into->v));
}

void
policy_path_merge(struct policy_path_config *into, const struct policy_path_config *from, size_t field)
{
	const struct policy_field *f = &policy_path_fields[field];
	const void *p = at_const(from, field);

	if (!policy_path_is_set(from, field))
		return;
	if (f->type == FIELD_LIMITS || f->type == FIELD_RATES || f->type == FIELD_BUDGETS) {
		limits_merge(at(into, field), p);
		return;
	}
	policy_path_unset(into, field);
	switch (f->type) {
	case FIELD_INT:
	case FIELD_TIME:
		*(int64_t *)at(into, field) = *(const int64_t *)p;
		break;
	case FIELD_PORT32:
		*(int32_t *)at(into, field) = *(const int32_t *)p;
		break;
	case FIELD_TRI:
	case FIELD_WORD:
	case FIELD_TLS:
		*(int *)at(into, field) = *(const int *)p;
		break;
	case FIELD_RATE:
	case FIELD_BUDGET:
		*(struct rate *)at(into, field) = *(const struct rate *)p;
		break;
	case FIELD_NAME:
	case FIELD_HOST:
	case FIELD_TEXT:
	case FIELD_KEYSOURCE:
		*(char **)at(into, field) = xstrdup(*(char *const *)p);
		break;
	case FIELD_HOSTS:
		hosts_copy(at(into, field), p);
		*(bool *)((char *)into + f->flag - 1) = true;
		break;
	default:
		break;
	}
}

static void
put(struct wbuf *w, const char *text)
{
	wbuf_raw(w, text, strlen(text));
}

/* "all-gmail=20 other=5/s" */
static void
limits_text(struct wbuf *w, const struct policy_field *f, const struct policy_limits *l)
{
	char text[RATE_TEXT];
	size_t i;

	for (i = 0; i < l->n; i++) {
		put(w, i > 0 ? " " : "");
		put(w, l->v[i].name);
		put(w, "=");
		if (f->type == FIELD_LIMITS)
			(void)snprintf(text, sizeof(text), "%" PRId64, l->v[i].value);
		else
			rate_format(&l->v[i].rate, f->type == FIELD_BUDGETS ? RATE_BUDGET : RATE_PACED, text);
		put(w, text);
	}
}

static void
hosts_text(struct wbuf *w, const struct cidr_list *hosts)
{
	char text[64];
	size_t i;

	for (i = 0; i < hosts->n; i++) {
		cidr_text(&hosts->v[i], text);
		put(w, i > 0 ? " " : "");
		put(w, text);
	}
}

char *
policy_path_text(const struct policy_path_config *c, size_t field)
{
	const struct policy_field *f = &policy_path_fields[field];
	const void *p = at_const(c, field);
	char text[RATE_TEXT] = "";
	struct wbuf w;

	if (!policy_path_is_set(c, field))
		return NULL;
	wbuf_init(&w);
	switch (f->type) {
	case FIELD_INT:
		(void)snprintf(text, sizeof(text), "%" PRId64, *(const int64_t *)p);
		break;
	case FIELD_TIME:
		conf_time_text(*(const int64_t *)p, text, sizeof(text));
		break;
	case FIELD_PORT32:
		(void)snprintf(text, sizeof(text), "%" PRId32, *(const int32_t *)p);
		break;
	case FIELD_TRI:
		put(&w, *(const int *)p ? "true" : "false");
		break;
	case FIELD_WORD:
		put(&w, f->words[*(const int *)p]);
		break;
	case FIELD_TLS:
		put(&w, tls_words[*(const int *)p]);
		break;
	case FIELD_RATE:
	case FIELD_BUDGET:
		rate_format(p, f->type == FIELD_BUDGET ? RATE_BUDGET : RATE_PACED, text);
		break;
	case FIELD_NAME:
	case FIELD_HOST:
	case FIELD_TEXT:
		put(&w, *(char *const *)p);
		break;
	case FIELD_KEYSOURCE:
		put(&w, keysource_shown(*(char *const *)p));
		break;
	case FIELD_HOSTS:
		hosts_text(&w, p);
		break;
	default:
		limits_text(&w, f, p);
		break;
	}
	put(&w, text);
	wbuf_raw(&w, "", 1);
	return (char *)w.p;
}

static char *
number_set(const struct policy_field *f, const char *text, int64_t *out)
{
	char *end;
	int64_t v;

	if (f->type == FIELD_TIME) {
		if (conf_time_parse(text, &v) != 0)
			return xasprintf("%s '%.60s' is not a time (examples: '30s', '20 min', '5d')", f->name, text);
	} else {
		v = strtoll(text, &end, 10);
		if (*text == '\0' || *end != '\0')
			return xasprintf("%s '%.60s' is not a whole number", f->name, text);
	}
	if (v < f->min || v > f->max)
		return xasprintf("%s must be from %" PRId64 " to %" PRId64 "%s, not %" PRId64, f->name, f->min, f->max,
		    f->type == FIELD_TIME ? " ms" : "", v);
	*out = v;
	return NULL;
}

static char *
word_set(const struct policy_field *f, const char *const *words, const char *text, int *out)
{
	int i;

	for (i = 0; words[i] != NULL; i++)
		if (strcmp(words[i], text) == 0) {
			*out = i;
			return NULL;
		}
	return xasprintf("%s does not know '%.60s'", f->name, text);
}

char *
policy_path_set(struct policy_path_config *c, size_t field, const char *text)
{
	static const char *const tri_words[] = { "false", "true", NULL };
	const struct policy_field *f = &policy_path_fields[field];
	const char *why = NULL;
	int64_t n = 0;
	char *err;

	switch (f->type) {
	case FIELD_INT:
	case FIELD_TIME:
		return number_set(f, text, at(c, field));
	case FIELD_PORT32:
		if ((err = number_set(f, text, &n)) == NULL)
			*(int32_t *)at(c, field) = (int32_t)n;
		return err;
	case FIELD_TRI:
		return word_set(f, tri_words, text, at(c, field));
	case FIELD_WORD:
		return word_set(f, f->words, text, at(c, field));
	case FIELD_TLS:
		return word_set(f, tls_words, text, at(c, field));
	case FIELD_RATE:
	case FIELD_BUDGET:
		why = rate_parse(text, f->type == FIELD_BUDGET ? RATE_BUDGET : RATE_PACED, at(c, field));
		return why != NULL ? xasprintf("%s: '%.60s' %s", f->name, text, why) : NULL;
	case FIELD_HOST:
		if (!address_domain_valid(text, false))
			return xasprintf("%s '%.80s' is not a host name", f->name, text);
		policy_path_unset(c, field);
		*(char **)at(c, field) = xstrdup(text);
		return NULL;
	default:
		return xasprintf("%s cannot be set in this way", f->name);
	}
}
