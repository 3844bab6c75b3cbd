/* Where deliverd's mail goes and from where: hosts, fallback, sources, limits, queued's and the resolver's absence,
 * reload, stop. */
#include "deliverd_world.h"

#define HELLO "S:220 peer ESMTP\r\n", "C:EHLO", "S:250-peer\r\n250 PIPELINING\r\n"
#define TX1 "C:MAIL FROM:<", "C:RCPT TO:<", "C:DATA", "S:250 ok\r\n250 ok\r\n354 go\r\n", "D", "S:250 2.0.0 taken\r\n"
#define TX5 TX1, TX1, TX1, TX1, TX1

static const script good[] = { { HELLO, TX5 } };
static const script busy[] = { { "S:421 4.3.2 busy\r\n", "X" } };
static const struct mail to_example = { .domain = "dest.example", .rcpts = { "a@dest.example" } };

struct row {
	const char *name;
	const char *main_cf, *policy;
	struct dns_row dns;
	const char *domain; /* NULL: dest.example */
	int outcome, code;
	const char *status;
	int phase, is_local;
	const char *peer;   /* address that took it; NULL: not checked */
	uint32_t retry_after;
};

/* 127.0.0.1 takes mail, 127.0.0.2 is busy, nobody listens at 127.0.0.9. Sources are never the peers' addresses. */
static const struct row rows[] = {
	{ "first host", NULL, NULL, { "dest.example", DNS_OK, NULL, "10 a.example=127.0.0.1;20 b.example=127.0.0.2" },
	    NULL,
	    QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, "127.0.0.1", 0 },
	{ "first host has no address", NULL, NULL, { "dest.example", DNS_OK, NULL,
	    "10 a.example=;20 b.example=127.0.0.1" }, NULL,
	    QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, "127.0.0.1", 0 },
	{ "first host refuses the connection", NULL, NULL, { "dest.example", DNS_OK, NULL,
	    "10 a.example=127.0.0.9;20 b.example=127.0.0.1" },
	    NULL, QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, "127.0.0.1", 0 },
	{ "first host is busy", NULL, NULL, { "dest.example", DNS_OK, NULL,
	    "10 a.example=127.0.0.2;20 b.example=127.0.0.1" }, NULL,
	    QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, "127.0.0.1", 0 },
	{ "second address", NULL, NULL, { "dest.example", DNS_OK, NULL, "10 a.example=127.0.0.2,127.0.0.9,127.0.0.1" },
	    NULL,
	    QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, "127.0.0.1", 0 },
	{ "nobody there", NULL, NULL, { "dest.example", DNS_OK, NULL, "10 a.example=127.0.0.9" }, NULL,
	    QL_FAILED, 451, "4.4.1", PHASE_CONNECT, 1, NULL, 0 },
	{ "what a peer said is kept", NULL, NULL, { "dest.example", DNS_OK, NULL,
	    "10 a.example=127.0.0.2;20 b.example=127.0.0.9" }, NULL,
	    QL_FAILED, 421, "4.3.2", PHASE_BANNER, 0, NULL, 0 },
	{ "address limit", "smtp_address_limit = 1\n", NULL,
	    { "dest.example", DNS_OK, NULL, "10 a.example=127.0.0.9;20 b.example=127.0.0.1" }, NULL,
	    QL_FAILED, 451, "4.4.1", PHASE_CONNECT, 1, NULL, 0 },

	{ "no such domain", NULL, NULL, { "dest.example", DNS_NXDOMAIN, "no such domain", NULL }, NULL,
	    QL_FAILED, 550, "5.1.2", PHASE_DNS, 1, NULL, 0 },
	{ "null MX", NULL, NULL, { "dest.example", DNS_NULL_MX, "null MX", NULL }, NULL, QL_FAILED, 556, "5.1.10",
	    PHASE_DNS, 1, NULL, 0 },
	{ "no address", NULL, NULL, { "dest.example", DNS_NO_ADDRESS, "none", NULL }, NULL, QL_FAILED, 550, "5.4.4",
	    PHASE_DNS, 1, NULL, 0 },
	{ "server failure", NULL, NULL, { "dest.example", DNS_TEMPORARY, "SERVFAIL", NULL }, NULL,
	    QL_FAILED, 451, "4.4.3", PHASE_DNS, 1, NULL, 0 },
	{ "no answer", "dns_timeout = 1s\n", NULL, { "dest.example", 0, NULL, NULL }, NULL, QL_FAILED, 451, "4.4.3",
	    PHASE_DNS, 1, NULL, 0 },
	{ "internationalised", NULL, NULL, { "xn--bcher-kva.example", DNS_OK, NULL, "10 a.example=127.0.0.1" },
	    "b\xc3\xbc" "cher.example",
	    QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, "127.0.0.1", 0 },
	{ "not a domain", NULL, NULL, { NULL, 0, NULL, NULL }, "a..b", QL_FAILED, 550, "5.1.2", PHASE_DNS, 1, NULL, 0 },
	{ "not a literal", NULL, NULL, { NULL, 0, NULL, NULL }, "[tag:x]", QL_FAILED, 550, "5.1.2", PHASE_DNS, 1, NULL,
	    0 },

	{ "ourselves by name", NULL, NULL, { "dest.example", DNS_OK, NULL, "10 MAIL.example=127.0.0.1" }, NULL,
	    QL_FAILED, 550, "5.4.6", PHASE_DNS, 1, NULL, 0 },
	{ "ourselves and worse ones", NULL, NULL, { "dest.example", DNS_OK, NULL,
	    "10 mail.example=127.0.0.1;10 c.example=127.0.0.1;"
	    "20 b.example=127.0.0.1" }, NULL, QL_FAILED, 550, "5.4.6", PHASE_DNS, 1, NULL, 0 },
	{ "better than ourselves", NULL, NULL, { "dest.example", DNS_OK, NULL,
	    "10 b.example=127.0.0.1;20 mail.example=127.0.0.2" }, NULL,
	    QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, "127.0.0.1", 0 },
	{ "ourselves by address", NULL, "kumo.on('get_egress_path_config', function() return { smtp_port = 25 } end)\n",
	    { "dest.example", DNS_OK, NULL, "10 b.example=127.0.0.33" }, NULL,
	    QL_FAILED, 550, "5.4.6", PHASE_DNS, 1, NULL, 0 },
	{ "ourselves as a literal", NULL,
	    "kumo.on('get_egress_path_config', function() return { smtp_port = 25 } end)\n",
	    { NULL, 0, NULL, NULL }, "[127.0.0.33]", QL_FAILED, 550, "5.4.6", PHASE_DNS, 1, NULL, 0 },
	{ "prohibited", "prohibited_hosts = 127.0.0.0/8\n", NULL, { "dest.example", DNS_OK, NULL,
	    "10 a.example=127.0.0.1" }, NULL,
	    QL_FAILED, 550, "5.4.4", PHASE_DNS, 1, NULL, 0 },
	{ "prohibited is skipped", "prohibited_hosts = 127.0.0.9/32\n", NULL,
	    { "dest.example", DNS_OK, NULL, "10 a.example=127.0.0.9;20 b.example=127.0.0.1" }, NULL,
	    QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, "127.0.0.1", 0 },
	{ "prohibited literal", "prohibited_hosts = 127.0.0.0/8\n", NULL, { NULL, 0, NULL, NULL }, "[127.0.0.1]",
	    QL_FAILED, 550, "5.4.4", PHASE_DNS, 1, NULL, 0 },
	{ "no family in common", NULL, NULL, { "dest.example", DNS_OK, NULL, "10 a.example=2001:db8::1" }, NULL,
	    QL_FAILED, 451, "4.4.4", PHASE_CONNECT, 1, NULL, 0 },
	{ "the family of the source", NULL, NULL, { "dest.example", DNS_OK, NULL,
	    "10 a.example=2001:db8::1;20 b.example=127.0.0.1" }, NULL,
	    QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, "127.0.0.1", 0 },

	{ "relayhost literal", "relayhost = [127.0.0.1]\nprohibited_hosts = 127.0.0.0/8\n", NULL, { NULL, 0, NULL,
	    NULL }, NULL,
	    QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, "127.0.0.1", 0 },
	{ "relayhost by MX", "relayhost = relay.example\n", NULL, { "relay.example", DNS_OK, NULL,
	    "10 a.example=127.0.0.1" }, NULL,
	    QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, "127.0.0.1", 0 },
	{ "relayhost gone", "relayhost = relay.example\n", NULL, { "relay.example", DNS_NXDOMAIN, "no such domain",
	    NULL }, NULL,
	    QL_FAILED, 451, "4.4.4", PHASE_DNS, 1, NULL, 0 },
	{ "policy fails", NULL, "kumo.on('get_egress_path_config', function() error('oops') end)\n",
	    { "dest.example", DNS_OK, NULL, "10 a.example=127.0.0.1" }, NULL, QL_FAILED, 451, "4.3.5", PHASE_NONE, 1,
	    NULL, 0 },
	{ "policy prohibits", NULL, "kumo.on('get_egress_path_config', function(domain, source, site)\n"
	    "  assert(domain == 'dest.example' and source == 'ip-1' and site == 'a.example')\n"
	    "  return { prohibited_hosts = { '127.0.0.1' } } end)\n", { "dest.example", DNS_OK, NULL,
	    "10 a.example=127.0.0.1" }, NULL,
	    QL_FAILED, 550, "5.4.4", PHASE_DNS, 1, NULL, 0 },
};

#define SOURCE_33 "posthorn.source { name='ip-1', source_address='127.0.0.33' }\n" \
	"posthorn.pool { name='pool-a', entries={ {name='ip-1'} } }\n"

static void
run_row(const struct row *row)
{
	const struct dns_row dns[] = { row->dns, { NULL, 0, NULL, NULL } };
	struct mail m = to_example;
	struct world *w = world_new();
	const struct ql_result *r;
	char status[16], policy[1024];
	struct msgid id;

	peer_new(w, 1, good, 1);
	peer_new(w, 2, busy, 1);
	snprintf(policy, sizeof(policy), "%s%s", SOURCE_33, row->policy != NULL ? row->policy : "");
	world_start(w, row->main_cf, policy, row->dns.name != NULL ? dns : NULL);
	m.domain = row->domain != NULL ? row->domain : m.domain;
	id = world_mail(w, &m);
	world_run(w, 1);
	r = world_result(w, &id, 0);
	enhanced_format(&r->enhanced, status);
	if (r->outcome != row->outcome || r->code != row->code || strcmp(status, row->status) != 0 ||
	    r->phase != row->phase ||
	    r->is_local != row->is_local || r->retry_after != row->retry_after)
		fail_msg("%s: outcome %d code %d status %s phase %s local %d text '%s'", row->name, r->outcome, r->code,
		    status,
		    phase_names[r->phase], r->is_local, r->text);
	if (row->peer != NULL) {
		assert_string_equal(r->peer_addr, row->peer);
		assert_int_equal(strncmp(r->source_address, "127.0.0.33:", 11), 0);
	}
	world_free(w);
}

static void
test_rows(void **state UNUSED)
{
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		print_message("# %s\n", rows[i].name);
		run_row(&rows[i]);
	}
}

static const struct dns_row dest_1[] = { { "dest.example", DNS_OK, NULL, "10 a.example=127.0.0.1" }, { NULL, 0, NULL,
    NULL } };

/* Preference is kept, hosts of one preference come in any order, what failed lately comes last. */
static void
test_plan(void **state UNUSED)
{
	struct world *w = world_new();
	struct mx_list *mx = make_hosts(MX_RECORDS,
	    "10 a.example=127.0.0.1;10 b.example=127.0.0.2;20 c.example=127.0.0.3");
	unsigned i, a_first = 0;
	struct site *site;
	struct path *p;
	struct plan *plan;
	struct outcome why;
	char *err;

	world_start(w, NULL, SOURCE_33, NULL);
	site = site_get(w->net, mx, NULL);
	p = path_get(site, TAILQ_FIRST(&w->net->sources), "dest.example");
	assert_int_equal(path_configure(p, &err), 0);
	for (i = 0; i < 200; i++) {
		plan = plan_new(p, &why);
		assert_non_null(plan);
		assert_int_equal(plan->n, 3);
		assert_string_equal(plan->v[2].host->name, "c.example");
		a_first += plan->v[0].host->name[0] == 'a';
		plan_free(&plan);
	}
	assert_in_range(a_first, 50, 150);
	mx->hosts[0].addrs[0].bad_until = loop_now(w->loop) + 1000;
	plan = plan_new(p, &why);
	assert_string_equal(plan->v[0].host->name, "b.example");
	assert_string_equal(plan->v[2].host->name, "a.example");
	plan_free(&plan);
	mx_list_unref(&mx);
	site_unref(&site);
	world_free(w);
}

/* We are the second host, and the policy does not name the first: that is for the domain's owner to put right, and no
 * loop. */
static void
test_plan_forbidden(void **state UNUSED)
{
	struct world *w = world_new();
	struct mx_list *mx = make_hosts(MX_RECORDS, "10 a.example=127.0.0.1;20 mail.example=127.0.0.2");
	struct outcome why;
	struct site *site;
	struct path *p;
	char *err;

	world_start(w, NULL, SOURCE_33, NULL);
	mx->hosts[0].sts = MX_STS_ENFORCE_NOT;
	mx->hosts[1].sts = MX_STS_ENFORCE;
	site = site_get(w->net, mx, NULL);
	p = path_get(site, TAILQ_FIRST(&w->net->sources), "dest.example");
	assert_int_equal(path_configure(p, &err), 0);
	assert_null(plan_new(p, &why));
	assert_int_equal(why.code, 451);
	assert_true(why.is_forbidden);
	mx_list_unref(&mx);
	site_unref(&site);
	world_free(w);
}

static unsigned
count_source(const struct world *w, const char *name)
{
	unsigned i, n = 0;

	for (i = 0; i < w->n_results; i++)
		n += w->results[i].source != NULL && strcmp(w->results[i].source, name) == 0;
	return n;
}

static void
test_weights(void **state UNUSED)
{
	struct world *w = world_new();
	unsigned i;

	peer_new(w, 1, good, 1);
	world_start(w, "smtp_deliveries_per_connection = 5\n",
	    "posthorn.source { name='x', source_address='127.0.0.41' }\n"
	    "posthorn.source { name='y', source_address='127.0.0.42' }\n"
	    "posthorn.pool { name='pool-a', entries={ {name='x', weight=3}, {name='y'} } }\n", dest_1);
	for (i = 0; i < 40; i++)
		world_mail(w, &to_example);
	world_run(w, 40);
	for (i = 0; i < 40; i++)
		assert_int_equal(w->results[i].outcome, QL_DELIVERED);
	assert_int_equal(count_source(w, "x"), 30);
	assert_int_equal(count_source(w, "y"), 10);
	world_free(w);
}

/* 192.0.2.0/24 is nobody's address: its mail leaves from the other source of the pool, or not at all. */
static void
test_source_not_here(void **state UNUSED)
{
	struct world *w = world_new();
	unsigned i;

	peer_new(w, 1, good, 1);
	world_start(w, NULL, "posthorn.source { name='x', source_address='192.0.2.41' }\n"
	    "posthorn.source { name='y', source_address='127.0.0.42' }\n"
	    "posthorn.pool { name='pool-a', entries={ {name='x', weight=9}, {name='y'} } }\n", dest_1);
	for (i = 0; i < 4; i++)
		world_mail(w, &to_example);
	world_run(w, 4);
	assert_int_equal(count_source(w, "y"), 4);
	for (i = 0; i < 4; i++)
		assert_int_equal(w->results[i].outcome, QL_DELIVERED);
	world_free(w);

	w = world_new();
	peer_new(w, 1, good, 1);
	world_start(w, NULL, "posthorn.source { name='x', source_address='192.0.2.41' }\n"
	    "posthorn.pool { name='pool-a', entries={ {name='x'} } }\n", dest_1);
	world_mail(w, &to_example);
	world_run(w, 1);
	assert_int_equal(w->results[0].outcome, QL_RETURNED);
	assert_true(w->results[0].retry_after > 0);
	assert_int_equal(w->peers[0]->n_conns, 0);
	world_free(w);
}

/* A source that loses its address while in use. */
static void
test_source_lost(void **state UNUSED)
{
	struct world *w = world_new();
	struct source *s;

	peer_new(w, 1, good, 1);
	world_start(w, NULL, "posthorn.source { name='x', source_address='127.0.0.41' }\n"
	    "posthorn.source { name='y', source_address='127.0.0.42' }\n"
	    "posthorn.pool { name='pool-a', entries={ {name='x', weight=5}, {name='y'} } }\n", dest_1);
	s = TAILQ_FIRST(&w->net->sources);
	assert_string_equal(s->name, "x");
	assert_int_equal(sockaddr_parse("192.0.2.41", 0, &s->sa, &s->salen), 0);
	world_mail(w, &to_example);
	world_mail(w, &to_example);
	world_run(w, 2);
	assert_int_equal(count_source(w, "y"), 2);
	assert_int_equal(w->results[0].outcome, QL_DELIVERED);
	world_free(w);
}

/* One connection attempt that fails does not take the mail with it while another connection works. */
static void
test_healthy_path(void **state UNUSED)
{
	static const script scripts[] = { { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "W:600",
	    "S:250 ok\r\n250 ok\r\n354 go\r\n", "D",
	    "S:250 2.0.0 slow\r\n", TX5, TX5 }, { "S:421 too many connections\r\n", "X" } };
	struct world *w = world_new();
	struct mail m = to_example;
	unsigned i;

	peer_new(w, 1, scripts, 2);
	world_start(w, NULL, SOURCE_33, dest_1);
	world_mail(w, &m);
	world_wait(w, 100); /* the first connection is at work */
	for (i = 0; i < 5; i++)
		world_mail(w, &m);
	world_run(w, 6);
	for (i = 0; i < 6; i++)
		assert_int_equal(w->results[i].outcome, QL_DELIVERED);
	assert_true(w->peers[0]->n_conns >= 2);
	world_free(w);
}

/* Everything that waits for a connection fails when no host takes one, each envelope once. */
static void
test_dead_path(void **state UNUSED)
{
	static const struct dns_row dns[] = { { "dest.example", DNS_OK, NULL,
	    "10 a.example=127.0.0.9;20 b.example=127.0.0.2" },
	    { NULL, 0, NULL, NULL } };
	struct world *w = world_new();
	unsigned i;

	peer_new(w, 2, busy, 1);
	world_start(w, NULL, SOURCE_33, dns);
	for (i = 0; i < 100; i++)
		world_mail(w, &to_example);
	world_run(w, 100);
	for (i = 0; i < 100; i++) {
		assert_int_equal(w->results[i].outcome, QL_FAILED);
		assert_int_equal(w->results[i].code, 421);
	}
	assert_int_equal(w->net->n_items, 0);
	assert_true(w->peers[0]->n_conns <= 10);
	world_free(w);
}

static void
test_limits(void **state UNUSED)
{
	static const script one[] = { { HELLO, TX1, "C:QUIT", "W:50", "S:221 bye\r\n", "X" } };
	struct world *w = world_new();
	unsigned i;

	peer_new(w, 1, one, 1);
	world_start(w, "smtp_connection_limit = 1\nsmtp_deliveries_per_connection = 1\ndeliverd_credit = 64\n",
	    SOURCE_33, dest_1);
	for (i = 0; i < 5; i++)
		world_mail(w, &to_example);
	world_run(w, 5);
	assert_int_equal(w->peers[0]->n_conns, 5);
	assert_int_equal(w->peers[0]->max_open, 1); /* one that was said QUIT on is one still */
	assert_int_equal(peer_count(w->peers[0], "MISMATCH"), 0);
	for (i = 0; i < 5; i++)
		assert_int_equal(w->results[i].outcome, QL_DELIVERED);
	/* what was granted comes back, in portions */
	for (i = 0; i < 500 && w->credit < 64 + 3; i++)
		world_wait(w, 10);
	assert_in_range(w->credit, 64 + 3, 64 + 5);
	assert_int_equal(w->n_asked, 1);
	world_free(w);
}

static void
send_cancel(struct world *w, const struct msgid *id)
{
	struct envid env = { *id, 0 };
	struct wbuf b;

	wbuf_init(&b);
	ql_envid_encode(&env, &b);
	ipc_send(w->consumer, QL_CANCEL, 0, &b, -1);
	wbuf_clear(&b);
}

/* What waits is given back at once, what is being sent is not. */
static void
test_cancel(void **state UNUSED)
{
	static const struct dns_row dns[] = { { "dest.example", 0, NULL, NULL }, { NULL, 0, NULL, NULL } };
	static const script slow[] = { { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "W:300",
	    "S:250 ok\r\n250 ok\r\n354 go\r\n", "D", "S:250 ok\r\n" } };
	struct mail m = { .domain = "[127.0.0.1]", .rcpts = { "a@[127.0.0.1]" } };
	struct world *w = world_new();
	struct msgid id;

	peer_new(w, 1, slow, 1);
	world_start(w, "smtp_connection_limit = 1\n", SOURCE_33, dns);
	id = world_mail(w, &to_example);
	send_cancel(w, &id);
	world_run(w, 1);
	assert_int_equal(w->results[0].outcome, QL_RETURNED);
	id = world_mail(w, &m);
	world_wait(w, 100);
	send_cancel(w, &id);
	world_run(w, 2);
	assert_int_equal(w->results[1].outcome, QL_DELIVERED);
	world_free(w);
}

/* queued goes away and comes back: what is held is named, what was finished meanwhile is reported then. */
static void
test_queued_restart(void **state UNUSED)
{
	static const script slow[] = { { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "W:300",
	    "S:250 ok\r\n250 ok\r\n354 go\r\n", "D", "S:250 ok\r\n",
	    "C:MAIL", "C:RCPT", "C:DATA", "W:600", "S:250 ok\r\n250 ok\r\n354 go\r\n", "D", "S:250 ok\r\n", "W:50" } };
	struct world *w = world_new();
	struct msgid id[2];

	peer_new(w, 1, slow, 1);
	world_start(w, "smtp_connection_limit = 1\n", SOURCE_33, dest_1);
	id[0] = world_mail(w, &to_example);
	id[1] = world_mail(w, &to_example);
	world_wait(w, 100);
	ipc_close(&w->consumer);
	ipc_server_free(&w->server);
	world_wait(w, 400);
	assert_int_equal(w->n_results, 0);
	assert_int_equal(w->net->n_items, 1);
	world_listen(w);
	world_run(w, 2);
	assert_int_equal(w->n_hello, 2);
	assert_int_equal(w->n_held, 2);
	assert_int_equal(world_result(w, &id[0], 0)->outcome, QL_DELIVERED);
	assert_int_equal(world_result(w, &id[1], 0)->outcome, QL_DELIVERED);
	assert_int_equal(peer_count(w->peers[0], "MAIL FROM"), 2);
	world_free(w);
}

/* A result that queued may have lost with its last commit is said again. */
static void
test_said_again(void **state UNUSED)
{
	struct world *w = world_new();
	struct msgid id;

	peer_new(w, 1, good, 1);
	world_start(w, NULL, SOURCE_33, dest_1);
	id = world_mail(w, &to_example);
	world_run(w, 1);
	ql_result_clear(&w->results[0]);
	w->n_results = 0;
	ipc_close(&w->consumer);
	world_run(w, 1);
	assert_int_equal(world_result(w, &id, 0)->outcome, QL_DELIVERED);
	assert_int_equal(peer_count(w->peers[0], "MAIL FROM"), 1);
	world_free(w);
}

/* The dns role's death does not fail what was asked, unless it dies of it again. */
static void
test_dns_death(void **state UNUSED)
{
	static const struct dns_row dns[] = { { "dest.example", 0, NULL, NULL }, { NULL, 0, NULL, NULL } };
	struct world *w = world_new();
	unsigned i;

	world_start(w, NULL, SOURCE_33, dns);
	world_mail(w, &to_example);
	for (i = 0; i < 2; i++) {
		world_wait(w, 100);
		assert_int_equal(w->n_results, 0);
		assert_int_equal(w->n_asked, i + 1);
		ipc_close(&w->dns);
		world_wait(w, 50);
		if (i == 0) {
			assert_int_equal(w->n_results, 0);
			world_new_dns(w);
		}
	}
	world_run(w, 1);
	assert_int_equal(w->results[0].code, 451);
	world_free(w);
}

/* A source that a reload takes away sends nothing more; its waiting mail leaves from the others. */
static void
test_reload(void **state UNUSED)
{
	static const script slow[] = { { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "W:300",
	    "S:250 ok\r\n250 ok\r\n354 go\r\n", "D", "S:250 ok\r\n",
	    "C:QUIT" }, { HELLO, TX5 } };
	struct world *w = world_new();
	struct msgid id[4];

	peer_new(w, 1, slow, 2);
	world_start(w, "smtp_connection_limit = 1\n", "posthorn.source { name='x', source_address='127.0.0.41' }\n"
	    "posthorn.pool { name='pool-a', entries={ {name='x'} } }\n", dest_1);
	id[0] = world_mail(w, &to_example);
	id[1] = world_mail(w, &to_example);
	world_wait(w, 100);
	write_config(w, "nonsense = 1\n", "posthorn.source { name='x' }");
	net_reload(w->net); /* has errors: nothing changes */
	assert_int_equal(w->net->generation, 1);
	write_config(w, NULL, "posthorn.source { name='y', source_address='127.0.0.42', ehlo_domain='y.example' }\n"
	    "posthorn.pool { name='pool-a', entries={ {name='y'} } }\n");
	net_reload(w->net);
	world_run(w, 2);
	assert_int_equal(w->digest, config_digest(w->dir));
	assert_string_equal(world_result(w, &id[0], 0)->source, "x");
	/* it had been chosen by the rules of before: back, to be routed again */
	assert_int_equal(world_result(w, &id[1], 0)->outcome, QL_RETURNED);
	id[3] = world_mail(w, &to_example);
	world_run(w, 3);
	assert_string_equal(world_result(w, &id[3], 0)->source, "y");
	assert_int_equal(strncmp(world_result(w, &id[3], 0)->source_address, "127.0.0.42:", 11), 0);
	assert_int_equal(peer_count(w->peers[0], "EHLO y.example"), 1);
	/* the pool goes: its mail is handed back */
	write_config(w, NULL, "posthorn.source { name='z', source_address='127.0.0.43' }\n"
	    "posthorn.pool { name='pool-z', entries={ {name='z'} } }\n");
	net_reload(w->net);
	id[2] = world_mail(w, &to_example);
	world_run(w, 4);
	assert_int_equal(world_result(w, &id[2], 0)->outcome, QL_RETURNED);
	world_free(w);
}

/* A connection that has not been greeted when the configuration changes says the name that it was made with. */
static void
test_reload_greeting(void **state UNUSED)
{
	static const script late[] = { { "W:300", "S:220 hi\r\n", "C:EHLO", "S:250 hi\r\n", "C:QUIT" }, { HELLO, TX1,
	    "C:QUIT" } };
	const char *before = "posthorn.source { name='x', source_address='127.0.0.41' }\n"
	    "posthorn.pool { name='pool-a', entries={ {name='x'} } }\n";
	struct world *w = world_new();
	struct msgid id[2];

	peer_new(w, 1, late, 2);
	world_start(w, NULL, before, dest_1);
	id[0] = world_mail(w, &to_example);
	world_wait(w, 100);
	write_config(w, "smtp_helo_timeout = 7s\n", before);
	net_reload(w->net);
	world_run(w, 1);
	assert_int_equal(world_result(w, &id[0], 0)->outcome, QL_RETURNED);
	world_wait(w, 400);
	assert_int_equal(peer_count(w->peers[0], "EHLO mail.example\r\n"), 1);
	id[1] = world_mail(w, &to_example);
	world_run(w, 2);
	assert_int_equal(world_result(w, &id[1], 0)->outcome, QL_DELIVERED);
	world_free(w);
}

/* A reload that takes the password away, while the server thinks about it: what it says then is no news of ours. */
static void
test_reload_password(void **state UNUSED)
{
	static const script asks[] = { { "S:220 hi\r\n", "C:EHLO", "S:250-hi\r\n250 AUTH PLAIN\r\n", "C:AUTH PLAIN",
	    "W:300", "S:535 5.7.8 no: AHNjb3R0AHRpZ2Vy\r\n", "C:QUIT" }, { HELLO, TX1, "C:QUIT" } };
	struct world *w = world_new();
	const struct ql_result *r;
	struct msgid id[2];

	peer_new(w, 1, asks, 2);
	world_start(w, NULL, SOURCE_33 "kumo.on('get_egress_path_config', function() return {\n"
	    "  smtp_auth_plain_username = 'scott', smtp_auth_plain_password = { key_data = 'tiger' },\n"
	    "  allow_smtp_auth_plain_without_tls = true } end)\n", dest_1);
	id[0] = world_mail(w, &to_example);
	while (peer_count(w->peers[0], "AUTH PLAIN AHNjb3R0AHRpZ2Vy\r\n") == 0)
		world_wait(w, 10);
	write_config(w, NULL, SOURCE_33);
	net_reload(w->net);
	world_run(w, 1);
	r = world_result(w, &id[0], 0);
	assert_int_equal(r->outcome, QL_RETURNED);
	id[1] = world_mail(w, &to_example); /* for which the path is set up anew */
	world_run(w, 2);
	assert_int_equal(world_result(w, &id[1], 0)->outcome, QL_DELIVERED);
	while (w->net->n_conns > 1) /* until the reply */
		world_wait(w, 10);
	assert_null(strstr(TAILQ_FIRST(&w->net->conns)->path->last_text, "AHNj"));
	world_free(w);
}

/* The same hosts for two domains, that are told apart by what vouches for the hosts, are one server to be spared. */
static void
test_twin_sites(void **state UNUSED)
{
	static const struct dns_row dns[] = { { "one.example", DNS_OK, NULL, "10 a.example=127.0.0.1" },
	    { "two.example", DNS_OK, NULL, "!10 a.example=127.0.0.1" }, { NULL, 0, NULL, NULL } };
	static const script one[] = { { HELLO, TX1, "C:QUIT", "W:50", "S:221 bye\r\n", "X" } };
	static const struct mail to[] = { { .domain = "one.example", .rcpts = { "a@one.example" } },
	    { .domain = "two.example", .rcpts = { "a@two.example" } } };
	struct world *w = world_new();
	unsigned i;

	peer_new(w, 1, one, 1);
	world_start(w, "smtp_connection_limit = 1\nsmtp_deliveries_per_connection = 1\n", SOURCE_33, dns);
	for (i = 0; i < 8; i++)
		world_mail(w, &to[i % 2]);
	world_run(w, 8);
	for (i = 0; i < 8; i++)
		assert_int_equal(w->results[i].outcome, QL_DELIVERED);
	assert_int_equal(w->peers[0]->max_open, 1);
	world_free(w);
}

/* Sets of hosts whose names make the same pattern are different sites, with a port of their own too. */
static void
test_port_sites(void **state UNUSED)
{
	static const struct dns_row dns[] = {
	    { "one.example", DNS_OK, NULL, "10 a.c.example=127.0.0.1;20 b.d.example=127.0.0.1" },
	    { "two.example", DNS_OK, NULL, "10 a.d.example=127.0.0.2;20 b.c.example=127.0.0.2" },
	    { NULL, 0, NULL, NULL } };
	struct mail to_one = { .rcpts = { "a@one.example" } }, to_two = { .rcpts = { "a@two.example" } };
	struct world *w = world_new();
	char one[32], two[32];
	unsigned i;

	peer_new(w, 1, good, 1);
	peer_new(w, 2, good, 1);
	snprintf(one, sizeof(one), "one.example:%u", w->port);
	snprintf(two, sizeof(two), "two.example:%u", w->port);
	to_one.domain = one;
	to_two.domain = two;
	world_start(w, NULL, SOURCE_33, dns);
	for (i = 0; i < 4; i++) {
		world_mail(w, i % 2 == 0 ? &to_one : &to_two);
		world_run(w, i + 1);
		assert_int_equal(w->results[i].outcome, QL_DELIVERED);
	}
	assert_int_equal(peer_count(w->peers[0], "RCPT TO:<a@one.example>"), 2);
	assert_int_equal(peer_count(w->peers[1], "RCPT TO:<a@two.example>"), 2);
	world_free(w);
}

/* A host set that DNSSEC vouches for is another site than one that it does not, whatever else was said with it. */
static void
test_secure_sites(void **state UNUSED)
{
	static const struct {
		enum mx_kind kind;
		uint16_t port;
		const char *name;
	} kinds[] = { { MX_RECORDS, 0, NULL }, { MX_RECORDS, 2525, "a.example:2525" },
	    { MX_RELAY, 0, "dest.example" } };
	struct world *w = world_new();
	struct site *plain, *secure, *again;
	struct mx_list *mx;
	size_t i;

	world_start(w, NULL, SOURCE_33, NULL);
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		mx = make_hosts(kinds[i].kind, "10 a.example=127.0.0.1");
		mx->port = kinds[i].port;
		plain = site_get(w->net, mx, kinds[i].name);
		again = site_get(w->net, mx, kinds[i].name);
		assert_ptr_equal(again, plain);
		site_unref(&again);
		mx_list_unref(&mx);
		mx = make_hosts(kinds[i].kind, "10 a.example=127.0.0.1");
		mx->port = kinds[i].port;
		mx->is_secure = true;
		secure = site_get(w->net, mx, kinds[i].name);
		assert_ptr_not_equal(secure, plain);
		assert_string_equal(secure->name, plain->name);
		assert_false(plain->mx->is_secure);
		site_unref(&plain);
		site_unref(&secure);
		mx_list_unref(&mx);
	}
	world_free(w);
}

static void
on_stopped(struct net *net UNUSED, void *arg)
{
	struct world *w = arg;

	w->is_stopped = true;
	loop_stop(w->loop);
}

/* Content that is under way is finished, the rest handed back. */
static void
test_stop(void **state UNUSED)
{
	static const script slow[] = { { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "S:250 ok\r\n250 ok\r\n354 go\r\n", "D",
	    "W:400", "S:250 ok\r\n" } };
	struct world *w = world_new();
	struct msgid id[2];

	peer_new(w, 1, slow, 1);
	world_start(w, "smtp_connection_limit = 1\n", SOURCE_33, dest_1);
	id[0] = world_mail(w, &to_example);
	id[1] = world_mail(w, &to_example);
	world_wait(w, 150);
	net_stop(w->net, on_stopped, w);
	world_wait(w, 15000);
	assert_true(w->is_stopped);
	if (w->n_results < 2)
		world_run(w, 2);
	assert_int_equal(world_result(w, &id[0], 0)->outcome, QL_DELIVERED);
	assert_int_equal(world_result(w, &id[1], 0)->outcome, QL_RETURNED);
	world_free(w);
}

static void
test_ipv6(void **state UNUSED)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct mail m = { .domain = "[IPv6:::1]", .rcpts = { "a@[IPv6:::1]" } };
	struct world *w = world_new();
	struct msgid id;
	struct peer *p;
	int fd;

	p = peer_new(w, 1, good, 1);
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	in6.sin6_port = htons(p->port);
	if (fd == -1 || bind(fd, (struct sockaddr *)&in6, sizeof(in6)) == -1) {
		if (fd != -1)
			close(fd);
		world_start(w, NULL, SOURCE_33, NULL);
		world_free(w);
		skip(); /* this host has no IPv6 */
	}
	listen(fd, 5);
	close(p->fd);
	p->fd = fd;
	world_start(w, NULL, "posthorn.source { name='six', source_address='::1' }\n"
	    "posthorn.pool { name='pool-a', entries={ {name='six'} } }\n", NULL);
	id = world_mail(w, &m);
	world_run(w, 1);
	assert_int_equal(world_result(w, &id, 0)->outcome, QL_DELIVERED);
	assert_string_equal(world_result(w, &id, 0)->peer_addr, "::1");
	assert_int_equal(strncmp(world_result(w, &id, 0)->source_address, "[::1]:", 6), 0);
	world_free(w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_plan),
		cmocka_unit_test(test_plan_forbidden),
		cmocka_unit_test(test_weights),
		cmocka_unit_test(test_source_not_here),
		cmocka_unit_test(test_source_lost),
		cmocka_unit_test(test_healthy_path),
		cmocka_unit_test(test_dead_path),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_queued_restart),
		cmocka_unit_test(test_said_again),
		cmocka_unit_test(test_dns_death),
		cmocka_unit_test(test_reload),
		cmocka_unit_test(test_reload_greeting),
		cmocka_unit_test(test_reload_password),
		cmocka_unit_test(test_twin_sites),
		cmocka_unit_test(test_port_sites),
		cmocka_unit_test(test_secure_sites),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_ipv6),
	};

	log_init("test", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
