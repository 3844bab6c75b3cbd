/* Between the parts of ARC: arc.c (reading chains), arc_seal.c (making sets), arc_key.c (verifying). */
#ifndef MAIL_ARC_PRIVATE_H
#define MAIL_ARC_PRIVATE_H

#include <openssl/evp.h>

#include "mail/arc.h"
#include "mail/header.h"

enum arc_kind { ARC_RESULTS, ARC_MESSAGE, ARC_SEAL, ARC_KINDS }; /* in the order in which seals cover them */
extern const char *const arc_names[ARC_KINDS];

/* The sets of a header block; the fields point into it. */
struct arc_sets {
	struct header_field fields[ARC_SETS_MAX][ARC_KINDS]; /* whole.base NULL: not there */
	unsigned n_fields;
	unsigned n;          /* sets: all are whole, from 1 on; 0 if not, or if there are none */
	unsigned highest;    /* ARC_SETS_MAX + 1: beyond */
	const char *problem;
};

void arc_sets_collect(struct arc_sets *, const char *head, size_t len);

/* arc.c: tags of a raw value. */
bool arc_tag(const char *list, size_t size, const char *tag, struct slice *value);
bool arc_tag_text(const char *list, size_t len, const char *tag, char *out, size_t size);
/* The length, 0: not base64, or more than size octets. */
size_t arc_base64(const char *text, uint8_t *out, size_t size);

/* The hash of the first n sets; more can be added to it. To be freed. */
EVP_MD_CTX *arc_digest_sets(const struct arc_sets *, unsigned n);
void arc_digest_field(EVP_MD_CTX *, const char *field, size_t len);
void arc_digest_last(const EVP_MD_CTX *, const struct wbuf *field, uint8_t hash[DKIM_HASH]);

#endif
