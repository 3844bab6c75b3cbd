/* The parts of sink: listeners and options (sink.c), the SMTP dialogue (sink_peer.c), what arrives after DATA
 * (sink_content.c), answers that were asked for (sink_script.c), limits of domains (sink_limits.c), the account
 * (sink_stats.c). */
#ifndef BENCH_SINK_H
#define BENCH_SINK_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/io.h"
#include "base/loop.h"
#include "t/bench/hist.h"
#include "t/bench/lines.h"

enum stage { AT_BANNER, AT_EHLO, AT_MAIL, AT_RCPT, AT_DATA, AT_DOT, STAGES };
extern const char *const stage_names[STAGES];

/* Why a command was not answered with success, or a connection ended by us. */
enum refusal {
	REF_UNKNOWN, REF_FULL, REF_DEFERRED, REF_DEFERRED_DOT, REF_REJECTED, REF_REJECTED_DOT, REF_CLOSED, REF_DROPPED,
	REF_RULE, REF_CONNECTION_LIMIT, REF_RATE_LIMIT, REF_MESSAGE_LIMIT, REF_SYNTAX, REFUSALS
};

struct stats {
	unsigned long messages, recipients, connections, now, peak, handshakes, resumed, corrupt, noops;
	unsigned long refused[REFUSALS];
	unsigned long long bytes;
	int64_t first, last; /* wall clock, ms */
	struct hist in_queue;
};

/* An answer to a command, put together from what scripts, rules and limits say. */
struct answer {
	char text[700];  /* without CRLF; empty: success, in the words of the stage */
	bool drop;       /* no answer: the connection is closed */
	bool close;      /* after the answer */
	bool after;      /* at the dot: the message is taken, then the connection closed without an answer */
	unsigned slow_ms;
	enum refusal kind;
};

struct percents {
	double defer, refuse;
};

struct rule;
struct attempts;
struct limits;
struct domain;

struct sink {
	struct loop *loop;
	SSL_CTX *tls;
	struct line_file *ledger;
	const char *body_dir, *json_file;
	unsigned defer_percent, forever_percent, unknown_percent, delay_ms;
	struct percents at_rcpt, at_dot;
	bool plain_ehlo;
	struct rule *rules;
	struct attempts *attempts;
	struct limits *limits;
	unsigned long bodies;
	struct stats stats;
};

struct listener {
	struct sink *sink;
	struct event *ev;
	char text[56];
	struct domain *domain; /* NULL: told by recipients */
};

struct peer {
	struct sink *sink;
	struct listener *listener;
	struct io *io;
	char client[46];
	char sender[512];
	char *rcpts; /* one after the other, each with its NUL */
	size_t rcpts_len, rcpts_size;
	unsigned n_rcpts;
	bool in_data, in_headers, line_start;
	char id[128];
	int64_t sent_at; /* X-Test-Time, us since the epoch; 0: none */
	uint32_t crc, crc_told;
	bool has_crc_told;
	size_t size;
	FILE *body;
	struct domain *domain; /* whose connection this is */
	unsigned domain_messages;
	bool admitted; /* the message in hand counts in the domain's rate */
	struct timer delay;
	struct answer delayed;
};

/* sink_peer.c */
void peer_new(struct listener *, int fd, const struct sockaddr *);

/* sink_content.c */
void content_start(struct peer *);
/* True when the final dot was read; false: more is to come. */
bool content_read(struct peer *);

/* sink_script.c */
void rule_add(struct sink *, const char *spec);
/* What an address asks for at a stage (the sender's at MAIL, else a recipient's), then what percentages and -s rules
 * say. */
void script_answer(struct sink *, enum stage, const char *listener, const char *addr, const char *id, struct answer *);

/* sink_limits.c */
void limits_load(struct sink *, const char *file, bool rate_closes);
struct domain *limits_domain(struct sink *, const char *name);
/* Each returns false if the answer says no. */
bool limits_connect(struct peer *, struct domain *, struct answer *);
bool limits_mail(struct peer *, struct answer *);
bool limits_rcpt(struct peer *, const char *addr, struct answer *);
void limits_taken(struct peer *);
void limits_leave(struct peer *);
void limits_json(struct sink *, FILE *);

/* sink_stats.c */
void stats_taken(struct peer *);
void stats_write(struct sink *);

#endif
