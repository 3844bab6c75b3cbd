/* Codec of the link to the dns role (dns_link.h); pure. The decoder of answers runs in the asking role on what the dns
 * role says. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/dns_answer.h"
#include "mail/dns_link.h"

#define KIND_RECORDS 9 /* beside enum mx_kind */

static bool
name_check(const char *s, bool (*is_fit)(char))
{
	size_t n = strlen(s), label = 0, i;

	if (n == 0 || n > 253)
		return false;
	for (i = 0; i < n; i++) {
		if (s[i] == '.') {
			if (label == 0)
				return false;
			label = 0;
			continue;
		}
		if (!is_fit(s[i]) || ++label > 63)
			return false;
	}
	return label > 0;
}

static bool
is_host_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static bool
is_askable_char(char c)
{
	return c >= 0x20 && c < 0x7f && c != '\\';
}

bool
dns_name_valid(const char *s)
{
	return name_check(s, is_host_char);
}

bool
dns_name_askable(const char *s)
{
	return name_check(s, is_askable_char);
}

void
dns_ask_encode(const struct dns_ask *a, struct wbuf *w)
{
	wbuf_u8(w, a->want);
	wbuf_u8(w, a->families);
	wbuf_u16(w, a->mx_limit);
	wbuf_u16(w, a->addr_limit);
	wbuf_u32(w, a->timeout);
	wbuf_str(w, a->name);
	wbuf_u16(w, a->tlsa_port);
	wbuf_u16(w, a->type);
	wbuf_u8(w, a->wants_sts);
}

static bool
is_type(uint16_t type)
{
	return type == DNS_TYPE_A || type == DNS_TYPE_AAAA || type == DNS_TYPE_MX || type == DNS_TYPE_TXT ||
	    type == DNS_TYPE_PTR;
}

int
dns_ask_decode(struct rbuf *r, struct dns_ask *a)
{
	struct slice s;

	memset(a, 0, sizeof(*a));
	a->want = rbuf_u8(r);
	a->families = rbuf_u8(r);
	a->mx_limit = rbuf_u16(r);
	a->addr_limit = rbuf_u16(r);
	a->timeout = rbuf_u32(r);
	s = rbuf_bytes(r, MX_NAME_MAX);
	a->tlsa_port = rbuf_u16(r);
	a->type = rbuf_u16(r);
	a->wants_sts = rbuf_u8(r);
	if (!rbuf_done(r) || a->wants_sts > (a->want == DNS_WANT_MX))
		return -1;
	memcpy(a->name, s.base, s.len);
	if (strlen(a->name) != s.len)
		return -1;
	if (a->want == DNS_WANT_RECORDS)
		return is_type(a->type) && dns_name_askable(a->name) ? 0 : -1;
	if ((a->want != DNS_WANT_MX && a->want != DNS_WANT_HOST) || a->type != 0)
		return -1;
	return dns_name_valid(a->name) ? 0 : -1;
}

static void
records_encode(const struct dns_reply *d, struct wbuf *w)
{
	unsigned i;

	wbuf_u8(w, KIND_RECORDS);
	wbuf_u16(w, (uint16_t)d->n_records);
	for (i = 0; i < d->n_records; i++) {
		wbuf_u16(w, d->records[i].pref);
		wbuf_bytes(w, d->records[i].text, d->records[i].len);
	}
}

void
dns_reply_add(struct dns_reply *d, uint16_t pref, char *text, size_t len)
{
	if (d->n_records >= DNS_RECORDS_MAX) {
		free(text);
		return;
	}
	d->records = xreallocarray(d->records, d->n_records + 1, sizeof(*d->records));
	d->records[d->n_records++] = (struct dns_record){ pref, text, len };
}

static void
dane_encode(const struct mx_host *h, struct wbuf *w)
{
	unsigned i;

	wbuf_u8(w, h->dane);
	wbuf_u16(w, (uint16_t)h->n_tlsa);
	for (i = 0; i < h->n_tlsa; i++) {
		wbuf_u8(w, h->tlsa[i].usage);
		wbuf_u8(w, h->tlsa[i].selector);
		wbuf_u8(w, h->tlsa[i].matching);
		wbuf_bytes(w, (const char *)h->tlsa[i].data, h->tlsa[i].len);
	}
	wbuf_str(w, h->dane == MX_DANE_RECORDS ? h->tlsa_base : NULL);
}

static void
host_encode(const struct mx_host *h, struct wbuf *w)
{
	unsigned j;

	wbuf_u16(w, h->pref);
	wbuf_str(w, h->name);
	wbuf_u16(w, (uint16_t)h->n_addrs);
	for (j = 0; j < h->n_addrs; j++) {
		wbuf_u8(w, h->addrs[j].family == AF_INET ? 4 : 6);
		wbuf_raw(w, h->addrs[j].ip, h->addrs[j].family == AF_INET ? 4 : 16);
	}
	dane_encode(h, w);
}

static void
sts_encode(const struct dns_reply *d, struct wbuf *w)
{
	wbuf_u8(w, d->sts);
	if (d->sts != DNS_STS_FOUND)
		return;
	wbuf_str(w, d->sts_id);
	host_encode(&d->sts_host->hosts[0], w);
}

void
dns_reply_encode(const struct dns_reply *d, struct wbuf *w)
{
	unsigned i;

	wbuf_u8(w, d->status);
	wbuf_u8(w, d->security);
	wbuf_u32(w, d->ttl);
	wbuf_str(w, d->text);
	if (d->status != DNS_OK)
		return;
	if (d->mx == NULL) {
		records_encode(d, w);
		return;
	}
	wbuf_u8(w, (uint8_t)d->mx->kind);
	wbuf_u8(w, d->mx->is_secure);
	wbuf_u16(w, (uint16_t)d->mx->n_hosts);
	for (i = 0; i < d->mx->n_hosts; i++)
		host_encode(&d->mx->hosts[i], w);
	sts_encode(d, w);
}

static int
dane_decode(struct rbuf *r, struct mx_host *h)
{
	uint8_t dane = rbuf_u8(r);
	uint16_t n = rbuf_u16(r);
	struct mx_tlsa t;
	struct slice s;
	char *base;

	if (dane > MX_DANE_FAILED || n > MX_TLSA_MAX || (n > 0) != (dane == MX_DANE_RECORDS))
		return -1;
	h->dane = dane;
	for (; n > 0; n--) {
		t.usage = rbuf_u8(r);
		t.selector = rbuf_u8(r);
		t.matching = rbuf_u8(r);
		s = rbuf_bytes(r, MX_TLSA_DATA_MAX);
		if (r->bad)
			return -1;
		t.len = (uint16_t)s.len;
		t.data = (uint8_t *)(uintptr_t)s.base;
		mx_host_add_tlsa(h, &t);
	}
	base = rbuf_strdup(r, MX_NAME_MAX);
	if (*base != '\0' && dane == MX_DANE_RECORDS && dns_name_valid(base)) {
		free(h->tlsa_base); /* of a host that is named twice */
		h->tlsa_base = base;
		return 0;
	}
	n = *base == '\0' ? 0 : 1;
	free(base);
	return n == 0 ? 0 : -1;
}

static int
host_decode(struct rbuf *r, struct mx_list *mx)
{
	uint16_t pref = rbuf_u16(r), n;
	char *name = rbuf_strdup(r, MX_NAME_MAX);
	uint8_t ip[16], family;
	int at;

	at = dns_name_valid(name) ? mx_list_add(mx, name, pref) : -1;
	free(name);
	n = rbuf_u16(r);
	if (at == -1 || n > MX_ADDRS_MAX)
		return -1;
	for (; n > 0; n--) {
		family = rbuf_u8(r);
		if (family != 4 && family != 6)
			return -1;
		rbuf_raw(r, ip, family == 4 ? 4 : 16);
		mx_host_add(&mx->hosts[at], family == 4 ? AF_INET : AF_INET6, ip);
	}
	return dane_decode(r, &mx->hosts[at]);
}

static int
sts_decode(struct rbuf *r, struct dns_reply *d)
{
	struct slice id;

	d->sts = rbuf_u8(r);
	if (d->sts != DNS_STS_FOUND)
		return d->sts > DNS_STS_FAILED ? -1 : 0;
	id = rbuf_bytes(r, STS_ID_MAX);
	if (id.len == 0 || !sts_id_valid(id.base, id.len))
		return -1;
	memcpy(d->sts_id, id.base, id.len);
	d->sts_host = mx_list_new(MX_IMPLICIT);
	return host_decode(r, d->sts_host);
}

static int
records_decode(struct rbuf *r, struct dns_reply *d, unsigned n)
{
	struct slice s;
	uint16_t pref;

	if (n > DNS_RECORDS_MAX)
		return -1;
	for (; n > 0; n--) {
		pref = rbuf_u16(r);
		s = rbuf_bytes(r, DNS_RECORD_MAX);
		if (r->bad)
			return -1;
		dns_reply_add(d, pref, xmemdup0(s.base, s.len), s.len);
	}
	return 0;
}

static int
hosts_decode(struct rbuf *r, struct dns_reply *d)
{
	uint8_t kind = rbuf_u8(r), is_secure = kind == KIND_RECORDS ? 0 : rbuf_u8(r);
	uint16_t n = rbuf_u16(r);

	if (kind == KIND_RECORDS)
		return records_decode(r, d, n);
	if (is_secure > 1 || (kind != MX_RECORDS && kind != MX_IMPLICIT) || n == 0 || n > MX_HOSTS_MAX)
		return -1;
	d->mx = mx_list_new(kind);
	d->mx->is_secure = is_secure;
	for (; n > 0; n--)
		if (host_decode(r, d->mx) == -1)
			return -1;
	mx_list_sort(d->mx);
	return sts_decode(r, d);
}

int
dns_reply_decode(struct rbuf *r, struct dns_reply *d)
{
	memset(d, 0, sizeof(*d));
	d->status = rbuf_u8(r);
	d->security = rbuf_u8(r);
	d->ttl = rbuf_u32(r);
	d->text = rbuf_strdup(r, DNS_TEXT_MAX);
	if (d->status < DNS_OK || d->status > DNS_TEMPORARY ||
	    d->security > (d->status == DNS_TEMPORARY ? DNS_BOGUS : DNS_SECURE) ||
	    (d->status == DNS_OK && hosts_decode(r, d) == -1) ||
	    !rbuf_done(r)) {
		dns_reply_clear(d);
		return -1;
	}
	return 0;
}

void
dns_reply_clear(struct dns_reply *d)
{
	free(d->text);
	d->text = NULL;
	while (d->n_records > 0)
		free(d->records[--d->n_records].text);
	free(d->records);
	d->records = NULL;
	mx_list_unref(&d->mx);
	mx_list_unref(&d->sts_host);
}
