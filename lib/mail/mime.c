/* Finding the parts of a message (see mime.h). One pass over its lines with a stack of the boundaries that are open:
 * each line that begins with "--" is compared with at most MIME_MAX_DEPTH of them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"

#include "mail/mime.h"
#include "mail/mime_text.h"

struct open_multipart {
	unsigned part;
	char boundary[MIME_MAX_BOUNDARY + 1];
	size_t len;
};

struct reader {
	struct mime *m;
	struct open_multipart open[MIME_MAX_DEPTH];
	unsigned n_open;
	unsigned current; /* the part that lines belong to; NOWHERE between parts */
};

#define NOWHERE UINT32_MAX

static size_t
line_end(const char *text, size_t len, size_t at)
{
	const char *nl = at < len ? memchr(text + at, '\n', len - at) : NULL;

	return nl == NULL ? len : (size_t)(nl - text);
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Length of the field name at p, 0 if the line is no field; *value_r: behind the colon. */
static size_t
field_name(const char *p, size_t len, size_t *value_r)
{
	size_t n = 0, colon;

	while (n < len && p[n] > ' ' && p[n] < 0x7f && p[n] != ':')
		n++;
	colon = n;
	while (colon < len && is_blank(p[colon]))
		colon++;
	if (n == 0 || colon == len || p[colon] != ':')
		return 0;
	*value_r = colon + 1;
	return n;
}

size_t
mime_head_read(struct mime_head *h, const char *text, size_t len)
{
	size_t at = 0, end, value, name, cap = 0;

	memset(h, 0, sizeof(*h));
	if (len >= 5 && memcmp(text, "From ", 5) == 0 && (at = line_end(text, len, 0) + 1) > len)
		at = len;
	while (at < len) {
		end = line_end(text, len, at);
		if (end == at)
			return end + 1;
		if ((name = field_name(text + at, end - at, &value)) == 0)
			return at;
		/* Up to the next line that does not continue it. */
		value += at;
		for (size_t next = end + 1; next < len && is_blank(text[next]); next = end + 1)
			end = line_end(text, len, next);
		if (h->n < MIME_MAX_FIELDS) {
			if (h->n == cap) {
				cap = cap == 0 ? 32 : cap * 2;
				h->fields = xreallocarray(h->fields, cap, sizeof(*h->fields));
			}
			h->fields[h->n++] = (struct mime_field){ { text + at, name }, { text + value, end - value } };
		}
		at = end + 1;
	}
	return len;
}

void
mime_head_clear(struct mime_head *h)
{
	free(h->fields);
	memset(h, 0, sizeof(*h));
}

const struct mime_field *
mime_head_find(const struct mime_head *h, const char *name)
{
	size_t len = strlen(name);

	for (unsigned i = 0; i < h->n; i++) {
		if (h->fields[i].name.len == len && strncasecmp(h->fields[i].name.base, name, len) == 0)
			return &h->fields[i];
	}
	return NULL;
}

size_t
mime_value(const struct mime_field *f, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < f->value.len && n + 1 < size; i++) {
		char c = f->value.base[i];

		if ((unsigned char)c < ' ' || c == 0x7f)
			c = ' ';
		/* A fold is one blank, whatever it is made of. */
		if (c != ' ' || (n > 0 && out[n - 1] != ' '))
			out[n++] = c;
	}
	while (n > 0 && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
	return n;
}

char *
mime_head_text(const struct mime_head *h, const char *name, size_t max)
{
	const struct mime_field *f = mime_head_find(h, name);

	return f == NULL ? NULL : mime_value_text(f, max);
}

/* The value of a parameter at p, behind the "="; returns where it ends. */
static const char *
param_value(const char *p, char *out, size_t size)
{
	size_t n = 0;
	bool quoted = *p == '"';

	if (quoted)
		p++;
	for (; *p != '\0' && (quoted ? *p != '"' : *p != ';' && !is_blank(*p)); p++) {
		if (quoted && *p == '\\' && p[1] != '\0')
			p++;
		if (n + 1 < size)
			out[n++] = *p;
	}
	out[n] = '\0';
	return p;
}

bool
mime_param(const char *value, const char *name, char *out, size_t size)
{
	size_t len = strlen(name);
	const char *p = strchr(value, ';');

	while (p != NULL && *p != '\0') {
		p += strspn(p, "; \t");
		if (strncasecmp(p, name, len) == 0 && p[len + strspn(p + len, " \t")] == '=') {
			p += len + strspn(p + len, " \t") + 1;
			(void)param_value(p + strspn(p, " \t"), out, size);
			return true;
		}
		/* Over the value, in which there may be quoted semicolons. */
		p += strcspn(p, ";=");
		if (*p == '=') {
			char skipped[1];

			p++;
			p = param_value(p + strspn(p, " \t"), skipped, sizeof(skipped));
			p += strcspn(p, ";");
		}
	}
	if (size > 0)
		out[0] = '\0';
	return false;
}

static void
set_type(struct mime_part *part, const char *value)
{
	size_t n = 0;

	for (; value[n] != '\0' && value[n] != ';' && value[n] != ' ' && n + 1 < sizeof(part->type); n++)
		part->type[n] = value[n] >= 'A' && value[n] <= 'Z' ? (char)(value[n] - 'A' + 'a') : value[n];
	part->type[n] = '\0';
	if (strchr(part->type, '/') == NULL)
		strcpy(part->type, "text/plain");
}

/* A part begins at `at`. Reads its head, opens it if it is a multipart; returns where its body begins. */
static size_t
begin_part(struct reader *r, size_t at)
{
	struct mime *m = r->m;
	struct mime_part *part = &m->parts[m->n_parts];
	const struct mime_field *f;
	struct mime_head head;
	char value[2048], boundary[MIME_MAX_BOUNDARY + 2];
	size_t len = mime_head_read(&head, m->text + at, m->len - at);

	memset(part, 0, sizeof(*part));
	part->depth = r->n_open;
	if (len > m->len - at)
		len = m->len - at;
	part->head = (struct slice){ m->text + at, len };
	part->body = (struct slice){ m->text + at + len, 0 };
	value[0] = '\0';
	if ((f = mime_head_find(&head, "Content-Type")) != NULL)
		(void)mime_value(f, value, sizeof(value));
	set_type(part, value);
	if (strncmp(part->type, "multipart/", 10) == 0 && mime_param(value, "boundary", boundary, sizeof(boundary)) &&
	    *boundary != '\0' && strlen(boundary) <= MIME_MAX_BOUNDARY) {
		if (r->n_open == MIME_MAX_DEPTH)
			m->is_cut = true;
		else {
			struct open_multipart *o = &r->open[r->n_open++];

			o->part = m->n_parts;
			o->len = strlen(boundary);
			memcpy(o->boundary, boundary, o->len + 1);
		}
	}
	if ((f = mime_head_find(&head, "Content-Transfer-Encoding")) != NULL) {
		(void)mime_value(f, value, sizeof(value));
		part->is_base64 = strcasecmp(value, "base64") == 0;
		part->is_qp = strcasecmp(value, "quoted-printable") == 0;
	}
	if (m->n_parts == 0)
		m->head = head;
	else
		mime_head_clear(&head);
	r->current = m->n_parts++;
	return at + len;
}

static void
end_part(struct reader *r, unsigned part, size_t at)
{
	struct slice *body = &r->m->parts[part].body;
	size_t begin = (size_t)(body->base - r->m->text);

	body->len = at > begin ? at - begin : 0;
	/* The line end before a boundary belongs to the boundary. */
	if (body->len > 0 && at < r->m->len)
		body->len--;
}

/* Which open multipart the line is a boundary of, innermost first; n_open if of none. */
static unsigned
find_boundary(const struct reader *r, const char *line, size_t len, bool *is_last)
{
	for (unsigned i = r->n_open; i-- > 0;) {
		const struct open_multipart *o = &r->open[i];
		size_t rest = 2 + o->len;

		if (len < rest || memcmp(line + 2, o->boundary, o->len) != 0)
			continue;
		*is_last = len >= rest + 2 && line[rest] == '-' && line[rest + 1] == '-';
		if (*is_last)
			rest += 2;
		while (rest < len && is_blank(line[rest]))
			rest++;
		if (rest == len)
			return i;
	}
	return r->n_open;
}

/* The boundary line at `at` of open multipart `which`; returns where reading goes on. */
static size_t
pass_boundary(struct reader *r, unsigned which, bool is_last, size_t at, size_t next)
{
	struct mime *m = r->m;

	if (r->current != NOWHERE && r->current != r->open[which].part)
		end_part(r, r->current, at);
	for (unsigned i = which + 1; i < r->n_open; i++)
		if (r->open[i].part != r->current)
			end_part(r, r->open[i].part, at);
	r->n_open = which + 1;
	r->current = NOWHERE;
	if (is_last) {
		end_part(r, r->open[which].part, at);
		r->n_open = which;
		return next;
	}
	if (m->n_parts == MIME_MAX_PARTS) {
		m->is_cut = true;
		return next;
	}
	m->parts[r->open[which].part].is_multipart = true;
	return begin_part(r, next);
}

void
mime_read(struct mime *m, const char *message, size_t len)
{
	struct reader r = { .m = m };
	size_t at = 0, end;
	bool is_last = false;

	memset(m, 0, sizeof(*m));
	if (len > MIME_MAX_MESSAGE) {
		len = MIME_MAX_MESSAGE;
		m->is_cut = true;
	}
	m->text = xmalloc(len + 1);
	m->len = mime_line_ends(m->text, message, len);
	m->text[m->len] = '\0';
	m->parts = xcalloc(MIME_MAX_PARTS, sizeof(*m->parts));
	/* Blank lines before the headers are not their end: mailbox programs leave some. */
	while (at < m->len && strchr(" \t\n", m->text[at]) != NULL)
		at++;
	for (at = begin_part(&r, at); at < m->len && r.n_open > 0;) {
		unsigned which = r.n_open;

		end = line_end(m->text, m->len, at);
		if (end - at > 2 && m->text[at] == '-' && m->text[at + 1] == '-')
			which = find_boundary(&r, m->text + at, end - at, &is_last);
		if (which < r.n_open)
			at = pass_boundary(&r, which, is_last, at, end < m->len ? end + 1 : m->len);
		else
			at = end + 1;
	}
	if (r.current != NOWHERE)
		end_part(&r, r.current, m->len);
	for (unsigned i = 0; i < r.n_open; i++)
		if (r.open[i].part != r.current)
			end_part(&r, r.open[i].part, m->len);
}

void
mime_clear(struct mime *m)
{
	free(m->text);
	free(m->parts);
	mime_head_clear(&m->head);
	memset(m, 0, sizeof(*m));
}

unsigned
mime_find(const struct mime *m, const char *type, unsigned from)
{
	while (from < m->n_parts && strcmp(m->parts[from].type, type) != 0)
		from++;
	return from;
}
