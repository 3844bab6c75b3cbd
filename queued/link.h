/* queued's socket: who connects, which role it gets, and what all roles share. */
#ifndef QUEUED_LINK_H
#define QUEUED_LINK_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/ipc.h"
#include "queued/segment.h"

struct admin_job;
struct consumer;
struct explain;
struct queued;

struct client {
	TAILQ_ENTRY(client) next;
	struct queued *q;
	struct ipc *ipc;
	struct ipc_cred cred;
	uint8_t role;       /* 0 until HELLO */
	char *name;
	uint32_t pid, generation;
	uint64_t digest;    /* of its configuration */
	int64_t connected;  /* loop_now */
	/* producer */
	struct segment_list segments;
	uint32_t n_normal, n_large;
	uint32_t wants[2];  /* normal, large: not granted yet for want of space */
	/* consumer */
	struct consumer *consumer;
	/* admin */
	struct admin_job *job;
	struct explain *explain; /* waits for a consumer's answer */
};

struct clients {
	struct queued *q;
	struct ipc_server *server;
	TAILQ_HEAD(client_list, client) all;
	uint32_t n, n_silent;
	struct wbuf out; /* bodies are built here */
};

struct clients *clients_new(struct queued *);
void clients_free(struct clients **);
void clients_serve(struct clients *, int listen_fd);
/* Drops who does not say HELLO; retries what producers wait for. */
void clients_second(struct clients *);
/* A new hour's event-log file for everybody. */
void clients_send_logfd(struct clients *);
/* The token keys, to all consumers. */
void clients_send_keys(struct clients *);
/* FLOW to all producers. */
void clients_send_flow(struct clients *, uint32_t flow);
/* A producer waits for a segment that there is no space for. */
bool clients_lack_segments(const struct clients *);
void client_send_logfd(struct client *);
/* Frees it; its role's stop function has been called. */
void client_free(struct client **);
void client_gone(struct ipc *, const char *why, void *arg); /* for every role; arg: the client */

void producer_start(struct client *);
void producer_stop(struct client *);
void producer_retry_wants(struct client *);
void producer_forget_segment(struct segment *);
extern const struct ipc_ops producer_ops;

/* No consumer is to read this segment any more. */
void consumers_close_segment(struct queued *, const struct segment *);

void admin_start(struct client *);
void admin_stop(struct client *);
extern const struct ipc_ops admin_ops;

#endif
