/* Requests to suppress an address (suppress_request.h): what makes sense, and the one encoding. The decoder reads a
 * disk and other processes, and believes neither. Runs in queued, bouncerd and fblproc. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mail/address.h"
#include "mail/suppress_request.h"

#define VERSION 1
#define NAME_MAX_LEN 64 /* of classes and causes */

const char *const suppress_scope_names[SUPPRESS_SCOPES] = { "unknown", "global", "tenant", "sender-domain" };
const char *const suppress_reason_names[SUPPRESS_REASONS] = {
	"unknown", "hard-bounce", "complaint", "unsubscribe", "manual", "imported"
};
const char *const suppress_origin_names[SUPPRESS_ORIGINS] = { "unknown", "reply", "bounce-mail", "report", "admin" };

static uint64_t
hash(uint64_t h, const void *p, size_t len)
{
	const uint8_t *b = p;

	/* FNV-1a: what it is to tell apart is one address's few events, nobody's secret. */
	while (len-- > 0)
		h = (h ^ *b++) * 0x100000001b3u;
	return h;
}

static uint64_t
hash_text(uint64_t h, const char *s)
{
	return s == NULL ? hash(h, "\1", 2) : hash(h, s, strlen(s) + 1);
}

uint64_t
suppress_request_serial(const struct suppress_request *q)
{
	const uint8_t kind[2] = { q->scope, q->reason };
	uint64_t h = hash(0xcbf29ce484222325u, q->event.b, sizeof(q->event.b));

	h = hash(h, kind, sizeof(kind));
	h = hash_text(hash_text(hash_text(h, q->address), q->scope_value), q->cause);
	return h == 0 ? 1 : h;
}

static bool
is_address(const char *s)
{
	char canonical[ADDRESS_MAX];

	if (s == NULL || strlen(s) > CODEC_MAX_ADDRESS)
		return false;
	if (strchr(s, '@') == NULL)
		return address_domain_valid(s, true);
	return address_parse(s, true, canonical) == 0;
}

const char *
suppress_request_check(const struct suppress_request *q)
{
	if (!is_address(q->address))
		return "what is to be suppressed is neither an address nor a domain";
	if (q->scope == 0 || q->scope >= SUPPRESS_SCOPES)
		return "there is no such scope";
	if ((q->scope == SUPPRESS_GLOBAL) != (q->scope_value == NULL) ||
	    (q->scope_value != NULL && *q->scope_value == '\0'))
		return "a scope of a tenant or of a sender's domain needs its name, and the global one has none";
	if (q->scope == SUPPRESS_SENDER_DOMAIN && !address_domain_valid(q->scope_value, true))
		return "the scope is not a domain";
	if (q->reason == 0 || q->reason >= SUPPRESS_REASONS)
		return "there is no such reason";
	if (q->origin == 0 || q->origin >= SUPPRESS_ORIGINS)
		return "there is no such origin";
	if (q->when < 0 || q->expires < 0 || (q->expires != 0 && q->expires <= q->when))
		return "it would have expired before it happened";
	if (q->threshold > SUPPRESS_THRESHOLD_MAX || q->within < 0 || q->spread < 0 ||
	    (q->threshold > 1 && (q->within <= 0 || q->spread > q->within)))
		return "so many in so long a time cannot be";
	return NULL;
}

void
suppress_request_encode(const struct suppress_request *q, struct wbuf *w)
{
	wbuf_u8(w, VERSION);
	codec_put(w, CODEC_STRICT, CODEC_MAX_ADDRESS, q->address);
	wbuf_u8(w, q->scope);
	codec_put_opt(w, CODEC_LINE, CODEC_MAX_WORD, q->scope_value);
	wbuf_u8(w, q->reason);
	wbuf_u8(w, q->origin);
	codec_put_opt(w, CODEC_LINE, NAME_MAX_LEN, q->class);
	codec_put_opt(w, CODEC_LINE, NAME_MAX_LEN, q->cause);
	codec_put_opt(w, CODEC_LINES, SUPPRESS_NOTE_MAX, q->note);
	wbuf_raw(w, q->event.b, sizeof(q->event.b));
	wbuf_u64(w, (uint64_t)q->when);
	wbuf_u64(w, (uint64_t)q->expires);
	wbuf_u16(w, q->threshold);
	wbuf_u64(w, (uint64_t)q->within);
	wbuf_u64(w, (uint64_t)q->spread);
}

/* Times that no clock of ours says are refused: sums of them must not overflow. */
static int64_t
get_time(struct rbuf *r)
{
	uint64_t v = rbuf_u64(r);

	if (v > INT64_MAX / 4)
		r->bad = true;
	return r->bad ? 0 : (int64_t)v;
}

int
suppress_request_decode(struct rbuf *r, struct suppress_request *q)
{
	uint8_t version = rbuf_u8(r);

	memset(q, 0, sizeof(*q));
	q->address = codec_get(r, CODEC_STRICT, CODEC_MAX_ADDRESS);
	q->scope = rbuf_u8(r);
	q->scope_value = codec_get_opt(r, CODEC_LINE, CODEC_MAX_WORD);
	q->reason = rbuf_u8(r);
	q->origin = rbuf_u8(r);
	q->class = codec_get_opt(r, CODEC_LINE, NAME_MAX_LEN);
	q->cause = codec_get_opt(r, CODEC_LINE, NAME_MAX_LEN);
	q->note = codec_get_opt(r, CODEC_LINES, SUPPRESS_NOTE_MAX);
	rbuf_raw(r, q->event.b, sizeof(q->event.b));
	q->when = get_time(r);
	q->expires = get_time(r);
	q->threshold = rbuf_u16(r);
	q->within = get_time(r);
	q->spread = get_time(r);
	if (rbuf_done(r) && version == VERSION && suppress_request_check(q) == NULL)
		return 0;
	suppress_request_clear(q);
	return -1;
}

void
suppress_request_clear(struct suppress_request *q)
{
	free(q->address);
	free(q->scope_value);
	free(q->class);
	free(q->cause);
	free(q->note);
	memset(q, 0, sizeof(*q));
}

void
ql_suppress_encode(uint64_t number, const struct suppress_request *q, struct wbuf *w)
{
	wbuf_u64(w, number);
	suppress_request_encode(q, w);
}

int
ql_suppress_decode(struct rbuf *r, uint64_t *number, struct suppress_request *q)
{
	*number = rbuf_u64(r);
	return suppress_request_decode(r, q);
}
