/* Between the files of posthorn suppress. */
#ifndef POSTHORN_SUPPRESS_H
#define POSTHORN_SUPPRESS_H

#include "adm_client.h"
#include "admin.h"

#define SUPPRESS_TIMEOUT 120000 /* ms: the disk may be busy with other mail */

struct suppress_args {
	const char *tenant, *sender_domain, *reason, *scope, *domain, *note, *limit, *format, *output;
	int64_t expires; /* wall ms; 0: never */
	bool all_scopes, expired;
};

/* NULL and a sentence printed. */
struct adm_client *suppress_connect(const struct admin *);
/* The scope and what else narrows a list. */
void suppress_add_filter(struct ql_admin *, const struct suppress_args *);
int suppress_import(const struct admin *, const struct suppress_args *, int argc, char **argv);
int suppress_export(const struct admin *, const struct suppress_args *);
int suppress_report(const struct admin *, const struct suppress_args *);

#endif
