/* What cannot be read in a segment is never dropped silently: it is counted, logged, and copied to
 * $queue_directory/damaged/ for somebody to look at. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/queued.h"
#include "queued/recover.h"

#define DAMAGE_COPY_MAX (64u << 20)
#define CHUNK (256u << 10)

static int
damage_copy(int from_fd, uint64_t from, uint64_t to, int to_fd)
{
	char *buf = xmalloc(CHUNK);
	ssize_t n, w;

	while (from < to) {
		n = pread(from_fd, buf, to - from < CHUNK ? to - from : CHUNK, (off_t)from);
		if (n <= 0)
			break;
		w = write(to_fd, buf, (size_t)n);
		if (w != n) {
			free(buf);
			return -1;
		}
		from += (uint64_t)n;
	}
	free(buf);
	return 0;
}

void
damage_report(struct queued *q, struct segment *seg, uint64_t from, uint64_t to, const char *why)
{
	uint64_t copy_to = to - from > DAMAGE_COPY_MAX ? from + DAMAGE_COPY_MAX : to;
	char *path = xasprintf("%s/%016" PRIx64 "-%" PRIu64, q->damaged_dir, seg->number, from);
	int in = segment_fd(q->segs, seg), out;

	q->count.damaged++;
	out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (in == -1 || out == -1 || damage_copy(in, from, copy_to, out) == -1)
		log_error("damage in segment %016" PRIx64 " from %" PRIu64 " to %" PRIu64 ": %s; no copy in %s: %s",
		    seg->number, from, to, why, path, strerror(errno));
	else
		log_error("damage in segment %016" PRIx64 " from %" PRIu64 " to %" PRIu64 ": %s; a copy is in %s",
		    seg->number, from, to, why, path);
	if (out != -1)
		close(out);
	free(path);
}
