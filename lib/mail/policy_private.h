/* Between the parts of the policy engine: policy.c (load, validation, look-ups), policy_define.c (posthorn.source
 * and its like), policy_field.c (Lua tables to C structs), policy_event.c (events), policy_sandbox.c (the jail
 * around Lua: libraries, memory, time), policy_guard.c (library functions that would run long inside C). */
#ifndef MAIL_POLICY_PRIVATE_H
#define MAIL_POLICY_PRIVATE_H

#include <lauxlib.h>
#include <lua.h>
#include <time.h>

#include "mail/policy.h"
#include "mail/policy_path.h"

#define POLICY_FILE_MAX (1u << 20)
#define POLICY_MEMORY_MAX (32u << 20)  /* bytes of one Lua state */
#define POLICY_LOAD_MS 2000            /* CPU time; beyond it the load fails */
#define POLICY_EVENT_MS 100            /* CPU time; beyond it the event fails */
#define POLICY_SOURCES_MAX 4096
#define POLICY_POOLS_MAX 256           /* each is a deliverd */
#define POLICY_ENTRIES_MAX 1024
#define POLICY_LISTENER_DOMAINS_MAX 100000
#define POLICY_DKIM_MAX 20000
#define POLICY_FEEDBACK_MAX 1000
#define POLICY_UNSUBSCRIBES_MAX 10000
#define POLICY_NAME_MAX 64

enum policy_event_id {
	POLICY_GET_EGRESS_POOL,
	POLICY_GET_QUEUE_CONFIG,
	POLICY_GET_EGRESS_PATH_CONFIG,
	POLICY_SMTP_CONNECT, /* from here on in the order of enum policy_call_id */
	POLICY_SMTP_EHLO,
	POLICY_SMTP_AUTH,
	POLICY_SMTP_MAIL,
	POLICY_SMTP_RCPT,
	POLICY_SMTP_MESSAGE,
	POLICY_REQUEUE,
	POLICY_REBIND,
	POLICY_BOUNCE_CLASSIFIED,
	POLICY_EVENTS
};
extern const char *const policy_event_names[POLICY_EVENTS + 1];

struct source_def {
	struct policy_source source;
	unsigned line;
	const struct policy_pool *pool; /* found by validation */
};

struct entry_def {
	char *name;
	int64_t weight;
};

struct pool_def {
	struct policy_pool pool; /* entries: filled by validation */
	struct entry_def *entries;
	size_t n_entries;
	unsigned line;
};

struct listener_def {
	struct policy_listener_domain domain;
	unsigned line;
};

struct sender_def {
	struct policy_sender_domain domain;
	unsigned line;
};

struct unsubscribe_def {
	struct policy_unsubscribe u;
	unsigned line;
};

/* One posthorn.dkim. */
struct dkim_def {
	struct dkim_signer *signer;
	char **senders;      /* domains of authors; none: all */
	size_t n_senders;
	bool has_subdomains;
	unsigned line;
};

/* A domain of authors, and who signs for it. */
struct dkim_sender {
	const char *domain;
	size_t def;
};

struct policy_handler {
	int ref;       /* in the Lua registry; LUA_NOREF: none */
	unsigned line; /* where the function begins */
};

struct shaping;

/* policy_lib_log.c: what was written lately. */
struct policy_log_window {
	time_t begin;
	unsigned n, dropped;
	uint32_t hashes[100];
};

struct policy {
	lua_State *L;
	char *file;
	const char *chunk;         /* last component of file: what Lua calls it */
	struct conf_errors *errs;  /* while it loads; NULL afterwards: definitions are closed */
	struct source_def **sources;
	size_t n_sources;
	struct pool_def **pools;   /* in the order of definition */
	size_t n_pools;
	struct pool_def **by_name; /* the same, sorted */
	struct listener_def **listeners; /* sorted by name after loading */
	size_t n_listeners;
	bool asks_auth;            /* its text has the names of policy_auth.c in it */
	struct sender_def **senders; /* sorted by name after loading */
	size_t n_senders;
	struct dkim_def **dkim;    /* in the order of definition */
	size_t n_dkim;
	struct dkim_sender *dkim_senders; /* sorted by domain, then by definition */
	size_t n_dkim_senders;
	struct policy_feedback_source *feedback; /* policy_feedback.c */
	size_t n_feedback;
	struct unsubscribe_def **unsubscribe;
	size_t n_unsubscribe;
	struct policy_handler handlers[POLICY_EVENTS];
	struct shaping *shaping;   /* the jail reads a file of shaping data into it; NULL: policy.lua */

	/* policy_sandbox.c */
	size_t memory;
	int64_t cpu_limit, cpu_start; /* ns; start 0: not yet looked at */
	bool is_overrun;

	/* what was logged last, so that an event that fails for every message does not fill the disk */
	char *logged;
	time_t logged_at;

	struct policy_tasks *tasks; /* policy_call.c; NULL until the first event with objects */
	struct policy_log_window log_window;

	char **map_dirs;           /* policy_lib_map.c */
	size_t n_map_dirs;
};

/* policy.c: an empty policy; its file run in the jail. The latter says whether it ran to its end; errors are added. */
struct policy *policy_new(const char *file, struct conf_errors *);
bool policy_file_run(struct policy *);

/* policy_errors.c */
void policy_error_count(enum policy_event_id);

/* policy_sandbox.c */
int policy_sandbox_open(struct policy *); /* 0 or -1 (no memory) */
void policy_sandbox_close(struct policy *);
struct policy *policy_of(lua_State *);
/* Calls fn(L) with arg as its light userdata, protected, with limits and traceback. NULL, or a malloced sentence. */
char *policy_run(struct policy *, lua_CFunction fn, void *arg, unsigned ms);
/* Raises a Lua error if the time is up: from the hook (level 0), and from functions that may have worked long in C
 * (level 1). */
void policy_clock_check(lua_State *, int level);
/* The same for where an error cannot be raised: whether it is up. */
bool policy_clock_is_over(lua_State *);
/* Not counted as the event's: time that went into something else. */
int64_t policy_cpu_now(void); /* ns */
void policy_clock_extend(struct policy *, int64_t ns);
/* realloc() and free() that count towards the cap of that policy, for libraries: size 0 frees. */
void *policy_memory_alloc(void *ud, void *ptr, size_t osize, size_t nsize);
void policy_log(struct policy *, const char *text);
/* The arguments as text, joined by spaces; on the top of the stack. */
const char *policy_line_make(lua_State *);
/* For __index (table, key): the key of the table that is nearest to one it does not have; NULL: none is near. */
const char *policy_nearest_key(lua_State *, const char *key);
/* policy_call.c */
void policy_tasks_free(struct policy *);
/* Adds posthorn.reject and posthorn.disconnect, the kinds of objects, and posthorn.dns to the module table on the top
 * of the stack. */
void policy_call_open(lua_State *);

/* policy_guard.c: replaces what needs it in the libraries that are open. */
void policy_guard_install(lua_State *);

/* policy_define.c: makes the module table and leaves it on the stack. */
void policy_define_open(lua_State *);
/* Where the Lua function that called the running C function is. */
unsigned policy_caller_line(lua_State *);

/* policy_dkim.c: adds the table posthorn.dkim to the module table on the top of the stack. After the load: the index of
 * senders. At the end: frees both. */
void policy_dkim_open(lua_State *);
void policy_dkim_index(struct policy *);
void policy_dkim_free(struct policy *);

/* policy_feedback.c */
int policy_feedback_define(lua_State *);
void policy_feedback_free(struct policy *);
/* policy_unsubscribe.c: posthorn.list_unsubscribe. After the load: the index of tenants, and what signatures must
 * cover. */
int policy_unsubscribe_define(lua_State *);
void policy_unsubscribe_index(struct policy *);
void policy_unsubscribe_free(struct policy *);

/* shaping_read.c: the same for a file of shaping data. */
void shaping_define_open(lua_State *);

/* policy_field.c: what a table may hold. */
enum policy_field_type {
	FIELD_NAME,    /* char *: POLICY_NAME_MAX letters, digits, . _ - */
	FIELD_TEXT,    /* char *: any */
	FIELD_ADDRESS, /* char *: numeric IP address, or 'unspecified' (stays NULL) */
	FIELD_HOST,    /* char *: host name */
	FIELD_DOMAIN,  /* char *: domain, lower-cased, or "*" */
	FIELD_BOOL,    /* bool */
	FIELD_INT,     /* int64_t */
	FIELD_PORT,    /* uint16_t */
	FIELD_PORT32,  /* int32_t */
	FIELD_TIME,    /* int64_t ms: a number of seconds, or '20 min' */
	FIELD_TRI,     /* int: 0 or 1, for fields where -1 means absent */
	FIELD_WORD,    /* int: index in `words` */
	FIELD_RATE,    /* struct rate, RATE_PACED */
	FIELD_BUDGET,  /* struct rate, RATE_BUDGET */
	FIELD_LIMITS,  /* struct policy_limits: a table of names and whole numbers */
	FIELD_RATES,   /* struct policy_limits: a table of names and rates (RATE_PACED) */
	FIELD_BUDGETS, /* struct policy_limits: a table of names and rates (RATE_BUDGET) */
	FIELD_TLS,     /* int: TLS_LEVEL_* from KumoMTA's words */
	FIELD_HOSTS,   /* struct cidr_list */
	FIELD_ENTRIES, /* a pool's: the target is the struct pool_def */
	FIELD_CALL,    /* read by a function of the table's owner */
	FIELD_LATER,   /* KumoMTA's, and not supported by this version */
	FIELD_KEYSOURCE /* char *: mail/keysource.h; a file's name, or { key_data = text } */
};

struct policy_reader;

struct policy_field {
	const char *name; /* NULL: the end */
	enum policy_field_type type;
	size_t offset;
	int64_t min, max;
	const char *const *words; /* FIELD_WORD, NULL-terminated */
	size_t flag; /* offset + 1 of a bool that says the field was there; 0: none */
	/* FIELD_CALL: the value is at the top of the stack and is left there */
	void (*read)(struct policy_reader *, lua_State *, const struct policy_field *, void *target);
};

#define LATER(key) { .name = (key), .type = FIELD_LATER }

struct policy_reader;
/* policy_define.c: for the functions that define something. */
struct policy *policy_definition_begin(lua_State *, struct policy_reader *, const char *what, size_t n, size_t max);
/* policy_sender.c */
int policy_sender_domain_define(lua_State *);
void policy_senders_index(struct policy *);
void policy_senders_free(struct policy *);

struct policy_reader {
	const struct policy *policy;
	struct conf_errors *errs;
	unsigned line;
	const char *what; /* "posthorn.pool", "get_queue_config" */
};

/* Reads the table at the top of the stack (left there) into target. Errors are added; every key is looked at. Raises
 * only for lack of memory; what was read until then belongs to target. */
void policy_table_read(struct policy_reader *, lua_State *, const struct policy_field *, void *target);

/* For FIELD_CALL: the string at the top of the stack, or the length of the list there; NULL or -1 after a complaint. */
const char *policy_string_value(struct policy_reader *, lua_State *, const char *key);
lua_Integer policy_list_length(struct policy_reader *, lua_State *, const char *key, size_t max);

/* policy_define.c: common to the definitions: one table, while policy loads, if there are fewer than max yet. Where it
 * begins goes into *r. */
struct policy *policy_definition_begin(lua_State *, struct policy_reader *r, const char *what, size_t n, size_t max);

/* policy_path.c: the fields of struct policy_path_config, for events and for layers of shaping data alike. */
extern const struct policy_field policy_path_fields[];
extern const size_t policy_path_fields_count; /* without the end */
/* policy_queue.c: those of struct policy_queue_config. */
extern const struct policy_field policy_queue_fields[];

#endif
