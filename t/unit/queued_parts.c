/* Parts of queued that need no daemon: the wake heap, names of queues, the verdict, rows and keys of the index. */
#include <sys/stat.h>

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/xalloc.h"
#include "mail/names.h"
#include "queued/logfiles.h"
#include "queued/queued.h"
#include "queued/rebound.h"
#include "queued/squeue.h"
#include "queued/store.h"
#include "queued/verdict.h"
#include "queued/wake.h"

#define N 5000u

static int
rm_path(const char *path, const struct stat *sb, int flag, struct FTW *ftw)
{
	(void)sb;
	(void)flag;
	(void)ftw;
	return remove(path);
}

/* Against a plain array. */
static void
test_wake(void **state)
{
	static int64_t model[N + 1];
	struct wake *w = wake_new();
	uint32_t i, id;
	int64_t due, last = INT64_MIN, min;
	size_t n = 0;
	unsigned step;

	(void)state;
	srandom(7);
	for (i = 0; i <= N; i++)
		model[i] = INT64_MAX;
	for (step = 0; step < 60000; step++) {
		id = 1 + (uint32_t)random() % N;
		due = random() % 1000000;
		switch (random() % 4) {
		case 0:
			wake_remove(w, id);
			model[id] = INT64_MAX;
			break;
		case 1:
			wake_sooner(w, id, due);
			if (due < model[id])
				model[id] = due;
			break;
		default:
			wake_set(w, id, due, 0);
			model[id] = due;
		}
		assert_int_equal(wake_get(w, id), model[id]);
	}
	for (i = 1, min = INT64_MAX; i <= N; i++) {
		n += model[i] != INT64_MAX;
		if (model[i] < min)
			min = model[i];
		assert_int_equal(wake_get(w, i), model[i]);
	}
	assert_int_equal(wake_count(w), n);
	while (wake_first(w, &id, &due)) {
		assert_true(due >= last);
		assert_int_equal(due, model[id]);
		if (last == INT64_MIN)
			assert_int_equal(due, min);
		last = due;
		wake_remove(w, id);
	}
	wake_free(&w);
	assert_null(w);
}

static void
test_wake_notes(void **state)
{
	struct wake *w = wake_new();
	uint32_t id;
	int64_t due;

	(void)state;
	wake_set(w, 1, 500, 0);
	wake_set(w, 2, 900, WAKE_UNROUTED);
	wake_set(w, 3, INT64_MAX, WAKE_PARKED);
	wake_sooner(w, 3, 10); /* parked ones wait for no time */
	assert_true(wake_first(w, &id, &due));
	assert_int_equal(id, 1);
	wake_noted(w, WAKE_UNROUTED, 100);
	assert_true(wake_first(w, &id, &due));
	assert_int_equal(id, 2);
	assert_int_equal(wake_count_noted(w, WAKE_UNROUTED), 1);
	assert_int_equal(wake_note(w, 3), WAKE_PARKED);
	wake_free(&w);
}

static void
test_queue_names(void **state)
{
	static const struct {
		const char *campaign, *tenant, *domain, *name;
	} v[] = {
		{ NULL, NULL, "d.example", "d.example" },
		{ NULL, "acme", "d.example", "acme@d.example" },
		{ "spring", NULL, "d.example", "spring:@d.example" },
		{ "spring", "acme", "d.example", "spring:acme@d.example" },
		{ "spring", "acme", "[127.0.0.1]", "spring:acme@[127.0.0.1]" },
		{ NULL, NULL, "[IPv6:::1]", "[IPv6:::1]" },
	};
	char name[QUEUE_NAME_MAX], *c, *t, *d;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		queue_name_make(name, sizeof(name), v[i].campaign, v[i].tenant, v[i].domain);
		assert_string_equal(name, v[i].name);
		queue_name_split(name, &c, &t, &d);
		assert_string_equal(d, v[i].domain);
		assert_true((c == NULL) == (v[i].campaign == NULL) && (c == NULL || strcmp(c, v[i].campaign) == 0));
		assert_true((t == NULL) == (v[i].tenant == NULL) && (t == NULL || strcmp(t, v[i].tenant) == 0));
		free(c);
		free(t);
		free(d);
	}
	queue_name_split("acme@d.example!relay.example", &c, &t, &d);
	assert_string_equal(d, "relay.example");
	free(c);
	free(t);
	free(d);
}

static void
test_verdict(void **state)
{
	static const struct {
		uint16_t code;
		enum phase phase;
		bool is_local;
		enum verdict_action action;
	} v[] = {
		{ 450, PHASE_RCPT, false, VERDICT_RETRY },
		{ 421, PHASE_DOT, false, VERDICT_RETRY },
		{ 550, PHASE_RCPT, false, VERDICT_BOUNCE },
		{ 552, PHASE_DOT, false, VERDICT_BOUNCE },
		{ 554, PHASE_MAIL, false, VERDICT_BOUNCE },
		{ 554, PHASE_BANNER, false, VERDICT_RETRY },
		{ 550, PHASE_EHLO, false, VERDICT_RETRY },
		{ 556, PHASE_DNS, true, VERDICT_BOUNCE },
		{ 550, PHASE_EHLO, true, VERDICT_BOUNCE },
		{ 0, PHASE_CONNECT, true, VERDICT_RETRY },
		{ 451, PHASE_CONNECT, true, VERDICT_RETRY },
	};
	struct verdict_input in;
	struct verdict out;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		memset(&in, 0, sizeof(in));
		in.code = v[i].code;
		in.phase = v[i].phase;
		in.is_local = v[i].is_local;
		verdict_decide(NULL, &in, &out);
		assert_int_equal(out.action, v[i].action);
		assert_non_null(out.class);
	}
}

/* By the rules what a peer said, never what we said. */
static void
test_class(void **state)
{
	struct conf_strs files = { (char *[]){ (char[]){ "conf/bounce_rules" } }, 1 };
	struct conf_errors errs = { NULL, 0 };
	struct bounce_rules *rules = bounce_rules_load(&files, &errs);
	struct verdict_input in = { .code = 550, .phase = PHASE_RCPT, .text = "user unknown" };
	struct verdict out;

	(void)state;
	assert_non_null(rules);
	verdict_decide(rules, &in, &out);
	assert_string_equal(out.class, "InvalidRecipient");
	assert_int_equal(out.action, VERDICT_BOUNCE);
	in.is_local = true;
	in.phase = PHASE_CONNECT;
	in.code = 451;
	verdict_decide(rules, &in, &out);
	assert_string_equal(out.class, "NoAnswerFromHost");
	in = (struct verdict_input){ .code = 550, .phase = PHASE_RCPT, .text = "requested action not taken: mailbox "
	    "unavailable", .provider = "outlook" };
	verdict_decide(rules, &in, &out);
	assert_string_equal(out.class, "InvalidRecipient");
	in = (struct verdict_input){ .code = 421, .phase = PHASE_BANNER };
	verdict_decide(rules, &in, &out);
	assert_string_equal(out.class, "BadConnection");
	assert_int_equal(out.action, VERDICT_RETRY);
	bounce_rules_free(&rules);
}

static void
test_backoff(void **state)
{
	struct squeue sq = { .config.schedule = { .retry_interval = 60000, .max_retry_interval = 600000,
		.factor = 2000 } };
	static const int64_t want[] = { 60000, 120000, 240000, 480000, 600000, 600000 };
	int64_t delay, low = INT64_MAX, high = 0;
	unsigned i, k;

	(void)state;
	for (i = 0; i < 6; i++) {
		for (k = 0; k < 200; k++) {
			delay = squeue_backoff(&sq, i + 1, NULL);
			assert_in_range(delay, want[i], want[i] * 11 / 10);
			if (i == 0 && delay < low)
				low = delay;
			if (i == 0 && delay > high)
				high = delay;
		}
	}
	assert_true(high - low > 3000); /* it does jitter */
	assert_in_range(squeue_backoff(&sq, 65535, NULL), 600000, 660000);
}

/* What goes with an envelope that was rebound: as it was after a round trip; any cut or version is noticed. */
static void
test_rebound(void **state)
{
	struct meta meta[] = { { xstrdup("k"), xstrdup("v") }, { xstrdup("l"), xstrdup("") } };
	struct rebound *r = xcalloc(1, sizeof(*r)), *back;
	struct wbuf w;
	size_t i;

	(void)state;
	wbuf_init(&w);
	r->tenant = xstrdup("acme");
	rebound_set_meta(r, meta, 2);
	rebound_set_head(r, "X: y\r\n\r\n", 8);
	rebound_encode(r, &w);
	back = rebound_decode((struct slice){ (const char *)w.p, w.len });
	assert_non_null(back);
	assert_true(rebound_equal(r, back) && !rebound_equal(r, NULL) && rebound_equal(NULL, NULL));
	assert_string_equal(back->tenant, "acme");
	assert_null(back->campaign);
	assert_int_equal(back->n_meta, 2);
	assert_int_equal(back->head_len, 8);
	back->head[0] = 'Y';
	assert_false(rebound_equal(r, back));
	rebound_free(&back);
	for (i = 0; i < w.len; i++)
		assert_null(rebound_decode((struct slice){ (const char *)w.p, i }));
	w.p[0]++;
	assert_null(rebound_decode((struct slice){ (const char *)w.p, w.len }));
	rebound_free(&r);
	wbuf_clear(&w);
	for (i = 0; i < 2; i++) {
		free(meta[i].key);
		free(meta[i].value);
	}
}

static void
test_store_rows(void **state)
{
	char dir[] = "/tmp/queued-store-XXXXXX", path[64], long_name[1200];
	struct envid id = { { { 1, 2, 3 } }, 513 }, back;
	struct env_row row = { 7, 4096, 3, 2, ENV_DELAY_LOGGED | ENV_BORN | ENV_REBOUND, 1234567, 7654321, 99,
	    451, { 4, 7, 1 }, { "another tenant", 14 }, { "greylisted", 10 } }, got;
	struct queue_row qrow = { 9, { long_name, 0 }, 3, 1 };
	uint8_t key[ENV_KEY_LEN];
	enum store_opened what;
	struct store *st;
	char *err = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/index", dir);
	st = store_open(path, 64 << 20, &what, &err);
	assert_non_null(st);
	env_key_pack(&id, key);
	env_key_unpack(key, &back);
	assert_int_equal(envid_cmp(&id, &back), 0);
	memset(long_name, 'q', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = '\0';
	qrow.name.len = sizeof(long_name) - 1;
	assert_int_equal(store_begin(st), 0);
	assert_int_equal(store_put_env(st, key, &row), 0);
	assert_int_equal(store_put_queue(st, &qrow), 0);
	assert_int_equal(store_commit(st), 0);
	store_read_begin(st);
	assert_true(store_get_env(st, key, &got));
	assert_int_equal(got.offset, 4096);
	assert_int_equal(got.due, 1234567);
	assert_int_equal(got.born, 99);
	assert_int_equal(got.enhanced.detail, 1);
	assert_memory_equal(got.text.base, "greylisted", 10);
	assert_int_equal(got.text.len, 10);
	assert_int_equal(got.rebound.len, 14);
	assert_memory_equal(got.rebound.base, "another tenant", 14);
	assert_true(store_has_message(st, &id.msg));
	assert_int_equal(store_find_queue(st, long_name), 9);
	long_name[sizeof(long_name) - 2] = 'r';
	assert_int_equal(store_find_queue(st, long_name), 0);
	store_read_end(st);
	store_close(&st);
	/* An index of another schema is refused, not touched. */
	st = store_open(path, 64 << 20, &what, &err);
	assert_non_null(st);
	assert_int_equal(store_begin(st), 0);
	assert_int_equal(store_put(st, DB_META, "schema", 6, "\0\0\0\x63", 4), 0);
	assert_int_equal(store_commit(st), 0);
	store_close(&st);
	assert_null(store_open(path, 64 << 20, &what, &err));
	assert_int_equal(what, STORE_UNKNOWN_VERSION);
	assert_non_null(strstr(err, "schema"));
	free(err);
	(void)snprintf(path, sizeof(path), "rm -r %s", dir);
	assert_int_equal(system(path), 0);
}

/* A file for each hour, made when its hour comes; `current` always names the last and is never missing. */
static void
test_logfiles(void **state)
{
	static const struct {
		int64_t wall;
		const char *hour;
	} steps[] = {
		{ 1785000000000LL, "20260725T17.jsonl" }, { 1785002399999LL, "20260725T17.jsonl" },
		{ 1785002400000LL, "20260725T18.jsonl" }, { 1785006000001LL, "20260725T19.jsonl" },
		{ 1785002400000LL, "20260725T18.jsonl" }, /* the clock was set back */
	};
	char dir[] = "/tmp/queued-logfiles-XXXXXX", path[128], target[64];
	char missing[] = "/nonexistent/events", *err = NULL;
	struct queued q = { .events_dir = NULL };
	struct logfiles *l;
	struct stat sb;
	const char *hour;
	ssize_t n;
	size_t i;

	(void)state;
	assert_non_null(mkdtemp(dir));
	q.loop = loop_new();
	q.events = eventlog_new(q.loop, "queued");
	(void)snprintf(path, sizeof(path), "%s/.current", dir);
	assert_int_equal(symlink("left by a crash", path), 0);
	q.events_dir = missing;
	assert_null(logfiles_new(&q, &err));
	assert_non_null(strstr(err, missing));
	free(err);
	q.events_dir = dir;
	l = logfiles_new(&q, &err);
	assert_non_null(l);
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		logfiles_at(l, steps[i].wall);
		(void)snprintf(path, sizeof(path), "%s/current", dir);
		n = readlink(path, target, sizeof(target) - 1);
		assert_true(n > 0);
		target[n] = '\0';
		assert_string_equal(target, steps[i].hour);
		assert_int_equal(stat(path, &sb), 0);
		assert_true(S_ISREG(sb.st_mode));
		assert_int_not_equal(logfiles_current(l, &hour), -1);
		assert_memory_equal(hour, steps[i].hour, strlen(hour));
	}
	logfiles_free(&l);
	eventlog_free(&q.events);
	loop_free(&q.loop);
	assert_int_equal(nftw(dir, rm_path, 8, FTW_DEPTH | FTW_PHYS), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wake), cmocka_unit_test(test_logfiles),
		cmocka_unit_test(test_wake_notes),
		cmocka_unit_test(test_queue_names),
		cmocka_unit_test(test_verdict),
		cmocka_unit_test(test_class),
		cmocka_unit_test(test_backoff),
		cmocka_unit_test(test_rebound),
		cmocka_unit_test(test_store_rows),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
