/* Between the parts of shaping data: shaping.c (files, layers, look-ups), shaping_read.c (from Lua), shaping_index.c
 * (names), shaping_match.c (patterns and replies), shaping_lint.c (what is dead or shadowed). */
#ifndef MAIL_SHAPING_PRIVATE_H
#define MAIL_SHAPING_PRIVATE_H

#include "mail/pattern.h"
#include "mail/policy_private.h"
#include "mail/shaping.h"

#define SHAPING_FILES_MAX 64
#define SHAPING_BLOCKS_MAX 10000
#define SHAPING_LIST_MAX 1000
#define SHAPING_RULES_MAX 500  /* of one block */
#define SHAPING_DURATION_MAX (30 * 86400000ll)

enum layer_kind { LAYER_DEFAULT, LAYER_PROVIDER, LAYER_SITE, LAYER_DOMAIN };
enum match_kind { MATCH_MX_SUFFIX, MATCH_MX_HOST, MATCH_DOMAIN_SUFFIX };

struct match_rule {
	enum match_kind kind;
	char *text;        /* lower case, without leading and final dot */
	bool had_dot;      /* written with a final dot */
};

struct rule_def {
	struct shaping_rule rule;
	struct shaping_action *actions;
	struct pattern *patterns;
	size_t n_patterns;
	struct conf_strs samples, not_samples;
	char *name, *id;
	bool has_trigger, is_replaced; /* a later file said the same name, or removed it */
};

/* Settings with what they take away first. */
struct settings {
	struct policy_path_config config;
	bool unset[POLICY_PATH_FIELDS_MAX];
	const struct shaping_origin *origins[POLICY_PATH_FIELDS_MAX];
};

struct source_block {
	struct settings settings; /* first: the reader's target */
	char *name;
	struct shaping_origin origin;
	char *layer;
};

/* MX host names that are known for a domain, for the check. */
struct known {
	char *domain;
	struct conf_strs mx;
};

/* One call of posthorn.shaping.*, and also a layer: what all calls for the same thing say together. */
struct block {
	struct settings settings; /* first: the reader's target */
	enum layer_kind kind;
	char *name;               /* NULL: default */
	char *layer;
	struct shaping_origin origin;
	size_t file;              /* which one */
	bool is_replacing, removes_all;
	struct conf_strs removed; /* names of rules */
	struct match_rule *match;
	size_t n_match;
	struct rule_def **rules;  /* a layer's belong to the blocks */
	size_t n_rules;
	struct source_block **sources;
	size_t n_sources;
	struct known *known;
	size_t n_known;
};

struct blocks {
	struct block **v;
	size_t n;
};

struct shaping {
	char **files;
	size_t n_files;
	struct blocks said;    /* as written, in order */
	struct block *base;    /* the layer of posthorn.shaping.default; NULL: none */
	struct blocks providers, sites, domains; /* layers; domains sorted by name */
	struct rule_def **by_id; /* the rules in force, sorted */
	size_t n_ids;
	struct suffix *index;
	struct pattern_matcher matcher;
};

#define SHAPING_APPLY_MAX 64

/* shaping.c */
void shaping_strs_add(struct conf_strs *, const char *);
void shaping_strs_clear(struct conf_strs *);
bool shaping_strs_has(const struct conf_strs *, const char *);
void shaping_block_free(struct block *);
/* The layers of a path in order, each with its source's part (NULL: none). Returns how many. */
size_t shaping_layers(const struct shaping *, const struct shaping_path *, const struct block *out[SHAPING_APPLY_MAX]);
const struct source_block *shaping_source(const struct block *, const char *name);
/* How specifically the match rules of a block meet a path; 0: not at all. */
size_t shaping_meets(const struct block *, const struct shaping_path *);

/* shaping_index.c */
/* Once the layers are complete: refers to them. */
void shaping_index_build(struct shaping *);
void shaping_index_free(struct shaping *);
const struct block *shaping_index_provider(const struct shaping *, const struct shaping_path *);
/* Where in sites those of the path are, in order, at most max; how many. */
size_t shaping_index_sites(const struct shaping *, const struct shaping_path *, size_t *at, size_t max);

/* shaping_match.c */
bool shaping_rule_hits(const struct shaping *, const struct rule_def *, const char *reply);

#endif
