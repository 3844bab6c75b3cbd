/* One message in a spool segment:
 *
 *   offset  what
 *   0       fixed header, RECORD_HDR bytes, with a CRC of its own
 *   128     body        streamed as it comes in
 *   ...     headers     the final header block, decided after the body was read
 *   ...     envelope    mail/envelope.h
 *
 * and padding to RECORD_ALIGN. The content on the wire is headers followed by body, CRLF line ends, not
 * dot-stuffed. The header names its segment and offset: what a recycled file holds from its former life is not
 * taken for a record. The fixed header is written last but one fdatasync covers all, so a torn record fails one of
 * the two checks.
 *
 * Whatever a later version changes, magic, version, segment and offset stay where they are, and the last four of the
 * RECORD_HDR bytes are the CRC of the others: so an older release knows that it sees a newer one's record. */
#ifndef MAIL_RECORD_H
#define MAIL_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/wire.h"
#include "mail/envelope.h"

#define RECORD_HDR 128
#define RECORD_ALIGN 64
#define RECORD_VERSION 1

struct record {
	uint64_t segment;
	uint64_t offset;
	struct msgid id;
	uint64_t body_len;
	uint32_t headers_len; /* includes the blank line */
	uint32_t envelope_len;
	uint32_t crc; /* CRC-32C of body, headers, envelope in that order */
	uint32_t flags; /* MSG_* */
	uint32_t n_rcpts;
};

/* All lengths in bytes from the start of the record. */
uint64_t record_len(const struct record *); /* padded */
uint64_t record_body_off(const struct record *);
uint64_t record_headers_off(const struct record *);
uint64_t record_envelope_off(const struct record *);

/* Whether lengths, counts and alignment are such as a writer may produce. Writers check this before they promise
 * anything. */
bool record_plausible(const struct record *);

/* The fixed header with its CRC. */
void record_encode(const struct record *, uint8_t out[RECORD_HDR]);
/* 0; -1 if this is no record header of that segment and offset (*err_r static). */
int record_decode(const uint8_t in[RECORD_HDR], uint64_t segment, uint64_t offset, struct record *out,
    const char **err_r) __attribute__((warn_unused_result));

/* Reads and checks the record at offset of fd: header, and CRC of everything in chunks. 1: good; 0: no record here
 * (end of data, or torn); -1: the header is good but the content is not (*out filled: skip record_len()); -2: read
 * error, errno. */
int record_verify(int fd, uint64_t segment, uint64_t offset, struct record *out, const char **err_r)
    __attribute__((warn_unused_result));
/* Whether a newer release wrote a record there: such a segment is not ours to read, still less to remove. */
bool record_is_newer(int fd, uint64_t segment, uint64_t offset);
/* Looks from `from` (aligned up) to `end` for the next good record, for the damage in the middle. 1 and *off_r, or
 * 0, or -2. */
int record_resync(int fd, uint64_t segment, uint64_t from, uint64_t end, uint64_t *off_r)
    __attribute__((warn_unused_result));
/* Reads and decodes the envelope; checks only the envelope's own syntax. NULL and *err_r. */
struct envelope *record_read_envelope(int fd, const struct record *, const char **err_r)
    __attribute__((warn_unused_result));
/* Reads headers and body (wire order) into one new buffer of body_len + headers_len bytes after checking the CRC; for
 * records up to 1 MiB. NULL and *err_r on damage. The caller frees. */
char *record_read_content(int fd, const struct record *, size_t *len_r, const char **err_r)
    __attribute__((warn_unused_result));
/* The same checks without keeping the content, in chunks: for records of any size, before the first byte is sent.
 * 0; -1 and *err_r on damage; -2 on a read error. */
int record_check_content(int fd, const struct record *, const char **err_r) __attribute__((warn_unused_result));

#endif
