/* The event log of mail (events(5)): one JSON object a line, KumoMTA's field names and record types plus ours. The
 * file of the hour is opened by queued, which passes its descriptor to everybody; each line leaves in one write(2)
 * on an O_APPEND descriptor, so lines of several processes never mix. Lines are gathered and written once a turn
 * (LOOP_LOG). If writing fails (disk full), lines are kept, up to 16 MiB, and tried again; beyond that they are
 * counted and said so. */
#ifndef MAIL_EVENTLOG_H
#define MAIL_EVENTLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "base/loop.h"
#include "mail/queue_link.h"

struct arf_report;
struct eventlog;

enum event_type { EV_RECEPTION, EV_DELIVERY, EV_TRANSIENT_FAILURE, EV_BOUNCE, EV_EXPIRATION, EV_ADMIN_BOUNCE,
	EV_REJECTION, EV_DELAYED, EV_SOURCE_OUT, EV_SOURCE_IN, EV_OVERRIDE, EV_ADMIN_REBIND, EV_ALERT,
	EV_FEEDBACK, EV_TLS_SESSION, EV_OOB, EV_TYPES };
extern const char *const event_type_names[EV_TYPES];

/* What an Override record says of it. */
struct event_override {
	const char *action; /* begun, changed, ended */
	uint64_t id;
	const char *kind, *scope, *setting, *value, *reason, *made_by, *evidence;
	int64_t expires; /* wall ms, 0: until cancelled */
	bool is_dry_run;
};

/* What a failure means beside its class (bounce_class.h), and what is done about it (bounce_todo.h). */
struct event_bounce {
	const char *cause, *kind, *scope, *action;
	bool is_of_policy; /* action: policy said so, not the rules */
};

/* What an Alert says. */
struct event_alert {
	const char *kind;    /* "bounce": what a reply means; "sender_not_authenticated" */
	const char *action;  /* "begun", "ended"; NULL: it was said once */
	const char *made_by, *reason;
	const char *author;  /* domain; NULL */
};

/* What a Feedback record says of the complaint. */
struct event_feedback {
	const struct arf_report *report;
	const struct meta *trace; /* what our trace header said, if it is ours */
	uint32_t n_trace;
	const char *source, *source_by, *proof; /* fblproc/finding.h; NULL: none */
	bool is_trusted, is_duplicate;
	const char *why;               /* nothing comes of it; NULL: something does */
	const struct msgid *message;   /* complained about; NULL: not known */
	const char *recipient, *recipient_by;
	const char *suppressed;        /* the scope; NULL: nobody */
};

/* What an OOB record says of the bounce. NULL: not said. */
struct event_oob {
	const char *kind;         /* "failed", "delayed", "auto-reply" ... */
	const char *shape;        /* dsn_parse.h */
	const char *proof;        /* "verp", "trace" */
	const char *why;          /* nothing comes of it */
	bool is_trusted, is_duplicate;
	const struct msgid *message; /* that it is about, by the proof */
	const char *recipient_by; /* "verp", "trace", "report" */
	const char *reported, *remote_mta, *reporting_mta;
	const char *to;           /* the address that it came to */
	const char *suppressed;   /* the scope; NULL: nobody */
};

/* A record before it is written. NULL and 0 mean absent (written as null, "" or left out as events(5) says). */
struct event_record {
	enum event_type type;
	const struct msgid *id; /* NULL for Rejection */
	const char *sender;
	const char *recipient;         /* one, or */
	const char *const *recipients; /* several: an array (Reception) */
	uint32_t n_recipients;
	const char *queue, *domain, *tenant, *campaign;
	const char *site;
	uint64_t size;
	uint16_t code;
	struct enhanced_code enhanced;
	const char *content;
	const char *command;
	const char *peer_name, *peer_addr;
	int64_t created; /* wall ms */
	uint16_t num_attempts;
	const char *bounce_classification;
	const char *egress_pool, *egress_source, *source_address;
	const struct meta *meta;
	uint32_t n_meta;
	const char *delivery_protocol, *reception_protocol;
	const char *tls_version, *tls_cipher, *tls_verified, *tls_policy, *tls_result;
	const char *provider;
	const char *session;
	const char *message_id;
	const char *auth_user;
	int64_t next_attempt; /* wall ms, 0: none */
	uint8_t phase;
	bool is_local;
	const struct ql_timing *timing;
	const struct event_override *override; /* NULL but for Override */
	const struct event_feedback *feedback; /* NULL but for Feedback */
	const struct event_bounce *bounce;     /* NULL: not a failure */
	const struct event_oob *oob;           /* NULL but for OOB */
	const struct event_alert *alert;       /* NULL but for Alert */
};

/* writer: "smtpd-1", "deliverd/pool-a"; the start time is appended, so that (writer, seq) is gap-free from each
 * start. */
struct eventlog *eventlog_new(struct loop *, const char *writer);
/* Writes what is left. The loop keeps a step of it: free it only when the loop runs no more. */
void eventlog_free(struct eventlog **);
void eventlog_set_node(struct eventlog *, const char nodeid[37]);
/* Takes over the descriptor; pending lines go to the new one. */
void eventlog_set_fd(struct eventlog *, int fd);
void eventlog_write(struct eventlog *, const struct event_record *);
/* Whether lines are waiting because writing failed: take no more mail then. */
bool eventlog_stuck(const struct eventlog *);
void eventlog_flush(struct eventlog *);

#endif
