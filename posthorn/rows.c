/* Tables of JSON objects (see the header). A field that is missing or null is shown as "-". */
#include <inttypes.h>
#include <stdlib.h>

#include "base/xalloc.h"

#include "rows.h"

#define PORTION 500 /* rows that share their column widths */

struct rows {
	const struct row_col *cols;
	struct table *table;
	int64_t now;
	size_t n;
};

static struct table *
rows_table(const struct row_col *cols)
{
	const char *headings[32];
	size_t n = 0;

	for (; n < 31 && cols[n].heading != NULL; n++)
		headings[n] = cols[n].heading;
	headings[n] = NULL;
	return table_new(headings);
}

struct rows *
rows_new(const struct row_col *cols, int64_t now)
{
	struct rows *r = xcalloc(1, sizeof(*r));

	r->cols = cols;
	r->now = now;
	r->table = rows_table(cols);
	return r;
}

static void
rows_number(struct rows *r, enum row_kind kind, int64_t v)
{
	char text[HUMAN_TEXT] = "";

	switch (kind) {
	case ROW_COUNT:
		human_count(v, text);
		break;
	case ROW_SIZE:
		human_size(v, text);
		break;
	case ROW_AGO:
		if (v > 0)
			human_age(r->now - v, text);
		break;
	case ROW_AHEAD:
		if (v > r->now)
			human_age(v - r->now, text);
		else if (v > 0)
			snprintf(text, sizeof(text), "now");
		break;
	default:
		snprintf(text, sizeof(text), "%" PRId64, v);
	}
	table_cell(r->table, text);
}

void
rows_add(struct rows *r, const json_t *object)
{
	for (const struct row_col *c = r->cols; c->heading != NULL; c++) {
		const json_t *v = json_object_get(object, c->key);

		if (v == NULL && c->other != NULL)
			v = json_object_get(object, c->other);
		if (c->kind == ROW_ADDRESS && json_is_string(v) && json_string_length(v) == 0)
			table_cell(r->table, "<>");
		else if (json_is_integer(v))
			rows_number(r, c->kind, json_integer_value(v));
		else if (json_is_boolean(v))
			table_cell(r->table, json_is_true(v) ? "yes" : "no");
		else
			table_cell(r->table, json_string_value(v));
	}
	r->n++;
	if (table_rows(r->table) == PORTION) {
		table_print(r->table, stdout);
		table_free(&r->table);
		r->table = rows_table(r->cols);
	}
}

size_t
rows_end(struct rows **rp)
{
	struct rows *r = *rp;
	size_t n = r->n;

	if (table_rows(r->table) > 0)
		table_print(r->table, stdout);
	table_free(&r->table);
	free(r);
	*rp = NULL;
	return n;
}
