/* QL_RESULT (see queue_link.h): what became of one envelope. Hostile: deliverd reads the Internet, so a result is
 * checked as if a stranger had written it; its texts end in the event log, the index and in DSNs. */

#include <stdlib.h>
#include <string.h>

#include "mail/codec.h"
#include "mail/queue_link.h"

const char *const phase_names[PHASES] = {
	[PHASE_NONE] = "none",
	[PHASE_DNS] = "dns",
	[PHASE_CONNECT] = "connect",
	[PHASE_BANNER] = "banner",
	[PHASE_EHLO] = "ehlo",
	[PHASE_STARTTLS] = "starttls",
	[PHASE_AUTH] = "auth",
	[PHASE_MAIL] = "mail",
	[PHASE_RCPT] = "rcpt",
	[PHASE_DATA] = "data",
	[PHASE_DOT] = "dot",
};

/* The optional strings, in the order of the encoding. */
static char **
result_string(struct ql_result *result, unsigned i)
{
	switch (i) {
	case 0:
		return &result->command;
	case 1:
		return &result->site;
	case 2:
		return &result->source;
	case 3:
		return &result->source_address;
	case 4:
		return &result->peer_name;
	case 5:
		return &result->peer_addr;
	case 6:
		return &result->provider;
	case 7:
		return &result->tls_version;
	case 8:
		return &result->tls_cipher;
	case 9:
		return &result->session;
	case 10:
		return &result->tls_verified;
	case 11:
		return &result->tls_policy;
	default:
		return NULL;
	}
}

bool
ql_result_is_imposed(const struct ql_result *r)
{
	const struct enhanced_code it = QL_IMPOSED, *e = &r->enhanced;

	return r->outcome == QL_RETURNED && e->class == it.class && e->subject == it.subject && e->detail == it.detail;
}

bool
ql_result_is_guarded(const struct ql_result *r)
{
	const struct enhanced_code it = QL_GUARDED, *e = &r->enhanced;

	return r->outcome == QL_RETURNED && e->class == it.class && e->subject == it.subject && e->detail == it.detail;
}

void
ql_result_encode(const struct ql_result *result, struct wbuf *w)
{
	struct ql_result copy = *result;
	char **s;

	wbuf_reserve(w, 512);
	wbuf_raw(w, result->env.msg.b, MSGID_LEN);
	wbuf_u16(w, result->env.rcpt);
	wbuf_u8(w, result->outcome);
	wbuf_u8(w, result->phase);
	wbuf_u8(w, result->is_local);
	wbuf_u16(w, result->code);
	wbuf_u8(w, result->enhanced.class);
	wbuf_u16(w, result->enhanced.subject);
	wbuf_u16(w, result->enhanced.detail);
	codec_put(w, CODEC_LINES, CODEC_MAX_REPLY, result->text);
	for (unsigned i = 0; (s = result_string(&copy, i)) != NULL; i++)
		codec_put_opt(w, CODEC_LINE, CODEC_MAX_LONG, *s);
	wbuf_u32(w, result->retry_after);
	wbuf_u32(w, result->timing.queue);
	wbuf_u32(w, result->timing.dns);
	wbuf_u32(w, result->timing.connect);
	wbuf_u32(w, result->timing.tls);
	wbuf_u32(w, result->timing.transfer);
	wbuf_u8(w, result->dsn_passed);
}

static bool
is_sound(const struct ql_result *result, uint8_t local, uint8_t passed)
{
	const struct enhanced_code *enhanced = &result->enhanced;

	if (local > 1 || passed > 1)
		return false;
	if (result->outcome < QL_DELIVERED || result->outcome > QL_PASSED || result->phase >= PHASES)
		return false;
	if (result->code != 0 && (result->code < 200 || result->code > 599))
		return false;
	if (enhanced->subject > 999 || enhanced->detail > 999)
		return false;
	return enhanced->class == 0 || enhanced->class == 2 || enhanced->class == 4 || enhanced->class == 5;
}

int
ql_result_decode(struct rbuf *r, struct ql_result *out)
{
	uint8_t local, passed;
	char **s;

	memset(out, 0, sizeof(*out));
	rbuf_raw(r, out->env.msg.b, MSGID_LEN);
	out->env.rcpt = rbuf_u16(r);
	out->outcome = rbuf_u8(r);
	out->phase = rbuf_u8(r);
	local = rbuf_u8(r);
	out->is_local = local == 1;
	out->code = rbuf_u16(r);
	out->enhanced.class = rbuf_u8(r);
	out->enhanced.subject = rbuf_u16(r);
	out->enhanced.detail = rbuf_u16(r);
	out->text = codec_get(r, CODEC_LINES, CODEC_MAX_REPLY);
	for (unsigned i = 0; (s = result_string(out, i)) != NULL; i++)
		*s = codec_get_opt(r, CODEC_LINE, CODEC_MAX_LONG);
	out->retry_after = rbuf_u32(r);
	out->timing.queue = rbuf_u32(r);
	out->timing.dns = rbuf_u32(r);
	out->timing.connect = rbuf_u32(r);
	out->timing.tls = rbuf_u32(r);
	out->timing.transfer = rbuf_u32(r);
	passed = rbuf_u8(r);
	out->dsn_passed = passed == 1;
	if (rbuf_done(r) && is_sound(out, local, passed))
		return 0;
	ql_result_clear(out);
	return -1;
}

void
ql_result_clear(struct ql_result *result)
{
	char **s;

	free(result->text);
	for (unsigned i = 0; (s = result_string(result, i)) != NULL; i++)
		free(*s);
	memset(result, 0, sizeof(*result));
}
