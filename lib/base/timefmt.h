/* Wall-clock time as text, without libc's conversion functions: those read the time-zone file at first use, which a
 * jailed role cannot. */
#ifndef BASE_TIMEFMT_H
#define BASE_TIMEFMT_H

#include <stdint.h>

/* "2026-11-23T21:33:00.123Z" (RFC 3339) and a NUL; out of range (before year 0, after 9999): the nearest end. */
#define TIME_RFC3339_LEN 24
void time_rfc3339(int64_t wall_ms, char out[TIME_RFC3339_LEN + 1]);

struct civil {
	int year;
	unsigned month;  /* 1-12 */
	unsigned day;    /* 1-31 */
	unsigned hour;
	unsigned minute;
	unsigned second;
	unsigned ms;
	unsigned weekday;/* 0: Sunday */
};

/* UTC. */
void time_civil(int64_t wall_ms, struct civil *);

#endif
