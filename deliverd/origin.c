/* Origins of settings (origin.h), for explanations. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "deliverd/origin.h"
#include "deliverd/overrides.h"
#include "deliverd/qlink.h"

/* Settings that have a parameter. */
static const struct {
	const char *setting, *param;
} params[] = {
	{ "connection_limit", "smtp_connection_limit" },
	{ "max_deliveries_per_connection", "smtp_deliveries_per_connection" },
	{ "max_recipients_per_batch", "smtp_recipient_limit" },
	{ "connect_timeout", "smtp_connect_timeout" },
	{ "banner_timeout", "smtp_banner_timeout" },
	{ "ehlo_timeout", "smtp_helo_timeout" },
	{ "starttls_timeout", "smtp_starttls_timeout" },
	{ "mail_from_timeout", "smtp_mail_timeout" },
	{ "rcpt_to_timeout", "smtp_rcpt_timeout" },
	{ "data_timeout", "smtp_data_init_timeout" },
	{ "data_dot_timeout", "smtp_data_done_timeout" },
	{ "idle_timeout", "smtp_idle_timeout" },
	{ "smtp_port", "smtp_port" },
	{ "enable_tls", "smtp_tls_security_level" },
};

/* "main.cf:7, smtp_connection_limit"; "main.cf" if the file leaves it at its default. */
static char *
main_text(const struct conf *conf, const char *setting)
{
	const char *slash;
	unsigned line;
	size_t i;

	for (i = 0; conf != NULL && i < sizeof(params) / sizeof(params[0]); i++) {
		if (strcmp(params[i].setting, setting) != 0 || (line = conf_line(conf, params[i].param)) == 0)
			continue;
		slash = strrchr(conf_file(conf), '/');
		return xasprintf("%s:%u, %s", slash != NULL ? slash + 1 : conf_file(conf), line, params[i].param);
	}
	return xstrdup("main.cf");
}

char *
origin_text(const struct path *p, size_t field)
{
	const struct shaping_origin *o = p->origins[field];

	switch ((enum path_layer)p->layers[field]) {
	case PATH_LAYER_MAIN:
		return main_text(p->net->conf, policy_path_name(field));
	case PATH_LAYER_SHAPING:
		if (o == NULL || o->file == NULL)
			return xstrdup("shaping data");
		return xasprintf("%s:%u, %s", o->file, o->line, o->layer);
	case PATH_LAYER_POLICY:
		return policy_where(p->net->policy, "get_egress_path_config");
	case PATH_LAYER_OVERRIDE:
		return imposed_origin(imposed_find(qlink_imposed(p->net->queue), p->imposed[field]));
	default:
		return xstrdup("");
	}
}
