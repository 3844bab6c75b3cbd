/* A dns role for a command: the library that speaks DNS runs in a child in the jail of the daemons' dns role, and dies
 * with the command; its answers are decoded like a stranger's. */
#ifndef POSTHORN_DNS_CHILD_H
#define POSTHORN_DNS_CHILD_H

#include <sys/types.h>

#include "mail/params.h"

/* A descriptor for dns_client_set_peer(), or -1 and a sentence printed. The child ends by itself after so many
 * seconds, if this process was killed. */
int dns_child_start(const struct params *, unsigned seconds, pid_t *);
void dns_child_end(pid_t);

#endif
