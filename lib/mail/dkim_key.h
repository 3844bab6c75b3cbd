/* Private keys of DKIM: read from their files with suspicion, parsed once, used often, and read again when the file has
 * changed. Only the role that signs, and the admin command, hold any. */
#ifndef MAIL_DKIM_KEY_H
#define MAIL_DKIM_KEY_H

#include <stdio.h>

#include "mail/dkim.h"

struct dkim_key;

/* Looks at the file with root's eyes: a plain file of root's or of ours, that nobody else can read or change. NULL and
 * a sentence in err, which names the file. */
struct dkim_key *dkim_key_load(const char *path, char *err, size_t size);
/* A new one. bits: of RSA. */
struct dkim_key *dkim_key_generate(enum dkim_algorithm, unsigned bits);
void dkim_key_free(struct dkim_key **);
enum dkim_algorithm dkim_key_algorithm(const struct dkim_key *);
unsigned dkim_key_bits(const struct dkim_key *);
/* The length of the signature in sig, 0 if OpenSSL refuses. */
size_t dkim_key_sign(struct dkim_key *, const uint8_t hash[DKIM_HASH], uint8_t sig[DKIM_SIGNATURE_MAX]);
/* What p= holds, not encoded yet. */
void dkim_key_public(const struct dkim_key *, struct wbuf *out);
/* PEM. 0 or -1. */
int dkim_key_write(const struct dkim_key *, FILE *) __attribute__((warn_unused_result));

/* The keys of a process, by file. All files are below `dir`, which is absolute. */
struct dkim_keys;
struct dkim_keys *dkim_keys_new(const char *dir);
void dkim_keys_free(struct dkim_keys **);
/* By the file, absolute or below dir. now: loop_now(): a file is looked at again once a second. The key stays good
 * until the next call. NULL and a sentence. */
struct dkim_key *dkim_keys_get(struct dkim_keys *, const char *file, int64_t now, const char **err_r);
/* The selector that `current` in that directory names. */
const char *dkim_keys_current(struct dkim_keys *, const char *dir, int64_t now, const char **err_r);
/* Where the key of a signer with that selector is: below its own directory, or dir, if it names no file. malloced. */
char *dkim_key_path(const char *dir, const struct dkim_signer *, const char *selector);
/* The key of a signer. *selector_r: its own, or the current one of its domain; good until the next call. */
struct dkim_key *dkim_keys_find(struct dkim_keys *, const struct dkim_signer *, int64_t now, const char **selector_r,
    const char **err_r);

#endif
