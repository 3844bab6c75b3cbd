/* The trace header (trace.h). Writing is on the path of every delivery; reading is of hostile bytes, and nothing is
 * parsed before its HMAC has been found to be ours. */
#include <ctype.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/xalloc.h"

#include "mail/trace.h"

#define MARKER "{\"_@_\":\"\\\\_/\""
#define MAC_KEY ",\"mac\":\""
#define MAC_LEN 16
#define MAC_TEXT 22
#define TAIL_LEN (sizeof(MAC_KEY) - 1 + MAC_TEXT + 2) /* "} behind it */
#define OWN_MAX 128 /* id, rcpt, key, mac */
#define LINE 76
#define NAME_LEN (sizeof(TOKEN_HEADER) - 1 + 2)
#define FIRST_LINE 60 /* characters of the value beside the name; a multiple of 4 */

static const char *const own_names[] = { "_@_", "id", "rcpt", "key", "mac" };

static const char url_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

bool
trace_field_valid(const char *name)
{
	for (size_t i = 0; i < sizeof(own_names) / sizeof(own_names[0]); i++)
		if (strcmp(name, own_names[i]) == 0)
			return false;
	return *name != '\0' && strlen(name) <= 100;
}

static const char *
field_value(const struct trace_source *s, const char *name)
{
	if (strcmp(name, "recipient") == 0)
		return s->env.rcpt == TOKEN_MANY ? NULL : s->recipient;
	if (strcmp(name, "tenant") == 0)
		return s->tenant;
	if (strcmp(name, "campaign") == 0)
		return s->campaign;
	for (uint32_t i = 0; i < s->n_meta; i++)
		if (strcmp(s->meta[i].key, name) == 0)
			return s->meta[i].value;
	return NULL;
}

static void
mac_text(const uint8_t mac[MAC_LEN], char out[MAC_TEXT + 1])
{
	for (unsigned i = 0; i < MAC_TEXT; i++) {
		unsigned bit = 6 * i, byte = bit / 8;
		unsigned pair = (unsigned)mac[byte] << 8 | (byte + 1 < MAC_LEN ? mac[byte + 1] : 0u);

		out[i] = url_alphabet[pair >> (10 - bit % 8) & 63];
	}
	out[MAC_TEXT] = '\0';
}

/* Decimal; snprintf takes longer than all the rest. Returns behind it. */
static char *
number(char *to, unsigned n)
{
	char digits[12];
	unsigned len = 0;

	do
		digits[len++] = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	while (len > 0)
		*to++ = digits[--len];
	return to;
}

/* The object without its MAC and end. */
static void
write_object(const struct token_signer *signer, const struct trace_source *s, const struct conf_strs *fields,
    struct json *j)
{
	char id[MSGID_HEX], own[OWN_MAX], *to = own;
	size_t before;

	wbuf_raw(&j->out, MARKER, sizeof(MARKER) - 1);
	j->comma = true;
	for (size_t i = 0; i < fields->n; i++) {
		const char *value = field_value(s, fields->v[i]);

		if (value == NULL || *value == '\0' || strlen(value) > TRACE_FIELDS_MAX)
			continue;
		before = j->out.len;
		json_str(j, fields->v[i], value);
		if (j->out.len > TRACE_FIELDS_MAX)
			j->out.len = before;
	}
	msgid_hex(&s->env.msg, id);
	to = stpcpy(stpcpy(stpcpy(to, ",\"id\":\""), id), "\"");
	if (s->env.rcpt != TOKEN_MANY)
		to = number(stpcpy(to, ",\"rcpt\":"), s->env.rcpt);
	to = number(stpcpy(to, ",\"key\":"), signer->key.id);
	wbuf_raw(&j->out, own, (size_t)(to - own));
}

/* Cheaper than OpenSSL's, which is made for streams. Returns behind the last. */
static char *
encode(const uint8_t *p, size_t n, char *to)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (; n > 0; p += 3) {
		uint32_t group = (uint32_t)p[0] << 16 | (n > 1 ? (uint32_t)p[1] << 8 : 0u) | (n > 2 ? p[2] : 0u);

		*to++ = alphabet[group >> 18];
		*to++ = alphabet[group >> 12 & 63];
		*to++ = n > 1 ? alphabet[group >> 6 & 63] : '=';
		*to++ = n > 2 ? alphabet[group & 63] : '=';
		n -= n > 3 ? 3 : n;
	}
	return to;
}

/* "Name: ", then base64 in lines. */
static void
write_folded(const struct wbuf *object, struct wbuf *w)
{
	size_t left = object->len, room = FIRST_LINE, n;
	const uint8_t *p = object->p;
	char line[LINE + 4], *to = line;

	wbuf_raw(w, TOKEN_HEADER ": ", NAME_LEN);
	for (;;) {
		n = left < room / 4 * 3 ? left : room / 4 * 3;
		to = encode(p, n, to);
		*to++ = '\r';
		*to++ = '\n';
		wbuf_raw(w, line, (size_t)(to - line));
		p += n;
		left -= n;
		if (left == 0)
			return;
		to = line;
		*to++ = ' ';
		room = LINE;
	}
}

void
trace_write(const struct token_signer *signer, const struct trace_source *s, const struct conf_strs *fields,
    struct wbuf *w)
{
	char text[MAC_TEXT + 1];
	uint8_t mac[MAC_LEN];
	struct json j;

	json_init(&j);
	wbuf_reserve(&j.out, 512);
	write_object(signer, s, fields, &j);
	token_mac(signer, j.out.p, j.out.len, mac, sizeof(mac));
	mac_text(mac, text);
	wbuf_raw(&j.out, MAC_KEY, sizeof(MAC_KEY) - 1);
	wbuf_raw(&j.out, text, MAC_TEXT);
	wbuf_raw(&j.out, "\"}", 2);
	wbuf_reserve(w, j.out.len * 3 / 2 + 128);
	write_folded(&j.out, w);
	json_clear(&j);
}

size_t
trace_size(const struct trace_source *s, const struct conf_strs *fields)
{
	size_t n = sizeof(MARKER), text;

	for (size_t i = 0; i < fields->n; i++) {
		const char *value = field_value(s, fields->v[i]);

		n += value == NULL ? 0 : strlen(fields->v[i]) + strlen(value) + 6;
	}
	n = (n < TRACE_FIELDS_MAX ? n : TRACE_FIELDS_MAX) + OWN_MAX;
	text = (n + 2) / 3 * 4;
	return NAME_LEN + text + (text / LINE + 2) * 3;
}

/* ---- reading ---- */

/* New, without white space and base64; NULL: is none. */
static char *
decode(const char *value, size_t *len_r)
{
	size_t len = 0, pad = 0;
	uint8_t *text, *out;
	int n;

	if (strlen(value) > TRACE_VALUE_MAX)
		return NULL;
	text = xmalloc(strlen(value) + 1);
	for (const char *p = value; *p != '\0'; p++)
		if (!isspace((unsigned char)*p))
			text[len++] = (uint8_t)*p;
	while (pad < 2 && len > pad && text[len - 1 - pad] == '=')
		pad++;
	out = xmalloc(len + 4);
	/* OpenSSL takes a "=" for an "A" wherever it is. */
	n = len == 0 || len % 4 != 0 || memchr(text, '=', len - pad) != NULL ? -1 :
	    EVP_DecodeBlock(out, text, (int)len);
	free(text);
	if (n < (int)pad) {
		free(out);
		return NULL;
	}
	*len_r = (size_t)n - pad;
	out[*len_r] = '\0';
	return (char *)out;
}

/* The number behind the last "key" of what is signed. */
static int
key_of(const char *object, size_t len)
{
	size_t at = len;
	int id = 0, scale = 1;

	while (at > 0 && len - at < 3 && isdigit((unsigned char)object[at - 1])) {
		id += (object[--at] - '0') * scale;
		scale *= 10;
	}
	return at == len || at < 7 || memcmp(object + at - 7, ",\"key\":", 7) != 0 ? -1 : id;
}

static bool
is_signed(const char *object, size_t len, const struct ql_token_key *keys, unsigned n_keys)
{
	size_t signed_len = len - TAIL_LEN;
	const char *mac = object + signed_len + sizeof(MAC_KEY) - 1;
	struct token_signer signer = { .mac = NULL };
	int id = key_of(object, signed_len);
	char text[MAC_TEXT + 1];
	uint8_t own[MAC_LEN];
	bool is_same = false;

	for (unsigned i = 0; i < n_keys && !is_same; i++) {
		if (keys[i].id != id)
			continue;
		token_signer_set(&signer, &keys[i]);
		token_mac(&signer, object, signed_len, own, sizeof(own));
		token_signer_clear(&signer);
		mac_text(own, text);
		is_same = CRYPTO_memcmp(text, mac, MAC_TEXT) == 0;
	}
	return is_same;
}

static bool
is_own(const char *name)
{
	return !trace_field_valid(name);
}

static char *
text_of(const json_t *value)
{
	return json_is_string(value) ? xstrdup(json_string_value(value)) :
	    json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
}

static bool
take_object(json_t *o, struct trace *t)
{
	const json_t *rcpt = json_object_get(o, "rcpt");
	const char *id = json_string_value(json_object_get(o, "id")), *name;
	json_t *value;

	if (id == NULL || msgid_parse(id, &t->env.msg) == -1)
		return false;
	t->env.rcpt = TOKEN_MANY;
	if (json_is_integer(rcpt) && json_integer_value(rcpt) >= 0 && json_integer_value(rcpt) < TOKEN_MANY)
		t->env.rcpt = (uint16_t)json_integer_value(rcpt);
	t->meta = xcalloc(json_object_size(o) + 1, sizeof(*t->meta));
	json_object_foreach(o, name, value) {
		char **place = strcmp(name, "recipient") == 0 ? &t->recipient : strcmp(name, "tenant") == 0 ?
		    &t->tenant : strcmp(name, "campaign") == 0 ? &t->campaign : NULL;

		if (is_own(name))
			continue;
		if (place != NULL && json_is_string(value))
			*place = xstrdup(json_string_value(value));
		t->meta[t->n_meta++] = (struct meta){ xstrdup(name), text_of(value) };
	}
	return true;
}

enum trace_verdict
trace_read(const char *value, const struct ql_token_key *keys, unsigned n_keys, struct trace *t)
{
	enum trace_verdict verdict = TRACE_FORGED;
	size_t len;
	char *object;
	json_t *o;

	memset(t, 0, sizeof(*t));
	if (strlen(value) == TOKEN_TEXT - 1 && token_check(value, keys, n_keys, &t->env) == 0)
		return TRACE_VALID;
	if ((object = decode(value, &len)) == NULL)
		return TRACE_NONE;
	if (len < sizeof(MARKER) - 1 + TAIL_LEN || memcmp(object, MARKER, sizeof(MARKER) - 1) != 0) {
		free(object);
		return TRACE_NONE;
	}
	if (memcmp(object + len - TAIL_LEN, MAC_KEY, sizeof(MAC_KEY) - 1) == 0 &&
	    is_signed(object, len, keys, n_keys) && (o = json_loadb(object, len, 0, NULL)) != NULL) {
		if (take_object(o, t))
			verdict = TRACE_VALID;
		json_decref(o);
	}
	free(object);
	if (verdict != TRACE_VALID)
		trace_clear(t);
	return verdict;
}

void
trace_clear(struct trace *t)
{
	free(t->recipient);
	free(t->tenant);
	free(t->campaign);
	for (uint32_t i = 0; i < t->n_meta; i++) {
		free(t->meta[i].key);
		free(t->meta[i].value);
	}
	free(t->meta);
	memset(t, 0, sizeof(*t));
}
