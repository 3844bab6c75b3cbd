/* The frame QL_SUPPRESS_ROWS: many rows of the suppression list at once, as the store has them. An import's batch. */
#ifndef MAIL_SUPPRESS_ROWS_H
#define MAIL_SUPPRESS_ROWS_H

#include "mail/suppress_row.h"

#define SUPPRESS_ROWS_MAX (768u << 10) /* octets: a batch is sent when it has that much; less than QL_MAX_ADMIN */

/* A row that suppress_row_settle() has seen. scratch: for its value. */
void suppress_rows_add(struct wbuf *frame, const struct suppress_row *, struct wbuf *scratch);
/* The next row. 1; 0: there is none any more; -1: malformed, or not as suppress_row_settle() makes them. */
int suppress_rows_next(struct rbuf *, struct suppress_row *) __attribute__((warn_unused_result));

#endif
