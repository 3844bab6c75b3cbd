/* An egress path `source->site`: its ready queue, its connections, its limits. */
#ifndef DELIVERD_PATH_H
#define DELIVERD_PATH_H

#include "mail/policy_path.h"
#include "deliverd/result.h"
#include "deliverd/source.h"

enum path_timeout { T_CONNECT, T_BANNER, T_EHLO, T_STARTTLS, T_MAIL, T_RCPT, T_DATA, T_XFER, T_DOT, T_QUIT, T_IDLE,
    T_COUNT };

struct path_limits {
	unsigned connections, deliveries, recipients; /* deliveries: UINT_MAX without limit */
	int64_t timeouts[T_COUNT]; /* ms */
	uint16_t port;
	int tls;                   /* TLS_LEVEL_* */
	const struct cidr_list *prohibited;
};

/* What is known about TLS with a host from this source; RFC 5246/8446 sessions are resumed, a host that could not
 * shake hands is spoken to in the clear for a while (opportunistic TLS). */
struct tls_peer {
	char *host;
	SSL_SESSION *session;
	int64_t broken_until;
};
#define PATH_TLS_PEERS 32

struct path {
	RB_ENTRY(path) by_key;
	TAILQ_ENTRY(path) dirty_link;
	struct net *net;
	struct site *site;
	struct source *source;
	char *name;
	char *domain; /* the first that came, given to policy */
	unsigned generation; /* of limits; 0: not configured yet */
	struct policy_path_config config;
	struct path_limits limits;
	struct item_list ready;
	unsigned n_ready;
	struct conn_list conns, idle;
	unsigned n_conns, n_connecting, n_quitting;
	bool is_dirty;
	int64_t open_after; /* loop_now(): no new connection before */
	int64_t idle_since;
	struct timer timer;
	struct tls_peer peers[PATH_TLS_PEERS];
	unsigned n_peers;
};
RB_PROTOTYPE(path_tree, path, by_key, path_cmp)

/* The path of source and site, made if it is new. */
struct path *path_get(struct site *, struct source *, const char *domain);
void path_add(struct path *, struct item *);
/* Back to the head, in the order of the array; NULL entries are skipped. */
void path_add_front(struct path *, struct item **, unsigned n);
void path_remove(struct path *, struct item *);
/* To be looked at before the loop sleeps. */
void path_dirty(struct path *);
void paths_pump(struct net *);
/* A connection found no host that talks to it: fails what waits, unless others of this path do or may. */
void path_round_failed(struct path *, const struct outcome *, const struct conn *);
/* Routes all that waits anew (its source is out or gone). */
void path_reassign(struct path *);
void path_fail_ready(struct path *, const struct outcome *, const struct conn *);
/* Frees paths that have been without mail and connections for a while. all: now, whatever they have (at the end). */
void paths_sweep(struct net *, bool all);

struct tls_peer *path_tls_peer(struct path *, const char *host);
/* path_config.c. 0, or -1 and *err_r (malloced): the policy's event failed. */
int path_configure(struct path *, char **err_r);

#endif
