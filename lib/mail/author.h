/* Who a message says it is from, and whose DKIM signatures it has, as one line of the envelope's meta: smtpd writes it
 * when the header block is final, deliverd's guard reads it. "shop.example d1:s1 d2:s2": the domain of the author ("-":
 * none that can be read, or more than one From field), then domain and selector of each signature. Meta keys that begin
 * with '@' are not policy's, and no event shows them. */
#ifndef MAIL_AUTHOR_H
#define MAIL_AUTHOR_H

#include <stdbool.h>
#include <stddef.h>

#include "mail/dkim.h"
#include "mail/envelope.h"

#define AUTHOR_META "@author"
#define AUTHOR_MAX 1024
#define AUTHOR_SIGNATURES_MAX 8

struct author_signature {
	char domain[DKIM_DOMAIN_MAX + 1];
	char selector[DKIM_SELECTOR_MAX + 1];
};

/* The line for a header block. */
void author_write(const char *head, size_t len, char out[AUTHOR_MAX]);
/* The line among meta, or NULL: nobody wrote one. */
const char *author_of(const struct meta *, size_t n);
/* Its parts. False: it is malformed. */
bool author_read(const char *line, char domain[DKIM_DOMAIN_MAX + 1], struct author_signature[AUTHOR_SIGNATURES_MAX],
    unsigned *n_r) __attribute__((warn_unused_result));

#endif
