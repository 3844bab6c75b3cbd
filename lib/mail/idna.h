/* Internationalised domain names for look-ups: U-labels to A-labels (RFC 3492 Punycode). Mapping and normalisation
 * (UTS 46) are the sender's: an address arrives as it was written, and only ASCII is lowered. */
#ifndef MAIL_IDNA_H
#define MAIL_IDNA_H

#include <stddef.h>

/* 0; -1 if it is not valid UTF-8 or becomes too long. Plain ASCII is copied in lower case. A final dot is dropped. */
int idna_to_ascii(const char *domain, char *out, size_t outsize) __attribute__((warn_unused_result));

#endif
