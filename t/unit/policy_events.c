/* mail/policy_call.h: the objects that handlers see (all methods, all mistakes, use after the event), rejections,
 * waiting for name servers, and that a handler which runs wild costs only its event. Most assertions are in Lua. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "mail/policy_call.h"
#include "t/unit/until.h"

#include "mistakes.h"

#define ONE_POOL \
	"posthorn.source { name = 's', source_address = '192.0.2.1' }\n" \
	"posthorn.pool { name = 'p', entries = { { name = 's' } } }\n" \
	"function fails(says, fn, ...)\n" \
	"  local ok, e = pcall(fn, ...)\n" \
	"  assert(not ok, 'no error: ' .. says)\n" \
	"  assert(tostring(e):find(says, 1, true), tostring(e))\n" \
	"end\n" \
	"function same(a, b) if a ~= b then error(tostring(a) .. ' is not ' .. tostring(b), 2) end end\n"
#define ON(event, args, body) "kumo.on('" event "', function(" args ")\n" body "\nend)\n"
#define ON_MSG(body) ON("smtp_server_message_received", "msg, conn", body)
#define HEAD "Subject: hello\r\nX-Client-Id: 7\r\nx-mailer: foo\r\n\tbar\r\nX-Mailer: last\r\nDate: now\r\n\r\n"

struct fixture {
	char file[64];
	struct policy *p;
	struct conf_errors errs;
	struct loop *loop;
	struct dns_client *dns;
	/* the other end */
	struct ipc *peer;
	uint32_t asked[64];
	struct dns_ask asks[64];
	unsigned n_asked;
	/* the event */
	struct policy_conn conn;
	struct policy_msg msg;
	struct policy_verdict v;
	struct policy_task *task;
	unsigned n_done;
};

static const char *
conn_get(void *arg, enum policy_conn_key key, char *buf, size_t size)
{
	(void)arg;
	if (key == CONN_AUTHN_ID)
		return NULL;
	snprintf(buf, size, "<%s>", policy_conn_keys[key]);
	return buf;
}

static void
on_ask(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct fixture *f = arg;

	(void)ipc;
	assert_true(f->n_asked < 64);
	f->asked[f->n_asked] = m->id;
	assert_int_equal(dns_ask_decode(&m->body, &f->asks[f->n_asked]), 0);
	f->n_asked++;
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct fixture *f = arg;

	(void)ipc, (void)why;
	f->peer = NULL;
}

static const struct ipc_rule rules[] = { { DNS_ASK, false, DNS_ASK_MAX, "ask", on_ask } };
static const struct ipc_ops ops = { rules, 1, on_gone };

static int
setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	int fd, pair[2];

	strcpy(f->file, "/tmp/posthorn-events-XXXXXX");
	assert_true((fd = mkstemp(f->file)) >= 0);
	close(fd);
	f->loop = loop_new();
	f->dns = dns_client_new(f->loop);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	dns_client_set_peer(f->dns, pair[0]);
	f->peer = ipc_new(f->loop, pair[1], &ops, f);
	f->conn.get = conn_get;
	*state = f;
	return 0;
}

static void
msg_clear(struct fixture *f)
{
	policy_msg_clear(&f->msg);
	envelope_free(&f->msg.env);
	memset(&f->msg, 0, sizeof(f->msg));
}

static int
set_data(void *arg, const char *p, size_t len, const char **err_r)
{
	struct fixture *f = arg;

	if (strncmp(p, "bad", 3) == 0) {
		*err_r = "it is bad";
		return -1;
	}
	f->msg.head = p;
	f->msg.head_len = len;
	f->msg.body = (const uint8_t *)"";
	f->msg.body_len = 0;
	return 0;
}

static void
msg_make(struct fixture *f)
{
	msg_clear(f);
	f->msg = (struct policy_msg){ .env = envelope_new(), .head = HEAD, .head_len = sizeof(HEAD) - 1,
		.body = (const uint8_t *)"Body\r\n", .body_len = 6, .max_rcpts = 100, .now = 1700000000000,
		    .num_attempts = 2,
		.set_data = set_data, .arg = f };
	free(f->msg.env->sender);
	f->msg.env->sender = xstrdup("from@a.example");
	f->msg.env->tenant = xstrdup("acme");
	envelope_add_rcpt(f->msg.env, "to@b.example", "rfc822;to@b.example", NOTIFY_NEVER);
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	msg_clear(f);
	policy_conn_clear(&f->conn);
	policy_cancel(&f->task);
	policy_free(&f->p);
	dns_client_free(&f->dns);
	ipc_close(&f->peer);
	loop_free(&f->loop);
	conf_errors_clear(&f->errs);
	unlink(f->file);
	free(f);
	return 0;
}

static void
load(struct fixture *f, const char *text)
{
	char *all;

	assert_true(asprintf(&all, ONE_POOL "%s", text) > 0);
	policy_cancel(&f->task);
	policy_free(&f->p);
	text_put(f->file, all);
	free(all);
	f->p = policy_load(f->file, &f->errs);
	if (f->p == NULL)
		fail_msg("line %u: %s", f->errs.v[0].line, f->errs.v[0].text);
	policy_set_host(f->p, f->loop, f->dns, 20000);
}

static void
on_done(const struct policy_verdict *v, void *arg)
{
	struct fixture *f = arg;

	f->v = *v;
	f->task = NULL;
	f->n_done++;
}

static enum policy_outcome
call(struct fixture *f, enum policy_call_id id, const char *a, const char *b, const char *c)
{
	struct policy_call k = { .id = id, .text = { a, b, c }, .conn = &f->conn,
		.msg = id == POLICY_ON_MESSAGE ? &f->msg : NULL };

	f->task = policy_call(f->p, &k, &f->v, on_done, f);
	return f->v.outcome;
}

static void
passes(struct fixture *f, const char *body)
{
	char *text;

	assert_true(asprintf(&text, ON_MSG("%s"), body) > 0);
	load(f, text);
	free(text);
	msg_make(f);
	if (call(f, POLICY_ON_MESSAGE, NULL, NULL, NULL) != POLICY_PASSED || f->task != NULL)
		fail_msg("%s: %s", body, f->v.line);
}

/* ---- objects ---- */

static const char *const envelope_rows[] = {
	"same(#msg:id(), 32) same(msg:num_attempts(), 2)",
	"same(tostring(msg:sender()), 'from@a.example') same(msg:sender().user, 'from') same(msg:sender().domain, "
	    "'a.example')"
	" same(msg:sender().email, 'from@a.example') same(#msg:sender(), 14) same('<' .. msg:sender() .. '>', "
	"'<from@a.example>') assert(msg:sender() == msg:sender()) fails('has user, domain', function() return "
	    "msg:sender().x end)",
	"fails('fields', function() msg.x = 1 end) fails('did you mean', function() msg:sendr() end)",
	"same(getmetatable(msg), false) same(getmetatable(msg:sender()), false)",
	"msg:set_sender('New@B.Example') same(tostring(msg:sender()), 'New@b.example')",
	"msg:set_sender('') same(msg:sender().email, '') same(msg:sender().domain, '') same(msg:sender().user, '')",
	"msg:set_sender(msg:recipient()) same(tostring(msg:sender()), 'to@b.example')",
	"fails('valid address', msg.set_sender, msg, 'no address') fails('valid address', msg.set_sender, msg, "
	    "'a@b\\r\\nX: y')",
	"fails('NUL', msg.set_sender, msg, 'a@b\\0') fails('address', msg.set_sender, msg, {}) fails('address', "
	    "msg.set_sender, msg, 5)",
	"fails('SMTPUTF8', msg.set_sender, msg, '\\u{e4}@b.example')",
	"same(tostring(msg:recipient()), 'to@b.example') same(#msg:recipient_list(), 1)",
	"msg:set_recipient('x@Y.example') same(tostring(msg:recipient()), 'x@y.example')",
	"msg:set_recipient { 'x@y.example', 'z@y.example', 'x@y.example' } same(#msg:recipient_list(), 2) "
	    "same(#msg:recipient(), 2)"
	" msg:set_recipient(msg:recipient_list()[2]) same(tostring(msg:recipient()), 'z@y.example')",
	"fails('from 1 to 100', msg.set_recipient, msg, {}) fails('address', msg.set_recipient, msg, { "
	    "'a@b.example', {} })"
	" same(#msg:recipient_list(), 1) local t = {} for i = 1, 101 do t[i] = i .. '@b.example' end"
	" fails('from 1 to 100', msg.set_recipient, msg, t)",
	"same(msg:queue_name(), 'acme@b.example') msg:set_meta('campaign', 'c 1') same(msg:queue_name(), "
	    "'c_1:acme@b.example')"
	" msg:set_meta('tenant', nil) same(msg:queue_name(), 'c_1:@b.example') msg:set_meta('routing_domain', "
	    "'R.example')"
	" same(msg:queue_name(), 'c_1:@r.example') msg:set_meta('queue', 'x:y@z.example') same(msg:queue_name(), "
	    "'x:y@z.example')",
	"msg:set_recipient { 'a@b.example', 'c@d.example' } fails('several domains', msg.queue_name, msg)",
	"same(msg:get_meta('tenant'), 'acme') same(msg:get_meta('campaign'), nil) same(msg:get_meta('queue'), nil)",
	"msg:set_meta('tenant', 'other') same(msg:get_meta('tenant'), 'other')",
	"fails('not a name', msg.set_meta, msg, 'tenant', 'a b') fails('not a name', msg.set_meta, msg, 'tenant', '')"
	" fails('not a name', msg.set_meta, msg, 'tenant', ('x'):rep(65)) fails('from 1 to', msg.set_meta, msg, "
	    "'campaign', '')",
	"fails('campaign:tenant@domain', msg.set_meta, msg, 'queue', 'a b') fails('campaign', msg.set_meta, msg, "
	    "'queue', '')"
	" fails('campaign', msg.set_meta, msg, 'queue', 'a@') fails('campaign', msg.set_meta, msg, 'queue', "
	    "'a@X.example')"
	" fails('campaign', msg.set_meta, msg, 'queue', ':@x.example') msg:set_meta('queue', 'x.example')"
	" msg:set_meta('queue', 't@x.example') msg:set_meta('queue', 'c:@x.example')",
	"fails('not a domain', msg.set_meta, msg, 'routing_domain', 'a b')",
	"msg:set_meta('k', 5) same(msg:get_meta('k'), '5') msg:set_meta('k', true) same(msg:get_meta('k'), 'true')"
	" msg:set_meta('k', 1.5) same(msg:get_meta('k'), '1.5') msg:set_meta('j', 'x') msg:set_meta('k', nil)"
	" same(msg:get_meta('k'), nil) same(msg:get_meta('j'), 'x')",
	"fails('line break', msg.set_meta, msg, 'k', 'a\\nb') fails('NUL', msg.set_meta, msg, 'k', 'a\\0b')"
	" fails('string, a number', msg.set_meta, msg, 'k', {}) fails('longer', msg.set_meta, msg, 'k', "
	    "('x'):rep(5000))"
	" fails('empty', msg.set_meta, msg, '', 'v') fails('string', msg.set_meta, msg, 1, 'v') fails('longer', "
	    "msg.set_meta, msg,"
	" ('k'):rep(300), 1)",
	"for i = 1, 64 do msg:set_meta('k' .. i, i) end msg:set_meta('k3', 'again') fails('more than 64', "
	    "msg.set_meta, msg, 'l', 1)",
	"same(msg:get_meta('received_from'), '<received_from>') same(msg:get_meta('authn_id'), nil)",
	"msg:set_scheduling { first_attempt = 60, expires = '2023-11-15T00:00:00+01:00' } msg:set_scheduling(nil)",
	"fails('windows', msg.set_scheduling, msg, { dow = 'Mon' }) fails('unknown key', msg.set_scheduling, msg, { "
	    "x = 1 })"
	" fails('RFC 3339', msg.set_scheduling, msg, { expires = 'tomorrow' }) fails('neither', msg.set_scheduling, "
	    "msg, { 5 })"
	" fails('expired', msg.set_scheduling, msg, { expires = '2001-01-01T00:00:00Z' })"
	" fails('not before', msg.set_scheduling, msg, { first_attempt = 10, expires = 5 })"
	" fails('negative', msg.set_scheduling, msg, { expires = -1 }) fails('table', msg.set_scheduling, msg, 'x')",
	"same(#msg:get_data(), 82 + 6) msg:set_data('Subject: other\\r\\n\\r\\n')"
	" same(msg:get_first_named_header_value('subject'), 'other') fails('it is bad', msg.set_data, msg, 'bad')",
	"fails('not supported', msg.append_text_plain, msg, 'x')",
	"fails('message expected', msg.id, conn) fails('connection expected', conn.get_meta, 5, 'x')",
};

static const char *const header_rows[] = {
	"same(msg:get_first_named_header_value('SUBJECT'), 'hello') same(msg:get_first_named_header_value('None'), "
	    "nil)",
	"local v = msg:get_all_named_header_values('X-Mailer') same(#v, 2) same(v[1], 'foo\\tbar') same(v[2], 'last')",
	"local h = msg:get_all_headers() same(#h, 5) same(h[1][1], 'Subject') same(h[1][2], 'hello') same(h[5][2], "
	    "'now')",
	"msg:append_header('X-New', 'v') msg:prepend_header('X-First', 'w') local h = msg:get_all_headers() same(#h, 7)"
	" same(h[1][1], 'X-First') same(h[7][1], 'X-New') same(msg:get_data():sub(-11), 'v\\r\\n\\r\\nBody\\r\\n')",
	"fails('line break', msg.append_header, msg, 'X', 'a\\r\\nBcc: b') fails('line break', msg.append_header, "
	    "msg, 'X', 'a\\nb')"
	" fails('control', msg.append_header, msg, 'X', 'a\\0b') fails('UTF-8', msg.append_header, msg, 'X', '\\xff')"
	" fails('name of a header', msg.append_header, msg, 'X Y', 'v') fails('name of a header', msg.append_header, "
	    "msg, 'X:', 'v')"
	" fails('name of a header', msg.prepend_header, msg, 'X\\r\\nY', 'v') fails('characters', msg.append_header, "
	    "msg, '', 'v')"
	" fails('string', msg.append_header, msg, 'X') fails('at most', msg.append_header, msg, 'X', ('x'):rep(40000))"
	" fails('fits no line', msg.append_header, msg, 'X', ('x'):rep(1000)) same(#msg:get_all_headers(), 5)",
	"msg:append_header('X-Long', ('word '):rep(600)) for line in msg:get_data():gmatch('[^\\r\\n]+') do "
	    "assert(#line <= 998) end"
	" same(msg:get_first_named_header_value('X-Long'), (('word '):rep(600):gsub(' $', '')))",
	"msg:append_header('X-Word', ('a'):rep(950) .. ' ' .. ('b'):rep(997)) for line in "
	    "msg:get_data():gmatch('[^\\r\\n]+') do"
	" assert(#line <= 998) end",
	"msg:append_header('Subject2', 'gr\\u{fc}n ' .. ('\\u{20ac}'):rep(40), true) local v = "
	"msg:get_first_named_header_value('Subject2') assert(v:find('=?UTF-8?B?', 1, true) == 1 and not "
	    "v:find('[\\x80-\\xff]'))",
	"msg:append_header('Plain', 'ascii', true) same(msg:get_first_named_header_value('Plain'), 'ascii')",
	"msg:append_header('Empty', '') same(msg:get_first_named_header_value('Empty'), '')",
	"msg:append_header('To', msg:recipient()) same(msg:get_first_named_header_value('To'), 'to@b.example')",
	"msg:remove_all_named_headers('x-mailer') same(#msg:get_all_headers(), 3) "
	    "same(#msg:get_all_named_header_values('X-Mailer'), 0)",
	"msg:remove_x_headers() same(#msg:get_all_headers(), 2) assert(msg:get_data():find('Date: "
	    "now\\r\\n\\r\\nBody'))",
	"msg:remove_x_headers { 'x-client-id' } same(#msg:get_all_headers(), 4) msg:remove_x_headers { 'none' }",
	"fails('table', msg.remove_x_headers, msg, 5) fails('name of', msg.remove_x_headers, msg, { 'a b' })"
	" local t = {} for i = 1, 101 do t[i] = 'a' .. i end fails('more than 100', msg.remove_x_headers, msg, t)",
	"msg:import_x_headers() same(msg:get_meta('x_client_id'), '7') same(msg:get_meta('x_mailer'), 'last')",
	"msg:import_x_headers({ 'subject', 'x-mailer' }, true) same(msg:get_meta('subject'), 'hello')"
	" same(msg:get_meta('x_mailer'), 'foo bar') same(msg:get_meta('x_client_id'), nil)",
	"msg:import_headers { { name = 'X-Client-Id', target = 'client', remove = true }, { name = 'x-*', match = "
	    "'first' } }"
	" same(msg:get_meta('client'), '7') same(msg:get_meta('x_mailer'), 'foo bar') same(#msg:get_all_headers(), 4)",
	"fails('no', msg.import_headers, msg, { { name = 'X', transform = 'y' } }) fails('first', "
	    "msg.import_headers, msg,"
	" { { name = 'X', match = 'all' } }) fails('end in *', msg.import_headers, msg, { { name = '*' } })"
	" fails('end in *', msg.import_headers, msg, { { name = 'a*b' } }) fails('for one name', msg.import_headers, "
	    "msg,"
	" { { name = 'a*', target = 'x' } }) fails('use set_meta', msg.import_headers, msg, { { name = 'a', target = "
	    "'tenant' } })"
	" fails('string', msg.import_headers, msg, { {} }) fails('table', msg.import_headers, msg, { 5 })",
	/* No Lua runs while headers are walked: a metatable would change them under the walk. */
	"local t = setmetatable({}, { __index = function(t, key) for i = 1, 20 do msg:append_header('Big', ('x '):rep("
	    "9000)) end return 'X-Client-Id' end }) fails('string', msg.import_headers, msg, { t }) "
	    "same(#msg:get_all_headers(), 5)",
	"msg:append_header('Tenant', 'evil') msg:import_headers { { name = 'Tenant' } } same(msg:get_meta('tenant'), "
	    "'acme')",
	"msg:append_header('X-Schedule', '{\"first_attempt\": 60}') msg:import_scheduling_header('X-Schedule', true)"
	" same(msg:get_first_named_header_value('X-Schedule'), nil) msg:import_scheduling_header('X-None')",
	"msg:append_header('X-Schedule', '{') fails('JSON', msg.import_scheduling_header, msg, 'X-Schedule')",
};

static void
test_message(void **state)
{
	size_t i;

	for (i = 0; i < sizeof(envelope_rows) / sizeof(envelope_rows[0]); i++)
		passes(*state, envelope_rows[i]);
	for (i = 0; i < sizeof(header_rows) / sizeof(header_rows[0]); i++)
		passes(*state, header_rows[i]);
}

/* What the host finds afterwards. */
static void
test_changes(void **state)
{
	struct fixture *f = *state;
	const struct envelope *e;

	passes(f, "msg:set_meta('routing_domain', 'r.example') msg:set_meta('campaign', 'c') "
	    "msg:set_recipient('x@y.example')"
	    " msg:set_scheduling { first_attempt = 60, expires = 120 }");
	policy_msg_settle(&f->msg);
	e = f->msg.env;
	assert_string_equal(e->queue, "c:acme@r.example");
	assert_string_equal(e->rcpts[0].orcpt, "rfc822;to@b.example");
	assert_int_equal(e->rcpts[0].notify, NOTIFY_NEVER);
	assert_int_equal(e->first_attempt, 1700000060000);
	assert_int_equal(e->expires, 1700000120000);
	assert_int_equal(f->msg.changed, POLICY_MSG_QUEUE | POLICY_MSG_RCPTS | POLICY_MSG_SCHEDULE);
	passes(f, "msg:get_all_headers() msg:remove_x_headers { 'none' } msg:get_meta('x')");
	assert_int_equal(f->msg.changed, 0);
	passes(f, "msg:remove_x_headers()");
	assert_int_equal(f->msg.changed, POLICY_MSG_HEAD);
	assert_int_equal(f->msg.head_len, 16 + 11 + 2);
	assert_memory_equal(f->msg.head, "Subject: hello\r\nDate: now\r\n\r\n", f->msg.head_len);
	/* Not everything is to be had everywhere. */
	load(f, ON_MSG("fails('not to be had', msg.get_all_headers, msg) fails('not in memory', msg.get_data, msg)"
	    " fails('cannot be replaced', msg.set_data, msg, 'x') fails('cannot be changed', msg.set_recipient, msg, "
	    "'a@b.example')"));
	msg_make(f);
	f->msg.head = NULL;
	f->msg.body = NULL;
	f->msg.set_data = NULL;
	f->msg.max_rcpts = 0;
	assert_int_equal(call(f, POLICY_ON_MESSAGE, NULL, NULL, NULL), POLICY_PASSED);
}

static void
test_connection(void **state)
{
	struct fixture *f = *state;

	load(f, "local kept\n"
	    ON("smtp_server_connection_accepted", "conn", "same(conn:get_meta('hostname'), '<hostname>') "
	    "conn:set_meta('a', 1) kept = conn"
	    " fails('cannot be set', conn.set_meta, conn, 'ehlo_domain', 'x') fails('string, a number', "
	    "conn.set_meta, conn, 'x', {})")
	    ON("smtp_server_ehlo", "domain, conn", "same(domain, 'me.example') same(conn:get_meta('a'), '1') "
	    "conn:set_meta('a', nil)"
	    " fails('event that is over', kept.get_meta, kept, 'a')")
	    ON("smtp_server_mail_from", "address, conn", "same(address.domain, 'b.example') same(conn:get_meta('a'), "
	    "nil)")
	    ON("smtp_server_rcpt_to", "address, conn", "same(tostring(address), 'a@b.example') same(address.user, 'a')")
	    ON("smtp_server_auth_plain", "authz, authc, password, conn", "same(authz, '') same(authc, 'u') if "
	    "password == 'x' then"
	    " return nil end if password == 'y' then return 5 end return password == 'secret'"));
	assert_true(policy_answers(f->p, POLICY_ON_CONNECT) && !policy_answers(f->p, POLICY_ON_MESSAGE));
	assert_true(policy_answers_any(f->p));
	assert_int_equal(call(f, POLICY_ON_CONNECT, NULL, NULL, NULL), POLICY_PASSED);
	assert_string_equal(policy_conn_meta(&f->conn, "a"), "1");
	assert_int_equal(call(f, POLICY_ON_EHLO, "me.example", NULL, NULL), POLICY_PASSED);
	assert_null(policy_conn_meta(&f->conn, "a"));
	assert_int_equal(call(f, POLICY_ON_MAIL, "a@b.example", NULL, NULL), POLICY_PASSED);
	assert_int_equal(call(f, POLICY_ON_RCPT, "a@b.example", NULL, NULL), POLICY_PASSED);
	assert_int_equal(call(f, POLICY_ON_AUTH, "", "u", "secret"), POLICY_PASSED);
	assert_int_equal(f->v.answer, 1);
	assert_int_equal(call(f, POLICY_ON_AUTH, "", "u", "wrong"), POLICY_PASSED);
	assert_int_equal(f->v.answer, 0);
	assert_int_equal(call(f, POLICY_ON_AUTH, "", "u", "x"), POLICY_PASSED);
	assert_int_equal(f->v.answer, -1);
	assert_int_equal(call(f, POLICY_ON_AUTH, "", "u", "y"), POLICY_FAILED);
	assert_int_equal(call(f, POLICY_ON_MESSAGE, NULL, NULL, NULL), POLICY_PASSED);
}

/* ---- rejections ---- */

static const struct {
	const char *body, *line; /* NULL: an error */
	bool is_last;
} reject_rows[] = {
	{ "kumo.reject(550, 'no such user')", "550 5.7.1 no such user", false },
	{ "kumo.reject(450, 'later')", "450 4.7.1 later", false },
	{ "kumo.reject(550, '5.1.1 no such user')", "550 5.1.1 no such user", false },
	{ "kumo.reject(450, '5.1.1 no such user')", "450 4.7.1 5.1.1 no such user", false },
	{ "kumo.reject(421, 'go away')", "421 4.7.1 go away", true },
	{ "kumo.reject(550)", "550 5.7.1 Rejected by policy", false },
	{ "kumo.reject(550, '5.1.1')", "550 5.1.1 Rejected by policy", false },
	{ "kumo.reject(550, 'a\\r\\n250 ok\\0\\u{e4}')", "550 5.7.1 a 250 ok ??", false },
	{ "kumo.disconnect()", "421 4.7.1 Rejected by policy", true },
	{ "kumo.disconnect(554, 'bye')", "554 5.7.1 bye", true },
	{ "pcall(kumo.reject, 550, 'x')", "", false },
	{ "local ok, e = pcall(kumo.reject, 550, 'x') error(e)", "550 5.7.1 x", false },
	{ "kumo.reject(250, 'x')", NULL, false }, { "kumo.reject(600, 'x')", NULL, false }, { "kumo.reject('x')",
	    NULL, false },
	{ "kumo.reject(550, {})", NULL, false }, { "error('x')", NULL, false }, { "error({})", NULL, false },
	{ "local x <close> = setmetatable({}, { __close = function() while true do end end }) error('x')", NULL,
	    false },
};

static void
test_reject(void **state)
{
	struct fixture *f = *state;
	char *text;
	size_t i;

	for (i = 0; i < sizeof(reject_rows) / sizeof(reject_rows[0]); i++) {
		assert_true(asprintf(&text, ON("smtp_server_rcpt_to", "address", "%s"), reject_rows[i].body) > 0);
		load(f, text);
		free(text);
		call(f, POLICY_ON_RCPT, "a@b.example", NULL, NULL);
		if (reject_rows[i].line == NULL) {
			assert_int_equal(f->v.outcome, POLICY_FAILED);
			assert_string_equal(f->v.line, "451 4.3.5 Local policy error, try again later");
		} else {
			assert_string_equal(f->v.line, reject_rows[i].line);
			assert_int_equal(f->v.outcome, *reject_rows[i].line != '\0' ? POLICY_REJECTED : POLICY_PASSED);
		}
		assert_int_equal(f->v.is_last, reject_rows[i].is_last);
	}
}

/* Only in events with objects. */
static void
test_elsewhere(void **state)
{
	struct fixture *f = *state;
	char *pool = NULL, *err = NULL;

	load(f, ON("get_egress_pool", "", "fails('event with a message', kumo.reject, 550, 'x')"
	    " fails('event of smtpd', kumo.dns.lookup_txt, 'x.example') return 'p'")
	    "fails('event of smtpd', kumo.dns.lookup_mx, 'x.example') fails('with a message', kumo.reject, 550)");
	assert_int_equal(policy_get_egress_pool(f->p, "a", NULL, NULL, &pool, &err), 1);
	free(pool);
	free(err);
}

/* ---- running wild ---- */

static const char *const wild_rows[] = {
	"while true do end",
	"while true do pcall(function() while true do end end) end",
	"local t = {} while true do t[#t + 1] = ('x'):rep(100000) end",
	"local function f() return f() + 1 end f()",
	"while true do address:sub(1) end",
	"local x <close> = setmetatable({}, { __close = function() while true do end end }) while true do end",
};

static void
test_wild(void **state)
{
	struct fixture *f = *state;
	static const enum policy_call_id ids[] = { POLICY_ON_CONNECT, POLICY_ON_EHLO, POLICY_ON_AUTH, POLICY_ON_MAIL,
	    POLICY_ON_RCPT, POLICY_ON_MESSAGE };
	struct timespec a, b;
	char *text;
	size_t i;

	for (i = 0; i < sizeof(wild_rows) / sizeof(wild_rows[0]); i++) {
		assert_true(asprintf(&text, ON("smtp_server_rcpt_to", "address", "if address.user == 'w' then %s "
		    "end"), wild_rows[i]) >
		    0);
		load(f, text);
		free(text);
		assert_int_equal(call(f, POLICY_ON_RCPT, "w@b.example", NULL, NULL), POLICY_FAILED);
		assert_int_equal(call(f, POLICY_ON_RCPT, "a@b.example", NULL, NULL), POLICY_PASSED);
		assert_int_equal(call(f, POLICY_ON_RCPT, "w@b.example", NULL, NULL), POLICY_FAILED);
	}
	/* Each event, and header edits, which work in C. */
	load(f, ON("smtp_server_connection_accepted", "", "while true do end") ON("smtp_server_ehlo", "",
	    "while true do end")
	    ON("smtp_server_auth_plain", "", "while true do end") ON("smtp_server_mail_from", "", "while true do end")
	    ON("smtp_server_rcpt_to", "", "while true do end")
	    ON_MSG("while true do msg:append_header('X', ('x'):rep(900)) msg:remove_x_headers() end"));
	msg_make(f);
	assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a), 0);
	for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		assert_int_equal(call(f, ids[i], "a@b.example", "u", "p"), POLICY_FAILED);
	assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b), 0);
	assert_true(b.tv_sec - a.tv_sec < 10);
}

/* ---- waiting ---- */

static void
pump(struct fixture *f)
{
	UNTIL(f->loop, f->task == NULL || f->n_asked > 0);
}

/* Answers question i with the texts, NULL-terminated. */
static void
answer(struct fixture *f, unsigned i, uint8_t status, uint16_t pref, ...)
{
	char none[] = "", text[] = "no such domain";
	struct dns_reply r = { .status = status, .ttl = 60, .text = status == DNS_OK ? none : text };
	struct wbuf w;
	const char *s;
	va_list ap;

	va_start(ap, pref);
	while ((s = va_arg(ap, const char *)) != NULL)
		dns_reply_add(&r, pref--, xstrdup(s), strlen(s));
	va_end(ap);
	wbuf_init(&w);
	dns_reply_encode(&r, &w);
	ipc_send(f->peer, DNS_ANSWER, f->asked[i], &w, -1);
	wbuf_clear(&w);
	r.text = NULL;
	dns_reply_clear(&r);
	f->n_asked = 0;
	pump(f);
}

static void
begin(struct fixture *f, const char *body)
{
	char *text;

	assert_true(asprintf(&text, ON("smtp_server_rcpt_to", "address, conn", "%s"), body) > 0);
	load(f, text);
	free(text);
	f->n_asked = f->n_done = 0;
	call(f, POLICY_ON_RCPT, "a@b.example", NULL, NULL);
	assert_non_null(f->task);
	pump(f);
}

static void
test_dns(void **state)
{
	struct fixture *f = *state;

	begin(f, "local r = kumo.dns.lookup_txt('x.example.') same(#r, 2) same(r[1], 'v=spf1') kumo.reject(550, r[2])");
	assert_string_equal(f->asks[0].name, "x.example");
	assert_int_equal(f->asks[0].type, DNS_TYPE_TXT);
	answer(f, 0, DNS_OK, 1, "v=spf1", "two", NULL);
	assert_string_equal(f->v.line, "550 5.7.1 two");
	begin(f, "local r, e = kumo.dns.lookup_txt('gone.example') same(r, nil) same(e, 'no such domain')");
	answer(f, 0, DNS_NXDOMAIN, 0, NULL);
	assert_int_equal(f->v.outcome, POLICY_PASSED);
	begin(f, "local m = kumo.dns.lookup_mx('x.example') same(#m.hosts, 3) same(m.hosts[1], 'c.') "
	    "same(m.by_pref[9][1], 'b.')"
	    " same(m.is_mx, true) same(m.domain_name, 'x.example.')");
	answer(f, 0, DNS_OK, 10, "a", "b", "c", NULL);
	assert_int_equal(f->v.outcome, POLICY_PASSED);
	begin(f, "local m = kumo.dns.lookup_mx('x.example') same(m.hosts[1], 'x.example.') same(m.is_mx, false)");
	answer(f, 0, DNS_OK, 10, NULL);
	assert_int_equal(f->v.outcome, POLICY_PASSED);
	begin(f, "local ok, r = pcall(kumo.dns.lookup_addr, 'x.example') same(#r, 2) same(r[1], '192.0.2.1') "
	    "same(r[2], '2001:db8::1')");
	answer(f, 0, DNS_OK, 0, "192.0.2.1", NULL);
	assert_int_equal(f->asks[0].type, DNS_TYPE_AAAA);
	answer(f, 0, DNS_OK, 0, "2001:db8::1", NULL);
	assert_int_equal(f->v.outcome, POLICY_PASSED);
	begin(f, "local r = kumo.dns.lookup_ptr('192.0.2.1:25') same(r[1], 'mx.x.example.')");
	assert_string_equal(f->asks[0].name, "1.2.0.192.in-addr.arpa");
	answer(f, 0, DNS_OK, 0, "mx.x.example", NULL);
	assert_int_equal(f->v.outcome, POLICY_PASSED);
	begin(f, "local a, why = kumo.dns.rbl_lookup('2001:db8::1', 'bl.example') same(a, '127.0.0.2') same(why, "
	    "'spam')");
	assert_string_equal(f->asks[0].name,
	    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example");
	answer(f, 0, DNS_OK, 0, "127.0.0.2", NULL);
	assert_int_equal(f->asks[0].type, DNS_TYPE_TXT);
	answer(f, 0, DNS_OK, 0, "spam", NULL);
	assert_int_equal(f->v.outcome, POLICY_PASSED);
	begin(f, "local a, why = kumo.dns.rbl_lookup('192.0.2.1', 'bl.example') same(a, nil) same(why, nil)");
	answer(f, 0, DNS_NXDOMAIN, 0, NULL);
	assert_int_equal(f->v.outcome, POLICY_PASSED);
	begin(f, "local a, why = kumo.dns.rbl_lookup('192.0.2.1', 'bl.example') same(a, nil) same(why, 'no such "
	    "domain')");
	answer(f, 0, DNS_TEMPORARY, 0, NULL);
	assert_int_equal(f->v.outcome, POLICY_PASSED);
	/* What is asked is a stranger's: no error, no question. */
	passes(f, "local r, e = kumo.dns.lookup_txt('a b') same(r, nil) same(e, 'not a domain name')"
	    " r, e = kumo.dns.lookup_ptr('x') same(e, 'not an IP address') r, e = kumo.dns.rbl_lookup('x', 'bl') "
	    "same(e, 'not an IP address')"
	    " r, e = kumo.dns.lookup_mx(('x'):rep(600)) same(e, 'not a domain name')"
	    " fails('string', kumo.dns.lookup_txt, nil) fails('string', kumo.dns.rbl_lookup, '192.0.2.1')"
	    " fails('table.sort', table.sort, { 1, 2 }, function() kumo.dns.lookup_txt('x.example') end)");
	load(f, ON("smtp_server_rcpt_to", "", "for i = 1, 40 do kumo.dns.lookup_txt('a b') end"));
	assert_int_equal(call(f, POLICY_ON_RCPT, "a@b.example", NULL, NULL), POLICY_FAILED);
}

static void
test_waiting(void **state)
{
	struct fixture *f = *state;
	struct policy_task *one;

	/* CPU time counts over all legs, and an error after the wait is an error. */
	begin(f, "kumo.dns.lookup_txt('x.example') while true do end");
	answer(f, 0, DNS_OK, 0, NULL);
	assert_int_equal(f->v.outcome, POLICY_FAILED);
	/* Others run meanwhile; objects stay good. */
	begin(f, "if address.user == 'a' then kumo.dns.lookup_txt('x.example') end conn:set_meta(address.user, 'was "
	    "here')");
	one = f->task;
	call(f, POLICY_ON_RCPT, "other@b.example", NULL, NULL);
	assert_null(f->task);
	assert_string_equal(policy_conn_meta(&f->conn, "other"), "was here");
	assert_null(policy_conn_meta(&f->conn, "a"));
	f->task = one;
	answer(f, 0, DNS_OK, 0, NULL);
	assert_string_equal(policy_conn_meta(&f->conn, "a"), "was here");
	/* The session ends: nothing comes of it, __close included. */
	begin(f, "local x <close> = setmetatable({}, { __close = function() while true do end end })"
	    " kumo.dns.lookup_txt('x.example') conn:set_meta('late', 1)");
	policy_cancel(&f->task);
	answer(f, 0, DNS_OK, 0, NULL);
	run_ms(f->loop, 20);
	assert_int_equal(f->n_done, 0);
	assert_null(policy_conn_meta(&f->conn, "late"));
	/* The role dies: a failure like others. */
	begin(f, "local r, e = kumo.dns.lookup_txt('x.example') assert(r == nil and e:find('not available'), e)"
	    " r, e = kumo.dns.lookup_txt('y.example') assert(r == nil and e:find('not available'), e)");
	ipc_close(&f->peer);
	UNTIL(f->loop, f->task == NULL);
	assert_int_equal(f->v.outcome, POLICY_PASSED);
}

/* So many wait, and no more. */
static void
test_full(void **state)
{
	struct fixture *f = *state;
	struct policy_task *tasks[600];
	struct policy_verdict v;
	unsigned i, n = 0;

	load(f, ON("smtp_server_rcpt_to", "", "kumo.dns.lookup_txt('x.example')"));
	for (i = 0; i < 600; i++) {
		struct policy_call k = { .id = POLICY_ON_RCPT, .text = { "a@b.example" }, .conn = &f->conn };

		if ((tasks[n] = policy_call(f->p, &k, &v, on_done, f)) != NULL)
			n++;
	}
	assert_int_equal(n, 512);
	assert_int_equal(v.outcome, POLICY_FAILED);
	while (n > 0)
		policy_cancel(&tasks[--n]);
	assert_non_null(f->task = policy_call(f->p, &(struct policy_call){ .id = POLICY_ON_RCPT, .text = {
	    "a@b.example" },
	    .conn = &f->conn }, &v, on_done, f));
}

/* Printed, not judged. */
static void
test_cost(void **state)
{
	struct fixture *f = *state;
	struct timespec a, b;
	int i, k;

	load(f, ON_MSG("if msg:get_meta('tenant') == 'x' then msg:set_meta('campaign', 'c') "
	    "end") ON("smtp_server_rcpt_to", "address",
	    "if address.domain == 'x.example' then kumo.reject(550, 'no') end"));
	msg_make(f);
	for (k = 0; k < 3; k++) {
		static const enum policy_call_id ids[] = { POLICY_ON_MAIL, POLICY_ON_RCPT, POLICY_ON_MESSAGE };

		assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a), 0);
		for (i = 0; i < 100000; i++)
			call(f, ids[k], "a@b.example", NULL, NULL);
		assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b), 0);
		print_message("# %s: %ld ns\n", k == 0 ? "no handler" : k == 1 ? "rcpt_to" : "message_received",
		    ((b.tv_sec - a.tv_sec) * 1000000000 + (b.tv_nsec - a.tv_nsec)) / 100000);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_message, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reject, setup, teardown),
		cmocka_unit_test_setup_teardown(test_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wild, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dns, setup, teardown),
		cmocka_unit_test_setup_teardown(test_waiting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cost, setup, teardown),
	};

	log_init("policy_events", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
