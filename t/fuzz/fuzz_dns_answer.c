/* DNS answers, and what the dns role says to the net role: the first byte chooses the record type, or the link.
 * Names that come out are bounded and terminated, and what the link lets pass are host names and nothing else. */
#include <string.h>

#include "mail/dns_answer.h"
#include "mail/dns_link.h"
#include "t/fuzz/fuzz.h"

static void
answer(uint16_t type, const uint8_t *data, size_t size)
{
	struct dns_answer a;
	const char *err, *c;
	char text[100];
	unsigned i;

	if (dns_answer_parse(data, size, type, &a, &err) == -1)
		return;
	FUZZ_ASSERT(a.n <= DNS_RRS_MAX);
	for (i = 0; i < a.n; i++) {
		FUZZ_ASSERT(type != DNS_TYPE_TXT || dns_answer_txt(data, &a.rr[i], text, sizeof(text)) <= sizeof(text));
		for (c = a.rr[i].name; *c != '\0'; c++)
			FUZZ_ASSERT(strchr("abcdefghijklmnopqrstuvwxyz0123456789-_.", *c) != NULL &&
			    c - a.rr[i].name < DNS_NAME_MAX);
	}
}

/* What was understood is said, and understood, in one way only; the order of hosts is settled by decoding. */
static void
reply_again(const struct dns_reply *reply)
{
	struct dns_reply again;
	struct wbuf first, second;
	struct rbuf r;

	wbuf_init(&first);
	wbuf_init(&second);
	dns_reply_encode(reply, &first);
	rbuf_init(&r, first.p, first.len);
	FUZZ_ASSERT(first.len <= DNS_ANSWER_MAX && dns_reply_decode(&r, &again) == 0);
	dns_reply_encode(&again, &second);
	FUZZ_ASSERT(first.len == second.len && memcmp(first.p, second.p, first.len) == 0);
	dns_reply_clear(&again);
	wbuf_clear(&first);
	wbuf_clear(&second);
}

static void
ask_frame(const uint8_t *data, size_t size)
{
	struct dns_ask ask;
	struct rbuf r;
	struct wbuf w;

	rbuf_init(&r, data, size);
	if (dns_ask_decode(&r, &ask) == -1)
		return;
	FUZZ_ASSERT(ask.want == DNS_WANT_RECORDS ? dns_name_askable(ask.name) : dns_name_valid(ask.name));
	wbuf_init(&w);
	dns_ask_encode(&ask, &w);
	FUZZ_ASSERT(w.len == size && memcmp(w.p, data, size) == 0 && w.len <= DNS_ASK_MAX);
	wbuf_clear(&w);
}

static void
link_frame(const uint8_t *data, size_t size)
{
	struct dns_reply reply;
	struct rbuf r;
	unsigned i;

	ask_frame(data, size);
	rbuf_init(&r, data, size);
	if (dns_reply_decode(&r, &reply) == -1)
		return;
	FUZZ_ASSERT(reply.mx == NULL || (reply.status == DNS_OK && reply.n_records == 0));
	FUZZ_ASSERT(reply.n_records <= DNS_RECORDS_MAX && (reply.n_records == 0 || reply.status == DNS_OK));
	for (i = 0; reply.mx != NULL && i < reply.mx->n_hosts; i++)
		FUZZ_ASSERT(dns_name_valid(reply.mx->hosts[i].name) && reply.mx->hosts[i].n_addrs <= MX_ADDRS_MAX);
	reply_again(&reply);
	dns_reply_clear(&reply);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t types[] = { DNS_TYPE_A, DNS_TYPE_AAAA, DNS_TYPE_MX, 0, DNS_TYPE_TXT, DNS_TYPE_PTR };

	if (size == 0)
		return 0;
	if (data[0] % 6 == 3)
		link_frame(data + 1, size - 1);
	else
		answer(types[data[0] % 6], data + 1, size - 1);
	return 0;
}
