/* The sign role of smtpd: the only one that holds private keys of DKIM. */
#ifndef SMTPD_SIGND_H
#define SMTPD_SIGND_H

#include "base/loop.h"
#include "mail/params.h"

struct signd;
/* dir: of the keys. */
struct signd *signd_new(struct loop *, const char *dir);
void signd_free(struct signd **);
/* A (new) worker at the other end of fd, which is taken over. */
void signd_set_worker(struct signd *, int fd);

/* The role's life; the exit status. */
int signd_main(const struct params *);

#endif
