/* Between the parts of events with objects: policy_call.c (tasks: a handler in its Lua thread), policy_dns.c
 * (questions), policy_conn.c (connection and address), policy_message.c and policy_headers.c (message). */
#ifndef MAIL_POLICY_CALL_PRIVATE_H
#define MAIL_POLICY_CALL_PRIVATE_H

#include "mail/policy_call.h"
#include "mail/policy_private.h"

#define POLICY_TASKS_MAX 512       /* events that wait at a time; beyond it: 451 */
#define POLICY_TASK_MS 30000       /* one event, waiting included */
#define POLICY_QUESTIONS_MAX 32    /* of one event */

struct policy_task {
	struct policy *policy;
	struct policy_task *next_free;
	unsigned slot;
	uint64_t serial;         /* of the event: objects of earlier ones are void */
	bool is_live;
	lua_State *co;           /* NULL: none yet, or it died of an error */
	int co_ref;
	struct policy_call call;
	struct policy_verdict verdict;
	bool is_rejecting;
	policy_task_fn *fn;
	void *arg;
	int64_t cpu_used;        /* ns, of the legs before this one */
	struct timer deadline;
	/* The open question. */
	struct dns_request *request;
	const struct dns_reply *reply; /* during the leg that reads it */
	unsigned n_questions;
	void *auth_request;            /* the host's */
	const struct auth_results *auth; /* as reply */
};

struct policy_tasks {
	struct loop *loop;         /* NULL: events cannot wait */
	struct dns_client *dns;
	uint32_t question_ms;
	const struct policy_auth_ops *auth; /* NULL: nothing is checked here */
	void *auth_host;
	struct policy_task *current;
	struct policy_task *slots[POLICY_TASKS_MAX];
	struct policy_task *free;
	unsigned n_slots;
	uint64_t serial;
};

/* Made if there are none yet. */
struct policy_tasks *policy_tasks_of(struct policy *);
/* The task that runs now, or NULL. */
struct policy_task *policy_task_now(lua_State *);
/* policy_dns.c calls it when the answer is there. */
void policy_task_resume(struct policy_task *);

/* An object of the current event at the top of the stack. kind: the name of its metatable. */
void policy_object_push(lua_State *, const char *kind);
/* The task whose event the object at 1 belongs to; raises an error if that is over. */
struct policy_task *policy_object_task(lua_State *, const char *kind);
/* Makes a metatable: methods, an error for any other field, no changes. Leaves nothing. */
void policy_object_kind(lua_State *, const char *kind, const luaL_Reg *methods);

/* policy_dns.c: makes the table posthorn.dns on the top of the stack. */
void policy_dns_open(lua_State *);

/* policy_conn.c */
#define POLICY_CONN_KIND "connection"
#define POLICY_ADDRESS_KIND "address"
void policy_conn_open(lua_State *);
/* An address object; "" is the null sender. */
void policy_address_push(lua_State *, const char *address);
/* The text at that place of the stack: an address object's, or a string. Raises an error for anything else. */
const char *policy_address_check(lua_State *, int arg);
const char *policy_conn_value(const struct policy_conn *, const char *key, char *buf, size_t size);
/* The value of set_meta: a string, or a number or boolean as text; NULL for nil. Raises an error for anything else. */
const char *policy_meta_check(lua_State *, int arg);
const char *policy_meta_key_check(lua_State *, int arg);
void policy_meta_set(lua_State *, struct meta **, uint32_t *n, const char *key, const char *value);

/* policy_message.c */
#define POLICY_MESSAGE_KIND "message"
void policy_message_open(lua_State *);
struct policy_msg *policy_message_check(lua_State *);
/* By its key: tenant, campaign, queue, routing_domain, or any other. value NULL removes. */
void policy_message_meta_set(lua_State *, struct policy_msg *, const char *key, const char *value);

/* policy_auth.c: the table posthorn.spf, and methods of messages. */
void policy_auth_open(lua_State *);
int policy_message_dkim_verify(lua_State *);
int policy_message_add_authentication_results(lua_State *);

/* The event that runs, which is about to wait for the host; raises an error where that cannot be. The answer comes by
 * policy_auth_answer, and is in its `auth` then. */
struct policy_task *policy_auth_task(lua_State *, const char *fn);
void policy_auth_answer(const struct auth_results *, void *task);
/* Appends the clauses of a list of results, at that place of the stack. Raises an error. */
void policy_auth_clauses(lua_State *, int list, struct wbuf *, const char *fn);
/* Leaves the table of a result. props: pairs of name and value, the last name NULL. */
void policy_auth_push(lua_State *, const char *method, uint8_t result, const char *reason, const char *const *props);

/* policy_arc.c: methods of messages. */
int policy_message_arc_verify(lua_State *);
int policy_message_arc_seal(lua_State *);

/* policy_dkim.c: a method of messages. */
int policy_message_dkim_sign(lua_State *);
/* The signer at that place of the stack, or of the table there (which is replaced by it). Raises an error. */
struct dkim_signer *policy_signer_check(lua_State *, int arg, const char *fn);

/* policy_headers.c */
extern const luaL_Reg policy_header_methods[];
/* A field for the top of the block is written into what begin() returns; end() makes the block of it. Both raise
 * errors. */
struct wbuf *policy_header_begin(lua_State *, struct policy_msg *);
void policy_header_end(lua_State *, struct policy_msg *);

#endif
