/* posthorn stop, reload, restart: requests to the supervisor. Where systemd runs the daemons as units of their own
 * there is no supervisor, and systemctl(1) has these verbs; then we say so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#include "adm_client.h"
#include "admin.h"

#define LIFECYCLE_TIMEOUT 120000 /* ms: longer than the supervisor's own limits */

static const char *
systemctl_for(const char *verb)
{
	if (strcmp(verb, "stop") == 0)
		return "systemctl stop posthorn.target";
	if (strcmp(verb, "reload") == 0)
		return "systemctl reload 'posthorn-*'";
	return "systemctl restart posthorn-DAEMON.service";
}

/* Running without a supervisor? Then queued answers alone. */
static bool
queued_answers(const char *run_directory)
{
	char *err = NULL;
	struct adm_client *c = adm_connect(run_directory, ADM_QUEUED, NULL, &err);
	bool is_there = c != NULL;

	free(err);
	adm_disconnect(&c);
	return is_there;
}

static int
lifecycle_done(const struct admin *adm, const char *verb, int status, const char *sentence)
{
	struct json j;

	if (adm->json) {
		json_init(&j);
		json_obj(&j, NULL);
		json_str(&j, "verb", verb);
		json_bool(&j, "ok", status == 0);
		json_str(&j, "text", sentence);
		json_obj_end(&j);
		printf("%.*s\n", (int)j.out.len, (const char *)j.out.p);
		json_clear(&j);
	}
	if (status != 0)
		return adm_fail("%s: %s", verb, sentence);
	if (!adm->json && *sentence != '\0')
		printf("%s\n", sentence);
	return ADM_OK;
}

static int
lifecycle_ask(struct admin *adm, const char *verb, const char *daemon)
{
	char *dir = adm_run_directory(adm), *text = NULL;
	struct adm_client *c;
	struct ql_admin req;
	bool is_absent = false;
	int rv;

	if (dir == NULL)
		return ADM_FAILED;
	if ((c = adm_connect(dir, ADM_SUPERVISOR, &is_absent, &text)) == NULL) {
		if (is_absent && queued_answers(dir))
			rv = adm_fail("%s: the daemons run without `posthorn start'; use: %s", verb,
			    systemctl_for(verb));
		else
			rv = adm_fail("%s", text);
	} else {
		adm_request_init(&req, verb);
		if (daemon != NULL)
			adm_request_add(&req, "daemon", daemon);
		rv = adm_ask(c, &req, LIFECYCLE_TIMEOUT, NULL, NULL, &text);
		rv = lifecycle_done(adm, verb, rv, text);
		ql_admin_clear(&req);
	}
	adm_disconnect(&c);
	free(text);
	free(dir);
	return rv;
}

int
cmd_stop(struct admin *adm, int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		return adm_usage("stop", "stop takes no arguments");
	return lifecycle_ask(adm, "stop", NULL);
}

int
cmd_reload(struct admin *adm, int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		return adm_usage("reload", "reload takes no arguments");
	return lifecycle_ask(adm, "reload", NULL);
}

int
cmd_restart(struct admin *adm, int argc, char **argv)
{
	if (argc != 2)
		return adm_usage("restart", "restart takes the name of one daemon");
	return lifecycle_ask(adm, "restart", argv[1]);
}
