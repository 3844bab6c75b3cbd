/* Between the files that serve the suppression list (list.h). */
#ifndef BOUNCERD_LIST_PRIVATE_H
#define BOUNCERD_LIST_PRIVATE_H

#include <bsd/sys/queue.h>

#include "base/ipc.h"
#include "base/json.h"
#include "base/loop.h"
#include "mail/queue_link.h"
#include "mail/suppress_store.h"

#include "bouncerd/list.h"

struct list_client;
TAILQ_HEAD(list_clients, list_client);

struct list {
	struct loop *loop;
	struct suppress_store *store; /* NULL: trouble says why */
	char *trouble;
	int listen_fd;
	struct ipc_server *server;
	struct list_clients clients;
	unsigned n_clients;
	struct wbuf out;
	struct json json;
	gid_t admin_gid;
	bool has_admin_gid;
	uid_t self;
	struct timer sweep;
	struct suppress_key sweep_at;
	struct list_requests *requests;
	int64_t rest_until; /* loop_now: the disk refused */
};

/* What of the list an operator wants to see. */
struct list_filter {
	char *domain, *tenant, *sender_domain; /* NULL: any */
	unsigned scope, reason;                /* 0: any */
	uint64_t limit;                        /* rows; 0: all */
	bool has_expired;                      /* also what is not in force any more */
};

struct list_client {
	TAILQ_ENTRY(list_client) next;
	struct list *list;
	struct ipc *ipc;
	struct ipc_cred cred;
	/* A list that is being sent, in steps. */
	bool is_walking, is_waiting;
	uint32_t request;
	struct suppress_key at;
	struct list_filter filter;
	uint64_t n_sent;
};

/* list_admin.c */
extern const struct ipc_ops list_admin_ops;
void list_client_free(struct list_client **);
/* list_walk.c: once a turn for each that is_walking. */
void list_walk_start(struct list_client *, uint32_t request, const struct ql_admin *);
void list_walk_step(struct list_client *);
void list_filter_clear(struct list_filter *);
void list_send_json(struct list_client *, uint32_t request); /* l->json, and empties it */
void list_send_end(struct list_client *, uint32_t request, uint8_t status, const char *sentence);
const char *list_arg(const struct ql_admin *, const char *key); /* NULL */

#endif
