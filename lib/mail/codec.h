/* Text inside frames and records, on top of base/wire.h. The encoder cuts and cleans to the same rules that the
 * decoder enforces, so that what one of our processes writes always decodes: a message whose Message-ID header is
 * absurd must not be lost for it. The decoder trusts nobody: a peer that sends anything else is broken or broken
 * into. */
#ifndef MAIL_CODEC_H
#define MAIL_CODEC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/wire.h"
#include "mail/envelope.h"

enum codec_text {
	CODEC_STRICT, /* addresses: no control characters at all */
	CODEC_LINE,   /* no CR, no LF */
	CODEC_LINES   /* LF separates lines (a reply); no CR */
};

/* Longest values, in octets. */
enum {
	CODEC_MAX_ADDRESS = 319,
	CODEC_MAX_ORCPT = 500,
	CODEC_MAX_WORD = 512, /* tenant, campaign, user, host, pool, source */
	CODEC_MAX_LONG = 1024, /* Message-ID, site, command */
	CODEC_MAX_QUEUE = 2048,
	CODEC_MAX_REPLY = 4096,
	CODEC_MAX_META_KEY = 256,
	CODEC_MAX_META_VALUE = 4096
};

void codec_put(struct wbuf *, enum codec_text, size_t max, const char *);     /* NULL is written as "" */
void codec_put_opt(struct wbuf *, enum codec_text, size_t max, const char *); /* NULL stays NULL */
/* New strings, "" or NULL once the reader is bad. The caller frees. */
char *codec_get(struct rbuf *, enum codec_text, size_t max) __attribute__((warn_unused_result));
char *codec_get_opt(struct rbuf *, enum codec_text, size_t max) __attribute__((warn_unused_result));

/* Keys and values, u32 count first. The decoder refuses more than max pairs and empty keys. */
void codec_put_meta(struct wbuf *, const struct meta *, uint32_t n);
struct meta *codec_get_meta(struct rbuf *, uint32_t max, uint32_t *n_r) __attribute__((warn_unused_result));
void codec_free_meta(struct meta *, uint32_t n);

#endif
