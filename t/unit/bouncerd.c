/* bouncerd: whom a bounce is about, by its return path, by the trace header in it, by our own log; and that the jail of
 * the main role kills what it has no business with. */
#include <sys/socket.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sandbox_impl.h"
#include "base/xalloc.h"
#include "mail/report_role.h"
#include "mail/verp.h"

#include "bouncerd/history.h"
#include "bouncerd/identity.h"

#define DAY 86400000LL

static struct ql_keys keys = { .n = 2, .v = { { .id = 7, .key = "current" }, { .id = 6, .key = "of before" } } };
static const struct ql_token_key foreign = { .id = 7, .key = "not ours" };

static struct envid
new_env(int64_t when, uint16_t rcpt)
{
	struct envid env = { .rcpt = rcpt };

	msgid_new(&env.msg, when);
	return env;
}

static void
verp_of(const struct ql_token_key *key, const struct envid *env, char out[ADDRESS_MAX])
{
	struct token_signer s = { .mac = NULL };

	token_signer_set(&s, key);
	assert_int_equal(verp_make(&s, env, "b", "bounces.example", out), 0);
	token_signer_clear(&s);
}

/* A report that returns that trace header. */
static void
report_of(const struct ql_token_key *key, const struct envid *env, const char *rcpt, struct dsn_report *r,
    struct dsn_wanted *w)
{
	struct conf_strs fields = { .n = 0 };
	struct trace_source src = { .env = *env, .recipient = rcpt };
	struct token_signer s = { .mac = NULL };
	struct wbuf out;
	char *text, *p;

	fields.v = (char *[]){ (char *)(uintptr_t)"recipient" };
	fields.n = 1;
	wbuf_init(&out);
	token_signer_set(&s, key);
	trace_write(&s, &src, &fields, &out);
	token_signer_clear(&s);
	text = xmemdup0(out.p, out.len);
	p = strchr(text, ':') + 1;
	memset(r, 0, sizeof(*r));
	*w = (struct dsn_wanted){ TOKEN_HEADER, xstrdup(p + strspn(p, " \r\n\t")) };
	r->wanted = w;
	r->n_wanted = 1;
	free(text);
	wbuf_clear(&out);
}

static void
test_return_path(void **state)
{
	struct dsn_report none = { .kind = DSN_KIND_FAILED };
	int64_t now = 1795700000000;
	struct envid env, old;
	char address[ADDRESS_MAX];
	struct identity id;

	(void)state;
	old = new_env(now - 40 * DAY, 0); /* first: ids never go back */
	env = new_env(now - DAY, 3);
	for (unsigned i = 0; i < keys.n; i++) { /* keys of before count, too */
		verp_of(&keys.v[i], &env, address);
		identity_find(&id, address, &none, &keys, now, 30 * DAY);
		assert_true(identity_is_good(&id));
		assert_string_equal(id.proof, "verp");
		assert_int_equal(envid_cmp(&id.env, &env), 0);
		identity_clear(&id);
	}
	verp_of(&keys.v[0], &old, address);
	identity_find(&id, address, &none, &keys, now, 30 * DAY);
	assert_string_equal(id.proof, "verp");
	assert_false(identity_is_good(&id));
	identity_clear(&id);
	verp_of(&foreign, &env, address);
	identity_find(&id, address, &none, &keys, now, 30 * DAY);
	assert_null(id.proof);
	assert_false(identity_is_good(&id));
	identity_clear(&id);
	identity_find(&id, "+@bounces.example", &none, &keys, now, 30 * DAY);
	assert_null(id.proof);
	identity_clear(&id);
}

static void
test_trace(void **state)
{
	int64_t now = 1795700000000;
	struct envid env = new_env(now - DAY, 1), other = new_env(now - DAY, 1);
	char address[ADDRESS_MAX];
	struct dsn_report r;
	struct dsn_wanted w;
	struct identity id;

	(void)state;
	report_of(&keys.v[0], &env, "a@b.example", &r, &w);
	identity_find(&id, "x@bounces.example", &r, &keys, now, 30 * DAY);
	assert_true(identity_is_good(&id));
	assert_string_equal(id.proof, "trace");
	assert_string_equal(id.recipient, "a@b.example");
	identity_clear(&id);
	/* Both, of the same message; and of two. */
	verp_of(&keys.v[0], &env, address);
	identity_find(&id, address, &r, &keys, now, 30 * DAY);
	assert_string_equal(id.proof, "verp");
	assert_string_equal(id.recipient, "a@b.example");
	identity_clear(&id);
	verp_of(&keys.v[0], &other, address);
	identity_find(&id, address, &r, &keys, now, 30 * DAY);
	assert_false(identity_is_good(&id));
	assert_null(id.recipient);
	identity_clear(&id);
	identity_find(&id, "x@bounces.example", &r, &keys, now + 60 * DAY, 30 * DAY);
	assert_false(identity_is_good(&id));
	identity_clear(&id);
	free(w.value);
	report_of(&foreign, &env, "a@b.example", &r, &w);
	identity_find(&id, "x@bounces.example", &r, &keys, now, 30 * DAY);
	assert_null(id.proof);
	identity_clear(&id);
	free(w.value);
}

/* An hour of 40,000 records, one of them with three recipients. */
static void
test_history(void **state)
{
	int64_t start = 1795700000;
	struct envid env = new_env((start + 1800) * 1000, 2);
	char hex[MSGID_HEX], other[MSGID_HEX];
	FILE *f = tmpfile();
	struct history h;

	(void)state;
	msgid_hex(&env.msg, hex);
	for (int i = 0; i < 40000; i++) {
		struct envid e = new_env((start + i * 3600LL / 40000) * 1000, 0);

		msgid_hex(&e.msg, other);
		fprintf(f, "{\"type\":\"Delivery\",\"id\":\"%s\",\"recipient\":\"x\",\"timestamp\":%lld}\n", other,
		    (long long)(start + i * 3600LL / 40000));
		if (i == 20000)
			fprintf(f, "{\"type\":\"Reception\",\"id\":\"%s\",\"sender\":\"s@x.example\",\"recipient\":"
			    "[\"a@x\",\"b@x\",\"c@x\"],\"timestamp\":%lld,\"meta\":{\"tenant\":\"t\",\"k\":\"v\"},"
			    "\"tenant\":\"t\",\"campaign\":null}\n", hex, (long long)start + 1801);
	}
	fprintf(f, "{\"type\":\"Rece"); /* being written */
	fflush(f);
	assert_true(history_find(fileno(f), &env, &h));
	assert_string_equal(h.recipient, "c@x");
	assert_string_equal(h.sender, "s@x.example");
	assert_string_equal(h.tenant, "t");
	assert_null(h.campaign);
	assert_int_equal(h.n_meta, 1);
	history_clear(&h);
	env.rcpt = 3; /* there is none */
	assert_false(history_find(fileno(f), &env, &h));
	history_clear(&h);
	env = new_env((start + 1800) * 1000, 0);
	assert_false(history_find(fileno(f), &env, &h));
	fclose(f);
	f = tmpfile();
	assert_false(history_find(fileno(f), &env, &h));
	fputs("\n\nnothing\n", f);
	fflush(f);
	assert_false(history_find(fileno(f), &env, &h));
	fclose(f);
}

enum forbidden { TRY_NOTHING, TRY_NETWORK, TRY_FORK, TRY_WRITE };

static int
in_jail(enum forbidden what)
{
	struct sandbox box = { .role = "main", .mode = SANDBOX_ON, .allow = REPORT_ALLOW, .max_fds = 64 };
	int status;
	pid_t pid;

	fflush(NULL);
	if ((pid = fork()) == 0) {
		sandbox_enter(&box);
		switch (what) {
		case TRY_NETWORK:
			(void)socket(AF_INET, SOCK_STREAM, 0);
			break;
		case TRY_FORK:
			(void)fork();
			break;
		case TRY_WRITE:
			_exit(open("/tmp/bouncerd-was-here", O_WRONLY | O_CREAT, 0600) == -1 ? 0 : 1);
		default:
			break;
		}
		_exit(what == TRY_NOTHING ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void
test_jail(void **state)
{
	(void)state;
	if (SANDBOX_SANITIZED)
		return; /* there is no filter there; `make test` also runs the program without sanitizers */
	assert_int_equal(in_jail(TRY_NOTHING), 0);
	assert_true(WIFSIGNALED(in_jail(TRY_NETWORK)));
	assert_int_equal(WTERMSIG(in_jail(TRY_NETWORK)), SIGSYS);
	assert_int_equal(WTERMSIG(in_jail(TRY_FORK)), SIGSYS);
	assert_int_equal(in_jail(TRY_WRITE), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_return_path), cmocka_unit_test(test_trace),
		cmocka_unit_test(test_history), cmocka_unit_test(test_jail) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
