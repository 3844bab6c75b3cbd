/* Organisational domains (RFC 7489 section 3.2), by the public-suffix list of this machine: what DMARC's relaxed
 * alignment compares. */
#ifndef MAIL_ORGDOMAIN_H
#define MAIL_ORGDOMAIN_H

#include <stdbool.h>

/* Reads the list: the newer of the one that the library has and the package's. Before a jail; again is all right. */
void orgdomain_load(void);
void orgdomain_unload(void);
/* The part of a domain (lower case, A-labels, no final dot) that belongs to one organisation: "news.shop.co.uk" gives
 * "shop.co.uk". It points into the argument. A public suffix is its own; so is any domain
 * without the list, lest strangers pass for one organisation. */
const char *orgdomain_of(const char *domain);
/* DMARC's alignment of an authenticated domain with that of an author; of any case. */
bool orgdomain_aligned(const char *author, const char *authenticated, bool is_strict);

#endif
