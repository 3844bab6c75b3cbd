/* Bytes to text, for mime.c and mime_text.c alone. */
#ifndef MAIL_MIME_TEXT_H
#define MAIL_MIME_TEXT_H

#include <stddef.h>

/* Copies to `to` (room for len), each CRLF, LF or CR as LF, NUL as a blank; returns the new length. */
size_t mime_line_ends(char *to, const char *from, size_t len);

#endif
