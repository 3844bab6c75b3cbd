/* posthorn shaping: what is dead or shadowed in shaping data, and what applies to a destination. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "mail/shaping.h"

#include "admin.h"
#include "check.h"

#define MX_MAX 64

static void
findings_print(const struct admin *adm, const struct conf_errors *found)
{
	struct json j;
	size_t i;

	if (!adm->json) {
		adm_print_errors(found);
		return;
	}
	json_init(&j);
	json_arr(&j, NULL);
	for (i = 0; i < found->n; i++) {
		json_obj(&j, NULL);
		json_str(&j, "file", found->v[i].file);
		json_int(&j, "line", found->v[i].line);
		json_str(&j, "text", found->v[i].text);
		json_obj_end(&j);
	}
	json_arr_end(&j);
	printf("%.*s\n", (int)j.out.len, (const char *)j.out.p);
	json_clear(&j);
}

static int
shaping_check(const struct admin *adm, const struct conf_strs *files)
{
	struct conf_errors found = { NULL, 0 };
	struct shaping *s = shaping_load(files, &found);
	int rv;

	if (s != NULL)
		shaping_lint(s, &found);
	findings_print(adm, &found);
	rv = found.n == 0 ? ADM_OK : ADM_FAILED;
	if (found.n == 0 && !adm->json)
		printf("shaping data is good, %zu file%s\n", files->n, files->n == 1 ? "" : "s");
	conf_errors_clear(&found);
	shaping_free(&s);
	return rv;
}

static void
settings_print(const struct admin *adm, const struct shaping_settings *set)
{
	const struct shaping_origin *o;
	struct json j;
	size_t i;
	char *text;

	json_init(&j);
	json_obj(&j, NULL);
	for (i = 0; i < policy_path_count(); i++) {
		if ((text = policy_path_text(&set->config, i)) == NULL)
			continue;
		o = set->origins[i];
		if (adm->json) {
			json_obj(&j, policy_path_name(i));
			json_str(&j, "value", text);
			json_str(&j, "file", o->file);
			json_int(&j, "line", o->line);
			json_str(&j, "layer", o->layer);
			json_obj_end(&j);
		} else {
			printf("%s = %s\t(%s, %s:%u)\n", policy_path_name(i), text, o->layer, o->file, o->line);
		}
		free(text);
	}
	json_obj_end(&j);
	if (adm->json)
		printf("%.*s\n", (int)j.out.len, (const char *)j.out.p);
	json_clear(&j);
}

static int
shaping_show(const struct admin *adm, const struct conf_strs *files, const struct shaping_path *path)
{
	struct conf_errors errors = { NULL, 0 };
	struct shaping *s = shaping_load(files, &errors);
	struct shaping_settings set;

	if (s == NULL) {
		adm_print_errors(&errors);
		conf_errors_clear(&errors);
		return ADM_FAILED;
	}
	shaping_settings(s, path, &set);
	settings_print(adm, &set);
	policy_path_config_clear(&set.config);
	shaping_free(&s);
	return ADM_OK;
}

static int
shaping_run(const struct admin *adm, const struct conf_strs *given, const struct shaping_path *path)
{
	struct params *params = NULL;
	int rv;

	check_drop(); /* what follows is code of the administrator's */
	if (given->n == 0 && (params = adm_params(adm, NULL)) == NULL)
		return ADM_FAILED;
	if (params != NULL)
		given = &params->shaping_files;
	rv = path != NULL ? shaping_show(adm, given, path) : shaping_check(adm, given);
	params_free(&params);
	return rv;
}

int
cmd_shaping(struct admin *adm, int argc, char **argv)
{
	static const struct option options[] = { { "mx", required_argument, NULL, 'm' },
		{ "source", required_argument, NULL, 's' }, { NULL, 0, NULL, 0 } };
	const char *mx[MX_MAX];
	struct shaping_path path = { .mx = mx };
	struct conf_strs files = { NULL, 0 };
	int c;

	if (argc >= 2 && strcmp(argv[1], "check") == 0) {
		files = (struct conf_strs){ argv + 2, (size_t)argc - 2 };
		return shaping_run(adm, &files, NULL);
	}
	if (argc < 2 || strcmp(argv[1], "show") != 0)
		return adm_usage("shaping", "shaping wants check or show");
	argc--;
	argv++;
	optind = 0;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 's')
			path.source = optarg;
		else if (c == 'm' && path.n_mx < MX_MAX)
			mx[path.n_mx++] = optarg;
		else
			return adm_usage("shaping", NULL);
	}
	if (argc - optind != 1)
		return adm_usage("shaping", "shaping show wants one domain");
	path.domain = argv[optind];
	return shaping_run(adm, &files, &path);
}
