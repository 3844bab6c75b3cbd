/* The files of the event log, $log_directory/events/YYYYMMDDTHH.jsonl: the newest lines of them, and following them
 * over the change of the hour. Lines are handed out whole. */
#ifndef POSTHORN_EVENTS_FILES_H
#define POSTHORN_EVENTS_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A line without its newline. True: it counts (it matched); false: it does not. */
typedef bool events_line_fn(const char *line, size_t len, void *arg);

/* Hands out, from the newest line backwards, lines until `max` counted or older() says of a line that nothing older
 * is wanted. The lines that counted are collected by the caller. 0, or -1 and errno (directory or file not readable).
 * *end_r, for following: the files and sizes up to which was read. */
struct events_tail;
int events_last(const char *dir, size_t max, events_line_fn *fn, bool (*older)(const char *line, void *arg), void *arg,
    struct events_tail **end_r) __attribute__((warn_unused_result));
/* Hands out what was appended since; returns at once. 0, or -1 and errno. */
int events_more(struct events_tail *, events_line_fn *fn, void *arg) __attribute__((warn_unused_result));
void events_tail_free(struct events_tail **);

#endif
