/* One smtpd worker: everything its sessions share. Passed around, never global. */
#ifndef SMTPD_WORKER_H
#define SMTPD_WORKER_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <bsd/sys/queue.h>

#include "base/loop.h"
#include "base/tls_tickets.h"
#include "mail/dns_client.h"
#include "mail/eventlog.h"
#include "mail/params.h"
#include "mail/policy.h"
#include "mail/suppress.h"

#include "smtpd/auth.h"
#include "smtpd/check_client.h"
#include "smtpd/key_client.h"
#include "smtpd/limits.h"
#include "smtpd/qlink.h"
#include "smtpd/rates.h"
#include "smtpd/sign_client.h"
#include "smtpd/spool.h"

enum listener_kind { LISTEN_SMTPD, LISTEN_SUBMISSION, LISTEN_SUBMISSIONS, LISTEN_KINDS };
extern const char *const listener_names[LISTEN_KINDS];

/* Commands longer than any limit that can be configured do not exist; AUTH has a limit of its own (RFC 4954: 12288). */
#define WORKER_LINE_MAX (64 << 10)
#define AUTH_LINE_MAX 12288

#define TICKETS_NAME "tickets" /* of the table of ticket keys among the listening sockets */

struct session;
TAILQ_HEAD(session_list, session);

struct worker {
	struct loop *loop;
	const struct params *params;
	struct policy *policy;       /* NULL: none */
	struct eventlog *events;
	struct spool *spool;
	struct qlink *qlink;         /* NULL in tests */
	struct auth *auth;
	struct dns_client *dns;      /* NULL: policy asks no name servers */
	struct sign_client *sign;    /* NULL: nothing is signed */
	struct check_client *check;  /* NULL: nothing is checked */
	struct clients *clients;
	struct rates *rates;
	struct tls_tickets *tickets; /* keys that all workers share */
	SSL_CTX *tls[LISTEN_KINDS];  /* NULL: no certificate */
	struct key_client *keys;     /* of these; NULL in tests that have a key themselves */
	size_t connection_share;     /* this worker's part of smtpd_connection_limit */
	struct session_list sessions;
	size_t n_sessions;
	unsigned n_waiting_large;    /* sessions that wait for a large segment */
	uint64_t content_bytes;      /* memory that open transactions hold */
	uint64_t content_limit;      /* of it; 0: none */
	bool is_held;                /* queued wants no new mail now */
	int64_t drain_quiet;         /* submission: the silence (ms) after which clients look before they send */
	bool is_drain_due;           /* sessions end where no mail is lost to it */
	bool is_draining;            /* no new connections; the process ends with its last session */
	bool is_stopping;
	struct timer stop_timer;
	char *line;                  /* scratch: the current command (WORKER_LINE_MAX + 1) */
	struct suppress *suppress;   /* the suppression list; NULL in tests: there is none */
	bool has_users;              /* a passwd file is configured: AUTH is offered */
};

/* The worker role; the exit status. workers: how many there are of it. Takes the policy over. */
int worker_main(const struct params *, struct policy **, unsigned instance, unsigned workers);

#endif
