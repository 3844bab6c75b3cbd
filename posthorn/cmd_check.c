/* posthorn check: everything that start and reload would refuse, and what is unwise, at once. */
#include <stdio.h>

#include "base/json.h"

#include "admin.h"
#include "check.h"

static void
check_json_list(struct json *j, const char *key, const struct conf_errors *list)
{
	json_arr(j, key);
	for (size_t i = 0; i < list->n; i++) {
		json_obj(j, NULL);
		json_str(j, "file", list->v[i].file);
		if (list->v[i].line > 0)
			json_int(j, "line", list->v[i].line);
		else
			json_none(j, "line");
		json_str(j, "text", list->v[i].text);
		json_obj_end(j);
	}
	json_arr_end(j);
}

static void
check_print_json(const struct conf_errors *errors, const struct conf_errors *warnings, const struct pool_list *pools)
{
	struct json j;

	json_init(&j);
	json_obj(&j, NULL);
	json_bool(&j, "ok", errors->n == 0);
	check_json_list(&j, "errors", errors);
	check_json_list(&j, "warnings", warnings);
	json_arr(&j, "pools");
	for (size_t i = 0; i < pools->n; i++)
		json_str(&j, NULL, pools->v[i]);
	json_arr_end(&j);
	json_obj_end(&j);
	printf("%.*s\n", (int)j.out.len, (const char *)j.out.p);
	json_clear(&j);
}

static void
check_print(FILE *f, const char *kind, const struct conf_errors *list)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct conf_error *e = &list->v[i];

		if (e->file != NULL && e->line > 0)
			fprintf(f, "%s:%u: %s%s\n", e->file, e->line, kind, e->text);
		else
			fprintf(f, "%s%s%s%s\n", e->file != NULL ? e->file : "", e->file != NULL ? ": " : "", kind,
			    e->text);
	}
}

int
cmd_check(struct admin *adm, int argc, char **argv)
{
	struct conf_errors errors = { NULL, 0 }, warnings = { NULL, 0 }, again = { NULL, 0 };
	struct pool_list pools = { NULL, 0, NULL, 0 };
	struct key_list keys = { NULL, 0 };
	struct params *params;
	struct conf *conf = NULL;
	int rv = ADM_OK;

	(void)argv;
	if (argc > 1)
		return adm_usage("check", "check takes no arguments");
	if (check_config(adm->config_dir, &pools, &keys, &errors, &warnings) == -1)
		rv = ADM_FAILED;
	/* The files are worth a look also when only the policy is wrong. */
	if ((params = params_load(adm->config_dir, &conf, &again)) != NULL) {
		check_files(params, conf, &errors, &warnings);
		check_keys(params, &keys, &warnings);
		params_free(&params);
		conf_free(&conf);
	}
	if (errors.n > 0)
		rv = ADM_FAILED;
	if (adm->json) {
		check_print_json(&errors, &warnings, &pools);
	} else {
		check_print(stderr, "", &errors);
		check_print(stderr, "warning: ", &warnings);
		if (errors.n == 0)
			printf("%s: configuration is good, %zu egress pool%s\n", adm->config_dir, pools.n,
			    pools.n == 1 ? "" : "s");
	}
	if (errors.n > 0)
		adm_fail("%zu error%s in %s", errors.n, errors.n == 1 ? "" : "s", adm->config_dir);
	pool_list_clear(&pools);
	key_list_clear(&keys);
	conf_errors_clear(&errors);
	conf_errors_clear(&warnings);
	conf_errors_clear(&again);
	return rv;
}
