/* An SPF check by questions to the dns role: spf.h for a process that has a loop and a dns_client. */
#ifndef MAIL_SPF_RUN_H
#define MAIL_SPF_RUN_H

#include "base/loop.h"
#include "mail/dns_client.h"
#include "mail/spf.h"

struct spf_run;
/* The verdict is valid during the call. */
typedef void spf_run_fn(const struct spf_verdict *, void *arg);

/* fn is called once, within SPF_TIME_MS, never before this returns; then the run is gone. */
struct spf_run *spf_run_start(struct loop *, struct dns_client *, const struct spf_query *, spf_run_fn *, void *arg);
/* Who asked is gone. NULL is all right. */
void spf_run_cancel(struct spf_run **);

#endif
