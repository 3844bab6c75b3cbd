/* The envelope (see envelope.h): smtpd builds and encodes it, queued decodes it from the notice and, after a restart,
 * from the spool. Hostile: the notice of a taken-over smtpd; the disk. What decodes holds no line break or NUL
 * anywhere and no control character in an address, so that nothing later can be split by it (SMTP commands, DSN
 * fields, log lines).
 *
 * Encoding, base/wire.h fields in this order: version, id, received, flags, ret, sender, the optional strings in the
 * order of the struct, recipients {address, orcpt, notify}, meta {key, value}. */

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#include "mail/codec.h"
#include "mail/envelope.h"

#define ENVELOPE_VERSION 2
#define ENVELOPE_VERSION_1 1 /* without a schedule: spools of earlier releases */
#define RCPT_MIN_BYTES 6 /* empty address, no orcpt, notify */

struct envelope *
envelope_new(void)
{
	struct envelope *env = xcalloc(1, sizeof(*env));

	env->sender = xstrdup("");
	return env;
}

void
envelope_free(struct envelope **envp)
{
	struct envelope *env = *envp;

	if (env == NULL)
		return;
	for (uint32_t i = 0; i < env->n_rcpts; i++) {
		free(env->rcpts[i].address);
		free(env->rcpts[i].orcpt);
	}
	free(env->rcpts);
	codec_free_meta(env->meta, env->n_meta);
	free(env->sender);
	free(env->envid);
	free(env->tenant);
	free(env->campaign);
	free(env->queue);
	free(env->auth_user);
	free(env->client);
	free(env->helo);
	free(env->session);
	free(env->message_id);
	free(env);
	*envp = NULL;
}

/* Arrays grow by doubling at powers of two: no capacity has to be kept. */
static bool
is_full(uint32_t n)
{
	return (n & (n - 1)) == 0;
}

void
envelope_add_rcpt(struct envelope *env, const char *address, const char *orcpt, uint8_t notify)
{
	struct rcpt *rcpt;

	if (is_full(env->n_rcpts))
		env->rcpts = xreallocarray(env->rcpts, env->n_rcpts == 0 ? 1 : 2 * (size_t)env->n_rcpts, sizeof(*rcpt));
	rcpt = &env->rcpts[env->n_rcpts++];
	rcpt->address = xstrdup(address);
	rcpt->orcpt = orcpt == NULL ? NULL : xstrdup(orcpt);
	rcpt->notify = notify;
}

void
envelope_set_meta(struct envelope *env, const char *key, const char *value)
{
	struct meta *meta;

	for (uint32_t i = 0; i < env->n_meta; i++) {
		if (strcmp(env->meta[i].key, key) == 0) {
			free(env->meta[i].value);
			env->meta[i].value = xstrdup(value);
			return;
		}
	}
	if (env->n_meta >= META_MAX || key[0] == '\0')
		return;
	if (is_full(env->n_meta))
		env->meta = xreallocarray(env->meta, env->n_meta == 0 ? 1 : 2 * (size_t)env->n_meta, sizeof(*meta));
	meta = &env->meta[env->n_meta++];
	meta->key = xstrdup(key);
	meta->value = xstrdup(value);
}

void
envelope_encode(const struct envelope *env, struct wbuf *w)
{
	wbuf_reserve(w, 512 + 48 * (size_t)env->n_rcpts);
	wbuf_u8(w, ENVELOPE_VERSION);
	wbuf_raw(w, env->id.b, MSGID_LEN);
	wbuf_u64(w, (uint64_t)env->received);
	wbuf_u32(w, env->flags);
	wbuf_u8(w, env->ret);
	codec_put(w, CODEC_STRICT, CODEC_MAX_ADDRESS, env->sender);
	codec_put_opt(w, CODEC_STRICT, CODEC_MAX_ORCPT, env->envid);
	codec_put_opt(w, CODEC_LINE, CODEC_MAX_WORD, env->tenant);
	codec_put_opt(w, CODEC_LINE, CODEC_MAX_WORD, env->campaign);
	codec_put_opt(w, CODEC_LINE, CODEC_MAX_QUEUE, env->queue);
	codec_put_opt(w, CODEC_LINE, CODEC_MAX_WORD, env->auth_user);
	codec_put_opt(w, CODEC_LINE, CODEC_MAX_WORD, env->client);
	codec_put_opt(w, CODEC_LINE, CODEC_MAX_WORD, env->helo);
	codec_put_opt(w, CODEC_LINE, CODEC_MAX_WORD, env->session);
	codec_put_opt(w, CODEC_LINE, CODEC_MAX_LONG, env->message_id);
	wbuf_u32(w, env->n_rcpts);
	for (uint32_t i = 0; i < env->n_rcpts; i++) {
		codec_put(w, CODEC_STRICT, CODEC_MAX_ADDRESS, env->rcpts[i].address);
		codec_put_opt(w, CODEC_STRICT, CODEC_MAX_ORCPT, env->rcpts[i].orcpt);
		wbuf_u8(w, env->rcpts[i].notify);
	}
	codec_put_meta(w, env->meta, env->n_meta);
	wbuf_u64(w, (uint64_t)env->first_attempt);
	wbuf_u64(w, (uint64_t)env->expires);
}

static void
decode_rcpts(struct rbuf *r, struct envelope *env)
{
	uint32_t n = rbuf_u32(r);

	/* Bounded by what is really there before anything is allocated for it. */
	if (n == 0 || n > ENVELOPE_MAX_RCPTS || n > rbuf_left(r) / RCPT_MIN_BYTES)
		r->bad = true;
	if (r->bad)
		return;
	env->rcpts = xcalloc(n, sizeof(*env->rcpts));
	env->n_rcpts = n;
	for (uint32_t i = 0; i < n && !r->bad; i++) {
		struct rcpt *rcpt = &env->rcpts[i];

		rcpt->address = codec_get(r, CODEC_STRICT, CODEC_MAX_ADDRESS);
		rcpt->orcpt = codec_get_opt(r, CODEC_STRICT, CODEC_MAX_ORCPT);
		rcpt->notify = rbuf_u8(r);
		if (rcpt->address[0] == '\0' || rcpt->notify > 15)
			r->bad = true;
	}
}

struct envelope *
envelope_decode(const void *p, size_t len, const char **err_r)
{
	struct envelope *env;
	uint8_t version;
	struct rbuf r;

	if (len > ENVELOPE_MAX_BYTES) {
		*err_r = "envelope is too long";
		return NULL;
	}
	rbuf_init(&r, p, len);
	version = rbuf_u8(&r);
	if (version != ENVELOPE_VERSION && version != ENVELOPE_VERSION_1) {
		*err_r = "envelope has an unknown version";
		return NULL;
	}
	env = xcalloc(1, sizeof(*env));
	rbuf_raw(&r, env->id.b, MSGID_LEN);
	env->received = (int64_t)rbuf_u64(&r);
	env->flags = rbuf_u32(&r);
	env->ret = rbuf_u8(&r);
	env->sender = codec_get(&r, CODEC_STRICT, CODEC_MAX_ADDRESS);
	env->envid = codec_get_opt(&r, CODEC_STRICT, CODEC_MAX_ORCPT);
	env->tenant = codec_get_opt(&r, CODEC_LINE, CODEC_MAX_WORD);
	env->campaign = codec_get_opt(&r, CODEC_LINE, CODEC_MAX_WORD);
	env->queue = codec_get_opt(&r, CODEC_LINE, CODEC_MAX_QUEUE);
	env->auth_user = codec_get_opt(&r, CODEC_LINE, CODEC_MAX_WORD);
	env->client = codec_get_opt(&r, CODEC_LINE, CODEC_MAX_WORD);
	env->helo = codec_get_opt(&r, CODEC_LINE, CODEC_MAX_WORD);
	env->session = codec_get_opt(&r, CODEC_LINE, CODEC_MAX_WORD);
	env->message_id = codec_get_opt(&r, CODEC_LINE, CODEC_MAX_LONG);
	decode_rcpts(&r, env);
	env->meta = codec_get_meta(&r, META_MAX, &env->n_meta);
	if (version != ENVELOPE_VERSION_1) {
		env->first_attempt = (int64_t)rbuf_u64(&r);
		env->expires = (int64_t)rbuf_u64(&r);
	}
	if (!rbuf_done(&r) || env->ret > RET_HDRS || env->received < 0 || env->first_attempt < 0 || env->expires < 0) {
		*err_r = "envelope is malformed";
		envelope_free(&env);
		return NULL;
	}
	return env;
}
