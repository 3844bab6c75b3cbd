/* deliverd/guard_check.h: what passes DMARC and what does not, by name servers that answer from a table; trouble of
 * theirs is no verdict. */
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/cidr.h"
#include "base/ipc.h"
#include "base/xalloc.h"
#include "mail/orgdomain.h"
#include "deliverd/guard_check.h"

/* "!": the name servers do not answer. */
static const struct {
	const char *name, *text;
} records[] = {
	{ "_dmarc.strict.example", "v=DMARC1; p=none; adkim=s; aspf=s" },
	{ "_dmarc.lost.example", "!" },
	{ "_dmarc.odd.example", "v=DMARC2; adkim=s" },
	{ "strict.example", "v=spf1 ip4:192.0.2.1 -all" },
	{ "news.strict.example", "v=spf1 ip4:192.0.2.1 -all" },
	{ "spf.example", "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all" },
	{ "mail.spf.example", "v=spf1 ip4:192.0.2.1 ?all" },
	{ "spfs.example", "v=spf1 include:dead.example -all" },
	{ "dead.example", "!" },
	{ "soft.example", "v=spf1 ~all" },
	{ "s1._domainkey.a.example", "v=DKIM1; k=rsa; p=MIIB" },
	{ "s2._domainkey.a.example", "v=DKIM1; p=" },
	{ "s3._domainkey.a.example", "v=DKIM9; p=MIIB" },
	{ "s4._domainkey.a.example", "p=MIIB" },
	{ "s9._domainkey.a.example", "!" },
	{ "s1._domainkey.strict.example", "v=DKIM1; p=MIIB" },
	{ "s1._domainkey.a.co.uk", "v=DKIM1; p=MIIB" },
	{ "mx.a.example", "v=spf1 ip4:192.0.2.1 -all" },
};

struct fixture {
	struct loop *loop;
	struct dns_client *dns;
	struct ipc *server;
	struct timer limit;
	enum guard_result result;
	char why[1024];
	unsigned n_asked, n_answered;
};

static void
on_ask(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	char trouble[] = "no answer";
	struct dns_reply r = { .status = DNS_NXDOMAIN, .ttl = 60, .text = trouble };
	struct fixture *f = arg;
	struct dns_ask ask;
	struct wbuf w;
	size_t i;

	assert_int_equal(dns_ask_decode(&m->body, &ask), 0);
	f->n_asked++;
	for (i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
		if (strcmp(records[i].name, ask.name) != 0 || ask.type != DNS_TYPE_TXT)
			continue;
		r.status = *records[i].text == '!' ? DNS_TEMPORARY : DNS_OK;
		if (r.status == DNS_OK) {
			r.text = NULL;
			dns_reply_add(&r, 0, xstrdup(records[i].text), strlen(records[i].text));
		}
	}
	wbuf_init(&w);
	dns_reply_encode(&r, &w);
	ipc_send(ipc, DNS_ANSWER, m->id, &w, -1);
	wbuf_clear(&w);
	r.text = NULL;
	dns_reply_clear(&r);
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	(void)ipc;
	(void)why;
	((struct fixture *)arg)->server = NULL;
}

static const struct ipc_rule rules[] = { { DNS_ASK, false, DNS_ASK_MAX, "ask", on_ask } };
static const struct ipc_ops ops = { rules, 1, on_gone };

static void
on_limit(void *arg)
{
	loop_stop(((struct fixture *)arg)->loop);
}

static void
on_result(enum guard_result result, const char *why, void *arg)
{
	struct fixture *f = arg;

	f->n_answered++;
	f->result = result;
	snprintf(f->why, sizeof(f->why), "%s", why);
	loop_stop(f->loop);
}

static int
setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	int pair[2];

	orgdomain_load();
	f->loop = loop_new();
	f->dns = dns_client_new(f->loop);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	dns_client_set_peer(f->dns, pair[0]);
	f->server = ipc_new(f->loop, pair[1], &ops, f);
	timer_init(&f->limit, f->loop, on_limit, f);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	timer_cancel(&f->limit);
	ipc_close(&f->server);
	dns_client_free(&f->dns);
	loop_free(&f->loop);
	orgdomain_unload();
	free(f);
	return 0;
}

static struct guard_check *
start(struct fixture *f, const char *author, const char *sender, const char *address)
{
	struct guard_question q = { .author = author, .sender = sender, .ehlo = "mx.a.example" };
	struct sockaddr_storage ss;
	socklen_t len;

	if (address != NULL) {
		assert_int_equal(sockaddr_parse(address, 0, &ss, &len), 0);
		q.address = (const struct sockaddr *)&ss;
	}
	f->n_answered = 0;
	return guard_check_start(f->loop, f->dns, &q, 5000, on_result, f);
}

static void
expect(struct fixture *f, const char *author, const char *sender, const char *address, enum guard_result want,
    const char *why)
{
	(void)start(f, author, sender, address);
	assert_int_equal(f->n_answered, 0); /* never before start returns */
	timer_set(&f->limit, 60000);
	(void)loop_run(f->loop);
	if (f->n_answered != 1 || f->result != want || strstr(f->why, why) == NULL)
		fail_msg("%s from <%s>: %u answers, %d, %s", author, sender, f->n_answered, (int)f->result, f->why);
}

#define V4 "192.0.2.1"
#define V6 "2001:db8::1"

static void
test_signatures(void **state)
{
	struct fixture *f = *state;

	expect(f, "a.example a.example:s1", "x@other.example", V4, GUARD_PASS, "signed by a.example");
	expect(f, "news.a.example a.example:s1", "x@other.example", V4, GUARD_PASS, "signed by a.example");
	expect(f, "a.example a.example:s4", "x@other.example", NULL, GUARD_PASS, "signed by a.example");
	expect(f, "a.example other.example:s1 a.example:s2 a.example:s1", "x@other.example", V4, GUARD_PASS, "signed");
	expect(f, "a.example a.example:s2", "x@other.example", V4, GUARD_FAIL,
	    "the DKIM key s2._domainkey.a.example is not published; the return path is of another domain, other.ex");
	expect(f, "a.example a.example:s3", "x@other.example", V4, GUARD_FAIL, "is not published");
	expect(f, "b.example a.example:s1", "x@other.example", V4, GUARD_FAIL, "no DKIM signature is of its domain");
	/* Two customers of one registry are not one organisation. */
	expect(f, "b.co.uk a.co.uk:s1", "x@other.example", V4, GUARD_FAIL, "no DKIM signature is of its domain");
	expect(f, "\xc3\xa4.a.example a.example:s1", "", V4, GUARD_PASS, "signed by a.example");
}

static void
test_spf(void **state)
{
	struct fixture *f = *state;

	expect(f, "spf.example", "x@spf.example", V4, GUARD_PASS, "SPF of spf.example");
	expect(f, "spf.example", "x@spf.example", V6, GUARD_PASS, "SPF of spf.example");
	expect(f, "spf.example", "x@mail.spf.example", V4, GUARD_PASS, "SPF of mail.spf.example");
	expect(f, "spf.example", "x@mail.spf.example", V6, GUARD_FAIL,
	    "SPF of mail.spf.example for 2001:db8::1 is neutral");
	expect(f, "spf.example", "x@spf.example", "192.0.2.9", GUARD_FAIL,
	    "it has no DKIM signature; SPF of spf.example for 192.0.2.9 is fail");
	expect(f, "spf.example", "x@spf.example", "10.0.0.1", GUARD_FAIL, "10.0.0.1 (a private address) is fail");
	expect(f, "soft.example", "x@soft.example", V4, GUARD_FAIL, "is softfail");
	expect(f, "none.example", "x@none.example", V4, GUARD_FAIL, "is none");
	expect(f, "spf.example", "x@spf.example", NULL, GUARD_FAIL, "for a source without address");
	/* Without a sender it is the name that it greets as. */
	expect(f, "a.example", "", V4, GUARD_PASS, "SPF of mx.a.example");
	expect(f, "spf.example", "", V4, GUARD_FAIL, "the return path is of another domain, mx.a.example");
}

static void
test_strict(void **state)
{
	struct fixture *f = *state;

	expect(f, "strict.example strict.example:s1", "x@other.example", V4, GUARD_PASS, "signed");
	expect(f, "news.strict.example strict.example:s1", "x@other.example", V4, GUARD_FAIL,
	    "no DKIM signature is of");
	expect(f, "news.strict.example", "x@strict.example", V4, GUARD_FAIL, "the return path is of another domain");
	expect(f, "news.strict.example", "x@news.strict.example", V4, GUARD_PASS, "SPF of news.strict.example");
	/* What is no DMARC record asks for nothing. */
	expect(f, "odd.example", "x@odd.example", V4, GUARD_FAIL, "SPF of odd.example for 192.0.2.1 is none");
}

static void
test_trouble(void **state)
{
	struct fixture *f = *state;

	expect(f, "lost.example", "x@lost.example", V4, GUARD_UNKNOWN, "the DMARC record cannot be looked up");
	expect(f, "news.lost.example", "x@lost.example", V4, GUARD_UNKNOWN, "the DMARC record cannot be looked up");
	expect(f, "a.example a.example:s9", "x@other.example", V4, GUARD_UNKNOWN, "cannot be looked up");
	/* ... which does not matter if something else passes. */
	expect(f, "a.example a.example:s9 a.example:s1", "x@other.example", V4, GUARD_PASS, "signed by a.example");
	expect(f, "a.example a.example:s9", "", V4, GUARD_PASS, "SPF of mx.a.example");
	expect(f, "spfs.example", "x@spfs.example", V4, GUARD_UNKNOWN, "is temperror");
}

static void
test_odd_authors(void **state)
{
	struct fixture *f = *state;

	f->n_asked = 0;
	expect(f, "-", "x@spf.example", V4, GUARD_FAIL, "no address that can be read");
	expect(f, "", "x@spf.example", V4, GUARD_FAIL, "no address that can be read");
	expect(f, "\xff.example", "x@spf.example", V4, GUARD_FAIL, "no address that can be read");
	assert_int_equal(f->n_asked, 0);
}

static void
test_cancel_and_no_server(void **state)
{
	struct fixture *f = *state;
	struct guard_check *c = start(f, "spf.example", "x@spf.example", V4);

	guard_check_cancel(&c);
	assert_null(c);
	guard_check_cancel(&c);
	timer_set(&f->limit, 20);
	(void)loop_run(f->loop);
	assert_int_equal(f->n_answered, 0);
	/* Under way. */
	c = start(f, "spf.example", "x@spf.example", V4);
	f->n_asked = 0;
	while (f->n_asked == 0) {
		timer_set(&f->limit, 1);
		(void)loop_run(f->loop);
		if (f->n_answered > 0)
			break;
	}
	if (f->n_answered == 0)
		guard_check_cancel(&c);
	ipc_close(&f->server);
	expect(f, "spf.example", "x@spf.example", V4, GUARD_UNKNOWN, "");
}

int
main(void)
{
	cmocka_set_message_output(CM_OUTPUT_TAP);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_signatures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_spf, setup, teardown),
		cmocka_unit_test_setup_teardown(test_strict, setup, teardown),
		cmocka_unit_test_setup_teardown(test_trouble, setup, teardown),
		cmocka_unit_test_setup_teardown(test_odd_authors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancel_and_no_server, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
