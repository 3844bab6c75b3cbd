/* policy.lua(5) in a sandboxed Lua 5.4 state: definitions (sources, pools, listener domains) and events. Text
 * only, no files or processes, memory capped by the allocator, run time by an instruction hook that cannot be
 * swallowed by pcall; what escapes the hook is ended by the process's watchdog. The module is the global
 * `posthorn`, also `kumo` and by require. Errors in an event fail that request only. */
#ifndef MAIL_POLICY_H
#define MAIL_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"

struct policy;
struct sockaddr;

struct policy_source {
	char *name;
	char *source_address; /* NULL: let the kernel choose only if policy says 'unspecified' */
	char *ehlo_domain;    /* NULL: myhostname */
	uint16_t remote_port; /* 0: the path's */
};

struct policy_pool_entry {
	const struct policy_source *source;
	uint32_t weight; /* 1.. */
};

struct policy_pool {
	char *name;
	struct policy_pool_entry *entries;
	size_t n_entries;
	int guard;      /* enum guard_mode; -1: the parameter's */
	char *fallback; /* the pool that takes its mail while all its sources are out; NULL */
};

/* What becomes of a report that was taken down: it ends here, or is relayed as other mail (if relay_to is true). */
enum report_action { REPORT_IGNORE, REPORT_DROP, REPORT_RELAY };

struct policy_listener_domain {
	char *name; /* "*" any */
	bool relay_to;
	enum report_action log_oob, log_arf; /* bounces; complaints */
};

/* Who may report complaints: known by a signature of one of these domains or of one below, or by the client. */
struct policy_feedback_source {
	char *name;
	char **dkim_domains;
	size_t n_dkim_domains;
	struct cidr_list addresses;
};

/* The fields of RFC 8058 for mail of a tenant. In url and mailto, {token} stands for the recipient's token. */
struct policy_unsubscribe {
	char *tenant;  /* "*": of every tenant that has none of its own, and of none */
	char *url;     /* https */
	char *mailto;  /* NULL; without "mailto:" */
	bool complete; /* List-Unsubscribe-Post goes to a List-Unsubscribe of the author's that has an https URI */
};
#define POLICY_UNSUBSCRIBE_MAX 400 /* octets of each text */

/* dkim.h: how one signature is made. */
struct dkim_signer;
/* policy_queue.h: what get_queue_config may say. */
struct policy_queue_config;
/* policy_path.h: what get_egress_path_config, shaping data and overrides may say of an egress path. */
struct policy_path_config;

/* Of an envelope sender. */
struct policy_sender_domain {
	char *name;        /* "*" any */
	char *verp_domain; /* return paths name the recipient (verp.h), at this domain */
	char *verp_prefix;
};

/* Loads and validates: a source belongs to exactly one pool, entries exist, names are unique, addresses parse,
 * unknown keys are errors with a suggestion. NULL and errors (all of them). A missing file is an error. */
struct policy *policy_load(const char *file, struct conf_errors *);
void policy_free(struct policy **);

size_t policy_pool_count(const struct policy *);
const struct policy_pool *policy_pool_at(const struct policy *, size_t);
const struct policy_pool *policy_pool_find(const struct policy *, const char *name);
/* The pool that takes everything where policy defines just one; NULL if there are none or several. */
const struct policy_pool *policy_only_pool(const struct policy *);
/* The most specific that matches: the domain itself, or "*". */
const struct policy_listener_domain *policy_listener_domain(const struct policy *, const char *domain);
/* The same of senders; NULL: none. */
const struct policy_sender_domain *policy_sender_domain(const struct policy *, const char *domain);
/* The first that matches; NULL. */
const struct policy_feedback_source *policy_feedback_by_address(const struct policy *, const struct sockaddr *client);
const struct policy_feedback_source *policy_feedback_by_domain(const struct policy *, const char *domain, size_t len);
/* NULL: none for that tenant (NULL: mail without one). */
const struct policy_unsubscribe *policy_unsubscribe_of(const struct policy *, const char *tenant);
/* A text of one of these with the token in its place, malloced. */
char *policy_unsubscribe_fill(const char *text, const char *token) __attribute__((warn_unused_result));
/* The signers that posthorn.dkim defines for mail whose author is of that domain, in the order of definition: how many,
 * at most `max` of them in out. They are policy's. */
size_t policy_dkim_signers(const struct policy *, const char *domain, struct dkim_signer **out, size_t max);
size_t policy_dkim_count(const struct policy *);
/* A definition, and where it is. */
const struct dkim_signer *policy_dkim_at(const struct policy *, size_t, unsigned *line_r);
bool policy_signs_by_domain(const struct policy *);
/* Whether messages may be signed at all: by a definition, or by the event of a message. */
bool policy_may_sign(const struct policy *);
/* Whether there is a listener domain; whether policy may ask for SPF or DKIM itself. */
bool policy_has_listeners(const struct policy *);
bool policy_asks_auth(const struct policy *);
/* Whether mail of any pool must be such that it passes DMARC; by_default: pools that say nothing. */
bool policy_guards(const struct policy *, bool by_default);
bool policy_has(const struct policy *, const char *event);
/* Folders whose files it reads again when they change (posthorn.map): for the jail of who asks it. */
const char *const *policy_map_directories(const struct policy *, size_t *n_r);
/* "policy.lua:12, get_queue_config": where the function of an event is, for people; "" if there is none. Malloced. */
char *policy_where(const struct policy *, const char *event) __attribute__((warn_unused_result));

/* Events. 1: handler answered; 0: no handler, or it returned nil; -1: error, *err_r a malloced sentence with file
 * and line (the traceback went to the log). A configured single pool needs no event: policy_only_pool(). *pool_r
 * is malloced and names a pool that exists; `out` is initialised first and may be cleared whatever is returned. */
int policy_get_egress_pool(struct policy *, const char *domain, const char *tenant, const char *campaign, char **pool_r,
    char **err_r) __attribute__((warn_unused_result));
int policy_get_queue_config(struct policy *, const char *domain, const char *tenant, const char *campaign,
    struct policy_queue_config *out, char **err_r) __attribute__((warn_unused_result));
int policy_get_path_config(struct policy *, const char *domain, const char *source, const char *site,
    struct policy_path_config *out, char **err_r) __attribute__((warn_unused_result));
/* What is known of a failure: a text, or a number where that is NULL. */
struct policy_fact {
	const char *key, *text;
	int64_t number;
};
struct bounce_cause;
struct bounce_todo;
/* bounce_classified: what is to be done instead; the caller clears it after a 1. */
int policy_bounce_classified(struct policy *, const struct policy_fact *, size_t n, const struct bounce_cause *,
    struct bounce_todo *out, char **err_r) __attribute__((warn_unused_result));
/* The pool that carries a queue, given what get_queue_config said of it: get_egress_pool decides, else the table's
 * egress_pool, else the only pool there is. NULL: none can be told, and *why_r, malloced, says why. malloced. */
char *policy_queue_pool(struct policy *, const char *domain, const char *tenant, const char *campaign,
    const struct policy_queue_config *, char **why_r) __attribute__((warn_unused_result));

#endif
