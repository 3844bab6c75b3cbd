/* What fblproc does with a message that came to a listener domain with log_arf: the parse role reads it; what is no
 * complaint goes on to its next stage; a complaint becomes a Feedback record, and a request to suppress the recipient
 * if it is proven (finding.h). */
#ifndef FBLPROC_COMPLAINT_H
#define FBLPROC_COMPLAINT_H

#include "mail/report_role.h"

/* For struct report_spec. */
void complaint_start(struct report_role *);
void complaint_close(struct report_role *);
void complaint_parser(struct report_role *, int fd);
void complaint_work(struct report_role *, struct report_job *);
void complaint_up(struct report_role *);
int complaint_parse_main(const struct params *, const char *user);
extern const struct ipc_rule complaint_rules[];
extern const size_t n_complaint_rules;

#endif
