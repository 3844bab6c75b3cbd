/* The node's identity and the keys of the recipient token (mail/token.h), kept in the index and, in case
 * that is lost, in a file beside it. */
#ifndef QUEUED_KEYS_H
#define QUEUED_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "mail/queue_link.h"

struct keys;
struct queued;

/* Reads them, or makes them at the first start. NULL and a malloced sentence if they cannot be stored. */
struct keys *keys_new(struct queued *, char **err_r);
void keys_free(struct keys **);
const char *keys_nodeid(const struct keys *);
void keys_welcome(const struct keys *, struct ql_welcome *);
/* The current key, and as many of before as is_checking asks for. */
void keys_all(const struct keys *, bool is_checking, struct ql_keys *);
/* token_check() with every key that there is. */
int keys_token_check(const struct keys *, const char *text, struct envid *) __attribute__((warn_unused_result));
/* A new key each month, which consumers are told; the old ones stay, so that what returns after months is still
 * recognised. */
void keys_second(struct keys *);

#endif
