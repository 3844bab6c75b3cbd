/* What deliverd knows about its sources, and what it takes from shared limits: a source that is being tried again, and
 * tokens of rates that were taken for nothing. */
#include "deliverd_world.h"
#include "deliverd/path.h"

#define HELLO "S:220 peer ESMTP\r\n", "C:EHLO", "S:250-peer\r\n250 PIPELINING\r\n"
#define TX1 "C:MAIL FROM:<", "C:RCPT TO:<", "C:DATA", "S:250 ok\r\n250 ok\r\n354 go\r\n", "D", "S:250 2.0.0 taken\r\n"
#define SOURCE_33 "posthorn.source { name='ip-1', source_address='127.0.0.33' }\n" \
	"posthorn.pool { name='pool-a', entries={ {name='ip-1'} } }\n"

static const struct mail to_example = { .domain = "dest.example", .rcpts = { "a@dest.example" } };
static const struct dns_row dest_1[] = { { "dest.example", DNS_OK, NULL, "10 a.example=127.0.0.1" }, { NULL, 0, NULL,
    NULL } };

/* As after SOURCE_OUT_MS: it is out, and one connection may try. */
static void
begin_probe(struct world *w)
{
	struct source *s = TAILQ_FIRST(&w->net->sources);

	s->n_failures = 5;
	s->out_until = loop_now(w->loop) + 600000;
	s->is_probing = true;
	s->is_trying = false;
}

/* A try that ends before the connection is open, by no fault of the source, is not the last one. */
static void
probe_again(const script *scripts, const char *main_cf)
{
	struct world *w = world_new();
	struct msgid id;

	peer_new(w, 1, scripts, 2);
	world_start(w, main_cf, SOURCE_33, dest_1);
	begin_probe(w);
	id = world_mail(w, &to_example);
	world_run(w, 1);
	assert_int_equal(world_result(w, &id, 0)->outcome, QL_FAILED);
	id = world_mail(w, &to_example);
	world_run(w, 2);
	assert_int_equal(world_result(w, &id, 0)->outcome, QL_DELIVERED);
	assert_int_equal(TAILQ_FIRST(&w->net->sources)->out_until, 0);
	world_free(w);
}

static void
test_probe_refused(void **state UNUSED)
{
	static const script refuses[] = { { "S:554 not you\r\n", "X" }, { HELLO, TX1 } };
	static const script hangs_up[] = { { "X" }, { HELLO, TX1 } };
	static const script is_silent[] = { { "C:never" }, { HELLO, TX1 } };

	probe_again(refuses, NULL);
	probe_again(hangs_up, NULL);
	probe_again(is_silent, "smtp_banner_timeout = 1s\n");
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_probe_refused),
	};

	log_init("test", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
