/* The records of a spool segment (see record.h): the layout, and reading it back with suspicion. smtpd and queued
 * (compaction) write records; queued scans them, deliverd reads the content. Hostile: the disk (torn writes, flipped
 * bits, the former life of a recycled file) and, through message bodies, everybody who may send mail.
 *
 * The last point decides the magic number: scanning after damage, or behind the last record of a recycled file, looks
 * at bytes that a sender chose, and neither segment number, offset nor CRC are secrets. So the magic holds a bare LF,
 * a bare CR and a NUL, which no stored content can hold (it is CRLF lines without NUL), and no envelope string: a
 * message cannot forge a record. */

#include <sys/uio.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/xalloc.h"

#include "mail/record.h"

#define CHUNK 65536
#define FIRST_READ 8192 /* most records whole, without reading far into the next ones */
#define HDR_CRC_OFF (RECORD_HDR - 4)
#define MAX_BODY ((uint64_t)1 << 40)
#define MAX_HEADERS (64u << 20)

static const uint8_t magic[8] = { 'P', 'H', '\n', 'R', '\r', 'e', 'c', '\0' };

static uint64_t
content_len(const struct record *rec)
{
	return rec->body_len + rec->headers_len + rec->envelope_len;
}

uint64_t
record_len(const struct record *rec)
{
	return (RECORD_HDR + content_len(rec) + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN;
}

uint64_t
record_body_off(const struct record *rec)
{
	(void)rec;
	return RECORD_HDR;
}

uint64_t
record_headers_off(const struct record *rec)
{
	return RECORD_HDR + rec->body_len;
}

uint64_t
record_envelope_off(const struct record *rec)
{
	return RECORD_HDR + rec->body_len + rec->headers_len;
}

bool
record_plausible(const struct record *rec)
{
	return rec->offset % RECORD_ALIGN == 0 && rec->offset <= (uint64_t)1 << 62 && rec->body_len <= MAX_BODY &&
	    rec->headers_len <= MAX_HEADERS && rec->envelope_len > 0 && rec->envelope_len <= ENVELOPE_MAX_BYTES &&
	    rec->n_rcpts > 0 && rec->n_rcpts <= ENVELOPE_MAX_RCPTS;
}

static uint8_t *
put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
	return p + 4;
}

static uint8_t *
put64(uint8_t *p, uint64_t v)
{
	return put32(put32(p, (uint32_t)(v >> 32)), (uint32_t)v);
}

void
record_encode(const struct record *rec, uint8_t out[RECORD_HDR])
{
	uint8_t *p = out;

	memset(out, 0, RECORD_HDR);
	memcpy(p, magic, sizeof(magic));
	p = put32(p + sizeof(magic), RECORD_VERSION);
	p = put64(p, rec->segment);
	p = put64(p, rec->offset);
	memcpy(p, rec->id.b, MSGID_LEN);
	p = put64(p + MSGID_LEN, rec->body_len);
	p = put32(p, rec->headers_len);
	p = put32(p, rec->envelope_len);
	p = put32(p, rec->crc);
	p = put32(p, rec->flags);
	put32(p, rec->n_rcpts);
	put32(out + HDR_CRC_OFF, crc32c(0, out, HDR_CRC_OFF));
}

int
record_decode(const uint8_t in[RECORD_HDR], uint64_t segment, uint64_t offset, struct record *out, const char **err_r)
{
	struct record rec;
	struct rbuf r;
	uint32_t version;

	if (memcmp(in, magic, sizeof(magic)) != 0) {
		*err_r = "no record begins here";
		return -1;
	}
	rbuf_init(&r, in + HDR_CRC_OFF, 4);
	if (rbuf_u32(&r) != crc32c(0, in, HDR_CRC_OFF)) {
		*err_r = "record header is damaged";
		return -1;
	}
	rbuf_init(&r, in + sizeof(magic), HDR_CRC_OFF - sizeof(magic));
	version = rbuf_u32(&r);
	rec.segment = rbuf_u64(&r);
	rec.offset = rbuf_u64(&r);
	rbuf_raw(&r, rec.id.b, MSGID_LEN);
	rec.body_len = rbuf_u64(&r);
	rec.headers_len = rbuf_u32(&r);
	rec.envelope_len = rbuf_u32(&r);
	rec.crc = rbuf_u32(&r);
	rec.flags = rbuf_u32(&r);
	rec.n_rcpts = rbuf_u32(&r);
	if (version != RECORD_VERSION) {
		*err_r = "record has an unknown version";
		return -1;
	}
	if (rec.segment != segment || rec.offset != offset) {
		*err_r = "record belongs to another segment or offset";
		return -1;
	}
	if (r.bad || !record_plausible(&rec)) {
		*err_r = "record header is not plausible";
		return -1;
	}
	*out = rec;
	return 0;
}

/* As much as there is, up to len. The length read, or -1 and errno. */
static ssize_t
read_at(int fd, void *buf, size_t len, uint64_t offset)
{
	size_t have = 0;

	while (have < len) {
		ssize_t n = pread(fd, (char *)buf + have, len - have, (off_t)(offset + have));

		if (n == 0)
			break;
		if (n > 0)
			have += (size_t)n;
		else if (errno != EINTR)
			return -1;
	}
	return (ssize_t)have;
}

/* CRC over the content; the first `have` bytes of it are at `first`. 1 if it is right, 0 if the file ends, -1 if it
 * is wrong, -2 on a read error. */
static int
check_crc(int fd, const struct record *rec, const uint8_t *first, size_t have)
{
	uint64_t total = content_len(rec);
	uint64_t done = have < total ? have : total;
	uint32_t crc = crc32c(0, first, (size_t)done);
	uint8_t *chunk = NULL;
	int result = 1;

	if (done < total)
		chunk = xmalloc(CHUNK);
	while (done < total) {
		size_t want = total - done < CHUNK ? (size_t)(total - done) : CHUNK;
		ssize_t n = read_at(fd, chunk, want, rec->offset + RECORD_HDR + done);

		if (n < (ssize_t)want) {
			result = n < 0 ? -2 : 0;
			break;
		}
		crc = crc32c(crc, chunk, want);
		done += want;
	}
	free(chunk);
	if (result == 1 && crc != rec->crc)
		return -1;
	return result;
}

int
record_verify(int fd, uint64_t segment, uint64_t offset, struct record *out, const char **err_r)
{
	uint8_t first[FIRST_READ];
	ssize_t have = read_at(fd, first, sizeof(first), offset);
	int result;

	*err_r = NULL;
	if (have < 0) {
		*err_r = "read error";
		return -2;
	}
	if (have < RECORD_HDR) {
		*err_r = have == 0 ? "end of data" : "record header is cut short";
		return 0;
	}
	if (record_decode(first, segment, offset, out, err_r) == -1)
		return 0;
	result = check_crc(fd, out, first + RECORD_HDR, (size_t)have - RECORD_HDR);
	if (result == -2)
		*err_r = "read error";
	else if (result == 0)
		*err_r = "record is cut short";
	else if (result == -1)
		*err_r = "record content is damaged";
	return result;
}

bool
record_is_newer(int fd, uint64_t segment, uint64_t offset)
{
	uint8_t in[RECORD_HDR];
	uint32_t version, crc;
	struct rbuf r;

	if (read_at(fd, in, sizeof(in), offset) != RECORD_HDR || memcmp(in, magic, sizeof(magic)) != 0)
		return false;
	rbuf_init(&r, in + HDR_CRC_OFF, 4);
	crc = rbuf_u32(&r);
	rbuf_init(&r, in + sizeof(magic), HDR_CRC_OFF - sizeof(magic));
	version = rbuf_u32(&r);
	return crc == crc32c(0, in, HDR_CRC_OFF) && version > RECORD_VERSION && rbuf_u64(&r) == segment &&
	    rbuf_u64(&r) == offset;
}

/* Looks for a good record in len bytes at `base` of the file. 1, 0 or -2. A record header is looked at with the bytes
 * behind it, so the caller lets its windows overlap by a header. */
static int
resync_window(int fd, uint64_t segment, uint64_t base, const uint8_t *p, size_t len, uint64_t end, uint64_t *off_r)
{
	for (size_t at = 0; at + RECORD_HDR <= len; at += RECORD_ALIGN) {
		struct record rec;
		const char *err;
		int result;

		if (memcmp(p + at, magic, sizeof(magic)) != 0 ||
		    record_decode(p + at, segment, base + at, &rec, &err) == -1 || record_len(&rec) > end - rec.offset)
			continue;
		result = check_crc(fd, &rec, p + at + RECORD_HDR, len - at - RECORD_HDR);
		if (result == -2)
			return -2;
		if (result == 1) {
			*off_r = base + at;
			return 1;
		}
	}
	return 0;
}

int
record_resync(int fd, uint64_t segment, uint64_t from, uint64_t end, uint64_t *off_r)
{
	uint64_t at = (from + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN;
	uint8_t *chunk = xmalloc(CHUNK);
	int result = 0;

	while (at < end && end - at >= RECORD_HDR) {
		size_t want = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
		ssize_t n = read_at(fd, chunk, want, at);

		if (n < 0) {
			result = -2;
			break;
		}
		result = resync_window(fd, segment, at, chunk, (size_t)n, end, off_r);
		if (result != 0 || (size_t)n < want)
			break;
		at += want < CHUNK ? want : CHUNK - RECORD_HDR + RECORD_ALIGN;
	}
	free(chunk);
	return result;
}

struct envelope *
record_read_envelope(int fd, const struct record *rec, const char **err_r)
{
	struct envelope *env = NULL;
	uint8_t *buf = xmalloc(rec->envelope_len);
	ssize_t n = read_at(fd, buf, rec->envelope_len, rec->offset + record_envelope_off(rec));

	if (n < 0)
		*err_r = "read error";
	else if (n < (ssize_t)rec->envelope_len)
		*err_r = "envelope is cut short";
	else
		env = envelope_decode(buf, rec->envelope_len, err_r);
	free(buf);
	if (env != NULL && (msgid_cmp(&env->id, &rec->id) != 0 || env->n_rcpts != rec->n_rcpts)) {
		*err_r = "envelope does not belong to the record";
		envelope_free(&env);
	}
	return env;
}

/* Whether the header on disk is the one that `rec` was made from. */
static int
check_same(const uint8_t header[RECORD_HDR], const struct record *rec, const char **err_r)
{
	struct record found;

	if (record_decode(header, rec->segment, rec->offset, &found, err_r) == -1)
		return -1;
	if (msgid_cmp(&found.id, &rec->id) != 0 || found.crc != rec->crc || found.body_len != rec->body_len ||
	    found.headers_len != rec->headers_len || found.envelope_len != rec->envelope_len) {
		*err_r = "another record is in its place";
		return -1;
	}
	return 0;
}

int
record_check_content(int fd, const struct record *rec, const char **err_r)
{
	uint8_t header[RECORD_HDR];
	ssize_t n = read_at(fd, header, sizeof(header), rec->offset);

	if (n < 0) {
		*err_r = "read error";
		return -2;
	}
	if (n < RECORD_HDR) {
		*err_r = "record header is cut short";
		return -1;
	}
	if (check_same(header, rec, err_r) == -1)
		return -1;
	switch (check_crc(fd, rec, NULL, 0)) {
	case 1:
		return 0;
	case 0:
		*err_r = "record is cut short";
		return -1;
	case -1:
		*err_r = "record content is damaged";
		return -1;
	default:
		*err_r = "read error";
		return -2;
	}
}

/* Fills all parts in file order with one system call in the usual case. The length read, or -1 and errno. */
static ssize_t
read_parts(int fd, struct iovec *iov, int n_iov, uint64_t offset)
{
	size_t have = 0;

	while (n_iov > 0) {
		ssize_t n = preadv(fd, iov, n_iov, (off_t)(offset + have));

		if (n == 0)
			break;
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		have += (size_t)n;
		for (; n_iov > 0 && (size_t)n >= iov->iov_len; iov++, n_iov--)
			n -= (ssize_t)iov->iov_len;
		if (n_iov > 0) {
			iov->iov_base = (char *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	return (ssize_t)have;
}

char *
record_read_content(int fd, const struct record *rec, size_t *len_r, const char **err_r)
{
	size_t len = (size_t)rec->body_len + rec->headers_len;
	char *content = xmalloc(len + 1);
	uint8_t *envelope = xmalloc(rec->envelope_len);
	uint8_t header[RECORD_HDR];
	/* On disk the body comes first, on the wire the headers do: the kernel does the exchange. */
	struct iovec iov[4] = {
		{ header, RECORD_HDR },
		{ content + rec->headers_len, (size_t)rec->body_len },
		{ content, rec->headers_len },
		{ envelope, rec->envelope_len },
	};
	ssize_t n = read_parts(fd, iov, 4, rec->offset);
	bool is_good = false;

	if (n < 0) {
		*err_r = "read error";
	} else if ((uint64_t)n < RECORD_HDR + content_len(rec)) {
		*err_r = "record is cut short";
	} else if (check_same(header, rec, err_r) == 0) {
		uint32_t crc = crc32c(0, content + rec->headers_len, (size_t)rec->body_len);

		crc = crc32c(crc, content, rec->headers_len);
		is_good = crc32c(crc, envelope, rec->envelope_len) == rec->crc;
		if (!is_good)
			*err_r = "record content is damaged";
	}
	free(envelope);
	if (!is_good) {
		free(content);
		return NULL;
	}
	content[len] = '\0';
	*len_r = len;
	return content;
}
