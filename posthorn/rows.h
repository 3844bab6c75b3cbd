/* JSON objects as an aligned table: which fields, under which heading, shown how. */
#ifndef POSTHORN_ROWS_H
#define POSTHORN_ROWS_H

#include <jansson.h>
#include <stdint.h>

#include "human.h"

enum row_kind { ROW_TEXT, ROW_ADDRESS, ROW_COUNT, ROW_NUMBER, ROW_SIZE, ROW_AGO, ROW_AHEAD };

struct row_col {
	const char *heading; /* as table_new() takes it */
	const char *key;
	const char *other;   /* key to take instead if that one is missing; NULL */
	enum row_kind kind;  /* AGO, AHEAD: the field is wall milliseconds; ADDRESS: an empty one is the null sender */
};

struct rows;
/* cols ends with a NULL heading and lives as long as the rows do. Printed in portions, so that a long list shows its
 * beginning at once. */
struct rows *rows_new(const struct row_col *cols, int64_t now);
void rows_add(struct rows *, const json_t *object);
/* Prints what is left; how many rows there were in all. */
size_t rows_end(struct rows **);

#endif
