/* DNS wire format to records (dns_answer.h): used in the dns role only. Input is hostile: a packet that a stranger's
 * name server made, passed through libunbound. RFC 1035 sections 3.1, 4.1; RFC 2181 section 10.3 (what MX may point
 * to). */
#include <stdbool.h>
#include <string.h>

#include "mail/dns_answer.h"

#define TLSA_MIN 4 /* usage, selector, matching type, and at least something */

struct packet {
	const uint8_t *p;
	size_t len;
};

struct rr_view {
	char owner[DNS_NAME_MAX + 1];
	uint16_t type, class;
	uint32_t ttl;
	size_t rdata, rdlen;
};

static uint16_t
get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t
get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* Letters, digits, hyphen and underscore; upper case is lowered. Not for a host name, but a name that may be asked for:
 * the rest of ASCII. What cannot stand in a text (that dot inside a label, for one) becomes a backslash, which is in no
 * name that is asked for. */
static char
name_char(uint8_t c, bool *is_clean)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c + 32);
	if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')
		return (char)c;
	*is_clean = false;
	return c < 0x20 || c > 0x7e || c == '.' ? '\\' : (char)c;
}

/* One label of n octets at `from`, after what is in out already. */
static int
name_append(struct packet *k, size_t from, size_t n, char *out, size_t *outlen, bool *is_clean)
{
	size_t i;

	if (*outlen + n + 1 > DNS_NAME_MAX)
		return -1;
	if (*outlen > 0)
		out[(*outlen)++] = '.';
	for (i = 0; i < n; i++)
		out[(*outlen)++] = name_char(k->p[from + i], is_clean);
	return 0;
}

/* Decodes the name at *pos and moves *pos behind it. A pointer must lead backwards, to before the piece it was found
 * in, so that the walk ends. */
static int
name_get(struct packet *k, size_t *pos, char out[DNS_NAME_MAX + 1], bool *is_clean)
{
	size_t at = *pos, piece = *pos, outlen = 0, target;
	bool jumped = false;
	uint8_t n;

	*is_clean = true;
	for (;;) {
		if (at >= k->len)
			return -1;
		n = k->p[at];
		if ((n & 0xc0) == 0xc0) {
			if (at + 2 > k->len)
				return -1;
			target = get16(k->p + at) & 0x3fff;
			if (target >= piece)
				return -1;
			if (!jumped)
				*pos = at + 2;
			jumped = true;
			at = piece = target;
			continue;
		}
		if (n > 63)
			return -1;
		at++;
		if (n == 0)
			break;
		if (n > k->len - at || name_append(k, at, n, out, &outlen, is_clean) == -1)
			return -1;
		at += n;
	}
	if (!jumped)
		*pos = at;
	out[outlen] = '\0';
	return 0;
}

static int
rr_get(struct packet *k, size_t *pos, struct rr_view *rr)
{
	bool is_clean;

	if (name_get(k, pos, rr->owner, &is_clean) == -1 || k->len - *pos < 10)
		return -1;
	rr->type = get16(k->p + *pos);
	rr->class = get16(k->p + *pos + 2);
	rr->ttl = get32(k->p + *pos + 4);
	rr->rdlen = get16(k->p + *pos + 8);
	*pos += 10;
	if (rr->rdlen > k->len - *pos)
		return -1;
	if (rr->ttl > INT32_MAX) /* RFC 2181 section 8 */
		rr->ttl = 0;
	rr->rdata = *pos;
	*pos += rr->rdlen;
	return 0;
}

/* The name in the rdata, which it must fill to its end. */
static int
rdata_name(struct packet *k, const struct rr_view *rr, size_t skip, char out[DNS_NAME_MAX + 1], bool *is_clean)
{
	size_t pos = rr->rdata + skip;

	if (rr->rdlen < skip + 1 || name_get(k, &pos, out, is_clean) == -1 || pos != rr->rdata + rr->rdlen)
		return -1;
	return 0;
}

/* Where the next record goes: behind the others; when there are too many, in the place of a worse mail exchanger, or
 * nowhere (NULL). */
static struct dns_rr *
rr_place(struct dns_answer *out, uint16_t type, uint16_t pref)
{
	struct dns_rr *worst = &out->rr[0];
	unsigned i;

	if (out->n < DNS_RRS_MAX)
		return &out->rr[out->n++];
	out->n_skipped++;
	for (i = 1; i < out->n; i++)
		if (out->rr[i].pref > worst->pref)
			worst = &out->rr[i];
	return type == DNS_TYPE_MX && pref < worst->pref ? worst : NULL;
}

/* One or more strings, each behind its length, to the end of the rdata. */
static bool
is_txt(const struct packet *k, const struct rr_view *rr)
{
	size_t pos = rr->rdata, end = rr->rdata + rr->rdlen;

	if (pos == end)
		return false;
	while (pos < end)
		pos += 1 + (size_t)k->p[pos];
	return pos == end;
}

static int
rr_take(struct packet *k, const struct rr_view *rr, struct dns_answer *out)
{
	size_t iplen = rr->type == DNS_TYPE_A ? 4 : 16;
	struct dns_rr found, *d = &found, *place;
	bool is_clean = true;

	memset(d, 0, sizeof(*d));
	if (rr->type == DNS_TYPE_MX) {
		if (rr->rdlen < 3)
			return -1;
		d->pref = get16(k->p + rr->rdata);
		if (rdata_name(k, rr, 2, d->name, &is_clean) == -1)
			return -1;
	} else if (rr->type == DNS_TYPE_PTR) {
		if (rdata_name(k, rr, 0, d->name, &is_clean) == -1)
			return -1;
	} else if (rr->type == DNS_TYPE_TXT || rr->type == DNS_TYPE_TLSA) {
		if (rr->rdata > UINT16_MAX || (rr->type == DNS_TYPE_TXT ? !is_txt(k, rr) : rr->rdlen < TLSA_MIN))
			return -1;
		d->rdata = (uint16_t)rr->rdata;
		d->rdlen = (uint16_t)rr->rdlen;
	} else {
		if (rr->rdlen != iplen)
			return -1;
		memcpy(d->ip, k->p + rr->rdata, iplen);
	}
	if (!is_clean) {
		out->n_skipped++;
		return 0;
	}
	if (rr->ttl < out->ttl)
		out->ttl = rr->ttl;
	if ((place = rr_place(out, rr->type, d->pref)) != NULL)
		*place = found;
	return 0;
}

/* One pass over the answer section. Looking for a CNAME of `name`: 1 and name replaced if there is one, else 0.
 * Otherwise: takes the records of `type` that `name` owns. -1: malformed. */
static int
answers_walk(struct packet *k, size_t pos, unsigned count, char name[DNS_NAME_MAX + 1], uint16_t type, bool want_cname,
    struct dns_answer *out)
{
	struct rr_view rr;
	bool is_clean;

	for (; count > 0; count--) {
		if (rr_get(k, &pos, &rr) == -1)
			return -1;
		if (rr.class != 1 || strcmp(rr.owner, name) != 0)
			continue;
		if (want_cname && rr.type == DNS_TYPE_CNAME) {
			if (rdata_name(k, &rr, 0, name, &is_clean) == -1)
				return -1;
			if (rr.ttl < out->ttl)
				out->ttl = rr.ttl;
			return strchr(name, '\\') == NULL ? 1 : -1;
		}
		if (!want_cname && rr.type == type && rr_take(k, &rr, out) == -1)
			return -1;
	}
	return 0;
}

/* A server that does not know and names others instead (RFC 2308 section 2.1): name servers in the authority section,
 * no SOA. Not to be taken for "there is no such record": what has no mail exchanger and no address bounces. */
static bool
is_referral(struct packet *k, size_t pos, unsigned n_answers, unsigned n_authority)
{
	struct rr_view rr;
	bool has_ns = false;

	for (; n_answers > 0; n_answers--)
		if (rr_get(k, &pos, &rr) == -1)
			return false;
	for (; n_authority > 0 && rr_get(k, &pos, &rr) == 0; n_authority--) {
		if (rr.type == DNS_TYPE_SOA)
			return false;
		has_ns |= rr.type == DNS_TYPE_NS;
	}
	return has_ns;
}

int
dns_answer_parse(const uint8_t *pkt, size_t len, uint16_t type, struct dns_answer *out, const char **err_r)
{
	struct packet k = { pkt, len };
	char name[DNS_NAME_MAX + 1] = "";
	unsigned count, hops;
	size_t pos = 12;
	bool is_clean;
	int r;

	out->n = out->n_skipped = 0;
	out->is_alias = false;
	out->ttl = UINT32_MAX;
	*err_r = "malformed DNS answer";
	if (len < 12 || get16(pkt + 4) != 1)
		return -1;
	count = get16(pkt + 6);
	if (name_get(&k, &pos, name, &is_clean) == -1 || strchr(name, '\\') != NULL || len - pos < 4)
		return -1;
	pos += 4;
	for (hops = 0;; hops++) {
		r = answers_walk(&k, pos, count, name, type, true, out);
		if (r != 1)
			break;
		out->is_alias = true;
		if (hops == DNS_CNAMES_MAX) {
			*err_r = "too many CNAMEs";
			return -1;
		}
	}
	if (r == -1 || answers_walk(&k, pos, count, name, type, false, out) == -1)
		return -1;
	memcpy(out->final, name, sizeof(out->final));
	if (out->n == 0 && out->n_skipped == 0 && is_referral(&k, pos, count, get16(pkt + 8))) {
		*err_r = "the name server only refers to others";
		return -1;
	}
	return 0;
}

size_t
dns_answer_txt(const uint8_t *pkt, const struct dns_rr *rr, char *out, size_t size)
{
	size_t pos = rr->rdata, end = pos + rr->rdlen, len = 0, n;

	while (pos < end) {
		n = pkt[pos++];
		if (n > end - pos)
			n = end - pos;
		if (n > size - len)
			n = size - len;
		memcpy(out + len, pkt + pos, n);
		len += n;
		pos += pkt[pos - 1];
	}
	return len;
}
