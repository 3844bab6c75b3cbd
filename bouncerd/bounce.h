/* What bouncerd does with a message that came to a listener domain with log_oob. */
#ifndef BOUNCERD_BOUNCE_H
#define BOUNCERD_BOUNCE_H

#include "mail/report_role.h"

struct bouncer;

/* In the jail. */
struct bouncer *bouncer_new(struct report_role *);
void bouncer_free(struct bouncer **);
/* Of struct report_spec. */
void bounce_work(struct report_role *, struct report_job *);
void bounce_parser(struct report_role *, int fd);

#endif
