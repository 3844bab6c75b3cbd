/* DKIM signing (RFC 6376, RFC 8463) without keys: canonical forms, what is signed, the field that says so. The
 * signature itself is 32 octets in, a few hundred out, and is made elsewhere (dkim_key.h), by whoever holds the key.
 * Several signatures of one message share the hash of its body, which is taken while the body streams by. */
#ifndef MAIL_DKIM_H
#define MAIL_DKIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/wire.h"

#define DKIM_HASH 32
#define DKIM_NAMES_MAX 64      /* header names that a signer lists */
#define DKIM_FIELDS_MAX 128    /* fields of one message that one signature covers */
#define DKIM_SIGNATURE_MAX 512 /* octets: RSA of 4096 bits */
#define DKIM_SELECTOR_MAX 63
#define DKIM_DOMAIN_MAX 253

enum dkim_canon { DKIM_SIMPLE, DKIM_RELAXED, DKIM_CANONS };
enum dkim_algorithm { DKIM_RSA, DKIM_ED25519, DKIM_BY_KEY /* whichever the key is for */ };
extern const char *const dkim_canon_names[DKIM_CANONS + 1];
extern const char *const dkim_algorithm_names[]; /* without DKIM_BY_KEY */

struct dkim_name {
	const char *name;
	bool is_over; /* listed once more than the message has it: nobody can add another */
};
/* What a signer covers that was not told otherwise. */
extern const struct dkim_name dkim_usual_names[];
extern const size_t dkim_usual_count;

/* How one signature is made. Shared: definitions of policy and the messages that are being signed hold it. */
struct dkim_signer {
	unsigned refs;
	char *domain;            /* d= */
	char *selector;          /* s=; NULL: the one that the directory of the domain's keys names */
	char *key;               /* file; NULL: by domain and selector, below key_dir */
	char *key_dir;           /* NULL: dkim_key_directory */
	enum dkim_algorithm algorithm;
	enum dkim_canon header, body;
	int64_t expiration;      /* seconds; 0: none */
	const struct dkim_name *names; /* dkim_usual_names, or `own` */
	size_t n_names;
	struct dkim_name *own;
	char *own_text;          /* of the names there */
	/* What turned out last, if the key decides: the signer's user keeps it here. */
	enum dkim_algorithm guess;
	char guess_selector[DKIM_SELECTOR_MAX + 1];
};

/* With relaxed canonical forms, the usual names, and one reference. */
struct dkim_signer *dkim_signer_new(void);
struct dkim_signer *dkim_signer_ref(struct dkim_signer *);
void dkim_signer_unref(struct dkim_signer **);
/* Replaces the names: at most DKIM_NAMES_MAX, each followed by its NUL in text. The arrays are taken over. */
void dkim_signer_set_names(struct dkim_signer *, struct dkim_name *, size_t n, char *text);
/* One label or several, as in a host name. */
bool dkim_selector_valid(const char *);

/* The hash of a body, fed in pieces of any size; it is what it is whatever the pieces are. */
struct dkim_body;
struct dkim_body *dkim_body_new(enum dkim_canon);
void dkim_body_update(struct dkim_body *, const void *, size_t);
/* Ends it. */
void dkim_body_final(struct dkim_body **, uint8_t hash[DKIM_HASH]);
void dkim_body_free(struct dkim_body **);

/* The canonical form of one field, its CRLF included. */
void dkim_field_canon(enum dkim_canon, const char *field, size_t len, struct wbuf *out);
/* The hash that is signed: the fields that `names` lists (from the last one up, as each is listed again), then
 * `signature`, a DKIM-Signature field with an empty b= and without its CRLF. 0, or -1: too many fields. */
int dkim_header_hash(enum dkim_canon, const char *head, size_t len, const char *const *names, size_t n_names,
    const struct wbuf *signature, uint8_t hash[DKIM_HASH]) __attribute__((warn_unused_result));

/* Appends the DKIM-Signature field up to "b=" and computes what is to be signed. now: seconds. The algorithm is
 * signer's, or that of the key. 0, or -1: the message has too many fields of the names. */
int dkim_field_begin(const struct dkim_signer *, enum dkim_algorithm, const char *selector, const char *head,
    size_t len, const uint8_t body_hash[DKIM_HASH], int64_t now, struct wbuf *field, uint8_t hash[DKIM_HASH])
    __attribute__((warn_unused_result));
/* The same of an ARC-Message-Signature of that instance; 0: of a DKIM-Signature. */
int dkim_field_begin_as(const struct dkim_signer *, unsigned instance, enum dkim_algorithm, const char *selector,
    const char *head, size_t len, const uint8_t body_hash[DKIM_HASH], int64_t now, struct wbuf *field,
    uint8_t hash[DKIM_HASH]) __attribute__((warn_unused_result));
/* Appends the signature, folded, and the end of the field. */
void dkim_field_end(struct wbuf *field, const uint8_t *signature, size_t len);

/* The domain of the (first) author of a message: of the first address in its From field. False: it has none that can
 * be read. */
bool dkim_author_domain(const char *head, size_t len, char *out, size_t size) __attribute__((warn_unused_result));

#endif
