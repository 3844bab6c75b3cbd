/* Aligned tables on standard output. Cells are cleaned when they are added, so nothing printed here can act on a
 * terminal. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#include "human.h"

struct table {
	size_t cols;
	bool *is_right;
	size_t *width;
	char **cells; /* the headings are the first row */
	size_t n, cap;
};

static void
table_add(struct table *t, char *cell)
{
	size_t col = t->n % t->cols, width = human_width(cell);

	if (t->n == t->cap) {
		t->cap = t->cap == 0 ? 64 : t->cap * 2;
		t->cells = xreallocarray(t->cells, t->cap, sizeof(*t->cells));
	}
	t->cells[t->n++] = cell;
	if (width > t->width[col])
		t->width[col] = width;
}

struct table *
table_new(const char *const *headings)
{
	struct table *t = xcalloc(1, sizeof(*t));

	while (headings[t->cols] != NULL)
		t->cols++;
	t->is_right = xcalloc(t->cols, sizeof(*t->is_right));
	t->width = xcalloc(t->cols, sizeof(*t->width));
	for (size_t i = 0; i < t->cols; i++) {
		t->is_right[i] = headings[i][0] == '>';
		table_add(t, xstrdup(headings[i] + t->is_right[i]));
	}
	return t;
}

void
table_cell(struct table *t, const char *text)
{
	table_add(t, human_clean(text == NULL || *text == '\0' ? "-" : text));
}

void
table_cellf(struct table *t, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) == -1)
		text = xstrdup("?");
	va_end(ap);
	table_cell(t, text);
	free(text);
}

size_t
table_rows(const struct table *t)
{
	return t->n / t->cols - 1;
}

void
table_print(const struct table *t, FILE *f)
{
	for (size_t i = 0; i < t->n; i++) {
		size_t col = i % t->cols, pad = t->width[col] - human_width(t->cells[i]);
		bool is_last = col + 1 == t->cols;

		if (t->is_right[col])
			fprintf(f, "%*s%s", (int)pad, "", t->cells[i]);
		else
			fprintf(f, "%s%*s", t->cells[i], is_last ? 0 : (int)pad, "");
		fputs(is_last ? "\n" : "  ", f);
	}
}

void
table_free(struct table **tp)
{
	struct table *t = *tp;

	if (t == NULL)
		return;
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t->is_right);
	free(t->width);
	free(t);
	*tp = NULL;
}
