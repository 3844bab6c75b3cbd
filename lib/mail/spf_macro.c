/* Macros of SPF (RFC 7208 section 7): syntax, and expansion. Hostile input: records, and what they are filled with
 * (helo, local part). Everything is written octet by octet into a buffer of fixed size; of a name only the end counts,
 * so that is what is kept of a long one. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "mail/spf_private.h"

#define PARTS_MAX 128
#define VALUE_MAX 1100 /* the longest sender, and more */

struct macro {
	char letter; /* lower case; '%', '_', '-': itself */
	bool is_escaped, is_reversed;
	unsigned keep; /* parts; 0: all */
	struct slice delimiters;
};

struct sink {
	char *out;
	size_t len, size;
	bool keeps_end;
	bool is_full;
};

static bool
is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* The macro at *pos, where a '%' stands, and *pos behind it. */
static int
macro_parse(struct slice s, size_t *pos, bool is_text, struct macro *m)
{
	size_t i = *pos + 1;

	memset(m, 0, sizeof(*m));
	if (i == s.len)
		return -1;
	if (s.base[i] == '%' || s.base[i] == '_' || s.base[i] == '-') {
		m->letter = s.base[i];
		*pos = i + 1;
		return 0;
	}
	if (s.base[i] != '{' || ++i == s.len || !is_alnum(s.base[i]))
		return -1;
	m->is_escaped = s.base[i] >= 'A' && s.base[i] <= 'Z';
	m->letter = (char)(s.base[i] | 0x20);
	if (strchr(is_text ? "slodiphcrtv" : "slodiphv", m->letter) == NULL)
		return -1;
	if (++i < s.len && s.base[i] >= '0' && s.base[i] <= '9') {
		for (; i < s.len && s.base[i] >= '0' && s.base[i] <= '9'; i++)
			if (m->keep < PARTS_MAX)
				m->keep = m->keep * 10 + (unsigned)(s.base[i] - '0');
		if (m->keep == 0)
			return -1;
	}
	if (i < s.len && (s.base[i] == 'r' || s.base[i] == 'R')) {
		m->is_reversed = true;
		i++;
	}
	m->delimiters.base = s.base + i;
	while (i < s.len && s.base[i] != '\0' && strchr(".-+,/_=", s.base[i]) != NULL) {
		m->delimiters.len++;
		i++;
	}
	if (i == s.len || s.base[i] != '}')
		return -1;
	*pos = i + 1;
	return 0;
}

/* Where the last macro ends: *end_r; 0 if there is none. */
static bool
walk(struct slice s, bool is_text, size_t *end_r, bool *has_p)
{
	struct macro m;
	size_t i = 0;

	*end_r = 0;
	while (i < s.len) {
		if (s.base[i] == '%') {
			if (macro_parse(s, &i, is_text, &m) == -1)
				return false;
			*end_r = i;
			*has_p |= m.letter == 'p';
		} else if ((s.base[i] > 0x20 || (is_text && s.base[i] == ' ')) && s.base[i] < 0x7f) {
			i++;
		} else {
			return false;
		}
	}
	return true;
}

bool
spf_macro_valid(struct slice s, bool is_text)
{
	bool has_p = false;
	size_t end;

	return walk(s, is_text, &end, &has_p);
}

bool
spf_macro_has_p(struct slice s)
{
	bool has_p = false;
	size_t end;

	return walk(s, true, &end, &has_p) && has_p;
}

/* A label that may stand at the end: letters, digits and hyphens, not digits alone. */
static bool
is_toplabel(const char *p, size_t n)
{
	bool has_other = false;
	size_t i;

	if (n == 0 || p[0] == '-' || p[n - 1] == '-')
		return false;
	for (i = 0; i < n; i++) {
		if (!is_alnum(p[i]) && p[i] != '-')
			return false;
		has_other |= p[i] < '0' || p[i] > '9';
	}
	return has_other;
}

bool
spf_domain_spec_valid(struct slice s)
{
	bool has_p = false;
	size_t macro_end, end = s.len, begin;

	if (s.len == 0 || !walk(s, false, &macro_end, &has_p))
		return false;
	if (macro_end == s.len)
		return true;
	if (s.base[end - 1] == '.')
		end--;
	for (begin = end; begin > macro_end && s.base[begin - 1] != '.';)
		begin--;
	return begin > macro_end && is_toplabel(s.base + begin, end - begin);
}

static void
put(struct sink *k, char c)
{
	if (k->len == k->size) {
		k->is_full = true;
		if (!k->keeps_end)
			return;
		memmove(k->out, k->out + k->size / 2, k->size - k->size / 2);
		k->len -= k->size / 2;
	}
	k->out[k->len++] = c;
}

static void
put_value(struct sink *k, const char *p, size_t n, bool is_escaped)
{
	static const char hex[] = "0123456789ABCDEF";
	unsigned char c;

	for (; n > 0; p++, n--) {
		if (!is_escaped || is_alnum(*p) || strchr("-._~", *p) != NULL) {
			put(k, *p);
			continue;
		}
		c = (unsigned char)*p;
		put(k, '%');
		put(k, hex[c >> 4]);
		put(k, hex[c & 15]);
	}
}

/* Nibbles with dots between, in upper case as the RFC's test suite has them. */
static void
ip_text(const struct spf_macros *e, char out[VALUE_MAX])
{
	static const char hex[] = "0123456789ABCDEF";
	unsigned i;

	if (!e->is_ip6) {
		inet_ntop(AF_INET, e->ip, out, VALUE_MAX);
		return;
	}
	for (i = 0; i < 16; i++) {
		*out++ = hex[e->ip[i] >> 4];
		*out++ = '.';
		*out++ = hex[e->ip[i] & 15];
		*out++ = i < 15 ? '.' : '\0';
	}
}

static const char *
macro_value(const struct spf_macros *e, char letter, char buf[VALUE_MAX])
{
	switch (letter) {
	case 's':
		snprintf(buf, VALUE_MAX, "%.700s@%.300s", e->local, e->sender_domain);
		return buf;
	case 'l':
		return e->local;
	case 'o':
		return e->sender_domain;
	case 'd':
		return e->domain;
	case 'i':
		ip_text(e, buf);
		return buf;
	case 'p':
		return e->validated;
	case 'v':
		return e->is_ip6 ? "ip6" : "in-addr";
	case 'h':
		return e->query->helo;
	case 'c':
		return inet_ntop(e->is_ip6 ? AF_INET6 : AF_INET, e->ip, buf, VALUE_MAX);
	case 'r':
		return e->query->receiver != NULL ? e->query->receiver : "unknown";
	default:
		snprintf(buf, VALUE_MAX, "%lld", (long long)e->now);
		return buf;
	}
}

/* Splits at the delimiters; parts beyond PARTS_MAX stay together in the last. How many. */
static unsigned
split(const char *value, struct slice delimiters, struct slice parts[PARTS_MAX])
{
	static const struct slice dot = { ".", 1 };
	const struct slice d = delimiters.len > 0 ? delimiters : dot;
	const char *p = value;
	unsigned n = 0;
	size_t len = 0;

	for (;; len++) {
		if (p[len] != '\0' && (n + 1 == PARTS_MAX || memchr(d.base, p[len], d.len) == NULL))
			continue;
		parts[n++] = (struct slice){ p, len };
		if (p[len] == '\0')
			return n;
		p += len + 1;
		len = (size_t)-1;
	}
}

static void
macro_put(const struct spf_macros *e, const struct macro *m, struct sink *k)
{
	struct slice parts[PARTS_MAX];
	char buf[VALUE_MAX];
	unsigned n, first, i;

	if (m->letter == '%' || m->letter == '_') {
		put(k, m->letter == '_' ? ' ' : '%');
		return;
	}
	if (m->letter == '-') {
		put_value(k, "%20", 3, false);
		return;
	}
	n = split(macro_value(e, m->letter, buf), m->delimiters, parts);
	first = m->keep > 0 && m->keep < n ? n - m->keep : 0;
	for (i = first; i < n; i++) {
		const struct slice *part = m->is_reversed ? &parts[n - 1 - i] : &parts[i];

		if (i > first)
			put(k, '.');
		put_value(k, part->base, part->len, m->is_escaped);
	}
}

static void
expand(const struct spf_macros *e, struct slice s, bool is_text, struct sink *k)
{
	struct macro m;
	size_t i = 0;

	while (i < s.len && !(k->is_full && !k->keeps_end)) {
		if (s.base[i] != '%')
			put(k, s.base[i++]);
		else if (macro_parse(s, &i, is_text, &m) == 0)
			macro_put(e, &m, k);
		else
			return; /* never: it is valid */
	}
}

void
spf_expand_domain(const struct spf_macros *e, struct slice spec, char out[SPF_NAME_MAX + 1])
{
	char buf[2048] = "";
	struct sink k = { .out = buf, .size = sizeof(buf), .keeps_end = true };
	const char *p = buf, *dot;
	size_t len;

	expand(e, spec, false, &k);
	len = k.len;
	if (len > 0 && p[len - 1] == '.')
		len--;
	while (len > SPF_NAME_MAX) {
		if ((dot = memchr(p, '.', len)) == NULL) {
			len = 0;
			break;
		}
		len -= (size_t)(dot + 1 - p);
		p = dot + 1;
	}
	memcpy(out, p, len);
	out[len] = '\0';
	if (strlen(out) != len) /* a NUL out of a value: no name */
		out[0] = '\0';
}

int
spf_expand_text(const struct spf_macros *e, struct slice text, char *out, size_t size)
{
	struct sink k = { .out = out, .size = size - 1 };
	size_t i;

	expand(e, text, true, &k);
	out[k.len] = '\0';
	for (i = 0; i < k.len; i++)
		if (out[i] < 0x20 || out[i] > 0x7e)
			return -1;
	return 0;
}
