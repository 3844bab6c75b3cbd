/* The admin command's client: what a daemon answers, and what it must never believe. The peer is a child process with
 * a listening socket that writes the given bytes. */
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"
#include "posthorn/adm_client.h"

static void
frame(struct wbuf *out, uint16_t type, const struct wbuf *body, int lie)
{
	wbuf_u32(out, (uint32_t)((int)body->len + lie));
	wbuf_u16(out, type);
	wbuf_u16(out, 0);
	wbuf_u32(out, 1);
	wbuf_raw(out, body->p, body->len);
}

static void
data(struct wbuf *out, const char *text)
{
	struct wbuf body;

	wbuf_init(&body);
	ql_str_encode(text, &body);
	frame(out, QL_ADMIN_DATA, &body, 0);
	wbuf_clear(&body);
}

static void
end(struct wbuf *out, uint8_t status, const char *sentence)
{
	struct wbuf body;

	wbuf_init(&body);
	ql_end_encode(status, sentence, &body);
	frame(out, QL_ADMIN_END, &body, 0);
	wbuf_clear(&body);
}

/* Serves one connection: reads what comes first, writes the bytes, and closes after `linger` ms. */
static pid_t
serve(const char *dir, const struct wbuf *bytes, unsigned linger)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), c;
	char buf[4096];
	pid_t pid;

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/posthorn.sock", dir);
	unlink(sun.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, 1), 0);
	fflush(stdout);
	if ((pid = fork()) == 0) {
		c = accept(fd, NULL, NULL);
		if (read(c, buf, sizeof(buf)) > 0 && bytes->len > 0)
			(void)!write(c, bytes->p, bytes->len);
		usleep(linger * 1000);
		_exit(0);
	}
	close(fd);
	return pid;
}

struct seen {
	unsigned n;
	char last[100];
};

static bool
see(json_t *row, const char *text, void *arg)
{
	struct seen *s = arg;

	assert_true(json_is_object(row));
	snprintf(s->last, sizeof(s->last), "%s", text);
	return ++s->n < 3;
}

static int
ask(const struct wbuf *bytes, unsigned linger, int timeout, struct seen *s, char **sentence)
{
	char dir[] = "/tmp/posthorn-client-XXXXXX", path[100];
	struct adm_client *c;
	struct ql_admin req;
	pid_t pid;
	int rv;

	memset(s, 0, sizeof(*s));
	assert_non_null(mkdtemp(dir));
	pid = serve(dir, bytes, linger);
	c = adm_connect(dir, ADM_SUPERVISOR, NULL, sentence);
	assert_non_null(c);
	adm_request_init(&req, "status");
	adm_request_add(&req, "key", "value");
	rv = adm_ask(c, &req, timeout, see, s, sentence);
	ql_admin_clear(&req);
	adm_disconnect(&c);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	snprintf(path, sizeof(path), "%s/posthorn.sock", dir);
	unlink(path);
	rmdir(dir);
	return rv;
}

static void
test_answers(void **state)
{
	struct wbuf out;
	struct seen s;
	char *text = NULL;

	(void)state;
	wbuf_init(&out);
	data(&out, "{\"a\":1}");
	data(&out, "{\"a\":2}");
	end(&out, 0, "");
	assert_int_equal(ask(&out, 0, 5000, &s, &text), 0);
	assert_int_equal(s.n, 2);
	assert_string_equal(s.last, "{\"a\":2}");
	free(text);
	wbuf_reset(&out);
	end(&out, 1, "no such thing");
	assert_int_equal(ask(&out, 0, 5000, &s, &text), 1);
	assert_string_equal(text, "no such thing");
	free(text);
	/* The reader has had enough. */
	wbuf_reset(&out);
	for (int i = 0; i < 10; i++)
		data(&out, "{}");
	assert_int_equal(ask(&out, 0, 5000, &s, &text), 0);
	assert_int_equal(s.n, 3);
	free(text);
	wbuf_clear(&out);
}

static void
test_malformed(void **state)
{
	static const char *const rows[] = { "", "[1]", "{\"a\":", "7", "{} {}" };
	struct wbuf out, body;
	struct seen s;
	char *text = NULL;

	(void)state;
	wbuf_init(&out);
	wbuf_init(&body);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		wbuf_reset(&out);
		data(&out, rows[i]);
		end(&out, 0, "");
		assert_int_equal(ask(&out, 0, 5000, &s, &text), -1);
		assert_int_equal(s.n, 0);
		free(text);
	}
	wbuf_reset(&out); /* an END with a byte too many */
	ql_end_encode(0, "ok", &body);
	wbuf_u8(&body, 0);
	frame(&out, QL_ADMIN_END, &body, 0);
	assert_int_equal(ask(&out, 0, 5000, &s, &text), -1);
	free(text);
	wbuf_reset(&out); /* a length beyond all measure: refused before anything is allocated */
	wbuf_reset(&body);
	frame(&out, QL_ADMIN_DATA, &body, 0x7fffffff);
	assert_int_equal(ask(&out, 0, 5000, &s, &text), -1);
	assert_non_null(strstr(text, "too long"));
	free(text);
	wbuf_reset(&out); /* cut short */
	data(&out, "{\"a\":1}");
	out.len -= 3;
	assert_int_equal(ask(&out, 0, 5000, &s, &text), -1);
	free(text);
	wbuf_clear(&out);
	wbuf_clear(&body);
}

static void
test_silence(void **state)
{
	struct wbuf out;
	struct seen s;
	char *text = NULL;
	int64_t start = mono_ms();

	(void)state;
	wbuf_init(&out);
	assert_int_equal(ask(&out, 300, 100, &s, &text), -1);
	assert_string_equal(text, "the supervisor does not answer: no answer in time");
	assert_true(mono_ms() - start < 5000);
	free(text);
	/* Closed without a word: that is how a peer refuses us. */
	assert_int_equal(ask(&out, 0, 5000, &s, &text), -1);
	assert_string_equal(text, "the supervisor refused the connection: be root or in the admin group");
	free(text);
	wbuf_clear(&out);
}

static void
test_absent(void **state)
{
	bool is_absent = false;
	char *text = NULL;

	(void)state;
	assert_null(adm_connect("/nonexistent", ADM_QUEUED, &is_absent, &text));
	assert_true(is_absent);
	assert_string_equal(text, "posthorn is not running (/nonexistent/queued.sock: No such file or directory)");
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_answers), cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_silence), cmocka_unit_test(test_absent) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
