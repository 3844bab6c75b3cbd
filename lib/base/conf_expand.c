/* $name in configuration values. Any process at start-up and reload. Values are expanded on demand, so that the
 * order of lines does not matter; an entry that is met while it is being expanded is a circle. Length and depth are
 * bounded: ten lines of "$a$a" must not become a gigabyte. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf_private.h"
#include "base/suggest.h"
#include "base/xalloc.h"

struct expansion {
	struct conf *conf;
	struct conf_errors *errs;
	unsigned depth;
};

struct text {
	char *s;
	size_t len, size;
};

static void entry_expand(struct expansion *, struct conf_entry *);

static void
text_add(struct text *t, const char *s, size_t len)
{
	if (t->len + len + 1 > t->size) {
		t->size = (t->len + len + 1) * 2;
		t->s = xreallocarray(t->s, t->size, 1);
	}
	if (len > 0)
		memcpy(t->s + t->len, s, len);
	t->len += len;
	t->s[t->len] = '\0';
}

/* p is behind the $. Finds the name and returns what follows the whole reference; NULL if malformed. */
static const char *
reference(const char *p, const char **name_r, size_t *len_r)
{
	char close = *p == '{' ? '}' : *p == '(' ? ')' : '\0';

	if (close != '\0')
		p++;
	*name_r = p;
	while (isalnum((unsigned char)*p) || *p == '_')
		p++;
	*len_r = (size_t)(p - *name_r);
	if (*len_r == 0 || (close != '\0' && *p != close))
		return NULL;
	return close != '\0' ? p + 1 : p;
}

static bool
is_name(const char *name, size_t len, const char *word)
{
	return strlen(word) == len && memcmp(name, word, len) == 0;
}

static void
unknown_reference(struct expansion *x, const struct conf_entry *e, const char *name, size_t len)
{
	char *word = xmemdup0(name, len);
	struct suggest s;
	size_t i;

	suggest_init(&s, word);
	suggest_consider(&s, "config_directory");
	suggest_consider(&s, "system_hostname");
	for (i = 0; i < x->conf->n; i++)
		suggest_consider(&s, x->conf->entries[i].param->name);
	conf_error_add(x->errs, x->conf->file, e->line, "%s refers to the unknown parameter '%.60s'" SUGGEST_FMT,
	    e->param->name, word, SUGGEST_ARGS(s.best));
	free(word);
}

/* The value behind a name, or NULL after an error was added. */
static const char *
lookup(struct expansion *x, const struct conf_entry *e, const char *name, size_t len)
{
	struct conf_entry *other;

	if (is_name(name, len, "config_directory"))
		return x->conf->directory;
	if (is_name(name, len, "system_hostname"))
		return x->conf->hostname;
	if ((other = conf_entry_find(x->conf, name, len)) == NULL) {
		unknown_reference(x, e, name, len);
		return NULL;
	}
	if (other->state == CONF_ENTRY_EXPANDING || x->depth >= CONF_DEPTH_MAX) {
		conf_error_add(x->errs, x->conf->file, e->line, "%s refers to $%s, %s", e->param->name,
		    other->param->name,
		    other->state == CONF_ENTRY_EXPANDING ? "which refers back to it" : "and that nests too deeply");
		return NULL;
	}
	entry_expand(x, other);
	return other->state == CONF_ENTRY_DONE ? other->text : NULL;
}

/* 0, or -1 after an error was added. */
static int
text_expand(struct expansion *x, const struct conf_entry *e, struct text *out)
{
	const char *p = e->raw, *dollar, *name, *value;
	size_t len;

	text_add(out, "", 0);
	while ((dollar = strchr(p, '$')) != NULL) {
		text_add(out, p, (size_t)(dollar - p));
		if (dollar[1] == '$') {
			text_add(out, "$", 1);
			p = dollar + 2;
			continue;
		}
		if ((p = reference(dollar + 1, &name, &len)) == NULL) {
			conf_error_add(x->errs, x->conf->file, e->line,
			    "%s: a parameter name must follow '$' ($name or ${name}; write $$ for a dollar sign)",
			    e->param->name);
			return -1;
		}
		if ((value = lookup(x, e, name, len)) == NULL)
			return -1;
		text_add(out, value, strlen(value));
		if (out->len > CONF_VALUE_MAX)
			break;
	}
	if (dollar == NULL)
		text_add(out, p, strlen(p));
	if (out->len > CONF_VALUE_MAX) {
		conf_error_add(x->errs, x->conf->file, e->line, "%s: the value is longer than %u bytes", e->param->name,
		    CONF_VALUE_MAX);
		return -1;
	}
	return 0;
}

static void
entry_expand(struct expansion *x, struct conf_entry *e)
{
	struct text out = { NULL, 0, 0 };

	if (e->state != CONF_ENTRY_RAW)
		return;
	e->state = CONF_ENTRY_EXPANDING;
	x->depth++;
	if (text_expand(x, e, &out) == 0) {
		e->text = out.s;
		e->state = CONF_ENTRY_DONE;
	} else {
		free(out.s);
		e->state = CONF_ENTRY_BAD;
	}
	x->depth--;
}

void
conf_expand(struct conf *conf, struct conf_entry *e, struct conf_errors *errs)
{
	struct expansion x = { .conf = conf, .errs = errs };

	entry_expand(&x, e);
}
