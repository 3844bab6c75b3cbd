/* Lines in and out for load and sink, cheaply: no allocation for each line that is read, one write(2) a turn of the
 * loop for all that are written. */
#ifndef BENCH_LINES_H
#define BENCH_LINES_H

#include <event2/buffer.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/loop.h"

/* Takes a line that ends with CRLF (a bare LF ends none) out of the buffer; what does not fit is cut off. */
bool line_take(struct evbuffer *, char *out, size_t size);

/* A file of whole lines. What is added during a turn is in the file before the turn's socket output leaves
 * (LOOP_LOG comes before LOOP_OUTPUT): whoever reads a reply finds the line, even if we are killed. */
struct line_file;
struct line_file *line_file_open(struct loop *, const char *path);
void line_file_printf(struct line_file *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void line_file_flush(struct line_file *);

#endif
