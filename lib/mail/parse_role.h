/* The parse role of bouncerd and fblproc: reads bounces and complaints for the role that asks (parse_link.h), in a jail
 * that leaves it nothing but to read, compute and answer. It opens no file, makes no socket, starts no process, holds
 * no more than PARSE_MEMORY, and is ended when a question takes PARSE_CPU_SECONDS of CPU or PARSE_SECONDS in all. The
 * content comes in the question, never as a descriptor: in the same file lies other people's mail. */
#ifndef MAIL_PARSE_ROLE_H
#define MAIL_PARSE_ROLE_H

#include <stddef.h>

#include "base/loop.h"
#include "base/sandbox.h"

#define PARSE_ROLE "parse"
#define PARSE_SECONDS 10
#define PARSE_CPU_SECONDS 5
#define PARSE_MEMORY ((size_t)256 << 20)

struct parse_role;
struct parse_role *parse_role_new(struct loop *);
void parse_role_free(struct parse_role **);
/* The asking role's end of a socketpair; replaces the last one. */
void parse_role_set_peer(struct parse_role *, int fd);

/* Enters the jail, as `user`. role: what the log calls it. */
void parse_role_jail(const char *role, const char *user, enum sandbox_mode);
/* The role's whole life, jail included; the asker is its partner (base/roles.h). The exit status. */
int parse_role_main(const char *role, const char *user, enum sandbox_mode);

#endif
