/* SPF by questions to a dns role (spf_run.h): in time, once, and whatever becomes of the role. What SPF says is tested
 * by t/40-spf.t. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cidr.h"
#include "base/ipc.h"
#include "base/xalloc.h"
#include "mail/spf_run.h"

#define UNUSED __attribute__((unused))

/* A dns role that answers each question with the next text, a TXT record; and goes, or is silent, at the end. */
struct role {
	struct loop *loop;
	struct ipc *ipc;
	const char *const *answers;
	unsigned n_asked;
	bool is_silent;
};

struct asker {
	struct loop *loop;
	struct dns_client *dns;
	struct role role;
	unsigned n_verdicts;
	struct spf_verdict verdict;
};

static void
on_ask(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct role *r = arg;
	const char *text = *r->answers;
	struct dns_reply reply = { .status = DNS_OK, .ttl = 60 };
	struct dns_ask ask;
	struct wbuf w;

	assert_int_equal(dns_ask_decode(&m->body, &ask), 0);
	assert_int_equal(ask.want, DNS_WANT_RECORDS);
	r->n_asked++;
	if (text == NULL) {
		if (!r->is_silent)
			ipc_close(&r->ipc);
		return;
	}
	r->answers++;
	dns_reply_add(&reply, 0, xstrdup(text), strlen(text));
	wbuf_init(&w);
	dns_reply_encode(&reply, &w);
	ipc_send(ipc, DNS_ANSWER, m->id, &w, -1);
	wbuf_clear(&w);
	dns_reply_clear(&reply);
}

static void
on_gone(struct ipc *ipc UNUSED, const char *why UNUSED, void *arg UNUSED)
{
}

static const struct ipc_rule rules[] = { { DNS_ASK, false, DNS_ASK_MAX, "ask", on_ask } };
static const struct ipc_ops ops = { rules, 1, on_gone };

static void
on_verdict(const struct spf_verdict *v, void *arg)
{
	struct asker *a = arg;

	a->n_verdicts++;
	a->verdict = *v;
	loop_stop(a->loop);
}

static void
asker_init(struct asker *a, const char *const *answers)
{
	int fds[2];

	memset(a, 0, sizeof(*a));
	a->loop = loop_new();
	a->dns = dns_client_new(a->loop);
	if (answers == NULL)
		return;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	a->role.loop = a->loop;
	a->role.answers = answers;
	a->role.ipc = ipc_new(a->loop, fds[0], &ops, &a->role);
	dns_client_set_peer(a->dns, fds[1]);
}

static struct spf_run *
start(struct asker *a, const char *sender)
{
	struct sockaddr_storage ss;
	struct spf_query q = { .client = (const struct sockaddr *)&ss, .sender = sender, .helo = "helo.example" };
	socklen_t len;

	assert_int_equal(sockaddr_parse("192.0.2.1", 0, &ss, &len), 0);
	return spf_run_start(a->loop, a->dns, &q, on_verdict, a);
}

static void
asker_clear(struct asker *a)
{
	if (a->role.ipc != NULL)
		ipc_close(&a->role.ipc);
	dns_client_free(&a->dns);
	loop_free(&a->loop);
}

static void
expect(const char *const *answers, const char *sender, enum spf_result result, const char *problem)
{
	struct asker a;

	asker_init(&a, answers);
	(void)start(&a, sender);
	assert_int_equal(a.n_verdicts, 0); /* never before it returns */
	assert_int_equal(loop_run(a.loop), 0);
	assert_int_equal(a.n_verdicts, 1);
	assert_int_equal(a.verdict.result, result);
	assert_string_equal(a.verdict.problem, problem);
	asker_clear(&a);
}

static void
test_verdicts(void **state UNUSED)
{
	static const char *const passes[] = { "v=spf1 include:b.example -all", "v=spf1 ip4:192.0.2.1 ?all", NULL };
	static const char *const goes[] = { "v=spf1 include:b.example -all", NULL };

	expect(passes, "x@a.example", SPF_PASS, "");
	expect(goes, "x@a.example", SPF_TEMPERROR, "the name service is not available now");
}

/* No role at all; and a sender that needs no question. */
static void
test_at_once(void **state UNUSED)
{
	expect(NULL, "x@a.example", SPF_TEMPERROR, "the name service is not available now");
	expect(NULL, "x@[192.0.2.1]", SPF_NONE, "`[192.0.2.1]' is not a domain name");
}

static void
on_tick(void *arg)
{
	loop_stop(arg);
}

static void
test_cancel(void **state UNUSED)
{
	static const char *const none[] = { NULL };
	struct spf_run *run, *nothing = NULL;
	struct timer tick;
	struct asker a;

	asker_init(&a, none);
	a.role.is_silent = true;
	run = start(&a, "x@a.example");
	timer_init(&tick, a.loop, on_tick, a.loop);
	while (a.role.n_asked == 0) {
		timer_set(&tick, 1);
		assert_int_equal(loop_run(a.loop), 0);
	}
	spf_run_cancel(&run);
	assert_null(run);
	spf_run_cancel(&nothing);
	timer_cancel(&tick);
	assert_int_equal(a.n_verdicts, 0);
	asker_clear(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_at_once),
		cmocka_unit_test(test_cancel),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
