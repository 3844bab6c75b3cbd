/* What bouncerd does with a message that came to a listener domain with log_oob. */
#ifndef BOUNCERD_BOUNCE_H
#define BOUNCERD_BOUNCE_H

#include "mail/report_role.h"

void bounce_work(struct report_role *, struct report_job *);

#endif
