/* The event log's file (see eventlog.h): lines are gathered in one buffer and leave with one write(2) at the end of
 * each turn. Runs in smtpd, deliverd and queued, which share the file. Hostile: not the input (eventlog_json.c), but
 * the disk.
 *
 * A short write (a full disk) leaves a torn line behind, and other processes may write before we can go on. So it is
 * not continued: the whole line is written again, on a new line, and whoever finds that writing failed begins on a new
 * line too. A reader sees fragments which are no JSON, and empty lines. (One line can still be glued to a fragment: the
 * first of a process that wrote nothing while the disk was full. Only a lock around every write of everybody would
 * prevent that.) */

#include <sys/uio.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "mail/eventlog_json.h"

#define PENDING_MAX (16u << 20)
#define PENDING_HIGH (8u << 20)
#define KEEP_BUFFER (1u << 20)
#define RETRY_MS 250

struct eventlog {
	struct loop *loop;
	char *writer;
	char nodeid[37]; /* "": not known yet */
	int fd;          /* -1: none yet */
	struct json lines;
	uint64_t seq;
	uint64_t dropped;
	bool is_torn;    /* the file ends in a fragment of ours */
	bool is_failing; /* the last write failed; the timer tries again */
	struct timer retry;
};

/* Forgets what has been written, whole lines only. n counts bytes of the buffer. */
static void
drop_written(struct eventlog *log, size_t n)
{
	struct wbuf *out = &log->lines.out;
	const uint8_t *last = n == 0 ? NULL : memrchr(out->p, '\n', n);
	size_t whole = last == NULL ? 0 : (size_t)(last - out->p) + 1;

	if (n > whole)
		log->is_torn = true;
	if (whole == out->len) {
		if (out->cap > KEEP_BUFFER)
			json_clear(&log->lines);
		else
			json_reset(&log->lines);
	} else if (whole > 0) {
		memmove(out->p, out->p + whole, out->len - whole);
		out->len -= whole;
	}
}

static void
set_failing(struct eventlog *log, const char *why)
{
	if (!log->is_failing)
		log_error("cannot write the event log, lines are kept: %s", why);
	log->is_failing = true;
	timer_set(&log->retry, RETRY_MS);
}

static void
set_working(struct eventlog *log)
{
	timer_cancel(&log->retry);
	if (log->is_failing)
		log_info("the event log is written again");
	log->is_failing = false;
	if (log->dropped > 0)
		log_error("event log: %llu events were lost while it could not be written",
		    (unsigned long long)log->dropped);
	log->dropped = 0;
}

void
eventlog_flush(struct eventlog *log)
{
	struct wbuf *out = &log->lines.out;
	char newline[] = "\n";
	/* While writing fails, the fragment that the file ends in may also be another process's. */
	bool on_new_line = log->is_torn || log->is_failing;
	struct iovec iov[2] = { { newline, 1 }, { out->p, out->len } };
	size_t want = out->len;
	ssize_t n;

	if (log->fd == -1 || want == 0)
		return;
	do
		n = on_new_line ? writev(log->fd, iov, 2) : write(log->fd, out->p, want);
	while (n == -1 && errno == EINTR);
	if (n <= 0) {
		set_failing(log, n == 0 ? "nothing was written" : strerror(errno));
		return;
	}
	log->is_torn = false;
	if (on_new_line)
		n--;
	drop_written(log, (size_t)n);
	if ((size_t)n == want)
		set_working(log);
	else
		set_failing(log, "short write");
}

/* LOOP_LOG. */
static void
flush_step(void *arg)
{
	struct eventlog *log = arg;

	if (!log->is_failing)
		eventlog_flush(log);
}

static void
on_retry(void *arg)
{
	eventlog_flush(arg);
}

struct eventlog *
eventlog_new(struct loop *loop, const char *writer)
{
	struct eventlog *log = xcalloc(1, sizeof(*log));

	log->loop = loop;
	log->writer = xasprintf("%s@%lld", writer, (long long)wall_ms());
	log->fd = -1;
	json_init(&log->lines);
	timer_init(&log->retry, loop, on_retry, log);
	loop_before_sleep(loop, LOOP_LOG, flush_step, log);
	return log;
}

void
eventlog_free(struct eventlog **logp)
{
	struct eventlog *log = *logp;

	if (log == NULL)
		return;
	eventlog_flush(log);
	if (log->lines.out.len > 0 || log->dropped > 0)
		log_error("event log: closed with %zu bytes unwritten, %llu events lost before", log->lines.out.len,
		    (unsigned long long)log->dropped);
	timer_cancel(&log->retry);
	if (log->fd != -1)
		close(log->fd);
	json_clear(&log->lines);
	free(log->writer);
	free(log);
	*logp = NULL;
}

void
eventlog_set_node(struct eventlog *log, const char nodeid[37])
{
	memcpy(log->nodeid, nodeid, sizeof(log->nodeid));
	log->nodeid[sizeof(log->nodeid) - 1] = '\0';
}

void
eventlog_set_fd(struct eventlog *log, int fd)
{
	if (log->fd != -1) {
		/* Whoever still appends to the old file should not do so behind our fragment. */
		if (log->is_torn && write(log->fd, "\n", 1) != 1)
			log_warn("event log: the file of the last hour ends in a torn line");
		close(log->fd);
	}
	log->fd = fd;
	log->is_torn = false;
	eventlog_flush(log);
}

void
eventlog_write(struct eventlog *log, const struct event_record *ev)
{
	struct event_origin origin = {
		.writer = log->writer,
		.nodeid = log->nodeid[0] == '\0' ? NULL : log->nodeid,
		.seq = ++log->seq,
		.now = loop_wall(log->loop),
	};

	/* A number is used up all the same: the gap tells the reader. */
	if (log->lines.out.len > PENDING_MAX) {
		if (log->dropped++ == 0)
			log_error("event log: %u MiB are waiting, further events are lost", PENDING_MAX >> 20);
		return;
	}
	eventlog_format(&log->lines, ev, &origin);
}

bool
eventlog_stuck(const struct eventlog *log)
{
	return log->is_failing || log->lines.out.len > PENDING_HIGH;
}
