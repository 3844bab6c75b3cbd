/* Which lines of the event log are wanted, and how one looks to a person. Works on parsed JSON; reads no files. */
#ifndef POSTHORN_EVENTS_FILTER_H
#define POSTHORN_EVENTS_FILTER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct events_filter {
	const char *types; /* "Bounce,Expiration"; NULL: all; case does not matter, here and below */
	const char *domain, *tenant, *campaign, *recipient, *sender, *pool;
	const char *id;    /* message id or the beginning of one */
	int64_t since;     /* wall ms; 0: any */
};

bool events_filter_is_empty(const struct events_filter *);
bool events_match(const struct events_filter *, const json_t *event);
/* Wall ms of an event: event_time to the millisecond, timestamp if that is missing. */
int64_t events_time(const json_t *event);
/* "2h" ago, "2026-11-23", "2026-11-23T17:00", "2026-11-23 17:00:05", with Z: UTC, else local time. 0 or -1. */
int events_parse_since(const char *, int64_t now, int64_t *since_r) __attribute__((warn_unused_result));
/* Whether each name in a comma-separated list is an event type; the first that is none in *bad_r (malloced). */
bool events_types_valid(const char *types, char **bad_r);
/* One line; use_color only for terminals. */
void events_print(FILE *, const json_t *event, bool use_color);

#endif
