/* bouncerd as the owner of the suppression list: opens it, serves $run_directory/bouncerd.sock to operators, takes
 * requests of queued, and takes out what has expired. */
#ifndef BOUNCERD_LIST_H
#define BOUNCERD_LIST_H

#include "mail/report_role.h"
#include "mail/suppress_request.h"

struct list;

/* Before the jail; what it needs inside is added to the jail's description. Never fails: a list that cannot be used is
 * said to whoever asks, and mail is held by its readers. */
struct list *list_open(const struct params *, struct sandbox *);
/* In the jail: serves. */
void list_start(struct list *, struct loop *);
void list_up(struct list *); /* a new connection to queued, before its first frame */
void list_free(struct list **);
/* Durable when it returns 0. -1 and a sentence in *why_r (valid until the next call): not now; say it again later. One
 * that makes no sense is logged and is done with. */
int list_request(struct list *, const struct suppress_request *, int64_t now, const char **why_r)
    __attribute__((warn_unused_result));
/* The frame QL_SUPPRESS of queued, for struct job_link_ops. */
extern const struct ipc_rule list_rules[];
extern const size_t list_n_rules;

#endif
