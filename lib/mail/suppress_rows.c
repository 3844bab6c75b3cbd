/* Batches of rows (suppress_rows.h). The decoder reads what an operator's command sent. */
#include <string.h>

#include "mail/suppress_rows.h"

void
suppress_rows_add(struct wbuf *frame, const struct suppress_row *row, struct wbuf *scratch)
{
	struct suppress_key key;

	suppress_row_encode(row, &key, scratch);
	wbuf_u16(frame, (uint16_t)key.len);
	wbuf_raw(frame, key.b, key.len);
	wbuf_u16(frame, (uint16_t)scratch->len);
	wbuf_raw(frame, scratch->p, scratch->len);
}

/* What is compared in one form must be in that form. */
static bool
is_settled(const struct suppress_row *row)
{
	char text[ADDRESS_MAX];
	const char *err;

	if (suppress_target(row->r.address, text, &err) == -1 || strcmp(text, row->r.address) != 0)
		return false;
	return suppress_scope_value(row->r.scope, row->r.scope_value, text, &err) == 0 &&
	    (row->r.scope_value == NULL || strcmp(text, row->r.scope_value) == 0);
}

int
suppress_rows_next(struct rbuf *r, struct suppress_row *row)
{
	size_t keylen, len;
	const uint8_t *key, *value;

	if (rbuf_left(r) == 0)
		return 0;
	keylen = rbuf_u16(r);
	if (r->bad || keylen == 0 || keylen > SUPPRESS_KEY_MAX || keylen > rbuf_left(r))
		return -1;
	key = r->p + r->pos;
	r->pos += keylen;
	len = rbuf_u16(r);
	if (r->bad || len > rbuf_left(r))
		return -1;
	value = r->p + r->pos;
	r->pos += len;
	if (suppress_row_decode(key, keylen, value, len, row) == -1)
		return -1;
	if (is_settled(row))
		return 1;
	suppress_row_clear(row);
	return -1;
}
