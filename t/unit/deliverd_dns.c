/* The pieces between a domain name and a site: the DNS packet decoder with every truncation, the link between the
 * two roles, Punycode, site names; and the dns role whole, against a name server that answers from a table. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "mail/dns_answer.h"
#include "mail/dns_link.h"
#include "mail/dns_lookup.h"
#include "mail/dnsd.h"
#include "mail/idna.h"
#include "deliverd/site.h"

#define UNUSED __attribute__((unused))

/* Builds a packet from text: names as "a.example.", records as "name TYPE ttl data", separated by ';'. */
struct pkt {
	uint8_t b[4096];
	size_t len;
};

static void
put16(struct pkt *p, unsigned v)
{
	p->b[p->len++] = (uint8_t)(v >> 8);
	p->b[p->len++] = (uint8_t)v;
}

static void
put_name(struct pkt *p, const char *name)
{
	const char *dot;

	while (*name != '\0' && strcmp(name, ".") != 0) {
		dot = strchr(name, '.');
		p->b[p->len++] = (uint8_t)(dot - name);
		memcpy(p->b + p->len, name, (size_t)(dot - name));
		p->len += (size_t)(dot - name);
		name = dot + 1;
	}
	p->b[p->len++] = 0;
}

static void
put_rr(struct pkt *p, char *text)
{
	char *save = NULL, *name = strtok_r(text, " ", &save), *type = strtok_r(NULL, " ", &save);
	unsigned ttl = (unsigned)atoi(strtok_r(NULL, " ", &save));
	char *data = strtok_r(NULL, " ", &save), *more = strtok_r(NULL, " ", &save);
	size_t len_at;

	put_name(p, name);
	put16(p, strcmp(type, "A") == 0 ? 1 : strcmp(type, "CNAME") == 0 ? 5 : strcmp(type, "MX") == 0 ? 15 : 28);
	put16(p, 1);
	put16(p, ttl >> 16);
	put16(p, ttl & 0xffff);
	len_at = p->len;
	p->len += 2;
	if (strcmp(type, "A") == 0) {
		inet_pton(AF_INET, data, p->b + p->len);
		p->len += 4;
	} else if (strcmp(type, "AAAA") == 0) {
		inet_pton(AF_INET6, data, p->b + p->len);
		p->len += 16;
	} else if (strcmp(type, "CNAME") == 0) {
		put_name(p, data);
	} else {
		put16(p, (unsigned)atoi(data));
		put_name(p, more);
	}
	p->b[len_at] = (uint8_t)((p->len - len_at - 2) >> 8);
	p->b[len_at + 1] = (uint8_t)(p->len - len_at - 2);
}

static void
make_packet(struct pkt *p, const char *qname, unsigned qtype, unsigned rcode, const char *records)
{
	char *copy = xstrdup(records), *rr, *save = NULL, *list[64];
	unsigned n = 0, i;

	memset(p, 0, sizeof(*p));
	for (rr = strtok_r(copy, ";", &save); rr != NULL; rr = strtok_r(NULL, ";", &save))
		list[n++] = rr;
	p->len = 2;
	put16(p, 0x8180 | rcode);
	put16(p, 1);
	put16(p, n);
	put16(p, 0);
	put16(p, 0);
	put_name(p, qname);
	put16(p, qtype);
	put16(p, 1);
	for (i = 0; i < n; i++)
		put_rr(p, list[i]);
	free(copy);
}

static const struct {
	const char *qname;
	unsigned type;
	const char *records;
	int result;
	unsigned n;
	const char *first; /* name, or address */
	uint32_t ttl;
} answers[] = {
	{ "a.example.", DNS_TYPE_MX, "", 0, 0, NULL, UINT32_MAX },
	{ "a.example.", DNS_TYPE_MX, "a.example. MX 300 10 mx.A.example.;a.example. MX 200 20 b.example.", 0, 2,
	    "mx.a.example", 200 },
	{ "a.example.", DNS_TYPE_MX, "a.example. MX 300 0 .", 0, 1, "", 300 },
	{ "a.example.", DNS_TYPE_MX, "b.example. MX 300 10 mx.example.", 0, 0, NULL, UINT32_MAX },
	{ "A.example.", DNS_TYPE_MX, "a.EXAMPLE. MX 300 10 mx.example.", 0, 1, "mx.example", 300 },
	{ "a.example.", DNS_TYPE_MX, "a.example. CNAME 100 b.example.;b.example. MX 300 10 mx.example.", 0, 1,
	    "mx.example", 100 },
	{ "a.example.", DNS_TYPE_A, "b.example. A 300 192.0.2.1;a.example. CNAME 100 b.example.", 0, 1, "192.0.2.1",
	    100 },
	{ "a.example.", DNS_TYPE_A, "a.example. CNAME 9 a.example.", -1, 0, NULL, 0 },
	{ "a.example.", DNS_TYPE_A, "a.example. CNAME 9 b.example.;b.example. CNAME 9 a.example.", -1, 0, NULL, 0 },
	{ "a.example.", DNS_TYPE_AAAA, "a.example. AAAA 5 2001:db8::1", 0, 1, "2001:db8::1", 5 },
	{ "a.example.", DNS_TYPE_MX, "a.example. MX 300 10 b@d.example.;a.example. MX 300 20 ok.example.", 0, 1,
	    "ok.example", 300 },
	{ "a.example.", DNS_TYPE_A, "a.example. AAAA 5 2001:db8::1", 0, 0, NULL, UINT32_MAX },
	/* Names that are no host names may be asked for (SPF), but not what a text cannot tell from others. */
	{ "A+b:c.example.", DNS_TYPE_A, "a+B:c.example. A 5 192.0.2.1", 0, 1, "192.0.2.1", 5 },
	{ "a+b.example.", DNS_TYPE_A, "a+b.example. CNAME 5 c=d.example.;c=d.example. A 9 192.0.2.1", 0, 1, "192.0.2.1",
	    5 },
	{ "a\x80.example.", DNS_TYPE_A, "a\x80.example. A 5 192.0.2.1", -1, 0, NULL, 0 },
	{ "a\\.example.", DNS_TYPE_A, "a\\.example. A 5 192.0.2.1", -1, 0, NULL, 0 },
	{ "a.example.", DNS_TYPE_A, "a.example. CNAME 5 b\x01.example.;b\x02.example. A 9 192.0.2.1", -1, 0, NULL, 0 },
};

static void
test_answers(void **state UNUSED)
{
	struct dns_answer a;
	const char *err;
	struct pkt p;
	char text[DNS_NAME_MAX + 1];
	size_t i;

	for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		make_packet(&p, answers[i].qname, answers[i].type, 0, answers[i].records);
		assert_int_equal(dns_answer_parse(p.b, p.len, (uint16_t)answers[i].type, &a, &err), answers[i].result);
		if (answers[i].result == -1)
			continue;
		assert_int_equal(a.n, answers[i].n);
		assert_int_equal(a.ttl, answers[i].ttl);
		if (a.n == 0)
			continue;
		if (answers[i].type == DNS_TYPE_MX)
			snprintf(text, sizeof(text), "%s", a.rr[0].name);
		else
			inet_ntop(answers[i].type == DNS_TYPE_A ? AF_INET : AF_INET6, a.rr[0].ip, text, sizeof(text));
		assert_string_equal(text, answers[i].first);
	}
}

/* Cut anywhere: an error, or fewer records, never a read beyond the end (each copy is as long as it says, for the
 * sanitizer). Every octet set to each of some values: the same. */
static void
test_truncation(void **state UNUSED)
{
	static const uint8_t values[] = { 0, 1, 3, 0x3f, 0x40, 0x80, 0xc0, 0xff };
	struct dns_answer a;
	const char *err;
	struct pkt p;
	uint8_t *copy;
	size_t n, v;

	make_packet(&p, "a.example.", DNS_TYPE_MX, 0,
	    "a.example. CNAME 1 b.example.;b.example. MX 300 10 mx.example.;b.example. MX 1 2 c.");
	for (n = 0; n < p.len; n++) {
		copy = (uint8_t *)xmemdup0(p.b, n);
		copy = xreallocarray(copy, n > 0 ? n : 1, 1);
		assert_int_equal(dns_answer_parse(copy, n, DNS_TYPE_MX, &a, &err), -1);
		free(copy);
	}
	for (n = 0; n < p.len; n++)
		for (v = 0; v < sizeof(values); v++) {
			copy = xmalloc(p.len);
			memcpy(copy, p.b, p.len);
			copy[n] = values[v];
			if (dns_answer_parse(copy, p.len, DNS_TYPE_MX, &a, &err) == 0)
				assert_in_range(a.n, 0, 3);
			free(copy);
		}
}

/* RDATA of every wrong length, and compression pointers that lead forwards, to themselves, in circles. */
static void
test_rdata(void **state UNUSED)
{
	static const unsigned types[] = { DNS_TYPE_A, DNS_TYPE_AAAA, DNS_TYPE_MX };
	static const uint8_t pointers[][2] = { { 0xc0, 0xff }, { 0xff, 0xff }, { 0xc0, 0x1b }, { 0xc0, 0x0c } };
	struct dns_answer a;
	const char *err;
	struct pkt p;
	size_t i, len;

	for (i = 0; i < 3; i++)
		for (len = 0; len < 20; len++) {
			if (len == (types[i] == DNS_TYPE_A ? 4 : 16) && types[i] != DNS_TYPE_MX)
				continue;
			make_packet(&p, "a.", types[i], 0, "");
			p.b[7] = 1;
			put_name(&p, "a.");
			put16(&p, types[i]);
			put16(&p, 1);
			put16(&p, 0);
			put16(&p, 60);
			put16(&p, (unsigned)len);
			memset(p.b + p.len, 'x', len);
			p.len += len;
			assert_int_equal(dns_answer_parse(p.b, p.len, (uint16_t)types[i], &a, &err), -1);
		}
	for (i = 0; i < 4; i++) {
		make_packet(&p, "a.example.", DNS_TYPE_A, 0, "");
		p.b[7] = 1;
		p.b[p.len] = pointers[i][0];
		p.b[p.len + 1] = pointers[i][1];
		p.len += 2;
		put16(&p, 1);
		put16(&p, 1);
		put16(&p, 0);
		put16(&p, 60);
		put16(&p, 4);
		p.len += 4;
		assert_int_equal(dns_answer_parse(p.b, p.len, DNS_TYPE_A, &a, &err), i < 3 ? -1 : 0);
	}
	assert_int_equal(a.n, 1); /* the last one points at the question */
}

static const struct {
	const char *records;
	unsigned limit;
	enum dns_status status;
	unsigned n;
	const char *first;
} mx_rows[] = {
	{ "", 5, DNS_NO_ADDRESS, 0, NULL },
	{ "a. MX 1 0 .", 5, DNS_NULL_MX, 0, NULL },
	{ "a. MX 1 10 localhost.", 5, DNS_NULL_MX, 0, NULL },
	{ "a. MX 1 10 mail.localhost.;a. MX 1 10 .", 5, DNS_NULL_MX, 0, NULL },
	{ "a. MX 1 10 .;a. MX 1 20 b.example.", 5, DNS_OK, 1, "b.example" },
	{ "a. MX 1 30 c.;a. MX 1 10 a.;a. MX 1 20 b.;a. MX 1 10 a.", 5, DNS_OK, 3, "a" },
	{ "a. MX 1 30 c.;a. MX 1 10 a.;a. MX 1 20 b.", 2, DNS_OK, 2, "a" },
	{ "a. MX 1 10 b@d.", 5, DNS_NULL_MX, 0, NULL },
};

static void
test_mx_hosts(void **state UNUSED)
{
	struct dns_answer a;
	struct mx_list *mx;
	const char *err;
	struct pkt p;
	size_t i;

	for (i = 0; i < sizeof(mx_rows) / sizeof(mx_rows[0]); i++) {
		make_packet(&p, "a.", DNS_TYPE_MX, 0, mx_rows[i].records);
		assert_int_equal(dns_answer_parse(p.b, p.len, DNS_TYPE_MX, &a, &err), 0);
		assert_int_equal(dns_mx_hosts(&a, mx_rows[i].limit, &mx), mx_rows[i].status);
		if (mx_rows[i].status != DNS_OK)
			continue;
		assert_int_equal(mx->n_hosts, mx_rows[i].n);
		assert_string_equal(mx->hosts[0].name, mx_rows[i].first);
		mx_list_unref(&mx);
	}
}

static void
test_link(void **state UNUSED)
{
	struct dns_ask ask = { DNS_WANT_MX, 3, 5, 6, 7000, "a-b.example", 25, 0, 1 }, ask2;
	struct dns_reply reply = { .status = DNS_OK, .ttl = 77 }, reply2;
	char none[] = "", bad[] = "ba d.example";
	struct wbuf w;
	struct rbuf r;
	size_t n;

	wbuf_init(&w);
	dns_ask_encode(&ask, &w);
	for (n = 0; n < w.len; n++) {
		rbuf_init(&r, w.p, n);
		assert_int_equal(dns_ask_decode(&r, &ask2), -1);
	}
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(dns_ask_decode(&r, &ask2), 0);
	assert_memory_equal(&ask, &ask2, sizeof(ask));

	reply.text = none;
	reply.mx = mx_list_new(MX_RECORDS);
	(void)mx_list_add(reply.mx, "b.example", 20);
	(void)mx_list_add(reply.mx, "a.example", 10);
	mx_host_add(&reply.mx->hosts[0], AF_INET, (const uint8_t *)"\x7f\0\0\1");
	mx_host_add(&reply.mx->hosts[1], AF_INET6, (const uint8_t *)"0123456789abcdef");
	reply.mx->is_secure = true;
	reply.mx->hosts[0].dane = MX_DANE_FAILED;
	reply.mx->hosts[1].dane = MX_DANE_RECORDS;
	mx_host_add_tlsa(&reply.mx->hosts[1], &(struct mx_tlsa){ 3, 1, 2, 3, (uint8_t *)bad });
	reply.mx->hosts[1].tlsa_base = xstrdup("end.example");
	reply.mx->hosts[0].tlsa_base = xstrdup("not.sent.without.records.example");
	wbuf_reset(&w);
	dns_reply_encode(&reply, &w);
	for (n = 0; n < w.len; n++) {
		rbuf_init(&r, w.p, n);
		assert_int_equal(dns_reply_decode(&r, &reply2), -1);
	}
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(dns_reply_decode(&r, &reply2), 0);
	assert_int_equal(reply2.ttl, 77);
	assert_int_equal(reply2.mx->n_hosts, 2);
	assert_string_equal(reply2.mx->hosts[0].name, "a.example");
	assert_int_equal(reply2.mx->hosts[1].addrs[0].family, AF_INET);
	assert_true(reply2.mx->is_secure);
	assert_int_equal(reply2.mx->hosts[1].dane, MX_DANE_FAILED);
	assert_int_equal(reply2.mx->hosts[0].n_tlsa, 1);
	assert_int_equal(reply2.mx->hosts[0].tlsa[0].matching, 2);
	assert_memory_equal(reply2.mx->hosts[0].tlsa[0].data, "ba ", 3);
	assert_string_equal(reply2.mx->hosts[0].tlsa_base, "end.example");
	assert_null(reply2.mx->hosts[1].tlsa_base);
	dns_reply_clear(&reply2);

	free(reply.mx->hosts[1].tlsa_base);
	reply.mx->hosts[1].tlsa_base = xstrdup(bad);
	wbuf_reset(&w);
	dns_reply_encode(&reply, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(dns_reply_decode(&r, &reply2), -1);
	free(reply.mx->hosts[1].tlsa_base);
	reply.mx->hosts[1].tlsa_base = NULL;

	free(reply.mx->hosts[0].name);
	reply.mx->hosts[0].name = xstrdup(bad);
	wbuf_reset(&w);
	dns_reply_encode(&reply, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(dns_reply_decode(&r, &reply2), -1);
	mx_list_unref(&reply.mx);
	wbuf_clear(&w);
}

static int
ask_again(uint8_t want, uint16_t type, const char *name)
{
	struct dns_ask ask = { .want = want, .type = type }, again;
	struct wbuf w;
	struct rbuf r;
	int rv;

	snprintf(ask.name, sizeof(ask.name), "%s", name);
	wbuf_init(&w);
	dns_ask_encode(&ask, &w);
	rbuf_init(&r, w.p, w.len);
	rv = dns_ask_decode(&r, &again);
	wbuf_clear(&w);
	return rv;
}

static void
test_link_names(void **state UNUSED)
{
	assert_int_equal(ask_again(DNS_WANT_RECORDS, DNS_TYPE_TXT, "a+b 'c'.example"), 0);
	assert_int_equal(ask_again(DNS_WANT_RECORDS, DNS_TYPE_TXT, "a\\b.example"), -1);
	assert_int_equal(ask_again(DNS_WANT_RECORDS, DNS_TYPE_TXT, "a\x80.example"), -1);
	assert_int_equal(ask_again(DNS_WANT_RECORDS, DNS_TYPE_TXT, "a..example"), -1);
	assert_int_equal(ask_again(DNS_WANT_RECORDS, 0, "a.example"), -1);
	assert_int_equal(ask_again(DNS_WANT_RECORDS, DNS_TYPE_NS, "a.example"), -1);
	assert_int_equal(ask_again(DNS_WANT_HOST, 0, "a+b.example"), -1);
	assert_int_equal(ask_again(0, 0, "a.example"), -1);
	assert_int_equal(ask_again(DNS_WANT_RECORDS + 1, 0, "a.example"), -1);
}

/* Bogus is a reason for having no answer; nothing else may claim it. */
static void
test_link_security(void **state UNUSED)
{
	static const struct {
		uint8_t status, security;
		int r;
	} rows[] = { { DNS_OK, DNS_SECURE, 0 }, { DNS_NXDOMAIN, DNS_SECURE, 0 }, { DNS_TEMPORARY, DNS_BOGUS, 0 },
		{ DNS_OK, DNS_BOGUS, -1 }, { DNS_NXDOMAIN, DNS_BOGUS, -1 }, { DNS_TEMPORARY, 3, -1 } };
	struct dns_reply reply, again;
	struct wbuf w;
	struct rbuf r;
	size_t i;

	wbuf_init(&w);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		reply = (struct dns_reply){ .status = rows[i].status, .security = rows[i].security };
		wbuf_reset(&w);
		dns_reply_encode(&reply, &w);
		rbuf_init(&r, w.p, w.len);
		assert_int_equal(dns_reply_decode(&r, &again), rows[i].r);
		assert_int_equal(again.security, rows[i].security);
		dns_reply_clear(&again);
	}
	wbuf_clear(&w);
}

static const struct {
	const char *in, *out; /* NULL: error */
} idna_rows[] = {
	{ "Example.COM", "example.com" }, { "example.com.", "example.com" }, { "b\xc3\xbc" "cher.example",
	    "xn--bcher-kva.example" },
	{ "\xe4\xbe\x8b\xe3\x81\x88.\xe3\x83\x86\xe3\x82\xb9\xe3\x83\x88", "xn--r8jz45g.xn--zckzah" },
	{ "faß.example", "xn--fa-hia.example" }, { "\xf0\x9f\x92\xa9.la", "xn--ls8h.la" }, { "", NULL }, { ".", NULL },
	    { "a..b", NULL },
	{ "\xff.example", NULL }, { "\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad\xe5\x9b\xbd", "xn--fiqaa831g" },
	{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.x", NULL },
	{ "\xc3\xbc" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.x", NULL },
};

static void
test_idna(void **state UNUSED)
{
	char out[256];
	size_t i;

	for (i = 0; i < sizeof(idna_rows) / sizeof(idna_rows[0]); i++) {
		if (idna_rows[i].out == NULL) {
			assert_int_equal(idna_to_ascii(idna_rows[i].in, out, sizeof(out)), -1);
			continue;
		}
		assert_int_equal(idna_to_ascii(idna_rows[i].in, out, sizeof(out)), 0);
		assert_string_equal(out, idna_rows[i].out);
	}
	assert_int_equal(idna_to_ascii("example.com", out, 11), -1);
}

static const struct {
	const char *hosts[6];
	const char *name;
} site_rows[] = {
	{ { "mx.example.net" }, "mx.example.net" },
	{ { "mx2.example.net", "mx1.example.net" }, "(mx1|mx2).example.net" },
	{ { "alt1.aspmx.l.google.com", "aspmx.l.google.com", "alt2.aspmx.l.google.com" },
	    "(alt1|alt2)?.aspmx.l.google.com" },
	{ { "a.example.com", "a.example.net" }, "a.example.(com|net)" },
	{ { "a", "b.c" }, "(b)?.(a|c)" },
};

static void
test_site_names(void **state UNUSED)
{
	struct mx_list *mx;
	char out[SITE_NAME_MAX], long_name[MX_NAME_MAX + 1];
	size_t i, j;

	for (i = 0; i < sizeof(site_rows) / sizeof(site_rows[0]); i++) {
		mx = mx_list_new(MX_RECORDS);
		for (j = 0; site_rows[i].hosts[j] != NULL; j++)
			(void)mx_list_add(mx, site_rows[i].hosts[j], (uint16_t)j);
		site_name_make(mx, out, sizeof(out));
		assert_string_equal(out, site_rows[i].name);
		mx_list_unref(&mx);
	}
	/* as long as names get, as many as there may be */
	mx = mx_list_new(MX_RECORDS);
	for (i = 0; i < MX_HOSTS_MAX; i++) {
		for (j = 0; j < 250; j++)
			long_name[j] = j % 50 == 49 ? '.' : (char)('a' + (i + j) % 26);
		snprintf(long_name + 250, 4, "%02zu", i);
		assert_int_not_equal(mx_list_add(mx, long_name, 1), -1);
	}
	site_name_make(mx, out, sizeof(out));
	assert_true(strlen(out) < sizeof(out));
	mx_list_unref(&mx);
}

/* A name server that answers from a table. */

static const struct zone_row {
	const char *name; /* lower case, with the final dot */
	unsigned type, rcode;
	const char *records; /* NULL: no answer */
} zone[] = {
	{ "two.test.", DNS_TYPE_MX, 0, "two.test. MX 60 20 b.test.;two.test. MX 60 10 a.test." },
	{ "a.test.", DNS_TYPE_A, 0, "a.test. A 60 192.0.2.1;a.test. A 60 192.0.2.2;a.test. A 60 192.0.2.3" },
	{ "a.test.", DNS_TYPE_AAAA, 0, "a.test. AAAA 60 2001:db8::1" },
	{ "b.test.", DNS_TYPE_A, 0, "b.test. CNAME 60 c.test.;c.test. A 60 192.0.2.9" },
	{ "b.test.", DNS_TYPE_AAAA, 0, "b.test. CNAME 60 c.test." },
	{ "c.test.", DNS_TYPE_A, 0, "c.test. A 60 192.0.2.9" },
	{ "c.test.", DNS_TYPE_AAAA, 0, "" },
	{ "plain.test.", DNS_TYPE_MX, 0, "" },
	{ "plain.test.", DNS_TYPE_A, 0, "plain.test. A 60 192.0.2.5" },
	{ "plain.test.", DNS_TYPE_AAAA, 0, "" },
	{ "empty.test.", DNS_TYPE_MX, 0, "" },
	{ "empty.test.", DNS_TYPE_A, 0, "" },
	{ "empty.test.", DNS_TYPE_AAAA, 0, "" },
	{ "null.test.", DNS_TYPE_MX, 0, "null.test. MX 60 0 ." },
	{ "local.test.", DNS_TYPE_MX, 0, "local.test. MX 60 0 localhost." },
	{ "broken.test.", DNS_TYPE_MX, 2, "" },
	{ "half.test.", DNS_TYPE_MX, 0, "half.test. MX 60 10 gone.test.;half.test. MX 60 20 b.test." },
	{ "nohost.test.", DNS_TYPE_MX, 0, "nohost.test. MX 60 10 gone.test." },
	{ "badhost.test.", DNS_TYPE_MX, 0, "badhost.test. MX 60 10 broken2.test." },
	{ "broken2.test.", DNS_TYPE_A, 2, "" },
	{ "broken2.test.", DNS_TYPE_AAAA, 2, "" },
	{ "slow.test.", DNS_TYPE_MX, 0, NULL },
};

struct server {
	int fd;
	pthread_t thread;
};

static size_t
question(const uint8_t *b, size_t n, char *name, unsigned *type)
{
	size_t at = 12, len = 0, i;

	while (at < n && b[at] != 0) {
		for (i = 1; i <= b[at]; i++)
			name[len++] = (char)(b[at + i] >= 'A' && b[at + i] <= 'Z' ? b[at + i] + 32 : b[at + i]);
		name[len++] = '.';
		at += b[at] + 1u;
	}
	name[len] = '\0';
	*type = (unsigned)(b[at + 1] << 8 | b[at + 2]);
	return at + 5;
}

static void *
server_main(void *arg)
{
	struct server *s = arg;
	struct sockaddr_in from;
	uint8_t b[4096];
	char name[512];
	unsigned type;
	socklen_t len;
	struct pkt p;
	ssize_t n;
	size_t i;

	for (;;) {
		len = sizeof(from);
		n = recvfrom(s->fd, b, sizeof(b), 0, (struct sockaddr *)&from, &len);
		if (n <= 12)
			return NULL;
		(void)question(b, (size_t)n, name, &type);
		for (i = 0; i < sizeof(zone) / sizeof(zone[0]); i++)
			if (strcmp(zone[i].name, name) == 0 && zone[i].type == type)
				break;
		if (i < sizeof(zone) / sizeof(zone[0]) && zone[i].records == NULL)
			continue;
		if (i == sizeof(zone) / sizeof(zone[0]))
			make_packet(&p, name, type, 3, "");
		else
			make_packet(&p, name, type, zone[i].rcode, zone[i].records);
		memcpy(p.b, b, 2);
		(void)sendto(s->fd, p.b, p.len, 0, (struct sockaddr *)&from, len);
	}
}

static const struct {
	const char *name;
	uint8_t want, families;
	enum dns_status status;
	const char *hosts; /* "a.test 3, b.test 1": names and numbers of addresses */
	enum mx_kind kind;
} lookups[] = {
	{ "two.test", DNS_WANT_MX, DNS_FAMILY_4, DNS_OK, "a.test 2, b.test 1, ", MX_RECORDS },
	{ "TWO.test", DNS_WANT_MX, DNS_FAMILY_4 | DNS_FAMILY_6, DNS_OK, "a.test 2, b.test 1, ", MX_RECORDS },
	{ "plain.test", DNS_WANT_MX, DNS_FAMILY_4 | DNS_FAMILY_6, DNS_OK, "plain.test 1, ", MX_IMPLICIT },
	{ "plain.test", DNS_WANT_HOST, DNS_FAMILY_4, DNS_OK, "plain.test 1, ", MX_IMPLICIT },
	{ "plain.test", DNS_WANT_MX, DNS_FAMILY_6, DNS_NO_ADDRESS, NULL, 0 },
	{ "empty.test", DNS_WANT_MX, DNS_FAMILY_4, DNS_NO_ADDRESS, NULL, 0 },
	{ "gone.test", DNS_WANT_MX, DNS_FAMILY_4, DNS_NXDOMAIN, NULL, 0 },
	{ "gone.test", DNS_WANT_MX, DNS_FAMILY_4, DNS_NXDOMAIN, NULL, 0 }, /* from the library's cache */
	{ "null.test", DNS_WANT_MX, DNS_FAMILY_4, DNS_NULL_MX, NULL, 0 },
	{ "local.test", DNS_WANT_MX, DNS_FAMILY_4, DNS_NULL_MX, NULL, 0 },
	{ "half.test", DNS_WANT_MX, DNS_FAMILY_4, DNS_OK, "gone.test 0, b.test 1, ", MX_RECORDS },
	{ "nohost.test", DNS_WANT_MX, DNS_FAMILY_4, DNS_NO_ADDRESS, NULL, 0 },
	{ "badhost.test", DNS_WANT_MX, DNS_FAMILY_4, DNS_TEMPORARY, NULL, 0 },
	{ "broken.test", DNS_WANT_MX, DNS_FAMILY_4, DNS_TEMPORARY, NULL, 0 },
	{ "broken.test", DNS_WANT_MX, DNS_FAMILY_4, DNS_TEMPORARY, NULL, 0 }, /* a cached failure is a failure */
	{ "slow.test", DNS_WANT_MX, DNS_FAMILY_4, DNS_TEMPORARY, NULL, 0 },
};
#define N_LOOKUPS (sizeof(lookups) / sizeof(lookups[0]))

struct asker {
	struct loop *loop;
	struct ipc *ipc;
	size_t at;
};

static void
ask_next(struct asker *k)
{
	struct dns_ask ask = { .want = lookups[k->at].want, .families = lookups[k->at].families, .mx_limit = 5,
	    .addr_limit = 2,
		.timeout = 1500 };
	struct wbuf w;

	snprintf(ask.name, sizeof(ask.name), "%s", lookups[k->at].name);
	wbuf_init(&w);
	dns_ask_encode(&ask, &w);
	ipc_send(k->ipc, DNS_ASK, (uint32_t)k->at, &w, -1);
	wbuf_clear(&w);
}

static void
on_answer(struct ipc *ipc UNUSED, struct ipc_msg *m, void *arg)
{
	struct asker *k = arg;
	char hosts[256] = "";
	struct dns_reply r;
	unsigned i;

	assert_int_equal(m->id, k->at);
	assert_int_equal(dns_reply_decode(&m->body, &r), 0);
	print_message("# %s: %u %s\n", lookups[k->at].name, r.status, r.text);
	assert_int_equal(r.status, lookups[k->at].status);
	for (i = 0; r.mx != NULL && i < r.mx->n_hosts; i++)
		snprintf(hosts + strlen(hosts), sizeof(hosts) - strlen(hosts), "%s %u, ", r.mx->hosts[i].name,
		    r.mx->hosts[i].n_addrs);
	if (lookups[k->at].hosts != NULL) {
		assert_int_equal(r.mx->kind, lookups[k->at].kind);
		assert_string_equal(hosts, lookups[k->at].hosts);
	}
	dns_reply_clear(&r);
	if (++k->at == N_LOOKUPS)
		loop_stop(k->loop);
	else
		ask_next(k);
}

static void
on_gone(struct ipc *ipc UNUSED, const char *why, void *arg UNUSED)
{
	fail_msg("dns role closed the link: %s", why);
}

static void
on_deadline(void *arg UNUSED)
{
	fail_msg("no answer");
}

/* What follows the answers: one record of the authority section. */
static void
put_authority(struct pkt *p, unsigned type)
{
	p->b[9] = 1;
	put_name(p, "example.");
	put16(p, type);
	put16(p, 1);
	put16(p, 0);
	put16(p, 60);
	put16(p, 4);
	put_name(p, "ns.");
}

/* A referral is no answer; an empty answer with a SOA, or with nothing, is. */
static void
test_referral(void **state UNUSED)
{
	static const struct {
		unsigned type; /* of the record in the authority section; 0: none */
		int r;
	} cases[] = { { DNS_TYPE_NS, -1 }, { DNS_TYPE_SOA, 0 }, { 0, 0 } };
	struct dns_answer a;
	const char *err;
	struct pkt p;
	unsigned i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		make_packet(&p, "d.example.", DNS_TYPE_MX, 0, "");
		if (cases[i].type != 0)
			put_authority(&p, cases[i].type);
		assert_int_equal(dns_answer_parse(p.b, p.len, DNS_TYPE_MX, &a, &err), cases[i].r);
		assert_int_equal(a.n, 0);
	}
	make_packet(&p, "d.example.", DNS_TYPE_MX, 0, "d.example. MX 60 10 a.example.");
	put_authority(&p, DNS_TYPE_NS);
	assert_int_equal(dns_answer_parse(p.b, p.len, DNS_TYPE_MX, &a, &err), 0);
	assert_int_equal(a.n, 1);
}

/* Of more mail exchangers than are kept the best are, wherever they stand. */
static void
test_best_of_many(void **state UNUSED)
{
	struct dns_answer a;
	unsigned i, n = 0;
	const char *err;
	struct pkt p;
	char rr[64];

	make_packet(&p, "d.", DNS_TYPE_MX, 0, "");
	for (i = 0; i < 120; i++) {
		snprintf(rr, sizeof(rr), "d. MX 60 %u h%u.", i >= 110 ? i - 109 : 1000 - i, i);
		put_rr(&p, rr);
	}
	p.b[7] = 120;
	assert_int_equal(dns_answer_parse(p.b, p.len, DNS_TYPE_MX, &a, &err), 0);
	assert_int_equal(a.n, DNS_RRS_MAX);
	for (i = 0; i < a.n; i++)
		n += a.rr[i].pref <= 10;
	assert_int_equal(n, 10);
}

static void
test_dnsd(void **state UNUSED)
{
	static const struct ipc_rule rules[] = { { DNS_ANSWER, false, DNS_ANSWER_MAX, "ANSWER", on_answer } };
	static const struct ipc_ops ops = { rules, 1, on_gone };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	struct params params = { 0 };
	char server[64], none[] = "";
	char *servers[] = { server };
	struct asker k = { NULL, NULL, 0 };
	struct timer deadline;
	struct server s;
	struct dnsd *d;
	int pair[2];

	s.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s.fd, (struct sockaddr *)&in, sizeof(in)), 0);
	getsockname(s.fd, (struct sockaddr *)&in, &len);
	snprintf(server, sizeof(server), "127.0.0.1@%u", ntohs(in.sin_port));
	pthread_create(&s.thread, NULL, server_main, &s);
	params.dns_servers.v = servers;
	params.dns_servers.n = 1;
	params.dns_trust_anchor_file = none;
	k.loop = loop_new();
	d = dnsd_new(k.loop, &params);
	assert_non_null(d);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	dnsd_set_peer(d, pair[0]);
	k.ipc = ipc_new(k.loop, pair[1], &ops, &k);
	timer_init(&deadline, k.loop, on_deadline, NULL);
	timer_set(&deadline, 30000);
	ask_next(&k);
	loop_run(k.loop);
	assert_int_equal(k.at, N_LOOKUPS);
	timer_cancel(&deadline);
	ipc_close(&k.ipc);
	dnsd_free(&d);
	loop_free(&k.loop);
	in.sin_port = htons(atoi(strchr(server, '@') + 1));
	(void)sendto(s.fd, "", 1, 0, (struct sockaddr *)&in, sizeof(in)); /* ends the thread */
	pthread_join(s.thread, NULL);
	close(s.fd);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_rdata),
		cmocka_unit_test(test_mx_hosts),
		cmocka_unit_test(test_link), cmocka_unit_test(test_link_names),
		cmocka_unit_test(test_link_security),
		cmocka_unit_test(test_idna),
		cmocka_unit_test(test_site_names),
		cmocka_unit_test(test_referral),
		cmocka_unit_test(test_best_of_many),
		cmocka_unit_test(test_dnsd),
	};

	log_init("test", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
