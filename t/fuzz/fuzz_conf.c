/* main.cf: lines, $names, values of every type of the real table, and what several parameters together must obey. What
 * is wrong gives sentences fit for a terminal, and nothing is loaded; what is right loads again, with the same values,
 * from what `posthorn conf` would print. Suggestions for misspelt names are stood in for: they cost more than all the
 * rest (t/fuzz/fuzz_text.c has them). */
#include "base/log.h"
#include "base/suggest.h"
#include "base/xalloc.h"
#include "mail/params.h"
#include "t/fuzz/dir.h"

void
suggest_init(struct suggest *s, const char *word)
{
	*s = (struct suggest){ .word = word };
}

void
suggest_consider(struct suggest *s, const char *candidate)
{
	s->best = candidate;
}

const char *
suggest_nearest(const char *word, const char *const *candidates)
{
	(void)word;
	return candidates[0];
}

static void
check_errors(struct conf_errors *errs)
{
	char *text;
	size_t i;

	for (i = 0; i < errs->n; i++) {
		text = conf_error_text(&errs->v[i]);
		FUZZ_ASSERT(strpbrk(text, "\r\n\033") == NULL && *text != '\0');
		free(text);
	}
	conf_errors_clear(errs);
}

/* As a file in which each value stands expanded, its dollar signs doubled. */
static char *
print_all(const struct conf *conf)
{
	char *all = xstrdup(""), *more;
	const char *p;
	size_t i, n;

	for (i = 0; i < params_count; i++) {
		char *value = xmalloc(2 * strlen(conf_text(conf, params_table[i].name, NULL)) + 1);

		for (n = 0, p = conf_text(conf, params_table[i].name, NULL); *p != '\0'; p++) {
			if (*p == '$')
				value[n++] = '$';
			value[n++] = *p;
		}
		value[n] = '\0';
		more = xasprintf("%s%s = %s\n", all, params_table[i].name, value);
		free(value);
		free(all);
		all = more;
	}
	return all;
}

static void
check_same(const struct conf *conf)
{
	struct conf_errors errs = { NULL, 0 };
	struct conf *again = NULL;
	char *all = print_all(conf);
	struct params *p;
	size_t i;

	fuzz_dir_write("main.cf", all, strlen(all));
	free(all);
	FUZZ_ASSERT((p = params_load(fuzz_dir(), &again, &errs)) != NULL);
	for (i = 0; i < params_count; i++)
		FUZZ_ASSERT(strcmp(conf_text(conf, params_table[i].name, NULL), conf_text(again, params_table[i].name,
		    NULL)) == 0);
	params_free(&p);
	conf_free(&again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf_errors errs = { NULL, 0 };
	struct conf *conf = NULL;
	struct params *p;

	log_init("fuzz", LOG_LVL_ERROR);
	fuzz_dir_write("main.cf", data, size);
	p = params_load(fuzz_dir(), &conf, &errs);
	FUZZ_ASSERT((p == NULL) == (errs.n > 0) && (p == NULL) == (conf == NULL));
	check_errors(&errs);
	if (p == NULL)
		return 0;
	params_warn(p, conf, &errs);
	check_errors(&errs);
	check_same(conf);
	params_free(&p);
	conf_free(&conf);
	return 0;
}
