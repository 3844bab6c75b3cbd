/* The 16-byte message id: 48 bits of milliseconds, 16 bits of sequence, 64 random bits; sorts by time, which LMDB
 * inserts need (sequential keys are five times faster than random ones). Shown as 32 lower-case hex digits. */
#ifndef MAIL_MSGID_H
#define MAIL_MSGID_H

#include <stdbool.h>
#include <stdint.h>

#define MSGID_LEN 16
#define MSGID_HEX 33 /* with NUL */

struct msgid {
	uint8_t b[MSGID_LEN];
};

/* Ids of one process are strictly increasing, also when the clock steps back. */
void msgid_new(struct msgid *, int64_t wall_ms);
void msgid_hex(const struct msgid *, char out[MSGID_HEX]);
/* 0, or -1 unless exactly 32 hex digits. */
int msgid_parse(const char *, struct msgid *out);
int64_t msgid_time(const struct msgid *); /* ms since the epoch */
int msgid_cmp(const struct msgid *, const struct msgid *);
/* A random UUID (version 4) as text, for session_id and nodeid. */
void uuid_new(char out[37]);

#endif
