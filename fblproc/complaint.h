/* What fblproc does with a message that came to a listener domain with log_arf. */
#ifndef FBLPROC_COMPLAINT_H
#define FBLPROC_COMPLAINT_H

#include "mail/report_role.h"

void complaint_work(struct report_role *, struct report_job *);

#endif
