/* The trace header of outgoing mail, X-Posthorn-Ref: what a report that returns nothing but the original headers
 * (Microsoft's since June 2026, and all that hide the recipient) tells us about the message, and that nobody but us can
 * have written. The value is base64 of a JSON object of the form that KumoMTA writes as X-KumoRef, and consumers of
 * that find it, since they look into every X- header:
 *
 *   {"_@_":"\\_/","recipient":"a@b.example","tenant":"t","campaign":"c",...,
 *    "id":"message id","rcpt":0,"key":1,"mac":"..."}
 *
 * "mac" is last: base64url of the first 16 octets of HMAC-SHA256, with the key of that number, over all that is before
 * the comma in front of it. What stands between the marker and "id" is chosen by trace_header_fields: the recipient,
 * tenant and campaign, and entries of the message's metadata. A message that several recipients get in one transaction
 * names none of them. */
#ifndef MAIL_TRACE_H
#define MAIL_TRACE_H

#include "base/conf.h"
#include "base/wire.h"
#include "mail/envelope.h"
#include "mail/token.h"

#define TRACE_FIELDS_MAX 2400 /* octets of JSON; fields that do not fit are left out */
#define TRACE_VALUE_MAX 6000  /* of the header, unfolded */

struct trace_source {
	struct envid env;       /* TOKEN_MANY: several recipients */
	const char *recipient;  /* NULL: several */
	const char *tenant, *campaign; /* NULL: none */
	const struct meta *meta;
	uint32_t n_meta;
};

/* The whole header, folded, with its CRLF, behind what is in w. */
void trace_write(const struct token_signer *, const struct trace_source *, const struct conf_strs *fields,
    struct wbuf *w);
/* About as much as trace_write() writes: what JSON has to escape is not counted. */
size_t trace_size(const struct trace_source *, const struct conf_strs *fields);
/* Whether the name may stand in trace_header_fields. */
bool trace_field_valid(const char *name);

enum trace_verdict {
	TRACE_NONE,   /* nothing of that shape */
	TRACE_FORGED, /* of that shape, but not signed with a key of ours: altered, made up, or older than our keys */
	TRACE_VALID
};

struct trace {
	struct envid env;
	char *recipient, *tenant, *campaign; /* NULL: not said */
	struct meta *meta; /* all that the object says, but for what is ours: key, value; JSON's other types as text */
	uint32_t n_meta;
};

/* The value of a header, as it came back; also the bare token (token.h) that older versions wrote. */
enum trace_verdict trace_read(const char *value, const struct ql_token_key *keys, unsigned n_keys, struct trace *);
void trace_clear(struct trace *);

#endif
