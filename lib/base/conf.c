/* Configuration files against a table of parameters. Any process at start-up and reload, and the admin command. The
 * file is read as a whole before anything is judged, and every error is collected: an administrator corrects all of
 * them at once, and a file with one error never takes effect in part. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/conf_private.h"
#include "base/log.h"
#include "base/suggest.h"
#include "base/xalloc.h"

void
conf_error_add(struct conf_errors *errs, const char *file, unsigned line, const char *fmt, ...)
{
	struct conf_error *e;
	va_list ap;

	errs->v = xreallocarray(errs->v, errs->n + 1, sizeof(*errs->v));
	e = &errs->v[errs->n++];
	e->file = file != NULL ? xstrdup(file) : NULL;
	e->line = line;
	va_start(ap, fmt);
	if (vasprintf(&e->text, fmt, ap) < 0)
		e->text = xstrdup("out of memory");
	va_end(ap);
}

void
conf_errors_clear(struct conf_errors *errs)
{
	size_t i;

	for (i = 0; i < errs->n; i++) {
		free(errs->v[i].file);
		free(errs->v[i].text);
	}
	free(errs->v);
	memset(errs, 0, sizeof(*errs));
}

char *
conf_error_text(const struct conf_error *e)
{
	if (e->file == NULL)
		return xstrdup(e->text);
	if (e->line == 0)
		return xasprintf("%s: %s", e->file, e->text);
	return xasprintf("%s:%u: %s", e->file, e->line, e->text);
}

void
conf_errors_log(const struct conf_errors *errs)
{
	char *text;
	size_t i;

	for (i = 0; i < errs->n; i++) {
		text = conf_error_text(&errs->v[i]);
		log_error("%s", text);
		free(text);
	}
}

struct conf_entry *
conf_entry_find(const struct conf *conf, const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < conf->n; i++) {
		const char *have = conf->entries[i].param->name;

		if (strncmp(have, name, len) == 0 && have[len] == '\0')
			return &conf->entries[i];
	}
	return NULL;
}

struct line_context {
	struct conf *conf;
	struct conf_errors *errs;
};

static void
line_take(void *arg, char *name, char *value, unsigned line)
{
	struct line_context *x = arg;
	struct conf_entry *e = conf_entry_find(x->conf, name, strlen(name));
	struct suggest s;
	size_t i;

	if (e == NULL) {
		suggest_init(&s, name);
		for (i = 0; i < x->conf->n; i++)
			suggest_consider(&s, x->conf->entries[i].param->name);
		conf_error_add(x->errs, x->conf->file, line, "unknown parameter '%.60s'" SUGGEST_FMT, name,
		    SUGGEST_ARGS(s.best));
		return;
	}
	if (e->set != NULL) {
		conf_error_add(x->errs, x->conf->file, line, "%s is set twice: here and in line %u", e->param->name,
		    e->line);
		return;
	}
	e->set = xstrdup(value);
	e->raw = e->set;
	e->line = line;
}

/* $config_directory does not depend on the directory a process happens to be in. */
static char *
directory_of(const char *file)
{
	const char *slash = strrchr(file, '/');
	char *given, *real;

	given = slash == NULL ? xstrdup(".") : slash == file ? xstrdup("/") : xmemdup0(file, (size_t)(slash - file));
	if ((real = realpath(given, NULL)) == NULL)
		return given;
	free(given);
	return real;
}

static char *
system_hostname(void)
{
	char name[256];

	if (gethostname(name, sizeof(name)) != 0 || name[0] == '\0')
		return xstrdup("localhost.localdomain");
	name[sizeof(name) - 1] = '\0';
	return strchr(name, '.') != NULL ? xstrdup(name) : xasprintf("%s.localdomain", name);
}

static struct conf *
conf_new(const char *file, const struct conf_param *table, size_t n)
{
	struct conf *conf = xcalloc(1, sizeof(*conf));
	size_t i;

	conf->file = xstrdup(file);
	conf->directory = directory_of(file);
	conf->hostname = system_hostname();
	conf->entries = xcalloc(n, sizeof(*conf->entries));
	conf->n = n;
	for (i = 0; i < n; i++) {
		conf->entries[i].param = &table[i];
		conf->entries[i].raw = table[i].def;
	}
	return conf;
}

static void
entry_take(struct conf *conf, struct conf_entry *e, void *target, struct conf_errors *errs)
{
	char *why;

	conf_expand(conf, e, errs);
	if (e->state != CONF_ENTRY_DONE)
		return;
	if ((why = conf_value_set(e->param, e->text, target)) == NULL)
		return;
	conf_error_add(errs, conf->file, e->line, "%s: %s", e->param->name, why);
	free(why);
}

/* In the order of the file, as it is read by whoever corrects it. Stable; there are few. */
static void
errors_sort(struct conf_error *v, size_t n)
{
	struct conf_error e;
	size_t i, j;

	for (i = 1; i < n; i++) {
		e = v[i];
		for (j = i; j > 0 && v[j - 1].line > e.line; j--)
			v[j] = v[j - 1];
		v[j] = e;
	}
}

struct conf *
conf_load(const char *file, const struct conf_param *table, size_t n, void *target, struct conf_errors *errs)
{
	struct conf *conf = conf_new(file, table, n);
	struct line_context x = { .conf = conf, .errs = errs };
	size_t before = errs->n, i;

	if (conf_read(file, line_take, &x, errs) == 0)
		for (i = 0; i < n; i++)
			entry_take(conf, &conf->entries[i], target, errs);
	if (errs->n > before) {
		errors_sort(errs->v + before, errs->n - before);
		conf_target_clear(table, n, target);
		conf_free(&conf);
	}
	return conf;
}

void
conf_free(struct conf **confp)
{
	struct conf *conf = *confp;
	size_t i;

	if (conf == NULL)
		return;
	for (i = 0; i < conf->n; i++) {
		free(conf->entries[i].set);
		free(conf->entries[i].text);
	}
	free(conf->entries);
	free(conf->file);
	free(conf->directory);
	free(conf->hostname);
	free(conf);
	*confp = NULL;
}

void
conf_target_clear(const struct conf_param *table, size_t n, void *target)
{
	size_t i;

	for (i = 0; i < n; i++)
		conf_value_clear(&table[i], target);
}

const char *
conf_text(const struct conf *conf, const char *name, bool *is_set)
{
	const struct conf_entry *e = conf_entry_find(conf, name, strlen(name));

	if (e == NULL)
		return NULL;
	if (is_set != NULL)
		*is_set = e->set != NULL;
	return e->text;
}

unsigned
conf_line(const struct conf *conf, const char *name)
{
	const struct conf_entry *e = conf_entry_find(conf, name, strlen(name));

	return e != NULL ? e->line : 0;
}

const char *
conf_file(const struct conf *conf)
{
	return conf->file;
}
