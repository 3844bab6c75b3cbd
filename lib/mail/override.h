/* Overrides: limits, suspensions and bounces that hold for a while, over what policy and shaping data say. Made by
 * automation rules, by the admin command or by a statistics daemon alike; kept by queued in the index; told to every
 * deliverd (QL_OVERRIDE). Of several that apply the strictest wins. */
#ifndef MAIL_OVERRIDE_H
#define MAIL_OVERRIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/wire.h"
#include "mail/policy_path.h"

enum override_kind { OVERRIDE_SUSPEND = 1, OVERRIDE_LIMIT, OVERRIDE_BOUNCE };

/* Where it holds: all that are not NULL must match. None set: everywhere. */
struct override_scope {
	char *source, *site, *provider; /* of a path: deliverd acts */
	char *pool;
	char *domain, *tenant, *campaign;
};

/* An example of what an automation rule saw: what an override that is raised step by step is compared with in the
 * end is looked up for it. NULLs: none. */
struct override_sample {
	char *source, *site, *domain, *host;
};

struct override {
	uint64_t id;         /* given by queued, never used again */
	uint8_t kind;
	bool is_dry_run;     /* recorded and shown, not applied */
	bool is_gradual;     /* a limit that is raised step by step when its time is over */
	bool is_quiet;       /* BOUNCE: without notices */
	uint16_t step;       /* how often it was raised */
	struct override_scope scope;
	char *setting;       /* LIMIT: name of a setting of policy_path.h */
	char *value;         /* LIMIT: as policy_path_set() takes it */
	char *first_value;   /* LIMIT: before it was raised; NULL: value */
	char *reason;        /* a sentence */
	char *made_by;       /* "admin", "rule google/unusual-rate" */
	char *evidence;      /* the reply that triggered it; NULL */
	int64_t created, expires; /* wall ms (in queued's index and memory: of its clock); expires 0: until cancelled */
	int64_t step_every;  /* gradual: ms between steps */
	uint64_t hits;       /* replies that made it or made it last longer; mail that it bounced */
	struct override_sample sample;
};

/* Names for people and programs: "suspend", "limit", "bounce". */
const char *override_kind_name(enum override_kind);

/* What is asked: the path and message at hand; NULL matches only scopes that do not name it. */
struct override_target {
	const char *source, *site, *provider, *pool, *domain, *tenant, *campaign;
};
bool override_matches(const struct override_scope *, const struct override_target *);
/* Whether it can be decided without knowing the path: queued keeps such mail, deliverd need not see it. */
bool override_is_of_queue(const struct override_scope *);
bool override_scope_is_empty(const struct override_scope *);
bool override_scope_equals(const struct override_scope *, const struct override_scope *);
void override_scope_copy(struct override_scope *to, const struct override_scope *from);
void override_scope_clear(struct override_scope *);
/* Its parts by number, for whoever lists them or takes them from a user: NULL behind the last. */
const char *override_scope_name(unsigned part);
char **override_scope_part(struct override_scope *, unsigned part);
/* What makes no sense (a setting that does not exist, a limit for a tenant that only a path could keep): NULL, or a
 * malloced sentence. */
char *override_check(const struct override *) __attribute__((warn_unused_result));
/* Whether it is a limit that queued keeps: a rate for a tenant or a campaign. All other limits are of paths. */
bool override_is_queue_rate(const struct override *);

#define OVERRIDE_TEXT_MAX 1024
void override_encode(const struct override *, struct wbuf *);
/* 0, or -1 if malformed: then nothing is left to free. */
int override_decode(struct rbuf *, struct override *) __attribute__((warn_unused_result));
void override_clear(struct override *);
/* "source ip-1, site (mx1|mx2).example.net, tenant acme"; "everything". malloced. */
char *override_scope_text(const struct override_scope *) __attribute__((warn_unused_result));

/* Lays the setting of a LIMIT over the configuration if it is stricter than what is there: smaller numbers and rates;
 * what has no order replaces. True: it did. */
bool override_apply(const struct override *, struct policy_path_config *);
/* Whether it would change that configuration. */
bool override_is_stricter(const struct override *, const struct policy_path_config *);
/* A limit one step less strict: twice the number or rate. False: that cannot be (no order, or no more room). */
bool override_raise(struct override *);

#endif
