/* Limits that paths share: rates (buckets in the table that all processes have in common) and numbers of connections of
 * this process. A limit is known by its name; whoever names it shares it, and the strictest setting of its users holds.
 * Paths that a limit stops wait in line: when something is due the first gets it, and then goes to the end. */
#ifndef DELIVERD_LIMIT_H
#define DELIVERD_LIMIT_H

#include "deliverd/net.h"
#include "mail/buckets.h"

/* What is about to happen: a transaction, an attempt to connect (a rate and a number each have a word), the choice of
 * the source. */
enum limit_kind { LIMIT_MESSAGE, LIMIT_CONNECT, LIMIT_CONNS, LIMIT_SELECT, LIMIT_KINDS };

struct limit;

/* A path's place in the line of one limit, or that it is its turn. */
struct limit_wait {
	TAILQ_ENTRY(limit_wait) link;
	struct limit *limit; /* NULL: it does not wait */
	struct path *path;
	bool is_turn;
};
TAILQ_HEAD(limit_line, limit_wait);

struct limit {
	RB_ENTRY(limit) by_name;
	struct limits *all;
	char *name;     /* of the bucket */
	char *whose;    /* "provider google, source ip-1" */
	enum limit_kind kind;
	unsigned refs, epoch;
	struct rate rate;
	int64_t max;      /* LIMIT_CONNS */
	unsigned n_conns, n_idle;
	struct limit_line line;
	unsigned n_line;
	struct limit_wait *turn;
	struct timer timer;
};
RB_HEAD(limit_tree, limit);

struct limits {
	struct net *net;
	struct limit_tree tree;
	struct buckets *table;
	unsigned epoch; /* a new one: settings are said anew, so that a limit can become less strict */
};

/* Those of one kind that a path has. */
struct limit_set {
	struct limit **v;
	unsigned n;
};

struct limits *limits_new(struct net *);
void limits_free(struct limits **);
/* Takes it over. */
void limits_set_table(struct limits *, struct buckets *);
/* Adds the limit of that name; rate or max as the kind has it. `whose` is for people. */
void limit_set_add(struct limits *, struct limit_set *, enum limit_kind, const char *name, const char *whose,
    const struct rate *, int64_t max);
void limit_set_clear(struct limit_set *);

/* All of a set, or none: 0, or milliseconds until it is worth another try, *limit_r tells because of which. With w the
 * path is in its line then and is made dirty when it is its turn. */
int64_t limit_set_take(struct limit_set *, struct limit_wait *w, struct limit **limit_r);
void limit_set_give_back(struct limit_set *);
/* Look only. */
int64_t limit_set_wait(const struct limit_set *, struct limit **limit_r);
/* Numbers of connections: as above, for one more. */
bool limit_set_conn_take(struct limit_set *, struct limit_wait *w, struct limit **limit_r);
void limit_set_conn_drop(struct limit_set *);
void limit_set_conn_idle(struct limit_set *, int delta);
/* Somebody waits for one of these. */
bool limit_set_is_contested(const struct limit_set *);
/* Not interested any more; if it was its turn the next one gets it. */
void limit_wait_leave(struct limit_wait *);
/* At the end of a pump: a turn that was not used passes on. */
void limit_wait_pass(struct limit_wait *);
/* "rate limit 10/min of provider google, source ip-1" */
void limit_text(const struct limit *, char *out, size_t size);
/* Milliseconds from one event to the next for one of those who wait. */
int64_t limit_pace_ms(const struct limit *);
double limit_fill(const struct limit *);

#endif
