/* What bouncerd has beside its queue role (struct report_role's own). */
#ifndef BOUNCERD_BOUNCERD_H
#define BOUNCERD_BOUNCERD_H

#include "mail/report_role.h"

struct bouncer;
struct list;

struct bouncerd {
	struct list *list;       /* the suppression list and its socket */
	struct bouncer *bouncer; /* bounces that are being read */
};

#endif
