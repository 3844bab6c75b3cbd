/* posthorn conf: the parameters in force, as postconf(1) shows them. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/suggest.h"

#include "admin.h"

struct conf_view {
	const struct conf *conf;
	bool only_set, defaults, bare, json;
	struct json out;
};

static void
conf_show(struct conf_view *v, const struct conf_param *p)
{
	bool is_set = false;
	const char *text = v->defaults ? p->def : conf_text(v->conf, p->name, &is_set);

	if (text == NULL)
		text = "";
	if (v->only_set && !is_set)
		return;
	if (v->json)
		json_str(&v->out, p->name, text);
	else if (v->bare)
		printf("%s\n", text);
	else
		printf("%s =%s%s\n", p->name, *text != '\0' ? " " : "", text);
}

static const struct conf_param *
conf_find(const char *name)
{
	for (size_t i = 0; i < params_count; i++) {
		if (strcmp(params_table[i].name, name) == 0)
			return &params_table[i];
	}
	return NULL;
}

static int
conf_unknown(const char *name)
{
	struct suggest near;

	suggest_init(&near, name);
	for (size_t i = 0; i < params_count; i++)
		suggest_consider(&near, params_table[i].name);
	return adm_fail("there is no parameter `%s'" SUGGEST_FMT, name, SUGGEST_ARGS(near.best));
}

static int
conf_show_all(struct conf_view *v, int argc, char **argv)
{
	int rv = ADM_OK;

	if (v->json) {
		json_init(&v->out);
		json_obj(&v->out, NULL);
	}
	for (size_t i = 0; argc == 0 && i < params_count; i++)
		conf_show(v, &params_table[i]);
	for (int i = 0; i < argc; i++) {
		const struct conf_param *p = conf_find(argv[i]);

		if (p != NULL)
			conf_show(v, p);
		else
			rv = conf_unknown(argv[i]);
	}
	if (v->json) {
		json_obj_end(&v->out);
		printf("%.*s\n", (int)v->out.out.len, (const char *)v->out.out.p);
		json_clear(&v->out);
	}
	return rv;
}

int
cmd_conf(struct admin *adm, int argc, char **argv)
{
	struct conf_view view = { .json = adm->json };
	struct params *params = NULL;
	struct conf *conf = NULL;
	int opt, rv;

	while ((opt = getopt(argc, argv, "nd")) != -1) {
		if (opt == 'n')
			view.only_set = true;
		else if (opt == 'd')
			view.defaults = true;
		else
			return adm_usage("conf", NULL);
	}
	if (view.only_set && view.defaults)
		return adm_usage("conf", "-n and -d exclude each other");
	argc -= optind;
	argv += optind;
	view.bare = argc == 1;
	if (!view.defaults) {
		if ((params = adm_params(adm, &conf)) == NULL)
			return ADM_FAILED;
		view.conf = conf;
	}
	rv = conf_show_all(&view, argc, argv);
	params_free(&params);
	conf_free(&conf);
	return rv;
}
