/* A role's end of the control link. The parent is trusted; its bytes are checked all the same: whatever comes, only
 * the words that were said arrive, a partner's descriptor arrives once, and the end of the link means ROLE_STOP. */
#include "base/log.h"
#include "base/roles_private.h"
#include "t/fuzz/frames.h"
#include "t/fuzz/turn.h"

static struct {
	unsigned words[ROLE_STOP + 1], partners, sent[ROLE_MSG_PARTNER + 1];
	bool is_raw;
} x;

static void
on_word(enum role_word word, void *arg)
{
	FUZZ_ASSERT(arg == &x && word <= ROLE_STOP);
	x.words[word]++;
}

static void
on_partner(int fd, void *arg)
{
	FUZZ_ASSERT(arg == &x && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	close(fd);
	x.partners++;
}

static void
run(struct fuzz_in *in, int parent)
{
	struct loop *loop = loop_new();
	struct role_link *link = role_link_new(loop, on_word, on_partner, &x);
	struct fuzz_fd fd = fuzz_fd_new();
	struct fuzz_frame f;

	role_link_ready(link);
	while (fuzz_frame_next(in, &f)) {
		x.is_raw = x.is_raw || f.type == FUZZ_FRAME_RAW;
		if (f.type <= ROLE_MSG_PARTNER)
			x.sent[f.type]++;
		fuzz_frame_send(parent, &f, fd.writer);
		fuzz_turn(loop);
	}
	close(parent);
	fuzz_turn(loop);
	fuzz_turn(loop);
	FUZZ_ASSERT(x.words[ROLE_STOP] > 0);
	if (!x.is_raw) {
		FUZZ_ASSERT(x.words[ROLE_RELOAD] <= x.sent[ROLE_MSG_RELOAD]);
		FUZZ_ASSERT(x.words[ROLE_DRAIN] <= x.sent[ROLE_MSG_DRAIN]);
		FUZZ_ASSERT(x.words[ROLE_STOP] <= x.sent[ROLE_MSG_STOP] + 1);
		FUZZ_ASSERT(x.partners <= x.sent[ROLE_MSG_PARTNER]);
	}
	role_link_free(&link);
	loop_free(&loop);
	fuzz_fd_end(&fd);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	int pair[2], saved;

	log_init("fuzz", LOG_LVL_ERROR);
	memset(&x, 0, sizeof(x));
	fuzz_socketpair(pair);
	/* Descriptor 3 is the link's, by contract; whatever this process has there is put aside. */
	saved = fcntl(ROLE_CONTROL_FD, F_DUPFD_CLOEXEC, 10);
	if (pair[1] == ROLE_CONTROL_FD || pair[0] == ROLE_CONTROL_FD) {
		int *mine = pair[1] == ROLE_CONTROL_FD ? &pair[1] : &pair[0];

		*mine = saved;
		saved = -1;
	}
	FUZZ_ASSERT(dup2(pair[0], ROLE_CONTROL_FD) == ROLE_CONTROL_FD);
	close(pair[0]);
	run(&in, pair[1]);
	if (saved != -1) {
		FUZZ_ASSERT(dup2(saved, ROLE_CONTROL_FD) == ROLE_CONTROL_FD);
		close(saved);
	}
	return 0;
}
