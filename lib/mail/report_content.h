/* The content of a report, as much of it as the parse role reads. */
#ifndef MAIL_REPORT_CONTENT_H
#define MAIL_REPORT_CONTENT_H

#include <stddef.h>

#include "mail/record.h"

/* Headers and body from the segment, once the record's checksum was right; cut at PARSE_CONTENT_MAX. malloced. NULL and
 * *err_r (static): damaged or unreadable. */
char *report_content_read(int fd, const struct record *, size_t *len_r, const char **err_r)
    __attribute__((warn_unused_result));

#endif
