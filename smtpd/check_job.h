/* One check of a message or of a name: SPF, DKIM, DMARC, ARC, as far as it is asked for. Asks for DNS records by a
 * callback and is told them; is told the content in pieces. */
#ifndef SMTPD_CHECK_JOB_H
#define SMTPD_CHECK_JOB_H

#include "base/loop.h"

#include "smtpd/check_dkim.h"
#include "smtpd/check_link.h"

#define CHECK_JOB_MS 18000 /* what is not known by then is temperror */

struct check_job;

struct check_job_ops {
	void (*ask)(const struct check_question *, void *arg);
	/* All is known. Called once, from any of the calls below or from the loop; the job is not to be freed in it. */
	void (*done)(const struct auth_results *, void *arg);
};

struct check_job *check_job_new(struct loop *, struct check_dkim_library *, const struct check_begin *,
    const struct check_job_ops *, void *arg);
/* Begins with what needs no content. */
void check_job_start(struct check_job *);
void check_job_free(struct check_job **);
/* The next octets of the content. -1: more than were announced. */
int check_job_data(struct check_job *, const void *, size_t);
/* To the question of that number; one that is not open is forgotten. */
void check_job_reply(struct check_job *, uint32_t number, const struct dns_reply *);

#endif
