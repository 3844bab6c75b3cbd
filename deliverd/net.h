/* The net role's one context, and its turn: what ends up in the `dirty` list of paths during a turn is pumped before
 * the loop sleeps, so that recipients of one message that came in one after the other leave in one transaction. */
#ifndef DELIVERD_NET_H
#define DELIVERD_NET_H

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "mail/eventlog.h"
#include "mail/params.h"
#include "mail/policy.h"
#include "mail/queue_link.h"
#include "mail/token.h"

struct conn;
struct dest;
struct dns_client;
struct guard;
struct item;
struct limits;
struct path;
struct qlink;
struct resolver;
struct site;
struct source;

RB_HEAD(item_tree, item);
RB_HEAD(site_tree, site);
RB_HEAD(path_tree, path);
TAILQ_HEAD(path_list, path);
TAILQ_HEAD(source_list, source);
TAILQ_HEAD(conn_list, conn);

struct net {
	struct loop *loop;
	char *config_dir;
	char *pool_name;
	struct params *params;
	struct conf *conf;       /* where params were said; NULL: not known */
	struct policy *policy;
	struct shaping *shaping; /* NULL: none */
	unsigned generation; /* of params and policy */
	uint32_t config_number;
	uint64_t config_digest; /* jobs of another one are handed back */
	SSL_CTX *tls;        /* NULL: none could be made, everything goes in the clear */
	int tls_index;       /* where an SSL keeps its conn */
	struct eventlog *events;
	struct qlink *queue;
	struct dns_client *dns;  /* by the resolver's link */
	struct resolver *resolver;
	struct guard *guard;
	struct limits *limits;
	struct token_signer token;

	struct item_tree items; /* every envelope that is held */
	unsigned n_items;
	struct source_list sources;
	bool is_pool_out;       /* as queued was told */
	uint8_t families;       /* DNS_FAMILY_* that some source can use */
	struct site_tree sites;
	struct path_tree paths;
	struct path_list dirty;
	struct conn_list conns;      /* all */
	struct conn_list idle_conns; /* those without a transaction, longest idle first */
	unsigned n_conns, max_conns;

	struct timer sweep;
	struct timer stop;
	bool is_stopping;
	int64_t stop_deadline;
	void (*stopped)(struct net *, void *arg); /* everything is handed over */
	void *stopped_arg;
	struct wbuf scratch;
};

/* Takes over params and policy; pool must be one of the policy's. Opens nothing. */
struct net *net_new(struct loop *, const char *config_dir, const char *pool, struct params *, struct policy *,
    SSL_CTX *);
void net_free(struct net **);
/* Takes over both and makes sources, limits and cached answers follow. */
void net_swap(struct net *, struct params *, struct policy *);
/* Takes over the shaping data, in place of those of before: settings of all paths follow. */
void net_set_shaping(struct net *, struct shaping *);
/* Reads the configuration again; keeps the old one if anything is wrong. */
bool net_reload(struct net *);
/* Starts no more transactions, finishes those whose content is under way, hands back the rest, then calls `stopped`. */
void net_stop(struct net *, void (*stopped)(struct net *, void *), void *arg);

#endif
