/* Splits a main.cf into logical lines. Any process at start-up and reload, and the admin command; the file is the
 * administrator's, but a wrong one must give sentences and never a crash. Rules of Postfix: a line that starts with
 * white space continues the line before; empty lines and lines whose first character other than white space is # are
 * skipped, also between a line and its continuation. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf_private.h"
#include "base/slurp.h"
#include "base/xalloc.h"

struct reader {
	const char *file;
	conf_line_fn *fn;
	void *arg;
	struct conf_errors *errs;
	char *logical; /* the line being gathered; room for the whole file */
	size_t len;
	unsigned line; /* where it began; 0: none */
};

static char *
trim(char *s)
{
	char *end = s + strlen(s);

	while (end > s && isspace((unsigned char)end[-1]))
		*--end = '\0';
	while (isspace((unsigned char)*s))
		s++;
	return s;
}

static void
logical_end(struct reader *r)
{
	char *eq, *name, *p;

	if (r->line == 0)
		return;
	r->logical[r->len] = '\0';
	if ((eq = strchr(r->logical, '=')) == NULL) {
		conf_error_add(r->errs, r->file, r->line, "'%.60s': expected 'name = value'", trim(r->logical));
	} else {
		*eq = '\0';
		name = trim(r->logical);
		for (p = name; isalnum((unsigned char)*p) || *p == '_'; p++)
			;
		if (*name == '\0' || *p != '\0')
			conf_error_add(r->errs, r->file, r->line, "'%.60s' is not a parameter name", name);
		else
			r->fn(r->arg, name, trim(eq + 1), r->line);
	}
	r->line = 0;
	r->len = 0;
}

/* Controls have no meaning in a value, and would reach logs and peers. */
static bool
has_control(const char *s, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if ((unsigned char)s[i] < ' ' ? s[i] != '\t' : s[i] == 0x7f)
			return true;
	return false;
}

static void
physical_line(struct reader *r, const char *s, size_t len, unsigned line)
{
	size_t i = 0;

	if (len > 0 && s[len - 1] == '\r')
		len--;
	while (i < len && isspace((unsigned char)s[i]))
		i++;
	if (i == len || s[i] == '#')
		return;
	if (has_control(s, len)) {
		conf_error_add(r->errs, r->file, line, "the line has a control character");
		return;
	}
	if (i == 0) {
		logical_end(r);
		r->line = line;
	} else if (r->line == 0) {
		conf_error_add(r->errs, r->file, line,
		    "the line starts with white space, but there is no line before that it could continue");
		return;
	} else {
		r->logical[r->len++] = ' ';
	}
	memcpy(r->logical + r->len, s + i, len - i);
	r->len += len - i;
}

int
conf_read(const char *file, conf_line_fn *fn, void *arg, struct conf_errors *errs)
{
	struct reader r = { .file = file, .fn = fn, .arg = arg, .errs = errs };
	size_t len, before = errs->n;
	const char *p, *end, *nl;
	unsigned line = 0;
	char *buf;

	if ((buf = slurp(file, CONF_FILE_MAX, &len)) == NULL) {
		conf_error_add(errs, file, 0, "cannot be read: %s", strerror(errno));
		return -1;
	}
	r.logical = xmalloc(len + 1);
	end = buf + len;
	for (p = buf; p < end && errs->n - before < CONF_ERRORS_MAX; p = nl + 1) {
		if ((nl = memchr(p, '\n', (size_t)(end - p))) == NULL)
			nl = end;
		physical_line(&r, p, (size_t)(nl - p), ++line);
	}
	logical_end(&r);
	free(r.logical);
	free(buf);
	return 0;
}
