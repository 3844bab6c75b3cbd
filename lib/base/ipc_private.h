/* What ipc.c (frames in, life and death) and ipc_out.c (frames out) share, and the one hook that ipc_client.c needs. */
#ifndef BASE_IPC_PRIVATE_H
#define BASE_IPC_PRIVATE_H

#include <bsd/sys/queue.h>

#include "base/ipc.h"

#define IPC_HEAD 12                 /* bytes before the body */
#define IPC_READ_BUF (64 * 1024)    /* read at once; a larger frame grows the buffer for its own time */
#define IPC_FRAMES_PER_TURN 256     /* then the other links have their turn */
#define IPC_MAX_FDS 4               /* received and not yet claimed; an honest peer never has more than one under way */
#define IPC_KEEP_OUT (256 * 1024)   /* an output buffer that grew beyond this is given back once it is empty */

struct ipc_hub;

struct ipc_in {
	uint8_t *p;
	size_t cap, start, end;
	size_t need; /* whole length of the frame that is arriving; 0: its head is not complete */
	int fds[IPC_MAX_FDS];
	unsigned n_fds;
};

/* A descriptor leaves with the byte at this position of the stream. */
struct ipc_out_fd {
	uint64_t at;
	int fd;
};

struct ipc_out {
	uint8_t *p;
	size_t cap, start, end;
	uint64_t sent; /* position of p[start] */
	struct ipc_out_fd *fds;
	size_t n_fds, cap_fds;
};

struct ipc {
	TAILQ_ENTRY(ipc) dirty_link, due_link;
	SLIST_ENTRY(ipc) reap_link;
	struct ipc_hub *hub;
	int fd;
	const struct ipc_ops *ops;
	void *arg;
	struct event ev_read, ev_write;
	struct ipc_in in;
	struct ipc_out out;
	size_t low;
	loop_fn *low_fn;
	void *low_arg;
	void (*ended)(void *); /* ipc_client: this link is over, in whatever way */
	void *ended_arg;
	char why[128];       /* not empty: nothing is read any more, gone() is due after the complete frames */
	bool rejected;       /* not even those */
	bool reading, writing; /* what libevent was told */
	bool paused;
	bool backlog;        /* complete frames are waiting in `in` */
	bool write_broken;   /* output is dropped; what the peer sent before it went is still read */
	bool is_dirty, is_due, low_due;
	bool busy;           /* in a message callback: memory stays until LOOP_REAP */
	bool dead;
};

/* Says that something other than input awaits this link: it has its turn at the start of the next round, from the loop
 * itself. */
void ipc_due(struct ipc *);
/* Puts it on the list of links to be written in LOOP_IPC. */
void ipc_dirty(struct ipc *);
/* Writes what the kernel takes. Never calls back. */
void ipc_flush(struct ipc *);
void ipc_out_clear(struct ipc *);

#endif
