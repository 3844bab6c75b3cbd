/* Everything that is said on queued's socket ($run_directory/queued.sock): types, one encoder and one decoder
 * each, used by both ends. Roles: producer (smtpd worker), consumer (deliverd, bouncerd, fblproc), admin. queued
 * gives a role by SO_PEERCRED user (admin: root or group posthorn); in single-user mode our own uid may take any.
 *
 * Order: client sends HELLO first. Producer: then SEG_HELD for each segment it still holds. Consumer: then HELD
 * for each envelope it still holds, then CREDIT. queued answers WELCOME + LOGFD, and the rest follows.
 *
 *   QL_HELLO     c>q  proto, role, name (worker name or pool), pid, generation
 *   QL_WELCOME   q>c  proto, nodeid, token keys
 *   QL_KEYS      q>c  the token keys: the current one and, for bouncerd and fblproc, older ones to check with; again
 *                     when there is a new one
 *   QL_LOG_WANT  c>q  of bouncerd: the event log of that time (wall ms), to read
 *   QL_LOG_HERE  q>c  the same request id; read-only descriptor. QL_LOG_NONE: there is none
 *   QL_LOGFD     q>c  hour + descriptor of the event-log file, again at every hour
 *   QL_SEG_WANT  p>q  kind (normal, large)
 *   QL_SEG_GRANT q>p  segment, kind, limit + descriptor
 *   QL_SEG_HELD  p>q  segment, kind, end offset: after a reconnect
 *   QL_SEG_STOP  q>p  segment: do not append to it any more
 *   QL_SEG_DONE  p>q  segment, end offset: full (or a large one finished or abandoned)
 *   QL_RECEIVED  p>q  segment, offset, record header, envelope
 *   QL_FLOW      q>p  bits (enum ql_flow), 0: go on; said whenever they change
 *   QL_HELD      c>q  envelope id (message, recipient index): after a reconnect
 *   QL_CREDIT    c>q  how many more envelopes it will take
 *   QL_SEG_OPEN  q>c  segment + read-only descriptor
 *   QL_SEG_CLOSE q>c  segment: no job uses it any more
 *   QL_JOB       q>c  one message for some of its recipients, all in one scheduled queue
 *   QL_CANCEL    q>c  envelope id: give it back unless it is being sent
 *   QL_RESULT    c>q  what became of one envelope
 *   QL_ASK       q>c  request id; what the consumer knows about a destination: a verb with arguments (explain)
 *   QL_ANSWER    c>q  the same id; one JSON object (text)
 *   QL_ANSWER_END c>q the same id; status, sentence
 *   QL_GENERATION c>q generation, digest: after a reload. Jobs go only to consumers with queued's own digest
 *   QL_LIMITS    q>c  format + descriptor of the table of rates in use (mail/buckets.h)
 *   QL_POOL      c>q  whether any source of the pool can be used, and if not, why; said at each change and after HELLO
 *   QL_OVERRIDE  q>c  an override that the consumer acts on (mail/override.h), new or changed; all after WELCOME
 *   QL_OVERRIDE_END q>c its number: it has ended. 0: those said since WELCOME are all there are
 *   QL_RETRY     q>c  an administrator wants mail tried now: no path rests any longer, sources that are out are tried
 *   QL_POLICY_ERRORS p>q, c>q  how often policy has failed since it was said last, by event (mail/policy_errors.h)
 *   QL_SUPPRESS  q>c  to bouncerd: number + what is to be suppressed (mail/suppress_request.h). c>q: from fblproc and
 *                     bouncerd, number of the sender's; kept in the outbox, then answered
 *   QL_SUPPRESSED c>q, q>c  the number: it is on the list (from bouncerd), it is in the outbox (from queued)
 *   QL_ADMIN     a>q  a verb with arguments; also on bouncerd's socket, as are the two that follow
 *   QL_ADMIN_DATA q>a one JSON object (text)
 *   QL_ADMIN_END q>a  status (0 ok, 1 refused), sentence
 *   QL_SUPPRESS_ROWS a>b  to bouncerd: rows for the suppression list (mail/suppress_rows.h); answered by ADMIN_DATA
 *                     with counts and ADMIN_END, when they are durable
 */
#ifndef MAIL_QUEUE_LINK_H
#define MAIL_QUEUE_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ipc.h"
#include "mail/envelope.h"
#include "mail/record.h"
#include "mail/reply.h"

#define QL_PROTO 1
#define QL_SOCKET "queued.sock"
#define QL_BOUNCERD_SOCKET "bouncerd.sock"

enum ql_type {
	QL_HELLO = 1, QL_WELCOME, QL_LOGFD,
	QL_SEG_WANT, QL_SEG_GRANT, QL_SEG_HELD, QL_SEG_STOP, QL_SEG_DONE, QL_RECEIVED, QL_FLOW,
	QL_HELD, QL_CREDIT, QL_SEG_OPEN, QL_SEG_CLOSE, QL_JOB, QL_CANCEL, QL_RESULT,
	QL_ADMIN, QL_ADMIN_DATA, QL_ADMIN_END,
	QL_LIMITS, QL_POOL, QL_OVERRIDE, QL_OVERRIDE_END, QL_ASK, QL_ANSWER, QL_ANSWER_END, QL_GENERATION,
	QL_RETRY, QL_POLICY_ERRORS, QL_SUPPRESS, QL_SUPPRESSED, QL_KEYS, QL_SUPPRESS_ROWS,
	QL_LOG_WANT, QL_LOG_HERE, QL_LOG_NONE
};

/* Internal pools and the consumers that serve them: no pool of a policy has such a name, and only the user of that
 * daemon may say it. */
#define QL_BOUNCERD "@bouncerd"
#define QL_FBLPROC "@fblproc"

enum ql_role { QL_ROLE_PRODUCER = 1, QL_ROLE_CONSUMER, QL_ROLE_ADMIN };
enum ql_seg_kind { QL_SEG_NORMAL = 1, QL_SEG_LARGE };
/* HOLD: too much is in memory; let new mail wait a while. NO_SEGMENTS: there is no space for what was asked for by
 * SEG_WANT (the grant follows when there is); what does not fit into segments at hand is refused, 452. REFUSE: the
 * index or the event log cannot be written; all mail is refused, 452. */
enum ql_flow { QL_FLOW_HOLD = 1, QL_FLOW_NO_SEGMENTS = 2, QL_FLOW_REFUSE = 4, QL_FLOW_ALL = 7 };

struct ql_hello {
	uint16_t proto;
	uint8_t role;
	char *name;
	uint32_t pid;
	uint32_t generation; /* of the configuration, for people; 0: read without a supervisor */
	uint64_t digest;     /* of the configuration: equal if and only if it is the same */
};

#define TOKEN_KEY_LEN 32
struct ql_token_key {
	uint8_t id;
	uint8_t key[TOKEN_KEY_LEN];
};

#define QL_KEYS_MAX 16
struct ql_keys {
	struct ql_token_key v[QL_KEYS_MAX]; /* the current one first, then from the youngest to the oldest */
	unsigned n;
};

struct ql_welcome {
	uint16_t proto;
	char nodeid[37];
	struct ql_token_key token; /* the current one */
};

/* Identifies one recipient of one message. */
struct envid {
	struct msgid msg;
	uint16_t rcpt; /* index in the record's envelope */
};
int envid_cmp(const struct envid *, const struct envid *);

struct ql_job_rcpt {
	uint16_t index;
	char *address;
	char *orcpt; /* NULL */
	uint8_t notify;
	uint16_t attempts; /* finished before this one */
};

struct ql_job {
	struct record rec; /* where the content is */
	int64_t received;  /* wall ms */
	int64_t expires;   /* wall ms; give up waiting before it, not during a transaction */
	char *sender;
	char *envid; /* RFC 3461; NULL */
	uint8_t ret;
	char *queue;  /* scheduled queue name */
	char *domain; /* recipient domain, or the routing domain that policy set */
	char *tenant; /* NULL */
	char *campaign;
	char *message_id; /* header value, NULL */
	char *session;    /* reception session id */
	char *auth_user;  /* NULL */
	struct meta *meta;
	uint32_t n_meta;
	uint64_t digest;  /* of the configuration by which it was routed */
	struct ql_job_rcpt *rcpts;
	uint16_t n_rcpts;
	char *head;        /* goes out in place of the record's header block; NULL: nothing does, nor is in the frame */
	uint32_t head_len;
};
#define QL_HEAD_MAX (64u << 10)

enum ql_outcome {
	QL_DELIVERED = 1, /* the peer took responsibility; the Delivery event is written */
	QL_FAILED,        /* an attempt was made and failed: code says how; a verdict is due */
	QL_RETURNED,      /* no attempt was made (cancelled, suspended, shutting down): attempts do not count */
	QL_PASSED         /* of bouncerd and fblproc: not mine, the next stage may have it */
};
/* Where in the dialogue (event field `phase`). */
enum phase { PHASE_NONE, PHASE_DNS, PHASE_CONNECT, PHASE_BANNER, PHASE_EHLO, PHASE_STARTTLS, PHASE_AUTH, PHASE_MAIL,
	PHASE_RCPT, PHASE_DATA, PHASE_DOT, PHASES };
extern const char *const phase_names[PHASES];

struct ql_timing {
	uint32_t queue, dns, connect, tls, transfer; /* ms */
};

struct ql_result {
	struct envid env;
	uint8_t outcome;
	uint8_t phase;
	bool is_local; /* we said it, not the peer */
	uint16_t code;
	struct enhanced_code enhanced;
	char *text;    /* sanitised, at most REPLY_TEXT_MAX */
	char *command; /* what was answered: "RCPT TO:<..>", "."; NULL */
	char *site;    /* egress path name: source->site */
	char *source;  /* egress source name; NULL */
	char *source_address; /* "192.0.2.1:4711"; NULL */
	char *peer_name; /* MX host; NULL */
	char *peer_addr; /* NULL */
	char *provider; /* NULL */
	char *tls_version;
	char *tls_cipher;
	char *tls_verified; /* by what the server was known: "certificate", "dane"; NULL */
	char *tls_policy; /* what demanded that, or would: "tlsa", "sts" (RFC 8460); NULL: nobody */
	char *session;
	uint32_t retry_after; /* seconds the path asks for (QL_RETURNED), 0: as soon as there is credit */
	struct ql_timing timing;
	bool dsn_passed; /* QL_DELIVERED: the peer offers DSN and was given NOTIFY: a success notice is its affair */
};

/* A returned envelope that an override of its path holds back has this status. */
#define QL_IMPOSED ((struct enhanced_code){ 4, 7, 1 })
bool ql_result_is_imposed(const struct ql_result *);
/* ... and one that the guard holds back, because its author would fail DMARC, this one (RFC 7372). */
#define QL_GUARDED ((struct enhanced_code){ 4, 7, 26 })
bool ql_result_is_guarded(const struct ql_result *);

struct ql_received {
	struct record rec;
	struct envelope *env; /* decoded from the frame */
};

struct ql_admin {
	char *verb;
	struct meta *args; /* key=value */
	uint32_t n_args;
};

/* Encoders append to an empty wbuf; decoders return 0, or -1 if malformed (then nothing is left to free). `_clear`
 * frees what a decoder allocated. */
void ql_hello_encode(const struct ql_hello *, struct wbuf *);
int ql_hello_decode(struct rbuf *, struct ql_hello *) __attribute__((warn_unused_result));
void ql_hello_clear(struct ql_hello *);
void ql_welcome_encode(const struct ql_welcome *, struct wbuf *);
int ql_welcome_decode(struct rbuf *, struct ql_welcome *) __attribute__((warn_unused_result));
void ql_keys_encode(const struct ql_keys *, struct wbuf *);
int ql_keys_decode(struct rbuf *, struct ql_keys *) __attribute__((warn_unused_result));
/* All QL_SEG_*; kind 0 where unused. */
void ql_seg_encode(uint64_t segment, uint8_t kind, uint64_t offset_or_limit, struct wbuf *);
int ql_seg_decode(struct rbuf *, uint64_t *segment, uint8_t *kind, uint64_t *offset_or_limit)
    __attribute__((warn_unused_result));
void ql_received_encode(const struct record *, const struct wbuf *encoded_envelope, struct wbuf *);
int ql_received_decode(struct rbuf *, struct ql_received *) __attribute__((warn_unused_result));
void ql_received_clear(struct ql_received *);
void ql_envid_encode(const struct envid *, struct wbuf *);
int ql_envid_decode(struct rbuf *, struct envid *) __attribute__((warn_unused_result));
void ql_job_encode(const struct ql_job *, struct wbuf *);
int ql_job_decode(struct rbuf *, struct ql_job *) __attribute__((warn_unused_result));
void ql_job_clear(struct ql_job *);
void ql_result_encode(const struct ql_result *, struct wbuf *);
int ql_result_decode(struct rbuf *, struct ql_result *) __attribute__((warn_unused_result));
void ql_result_clear(struct ql_result *);
void ql_generation_encode(uint32_t generation, uint64_t digest, struct wbuf *);
int ql_generation_decode(struct rbuf *, uint32_t *generation, uint64_t *digest) __attribute__((warn_unused_result));
void ql_u32_encode(uint32_t, struct wbuf *); /* CREDIT, FLOW */
int ql_u32_decode(struct rbuf *, uint32_t *) __attribute__((warn_unused_result));
void ql_u64_encode(uint64_t, struct wbuf *); /* OVERRIDE_END, SUPPRESSED */
int ql_u64_decode(struct rbuf *, uint64_t *) __attribute__((warn_unused_result));
void ql_str_encode(const char *, struct wbuf *); /* LOGFD hour, ADMIN_DATA */
int ql_str_decode(struct rbuf *, size_t max, char **) __attribute__((warn_unused_result));
void ql_admin_encode(const struct ql_admin *, struct wbuf *);
int ql_admin_decode(struct rbuf *, struct ql_admin *) __attribute__((warn_unused_result));
void ql_admin_clear(struct ql_admin *);
void ql_end_encode(uint8_t status, const char *sentence, struct wbuf *);
int ql_end_decode(struct rbuf *, uint8_t *status, char **sentence) __attribute__((warn_unused_result));

#define QL_POOL_REASON_MAX 512
void ql_pool_encode(bool is_usable, const char *reason, struct wbuf *);
int ql_pool_decode(struct rbuf *, bool *is_usable, char **reason) __attribute__((warn_unused_result));

/* Longest body of each type, for ipc_rule. */
#define QL_MAX_SMALL 4096u
#define QL_MAX_RECEIVED (ENVELOPE_MAX_BYTES + 4096u)
#define QL_MAX_JOB (8u << 20)
#define QL_MAX_RESULT (64u << 10)
#define QL_MAX_OVERRIDE (32u << 10)
#define QL_MAX_ADMIN (1u << 20)

#endif
