/* Mailbox addresses (see address.h): parsed once where they come in (smtpd; deliverd and the admin command for the
 * parts), kept in canonical form. Hostile: everything. The local part is opaque: percent signs, bangs and quoted
 * at-signs route nothing. RFC 5321 section 4.1.2 with the additions of RFC 6531 section 3.3:
 *
 *   Path        = "<" [ A-d-l ":" ] Mailbox ">"            A-d-l = At-domain *( "," At-domain )
 *   Mailbox     = Local-part "@" ( Domain / address-literal )
 *   Local-part  = Dot-string / Quoted-string
 *   Dot-string  = Atom *("." Atom)                          Atom = 1*( atext / UTF8-non-ascii )
 *   Quoted-string = DQUOTE *QcontentSMTP DQUOTE             QcontentSMTP = qtextSMTP / "\" %d32-126
 *   Domain      = sub-domain *("." sub-domain)              sub-domain = Let-dig [Ldh-str] / U-label
 */

#include <arpa/inet.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"

#include "mail/address.h"

#define LOCAL_MAX 64
#define DOMAIN_MAX 253
#define LABEL_MAX 63

enum result { ADDR_OK, ADDR_SYNTAX, ADDR_NEEDS_UTF8, ADDR_LONG };

static bool
is_atext(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	    (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* Length of the UTF-8 character at s; 0 if malformed or one of the C1 controls. */
static size_t
utf8_char(const char *s)
{
	const uint8_t *p = (const uint8_t *)s;
	size_t n = utf8_seq_len(p, strnlen(s, 4));

	return n == 2 && p[0] == 0xc2 && p[1] < 0xa0 ? 0 : n;
}

/* Appends n bytes to a buffer of size cap; false if they do not fit. */
static bool
put(char *out, size_t *len, size_t cap, const char *s, size_t n)
{
	if (n > cap - *len)
		return false;
	memcpy(out + *len, s, n);
	*len += n;
	return true;
}

/* One character beyond ASCII. */
static enum result
take_utf8(const char **pp, bool allow_utf8, char *raw, size_t *len)
{
	size_t n;

	if (!allow_utf8)
		return ADDR_NEEDS_UTF8;
	n = utf8_char(*pp);
	if (n == 0)
		return ADDR_SYNTAX;
	if (!put(raw, len, LOCAL_MAX, *pp, n))
		return ADDR_LONG;
	*pp += n;
	return ADDR_OK;
}

static enum result
parse_dot_string(const char **pp, bool allow_utf8, char *raw, size_t *len)
{
	const char *p = *pp;
	bool in_atom = false;
	enum result result;

	for (;;) {
		if ((unsigned char)*p >= 0x80) {
			result = take_utf8(&p, allow_utf8, raw, len);
			if (result != ADDR_OK)
				return result;
			in_atom = true;
			continue;
		}
		if (*p == '.' && !in_atom)
			return ADDR_SYNTAX;
		if (*p != '.' && !is_atext((unsigned char)*p))
			break;
		if (!put(raw, len, LOCAL_MAX, p, 1))
			return ADDR_LONG;
		in_atom = *p++ != '.';
	}
	*pp = p;
	return in_atom ? ADDR_OK : ADDR_SYNTAX;
}

static enum result
parse_quoted(const char **pp, bool allow_utf8, char *raw, size_t *len)
{
	const char *p = *pp + 1;
	enum result result;

	while (*p != '"') {
		if ((unsigned char)*p >= 0x80) {
			result = take_utf8(&p, allow_utf8, raw, len);
			if (result != ADDR_OK)
				return result;
			continue;
		}
		if (*p == '\\')
			p++;
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			return ADDR_SYNTAX;
		if (!put(raw, len, LOCAL_MAX, p++, 1))
			return ADDR_LONG;
	}
	*pp = p + 1;
	return ADDR_OK;
}

/* Whether the characters (already known to be allowed in quotes) need none. */
static bool
is_dot_string(const char *raw, size_t len)
{
	bool in_atom = false;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)raw[i];

		if (c == '.' ? !in_atom : c < 0x80 && !is_atext(c))
			return false;
		in_atom = c != '.';
	}
	return in_atom;
}

/* Writes the local part as it is kept. Limits count what is kept, quotes included. */
static enum result
format_local(const char *raw, size_t rawlen, char *out, size_t *len)
{
	if (is_dot_string(raw, rawlen))
		return put(out, len, LOCAL_MAX, raw, rawlen) ? ADDR_OK : ADDR_LONG;
	if (!put(out, len, LOCAL_MAX, "\"", 1))
		return ADDR_LONG;
	for (size_t i = 0; i < rawlen; i++) {
		if ((raw[i] == '"' || raw[i] == '\\') && !put(out, len, LOCAL_MAX, "\\", 1))
			return ADDR_LONG;
		if (!put(out, len, LOCAL_MAX, raw + i, 1))
			return ADDR_LONG;
	}
	return put(out, len, LOCAL_MAX, "\"", 1) ? ADDR_OK : ADDR_LONG;
}

/* One label of a host name, len > 0. An underscore is tolerated: names with it exist and receive mail. A U-label is
 * taken as it is. */
static bool
label_valid(const char *label, size_t len, bool allow_utf8)
{
	size_t characters = 0, n;

	if (label[0] == '-' || label[len - 1] == '-')
		return false;
	for (size_t i = 0; i < len; i += n, characters++) {
		unsigned char c = (unsigned char)label[i];

		n = 1;
		if (c >= 0x80) {
			n = allow_utf8 ? utf8_seq_len((const uint8_t *)label + i, len - i) : 0;
			if (n == 0 || (n == 2 && c == 0xc2 && (unsigned char)label[i + 1] < 0xa0))
				return false;
		} else if (!((c | 0x20) >= 'a' && (c | 0x20) <= 'z') && !(c >= '0' && c <= '9') && c != '-' &&
		    c != '_') {
			return false;
		}
	}
	return characters <= LABEL_MAX;
}

static bool
literal_parse(const char *domain, size_t len, char canonical[ADDRESS_MAX])
{
	char text[INET6_ADDRSTRLEN + 8];
	struct in6_addr v6;
	struct in_addr v4;

	if (len < 3 || len - 2 >= sizeof(text) || domain[len - 1] != ']')
		return false;
	memcpy(text, domain + 1, len - 2);
	text[len - 2] = '\0';
	if (strncasecmp(text, "IPv6:", 5) == 0) {
		if (inet_pton(AF_INET6, text + 5, &v6) != 1 || inet_ntop(AF_INET6, &v6, text, sizeof(text)) == NULL)
			return false;
		snprintf(canonical, ADDRESS_MAX, "[IPv6:%s]", text);
	} else {
		if (inet_pton(AF_INET, text, &v4) != 1 || inet_ntop(AF_INET, &v4, text, sizeof(text)) == NULL)
			return false;
		snprintf(canonical, ADDRESS_MAX, "[%s]", text);
	}
	return true;
}

bool
address_domain_valid(const char *domain, bool allow_utf8)
{
	char canonical[ADDRESS_MAX];
	size_t total = strlen(domain);
	const char *p = domain;

	if (total == 0 || total > DOMAIN_MAX)
		return false;
	if (domain[0] == '[')
		return literal_parse(domain, total, canonical);
	/* Four numbers are an address that lacks its brackets; no top-level domain is a number. */
	if (strspn(domain, "0123456789.") == total)
		return false;
	for (;;) {
		size_t len = strcspn(p, ".");

		if (len == 0 || !label_valid(p, len, allow_utf8))
			return false;
		if (p[len] == '\0')
			return true;
		p += len + 1;
	}
}

/* A domain that ends at one of `stops` (outside brackets) or at the end; canonical in out. */
static enum result
parse_domain(const char **pp, const char *stops, bool allow_utf8, char out[ADDRESS_MAX])
{
	const char *p = *pp;
	size_t len = strcspn(p, *p == '[' ? "]" : stops);

	if (*p == '[' && p[len] == ']')
		len++;
	if (len == 0)
		return ADDR_SYNTAX;
	if (len > DOMAIN_MAX)
		return ADDR_LONG;
	*pp = p + len;
	if (*p == '[')
		return literal_parse(p, len, out) ? ADDR_OK : ADDR_SYNTAX;
	memcpy(out, p, len);
	out[len] = '\0';
	for (char *c = out; *c != '\0'; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c |= 0x20;
	if (!allow_utf8 && !is_ascii(out, len))
		return ADDR_NEEDS_UTF8;
	return address_domain_valid(out, allow_utf8) ? ADDR_OK : ADDR_SYNTAX;
}

static enum result
parse_local(const char **pp, bool allow_utf8, char out[ADDRESS_MAX], size_t *len)
{
	char raw[LOCAL_MAX];
	size_t rawlen = 0;
	enum result result;

	if (**pp == '"')
		result = parse_quoted(pp, allow_utf8, raw, &rawlen);
	else
		result = parse_dot_string(pp, allow_utf8, raw, &rawlen);
	return result == ADDR_OK ? format_local(raw, rawlen, out, len) : result;
}

static enum result
parse_mailbox(const char **pp, const char *stops, bool allow_utf8, char out[ADDRESS_MAX])
{
	char domain[ADDRESS_MAX];
	size_t len = 0, domain_len;
	enum result result = parse_local(pp, allow_utf8, out, &len);

	if (result != ADDR_OK)
		return result;
	if (**pp != '@')
		return ADDR_SYNTAX;
	(*pp)++;
	result = parse_domain(pp, stops, allow_utf8, domain);
	if (result != ADDR_OK)
		return result;
	domain_len = strlen(domain);
	out[len] = '@';
	memcpy(out + len + 1, domain, domain_len + 1);
	return ADDR_OK;
}

/* "@a,@b:", to be ignored (RFC 5321 appendix C), but well-formed. */
static enum result
skip_route(const char **pp, bool allow_utf8)
{
	char domain[ADDRESS_MAX];
	enum result result;

	while (**pp == '@') {
		(*pp)++;
		result = parse_domain(pp, ",:>", allow_utf8, domain);
		if (result != ADDR_OK)
			return result;
		if (**pp == ':') {
			(*pp)++;
			return ADDR_OK;
		}
		if (**pp != ',' || (*pp)[1] != '@')
			return ADDR_SYNTAX;
		(*pp)++;
	}
	return ADDR_OK;
}

static const char *
path_error(enum result result, enum path_kind kind)
{
	switch (result) {
	case ADDR_NEEDS_UTF8:
		return "5.6.7 Address is not ASCII and SMTPUTF8 was not requested";
	case ADDR_LONG:
		return kind == PATH_REVERSE ? "5.1.7 Sender address too long" : "5.1.3 Recipient address too long";
	default:
		return kind == PATH_REVERSE ? "5.1.7 Bad sender address syntax" : "5.1.3 Bad recipient address syntax";
	}
}

/* What stands between the angle brackets. */
static enum result
parse_inside(const char **pp, enum path_kind kind, bool allow_utf8, char out[ADDRESS_MAX])
{
	enum result result;

	if (**pp == '>' && kind == PATH_REVERSE) {
		out[0] = '\0';
		return ADDR_OK;
	}
	if (kind == PATH_FORWARD && strncasecmp(*pp, "postmaster>", 11) == 0) {
		memcpy(out, "postmaster", sizeof("postmaster"));
		*pp += 10;
		return ADDR_OK;
	}
	result = skip_route(pp, allow_utf8);
	return result == ADDR_OK ? parse_mailbox(pp, ">", allow_utf8, out) : result;
}

int
address_parse_path(const char *s, enum path_kind kind, bool allow_utf8, struct path_arg *out, const char **err_r)
{
	enum result result = ADDR_SYNTAX;

	while (*s == ' ')
		s++;
	if (*s == '<') {
		s++;
		result = parse_inside(&s, kind, allow_utf8, out->address);
	}
	if (result == ADDR_OK && (s[0] != '>' || (s[1] != ' ' && s[1] != '\0')))
		result = ADDR_SYNTAX;
	if (result != ADDR_OK) {
		*err_r = path_error(result, kind);
		return -1;
	}
	for (s++; *s == ' ';)
		s++;
	out->rest = s;
	out->is_utf8 = !is_ascii(out->address, strlen(out->address));
	return 0;
}

int
address_parse(const char *s, bool allow_utf8, char out[ADDRESS_MAX])
{
	return parse_mailbox(&s, "", allow_utf8, out) == ADDR_OK && *s == '\0' ? 0 : -1;
}

size_t
address_local_len(const char *address)
{
	const char *p = address;

	if (*p == '"') {
		for (p++; *p != '\0' && *p != '"'; p++)
			if (*p == '\\' && p[1] != '\0')
				p++;
	}
	return (size_t)(p - address) + strcspn(p, "@");
}

const char *
address_domain(const char *address)
{
	const char *at = address + address_local_len(address);

	return *at == '@' ? at + 1 : at;
}

bool
address_helo_valid(const char *s)
{
	size_t len = strlen(s);

	if (len == 0 || len > 255)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] <= ' ' || s[i] == 0x7f)
			return false;
	return utf8_valid(s, len);
}

bool
is_ascii(const char *s, size_t len)
{
	uint64_t word;

	for (; len >= sizeof(word); s += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, s, sizeof(word));
		if ((word & 0x8080808080808080u) != 0)
			return false;
	}
	for (; len > 0; s++, len--)
		if ((unsigned char)*s >= 0x80)
			return false;
	return true;
}

bool
utf8_valid(const char *s, size_t len)
{
	return is_ascii(s, len) || utf8_is_valid(s, len);
}
