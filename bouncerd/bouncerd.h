/* What bouncerd has beside its queue role (struct report_role's own). */
#ifndef BOUNCERD_BOUNCERD_H
#define BOUNCERD_BOUNCERD_H

struct bouncer;

struct bouncerd {
	struct bouncer *bouncer; /* bounces that are being read */
};

#endif
