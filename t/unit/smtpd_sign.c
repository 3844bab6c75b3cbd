/* Signing in sessions: what is signed is what the spool gets; whatever ends a session while its message is being signed
 * ends it cleanly; a role that dies, says nonsense or refuses. And what policy may say of signers (policy_dkim.c). */
#include <openssl/evp.h>
#include <signal.h>
#include <sys/stat.h>

#include "base/ipc.h"
#include "base/log.h"
#include "mail/dkim_key.h"
#include "mail/policy_call.h"
#include "smtpd/sign_link.h"
#include "smtpd/signd.h"

#include "t/unit/smtpd_talk.h"

#define ONE_POOL \
	"posthorn.source { name = 's', source_address = '192.0.2.1' }\n" \
	"posthorn.pool { name = 'p', entries = { { name = 's' } } }\n"
#define MESSAGE "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
#define TEXT "From: a@b.example\r\n\r\nx\r\n.\r\n"

static char dir[] = "/tmp/posthorn-smtpd-sign-XXXXXX";
static struct world x;
static struct policy *policy;
static struct signd *role;
/* In the role's place, when a test has it so. */
static struct ipc *peer;
static unsigned n_asked;
static uint32_t last_id;

static struct policy *
load(const char *text, struct conf_errors *errs)
{
	char file[] = "/tmp/posthorn-smtpd-sign-policy-XXXXXX";
	FILE *f = fdopen(mkstemp(file), "w");
	struct policy *p;

	assert_non_null(f);
	fputs(ONE_POOL, f);
	fputs(text, f);
	fclose(f);
	p = policy_load(file, errs);
	unlink(file);
	return p;
}

static void
on_ask(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	(void)ipc, (void)arg;
	n_asked++;
	last_id = m->id;
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	(void)ipc, (void)why, (void)arg;
	peer = NULL;
}

static const struct ipc_rule rules[] = { { SIGN_ASK, false, SIGN_ASK_MAX, "ask", on_ask } };
static const struct ipc_ops ops = { rules, 1, on_gone };

static void
role_start(bool is_real)
{
	int pair[2];

	if (peer != NULL)
		ipc_close(&peer);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	sign_client_set_peer(x.w.sign, pair[0]);
	if (is_real) {
		signd_free(&role);
		role = signd_new(x.loop, dir);
		signd_set_worker(role, pair[1]);
	} else {
		peer = ipc_new(x.loop, pair[1], &ops, NULL);
	}
}

static void
begin(const char *text, bool is_real)
{
	struct conf_errors errs = { NULL, 0 };

	if ((policy = load(text, &errs)) == NULL)
		fail_msg("%s", errs.v[0].text);
	world_init(&x, NULL);
	trust(&x);
	x.w.policy = policy;
	policy_set_host(policy, x.loop, NULL, 20000);
	x.w.sign = sign_client_new(x.loop);
	n_asked = 0;
	role_start(is_real);
}

static void
end(void)
{
	session_free_all(&x.w);
	policy_free(&policy);
	sign_client_free(&x.w.sign);
	signd_free(&role);
	ipc_close(&peer);
	world_clear(&x);
}

static void
key_make(const char *domain, const char *selector, enum dkim_algorithm algorithm)
{
	struct dkim_key *k = dkim_key_generate(algorithm, 1024);
	char *sub = xasprintf("%s/%s", dir, domain), *path = xasprintf("%s/%s.key", sub, selector);
	FILE *f;

	mkdir(sub, 0755);
	unlink(path);
	assert_non_null(f = fopen(path, "w"));
	fchmod(fileno(f), 0600);
	assert_int_equal(dkim_key_write(k, f), 0);
	fclose(f);
	free(sub);
	free(path);
	dkim_key_free(&k);
}

static void
connect_at_data(const char *address)
{
	x.out_len = 0;
	world_connect_from(&x, LISTEN_SMTPD, address);
	expect_codes(&x, "banner", "220");
	talk(&x, "EHLO x\r\n", "250");
	talk(&x, MESSAGE, "250 250 354");
	x.out_len = 0;
}

static char *
content(void)
{
	const char *err = NULL;
	struct record rec;
	char *text, *copy;
	size_t len;

	assert_int_equal(record_verify(x.fds[x.last.segment], x.last.segment, x.last.offset, &rec, &err), 1);
	text = record_read_content(x.fds[x.last.segment], &rec, &len, &err);
	assert_non_null(text);
	copy = xmemdup0(text, len);
	free(text);
	return copy;
}

static unsigned
count(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)) != NULL; text++)
		n++;
	return n;
}

static void
test_signed(void **state)
{
	char *text;

	(void)state;
	key_make("b.example", "s1", DKIM_RSA);
	key_make("b.example", "s2", DKIM_ED25519);
	begin("posthorn.dkim { domain = 'b.example', selector = 's1' }\n"
	    "posthorn.dkim { domain = 'b.example', selector = 's2' }\n"
	    "kumo.on('smtp_server_message_received', function(msg)\n"
	    "  msg:dkim_sign { domain = 'B.example', selector = 's1' }\n"
	    "  msg:append_header('X-Late', 'yes')\n"
	    "end)\n", true);
	connect_at_data(INSIDE);
	talk(&x, TEXT MESSAGE, "250 250 250 354"); /* pipelined: the order stays */
	assert_int_equal(x.n_received, 1);
	text = content();
	/* The event's first, and it is not doubled by the definition. The key of the other is not what was guessed. */
	assert_int_equal(strncmp(text, "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=b.example; s=s1;", 72),
	    0);
	assert_int_equal(count(text, "DKIM-Signature:"), 2);
	assert_non_null(strstr(text, "a=ed25519-sha256;"));
	assert_non_null(strstr(text, "X-Late: yes"));
	free(text);
	end();
}

static void
test_ends(void **state)
{
	int i;

	(void)state;
	begin("posthorn.dkim { domain = 'b.example', selector = 's1' }\n", false);
	for (i = 0; i < 2; i++) {
		n_asked = 0;
		connect_at_data(INSIDE);
		client_send(&x, TEXT, strlen(TEXT));
		UNTIL(x.loop, n_asked == 1);
		if (i == 0) { /* the client goes */
			close(x.fd);
			x.fd = -1;
			run_ms(x.loop, 5);
		} else { /* the server goes */
			session_stop_all(&x.w);
			UNTIL(x.loop, world_read(&x));
			assert_non_null(strstr(x.out, "421 4.3.2"));
		}
	}
	/* And end() ends it. */
	n_asked = 0;
	connect_at_data(INSIDE);
	client_send(&x, TEXT, strlen(TEXT));
	UNTIL(x.loop, n_asked == 1);
	assert_int_equal(x.n_received, 0);
	end();
}

static void
answer(const char *bytes, size_t len)
{
	struct wbuf w;

	wbuf_init(&w);
	wbuf_raw(&w, bytes, len);
	ipc_send(peer, SIGN_ANSWER, last_id, &w, -1);
	wbuf_clear(&w);
}

static void
say(struct sign_answer *a)
{
	struct wbuf w;

	wbuf_init(&w);
	sign_answer_encode(a, &w);
	answer((const char *)w.p, w.len);
	wbuf_clear(&w);
}

static void
test_role(void **state)
{
	char current[] = "sa", why[] = "no", none[] = "";
	struct sign_answer other = { .status = SIGN_OTHER, .algorithm = DKIM_RSA, .text = current };
	struct sign_answer failed = { .status = SIGN_FAILED, .text = why }, ok = { .status = SIGN_OK, .text = none,
		.len = 3 };
	char *text;
	int i;

	(void)state;
	begin("posthorn.dkim { domain = 'b.example' }\n", false);
	connect_at_data(INSIDE);
	client_send(&x, TEXT, strlen(TEXT));
	UNTIL(x.loop, n_asked == 1);
	/* It dies: the next one is asked. It talks nonsense: so is the one after. */
	role_start(false);
	UNTIL(x.loop, n_asked == 2);
	answer("\7", 1);
	UNTIL(x.loop, peer == NULL);
	role_start(false);
	UNTIL(x.loop, n_asked == 3);
	say(&other);
	UNTIL(x.loop, n_asked == 4);
	say(&ok);
	UNTIL(x.loop, (world_read(&x), x.out_len > 0));
	assert_int_equal(strncmp(x.out, "250 2.0.0 Ok", 12), 0);
	text = content();
	assert_non_null(strstr(text, " s=sa;"));
	free(text);
	talk(&x, MESSAGE, "250 250 354");
	x.out_len = 0;
	client_send(&x, TEXT, strlen(TEXT));
	UNTIL(x.loop, n_asked == 5); /* with what turned out, at once */
	say(&failed);
	expect_codes(&x, "refused", "451");
	assert_non_null(strstr(x.out, "451 4.3.5 The message cannot be signed"));
	/* Another one each time: it does not go on for ever. */
	talk(&x, MESSAGE, "250 250 354");
	x.out_len = 0;
	client_send(&x, TEXT, strlen(TEXT));
	for (i = 6; i < 9; i++) {
		UNTIL(x.loop, n_asked == (unsigned)i);
		current[1]++;
		say(&other);
	}
	expect_codes(&x, "refused", "451");
	assert_int_equal(x.n_received, 1);
	end();
}

/* Larger than what stays in memory: hashed as it goes by. */
static void
test_large(void **state)
{
	size_t n = 3 << 20, i;
	char *big = xmalloc(n + 64), *text, *p, hash[64];
	uint8_t digest[DKIM_HASH];
	struct dkim_body *b = dkim_body_new(DKIM_RELAXED);

	(void)state;
	key_make("b.example", "s1", DKIM_RSA);
	begin("posthorn.dkim { domain = 'b.example', selector = 's1' }\n", true);
	connect_at_data(INSIDE);
	strcpy(big, "From: a@b.example\r\n\r\n");
	for (i = strlen(big); i + 32 < n; i += 32)
		memcpy(big + i, "0123456789 abcdef  0123456789 \r\n", 32);
	dkim_body_update(b, big + 21, i - 21);
	dkim_body_final(&b, digest);
	strcpy(big + i, ".\r\n");
	talk(&x, big, "250");
	text = content();
	EVP_EncodeBlock((uint8_t *)hash, digest, sizeof digest);
	assert_non_null(p = strstr(text, "bh="));
	assert_int_equal(strncmp(p + 3, hash, strlen(hash)), 0);
	free(text);
	free(big);
	end();
}

static void
test_untrusted(void **state)
{
	char *text;

	(void)state;
	key_make("b.example", "s1", DKIM_RSA);
	begin("posthorn.listener_domain { name = 'd.example', relay_to = true }\n"
	    "posthorn.dkim { domain = 'b.example', selector = 's1' }\n", true);
	connect_at_data(OUTSIDE);
	talk(&x, TEXT, "250");
	text = content();
	assert_null(strstr(text, "DKIM-Signature"));
	free(text);
	end();
}

static void
test_definitions(void **state)
{
	static const struct {
		const char *text, *error;
	} t[] = {
		{ "posthorn.dkim { domain = 'a.example' }", NULL },
		{ "posthorn.dkim { selector = 'x' }", "domain is missing" },
		{ "posthorn.dkim { domain = 'a..b' }", "is not a domain" },
		{ "posthorn.dkim { domain = 'a.example', selector = '../x' }", "is not a selector" },
		{ "posthorn.dkim { domain = 'a.example', key_file = 'x' }", "a key_file needs its selector" },
		{ "posthorn.dkim { domain = 'a.example', key = { key_data = 'x' } }", "no place for a private key" },
		{ "posthorn.dkim { domain = 'a.example', headers = { 'To' } }", "must have 'From' among them" },
		{ "posthorn.dkim { domain = 'a.example', headers = { 'From', 'a b' } }",
		    "not the name of a header" },
		{ "posthorn.dkim { domain = 'a.example', canonicalization = 'nice' }",
		    "is not like 'relaxed/relaxed'" },
		{ "posthorn.dkim { domain = 'a.example', body_canonicalization = 'simple/simple' }",
		    "is not 'relaxed' or 'simple'" },
		{ "posthorn.dkim { domain = 'a.example', body_canonicalization = 'Simple', expiration = '7d' }",
		    NULL },
		{ "posthorn.dkim { domain = 'a.example', algorithm = 'rsa-sha1' }", "neither 'rsa-sha256' nor" },
		{ "posthorn.dkim { domain = 'a.example', senders = {} }", "senders has no domain" },
		{ "posthorn.dkim { domain = 'a.example', sender = '*' }", "did you mean" },
		{ "posthorn.dkim { domain = 'a.example', ttl = 60 }", "ttl" },
		{ "posthorn.dkim.signr { domain = 'a.example' }", "did you mean posthorn.dkim.signer" },
		{ "kumo.dkim.rsa_sha256_signer { domain = 'a.example', selector = 's', headers = { 'From' }, "
		    "key = '/etc/dkim/s.key', over_sign = true }", NULL },
		{ "kumo.dkim.ed25519_sha256_signer { domain = 'a.example', expiration = -1 }", "expiration" },
	};
	struct conf_errors errs;
	struct policy *p;
	size_t i, j;
	bool ok;

	(void)state;
	for (i = 0; i < N(t); i++) {
		errs = (struct conf_errors){ NULL, 0 };
		p = load(t[i].text, &errs);
		ok = t[i].error == NULL && p != NULL;
		for (j = 0; t[i].error != NULL && j < errs.n; j++)
			ok = ok || strstr(errs.v[j].text, t[i].error) != NULL;
		if (!ok)
			fail_msg("%s: %s", t[i].text, errs.n > 0 ? errs.v[0].text : "no error");
		conf_errors_clear(&errs);
		policy_free(&p);
	}
}

static void
expect_signers(const struct policy *p, const char *domain, const char *want)
{
	struct dkim_signer *v[POLICY_SIGNERS_MAX];
	size_t i, n = policy_dkim_signers(p, domain, v, POLICY_SIGNERS_MAX);
	char got[256] = "";

	for (i = 0; i < n; i++)
		snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i > 0 ? " " : "", v[i]->domain);
	assert_string_equal(got, want);
}

static void
test_matching(void **state)
{
	struct conf_errors errs = { NULL, 0 };
	struct policy *p = load("posthorn.dkim { domain = 'b.example', subdomains = true }\n"
	    "posthorn.dkim { domain = 'a.example', senders = { 'C.example', 'd.example', 'b.example' } }\n"
	    "posthorn.dkim { domain = 'esp.example', senders = '*' }\n"
	    "posthorn.dkim { domain = 'a.example' }\n", &errs);

	(void)state;
	assert_non_null(p);
	assert_true(policy_may_sign(p));
	expect_signers(p, "b.example", "b.example a.example esp.example");
	expect_signers(p, "x.b.example", "b.example esp.example");
	expect_signers(p, "xb.example", "esp.example");
	expect_signers(p, "c.example", "a.example esp.example");
	expect_signers(p, "x.c.example", "esp.example");
	expect_signers(p, "a.example", "esp.example a.example");
	expect_signers(p, "", "esp.example");
	policy_free(&p);
}

static int
clean(void **state)
{
	char *command = xasprintf("rm -rf %s", dir);

	(void)state;
	assert_int_equal(system(command), 0);
	free(command);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_signed), cmocka_unit_test(test_ends), cmocka_unit_test(test_role),
		cmocka_unit_test(test_large), cmocka_unit_test(test_untrusted), cmocka_unit_test(test_definitions),
		cmocka_unit_test(test_matching),
	};

	signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_LVL_ERROR);
	if (mkdtemp(dir) == NULL)
		return 1;
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, clean);
}
