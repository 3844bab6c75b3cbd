/* The suppression list as CSV (suppress_csv.h): what suppress_csv_next() reads back to the last bit. */
#include <string.h>

#include "base/timefmt.h"
#include "mail/suppress_csv.h"

void
suppress_csv_heading(struct wbuf *w)
{
	static const char text[] =
	    "address,scope,scope_value,reason,origin,added,event_time,expires,event_id,class,cause,source,note\n";

	wbuf_raw(w, text, sizeof(text) - 1);
}

static void
put(struct wbuf *w, const char *s, char end)
{
	bool is_quoted;

	s = s == NULL ? "" : s;
	is_quoted = strpbrk(s, ",\"\r\n;\t") != NULL || *s == ' ';
	if (is_quoted)
		wbuf_u8(w, '"');
	for (; *s != '\0'; s++) {
		if (*s == '"')
			wbuf_u8(w, '"');
		wbuf_u8(w, (uint8_t)*s);
	}
	if (is_quoted)
		wbuf_u8(w, '"');
	wbuf_u8(w, (uint8_t)end);
}

static void
put_time(struct wbuf *w, int64_t ms)
{
	char text[TIME_RFC3339_LEN + 1] = "";

	if (ms != 0)
		time_rfc3339(ms, text);
	put(w, text, ',');
}

void
suppress_csv_write(struct wbuf *w, const struct suppress_row *row)
{
	static const struct msgid none;
	const struct suppress_request *r = &row->r;
	char hex[MSGID_HEX] = "";

	if (memcmp(&r->event, &none, sizeof(none)) != 0)
		msgid_hex(&r->event, hex);
	put(w, r->address, ',');
	put(w, suppress_scope_names[r->scope], ',');
	put(w, r->scope_value, ',');
	put(w, suppress_reason_names[r->reason], ',');
	put(w, suppress_origin_names[r->origin], ',');
	put_time(w, row->added);
	put_time(w, r->when);
	put_time(w, r->expires);
	put(w, hex, ',');
	put(w, r->class, ',');
	put(w, r->cause, ',');
	put(w, row->source, ',');
	put(w, r->note, '\n');
}
