/* Lists of tags, "v=DMARC1; p=none": DKIM's fields and records, DMARC's, and those that follow their syntax. */
#ifndef MAIL_TAGS_H
#define MAIL_TAGS_H

#include <stdbool.h>
#include <stddef.h>

/* The value of a tag, lower case, without white space, cut at size; "" if it is not there. Tag names are of any
 * case. */
void tag_value(const char *list, const char *tag, char *out, size_t size);
/* Whether a TXT record is one of DMARC (RFC 7489 section 6.3). */
bool tags_are_dmarc(const char *text, size_t len);

#endif
