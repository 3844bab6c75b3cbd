/* Address lists of RFC 5322 3.4 as they stand in To:, Cc: and Bcc:, and on sendmail's command line: only the
 * addr-specs are wanted. Tolerant, as sendmail is: comments, quoted strings, groups, route addresses, missing commas
 * at the end. */
#ifndef POSTHORN_ADDRLIST_H
#define POSTHORN_ADDRLIST_H

#include <stddef.h>

struct addrlist {
	char **v;
	size_t n;
};

/* Adds what it finds; "Name <a@b>" gives "a@b". A name without '@' is completed with @domain. 0, or -1 and *err_r
 * (static) when an item is no address; what came before it is in the list. */
int addrlist_parse(const char *text, const char *domain, struct addrlist *out, const char **err_r)
    __attribute__((warn_unused_result));
void addrlist_clear(struct addrlist *);

#endif
