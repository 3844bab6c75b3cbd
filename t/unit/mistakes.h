/* For unit tests of what reads files that people write: a file of one mistake, and what is said about it. */
#ifndef UNIT_MISTAKES_H
#define UNIT_MISTAKES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/conf.h"

struct mistake {
	const char *text;
	unsigned line;
	const char *says; /* part of the sentence */
};

static inline void
text_put(const char *file, const char *text)
{
	FILE *fp = fopen(file, "w");

	assert_non_null(fp);
	assert_true(fputs(text, fp) >= 0);
	assert_int_equal(fclose(fp), 0);
}

/* One error and no other, about that line of that file. */
static inline void
mistake_check(const struct mistake *m, const struct conf_errors *errs, const char *file)
{
	if (errs->n != 1)
		fail_msg("%zu errors for <%s>: %s", errs->n, m->text, errs->n > 1 ? errs->v[1].text : "");
	if (strstr(errs->v[0].text, m->says) == NULL)
		fail_msg("<%s> gave <%s>, not <%s>", m->text, errs->v[0].text, m->says);
	if (errs->v[0].line != m->line)
		fail_msg("<%s>: line %u", errs->v[0].text, errs->v[0].line);
	assert_string_equal(errs->v[0].file, file);
}

#endif
