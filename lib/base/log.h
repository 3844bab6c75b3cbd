/* The program log: one line an event, `key=value` after a sentence, to standard error (the journal, or what started
 * us). Every string is sanitised here (controls and invalid UTF-8 escaped), so remote text may be passed with %s.
 * Levels: debug; info (one line per thing an operator follows); warn (a peer or the environment misbehaved);
 * error (we lost or refused work); fatal (cannot go on: exits 1); panic (our bug: abort).
 * This is not the event log of mail (mail/eventlog.h). The logger is the one global object of a process. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LVL_ERROR, LOG_LVL_WARN, LOG_LVL_INFO, LOG_LVL_DEBUG };

/* ident: "smtpd", "deliverd/pool-a". Kept by reference copy. Opens nothing: lines go to descriptor 2. */
void log_init(const char *ident, enum log_level level);
void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);
/* 0 and *level_r on "error", "warn", "info", "debug"; -1 otherwise. */
int log_level_parse(const char *word, enum log_level *level_r);

void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Only for start-up and broken invariants, never for input. */
void fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
void panic(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
