/* An egress path `source->site`: its ready queue, its connections, its limits. */
#ifndef DELIVERD_PATH_H
#define DELIVERD_PATH_H

#include "mail/credentials.h"
#include "mail/policy_path.h"
#include "mail/shaping.h"
#include "deliverd/job.h"
#include "deliverd/limit.h"
#include "deliverd/result.h"
#include "deliverd/source.h"

enum path_timeout { T_CONNECT, T_BANNER, T_EHLO, T_STARTTLS, T_RSET, T_MAIL, T_RCPT, T_DATA, T_XFER, T_DOT,
    T_QUIT, T_IDLE, T_AUTH,
    T_COUNT };

struct path_limits {
	unsigned connections, deliveries, recipients, ready; /* UINT_MAX: without limit */
	unsigned failures;         /* rounds over all hosts in a row, until the path gets a rest */
	char *ehlo;                /* a copy: connections greet after the settings it came from have gone */
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
	uint64_t session_need; /* what was expected of the server then (tls_need.h) */
	int64_t broken_until;
};
#define PATH_TLS_PEERS 32

/* Who said a setting; later ones over earlier ones. */
enum path_layer { PATH_LAYER_NONE, PATH_LAYER_MAIN, PATH_LAYER_SHAPING, PATH_LAYER_POLICY, PATH_LAYER_OVERRIDE };

struct path {
	RB_ENTRY(path) by_key;
	TAILQ_ENTRY(path) dirty_link;
	struct net *net;
	struct site *site;
	struct source *source;
	char *name;
	char *domain; /* the first that came, given to policy */
	unsigned generation; /* of limits; 0: not configured yet */
	char *config_error; /* of policy, when it was asked last; NULL: none */
	int64_t config_failed; /* loop_now() */
	unsigned config_asked; /* generation */
	struct policy_path_config config;
	uint8_t layers[POLICY_PATH_FIELDS_MAX]; /* enum path_layer, by field */
	/* of those that shaping data say, until the next reload */
	const struct shaping_origin *origins[POLICY_PATH_FIELDS_MAX];
	uint64_t imposed[POLICY_PATH_FIELDS_MAX]; /* of those that an override says: its number */
	unsigned n_imposed;
	uint64_t *holds;  /* suspensions of all its mail, or of some */
	unsigned n_holds;
	bool has_new_holds; /* what waits is to be looked at */
	struct path_limits limits;
	struct credentials credentials;
	struct limit_set sets[LIMIT_KINDS];   /* shared limits */
	struct limit_wait waits[LIMIT_KINDS];
	struct limit *blocked; /* what stopped it in this turn */
	int64_t blocked_ms;    /* for about so long */
	unsigned n_reserved;   /* taken of its message rates, for transactions of connections that are being made */
	unsigned window;       /* so many connections at the moment: grows with success, up to the limit */
	unsigned n_successes;  /* since the window grew */
	unsigned threshold;    /* from here on it grows slowly */
	int64_t shrunk, resized; /* loop_now() */
	int64_t connected_at;  /* loop_now(): last success */
	unsigned n_failures;   /* rounds over all hosts, without success */
	int64_t rest_until;    /* loop_now(): nothing is tried before */
	int64_t return_at;     /* loop_now(): when what was sent back last is due */
	int64_t served;        /* loop_now(): a transaction ended, or it had nothing to do */
	int64_t pace_us;       /* from the end of one to that of the next, while mail waits */
	int64_t surplus_at;    /* loop_now(): mail was sent back because of that */
	char *again_host;      /* tried first: RECONNECT_SAME_HOST */
	uint16_t last_code;    /* what a server said last, for people */
	char last_text[256];
	struct item_list ready;
	unsigned n_ready;
	struct conn_list conns, idle;
	unsigned n_conns, n_connecting, n_quitting, n_idle;
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
/* Idle ones at once, the others after what they are doing. */
void path_close_conns(struct path *);
/* Routes all that waits anew (its source is out or gone). */
void path_reassign(struct path *);
void path_fail_ready(struct path *, const struct outcome *, const struct conn *);
/* An administrator wants mail tried now: rests after failures end. */
void paths_retry(struct net *);
/* Frees paths that have been without mail and connections for a while. all: now, whatever they have (at the end). */
void paths_sweep(struct net *, bool all);

/* The item leaves the path unsent: its choice of the source does not count. */
void path_unselect(struct path *, struct item *);
/* A transaction that was counted did not reach the peer. */
void path_message_unused(struct path *);
/* The peer took mail: room for more connections. It does not want so many: fewer. */
void path_grow(struct path *);
void path_shrink(struct path *);
/* A transaction has ended, however. */
void path_served(struct path *);
void path_note_reply(struct path *, const struct outcome *);
/* Out of all lines; what was reserved is given back. */
void path_leave_limits(struct path *);
/* Its settings are those in force. 0, or -1: what waits was failed. */
int path_prepare(struct path *);

/* For people and statistics. */
struct path_stats {
	const char *name, *provider;
	unsigned n_ready, n_conns, n_idle, n_connecting, window, limit, n_failures;
	const struct limit *blocked; /* waits for it; NULL */
	int64_t wait_ms;             /* until something may happen, as far as that is known */
	uint16_t last_code;
	const char *last_text;
	const struct limit_set *sets; /* LIMIT_KINDS: limit_text(), limit_fill() */
};
void path_stats(const struct path *, struct path_stats *);

struct tls_peer *path_tls_peer(struct path *, const char *host);
/* path_config.c. 0, or -1 and *err_r (malloced): the policy's event failed. */
int path_configure(struct path *, char **err_r);

/* The shared limits follow the configuration, in this epoch of limits. */
void path_share_limits(struct path *);

/* path_imposed.c: what queued's overrides do to paths. */
struct override;
struct override_target;
/* The path, and of an item what it is matched by; NULL: all that is sent by the path. */
void path_target(const struct path *, const struct job *, struct override_target *);
/* The limits among them, over all other layers; the suspensions. */
void path_lay_imposed(struct path *);
/* The suspension that holds the job, or with NULL the whole path, for the longest; NULL: none. Valid until the next
 * frame. */
const struct override *path_held_by(const struct path *, const struct job *);
/* Moves what is held to other sources, or back to queued; idle connections close. */
void path_leave_held(struct path *);
/* After frames: what has changed reaches the paths. */
void paths_follow_imposed(struct net *);

#endif
