/* Records of CSV and JSON files for policy_map.c. Strict: what is not exactly right is an error with its line, because a
 * row that is skipped or misread sends a customer's mail from the wrong address. */
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/suggest.h"
#include "base/xalloc.h"
#include "mail/policy_map_private.h"

#define DEPTH_MAX 64

void
map_reader_init(struct map_reader *r, const struct policy_map_spec *spec)
{
	memset(r, 0, sizeof(*r));
	r->spec = spec;
	r->line = 1;
	r->scratch = xmalloc((size_t)POLICY_MAP_RECORD_MAX * 5);
}

static void
columns_free(struct map_table *t)
{
	size_t i;

	for (i = 0; i < t->n_columns; i++)
		free(t->columns[i]);
	free(t->columns);
}

void
map_reader_clear(struct map_reader *r)
{
	columns_free(&r->table);
	free(r->table.arena);
	free(r->table.slots);
	free(r->scratch);
	free(r->err);
	memset(r, 0, sizeof(*r));
}

#define FAIL(r, ...) ((r)->err = xasprintf(__VA_ARGS__), (size_t)0)

static bool
entry_add(struct map_reader *r, const char *key, size_t klen, enum policy_map_kind kind, const char *value, size_t vlen)
{
	int rc = map_table_add(&r->table, key, klen, kind, value, vlen);

	if (rc == 0)
		r->err = xasprintf("the key '%.*s' is there twice", klen > 60 ? 60 : (int)klen, key);
	else if (rc < 0)
		r->err = xasprintf("more than %u rows or %u MiB", POLICY_MAP_ROWS_MAX, POLICY_MAP_BYTES_MAX >> 20);
	return rc > 0;
}

/* A field in quotes that begins behind the first quote. How many bytes it has with the closing quote; 0: none. */
static size_t
quoted_field(struct map_reader *r, const char *s, size_t len, size_t *out)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (s[i] == '"') {
			if (i + 1 >= len || s[i + 1] != '"')
				return i + 1;
			i++;
		}
		if (s[i] == '\n')
			r->line++;
		r->scratch[(*out)++] = s[i];
	}
	return 0;
}

static size_t
plain_field(struct map_reader *r, const char *s, size_t len, size_t *out)
{
	size_t i;

	for (i = 0; i < len && s[i] != ',' && s[i] != '\n' && s[i] != '\r' && s[i] != '"'; i++)
		r->scratch[(*out)++] = s[i];
	return i;
}

/* Splits a line into r->fields; bytes taken, or 0 and r->err. The line number is that of the end, less the newline. */
static size_t
csv_split(struct map_reader *r, const char *s, size_t len, bool is_last)
{
	size_t i = 0, out = 0, n, begin;

	for (r->n_fields = 0;;) {
		if (r->n_fields == POLICY_MAP_COLUMNS_MAX)
			return FAIL(r, "more than %d columns", POLICY_MAP_COLUMNS_MAX);
		out += sizeof(uint32_t); /* room for the length */
		begin = out;
		if (i < len && s[i] == '"') {
			if ((n = quoted_field(r, s + i + 1, len - i - 1, &out)) == 0)
				return FAIL(r, is_last ? "a quote is not closed" : "a line is longer than %u KiB, or a "
				    "quote is not closed", POLICY_MAP_RECORD_MAX >> 10);
			i += 1 + n;
		} else {
			i += plain_field(r, s + i, len - i, &out);
		}
		r->fields[r->n_fields++] = (struct map_field){ begin, out - begin };
		if (i >= len)
			return is_last ? i : FAIL(r, "a line is longer than %u KiB", POLICY_MAP_RECORD_MAX >> 10);
		if (s[i] == '\n')
			return i + 1;
		if (s[i] == '\r' && i + 1 < len && s[i + 1] == '\n')
			return i + 2;
		if (s[i] != ',')
			return FAIL(r, s[i] == '"' ? "a quote in the middle of a field (fields with quotes are "
			    "enclosed in quotes, and each quote in them is doubled)" : s[i] == '\r' ?
			    "a CR without LF" : "text behind a closing quote");
		i++;
	}
}

static size_t
column_find(struct map_reader *r, const char *name)
{
	struct suggest s;
	size_t i;

	suggest_init(&s, name);
	for (i = 0; i < r->table.n_columns; i++) {
		if (strcmp(r->table.columns[i], name) == 0)
			return i;
		suggest_consider(&s, r->table.columns[i]);
	}
	return FAIL(r, "there is no column '%.60s'" SUGGEST_FMT, name, SUGGEST_ARGS(s.best));
}

static void
csv_header(struct map_reader *r)
{
	struct map_table *t = &r->table;
	size_t i, j;
	char *name;

	t->columns = xcalloc(r->n_fields, sizeof(*t->columns));
	for (i = 0; i < r->n_fields && r->err == NULL; i++) {
		name = t->columns[t->n_columns++] = xmemdup0(r->scratch + r->fields[i].at, r->fields[i].len);
		if (*name == '\0' || strlen(name) != r->fields[i].len)
			r->err = xasprintf("column %zu of the header line has no name", i + 1);
		for (j = 0; j < i && r->err == NULL; j++)
			if (strcmp(t->columns[j], name) == 0)
				r->err = xasprintf("the header line has the column '%.60s' twice", name);
	}
	if (r->err != NULL)
		return;
	if (r->spec->key != NULL)
		r->key = column_find(r, r->spec->key);
	r->value = SIZE_MAX;
	if (r->spec->value != NULL && r->err == NULL)
		r->value = column_find(r, r->spec->value);
}

static void
csv_row(struct map_reader *r)
{
	const struct map_field *key = &r->fields[r->key], *last = &r->fields[r->n_fields - 1], *f;
	uint32_t n;
	size_t i;

	if (r->n_fields != r->table.n_columns) {
		r->err = xasprintf("%zu fields, but the header line has %zu", r->n_fields, r->table.n_columns);
		return;
	}
	if (r->value != SIZE_MAX) {
		f = &r->fields[r->value];
		entry_add(r, r->scratch + key->at, key->len, POLICY_MAP_STRING, r->scratch + f->at, f->len);
		return;
	}
	for (i = 0; i < r->n_fields; i++) {
		n = (uint32_t)r->fields[i].len;
		memcpy(r->scratch + r->fields[i].at - sizeof(n), &n, sizeof(n));
	}
	entry_add(r, r->scratch + key->at, key->len, POLICY_MAP_ROW, r->scratch, last->at + last->len);
}

static size_t
csv_step(struct map_reader *r, const char *s, size_t len, bool is_last)
{
	size_t n, bom = 0;

	if (len == 0)
		return r->state == MAP_BEGIN ? FAIL(r, "no header line") : 0;
	if (r->state == MAP_BEGIN && len >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0)
		bom = 3;
	if ((n = csv_split(r, s + bom, len - bom, is_last)) == 0 && r->err == NULL && bom == 0)
		return 0;
	if (r->err != NULL)
		return 0;
	n += bom;
	if (r->n_fields == 1 && r->fields[0].len == 0 && s[bom < n ? bom : 0] != '"')
		; /* a blank line */
	else if (r->state == MAP_BEGIN)
		csv_header(r), r->state = MAP_RECORDS;
	else
		csv_row(r);
	if (r->err != NULL)
		return 0;
	if (s[n - 1] == '\n')
		r->line++;
	return n;
}

static size_t
blanks(struct map_reader *r, const char *s, size_t len, size_t i)
{
	for (; i < len && (s[i] == ' ' || s[i] == '\t' || s[i] == '\r' || s[i] == '\n'); i++)
		if (s[i] == '\n')
			r->line++;
	return i;
}

/* The end of the string that begins at i; 0: none. */
static size_t
string_end(const char *s, size_t len, size_t i)
{
	for (i++; i < len; i++) {
		if (s[i] == '\\')
			i++;
		else if (s[i] == '"')
			return i + 1;
	}
	return 0;
}

/* The end of the value that begins at i, by brackets and quotes only: jansson looks at what is inside. */
static size_t
value_end(struct map_reader *r, const char *s, size_t len, size_t i)
{
	unsigned depth = 0;

	while (i < len) {
		if (s[i] == '"') {
			if ((i = string_end(s, len, i)) == 0)
				return 0;
			if (depth == 0)
				return i;
			continue;
		}
		if (depth == 0 && (s[i] == ',' || s[i] == '}' || s[i] == ' ' || s[i] == '\t' || s[i] == '\r' || s[i] == '\n'))
			return i;
		if ((s[i] == '[' || s[i] == '{') && ++depth > DEPTH_MAX)
			return FAIL(r, "nested deeper than %d levels", DEPTH_MAX);
		if ((s[i] == ']' || s[i] == '}') && (depth == 0 || --depth == 0))
			return i + 1;
		i++;
	}
	return 0;
}

static void
json_member(struct map_reader *r, const char *key, size_t klen, const char *value, size_t vlen)
{
	json_t *k, *v = NULL;
	json_error_t err;

	if ((k = json_loadb(key, klen, JSON_DECODE_ANY | JSON_ALLOW_NUL, &err)) == NULL ||
	    (v = json_loadb(value, vlen, JSON_DECODE_ANY | JSON_ALLOW_NUL, &err)) == NULL)
		r->err = xasprintf("not JSON: %s", err.text);
	else if (json_is_string(v))
		entry_add(r, json_string_value(k), json_string_length(k), POLICY_MAP_STRING, json_string_value(v),
		    json_string_length(v));
	else
		entry_add(r, json_string_value(k), json_string_length(k), POLICY_MAP_JSON, value, vlen);
	json_decref(k);
	json_decref(v);
}

/* One member with the comma or bracket behind it. */
static size_t
json_step(struct map_reader *r, const char *s, size_t len, bool is_last)
{
	size_t i = blanks(r, s, len, 0), key, kend, value, vend;

	if (i > 0)
		return i; /* white space is no part of a record, and may be long */
	if (r->state == MAP_END)
		return len == 0 ? 0 : FAIL(r, "text behind the object");
	if (r->state == MAP_BEGIN) {
		if (len == 0 || s[0] != '{')
			return FAIL(r, "not a JSON object { \"key\": value, ... }");
		i = blanks(r, s, len, 1);
		r->state = MAP_RECORDS;
		if (i < len && s[i] == '}') {
			r->state = MAP_END;
			i++;
		}
		return i;
	}
	key = i;
	if (len == 0 || s[key] != '"')
		return FAIL(r, len == 0 ? "the object does not end" : "a key in double quotes was expected");
	if ((kend = string_end(s, len, key)) == 0 || (i = blanks(r, s, len, kend)) >= len)
		return FAIL(r, is_last ? "the object does not end" : "a member is longer than 64 KiB");
	if (s[i] != ':')
		return FAIL(r, "a colon was expected behind the key");
	value = blanks(r, s, len, i + 1);
	if ((vend = value_end(r, s, len, value)) == 0 || (i = blanks(r, s, len, vend)) >= len)
		return r->err != NULL ? 0 : FAIL(r, is_last ? "the object does not end" : "a member is longer than 64 KiB");
	if (s[i] != ',' && s[i] != '}')
		return FAIL(r, "a comma or } was expected behind the value");
	json_member(r, s + key, kend - key, s + value, vend - value);
	for (; value < vend; value++)
		if (s[value] == '\n')
			r->line++;
	if (s[i] == '}')
		r->state = MAP_END;
	return r->err != NULL ? 0 : i + 1;
}

size_t
map_reader_step(struct map_reader *r, const char *data, size_t len, bool is_last)
{
	if (len > POLICY_MAP_RECORD_MAX) {
		len = POLICY_MAP_RECORD_MAX;
		is_last = false;
	}
	return r->spec->is_json ? json_step(r, data, len, is_last) : csv_step(r, data, len, is_last);
}
