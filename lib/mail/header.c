/* The header block of a message (see header.h), walked without a tree: smtpd for what it reads and adds, queued and
 * deliverd for DSNs and traces. Hostile: every byte; one pass, no recursion, no allocation. RFC 5322 section 2.2:
 *
 *   field = 1*( %d33-57 / %d59-126 ) *WSP ":" unstructured CRLF
 *   (white space before the colon: the obsolete syntax of 4.5.8)
 *   and a line that begins with a space or tab belongs to the field before it.
 */

#include <string.h>
#include <strings.h>

#include "mail/header.h"

void
header_iter_init(struct header_iter *iter, const char *block, size_t len)
{
	iter->p = block;
	iter->end = block + len;
}

/* Behind the LF of the line at p, or the end. */
static const char *
line_end(const char *p, const char *end)
{
	const char *lf = memchr(p, '\n', (size_t)(end - p));

	return lf == NULL ? end : lf + 1;
}

/* The length of the name at p, 0 if no field begins here; *colon_r is where the colon is. */
static size_t
name_len(const char *p, const char *end, const char **colon_r)
{
	const char *q = p;
	size_t len;

	while (q < end && *q > ' ' && *q <= '~' && *q != ':')
		q++;
	len = (size_t)(q - p);
	while (q < end && (*q == ' ' || *q == '\t'))
		q++;
	if (len == 0 || q == end || *q != ':')
		return 0;
	*colon_r = q;
	return len;
}

bool
header_next(struct header_iter *iter, struct header_field *f)
{
	const char *p = iter->p, *colon, *next, *last;
	size_t len;

	if (p == iter->end)
		return false;
	len = name_len(p, iter->end, &colon);
	if (len == 0)
		return false;
	next = line_end(colon, iter->end);
	while (next < iter->end && (*next == ' ' || *next == '\t'))
		next = line_end(next, iter->end);
	last = next;
	if (last > colon + 1 && last[-1] == '\n')
		last--;
	if (last > colon + 1 && last[-1] == '\r')
		last--;
	f->name = (struct slice){ p, len };
	f->value = (struct slice){ colon + 1, (size_t)(last - colon - 1) };
	f->whole = (struct slice){ p, (size_t)(next - p) };
	iter->p = next;
	return true;
}

size_t
header_block_len(const char *msg, size_t len)
{
	struct header_iter iter;
	struct header_field f;
	size_t left;

	header_iter_init(&iter, msg, len);
	while (header_next(&iter, &f))
		;
	left = (size_t)(iter.end - iter.p);
	if (left >= 2 && iter.p[0] == '\r' && iter.p[1] == '\n')
		iter.p += 2;
	return (size_t)(iter.p - msg);
}

bool
header_name_is(const struct header_field *f, const char *name)
{
	size_t len = strlen(name);

	return f->name.len == len && strncasecmp(f->name.base, name, len) == 0;
}

bool
header_find(const char *block, size_t len, const char *name, struct header_field *f)
{
	struct header_iter iter;

	header_iter_init(&iter, block, len);
	while (header_next(&iter, f))
		if (header_name_is(f, name))
			return true;
	return false;
}

unsigned
header_count(const char *block, size_t len, const char *name)
{
	struct header_iter iter;
	struct header_field f;
	unsigned n = 0;

	header_iter_init(&iter, block, len);
	while (header_next(&iter, &f))
		if (header_name_is(&f, name))
			n++;
	return n;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

size_t
header_value(const struct header_field *f, char *out, size_t outsize)
{
	const char *p = f->value.base, *end = p + f->value.len;
	size_t len = 0;

	if (outsize == 0)
		return 0;
	while (p < end && is_blank(*p))
		p++;
	while (end > p && is_blank(end[-1]))
		end--;
	for (; p < end && len + 1 < outsize; p++) {
		/* Unfolding takes the line break and leaves the white space (RFC 5322 section 2.2.3). */
		if (*p != '\r' && *p != '\n')
			out[len++] = *p == '\0' ? ' ' : *p;
	}
	out[len] = '\0';
	return len;
}
