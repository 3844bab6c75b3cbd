/* The check role of smtpd: looks at the signatures and the senders of mail from outside, in a jail without network and
 * files. */
#ifndef SMTPD_CHECKD_H
#define SMTPD_CHECKD_H

#include "base/loop.h"
#include "mail/params.h"

struct checkd;
/* NULL: libopendkim cannot be used. */
struct checkd *checkd_new(struct loop *);
void checkd_free(struct checkd **);
/* A (new) worker at the other end of fd, which is taken over. */
void checkd_set_worker(struct checkd *, int fd);

/* The role's life; the exit status. */
int checkd_main(const struct params *);

#endif
