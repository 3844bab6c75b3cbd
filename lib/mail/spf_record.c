/* The terms of an SPF record (RFC 7208 sections 4.6.1, 5, 6, 12), as they are met: nothing is kept of a record but the
 * record. Hostile input. */
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "mail/spf_private.h"

static const struct {
	const char *name;
	enum spf_kind kind;
	bool may_have_domain, must_have_domain, has_bits;
} mechanisms[] = {
	{ "all", SPF_ALL, false, false, false },
	{ "include", SPF_INCLUDE, true, true, false },
	{ "a", SPF_A, true, false, true },
	{ "mx", SPF_MX, true, false, true },
	{ "ptr", SPF_PTR, true, false, false },
	{ "ip4", SPF_IP4, false, false, false },
	{ "ip6", SPF_IP6, false, false, false },
	{ "exists", SPF_EXISTS, true, true, false },
};
#define N_MECHANISMS (sizeof(mechanisms) / sizeof(mechanisms[0]))

static bool
is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_name_more(char c)
{
	return is_digit(c) || c == '-' || c == '_' || c == '.';
}

static bool
slice_is(struct slice s, const char *name)
{
	return s.len == strlen(name) && strncasecmp(s.base, name, s.len) == 0;
}

bool
spf_is_record(const char *text, size_t len)
{
	return len >= 6 && strncasecmp(text, "v=spf1", 6) == 0 && (len == 6 || text[6] == ' ');
}

/* 1*DIGIT without a leading zero, at most max. */
static bool
bits_parse(const char *s, size_t len, unsigned max, unsigned *out)
{
	unsigned n = 0;

	if (len == 0 || len > 3 || (len > 1 && s[0] == '0'))
		return false;
	for (; len > 0; s++, len--) {
		if (!is_digit(*s))
			return false;
		n = n * 10 + (unsigned)(*s - '0');
	}
	*out = n;
	return n <= max;
}

/* Where a "/" and digits at the end of s begin; s.len if there is none. */
static size_t
bits_begin(struct slice s)
{
	size_t n = s.len;

	while (n > 0 && is_digit(s.base[n - 1]))
		n--;
	return n > 0 && s.base[n - 1] == '/' ? n - 1 : s.len;
}

/* dual-cidr-length at the end of *s, which is shortened by it. */
static int
dual_bits_take(struct slice *s, struct spf_term *t)
{
	const char *base = s->base;
	size_t at = bits_begin(*s);

	t->bits4 = 32;
	t->bits6 = 128;
	if (at == s->len)
		return 0;
	if (at > 0 && base[at - 1] == '/') {
		if (!bits_parse(base + at + 1, s->len - at - 1, 128, &t->bits6))
			return -1;
		s->len = at - 1;
		if ((at = bits_begin(*s)) == s->len)
			return 0;
	}
	if (!bits_parse(base + at + 1, s->len - at - 1, 32, &t->bits4))
		return -1;
	s->len = at;
	return 0;
}

/* What stands behind "ip4:" and "ip6:". */
static int
network_parse(struct slice s, struct spf_term *t)
{
	int family = t->kind == SPF_IP4 ? AF_INET : AF_INET6;
	unsigned max = t->kind == SPF_IP4 ? 32 : 128, *bits = t->kind == SPF_IP4 ? &t->bits4 : &t->bits6;
	const char *slash = memchr(s.base, '/', s.len);
	size_t len = slash != NULL ? (size_t)(slash - s.base) : s.len;
	char text[64];

	*bits = max;
	if (len >= sizeof(text) || (slash != NULL && !bits_parse(slash + 1, s.len - len - 1, max, bits)))
		return -1;
	memcpy(text, s.base, len);
	text[len] = '\0';
	return inet_pton(family, text, t->ip) == 1 ? 0 : -1;
}

static int
mechanism_parse(struct spf_term *t, size_t m, struct slice rest, const char **why)
{
	bool has_colon = rest.len > 0 && rest.base[0] == ':';

	t->kind = mechanisms[m].kind;
	*why = "a malformed mechanism";
	if (t->kind == SPF_IP4 || t->kind == SPF_IP6) {
		*why = "a malformed IP network";
		return has_colon ? network_parse((struct slice){ rest.base + 1, rest.len - 1 }, t) : -1;
	}
	if (mechanisms[m].has_bits && dual_bits_take(&rest, t) == -1) {
		*why = "a bad prefix length";
		return -1;
	}
	if (rest.len == 0)
		return mechanisms[m].must_have_domain ? -1 : 0;
	if (!has_colon || !mechanisms[m].may_have_domain)
		return -1;
	t->spec = (struct slice){ rest.base + 1, rest.len - 1 };
	if (spf_domain_spec_valid(t->spec))
		return 0;
	*why = "a malformed domain";
	return -1;
}

static int
modifier_parse(struct spf_term *t, struct slice name, struct slice value, const char **why)
{
	t->spec = value;
	t->kind = slice_is(name, "redirect") ? SPF_REDIRECT : slice_is(name, "exp") ? SPF_EXP : SPF_OTHER;
	if (t->kind == SPF_OTHER ? spf_macro_valid(value, false) : spf_domain_spec_valid(value))
		return 0;
	*why = "a malformed modifier";
	return -1;
}

static int
term_parse(struct spf_term *t, const char **why)
{
	const char *qualifiers = "+-~?", *q;
	static const enum spf_result effects[] = { SPF_PASS, SPF_FAIL, SPF_SOFTFAIL, SPF_NEUTRAL };
	struct slice s = t->text, name;
	size_t n = 0, m;

	q = strchr(qualifiers, s.base[0]);
	t->effect = q != NULL && *q != '\0' ? effects[q - qualifiers] : SPF_PASS;
	if (q != NULL && *q != '\0')
		s = (struct slice){ s.base + 1, s.len - 1 };
	while (n < s.len && (is_alpha(s.base[n]) || (n > 0 && is_name_more(s.base[n]))))
		n++;
	name = (struct slice){ s.base, n };
	*why = "an unknown mechanism";
	if (n > 0 && n < s.len && s.base[n] == '=') {
		*why = "a modifier with a qualifier";
		if (s.base != t->text.base)
			return -1;
		return modifier_parse(t, name, (struct slice){ s.base + n + 1, s.len - n - 1 }, why);
	}
	for (m = 0; m < N_MECHANISMS; m++)
		if (slice_is(name, mechanisms[m].name))
			return mechanism_parse(t, m, (struct slice){ s.base + n, s.len - n }, why);
	return -1;
}

int
spf_term_next(struct slice record, size_t *pos, struct spf_term *t, const char **why)
{
	size_t begin;

	memset(t, 0, sizeof(*t));
	while (*pos < record.len && record.base[*pos] == ' ')
		++*pos;
	if (*pos == record.len)
		return 0;
	for (begin = *pos; *pos < record.len && record.base[*pos] != ' ';)
		++*pos;
	t->text = (struct slice){ record.base + begin, *pos - begin };
	return term_parse(t, why) == 0 ? 1 : -1;
}
