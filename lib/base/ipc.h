/* Frames over a UNIX stream socket: {u32 length of body, u16 type, u16 0, u32 request id} + body, optionally one
 * descriptor. A table says for each type how long it may be and whether it brings a descriptor; anything else ends the
 * connection with a logged reason, which is the sender's loss and nobody else's. Output is gathered and leaves once a
 * turn (LOOP_IPC). Bodies are base/wire.h fields; who may send which type is checked by the owner of the link (see the
 * rule's roles). */
#ifndef BASE_IPC_H
#define BASE_IPC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/loop.h"
#include "base/wire.h"

struct ipc;

struct ipc_msg {
	uint16_t type;
	uint32_t id;
	struct rbuf body; /* valid during the callback only */
	int fd;           /* -1, or a close-on-exec descriptor; the handler takes it by setting this to -1 */
};

typedef void ipc_msg_fn(struct ipc *, struct ipc_msg *, void *arg);
/* The connection is gone (why: static or short-lived sentence); the ipc is freed after this returns. Not called on
 * ipc_close(). */
typedef void ipc_gone_fn(struct ipc *, const char *why, void *arg);

struct ipc_rule {
	uint16_t type;
	bool has_fd;
	uint32_t max_len; /* of the body */
	const char *name; /* for the log */
	ipc_msg_fn *fn;
};

struct ipc_ops {
	const struct ipc_rule *rules; /* what may arrive here */
	size_t n_rules;
	ipc_gone_fn *gone;
};

/* Takes over a connected, non-blocking UNIX socket (one end of a socketpair, or accepted). */
struct ipc *ipc_new(struct loop *, int fd, const struct ipc_ops *, void *arg);
/* Flushes what fits and frees. Safe inside a callback. */
void ipc_close(struct ipc **);
/* From inside a message callback: this peer broke the rules. Logs, ends the connection, calls gone() later. */
void ipc_reject(struct ipc *, const char *why);
void ipc_set_rules(struct ipc *, const struct ipc_ops *, void *arg); /* after HELLO told the role */
/* fd: -1 or a descriptor that is duplicated to the peer (the caller keeps its own). */
void ipc_send(struct ipc *, uint16_t type, uint32_t id, const struct wbuf *body, int fd);
size_t ipc_pending(const struct ipc *); /* unsent bytes */
void ipc_pause(struct ipc *);           /* stop reading */
void ipc_resume(struct ipc *);
/* One call when pending output has fallen below `low` bytes. */
void ipc_on_low(struct ipc *, size_t low, loop_fn *, void *arg);

struct ipc_cred {
	uid_t uid;
	gid_t gid;
	pid_t pid;
};
/* SO_PEERCRED. 0 or -1. */
int ipc_cred(const struct ipc *, struct ipc_cred *);
/* Whether the peer's process has this group, by SO_PEERGROUPS (no NSS, works in the jail). */
bool ipc_peer_in_group(const struct ipc *, gid_t);

/* A listening socket at path (an old one is removed first), mode as given. -1 and errno. */
int ipc_listen(const char *path, mode_t mode);
typedef void ipc_accept_fn(struct loop *, int fd, void *arg);
struct ipc_server;
struct ipc_server *ipc_server_new(struct loop *l, int listen_fd, ipc_accept_fn *fn, void *arg);
void ipc_server_free(struct ipc_server **);

/* A client that keeps trying: connects to path (from 50 ms up to 2 s apart), calls up() with the new connection, and
 * again after every loss. `gone` of ops is called for each loss after an up(). */
struct ipc_client;
typedef void ipc_up_fn(struct ipc *, void *arg);
struct ipc_client *ipc_client_new(struct loop *l, const char *path, const struct ipc_ops *ops, ipc_up_fn *up,
    void *arg);
void ipc_client_free(struct ipc_client **);
struct ipc *ipc_client_conn(struct ipc_client *); /* NULL while away */

#endif
