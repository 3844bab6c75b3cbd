/* deliverd's SMTP client against scripted peers that behave well, badly, and as an attacker would: each recipient of
 * each message gets exactly one result, and it is the right one. */
#include "deliverd_world.h"

#define GREETING "S:220 peer ESMTP\r\n", "C:EHLO ip1.example"
#define EHLO_PIPE "S:250-peer\r\n250-PIPELINING\r\n250-SIZE 10000000\r\n" \
	"250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n"
#define EHLO_PLAIN "S:250 peer\r\n"
#define HELLO GREETING, EHLO_PIPE
#define TX1 "C:MAIL FROM:<", "C:RCPT TO:<", "C:DATA", "S:250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n", "D", \
    "S:250 2.0.0 taken\r\n"

struct expect {
	int outcome;
	int code;
	const char *status; /* "5.1.1"; NULL: none */
	int phase;
	int is_local;
	const char *text;   /* within it; NULL: any */
};

struct row {
	const char *name;
	script scripts[3];
	unsigned n_scripts;
	struct mail mail;
	struct expect expect[3];
	unsigned n_conns; /* that the peer must have seen; 0: any number */
	const char *heard, *unheard; /* what the client said, or must not have said */
};

static void
check(const char *name, const struct expect *e, const struct ql_result *r)
{
	char status[16];

	enhanced_format(&r->enhanced, status);
	if (r->outcome != e->outcome || r->code != e->code || r->phase != e->phase || r->is_local != e->is_local ||
	    strcmp(status, e->status != NULL ? e->status : "0.0.0") != 0 || (e->text != NULL && strstr(r->text,
	    e->text) == NULL))
		fail_msg("%s: outcome %d code %d status %s phase %s local %d text '%s'", name, r->outcome, r->code,
		    status,
		    phase_names[r->phase], r->is_local, r->text);
}

#define TO_LOCAL .domain = "[127.0.0.1]", .rcpts = { "a@[127.0.0.1]" }
#define TO_THREE .domain = "[127.0.0.1]", .rcpts = { "a@[127.0.0.1]", "b@[127.0.0.1]", "c@[127.0.0.1]" }

static const struct row rows[] = {
	{ "pipelined", { { HELLO, TX1 } }, 1, { TO_LOCAL }, { { QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, "taken" } },
	    1,
	    "\r\nSubject: x\r\n\r\nhello\r\n.\r\n", "RSET" },
	{ "one by one", { { GREETING, EHLO_PLAIN, "C:MAIL FROM:<s@sender.example>\r\n", "S:250 ok\r\n",
	    "C:RCPT TO:<a@[127.0.0.1]>\r\n",
	    "S:250 ok\r\n", "C:DATA", "S:354 go\r\n", "D", "S:250 taken\r\n" } }, 1, { TO_LOCAL },
	    { { QL_DELIVERED, 250, NULL, PHASE_DOT, 0, "taken" } }, 1, NULL, "SIZE=" },
	{ "HELO after a refused EHLO", { { GREETING, "S:502 what?\r\n", "C:HELO ip1.example", "S:250 hi\r\n", "C:MAIL",
	    "S:250 ok\r\n",
	    "C:RCPT", "S:250 ok\r\n", "C:DATA", "S:354 go\r\n", "D", "S:250 taken\r\n" } }, 1, { TO_LOCAL },
	    { { QL_DELIVERED, 250, NULL, PHASE_DOT, 0, NULL } }, 1, NULL, NULL },
	{ "dots are stuffed", { { HELLO, TX1 } }, 1, { TO_LOCAL, .body = ".\r\n..x\r\na.b\r\n", .flags = MSG_HAS_DOTS },
	    { { QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, NULL } }, 1, "\r\n\r\n..\r\n...x\r\na.b\r\n.\r\n", NULL },
	{ "dots are stuffed whatever the flag says", { { HELLO, TX1 } }, 1, { TO_LOCAL, .body = ".\r\nQUIT\r\n" },
	    { { QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, NULL } }, 1, "\r\n\r\n..\r\nQUIT\r\n.\r\n", NULL },
	{ "no final line end", { { HELLO, TX1 } }, 1, { TO_LOCAL, .body = "end" },
	    { { QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, NULL } }, 1, "\r\nend\r\n.\r\n", NULL },
	{ "empty body", { { HELLO, TX1 } }, 1, { TO_LOCAL, .body = "" },
	    { { QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, NULL } }, 1, "Subject: x\r\n\r\n.\r\n", NULL },
	{ "a lone LF is not sent", { { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "S:250 ok\r\n250 ok\r\n354 go\r\n" } }, 1,
	    { TO_LOCAL, .body = "a\n.\nMAIL FROM:<x>\r\n" }, { { QL_FAILED, 554, "5.6.0", PHASE_DATA, 1, "lone" } }, 1,
	    NULL, "FROM:<x>" },
	{ "large content", { { HELLO, TX1 } }, 1, { TO_LOCAL, .big_body = 3 << 20, .flags = MSG_HAS_DOTS | MSG_LARGE },
	    { { QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, NULL } }, 1, "aa\r\n..aa", NULL },
	{ "large content refused in the middle", { { GREETING, "S:250-peer\r\n250-PIPELINING\r\n250 SIZE 0\r\n",
	    "C:MAIL", "C:RCPT", "C:DATA", "S:250 ok\r\n250 ok\r\n354 go\r\n", "W:50",
	    "S:452 4.3.1 full\r\n", "W:200", "X" } }, 1, { TO_LOCAL, .big_body = 30 << 20, .flags = MSG_LARGE },
	    { { QL_FAILED, 452, "4.3.1", PHASE_DATA, 0, "full" } }, 1, NULL, NULL },

	{ "MAIL parameters", { { HELLO,
	    "C:MAIL FROM:<\xc3\xa4@s.example> SIZE=306 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb\r\n",
	    "C:RCPT TO:<a@[127.0.0.1]> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+3Dy@z\r\n", "C:DATA",
	    "S:250 ok\r\n250 ok\r\n354 go\r\n", "D",
	    "S:250 ok\r\n" } }, 1, { TO_LOCAL, .sender = "\xc3\xa4@s.example", .body = "gr\xc3\xbc\r\nx\r\n", .flags =
	    MSG_8BIT | MSG_SMTPUTF8,
	    .ret = RET_HDRS, .envid = "a+b", .orcpt = "rfc822;x=y@z", .notify = NOTIFY_SUCCESS | NOTIFY_DELAY },
	    { { QL_DELIVERED, 250, NULL, PHASE_DOT, 0, NULL } }, 1, NULL, NULL },
	{ "8 bits where they are not taken", { { GREETING, EHLO_PLAIN } }, 1, { TO_LOCAL, .body = "\xc3\xbc\r\n",
	    .flags = MSG_8BIT },
	    { { QL_FAILED, 554, "5.6.3", PHASE_MAIL, 1, NULL } }, 1, NULL, "MAIL" },
	{ "SMTPUTF8 where it is not taken", { { GREETING, EHLO_PLAIN } }, 1, { TO_LOCAL, .flags = MSG_SMTPUTF8 },
	    { { QL_FAILED, 553, "5.6.7", PHASE_MAIL, 1, NULL } }, 1, NULL, "MAIL" },
	{ "larger than SIZE", { { GREETING, "S:250-peer\r\n250 SIZE 50\r\n" } }, 1, { TO_LOCAL },
	    { { QL_FAILED, 552, "5.3.4", PHASE_MAIL, 1, NULL } }, 1, NULL, "MAIL" },

	{ "some recipients refused", { { HELLO, "C:MAIL", "C:RCPT TO:<a@", "C:RCPT TO:<b@", "C:RCPT TO:<c@", "C:DATA",
	    "S:250 ok\r\n250 ok\r\n550 5.1.1 no b\r\n452 4.2.2 c is full\r\n354 go\r\n", "D",
	    "S:250 2.6.0 taken\r\n" } }, 1, { TO_THREE },
	    { { QL_DELIVERED, 250, "2.6.0", PHASE_DOT, 0, NULL }, { QL_FAILED, 550, "5.1.1", PHASE_RCPT, 0, "no b" },
	    { QL_FAILED, 452, "4.2.2", PHASE_RCPT, 0, "c is full" } }, 1, NULL, NULL },
	{ "all recipients refused, DATA accepted", { { HELLO, "C:MAIL", "C:RCPT", "C:RCPT", "C:RCPT", "C:DATA",
	    "S:250 ok\r\n550 no\r\n550 no\r\n550 no\r\n354 go\r\n", "D", "S:554 no recipients\r\n" } }, 1, { TO_THREE },
	    { { QL_FAILED, 550, NULL, PHASE_RCPT, 0, NULL }, { QL_FAILED, 550, NULL, PHASE_RCPT, 0, NULL },
	    { QL_FAILED, 550, NULL, PHASE_RCPT, 0, NULL } }, 1, "DATA\r\n.\r\n", "Subject" },
	{ "all recipients refused, DATA refused", { { HELLO, "C:MAIL", "C:RCPT", "C:DATA",
	    "S:250 ok\r\n550 no\r\n503 no\r\n" } }, 1,
	    { TO_LOCAL }, { { QL_FAILED, 550, NULL, PHASE_RCPT, 0, NULL } }, 1, NULL, "Subject" },
	{ "sender refused, pipelined", { { HELLO, "C:MAIL", "C:RCPT", "C:DATA",
	    "S:550 5.7.1 go away\r\n503 no\r\n503 no\r\n" } }, 1,
	    { TO_LOCAL }, { { QL_FAILED, 550, "5.7.1", PHASE_MAIL, 0, "go away" } }, 1, NULL, "Subject" },
	{ "sender refused, one by one", { { GREETING, EHLO_PLAIN, "C:MAIL", "S:450 later\r\n" } }, 1, { TO_LOCAL },
	    { { QL_FAILED, 450, NULL, PHASE_MAIL, 0, "later" } }, 1, NULL, "RCPT" },
	{ "DATA refused", { { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "S:250 ok\r\n250 ok\r\n451 4.3.0 no\r\n" } }, 1,
	    { TO_LOCAL },
	    { { QL_FAILED, 451, "4.3.0", PHASE_DATA, 0, NULL } }, 1, NULL, "Subject" },
	{ "refused at the end", { { HELLO, "C:MAIL", "C:RCPT", "C:RCPT", "C:RCPT", "C:DATA",
	    "S:250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n", "D",
	    "S:550-5.7.1 this is\r\n550 5.7.1 spam\r\n" } }, 1, { TO_THREE },
	    { { QL_FAILED, 550, "5.7.1", PHASE_DOT, 0, "this is\nspam" }, { QL_FAILED, 550, "5.7.1", PHASE_DOT, 0,
	    NULL },
	    { QL_FAILED, 550, "5.7.1", PHASE_DOT, 0, NULL } }, 1, NULL, NULL },

	{ "greeting 554", { { "S:554 5.7.1 listed\r\n" } }, 1, { TO_LOCAL }, { { QL_FAILED, 554, "5.7.1", PHASE_BANNER,
	    0, "listed" } },
	    1, NULL, "EHLO" },
	{ "greeting 421", { { "S:421 busy\r\n" } }, 1, { TO_LOCAL }, { { QL_FAILED, 421, NULL, PHASE_BANNER, 0,
	    "busy" } }, 1, NULL, NULL },
	{ "no greeting", { { "X" } }, 1, { TO_LOCAL }, { { QL_FAILED, 451, "4.4.2", PHASE_BANNER, 1, "greeting" } }, 1,
	    NULL, NULL },
	{ "reset instead of a greeting", { { "W:50", "R" } }, 1, { TO_LOCAL },
	    { { QL_FAILED, 451, "4.4.2", PHASE_BANNER, 1, NULL } }, 1, NULL, NULL },
	{ "slow greeting", { { "W:1500" } }, 1, { TO_LOCAL }, { { QL_FAILED, 451, "4.4.2", PHASE_BANNER, 1,
	    "timeout" } }, 1, NULL, NULL },
	{ "garbage", { { "S:HTTP/1.1 400 Bad Request\r\n" } }, 1, { TO_LOCAL },
	    { { QL_FAILED, 451, "4.4.2", PHASE_BANNER, 1, "not SMTP" } }, 1, NULL, "EHLO" },
	{ "codes that differ", { { "S:220-a\r\n250 b\r\n" } }, 1, { TO_LOCAL },
	    { { QL_FAILED, 451, "4.4.2", PHASE_BANNER, 1, "different codes" } }, 1, NULL, "EHLO" },
	{ "a line without end", { { "L" } }, 1, { TO_LOCAL }, { { QL_FAILED, 451, "4.4.2", PHASE_BANNER, 1,
	    "too long" } }, 1, NULL, "EHLO" },
	{ "a positive reply that makes no sense", { { "S:250 hm\r\n" } }, 1, { TO_LOCAL },
	    { { QL_FAILED, 451, "4.5.0", PHASE_BANNER, 1, NULL } }, 1, NULL, "EHLO" },
	{ "dropped at EHLO", { { GREETING, "X" } }, 1, { TO_LOCAL }, { { QL_FAILED, 451, "4.4.2", PHASE_EHLO, 1,
	    "EHLO" } }, 1, NULL, NULL },
	{ "421 at EHLO", { { GREETING, "S:421 4.7.0 no\r\n" } }, 1, { TO_LOCAL }, { { QL_FAILED, 421, "4.7.0",
	    PHASE_EHLO, 0, NULL } },
	    1, NULL, NULL },
	{ "dropped at MAIL on a fresh connection", { { HELLO, "C:MAIL", "X" } }, 1, { TO_LOCAL },
	    { { QL_FAILED, 451, "4.4.2", PHASE_MAIL, 1, "MAIL" } }, 1, NULL, NULL },
	{ "421 at MAIL on a fresh connection", { { HELLO, "C:MAIL", "S:421 4.7.0 slow down\r\n" } }, 1, { TO_LOCAL },
	    { { QL_FAILED, 421, "4.7.0", PHASE_MAIL, 0, "slow down" } }, 1, NULL, NULL },
	{ "dropped at RCPT", { { HELLO, "C:MAIL", "S:250 ok\r\n", "W:20", "X" } }, 1, { TO_LOCAL },
	    { { QL_FAILED, 451, "4.4.2", PHASE_RCPT, 1, "RCPT" } }, 1, NULL, NULL },
	{ "421 in the middle of recipients", { { HELLO, "C:MAIL", "C:RCPT", "C:RCPT", "C:RCPT", "C:DATA",
	    "S:250 ok\r\n550 5.1.1 no\r\n421 4.7.0 enough\r\n" } }, 1, { TO_THREE }, { { QL_FAILED, 550, "5.1.1",
	    PHASE_RCPT, 0, NULL },
	    { QL_FAILED, 421, "4.7.0", PHASE_RCPT, 0, NULL }, { QL_FAILED, 421, "4.7.0", PHASE_RCPT, 0, NULL } }, 1,
	    NULL, NULL },
	{ "dropped at DATA", { { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "S:250 ok\r\n250 ok\r\n", "W:20", "X" } }, 1,
	    { TO_LOCAL },
	    { { QL_FAILED, 451, "4.4.2", PHASE_DATA, 1, "DATA" } }, 1, NULL, NULL },
	{ "421 at DATA", { { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "S:250 ok\r\n250 ok\r\n421 4.3.2 down\r\n" } }, 1,
	    { TO_LOCAL },
	    { { QL_FAILED, 421, "4.3.2", PHASE_DATA, 0, NULL } }, 1, NULL, NULL },
	{ "dropped after the dot", { { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "S:250 ok\r\n250 ok\r\n354 go\r\n", "D",
	    "X" } }, 1,
	    { TO_LOCAL }, { { QL_FAILED, 451, "4.4.2", PHASE_DOT, 1, "end of data" } }, 1, NULL, NULL },
	{ "421 after the dot", { { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "S:250 ok\r\n250 ok\r\n354 go\r\n", "D",
	    "S:421 4.4.2 hm\r\n" } }, 1,
	    { TO_LOCAL }, { { QL_FAILED, 421, "4.4.2", PHASE_DOT, 0, NULL } }, 1, NULL, NULL },
	{ "354 after the dot", { { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "S:250 ok\r\n250 ok\r\n354 go\r\n", "D",
	    "S:354 again\r\n" } }, 1,
	    { TO_LOCAL }, { { QL_FAILED, 451, "4.5.0", PHASE_DOT, 1, NULL } }, 1, NULL, NULL },
	{ "250 instead of 354", { { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "S:250 ok\r\n250 ok\r\n250 ok\r\n" } }, 1,
	    { TO_LOCAL }, { { QL_FAILED, 451, "4.5.0", PHASE_DATA, 1, NULL } }, 1, NULL, "Subject" },
	{ "a reply of a hundred lines", { { "S:220 hi\r\n", "C:EHLO",
	    "S:250-a\r\n250-b\r\n250-c\r\n250-PIPELINING\r\n250-x\r\n250-\r\n250-\x01\r\n250 z\r\n",
	    TX1 } }, 1, { TO_LOCAL }, { { QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, NULL } }, 1, NULL, NULL },
	{ "controls in a reply", { { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "S:550 5.1.1 a\x1b[2Jb\xff"
	    "c\r\n503 x\r\n503 x\r\n" } }, 1,
	    { TO_LOCAL }, { { QL_FAILED, 550, "5.1.1", PHASE_MAIL, 0, "a?[2Jb?c" } }, 1, NULL, NULL },
};

static void
run_row(const struct row *row)
{
	struct world *w = world_new();
	struct peer *p = peer_new(w, 1, row->scripts, row->n_scripts);
	unsigned n = 0, i;
	struct msgid id;

	world_start(w, "smtp_banner_timeout = 1s\n", NULL, NULL);
	while (row->mail.rcpts[n] != NULL)
		n++;
	id = world_mail(w, &row->mail);
	world_run(w, n);
	for (i = 0; i < n; i++)
		check(row->name, &row->expect[i], world_result(w, &id, i));
	assert_int_equal(w->net->n_items, 0);
	/* the results may be there before the last words are */
	for (i = 0; i < 100 && row->heard != NULL && peer_count(p, row->heard) == 0; i++)
		world_wait(w, 20);
	if (peer_count(p, "MISMATCH") > 0)
		fail_msg("%s: the client said:\n%s", row->name, p->log);
	if (row->n_conns > 0 && p->n_conns != row->n_conns)
		fail_msg("%s: %u connections", row->name, p->n_conns);
	if (row->heard != NULL && peer_count(p, row->heard) == 0)
		fail_msg("%s: not heard: %s in\n%.2000s", row->name, row->heard, p->log);
	if (row->unheard != NULL && peer_count(p, row->unheard) > 0)
		fail_msg("%s: heard: %s in\n%.2000s", row->name, row->unheard, p->log);
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

static const struct mail simple = { TO_LOCAL };

/* One connection for three messages, RSET only after the failed one, the event log says what happened. */
static void
test_reuse(void **state UNUSED)
{
	static const script scripts[] = { { HELLO, TX1, "C:MAIL", "C:RCPT", "C:DATA",
	    "S:250 ok\r\n550 5.1.1 no\r\n503 no\r\n",
	    "C:RSET", "C:MAIL", "C:RCPT", "C:DATA", "S:250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n", "D",
	    "S:250 2.0.0 third\r\n" } };
	struct world *w = world_new();
	struct peer *p = peer_new(w, 1, scripts, 1);
	char path[128], line[8192];
	struct msgid id[3];
	unsigned i, n = 0;
	FILE *f;

	world_start(w, NULL, NULL, NULL);
	for (i = 0; i < 3; i++) {
		id[i] = world_mail(w, &simple);
		world_run(w, i + 1);
	}
	assert_int_equal(p->n_conns, 1);
	assert_int_equal(peer_count(p, "RSET"), 1);
	assert_int_equal(peer_count(p, "MISMATCH"), 0);
	assert_int_equal(world_result(w, &id[1], 0)->outcome, QL_FAILED);
	assert_int_equal(world_result(w, &id[2], 0)->outcome, QL_DELIVERED);
	assert_string_equal(world_result(w, &id[2], 0)->site, "ip-1->[127.0.0.1]");
	assert_string_equal(world_result(w, &id[2], 0)->peer_addr, "127.0.0.1");
	assert_true(world_result(w, &id[2], 0)->timing.queue >= 1400);
	snprintf(path, sizeof(path), "%s/events", w->dir);
	f = fopen(path, "r");
	while (fgets(line, sizeof(line), f) != NULL) {
		n++;
		assert_non_null(strstr(line, "\"type\":\"Delivery\""));
		assert_non_null(strstr(line, "\"site\":\"ip-1->[127.0.0.1]\""));
		assert_non_null(strstr(line, "\"egress_pool\":\"pool-a\""));
		assert_non_null(strstr(line, "\"tenant\":\"tenant\""));
	}
	fclose(f);
	assert_int_equal(n, 2);
	world_free(w);
}

/* The peer closed, or said 421, while or because we were idle: the message goes out on a fresh connection and counts
 * nothing. */
static void
test_dead_reuse(void **state UNUSED)
{
	static const script scripts[] = { { HELLO, TX1, "C:MAIL", "X" },
	    { HELLO, TX1, "C:MAIL", "C:RCPT", "C:DATA", "S:421 4.7.0 enough for one connection\r\n", "X" },
	    { HELLO, TX1, "C:MAIL", "S:250 ok\r\n", "W:20", "X" } };
	struct world *w = world_new();
	struct peer *p = peer_new(w, 1, scripts, 3);
	struct msgid id[4];
	unsigned i;

	world_start(w, NULL, NULL, NULL);
	for (i = 0; i < 4; i++) {
		id[i] = world_mail(w, &simple);
		world_run(w, i + 1);
	}
	for (i = 0; i < 3; i++)
		assert_int_equal(world_result(w, &id[i], 0)->outcome, QL_DELIVERED);
	/* here MAIL had been answered: that is an attempt */
	assert_int_equal(world_result(w, &id[3], 0)->outcome, QL_FAILED);
	assert_int_equal(p->n_conns, 3);
	world_free(w);
}

/* Recipients of one message, from two jobs, leave in one transaction up to the limit; each keeps its own result. */
static void
test_combine(void **state UNUSED)
{
	static const script scripts[] = { { HELLO, "C:MAIL", "C:RCPT TO:<a@", "C:RCPT TO:<b@", "C:DATA",
	    "S:250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n", "D", "S:250 one\r\n", "C:MAIL", "C:RCPT TO:<c@", "C:DATA",
	    "S:250 ok\r\n250 ok\r\n354 go\r\n", "D", "S:250 two\r\n" } };
	static const struct dns_row dns[] = { { "one.example", DNS_OK, NULL, "10 mx.example=127.0.0.1" },
	    { "two.example", DNS_OK, NULL, "10 mx.example=127.0.0.1" }, { NULL, 0, NULL, NULL } };
	static const struct mail one = { .domain = "one.example", .rcpts = { "a@one.example", "b@two.example",
	    "c@two.example" } };
	struct world *w = world_new();
	struct peer *p = peer_new(w, 1, scripts, 1);
	struct mail two = one;
	struct record r;

	world_start(w, "smtp_recipient_limit = 2\n", NULL, dns);
	two.domain = "two.example";
	r = write_record(w, &one, 3);
	world_job(w, &one, &r, 0, 1);
	world_job(w, &two, &r, 1, 2);
	world_run(w, 3);
	assert_int_equal(peer_count(p, "MISMATCH"), 0);
	assert_string_equal(world_result(w, &r.id, 1)->text, "one");
	assert_string_equal(world_result(w, &r.id, 2)->text, "two");
	assert_string_equal(world_result(w, &r.id, 2)->site, "ip-1->mx.example");
	assert_string_equal(world_result(w, &r.id, 2)->peer_name, "mx.example");
	world_free(w);
}

static void
make_certificate(const char *dir)
{
	char cmd[512];

	snprintf(cmd, sizeof(cmd),
	    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=peer "
	    "-keyout %s/key.pem -out %s/cert.pem >/dev/null 2>&1", dir, dir);
	assert_int_equal(system(cmd), 0);
}

static SSL_CTX *
peer_tls_ctx(const char *dir)
{
	char cert[128], key[128], *err = NULL;
	SSL_CTX *ctx;

	make_certificate(dir);
	snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
	snprintf(key, sizeof(key), "%s/key.pem", dir);
	ctx = tls_server_ctx(cert, key, "test", &err);
	assert_non_null(ctx);
	return ctx;
}

#define OFFER_TLS "S:220 hi\r\n", "C:EHLO", "S:250-peer\r\n250-PIPELINING\r\n250 STARTTLS\r\n", "C:STARTTLS"

static void
test_starttls(void **state UNUSED)
{
	static const script scripts[] = { { OFFER_TLS, "S:220 go\r\n", "T", "C:EHLO ip1.example",
	    "S:250-peer\r\n250 SIZE 1000\r\n",
	    "C:MAIL FROM:<s@sender.example> SIZE=", "S:250 ok\r\n", "C:RCPT", "S:250 ok\r\n", "C:DATA", "S:354 go\r\n",
	    "D", "S:250 done\r\n",
	    "C:MAIL", "X" } };
	struct world *w = world_new();
	struct peer *p = peer_new(w, 1, scripts, 1);
	const struct ql_result *r;
	struct msgid id;

	p->tls = peer_tls_ctx(w->dir);
	world_start(w, NULL, NULL, NULL);
	id = world_mail(w, &simple);
	world_run(w, 1);
	r = world_result(w, &id, 0);
	assert_int_equal(r->outcome, QL_DELIVERED);
	assert_string_equal(r->tls_version, "TLSv1.3");
	assert_non_null(r->tls_cipher);
	assert_int_equal(p->n_resumed, 0);
	/* the next connection resumes the session; its first MAIL makes the peer close the first connection */
	id = world_mail(w, &simple);
	world_run(w, 2);
	assert_int_equal(world_result(w, &id, 0)->outcome, QL_DELIVERED);
	assert_int_equal(p->n_conns, 2);
	assert_int_equal(p->n_resumed, 1);
	SSL_CTX_free(p->tls);
	world_free(w);
}

struct tls_row {
	const char *name;
	script scripts[2];
	struct expect expect;
	unsigned n_conns;
};

static const struct tls_row tls_rows[] = {
	{ "refused: on in the clear", { { OFFER_TLS, "S:454 not now\r\n", TX1 } }, { QL_DELIVERED, 250, "2.0.0",
	    PHASE_DOT, 0, NULL }, 1 },
	{ "broken handshake: again in the clear", { { OFFER_TLS, "S:220 go\r\n", "W:20",
	    "S:nonsense, not a server hello\r\n", "W:100", "X" },
	    { "S:220 hi\r\n", "C:EHLO", "S:250-peer\r\n250-PIPELINING\r\n250 STARTTLS\r\n", TX1 } },
	    { QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, NULL }, 2 },
	{ "dropped in the handshake: again in the clear", { { OFFER_TLS, "S:220 go\r\n", "X" },
	    { "S:220 hi\r\n", "C:EHLO", "S:250-peer\r\n250-PIPELINING\r\n250 STARTTLS\r\n", TX1 } },
	    { QL_DELIVERED, 250, "2.0.0", PHASE_DOT, 0, NULL }, 2 },
	{ "injected reply", { { OFFER_TLS, "S:220 go\r\n250-AUTH PLAIN\r\n250 x\r\n", "W:50" } },
	    { QL_FAILED, 451, "4.7.0", PHASE_STARTTLS, 1, "plaintext" }, 1 },
	{ "421", { { OFFER_TLS, "S:421 4.7.0 no\r\n" } }, { QL_FAILED, 421, "4.7.0", PHASE_STARTTLS, 0, NULL }, 1 },
	{ "dropped", { { OFFER_TLS, "X" } }, { QL_FAILED, 451, "4.4.2", PHASE_STARTTLS, 1, NULL }, 1 },
};

static void
test_tls_rows(void **state UNUSED)
{
	struct world *w;
	struct peer *p;
	struct msgid id;
	size_t i;

	for (i = 0; i < sizeof(tls_rows) / sizeof(tls_rows[0]); i++) {
		print_message("# STARTTLS %s\n", tls_rows[i].name);
		w = world_new();
		p = peer_new(w, 1, tls_rows[i].scripts, tls_rows[i].scripts[1][0] != NULL ? 2 : 1);
		world_start(w, NULL, NULL, NULL);
		id = world_mail(w, &simple);
		world_run(w, 1);
		check(tls_rows[i].name, &tls_rows[i].expect, world_result(w, &id, 0));
		assert_int_equal(p->n_conns, tls_rows[i].n_conns);
		assert_int_equal(peer_count(p, "MISMATCH"), 0);
		world_free(w);
	}
}

/* A damaged record is not sent, and the connection does not carry half a message. */
static void
test_damage(void **state UNUSED)
{
	static const script scripts[] = { { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "S:250 ok\r\n250 ok\r\n354 go\r\n" } };
	struct world *w = world_new();
	struct peer *p = peer_new(w, 1, scripts, 1);
	struct record r;

	world_start(w, NULL, NULL, NULL);
	r = write_record(w, &simple, 1);
	assert_int_equal(pwrite(w->seg_fd, "H", 1, (off_t)(r.offset + record_body_off(&r))), 1);
	world_job(w, &simple, &r, 0, 1);
	world_run(w, 1);
	assert_int_equal(world_result(w, &r.id, 0)->outcome, QL_FAILED);
	assert_int_equal(world_result(w, &r.id, 0)->code, 451);
	assert_int_equal(peer_count(p, "Subject"), 0);
	assert_int_equal(peer_count(p, "\n.\r\n"), 0);
	world_free(w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_reuse),
		cmocka_unit_test(test_dead_reuse),
		cmocka_unit_test(test_combine),
		cmocka_unit_test(test_starttls),
		cmocka_unit_test(test_tls_rows),
		cmocka_unit_test(test_damage),
	};

	log_init("test", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
