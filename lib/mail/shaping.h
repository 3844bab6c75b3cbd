/* Shaping data (conf/shaping.lua, main.cf's shaping_files): how gently to treat each mailbox provider, and what to do
 * when it complains. Layers, each laid over the one before: default, provider, provider and source, site, domain, the
 * last two also with a source. Files layer likewise, so that an administrator's file changes or takes away (`unset`,
 * `remove_rules`) single settings of the one that is shipped. Each setting knows the file and line that said it. */
#ifndef MAIL_SHAPING_H
#define MAIL_SHAPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "mail/policy_path.h"

struct shaping;

/* Where a setting or rule comes from. */
struct shaping_origin {
	const char *file; /* as the administrator named it; NULL: built in */
	unsigned line;
	const char *layer; /* "default", "provider google", "domain example.com, source ip-1" */
};

/* All errors or nothing: NULL and at least one error. No files: a shaping that says nothing. */
struct shaping *shaping_load(const struct conf_strs *files, struct conf_errors *) __attribute__((warn_unused_result));
void shaping_free(struct shaping **);

/* What is known of where a message goes; anything may be NULL. */
struct shaping_path {
	const char *domain;         /* of the recipient */
	const char *site;           /* site name */
	const char *source;
	const char *const *mx;      /* host names, lower case, without final dot */
	size_t n_mx;
};

struct shaping_settings {
	struct policy_path_config config; /* provider_name included */
	const struct shaping_origin *origins[POLICY_PATH_FIELDS_MAX]; /* by field; NULL where absent */
};

/* The provider of a path: every MX host must match one of its mx_suffix or mx_host rules, or the domain one of its
 * domain_suffix rules. Of several the most specific: domain_suffix, mx_host, the longest mx_suffix, the one said last.
 * NULL: none. The string lives as long as the shaping. */
const char *shaping_provider(const struct shaping *, const struct shaping_path *);
bool shaping_has_provider(const struct shaping *, const char *name);
/* All layers that apply, merged. The caller clears out->config. */
void shaping_settings(const struct shaping *, const struct shaping_path *, struct shaping_settings *out);

/* Domains that are known to be a provider's, for checks. False: there is no i-th. */
struct shaping_known {
	const char *provider, *domain;
	const struct shaping_origin *origin; /* of the provider */
};
bool shaping_known(const struct shaping *, size_t i, struct shaping_known *out) __attribute__((warn_unused_result));

/* Automation. */
enum shaping_action_type {
	ACTION_SUSPEND,          /* the path (or what `scope` says) */
	ACTION_SET_CONFIG,       /* a setting of the path */
	ACTION_SUSPEND_TENANT,   /* at this domain, site or provider */
	ACTION_SUSPEND_CAMPAIGN,
	ACTION_BOUNCE, ACTION_BOUNCE_TENANT, ACTION_BOUNCE_CAMPAIGN,
	ACTION_ALERT             /* only of verdicts (bounce_todo.h): a record, no override */
};

struct shaping_action {
	enum shaping_action_type type;
	int field;         /* SET_CONFIG: number of the setting (policy_path.h) */
	const char *value; /* SET_CONFIG: as policy_path_set() takes it */
};

/* What hits are counted for, and what an effect covers. */
enum shaping_scope {
	SCOPE_PATH,     /* source and site */
	SCOPE_PROVIDER, /* source and provider; a path without provider: as PATH */
	SCOPE_PROVIDER_TOTAL, /* provider, over all sources */
	SCOPE_DOMAIN    /* source and recipient domain */
};

struct shaping_rule {
	const char *name;        /* unique in its layer; made from file and line if not given */
	const char *id;          /* "google/unusual-rate": unique, and the same after a reload that did not touch it */
	struct shaping_origin origin;
	uint64_t trigger_count;  /* 1: immediate */
	int64_t trigger_period;  /* ms; 0 with a count of 1 */
	enum shaping_scope scope;
	int64_t duration;        /* ms */
	bool match_internal;     /* also what we said ourselves */
	bool is_dry_run;         /* say what it would do */
	bool is_verdict;         /* not of shaping data: of the bounce rules, or an answer of policy */
	bool is_gradual;         /* limits are raised step by step at the end (default), not dropped at once */
	const struct shaping_action *actions;
	size_t n_actions;
};

/* The rules that a failure's reply hits, over all layers that apply, at most max; returns how many. reply: one line,
 * "421 4.7.0 [TSS04] text", lines of a multi-line reply joined by a space. Bounded time whatever the reply says. */
size_t shaping_match(const struct shaping *, const struct shaping_path *, const char *reply, bool is_internal,
    const struct shaping_rule **out, size_t max);
/* A rule by its id, after a reload; NULL: gone. */
const struct shaping_rule *shaping_rule_find(const struct shaping *, const char *id);

/* Every table of settings that the data have, as written: of layers, and of sources in them. */
typedef void shaping_config_fn(const struct policy_path_config *, const struct shaping_origin *, void *arg);
void shaping_each_config(const struct shaping *, shaping_config_fn *, void *arg);

/* For `posthorn shaping check`: what is dead or shadowed, providers without a known domain, patterns that hit no
 * sample, as warnings with file and line. Needs no network. */
void shaping_lint(const struct shaping *, struct conf_errors *findings);

#endif
