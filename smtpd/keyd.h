/* The key role: holds the long-term private keys of TLS. */
#ifndef SMTPD_KEYD_H
#define SMTPD_KEYD_H

#include "base/loop.h"
#include "mail/params.h"

struct keyd;
/* Reads the keys. NULL and *err_r (malloced). */
struct keyd *keyd_new(struct loop *, const struct conf_strs *key_files, char **err_r);
void keyd_set_worker(struct keyd *, int fd);
void keyd_free(struct keyd **);
/* The role; the exit status. */
int keyd_main(const struct params *);

#endif
