/* The parts of load: what a message is (load_mix.c), when it is due (load_arrivals.c), the SMTP client (load_conn.c),
 * what is told at the end (load_report.c). */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <bsd/sys/queue.h>

#include <event2/event.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/io.h"
#include "base/loop.h"
#include "t/bench/hist.h"
#include "t/bench/lines.h"

/* What a message is, as a function of its number and the seed. */
struct mix;
struct mix *mix_new(void);
void mix_sizes(struct mix *, size_t min, size_t max);
void mix_random_bodies(struct mix *);
void mix_domains(struct mix *, const char *file);
void mix_recipients(struct mix *, char *list);
void mix_header(struct mix *, char *spec);
/* After all options: makes the bodies. */
void mix_ready(struct mix *, uint64_t seed, const char *sender, const char *prefix);
int mix_sender(const struct mix *, const char *before, unsigned long number, char *out, size_t size);
int mix_envelope(const struct mix *, unsigned long number, char *out, size_t size);
/* Writes header, body and the final dot; returns the size of the content. */
size_t mix_content(const struct mix *, unsigned long number, int64_t time_us, struct io *);

/* A message that is to be sent: `due` is in microseconds of the monotonic clock. */
struct arrival {
	unsigned long number;
	int64_t due;
};

struct arrivals {
	unsigned long messages, next;
	double rate; /* 0: all are due at once */
	bool poisson, open_loop, started, turn;
	uint64_t seed;
	int64_t start, next_due;
	struct arrival *again; /* a queue of those to be sent again */
	size_t again_first, n_again, again_size;
	int timer_fd;
	struct event timer;
	loop_fn *fn;
	void *arg;
};

void arrivals_init(struct arrivals *, struct loop *, loop_fn *, void *arg);
void arrivals_start(struct arrivals *);
bool arrivals_take(struct arrivals *, struct arrival *);
void arrivals_again(struct arrivals *, struct arrival);
/* Calls back when the next is due. */
void arrivals_wait(struct arrivals *);

enum step {
	ST_WAIT, ST_CONNECT, ST_BANNER, ST_EHLO, ST_STARTTLS, ST_TLS, ST_EHLO2, ST_AUTH,
	ST_IDLE, ST_MAIL, ST_RCPT, ST_DATA, ST_DOT, ST_SKIP, ST_RSET, ST_NOOP
};

struct conn {
	struct load *g;
	struct io *io;
	enum step step;
	bool has_message, opening, is_idle, was_ready;
	unsigned sent, skip;
	unsigned source;
	struct arrival message;
	int64_t dot_at;
	size_t content;
	struct timer retry;
	TAILQ_ENTRY(conn) link; /* idle or waiting to connect */
};
TAILQ_HEAD(conn_list, conn);

struct source {
	struct sockaddr_storage addr;
	socklen_t len;
};

struct load {
	struct loop *loop;
	struct sockaddr_storage dst;
	socklen_t dstlen;
	struct source *sources;
	unsigned n_sources;
	unsigned connections, per_connection;
	bool starttls, no_resume, pipeline, quiet;
	char *auth_b64;
	const char *sender, *prefix;
	struct mix *mix;
	struct arrivals arrivals;
	int64_t started, deadline; /* monotonic ms */
	int64_t hold, hold_end;    /* ms; 0: not */
	int64_t noop;              /* ms between two NOOPs of an idle connection; 0: none */
	int64_t last_ack;          /* monotonic us */
	int64_t epoch;             /* wall clock minus monotonic, us */
	struct line_file *acked_file, *doubt_file;

	SSL_CTX *tls;
	SSL_SESSION *session;
	struct conn *conns;
	struct conn_list idle, waiting;
	unsigned opening, ready;
	struct timer again, hold_timer;

	unsigned long acked, lost, in_doubt, refused, opened, handshakes, resumed;
	unsigned long long bytes;
	int64_t all_open; /* ms until all connections were ready, with -i */
	struct hist from_dot, from_due;
};

void load_run(struct load *);
void load_report(struct load *);

#endif
