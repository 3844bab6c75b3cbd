/* posthorn bounce classify, posthorn bounce check: what replies mean by the bounce rules, and what is wrong with the
 * rules. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/xalloc.h"
#include "mail/bounce_rules.h"
#include "mail/queue_link.h"
#include "mail/shaping.h"

#include "admin.h"
#include "check.h"

static void
origin_json(struct json *j, const char *key, const struct bounce_origin *o)
{
	if (o->file == NULL)
		return;
	json_obj(j, key);
	json_str(j, "file", o->file);
	json_int(j, "line", o->line);
	json_str(j, "pattern", o->pattern);
	json_obj_end(j);
}

static void
verdict_json(const struct bounce_verdict *v)
{
	struct json j;
	char *todo;

	json_init(&j);
	json_obj(&j, NULL);
	json_str(&j, "class", v->cause->class);
	json_str(&j, "cause", v->cause->name);
	json_str(&j, "kind", bounce_kind_names[v->cause->kind]);
	json_str(&j, "scope", bounce_scope_names[v->cause->scope]);
	json_str(&j, "action", bounce_action_names[v->action]);
	json_bool(&j, "suppress", v->is_suppressing);
	origin_json(&j, "rule", &v->rule);
	origin_json(&j, "veto", &v->veto);
	todo = bounce_todo_text(v->todo);
	json_str(&j, "do", todo);
	free(todo);
	origin_json(&j, "do_by", &v->on);
	json_bool(&j, "would_suppress", bounce_may_suppress(v, v->todo));
	json_obj_end(&j);
	printf("%.*s\n", (int)j.out.len, (const char *)j.out.p);
	json_clear(&j);
}

static void
origin_print(const char *what, const struct bounce_origin *o)
{
	if (o->file == NULL)
		return;
	printf("%-9s%s:%u", what, o->file, o->line);
	if (o->pattern != NULL)
		printf("  /%s/", o->pattern);
	printf("\n");
}

static void
verdict_print(const struct bounce_verdict *v)
{
	char *todo;

	printf("class    %s (%s)\nkind     %s\nscope    %s\naction   %s\nsuppress %s\n", v->cause->class,
	    v->cause->name, bounce_kind_names[v->cause->kind], bounce_scope_names[v->cause->scope],
	    bounce_action_names[v->action], v->is_suppressing ? "yes" : "no");
	if (v->rule.file == NULL)
		printf("rule     none\n");
	origin_print("rule", &v->rule);
	origin_print("veto", &v->veto);
	todo = bounce_todo_text(v->todo);
	printf("do       %s%s\n", todo, v->todo->is_suppressing && !bounce_may_suppress(v, v->todo) ?
	    " (but this reply is no reason to suppress)" : "");
	free(todo);
	origin_print("by", &v->on);
}

static void
classify(const struct admin *adm, const struct bounce_rules *rules, char *text, const struct bounce_reply *facts)
{
	struct bounce_reply reply;
	struct bounce_verdict v;
	char *buf;

	bounce_lines_unfold(text);
	buf = xmalloc(strlen(text) + 1);
	bounce_reply_parse(text, strlen(text), buf, &reply);
	reply.provider = facts->provider;
	reply.phase = facts->phase;
	bounce_classify(rules, &reply, &v);
	if (adm->json)
		verdict_json(&v);
	else
		verdict_print(&v);
	free(buf);
}

static int
classify_input(const struct admin *adm, const struct bounce_rules *rules, const struct bounce_reply *facts)
{
	char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, stdin) > 0) {
		line[strcspn(line, "\r\n")] = '\0';
		classify(adm, rules, line, facts);
	}
	free(line);
	return ferror(stdin) ? adm_fail("standard input cannot be read") : ADM_OK;
}

static struct bounce_rules *
rules_load(const struct params *params)
{
	struct conf_errors errors = { NULL, 0 };
	struct bounce_rules *rules = bounce_rules_load(&params->bounce_rules_files, &errors);

	adm_print_errors(&errors);
	conf_errors_clear(&errors);
	return rules;
}

static int
phase_find(const char *name, uint8_t *out)
{
	for (unsigned i = 1; i < PHASES; i++)
		if (strcmp(phase_names[i], name) == 0) {
			*out = (uint8_t)i;
			return ADM_OK;
		}
	return adm_usage("bounce", "there is no phase '%s': those are dns, connect, banner, ehlo, starttls, auth, "
	    "mail, rcpt, data, dot", name);
}

static int
cmd_classify(struct admin *adm, int argc, char **argv)
{
	static const struct option options[] = { { "provider", required_argument, NULL, 'p' },
		{ "phase", required_argument, NULL, 'P' }, { NULL, 0, NULL, 0 } };
	struct bounce_reply facts = { .provider = NULL };
	struct bounce_rules *rules;
	struct params *params;
	int c, rv = ADM_OK;

	optind = 0;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'p')
			facts.provider = optarg;
		else if (c != 'P')
			return adm_usage("bounce", NULL);
		else if (phase_find(optarg, &facts.phase) != ADM_OK)
			return ADM_USAGE;
	}
	if (argc - optind != 1)
		return adm_usage("bounce", "bounce classify wants one reply, in quotes; - reads one a line");
	if ((params = adm_params(adm, NULL)) == NULL)
		return ADM_FAILED;
	if ((rules = rules_load(params)) == NULL)
		rv = ADM_FAILED;
	else if (strcmp(argv[optind], "-") == 0)
		rv = classify_input(adm, rules, &facts);
	else
		classify(adm, rules, argv[optind], &facts);
	bounce_rules_free(&rules);
	params_free(&params);
	return rv;
}

static void
findings_json(const struct conf_errors *found)
{
	struct json j;

	json_init(&j);
	json_arr(&j, NULL);
	for (size_t i = 0; i < found->n; i++) {
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

static bool
is_provider(void *ud, const char *name)
{
	return shaping_has_provider(ud, name);
}

static int
rules_check(const struct admin *adm, const struct conf_strs *files, const struct conf_strs *shaping_files)
{
	struct conf_errors found = { NULL, 0 };
	struct bounce_rules *rules = bounce_rules_load(files, &found);
	struct shaping *shaping = shaping_files->n > 0 ? shaping_load(shaping_files, &found) : NULL;
	struct bounce_counts n = { 0, 0, 0, 0 };
	int rv;

	if (rules != NULL) {
		bounce_rules_lint(rules, shaping != NULL ? is_provider : NULL, shaping, &found);
		n = bounce_rules_count(rules);
	}
	if (adm->json)
		findings_json(&found);
	else
		adm_print_errors(&found);
	rv = found.n > 0 ? ADM_FAILED : ADM_OK;
	if (rv == ADM_OK && !adm->json)
		printf("bounce rules are good: %zu rules and %zu vetoes, %zu of them without a literal; %zu lines of "
		    "what is to be done\n", n.rules, n.vetoes, n.unaided, n.ons);
	conf_errors_clear(&found);
	shaping_free(&shaping);
	bounce_rules_free(&rules);
	return rv;
}

int
cmd_bounce_rules(struct admin *adm, int argc, char **argv)
{
	struct conf_strs files = { argv + 1, (size_t)argc - 1 };
	struct params *params;
	int rv;

	if (strcmp(argv[0], "classify") == 0)
		return cmd_classify(adm, argc, argv);
	for (int i = 1; i < argc; i++)
		if (argv[i][0] == '-')
			return adm_usage("bounce", NULL);
	check_drop(); /* shaping data are code of the administrator's */
	if ((params = adm_params(adm, NULL)) == NULL)
		return ADM_FAILED;
	rv = rules_check(adm, files.n > 0 ? &files : &params->bounce_rules_files, &params->shaping_files);
	params_free(&params);
	return rv;
}
