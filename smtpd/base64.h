/* Strict base64 for SASL (RFC 4648 section 4): no white space, padding complete, no stray bits. Pure. */
#ifndef SMTPD_BASE64_H
#define SMTPD_BASE64_H

#include <stddef.h>

/* Length of the decoded bytes in out, or -1 if malformed or longer than outsize. */
long base64_decode(const char *in, unsigned char *out, size_t outsize);

#endif
