/* Small messages of queued's socket (see queue_link.h); jobs, results and the notice of a received message have files
 * of their own. Both ends use these. Hostile: every decoder's input, as from a daemon that has been taken over; a
 * decoder that fails leaves nothing to free. */

#include <stdlib.h>
#include <string.h>

#include "mail/codec.h"
#include "mail/queue_link.h"

#define NODEID_LEN 36
#define NAME_MAX_LEN 256
#define SENTENCE_MAX 3072

int
envid_cmp(const struct envid *a, const struct envid *b)
{
	int order = msgid_cmp(&a->msg, &b->msg);

	if (order != 0)
		return order;
	return (a->rcpt > b->rcpt) - (a->rcpt < b->rcpt);
}

void
ql_hello_encode(const struct ql_hello *hello, struct wbuf *w)
{
	wbuf_u16(w, hello->proto);
	wbuf_u8(w, hello->role);
	codec_put(w, CODEC_STRICT, NAME_MAX_LEN, hello->name);
	wbuf_u32(w, hello->pid);
	wbuf_u32(w, hello->generation);
	wbuf_u64(w, hello->digest);
}

int
ql_hello_decode(struct rbuf *r, struct ql_hello *out)
{
	out->proto = rbuf_u16(r);
	out->role = rbuf_u8(r);
	out->name = codec_get(r, CODEC_STRICT, NAME_MAX_LEN);
	out->pid = rbuf_u32(r);
	out->generation = rbuf_u32(r);
	out->digest = rbuf_u64(r);
	if (rbuf_done(r) && out->role >= QL_ROLE_PRODUCER && out->role <= QL_ROLE_ADMIN)
		return 0;
	ql_hello_clear(out);
	return -1;
}

void
ql_hello_clear(struct ql_hello *hello)
{
	free(hello->name);
	hello->name = NULL;
}

void
ql_welcome_encode(const struct ql_welcome *welcome, struct wbuf *w)
{
	wbuf_u16(w, welcome->proto);
	wbuf_raw(w, welcome->nodeid, NODEID_LEN);
	wbuf_u8(w, welcome->token.id);
	wbuf_raw(w, welcome->token.key, TOKEN_KEY_LEN);
}

int
ql_welcome_decode(struct rbuf *r, struct ql_welcome *out)
{
	out->proto = rbuf_u16(r);
	rbuf_raw(r, out->nodeid, NODEID_LEN);
	out->nodeid[NODEID_LEN] = '\0';
	out->token.id = rbuf_u8(r);
	rbuf_raw(r, out->token.key, TOKEN_KEY_LEN);
	return rbuf_done(r) && strspn(out->nodeid, "0123456789abcdef-") == NODEID_LEN ? 0 : -1;
}

void
ql_keys_encode(const struct ql_keys *keys, struct wbuf *w)
{
	wbuf_u8(w, (uint8_t)keys->n);
	for (unsigned i = 0; i < keys->n; i++) {
		wbuf_u8(w, keys->v[i].id);
		wbuf_raw(w, keys->v[i].key, TOKEN_KEY_LEN);
	}
}

int
ql_keys_decode(struct rbuf *r, struct ql_keys *out)
{
	memset(out, 0, sizeof(*out));
	out->n = rbuf_u8(r);
	if (out->n == 0 || out->n > QL_KEYS_MAX)
		return -1;
	for (unsigned i = 0; i < out->n; i++) {
		out->v[i].id = rbuf_u8(r);
		rbuf_raw(r, out->v[i].key, TOKEN_KEY_LEN);
	}
	return rbuf_done(r) ? 0 : -1;
}

void
ql_seg_encode(uint64_t segment, uint8_t kind, uint64_t offset_or_limit, struct wbuf *w)
{
	wbuf_u64(w, segment);
	wbuf_u8(w, kind);
	wbuf_u64(w, offset_or_limit);
}

int
ql_seg_decode(struct rbuf *r, uint64_t *segment, uint8_t *kind, uint64_t *offset_or_limit)
{
	*segment = rbuf_u64(r);
	*kind = rbuf_u8(r);
	*offset_or_limit = rbuf_u64(r);
	/* Offsets become off_t. */
	return rbuf_done(r) && *kind <= QL_SEG_LARGE && *offset_or_limit <= INT64_MAX ? 0 : -1;
}

void
ql_envid_encode(const struct envid *env, struct wbuf *w)
{
	wbuf_raw(w, env->msg.b, MSGID_LEN);
	wbuf_u16(w, env->rcpt);
}

int
ql_envid_decode(struct rbuf *r, struct envid *out)
{
	rbuf_raw(r, out->msg.b, MSGID_LEN);
	out->rcpt = rbuf_u16(r);
	return rbuf_done(r) ? 0 : -1;
}

void
ql_generation_encode(uint32_t generation, uint64_t digest, struct wbuf *w)
{
	wbuf_u32(w, generation);
	wbuf_u64(w, digest);
}

int
ql_generation_decode(struct rbuf *r, uint32_t *generation, uint64_t *digest)
{
	*generation = rbuf_u32(r);
	*digest = rbuf_u64(r);
	return rbuf_done(r) ? 0 : -1;
}

void
ql_u32_encode(uint32_t value, struct wbuf *w)
{
	wbuf_u32(w, value);
}

int
ql_u32_decode(struct rbuf *r, uint32_t *out)
{
	*out = rbuf_u32(r);
	return rbuf_done(r) ? 0 : -1;
}

void
ql_u64_encode(uint64_t value, struct wbuf *w)
{
	wbuf_u64(w, value);
}

int
ql_u64_decode(struct rbuf *r, uint64_t *out)
{
	*out = rbuf_u64(r);
	return rbuf_done(r) ? 0 : -1;
}

void
ql_str_encode(const char *s, struct wbuf *w)
{
	wbuf_str(w, s);
}

int
ql_str_decode(struct rbuf *r, size_t max, char **out)
{
	*out = rbuf_strdup(r, max);
	if (rbuf_done(r))
		return 0;
	free(*out);
	*out = NULL;
	return -1;
}

void
ql_admin_encode(const struct ql_admin *admin, struct wbuf *w)
{
	codec_put(w, CODEC_STRICT, NAME_MAX_LEN, admin->verb);
	codec_put_meta(w, admin->args, admin->n_args);
}

int
ql_admin_decode(struct rbuf *r, struct ql_admin *out)
{
	out->verb = codec_get(r, CODEC_STRICT, NAME_MAX_LEN);
	out->args = codec_get_meta(r, META_MAX, &out->n_args);
	if (rbuf_done(r) && out->verb[0] != '\0')
		return 0;
	ql_admin_clear(out);
	return -1;
}

void
ql_admin_clear(struct ql_admin *admin)
{
	free(admin->verb);
	codec_free_meta(admin->args, admin->n_args);
	admin->verb = NULL;
	admin->args = NULL;
	admin->n_args = 0;
}

void
ql_pool_encode(bool is_usable, const char *reason, struct wbuf *w)
{
	wbuf_u8(w, is_usable ? 1 : 0);
	codec_put(w, CODEC_LINES, QL_POOL_REASON_MAX, reason);
}

int
ql_pool_decode(struct rbuf *r, bool *is_usable, char **reason)
{
	uint8_t usable = rbuf_u8(r);

	*reason = codec_get(r, CODEC_LINES, QL_POOL_REASON_MAX);
	*is_usable = usable == 1;
	if (rbuf_done(r) && usable <= 1)
		return 0;
	free(*reason);
	*reason = NULL;
	return -1;
}

void
ql_end_encode(uint8_t status, const char *sentence, struct wbuf *w)
{
	wbuf_u8(w, status);
	codec_put(w, CODEC_LINES, SENTENCE_MAX, sentence);
}

int
ql_end_decode(struct rbuf *r, uint8_t *status, char **sentence)
{
	*status = rbuf_u8(r);
	*sentence = codec_get(r, CODEC_LINES, SENTENCE_MAX);
	if (rbuf_done(r))
		return 0;
	free(*sentence);
	*sentence = NULL;
	return -1;
}
