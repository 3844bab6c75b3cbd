/* mail/dkim.h, mail/dkim_key.h: the vectors of RFC 6376 and RFC 8463, canonical forms against a second, simpler
 * implementation of them, what is signed and how the field looks, and which key files are refused. */
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "mail/dkim_key.h"
#include "mail/header.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define BODY_HASH "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="

/* RFC 8463 A.1 */
static const char rsa_pem[] =
    "-----BEGIN RSA PRIVATE KEY-----\n"
    "MIICXQIBAAKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi\n"
    "Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqM\n"
    "KrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB\n"
    "AoGAH0cxOhFZDgzXWhDhnAJDw5s4roOXN4OhjiXa8W7Y3rhX3FJqmJSPuC8N9vQm\n"
    "6SVbaLAE4SG5mLMueHlh4KXffEpuLEiNp9Ss3O4YfLiQpbRqE7Tm5SxKjvvQoZZe\n"
    "zHorimOaChRL2it47iuWxzxSiRMv4c+j70GiWdxXnxe4UoECQQDzJB/0U58W7RZy\n"
    "6enGVj2kWF732CoWFZWzi1FicudrBFoy63QwcowpoCazKtvZGMNlPWnC7x/6o8Gc\n"
    "uSe0ga2xAkEA8C7PipPm1/1fTRQvj1o/dDmZp243044ZNyxjg+/OPN0oWCbXIGxy\n"
    "WvmZbXriOWoSALJTjExEgraHEgnXssuk7QJBALl5ICsYMu6hMxO73gnfNayNgPxd\n"
    "WFV6Z7ULnKyV7HSVYF0hgYOHjeYe9gaMtiJYoo0zGN+L3AAtNP9huqkWlzECQE1a\n"
    "licIeVlo1e+qJ6Mgqr0Q7Aa7falZ448ccbSFYEPD6oFxiOl9Y9se9iYHZKKfIcst\n"
    "o7DUw1/hz2Ck4N5JrgUCQQCyKveNvjzkkd8HjYs0SwM0fPjK16//5qDZ2UiDGnOe\n"
    "uEzxBDAr518Z8VFbR41in3W4Y3yCDgQlLlcETrS+zYcL\n"
    "-----END RSA PRIVATE KEY-----\n";
/* The secret key nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=, in the form of RFC 8410. */
static const char ed25519_pem[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
    "-----END PRIVATE KEY-----\n";
/* RFC 6376 C: the public key of "brisbane", which A.2 is signed with. */
static const char brisbane[] =
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt"
    "IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0"
    "fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB";
static const char head[] =
    "Received: from client1.football.example.com  [192.0.2.1]\r\n"
    "      by submitserver.example.com with SUBMISSION;\r\n"
    "      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)\r\n"
    "From: Joe SixPack <joe@football.example.com>\r\n"
    "To: Suzie Q <suzie@shopping.example.net>\r\n"
    "Subject: Is dinner ready?\r\n"
    "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
    "Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
    "\r\n";
static const char rfc6376_body[] = "Hi.\r\n\r\nWe lost the game. Are you hungry yet?\r\n\r\nJoe.\r\n";
static const char rfc8463_body[] = "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";

static char dir[] = "/tmp/posthorn-dkim-XXXXXX";

static const char *
file_make(const char *name, const char *text, mode_t mode)
{
	static char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
	return path;
}

static struct dkim_key *
key_of(const char *pem)
{
	char err[512] = "";
	struct dkim_key *k = dkim_key_load(file_make("key", pem, 0600), err, sizeof(err));

	if (k == NULL)
		fail_msg("%s", err);
	return k;
}

static const char *
base64(const uint8_t *p, size_t n)
{
	static char out[1024];

	EVP_EncodeBlock((uint8_t *)out, p, (int)n);
	return out;
}

static const char *
body_hash(enum dkim_canon canon, const char *text, size_t len, size_t piece)
{
	struct dkim_body *b = dkim_body_new(canon);
	uint8_t hash[DKIM_HASH];
	size_t i, n;

	for (i = 0; i < len; i += n) {
		n = len - i < piece ? len - i : piece;
		dkim_body_update(b, text + i, n);
	}
	dkim_body_final(&b, hash);
	return base64(hash, DKIM_HASH);
}

/* RFC 8463 A.3: both signatures, to the octet. */
static void
test_rfc8463(void **state)
{
	static const char *const names[] = { "from", "to", "subject", "date", "message-id", "from", "subject", "date" };
	static const struct {
		const char *pem, *field, *signature, *public;
	} t[] = {
		{ ed25519_pem, "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
		    " d=football.example.com; i=@football.example.com;\r\n"
		    " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
		    " subject : date : message-id : from : subject : date;\r\n bh=" BODY_HASH ";\r\n b=",
		    "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==",
		    "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=" },
		{ rsa_pem, "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n"
		    " d=football.example.com; i=@football.example.com;\r\n"
		    " q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n"
		    " date : message-id : from : subject : date;\r\n bh=" BODY_HASH ";\r\n b=",
		    "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3"
		    "DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz"
		    "dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=",
		    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi"
		    "Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZy"
		    "VYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB" },
	};
	uint8_t hash[DKIM_HASH], sig[DKIM_SIGNATURE_MAX];
	struct dkim_key *k;
	struct wbuf field, public;
	size_t i, len;

	(void)state;
	assert_string_equal(body_hash(DKIM_RELAXED, rfc8463_body, strlen(rfc8463_body), 1000), BODY_HASH);
	for (i = 0; i < N(t); i++) {
		k = key_of(t[i].pem);
		wbuf_init(&field);
		wbuf_init(&public);
		wbuf_raw(&field, t[i].field, strlen(t[i].field));
		assert_int_equal(dkim_header_hash(DKIM_RELAXED, head, strlen(head), names, N(names), &field, hash), 0);
		len = dkim_key_sign(k, hash, sig);
		assert_string_equal(base64(sig, len), t[i].signature);
		len = dkim_key_sign(k, hash, sig); /* a key is good for more than one */
		assert_string_equal(base64(sig, len), t[i].signature);
		dkim_key_public(k, &public);
		assert_string_equal(base64(public.p, public.len), t[i].public);
		wbuf_clear(&field);
		wbuf_clear(&public);
		dkim_key_free(&k);
	}
}

/* RFC 6376 A.2 (with errata 3192 and 4926): what we would sign is what was signed. */
static void
test_rfc6376(void **state)
{
	static const char *const names[] = { "Received", "From", "To", "Subject", "Date", "Message-ID" };
	static const char text[] = "DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;\r\n"
	    "      c=simple/simple; q=dns/txt; i=joe@football.example.com;\r\n"
	    "      h=Received : From : To : Subject : Date : Message-ID;\r\n      bh=" BODY_HASH ";\r\n      b=;";
	static const char b[] = "AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB4nujc7YopdG5dWLSdNg6xNAZpOPr"
	    "+kHxt1IrE+NahM6L/LbvaHutKVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV4bmp/YzhwvcubU4=";
	uint8_t hash[DKIM_HASH], sig[192], der[256];
	const uint8_t *p = der;
	struct wbuf field;
	EVP_PKEY_CTX *ctx;
	EVP_PKEY *key;
	int n;

	(void)state;
	assert_string_equal(body_hash(DKIM_SIMPLE, rfc6376_body, strlen(rfc6376_body), 1000), BODY_HASH);
	wbuf_init(&field);
	wbuf_raw(&field, text, strlen(text));
	assert_int_equal(dkim_header_hash(DKIM_SIMPLE, head, strlen(head), names, N(names), &field, hash), 0);
	wbuf_clear(&field);
	n = EVP_DecodeBlock(der, (const uint8_t *)brisbane, (int)strlen(brisbane));
	assert_non_null(key = d2i_PUBKEY(NULL, &p, n));
	assert_int_equal(EVP_DecodeBlock(sig, (const uint8_t *)b, (int)strlen(b)), 129);
	ctx = EVP_PKEY_CTX_new(key, NULL);
	assert_int_equal(EVP_PKEY_verify_init(ctx), 1);
	EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256());
	assert_int_equal(EVP_PKEY_verify(ctx, sig, 128, hash, sizeof(hash)), 1);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(key);
}

/* RFC 6376 3.4.5, and what else a field may look like. */
static void
test_fields(void **state)
{
	static const struct {
		const char *in, *relaxed;
	} t[] = {
		{ "A: X\r\n", "a:X\r\n" }, { "B : Y\t\r\n\tZ  \r\n", "b:Y Z\r\n" }, { "A:\r\n", "a:\r\n" },
		{ "A: \t\r\n \r\n", "a:\r\n" }, { "A:b:c : d\r\n", "a:b:c : d\r\n" }, { "A: : d\r\n", "a:: d\r\n" },
		{ "Subject \t:  J\xc3\xbcrgen\r\n  \t x\r\n", "subject:J\xc3\xbcrgen x\r\n" },
		{ "A: x\r\n\ty\r\n z", "a:x y z\r\n" }, { "A:   x   y\r\n", "a:x y\r\n" },
	};
	struct wbuf out;
	size_t i;

	(void)state;
	wbuf_init(&out);
	for (i = 0; i < N(t); i++) {
		dkim_field_canon(DKIM_RELAXED, t[i].in, strlen(t[i].in), &out);
		assert_int_equal(out.len, strlen(t[i].relaxed));
		assert_memory_equal(out.p, t[i].relaxed, out.len);
		wbuf_reset(&out);
		dkim_field_canon(DKIM_SIMPLE, t[i].in, strlen(t[i].in), &out);
		assert_memory_equal(out.p, t[i].in, strlen(t[i].in));
		wbuf_reset(&out);
	}
	wbuf_clear(&out);
}

/* The canonical form as the RFC describes it, step by step over a whole body. */
static size_t
plain_canon(enum dkim_canon canon, const char *in, size_t len, char *out)
{
	size_t i, n = 0;

	for (i = 0; i < len; i++) {
		if (canon == DKIM_RELAXED && i + 1 < len && in[i] == '\r' && in[i + 1] == '\n')
			while (n > 0 && out[n - 1] == ' ')
				n--;
		if (canon == DKIM_RELAXED && (in[i] == ' ' || in[i] == '\t')) {
			if (n == 0 || out[n - 1] != ' ')
				out[n++] = ' ';
			continue;
		}
		out[n++] = in[i];
	}
	while (canon == DKIM_RELAXED && n > 0 && out[n - 1] == ' ')
		n--;
	while (n >= 2 && memcmp(out + n - 2, "\r\n", 2) == 0)
		n -= 2;
	if (n > 0 || canon == DKIM_SIMPLE) {
		memcpy(out + n, "\r\n", 2);
		n += 2;
	}
	return n;
}

static void
check_body(const char *in, size_t len)
{
	char *out = xmalloc(len + 3);
	uint8_t hash[DKIM_HASH];
	enum dkim_canon canon;
	char want[1024];
	size_t piece;

	for (canon = DKIM_SIMPLE; canon < DKIM_CANONS; canon++) {
		EVP_Digest(out, plain_canon(canon, in, len, out), hash, NULL, EVP_sha256(), NULL);
		snprintf(want, sizeof(want), "%s", base64(hash, sizeof(hash)));
		for (piece = 1; piece < 8; piece++)
			assert_string_equal(body_hash(canon, in, len, piece), want);
		assert_string_equal(body_hash(canon, in, len, len + 1), want);
	}
	free(out);
}

static void
test_bodies(void **state)
{
	static const char *const bodies[] = {
		"", "\r\n", "\r\n\r\n\r\n", " ", " \r\n", " C \r\nD \t E\r\n\r\n\r\n", "x", "x\r\n", "x\r\n\r\n", "x ",
		"x \t", "x\t\r\n \r\n", "\r\nx", " x", "  x  y  \r\n\r\n z\r\n", "a\tb", "caf\xc3\xa9 \xff\r\n\xfe ",
		".\r\n..\r\n", "x\r\n \r\n\t\r\n",
	};
	static const char set[] = "\r\n\r\n \txy";
	char *text = xmalloc(100000);
	unsigned seed = 1;
	size_t i, j, n;

	(void)state;
	/* RFC 6376 3.4.3 and 3.4.4: the hashes of nothing. */
	assert_string_equal(body_hash(DKIM_SIMPLE, "", 0, 1), "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=");
	assert_string_equal(body_hash(DKIM_RELAXED, "", 0, 1), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
	for (i = 0; i < N(bodies); i++)
		check_body(bodies[i], strlen(bodies[i]));
	for (i = 0; i < 2000; i++) {
		for (j = n = 0; j < 24; j++) {
			seed = seed * 1103515245 + 12345;
			text[n] = set[seed >> 16 & 7];
			/* Line ends are whole, as smtpd makes them. */
			if (text[n] == '\n')
				text[n] = '\r';
			if (text[n++] == '\r')
				text[n++] = '\n';
		}
		check_body(text, n);
	}
	memset(text, 'x', 100000);
	for (i = 70; i < 99998; i += 72)
		memcpy(text + i, i % 5 == 0 ? "  " : "\r\n", 2);
	check_body(text, 100000);
	free(text);
}

/* Signs with the RSA key of RFC 8463 what `block` holds; the field is left in out. */
static int
sign(const struct dkim_signer *s, const char *block, struct wbuf *out)
{
	uint8_t body[DKIM_HASH] = { 0 }, hash[DKIM_HASH], sig[DKIM_SIGNATURE_MAX];
	struct dkim_key *k;

	if (dkim_field_begin(s, DKIM_RSA, "sel", block, strlen(block), body, 1700000000, out, hash) == -1)
		return -1;
	k = key_of(rsa_pem);
	dkim_field_end(out, sig, dkim_key_sign(k, hash, sig));
	dkim_key_free(&k);
	wbuf_raw(out, "", 1);
	return 0;
}

static void
test_field(void **state)
{
	struct dkim_signer *s = dkim_signer_new();
	struct header_iter it;
	struct header_field f;
	char *line, *next, *text, *own;
	struct dkim_name *names;
	struct wbuf w;

	(void)state;
	s->domain = xstrdup("example.com");
	s->expiration = 3600;
	wbuf_init(&w);
	assert_int_equal(sign(s, "From: a@example.com\r\nTo: b\r\nX: y\r\nTo: c\r\nMessage-ID: <1>\r\n\r\n", &w), 0);
	text = (char *)w.p;
	assert_non_null(strstr(text, "d=example.com;"));
	assert_non_null(strstr(text, "t=1700000000;"));
	assert_non_null(strstr(text, "x=1700003600;"));
	/* One field, and no line of it is longer than it should be. */
	header_iter_init(&it, text, w.len - 1);
	assert_true(header_next(&it, &f) && header_name_is(&f, "DKIM-Signature"));
	assert_int_equal(f.whole.len, w.len - 1);
	for (line = text; *line != '\0'; line = next) {
		next = strstr(line, "\r\n");
		assert_non_null(next);
		assert_in_range((size_t)(next - line) + (*line == '\t' ? 7 : 0), 1, 78);
		memmove(next, next + 2, strlen(next + 2) + 1);
		if (*next == '\t')
			memmove(next, next + 1, strlen(next + 1) + 1);
	}
	assert_non_null(strstr(text, "h=From:From:To:To:To:Subject:Date:Reply-To:Cc:Content-Type:List-Unsubscribe:"
	    "List-Unsubscribe-Post:Feedback-ID:Message-ID;"));
	wbuf_reset(&w);
	names = xcalloc(1, sizeof(*names));
	names->name = own = xstrdup("from");
	dkim_signer_set_names(s, names, 1, own);
	assert_int_equal(sign(s, "From: a@example.com\r\nTo: b\r\n\r\n", &w), 0);
	assert_non_null(strstr((char *)w.p, "h=from;"));
	wbuf_clear(&w);
	dkim_signer_unref(&s);
	assert_null(s);
}

static void
test_bounds(void **state)
{
	struct dkim_signer *s = dkim_signer_new();
	char text[16384] = "From: x\r\n", *p;
	struct wbuf w;
	size_t i;

	(void)state;
	s->domain = xstrdup("example.com");
	wbuf_init(&w);
	for (i = 0, p = text + strlen(text); i < 1000; i++)
		p += sprintf(p, "X: %zu\r\n", i);
	assert_int_equal(sign(s, text, &w), 0);
	for (i = 0; i < DKIM_FIELDS_MAX; i++)
		p += sprintf(p, "cc: %zu\r\n", i);
	assert_int_equal(sign(s, text, &w), -1);
	wbuf_reset(&w);
	assert_int_equal(sign(s, "", &w), 0);
	assert_int_equal(sign(s, "\r\n", &w), 0);
	wbuf_clear(&w);
	dkim_signer_unref(&s);
	assert_true(dkim_selector_valid("2026-11") && dkim_selector_valid("a.b"));
	assert_false(dkim_selector_valid("") || dkim_selector_valid("a/b") || dkim_selector_valid("..") ||
	    dkim_selector_valid("[1]") || dkim_selector_valid("a b"));
}

static void
test_author(void **state)
{
	static const struct {
		const char *from, *domain;
	} t[] = {
		{ "From: a@Example.COM\r\n", "example.com" }, { "From: <a@example.com>\r\n", "example.com" },
		{ "From: \"x@bad.example, <y@bad.example>\" <a@example.com>\r\n", "example.com" },
		{ "From: Doe, John <a@example.com>\r\n", "example.com" },
		{ "From: x@bad.example <a@example.com>\r\n", "example.com" },
		{ "From: a (c@d \\) (e)) @ example.com (f)\r\n", "example.com" },
		{ "From: a@example.com, b@bad.example\r\n", "example.com" },
		{ "From: group: a@example.com, b@bad.example;\r\n", "example.com" },
		{ "From: <@bad.example:a@example.com>\r\n", "example.com" },
		{ "From:\r\n a@example.com.\r\n", "example.com" }, { "From: \"a@b\"@example.com\r\n", "example.com" },
		{ "from : J\xc3\xbcrgen <j@example.com>\r\n", "example.com" },
		{ "From: a\r\n", NULL }, { "From: <>\r\n", NULL }, { "From:\r\n", NULL },
		{ "To: a@example.com\r\n", NULL },
		{ "From: a@ex ample..com\r\n", NULL }, { "From: \"a@example.com\r\n", NULL }, { "From: (((\r\n", NULL },
		{ "From: a@\r\n", NULL }, { "From: a@b/c\r\n", NULL },
	};
	char domain[DKIM_DOMAIN_MAX + 1];
	size_t i;
	bool ok;

	(void)state;
	for (i = 0; i < N(t); i++) {
		ok = dkim_author_domain(t[i].from, strlen(t[i].from), domain, sizeof(domain));
		if (ok != (t[i].domain != NULL) || (ok && strcmp(domain, t[i].domain) != 0))
			fail_msg("%s: %s", t[i].from, ok ? domain : "none");
	}
}

static void
refused(const char *path, const char *why)
{
	char err[512] = "";
	struct dkim_key *k = dkim_key_load(path, err, sizeof(err));

	assert_null(k);
	if (strstr(err, why) == NULL)
		fail_msg("'%s' has no '%s'", err, why);
	assert_non_null(strstr(err, path));
}

static void
test_files(void **state)
{
	struct dkim_key *k = dkim_key_generate(DKIM_ED25519, 0);
	char path[128];
	FILE *f;

	(void)state;
	refused(file_make("key", rsa_pem, 0604), "may be read by everybody");
	refused(file_make("key", rsa_pem, 0660), "changed by others");
	refused(file_make("key", "", 0600), "size of a key");
	refused(file_make("key", "-----BEGIN PRIVATE KEY-----\nAAAA\n", 0600), "no private key");
	refused("/nonexistent/key", "No such file");
	refused("/tmp", "is not a file");
	assert_non_null(k);
	assert_int_equal(dkim_key_algorithm(k), DKIM_ED25519);
	snprintf(path, sizeof(path), "%s", file_make("new", "", 0600));
	f = fopen(path, "w");
	assert_int_equal(dkim_key_write(k, f), 0);
	fclose(f);
	dkim_key_free(&k);
	k = dkim_key_load(path, path, sizeof(path));
	assert_non_null(k);
	dkim_key_free(&k);
}

/* A process's keys: parsed once, read again when they change, nothing outside of their directory. */
static void
test_keys(void **state)
{
	struct dkim_keys *ks = dkim_keys_new(dir);
	struct dkim_key *k;
	const char *err, *s;
	int64_t now = 5000;

	(void)state;
	assert_null(dkim_keys_get(ks, "absent", now, &err));
	assert_non_null(strstr(err, "No such file"));
	file_make("absent", rsa_pem, 0600);
	assert_null(dkim_keys_get(ks, "absent", now, &err)); /* for a second */
	assert_non_null(k = dkim_keys_get(ks, "absent", now += 1000, &err));
	assert_int_equal(dkim_key_algorithm(k), DKIM_RSA);
	assert_int_equal(dkim_key_bits(k), 1024);
	assert_ptr_equal(dkim_keys_get(ks, "absent", now += 1000, &err), k);
	file_make("absent", ed25519_pem, 0600);
	assert_ptr_equal(dkim_keys_get(ks, "absent", now, &err), k);
	assert_non_null(k = dkim_keys_get(ks, "absent", now += 1000, &err));
	assert_int_equal(dkim_key_algorithm(k), DKIM_ED25519);
	file_make("absent", ed25519_pem, 0644);
	assert_null(dkim_keys_get(ks, "absent", now += 1000, &err));
	assert_non_null(strstr(err, "may be read by everybody"));
	assert_null(dkim_keys_get(ks, "/etc/passwd", now, &err));
	assert_non_null(strstr(err, "not below"));
	assert_null(dkim_keys_get(ks, "../passwd", now, &err));
	assert_non_null(strstr(err, "not below"));
	assert_null(dkim_keys_get(ks, "a/..", now, &err));
	assert_non_null(strstr(err, "not below"));
	file_make("current", "2026a\n", 0644);
	assert_non_null(s = dkim_keys_current(ks, dir, now, &err));
	assert_string_equal(s, "2026a");
	file_make("current", "2026-b\n", 0644);
	assert_non_null(s = dkim_keys_current(ks, dir, now += 1000, &err));
	assert_string_equal(s, "2026-b");
	file_make("current", "../x\n", 0644);
	assert_null(dkim_keys_current(ks, dir, now += 1000, &err));
	assert_non_null(strstr(err, "does not hold a selector"));
	dkim_keys_free(&ks);
}

static int
clean(void **state)
{
	static const char *const names[] = { "key", "new", "absent", "current" };
	char path[128];
	size_t i;

	(void)state;
	for (i = 0; i < N(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	return rmdir(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc8463), cmocka_unit_test(test_rfc6376), cmocka_unit_test(test_fields),
		cmocka_unit_test(test_bodies), cmocka_unit_test(test_field), cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_author), cmocka_unit_test(test_files), cmocka_unit_test(test_keys),
	};

	if (mkdtemp(dir) == NULL)
		return 1;
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, clean);
}
