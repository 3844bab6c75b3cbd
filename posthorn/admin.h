/* What the verbs of the admin command share: the invocation, how they are found, exit statuses, complaints,
 * configuration. */
#ifndef POSTHORN_ADMIN_H
#define POSTHORN_ADMIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "mail/params.h"

enum { ADM_OK = 0, ADM_FAILED = 1, ADM_USAGE = 2 };

struct admin {
	const char *config_dir;
	bool json;
};

struct admin_verb {
	const char *name;
	int (*run)(struct admin *, int argc, char **argv); /* argv[0] is the verb */
	const char *args; /* for the usage line */
	const char *what; /* one line */
};

const struct admin_verb *adm_verb_find(const char *name); /* NULL */
/* Says so, with the nearest that there is; returns ADM_USAGE. */
int adm_verb_unknown(const char *name);
void adm_print_help(FILE *);
/* One sentence on standard error, "posthorn: ..."; returns ADM_FAILED so that it can be returned in turn. */
int adm_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Prints the usage line of that verb on standard error after an optional sentence; returns ADM_USAGE. */
int adm_usage(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The configuration; prints every error with file and line and returns NULL if there are any. conf_r may be NULL. */
struct params *adm_params(const struct admin *, struct conf **conf_r);
/* $run_directory for verbs that must work while main.cf is broken (stop, status): falls back on reading that one
 * line. NULL and a sentence printed if even that fails. The caller frees. */
char *adm_run_directory(const struct admin *);
void adm_print_errors(const struct conf_errors *);

int cmd_start(struct admin *, int, char **);
int cmd_stop(struct admin *, int, char **);
int cmd_reload(struct admin *, int, char **);
int cmd_restart(struct admin *, int, char **);
int cmd_status(struct admin *, int, char **);
int cmd_check(struct admin *, int, char **);
int cmd_doctor(struct admin *, int, char **);
int cmd_dns(struct admin *, int, char **);
int cmd_shaping(struct admin *, int, char **);
int cmd_simulate(struct admin *, int, char **);
int cmd_conf(struct admin *, int, char **);
int cmd_queue(struct admin *, int, char **);
int cmd_explain(struct admin *, int, char **);
int cmd_suspend(struct admin *, int, char **);
int cmd_resume(struct admin *, int, char **);
int cmd_limit(struct admin *, int, char **);
int cmd_bounce(struct admin *, int, char **);
/* argv[0]: classify or check. */
int cmd_bounce_rules(struct admin *, int, char **);
int cmd_bounce_parse(struct admin *, int, char **); /* behind bounce */
int cmd_feedback(struct admin *, int, char **);
int cmd_suppress(struct admin *, int, char **);
int cmd_token(struct admin *, int, char **);
int cmd_overrides(struct admin *, int, char **);
int cmd_events(struct admin *, int, char **);
int cmd_dkim(struct admin *, int, char **);
int cmd_passwd(struct admin *, int, char **);
int cmd_version(struct admin *, int, char **);
int cmd_sendmail(struct admin *, int, char **);
int cmd_tlsrpt(struct admin *, int, char **);
int cmd_mailq(struct admin *, int, char **);

#endif
