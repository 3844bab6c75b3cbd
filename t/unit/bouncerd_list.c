/* bouncerd's list (bouncerd/list.c) with queued played by the test: requests while the disk takes nothing, over a new
 * connection; each is answered once, when it is on the list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/ipc.h"
#include "base/xalloc.h"
#include "mail/job_link.h"
#include "mail/suppress.h"

#define ANSWERS 16

static struct report_role the_role;
static struct bouncer *nobody;
static uint64_t answered[ANSWERS];
static unsigned n_answered;

static void *
fake_arg(const struct job_link *l)
{
	(void)l;
	return &the_role;
}

static struct ipc *
fake_conn(struct job_link *l)
{
	(void)l;
	return (struct ipc *)(void *)&nobody;
}

static void
fake_send(struct ipc *ipc, uint16_t type, uint32_t id, const struct wbuf *body, int fd)
{
	struct rbuf r;

	(void)ipc;
	(void)id;
	(void)fd;
	assert_int_equal(type, QL_SUPPRESSED);
	assert_true(n_answered < ANSWERS);
	rbuf_init(&r, body->p, body->len);
	answered[n_answered++] = rbuf_u64(&r);
}

#define job_link_arg fake_arg
#define job_link_conn fake_conn
#define ipc_send fake_send
#include "../../bouncerd/list.c" /* NOLINT(bugprone-suspicious-include): its calls are the test's */

static void
say(uint64_t number)
{
	char address[64];
	struct suppress_request q = { .address = address, .scope = SUPPRESS_GLOBAL, .reason = SUPPRESS_HARD_BOUNCE,
		.origin = SUPPRESS_BY_REPLY, .when = 1 };
	struct ipc_msg m = { .type = QL_SUPPRESS, .fd = -1 };
	struct wbuf w;

	snprintf(address, sizeof(address), "a%u@b.example", (unsigned)number);
	wbuf_init(&w);
	ql_suppress_encode(number, &q, &w);
	rbuf_init(&m.body, w.p, w.len);
	on_suppress(NULL, &m, NULL);
	wbuf_clear(&w);
}

static void
test_new_connection(void **state)
{
	char dir[] = "/tmp/bouncerd-list-XXXXXX", cmd[128], address[64];
	struct bouncerd own = { NULL, NULL };
	struct loop *loop = loop_new();
	struct suppress *reader;
	struct list *l = xcalloc(1, sizeof(*l));
	uint64_t i;

	(void)state;
	assert_non_null(mkdtemp(dir));
	TAILQ_INIT(&l->clients);
	wbuf_init(&l->out);
	json_init(&l->json);
	l->requests = xcalloc(1, sizeof(*l->requests));
	l->trouble = xstrdup("nothing can be written");
	snprintf(cmd, sizeof(cmd), "%s/socket", dir);
	l->listen_fd = ipc_listen(cmd, 0600);
	assert_true(l->listen_fd != -1);
	list_start(l, loop);
	own.list = l;
	the_role.own = &own;
	for (i = 1; i <= 3; i++)
		say(i);
	flush_requests(l);
	assert_int_equal(l->requests->n, 3); /* kept */
	assert_int_equal(n_answered, 0);
	list_up(l);
	for (i = 1; i <= 4; i++)
		say(i);
	free(l->trouble);
	l->trouble = NULL;
	l->store = suppress_store_open(dir, &l->trouble);
	assert_non_null(l->store);
	l->rest_until = 0;
	flush_requests(l);
	assert_int_equal(n_answered, 4);
	reader = suppress_open(dir);
	for (i = 1; i <= 4; i++) {
		assert_int_equal(answered[i - 1], i);
		snprintf(address, sizeof(address), "a%u@b.example", (unsigned)i);
		assert_int_equal(suppress_look_up(reader, address, NULL, NULL, 2, NULL, NULL), SUPPRESS_IS);
	}
	flush_requests(l);
	assert_int_equal(n_answered, 4);
	suppress_close(&reader);
	list_free(&l);
	loop_free(&loop);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	assert_int_equal(system(cmd), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_new_connection) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
