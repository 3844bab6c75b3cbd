/* posthorn shaping: what is dead or shadowed in shaping data, and what applies to a destination. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "mail/shaping.h"

#include "admin.h"
#include "check.h"
#include "shaping_live.h"

#define MX_MAX 64

static void
findings_json(struct json *j, const char *key, const struct conf_errors *found)
{
	size_t i;

	json_arr(j, key);
	for (i = 0; i < found->n; i++) {
		json_obj(j, NULL);
		json_str(j, "file", found->v[i].file);
		json_int(j, "line", found->v[i].line);
		json_str(j, "text", found->v[i].text);
		json_obj_end(j);
	}
	json_arr_end(j);
}

static void
live_json(struct json *j, const struct live *live)
{
	size_t i, k;

	json_arr(j, "known");
	for (i = 0; i < live->n; i++) {
		const struct live_domain *d = &live->v[i];

		json_obj(j, NULL);
		json_str(j, "provider", d->known.provider);
		json_str(j, "domain", d->known.domain);
		json_arr(j, "mx");
		for (k = 0; k < d->mx.n; k++)
			json_str(j, NULL, d->mx.v[k]);
		json_arr_end(j);
		json_str(j, "falls_to", d->found);
		json_str(j, "problem", d->problem);
		json_obj_end(j);
	}
	json_arr_end(j);
}

/* An array of findings; with --live an object of this array and of what was resolved. */
static void
check_print_json(const struct live *live, const struct conf_errors *found)
{
	struct json j;

	json_init(&j);
	if (live == NULL) {
		findings_json(&j, NULL, found);
	} else {
		json_obj(&j, NULL);
		findings_json(&j, "findings", found);
		live_json(&j, live);
		json_obj_end(&j);
	}
	printf("%.*s\n", (int)j.out.len, (const char *)j.out.p);
	json_clear(&j);
}

static void
live_print(const struct live *live)
{
	size_t i, k;

	for (i = 0; i < live->n; i++) {
		const struct live_domain *d = &live->v[i];

		printf("%s: %s is %s", d->known.provider, d->known.domain, d->problem != NULL ? "unknown now" :
		    d->found != NULL ? d->found : "no provider");
		for (k = 0; k < d->mx.n; k++)
			printf("%s%s", k == 0 ? ": " : " ", d->mx.v[k]);
		printf("\n");
	}
}

/* params: of main.cf, to resolve; NULL: not wanted. */
static int
shaping_check(const struct admin *adm, const struct conf_strs *files, const struct params *params)
{
	struct conf_errors found = { NULL, 0 };
	struct shaping *s = shaping_load(files, &found);
	struct live live = { NULL, 0 };
	int rv = ADM_OK;

	if (s != NULL) {
		shaping_lint(s, &found);
		if (params != NULL && live_check(params, s, &live, &found) == -1)
			rv = ADM_FAILED;
	}
	if (adm->json) {
		check_print_json(params != NULL ? &live : NULL, &found);
	} else {
		live_print(&live);
		adm_print_errors(&found);
	}
	if (found.n > 0)
		rv = ADM_FAILED;
	else if (rv == ADM_OK && !adm->json)
		printf("shaping data is good, %zu file%s\n", files->n, files->n == 1 ? "" : "s");
	live_clear(&live);
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
shaping_run(const struct admin *adm, const struct conf_strs *given, const struct shaping_path *path, bool is_live)
{
	struct params *params = NULL;
	int rv;

	check_drop(); /* what follows is code of the administrator's */
	if ((given->n == 0 || is_live) && (params = adm_params(adm, NULL)) == NULL)
		return ADM_FAILED;
	if (given->n == 0)
		given = &params->shaping_files;
	rv = path != NULL ? shaping_show(adm, given, path) : shaping_check(adm, given, is_live ? params : NULL);
	params_free(&params);
	return rv;
}

int
cmd_shaping(struct admin *adm, int argc, char **argv)
{
	static const struct option options[] = { { "mx", required_argument, NULL, 'm' },
		{ "source", required_argument, NULL, 's' }, { "live", no_argument, NULL, 'l' }, { NULL, 0, NULL, 0 } };
	const char *mx[MX_MAX];
	struct shaping_path path = { .mx = mx };
	struct conf_strs files;
	bool is_check = argc >= 2 && strcmp(argv[1], "check") == 0, is_live = false;
	int c;

	if (argc < 2 || (!is_check && strcmp(argv[1], "show") != 0))
		return adm_usage("shaping", "shaping wants check or show");
	argc--;
	argv++;
	optind = 0;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'l' && is_check)
			is_live = true;
		else if (c == 's' && !is_check)
			path.source = optarg;
		else if (c == 'm' && !is_check && path.n_mx < MX_MAX)
			mx[path.n_mx++] = optarg;
		else
			return adm_usage("shaping", NULL);
	}
	files = (struct conf_strs){ argv + optind, (size_t)(argc - optind) };
	if (is_check)
		return shaping_run(adm, &files, NULL, is_live);
	if (files.n != 1)
		return adm_usage("shaping", "shaping show wants one domain");
	path.domain = files.v[0];
	return shaping_run(adm, &(struct conf_strs){ NULL, 0 }, &path, false);
}
