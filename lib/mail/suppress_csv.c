/* Reading lists of addresses (suppress_csv.h). Hostile: the whole file; records and fields are bounded, nothing is
 * copied but one record. Runs in the admin command. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/timefmt.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "mail/suppress_csv.h"

/* One record into c->buf, fields cut at the delimiter, quotes undone. 1; 0: the end; -1: *why_r, and the line that it
 * began with is left behind. */
static int
read_record(struct suppress_csv *c, const char **why_r)
{
	const char *p = c->p, *line_end;
	bool is_quoted = false, is_new = true;
	size_t n = 0;

	if (p == c->end)
		return 0;
	c->line = c->next_line;
	c->n_fields = 0;
	c->len = 0;
	*why_r = NULL;
	for (;; p++) {
		if (n >= SUPPRESS_CSV_RECORD - 1 || c->n_fields == SUPPRESS_CSV_FIELDS) {
			*why_r = "the line is too long";
			break;
		}
		if (is_new) {
			c->field[c->n_fields++] = c->buf + n;
			is_new = false;
			if (p < c->end && *p == '"' && !c->is_plain) {
				is_quoted = true;
				continue;
			}
		}
		if (p == c->end || (!is_quoted && *p == '\n')) {
			if (is_quoted)
				*why_r = "a quote is not closed";
			break;
		}
		if (*p == '\0') {
			*why_r = "there is a NUL in it";
			break;
		}
		if (is_quoted && *p == '"') {
			if (p + 1 < c->end && p[1] == '"')
				c->buf[n++] = *p++;
			else
				is_quoted = false;
			continue;
		}
		c->next_line += *p == '\n';
		if (!is_quoted && !c->is_plain && *p == c->delimiter) {
			c->buf[n++] = '\0';
			is_new = true;
		} else if (is_quoted || *p != '\r' || (p + 1 < c->end && p[1] != '\n')) {
			c->buf[n++] = *p;
		}
	}
	if (*why_r != NULL) {
		/* What a lone quote swallowed is read again as lines. */
		c->next_line = c->line;
		line_end = memchr(c->p, '\n', (size_t)(c->end - c->p));
		c->p = line_end == NULL ? c->end : line_end + 1;
	} else {
		c->p = p == c->end ? p : p + 1;
	}
	c->next_line++;
	c->buf[n++] = '\0';
	c->len = n;
	return *why_r == NULL ? 1 : -1;
}

static bool
has(const struct suppress_csv *c, enum suppress_column column)
{
	unsigned i;

	for (i = 0; i < c->n_columns; i++)
		if (c->column[i] == (int8_t)column)
			return true;
	return false;
}

static bool
is_heading(const struct suppress_csv *c, unsigned i, const char *name)
{
	return i < c->n_fields && strcasecmp(c->field[i], name) == 0;
}

/* Whose it is, and what a row means that does not say: by the columns. */
static void
detect(struct suppress_csv *c)
{
	c->is_ours = has(c, COL_SCOPE) && has(c, COL_ORIGIN) && has(c, COL_ADDED);
	c->format = "csv";
	if (c->is_ours) {
		c->format = "posthorn";
	} else if (has(c, COL_CLEANED) || has(c, COL_UNSUBSCRIBED)) {
		c->format = "mailchimp";
		c->default_reason = has(c, COL_CLEANED) ? SUPPRESS_HARD_BOUNCE : SUPPRESS_UNSUBSCRIBE;
	} else if (has(c, COL_IP)) {
		c->format = "sendgrid";
		c->default_reason = SUPPRESS_COMPLAINT;
	} else if (has(c, COL_TAGS) && !has(c, COL_KIND)) {
		c->format = "mailgun";
		c->default_reason = SUPPRESS_UNSUBSCRIBE;
	} else if (has(c, COL_STATUS) || (has(c, COL_REASON) && has(c, COL_TIME))) {
		c->format = has(c, COL_NOTE) ? "mailgun" : "sendgrid";
		c->default_reason = SUPPRESS_HARD_BOUNCE;
	} else if (c->n_fields == 2 && is_heading(c, 0, "email") && is_heading(c, 1, "created")) {
		c->format = "sendgrid";
		c->default_reason = SUPPRESS_UNSUBSCRIBE;
	} else if (c->n_fields == 2 && is_heading(c, 0, "address") && is_heading(c, 1, "created_at")) {
		c->format = "mailgun";
		c->default_reason = SUPPRESS_COMPLAINT;
	}
	if (is_heading(c, 0, "EmailAddress"))
		c->format = has(c, COL_ORIGIN) ? "postmark" : "ses";
	else if (is_heading(c, 0, "recipient") && has(c, COL_SOURCE))
		c->format = "sparkpost";
}

/* "domain" beside the address is the address's domain: its mail is not to be stopped with it. */
static bool
is_beside_address(const struct suppress_csv *c, unsigned i)
{
	unsigned k;

	for (k = 0; k < c->n_columns; k++)
		if (k != i && c->column[k] == COL_ADDRESS && !is_heading(c, k, "domain"))
			return is_heading(c, i, "domain");
	return false;
}

/* The first record is a heading if it names a column of addresses; a plain list has none. */
static int
read_heading(struct suppress_csv *c, const char **err_r)
{
	const char *begin = c->p;
	const char *end = memchr(c->p, '\n', (size_t)(c->end - c->p)), *p;
	size_t n[3] = { 0, 0, 0 };
	unsigned i;

	if (end == NULL)
		end = c->end;
	for (p = c->p; p < end; p++) {
		n[0] += *p == ',';
		n[1] += *p == ';';
		n[2] += *p == '\t';
	}
	c->delimiter = n[1] > n[0] && n[1] >= n[2] ? ';' : n[2] > n[0] ? '\t' : ',';
	if (read_record(c, err_r) != 1)
		return *err_r == NULL ? 0 : -1;
	c->n_columns = c->n_fields;
	for (i = 0; i < c->n_fields; i++)
		c->column[i] = (int8_t)suppress_column_of(c->field[i]);
	for (i = 0; i < c->n_columns; i++)
		if (is_beside_address(c, i))
			c->column[i] = -1;
	if (has(c, COL_ADDRESS) && strchr(c->field[0], '@') == NULL) {
		if (has(c, COL_SUBSCRIBED) && !has(c, COL_CLEANED) && !has(c, COL_UNSUBSCRIBED)) {
			*err_r = "this is a list of subscribers: there is no column that says who is not to be mailed";
			return -1;
		}
		detect(c);
		return 0;
	}
	if (c->n_fields > 1 && strchr(c->field[0], '@') == NULL) {
		*err_r = "no column of the first line is called email, address, recipient or the like";
		return -1;
	}
	/* No heading: the first field is the address. */
	c->is_plain = c->n_fields == 1;
	c->format = "list";
	c->n_columns = 1;
	c->column[0] = COL_ADDRESS;
	c->p = begin;
	c->next_line = 1;
	return 0;
}

int
suppress_csv_open(struct suppress_csv *c, const char *p, size_t len, unsigned reason, const char **err_r)
{
	memset(c, 0, sizeof(*c));
	c->p = p;
	c->end = p + len;
	c->next_line = 1;
	c->reason = reason;
	c->scope = SUPPRESS_GLOBAL;
	c->buf = xmalloc(SUPPRESS_CSV_RECORD + 1);
	if (len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
		c->p += 3;
	if (c->end - c->p >= 2 && (memcmp(c->p, "\xff\xfe", 2) == 0 || memcmp(c->p, "\xfe\xff", 2) == 0)) {
		*err_r = "this is UTF-16: save it as UTF-8";
		return -1;
	}
	while (c->p < c->end && (*c->p == '\n' || *c->p == '\r' || *c->p == ' ')) {
		c->next_line += *c->p == '\n';
		c->p++;
	}
	c->is_json = c->p < c->end && (*c->p == '{' || *c->p == '[');
	if (c->is_json) {
		c->format = "json";
		return 0;
	}
	return read_heading(c, err_r);
}

void
suppress_csv_clear(struct suppress_csv *c)
{
	json_decref(c->doc);
	free(c->buf);
	memset(c, 0, sizeof(*c));
}

struct values {
	const char *v[SUPPRESS_COLUMNS];
};

/* "5.1.1", "550": hard; "4...": soft. 0: it does not say. */
static unsigned
status_kind(const char *s)
{
	size_t n;

	s += strspn(s, " ");
	n = strspn(s, "0123456789");
	if (n == 3 || (n == 1 && s[1] == '.'))
		return *s == '4' ? SUPPRESS_KIND_SOFT : *s == '5' ? SUPPRESS_HARD_BOUNCE : 0;
	return n > 0 ? 0 : suppress_kind_of(s);
}

/* The words of a category, not the text of a reply, which may say anything. */
static bool
is_category(const char *s)
{
	return strlen(s) <= 40 && strpbrk(s, "0123456789:<>@") == NULL;
}

static unsigned
kind_of(const struct suppress_csv *c, const struct values *in)
{
	unsigned kind = 0;

	if (in->v[COL_KIND] != NULL)
		kind = suppress_kind_of(in->v[COL_KIND]);
	if (kind == 0 && in->v[COL_SOURCE] != NULL)
		kind = suppress_kind_of(in->v[COL_SOURCE]);
	if (kind == 0 && in->v[COL_REASON] != NULL && is_category(in->v[COL_REASON]))
		kind = suppress_kind_of(in->v[COL_REASON]);
	if (kind == 0 && in->v[COL_STATUS] != NULL)
		kind = status_kind(in->v[COL_STATUS]);
	if (kind == SUPPRESS_KIND_SOFT)
		return kind;
	if (c->reason != 0)
		return c->reason;
	if (kind != 0)
		return kind;
	return c->default_reason != 0 ? c->default_reason : SUPPRESS_IMPORTED;
}

static char *
text_of(const char *s)
{
	return s == NULL || *s == '\0' ? NULL : xstrdup(s);
}

/* A row of somebody else's. */
static const char *
fill_foreign(const struct suppress_csv *c, const struct values *in, struct suppress_row *row)
{
	const char *note = in->v[COL_NOTE], *when = in->v[COL_TIME];
	unsigned kind = kind_of(c, in);

	if (when == NULL)
		when = in->v[COL_CLEANED] != NULL ? in->v[COL_CLEANED] : in->v[COL_UNSUBSCRIBED];
	if (note == NULL && in->v[COL_REASON] != NULL && !is_category(in->v[COL_REASON]))
		note = in->v[COL_REASON];
	row->added = c->now;
	row->r.when = when == NULL ? -1 : suppress_time_of(when);
	if (row->r.when < 0 || row->r.when > c->now)
		row->r.when = c->now;
	row->r.expires = c->expires;
	row->r.reason = (uint8_t)kind;
	row->r.origin = SUPPRESS_BY_ADMIN;
	row->r.scope = (uint8_t)c->scope;
	row->r.scope_value = text_of(c->scope_value);
	row->r.note = text_of(note);
	row->source = xstrdup(c->format);
	return NULL;
}

static const char *
take_time(const char *text, int64_t *ms)
{
	*ms = text == NULL || *text == '\0' ? 0 : suppress_time_of(text);
	return *ms < 0 ? "a time is malformed" : NULL;
}

/* One of our own, with everything. */
static const char *
fill_ours(const struct suppress_csv *c, const struct values *in, struct suppress_row *row)
{
	const char *why = NULL;

	row->r.scope = (uint8_t)suppress_word(suppress_scope_names, SUPPRESS_SCOPES,
	    in->v[COL_SCOPE] != NULL ? in->v[COL_SCOPE] : "");
	row->r.reason = (uint8_t)suppress_word(suppress_reason_names, SUPPRESS_REASONS,
	    in->v[COL_REASON] != NULL ? in->v[COL_REASON] : "");
	row->r.origin = (uint8_t)suppress_word(suppress_origin_names, SUPPRESS_ORIGINS,
	    in->v[COL_ORIGIN] != NULL ? in->v[COL_ORIGIN] : "");
	row->r.scope_value = text_of(in->v[COL_SCOPE_VALUE]);
	if ((why = take_time(in->v[COL_ADDED], &row->added)) == NULL &&
	    (why = take_time(in->v[COL_TIME], &row->r.when)) == NULL)
		why = take_time(in->v[COL_EXPIRES], &row->r.expires);
	if (why == NULL && in->v[COL_EVENT] != NULL && *in->v[COL_EVENT] != '\0' &&
	    msgid_parse(in->v[COL_EVENT], &row->r.event) == -1)
		why = "an event id is malformed";
	if (row->added == 0)
		row->added = c->now;
	row->r.class = text_of(in->v[COL_CLASS]);
	row->r.cause = text_of(in->v[COL_CAUSE]);
	row->source = text_of(in->v[COL_SOURCE]);
	row->r.note = text_of(in->v[COL_NOTE]);
	return why;
}

static enum suppress_csv_got
make_row(struct suppress_csv *c, const struct values *in, struct suppress_row *row, const char **why_r)
{
	char *address = in->v[COL_ADDRESS] == NULL ? NULL : xstrdup(in->v[COL_ADDRESS] +
	    strspn(in->v[COL_ADDRESS], " \t"));
	size_t len = address == NULL ? 0 : strlen(address);

	memset(row, 0, sizeof(*row));
	*why_r = len == 0 ? "there is no address in it" : NULL;
	while (len > 0 && (address[len - 1] == ' ' || address[len - 1] == '\t'))
		address[--len] = '\0';
	row->r.address = address;
	if (*why_r == NULL)
		*why_r = c->is_ours ? fill_ours(c, in, row) : fill_foreign(c, in, row);
	if (*why_r == NULL && row->r.reason == SUPPRESS_KIND_SOFT) {
		suppress_row_clear(row);
		return CSV_SOFT;
	}
	if (*why_r != NULL || suppress_row_settle(row, why_r) == -1) {
		suppress_row_clear(row);
		return CSV_BAD;
	}
	*why_r = NULL;
	return CSV_ROW;
}

static enum suppress_csv_got
next_json_row(struct suppress_csv *c, json_t *object, struct suppress_row *row, const char **why_r)
{
	struct values in = { { NULL } };
	char number[SUPPRESS_COLUMNS][32];
	const char *key;
	bool is_domain = false; /* what is known of the address is but that */
	json_t *v;
	int col;

	*why_r = "it is no object";
	if (!json_is_object(object))
		return CSV_BAD;
	json_object_foreach(object, key, v) {
		if ((col = suppress_column_of(key)) == -1 || (in.v[col] != NULL && (col != COL_ADDRESS || !is_domain)))
			continue;
		if (col == COL_ADDRESS)
			is_domain = strcasecmp(key, "domain") == 0;
		if (json_is_string(v)) {
			in.v[col] = json_string_value(v);
		} else if (json_is_number(v)) {
			snprintf(number[col], sizeof(number[col]), "%.0f", json_number_value(v));
			in.v[col] = number[col];
		}
	}
	c->is_ours = json_object_get(object, "scope") != NULL && json_object_get(object, "added") != NULL;
	c->format = c->is_ours ? "posthorn" : json_object_get(object, "LastUpdateTime") != NULL ? "ses" :
	    json_object_get(object, "SuppressionReason") != NULL ? "postmark" :
	    json_object_get(object, "recipient") != NULL ? "sparkpost" : "json";
	return make_row(c, &in, row, why_r);
}

/* The next document; what is in it is rows, or has an array of them. */
static int
load_json(struct suppress_csv *c, const char **why_r)
{
	json_error_t err;
	const char *p, *key;
	json_t *v;

	json_decref(c->doc);
	c->rows = NULL;
	c->at = 0;
	c->line = c->next_line;
	c->doc = json_loadb(c->p, (size_t)(c->end - c->p), JSON_DISABLE_EOF_CHECK, &err);
	if (c->doc == NULL) {
		p = memchr(c->p, '\n', (size_t)(c->end - c->p));
		c->p = p == NULL ? c->end : p + 1;
		c->next_line++;
		*why_r = "it is no JSON";
		return -1;
	}
	for (p = c->p; p < c->p + err.position; p++)
		c->next_line += *p == '\n';
	c->p = p;
	if (json_is_array(c->doc))
		c->rows = c->doc;
	json_object_foreach(c->doc, key, v)
		if (c->rows == NULL && json_is_array(v) && json_is_object(json_array_get(v, 0)))
			c->rows = v;
	return 0;
}

static enum suppress_csv_got
next_json(struct suppress_csv *c, struct suppress_row *row, const char **why_r)
{
	json_t *one;

	for (;;) {
		if (c->rows != NULL && c->at < json_array_size(c->rows))
			return next_json_row(c, json_array_get(c->rows, c->at++), row, why_r);
		while (c->p < c->end && strchr(" \t\r\n,", *c->p) != NULL && *c->p != '\0') {
			c->next_line += *c->p == '\n';
			c->p++;
		}
		if (c->p == c->end)
			return CSV_END;
		if (load_json(c, why_r) == -1)
			return CSV_BAD;
		one = c->doc;
		if (c->rows == NULL && !json_is_object(json_object_get(one, "ResponseMetadata")) &&
		    json_object_size(one) > 0 && !json_is_array(json_object_iter_value(json_object_iter(one))))
			return next_json_row(c, one, row, why_r);
	}
}

enum suppress_csv_got
suppress_csv_next(struct suppress_csv *c, struct suppress_row *row, const char **why_r)
{
	struct values in = { { NULL } };
	unsigned i;
	int r;

	if (c->is_json)
		return next_json(c, row, why_r);
	do {
		if ((r = read_record(c, why_r)) != 1)
			return r == 0 ? CSV_END : CSV_BAD;
	} while (c->n_fields == 1 && (c->field[0][strspn(c->field[0], " \t\r")] == '\0' ||
	    (c->is_plain && *c->field[0] == '#')));
	for (i = 0; i < c->n_fields && i < c->n_columns; i++) {
		int col = c->column[i];

		if (!utf8_is_valid(c->field[i], strlen(c->field[i]))) {
			if (col == COL_ADDRESS) {
				*why_r = "it is not UTF-8";
				return CSV_BAD;
			}
			continue;
		}
		if (col >= 0 && (in.v[col] == NULL || *in.v[col] == '\0'))
			in.v[col] = c->field[i];
	}
	return make_row(c, &in, row, why_r);
}
