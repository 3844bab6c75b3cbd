/* When a message may first be tried and when it expires: X-Schedule, a JSON object as KumoMTA has it, and the same as
 * a table of policy. Pure parsers; the header is a stranger's word. */
#ifndef MAIL_SCHEDULE_H
#define MAIL_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

#define SCHEDULE_TEXT_MAX 1024 /* octets of the JSON text */

struct schedule {
	int64_t first_attempt, expires; /* wall ms; 0: not said */
};

/* 0, or -1 and a sentence in *err_r (static). now: wall ms, for what is said in seconds from now. */
int schedule_parse(const char *json, size_t len, int64_t now, struct schedule *, const char **err_r)
    __attribute__((warn_unused_result));
/* The value of one key, as text (RFC 3339) or, text being NULL, as seconds from now. key: "first_attempt", "expires".
 * 0 or -1. */
int schedule_set(struct schedule *, const char *key, const char *text, double seconds, int64_t now,
    const char **err_r) __attribute__((warn_unused_result));
/* After all keys: what only both together can tell. 0 or -1. */
int schedule_check(const struct schedule *, int64_t now, const char **err_r) __attribute__((warn_unused_result));
/* RFC 3339 date-time ("2026-11-26T10:00:00+01:00", fractions allowed) to wall ms. 0 or -1. */
int rfc3339_parse(const char *, int64_t *ms_r) __attribute__((warn_unused_result));

#endif
