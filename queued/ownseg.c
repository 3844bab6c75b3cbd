/* Appending to segments of our own: the same format that smtpd writes, in files that grow. After EIO from a write
 * or fdatasync nothing about the file can be trusted: the process ends and the next start recovers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "base/xalloc.h"

#include "queued/ownseg.h"
#include "queued/queued.h"

void
ownseg_init(struct ownseg *o, struct queued *q, uint8_t kind)
{
	o->q = q;
	o->kind = kind;
	o->seg = NULL;
	o->fd = -1;
	o->pos = 0;
}

void
ownseg_close(struct ownseg *o)
{
	if (o->seg == NULL)
		return;
	close(o->fd);
	o->fd = -1;
	segment_seal(o->q->segs, o->seg);
	o->seg = NULL;
}

int
ownseg_open(struct ownseg *o)
{
	if (o->seg != NULL && o->pos >= o->seg->limit)
		ownseg_close(o);
	if (o->seg != NULL)
		return 0;
	o->seg = segment_create(o->q->segs, o->kind, &o->fd);
	o->pos = 0;
	return o->seg == NULL ? -1 : 0;
}

static void
ownseg_check_eio(int saved)
{
	if (saved != EIO)
		return;
	log_error("writing a segment: %s: ending; the next start recovers", strerror(saved));
	_exit(1);
}

int
ownseg_write(struct ownseg *o, uint64_t off, const void *p, size_t len)
{
	const char *c = p;
	ssize_t n;

	while (len > 0) {
		n = pwrite(o->fd, c, len, (off_t)(o->pos + off));
		if (n <= 0) {
			if (n == -1)
				ownseg_check_eio(errno);
			return -1;
		}
		c += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

void
ownseg_rewind(struct ownseg *o, uint64_t pos)
{
	if (o->seg == NULL)
		return;
	o->pos = pos;
	(void)!ftruncate(o->fd, (off_t)pos);
}

int
ownseg_sync(struct ownseg *o)
{
	if (o->seg == NULL || fdatasync(o->fd) == 0)
		return 0;
	ownseg_check_eio(errno);
	return -1;
}

int
ownseg_append(struct ownseg *o, struct record *rec, struct slice body, struct slice headers, struct slice envelope)
{
	uint64_t len;
	uint8_t *buf, *p;
	int r;

	rec->body_len = body.len;
	rec->headers_len = (uint32_t)headers.len;
	rec->envelope_len = (uint32_t)envelope.len;
	len = record_len(rec);
	rec->segment = o->seg->number;
	rec->offset = o->pos;
	rec->crc = crc32c(crc32c(crc32c(0, body.base, body.len), headers.base, headers.len), envelope.base,
	    envelope.len);
	buf = xcalloc(1, len);
	record_encode(rec, buf);
	p = buf + record_body_off(rec);
	if (body.len > 0)
		memcpy(p, body.base, body.len);
	p = buf + record_headers_off(rec);
	if (headers.len > 0)
		memcpy(p, headers.base, headers.len);
	memcpy(buf + record_envelope_off(rec), envelope.base, envelope.len);
	r = ownseg_write(o, 0, buf, len);
	free(buf);
	if (r == 0)
		o->pos += len;
	return r;
}
