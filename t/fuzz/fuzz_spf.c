/* SPF: a check in a world of hostile records. The input is lines: flags, sender, helo, and then the answers, each given
 * to the next question, from the beginning again after the last: "!" no such name, "?" no answer, else records with
 * 0x1f between. A check ends within its limits, asks for nothing but names, and what comes out is fit for a log. */
#include <arpa/inet.h>
#include <string.h>

#include "base/cidr.h"
#include "base/xalloc.h"
#include "mail/spf_private.h"
#include "t/fuzz/fuzz.h"

#define LINES_MAX 64

static struct slice
line_next(struct slice *rest)
{
	const char *end = memchr(rest->base, '\n', rest->len);
	struct slice line = { rest->base, end != NULL ? (size_t)(end - rest->base) : rest->len };
	size_t n = line.len + (end != NULL ? 1 : 0);

	*rest = (struct slice){ rest->base + n, rest->len - n };
	return line;
}

static void
answer(struct spf *spf, struct slice line)
{
	struct dns_reply reply = { .status = DNS_OK };
	const char *end;
	size_t n;

	if (line.len == 1 && line.base[0] == '!')
		reply.status = DNS_NXDOMAIN;
	if (line.len == 1 && line.base[0] == '?')
		reply.status = DNS_TEMPORARY;
	while (reply.status == DNS_OK && line.len > 0) {
		end = memchr(line.base, 0x1f, line.len);
		n = end != NULL ? (size_t)(end - line.base) : line.len;
		if (n <= DNS_RECORD_MAX)
			dns_reply_add(&reply, (uint16_t)reply.n_records, xmemdup0(line.base, n), n);
		n += end != NULL ? 1 : 0;
		line = (struct slice){ line.base + n, line.len - n };
	}
	spf_answer(spf, &reply);
	dns_reply_clear(&reply);
}

static void
question_check(const struct spf_question *q)
{
	size_t label = 0, i;

	FUZZ_ASSERT(q->name[0] != '\0' && strlen(q->name) <= SPF_NAME_MAX);
	for (i = 0; q->name[i] != '\0'; i++) {
		FUZZ_ASSERT(q->name[i] >= 0x20 && q->name[i] < 0x7f && q->name[i] != '\\');
		label = q->name[i] == '.' ? 0 : label + 1;
		FUZZ_ASSERT(label <= 63 && (label > 0 || (i > 0 && q->name[i - 1] != '.')));
	}
}

static void
verdict_check(const struct spf_verdict *v, bool survey)
{
	FUZZ_ASSERT(v->result >= SPF_NONE && v->result <= SPF_PERMERROR);
	FUZZ_ASSERT(v->lookups <= SPF_LOOKUPS_MAX || v->result == SPF_PERMERROR || survey);
	FUZZ_ASSERT(v->voids <= SPF_VOIDS_MAX || v->result == SPF_PERMERROR || survey);
	FUZZ_ASSERT(fuzz_is_clean(v->problem) && fuzz_is_clean(v->term) && fuzz_is_clean(v->explanation));
	FUZZ_ASSERT(v->explanation[0] == '\0' || v->result == SPF_FAIL);
	FUZZ_ASSERT((v->result == SPF_NONE || v->result >= SPF_TEMPERROR) == (v->problem[0] != '\0'));
}

/* Whatever a check makes of them, terms are parsed alone, too. */
static void
terms(struct slice record)
{
	struct spf_term t;
	const char *why;
	size_t pos = 0;

	while (spf_term_next(record, &pos, &t, &why) == 1)
		FUZZ_ASSERT(pos <= record.len && t.text.len > 0 && t.bits4 <= 32 && t.bits6 <= 128);
	(void)spf_domain_spec_valid(record);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = { (const char *)data, size }, lines[LINES_MAX], flags, sender, helo;
	struct spf_query query = { .receiver = "mx.example" };
	const struct spf_question *q;
	struct sockaddr_storage ss;
	char *sender_text, *helo_text;
	unsigned n = 0, asked = 0;
	struct spf *spf;
	socklen_t len;
	char bits;

	if (size == 0)
		return 0;
	flags = line_next(&rest);
	sender = line_next(&rest);
	helo = line_next(&rest);
	while (rest.len > 0 && n < LINES_MAX)
		terms(lines[n++] = line_next(&rest));
	if (n == 0)
		return 0;
	bits = flags.len > 0 ? flags.base[0] : '0';
	FUZZ_ASSERT(sockaddr_parse(bits & 1 ? "2001:db8::1" : bits & 4 ? "::ffff:192.0.2.1" : "192.0.2.1", 0, &ss,
	    &len) == 0);
	query.client = (const struct sockaddr *)&ss;
	query.sender = sender_text = xmemdup0(sender.base, sender.len);
	query.helo = helo_text = xmemdup0(helo.base, helo.len);
	query.survey = (bits & 2) != 0;
	spf = spf_new(&query);
	while ((q = spf_question(spf)) != NULL) {
		question_check(q);
		FUZZ_ASSERT(asked < SPF_QUESTIONS_MAX);
		answer(spf, lines[asked++ % n]);
	}
	verdict_check(spf_verdict(spf), query.survey);
	spf_free(&spf);
	free(sender_text);
	free(helo_text);
	return 0;
}
