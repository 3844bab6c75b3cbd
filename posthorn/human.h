/* How things look on a terminal: sizes, ages, times, aligned tables. Every string that came from outside passes
 * human_clean(), so that no control sequence of a stranger's reply reaches the operator's terminal. */
#ifndef POSTHORN_HUMAN_H
#define POSTHORN_HUMAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define HUMAN_TEXT 32

/* "812", "4.1k", "17M", "2.3G" (powers of 1024). */
void human_size(int64_t bytes, char out[HUMAN_TEXT]);
/* "850ms", "42s", "3m20s", "5h07m", "12d4h"; negative: "-42s". */
void human_age(int64_t ms, char out[HUMAN_TEXT]);
/* Local time "2026-11-23 17:22:03". */
void human_time(int64_t wall_ms, char out[HUMAN_TEXT]);
/* "12,345" */
void human_count(int64_t, char out[HUMAN_TEXT]);
/* A copy with control characters (C0, DEL, C1), bidirectional overrides and invalid UTF-8 shown as '?', line ends as
 * a space. */
char *human_clean(const char *);
/* Parses "2h", "90s", "5d", "30m", "200ms", a bare number of seconds. 0 or -1. */
int human_parse_age(const char *, int64_t *ms_r) __attribute__((warn_unused_result));
/* Columns that a string takes on a terminal, counting code points. */
size_t human_width(const char *);

struct table;
/* Headings; a leading '>' means right-aligned. NULL-terminated. */
struct table *table_new(const char *const *headings);
/* One cell: appended to the current row, cleaned; a full row begins the next. */
void table_cell(struct table *, const char *);
void table_cellf(struct table *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
size_t table_rows(const struct table *);
/* Prints headings and rows, columns as wide as needed, two spaces apart, nothing behind the last. */
void table_print(const struct table *, FILE *);
void table_free(struct table **);

#endif
