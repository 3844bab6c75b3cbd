/* What the verbs of the admin command share: complaints in one form, loading the configuration. Runs as the caller. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#include "admin.h"

int
adm_fail(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("posthorn: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return ADM_FAILED;
}

void
adm_print_errors(const struct conf_errors *errors)
{
	for (size_t i = 0; i < errors->n; i++) {
		const struct conf_error *e = &errors->v[i];

		if (e->file == NULL)
			fprintf(stderr, "%s\n", e->text);
		else if (e->line == 0)
			fprintf(stderr, "%s: %s\n", e->file, e->text);
		else
			fprintf(stderr, "%s:%u: %s\n", e->file, e->line, e->text);
	}
}

struct params *
adm_params(const struct admin *adm, struct conf **conf_r)
{
	struct conf_errors errors = { NULL, 0 };
	struct conf *conf = NULL;
	struct params *params = params_load(adm->config_dir, &conf, &errors);

	if (params == NULL) {
		adm_print_errors(&errors);
		adm_fail("the configuration in %s has errors", adm->config_dir);
	} else if (conf_r != NULL) {
		*conf_r = conf;
		conf = NULL;
	}
	if (conf != NULL)
		conf_free(&conf);
	conf_errors_clear(&errors);
	return params;
}

/* The last `run_directory = value` of main.cf, without the rest of the syntax; a value that refers to others is of no
 * use here. */
static char *
adm_scan_run_directory(const char *config_dir)
{
	char *path = xasprintf("%s/main.cf", config_dir), *line = NULL, *found = NULL;
	size_t cap = 0;
	FILE *f = fopen(path, "re");

	free(path);
	if (f == NULL)
		return NULL;
	while (getline(&line, &cap, f) != -1) {
		char *p = line, *end;

		if (strncmp(p, "run_directory", 13) != 0)
			continue;
		for (p += 13; isspace((unsigned char)*p); p++)
			;
		if (*p++ != '=')
			continue;
		while (isspace((unsigned char)*p))
			p++;
		for (end = p + strlen(p); end > p && isspace((unsigned char)end[-1]); end--)
			;
		*end = '\0';
		free(found);
		found = *p == '/' && strchr(p, '$') == NULL ? xstrdup(p) : NULL;
	}
	free(line);
	fclose(f);
	return found;
}

char *
adm_run_directory(const struct admin *adm)
{
	struct conf_errors errors = { NULL, 0 };
	struct conf *conf = NULL;
	struct params *params = params_load(adm->config_dir, &conf, &errors);
	char *dir = NULL;

	if (params != NULL) {
		dir = xstrdup(params->run_directory);
		params_free(&params);
		conf_free(&conf);
	} else if ((dir = adm_scan_run_directory(adm->config_dir)) == NULL) {
		adm_print_errors(&errors);
		adm_fail("the configuration in %s has errors", adm->config_dir);
	}
	conf_errors_clear(&errors);
	return dir;
}
