/* The suppression list: what is the same address, scopes, expiry, which row stays, thresholds, damage, and readers
 * beside a writer. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/suppress.h"
#include "mail/suppress_store.h"

#define NOW INT64_C(1790000000000)

static char dir[64];

static int
set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/posthorn-suppress-XXXXXX");
	return mkdtemp(dir) == NULL;
}

static int
tear_down(void **state)
{
	char cmd[128];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

static struct suppress_store *
store(void)
{
	char *err = NULL;
	struct suppress_store *st = suppress_store_open(dir, &err);

	if (st == NULL)
		fail_msg("%s", err);
	return st;
}

static struct suppress_row
row(const char *address, unsigned scope, const char *value, unsigned reason)
{
	struct suppress_row r = { .added = NOW };
	const char *err = NULL;

	r.r.address = xstrdup(address);
	r.r.scope = (uint8_t)scope;
	r.r.scope_value = value == NULL ? NULL : xstrdup(value);
	r.r.reason = (uint8_t)reason;
	r.r.origin = SUPPRESS_BY_ADMIN;
	r.r.when = NOW;
	if (suppress_row_settle(&r, &err) == -1)
		fail_msg("%s: %s", address, err);
	return r;
}

static enum suppress_put
put_until(struct suppress_store *st, const char *address, unsigned scope, const char *value, unsigned reason,
    int64_t expires)
{
	struct suppress_row r = row(address, scope, value, reason);
	enum suppress_put result;

	r.r.expires = expires;
	assert_int_equal(suppress_store_begin(st), 0);
	result = suppress_store_put(st, &r, NOW);
	assert_int_equal(suppress_store_commit(st), 0);
	suppress_row_clear(&r);
	return result;
}

static enum suppress_put
put(struct suppress_store *st, const char *address, unsigned scope, const char *value, unsigned reason)
{
	return put_until(st, address, scope, value, reason, 0);
}

static enum suppress_answer
ask(struct suppress *l, const char *address, const char *tenant, const char *sender_domain)
{
	return suppress_look_up(l, address, tenant, sender_domain, NOW, NULL, NULL);
}

static void
same(const char *a, const char *b)
{
	char one[ADDRESS_MAX], other[ADDRESS_MAX];
	const char *err;

	assert_int_equal(suppress_target(a, one, &err), 0);
	assert_int_equal(suppress_target(b, other, &err), 0);
	assert_string_equal(one, other);
}

static void
different(const char *a, const char *b)
{
	char one[ADDRESS_MAX], other[ADDRESS_MAX];
	const char *err;

	assert_int_equal(suppress_target(a, one, &err), 0);
	assert_int_equal(suppress_target(b, other, &err), 0);
	assert_string_not_equal(one, other);
}

static void
refused(const char *s)
{
	char out[ADDRESS_MAX];
	const char *err = NULL;

	assert_int_equal(suppress_target(s, out, &err), -1);
	assert_non_null(err);
}

static void
test_same_address(void **state)
{
	char longest[400];

	(void)state;
	same("[IPv6:2001:DB8:0::1]", "[ipv6:2001:db8::1]");
	same("a@[IPv6:2001:DB8:0::1]", "A@[ipv6:2001:db8::1]");
	same("Bob@Example.COM", "bob@example.com");
	same("\"bob\"@example.com", "bob@example.com");
	same("bob@b\xc3\xbc" "cher.example", "bob@xn--bcher-kva.example");
	same("@Example.com", "example.com");
	same("b\xc3\xbc" "cher.example", "XN--BCHER-KVA.example");
	different("b.o.b@example.com", "bob@example.com");
	different("bob+news@example.com", "bob@example.com");
	different("bob@example.com", "example.com");
	different("\"a@b\"@example.com", "b@example.com");
	different("example.com", "www.example.com");
	refused("");
	refused("@");
	refused("bob");
	refused("bob@");
	refused("bob@exa mple.com");
	refused("a\nb@example.com");
	refused("bob@example..com");
	memset(longest, 'a', sizeof(longest));
	longest[399] = '\0';
	refused(longest);
	memcpy(longest + 60, "@example.com", 13);
	same(longest, longest);
}

static void
test_keys_of_any_length(void **state)
{
	char local[70], label[64], address[300], sender[300];
	struct suppress_row r, back;
	struct suppress_key k;
	struct wbuf w;

	(void)state;
	memset(local, 'l', 64);
	local[64] = '\0';
	memset(label, 'd', 63);
	label[63] = '\0';
	snprintf(address, sizeof(address), "%s@%s.%s.%.61s", local, label, label, label); /* 254 */
	snprintf(sender, sizeof(sender), "%s.%s.%s.%.61s", label, label, label, label);   /* 253 */
	assert_int_equal(strlen(address), 254);
	r = row(address, SUPPRESS_SENDER_DOMAIN, sender, SUPPRESS_COMPLAINT);
	wbuf_init(&w);
	suppress_row_encode(&r, &k, &w);
	assert_true(k.len <= SUPPRESS_KEY_MAX);
	assert_int_equal(suppress_row_decode(k.b, k.len, w.p, w.len, &back), 0);
	assert_string_equal(back.r.address, address);
	assert_string_equal(back.r.scope_value, sender);
	suppress_row_clear(&r);
	suppress_row_clear(&back);
	wbuf_clear(&w);
}

static void
test_value(void **state)
{
	struct suppress_row r = row("a@b.example", SUPPRESS_TENANT, "acme", SUPPRESS_HARD_BOUNCE), back;
	char note[3000];
	struct suppress_key k;
	const char *err;
	struct wbuf w;
	size_t i;

	(void)state;
	memset(note, 'n', sizeof(note));
	note[2999] = '\0';
	r.r.class = xstrdup("InvalidRecipient");
	r.r.cause = xstrdup("rcpt_unknown");
	r.r.note = xstrdup(note);
	r.source = xstrdup("mailgun");
	r.r.expires = NOW + 5;
	r.r.when = NOW - 7;
	memset(&r.r.event, 0xa5, sizeof(r.r.event));
	assert_int_equal(suppress_row_settle(&r, &err), 0);
	assert_int_equal(strlen(r.r.note), SUPPRESS_NOTE_MAX);
	wbuf_init(&w);
	suppress_row_encode(&r, &k, &w);
	assert_true(w.len <= SUPPRESS_VALUE_MAX);
	assert_int_equal(suppress_row_decode(k.b, k.len, w.p, w.len, &back), 0);
	assert_string_equal(back.r.address, "a@b.example");
	assert_string_equal(back.r.scope_value, "acme");
	assert_string_equal(back.r.class, "InvalidRecipient");
	assert_string_equal(back.r.cause, "rcpt_unknown");
	assert_string_equal(back.source, "mailgun");
	assert_string_equal(back.r.note, r.r.note);
	assert_int_equal(back.r.expires, NOW + 5);
	assert_int_equal(back.r.when, NOW - 7);
	assert_int_equal(back.added, NOW);
	assert_memory_equal(&back.r.event, &r.r.event, sizeof(r.r.event));
	suppress_row_clear(&back);
	for (i = 0; i < w.len; i++)
		assert_int_equal(suppress_row_decode(k.b, k.len, w.p, i, &back), -1);
	for (i = 0; i < k.len - 4; i++)
		assert_int_equal(suppress_row_decode(k.b, i, w.p, w.len, &back), -1);
	wbuf_clear(&w);
	suppress_row_clear(&r);
}

static void
test_scopes(void **state)
{
	struct suppress_store *st = store();
	struct suppress *l = suppress_open(dir);
	struct suppress_row found;

	(void)state;
	assert_null(suppress_trouble(l));
	assert_int_equal(ask(l, "global@a.example", NULL, NULL), SUPPRESS_NOT);
	assert_int_equal(put(st, "global@a.example", SUPPRESS_GLOBAL, NULL, SUPPRESS_HARD_BOUNCE), SUPPRESS_ADDED);
	assert_int_equal(put(st, "tenant@a.example", SUPPRESS_TENANT, "acme", SUPPRESS_COMPLAINT), SUPPRESS_ADDED);
	assert_int_equal(put(st, "domain@a.example", SUPPRESS_SENDER_DOMAIN, "Shop.example", SUPPRESS_UNSUBSCRIBE),
	    SUPPRESS_ADDED);
	assert_int_equal(put(st, "gone.example", SUPPRESS_GLOBAL, NULL, SUPPRESS_MANUAL), SUPPRESS_ADDED);
	assert_int_equal(put(st, "half.example", SUPPRESS_TENANT, "acme", SUPPRESS_MANUAL), SUPPRESS_ADDED);

	assert_int_equal(ask(l, "Global@A.example", NULL, NULL), SUPPRESS_IS);
	assert_int_equal(ask(l, "globa@a.example", NULL, NULL), SUPPRESS_NOT);
	assert_int_equal(ask(l, "globall@a.example", NULL, NULL), SUPPRESS_NOT);
	assert_int_equal(ask(l, "tenant@a.example", NULL, NULL), SUPPRESS_NOT);
	assert_int_equal(ask(l, "tenant@a.example", "acme", NULL), SUPPRESS_IS);
	assert_int_equal(ask(l, "tenant@a.example", "acm", NULL), SUPPRESS_NOT);
	assert_int_equal(ask(l, "tenant@a.example", "acme2", "acme"), SUPPRESS_NOT);
	assert_int_equal(ask(l, "domain@a.example", "shop.example", NULL), SUPPRESS_NOT);
	assert_int_equal(ask(l, "domain@a.example", NULL, "SHOP.example"), SUPPRESS_IS);
	assert_int_equal(ask(l, "domain@a.example", NULL, "www.shop.example"), SUPPRESS_NOT);
	assert_int_equal(ask(l, "anybody@gone.example", "x", "y.example"), SUPPRESS_IS);
	assert_int_equal(ask(l, "anybody@www.gone.example", NULL, NULL), SUPPRESS_NOT);
	assert_int_equal(ask(l, "anybody@half.example", NULL, NULL), SUPPRESS_NOT);
	assert_int_equal(ask(l, "anybody@half.example", "acme", NULL), SUPPRESS_IS);
	assert_int_equal(ask(l, "no address at all", NULL, NULL), SUPPRESS_NOT);

	assert_int_equal(suppress_look_up(l, "tenant@a.example", "acme", NULL, NOW, &found, NULL), SUPPRESS_IS);
	assert_int_equal(found.r.reason, SUPPRESS_COMPLAINT);
	assert_string_equal(found.r.scope_value, "acme");
	suppress_row_clear(&found);

	assert_int_equal(suppress_store_begin(st), 0);
	assert_int_equal(suppress_store_remove(st, "global@a.example", SUPPRESS_TENANT, "acme"), 0);
	assert_int_equal(suppress_store_remove(st, "global@a.example", SUPPRESS_GLOBAL, NULL), 1);
	assert_int_equal(suppress_store_commit(st), 0);
	assert_int_equal(ask(l, "global@a.example", NULL, NULL), SUPPRESS_NOT);
	suppress_close(&l);
	suppress_store_close(&st);
}

static unsigned
reason_of(struct suppress *l, const char *address, int64_t now, int64_t *expires_r)
{
	struct suppress_row found;
	unsigned reason;

	if (suppress_look_up(l, address, NULL, NULL, now, &found, NULL) != SUPPRESS_IS)
		return 0;
	reason = found.r.reason;
	*expires_r = found.r.expires;
	suppress_row_clear(&found);
	return reason;
}

static void
test_expiry_and_rank(void **state)
{
	struct suppress_store *st = store();
	struct suppress *l = suppress_open(dir);
	struct suppress_key at = { .len = 0 };
	struct suppress_stats stats;
	uint64_t removed = 0;
	int64_t until;

	(void)state;
	assert_int_equal(put_until(st, "a@x.example", 1, NULL, SUPPRESS_HARD_BOUNCE, NOW + 1000), SUPPRESS_ADDED);
	assert_int_equal(reason_of(l, "a@x.example", NOW + 999, &until), SUPPRESS_HARD_BOUNCE);
	assert_int_equal(reason_of(l, "a@x.example", NOW + 1000, &until), 0);
	assert_int_equal(put_until(st, "a@x.example", 1, NULL, SUPPRESS_HARD_BOUNCE, NOW + 1000), SUPPRESS_SAME);
	assert_int_equal(put_until(st, "a@x.example", 1, NULL, SUPPRESS_IMPORTED, NOW + 500), SUPPRESS_SAME);
	/* Less to say, but longer: the reason stays. */
	assert_int_equal(put_until(st, "a@x.example", 1, NULL, SUPPRESS_IMPORTED, NOW + 2000), SUPPRESS_UPDATED);
	assert_int_equal(reason_of(l, "a@x.example", NOW + 1500, &until), SUPPRESS_HARD_BOUNCE);
	assert_int_equal(until, NOW + 2000);
	/* More to say, but shorter: the time stays. */
	assert_int_equal(put_until(st, "a@x.example", 1, NULL, SUPPRESS_COMPLAINT, NOW + 10), SUPPRESS_UPDATED);
	assert_int_equal(reason_of(l, "a@x.example", NOW + 1500, &until), SUPPRESS_COMPLAINT);
	assert_int_equal(until, NOW + 2000);
	assert_int_equal(put(st, "a@x.example", 1, NULL, SUPPRESS_MANUAL), SUPPRESS_UPDATED);
	assert_int_equal(reason_of(l, "a@x.example", NOW + 9000, &until), SUPPRESS_COMPLAINT);
	assert_int_equal(until, 0);
	/* What is over says nothing any more. */
	assert_int_equal(put_until(st, "b@x.example", 1, NULL, SUPPRESS_COMPLAINT, NOW - 1), SUPPRESS_ADDED);
	assert_int_equal(put_until(st, "b@x.example", 1, NULL, SUPPRESS_IMPORTED, NOW + 1), SUPPRESS_UPDATED);
	assert_int_equal(reason_of(l, "b@x.example", NOW, &until), SUPPRESS_IMPORTED);
	assert_int_equal(put_until(st, "c@x.example", 1, NULL, SUPPRESS_COMPLAINT, NOW - 1), SUPPRESS_ADDED);

	suppress_store_stats(st, &stats);
	assert_int_equal(stats.total, 3);
	assert_int_equal(stats.rows[SUPPRESS_GLOBAL][SUPPRESS_COMPLAINT], 2);
	assert_int_equal(stats.rows[SUPPRESS_GLOBAL][SUPPRESS_IMPORTED], 1);
	while (suppress_store_sweep(st, &at, 2, NOW, &removed) == 1)
		continue;
	assert_int_equal(removed, 1);
	suppress_store_close(&st);
	st = store();
	suppress_store_stats(st, &stats);
	assert_int_equal(stats.total, 2);
	assert_true(stats.bytes > 0);
	suppress_close(&l);
	suppress_store_close(&st);
}

static enum suppress_put
request(struct suppress_store *st, const char *address, unsigned event, int64_t when)
{
	struct suppress_request q = { .address = xstrdup(address), .scope = SUPPRESS_GLOBAL,
		.reason = SUPPRESS_HARD_BOUNCE, .origin = SUPPRESS_BY_REPLY, .cause = xstrdup("mailbox_full"),
		.when = when, .threshold = 3, .within = 1000, .spread = 100 };
	enum suppress_put r;
	const char *err;

	q.event.b[0] = (uint8_t)event;
	assert_null(suppress_request_check(&q));
	assert_int_equal(suppress_store_begin(st), 0);
	r = suppress_store_request(st, &q, NOW, &err);
	assert_int_equal(suppress_store_commit(st), 0);
	suppress_request_clear(&q);
	return r;
}

static void
test_threshold(void **state)
{
	struct suppress_store *st = store();
	struct suppress *l = suppress_open(dir);
	struct suppress_key at = { .len = 0 };
	uint64_t removed = 0;

	(void)state;
	assert_int_equal(request(st, "full@x.example", 1, NOW), SUPPRESS_COUNTED);
	assert_int_equal(request(st, "full@x.example", 1, NOW), SUPPRESS_COUNTED); /* said again */
	assert_int_equal(request(st, "full@x.example", 2, NOW + 20), SUPPRESS_COUNTED);
	assert_int_equal(request(st, "full@x.example", 3, NOW + 99), SUPPRESS_COUNTED); /* three, but too close */
	assert_int_equal(ask(l, "full@x.example", NULL, NULL), SUPPRESS_NOT);
	assert_int_equal(request(st, "FULL@x.example", 4, NOW + 100), SUPPRESS_ADDED);
	assert_int_equal(ask(l, "full@x.example", NULL, NULL), SUPPRESS_IS);
	/* Too far apart. */
	assert_int_equal(request(st, "rare@x.example", 1, NOW), SUPPRESS_COUNTED);
	assert_int_equal(request(st, "rare@x.example", 2, NOW + 900), SUPPRESS_COUNTED);
	assert_int_equal(request(st, "rare@x.example", 3, NOW + 1800), SUPPRESS_COUNTED);
	assert_int_equal(request(st, "rare@x.example", 4, NOW + 1850), SUPPRESS_ADDED);
	/* The first comes last: one old and two new are not three within the time. */
	assert_int_equal(request(st, "late@x.example", 2, NOW + 5000), SUPPRESS_COUNTED);
	assert_int_equal(request(st, "late@x.example", 3, NOW + 5200), SUPPRESS_COUNTED);
	assert_int_equal(request(st, "late@x.example", 1, NOW), SUPPRESS_COUNTED);
	assert_int_equal(request(st, "late@x.example", 4, NOW + 4900), SUPPRESS_ADDED);
	/* Half a count is forgotten. */
	assert_int_equal(request(st, "once@x.example", 1, NOW), SUPPRESS_COUNTED);
	while (suppress_store_sweep(st, &at, 10, NOW + 5000, &removed) == 1)
		continue;
	assert_int_equal(removed, 1);
	suppress_close(&l);
	suppress_store_close(&st);
}

/* Many rows, several levels of pages, in order and not. */
static void
test_many(void **state)
{
	struct suppress_store *st = store();
	struct suppress *l = suppress_open(dir);
	char address[64];
	unsigned i, n = 60000;
	struct suppress_row r;
	struct suppress_stats stats;

	(void)state;
	assert_int_equal(suppress_store_begin(st), 0);
	for (i = 0; i < n; i++) {
		snprintf(address, sizeof(address), i < n / 2 ? "user%06u@many.example" : "u%u@d%u.example",
		    i, i * 7919 % 10007);
		r = row(address, SUPPRESS_GLOBAL, NULL, SUPPRESS_IMPORTED);
		assert_int_equal(suppress_store_put(st, &r, NOW), SUPPRESS_ADDED);
		suppress_row_clear(&r);
	}
	assert_int_equal(ask(l, "user000001@many.example", NULL, NULL), SUPPRESS_NOT); /* not committed */
	assert_int_equal(suppress_store_commit(st), 0);
	for (i = 0; i < n; i++) {
		snprintf(address, sizeof(address), i < n / 2 ? "user%06u@many.example" : "u%u@d%u.example",
		    i, i * 7919 % 10007);
		assert_int_equal(ask(l, address, "acme", "s.example"), SUPPRESS_IS);
		address[0] = 'x';
		assert_int_equal(ask(l, address, "acme", "s.example"), SUPPRESS_NOT);
	}
	suppress_store_stats(st, &stats);
	assert_int_equal(stats.total, n);
	suppress_store_close(&st);
	st = store(); /* it is found sound */
	suppress_store_close(&st);
	suppress_close(&l);
}

/* A row is there in each state that the writer makes: whoever mixes two states, or follows a page that was reused, does
 * not find it. */
static void
test_reading_while_writing(void **state)
{
	struct suppress_store *st = store();
	struct suppress *l;
	unsigned i, j, n = 0;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(put(st, "m@always.example", 1, NULL, SUPPRESS_MANUAL), SUPPRESS_ADDED);
	suppress_store_close(&st);
	if ((pid = fork()) == 0) {
		st = store();
		for (i = 0; i < 200; i++) {
			if (suppress_store_begin(st) == -1)
				_exit(1);
			for (j = 0; j < 50; j++) {
				char address[64];
				struct suppress_row r;

				snprintf(address, sizeof(address), "u%u@%c%u.example", j, i % 2 ? 'a' : 'z',
				    j * i % 97);
				r = row(address, 1, NULL, SUPPRESS_IMPORTED);
				if (i % 3 == 0)
					(void)suppress_store_remove(st, r.r.address, 1, NULL);
				else
					(void)suppress_store_put(st, &r, NOW);
				suppress_row_clear(&r);
			}
			if (suppress_store_commit(st) == -1)
				_exit(1);
		}
		_exit(0);
	}
	l = suppress_open(dir);
	while (waitpid(pid, &status, WNOHANG) == 0) {
		assert_int_equal(ask(l, "m@always.example", NULL, NULL), SUPPRESS_IS);
		assert_int_equal(ask(l, "m@never.example", NULL, NULL), SUPPRESS_NOT);
		n++;
	}
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_true(n > 0);
	suppress_close(&l);
}

static void
damage(off_t at, const void *bytes, size_t len)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/suppress/data.mdb", dir);
	fd = open(path, O_RDWR);
	assert_true(fd != -1);
	assert_int_equal(pwrite(fd, bytes, len, at), (ssize_t)len);
	close(fd);
}

static void
cut_file(off_t len)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/suppress/data.mdb", dir);
	assert_int_equal(truncate(path, len), 0);
}

static off_t
file_size(void)
{
	char path[128];
	struct stat sb;

	snprintf(path, sizeof(path), "%s/suppress/data.mdb", dir);
	assert_int_equal(stat(path, &sb), 0);
	return sb.st_size;
}

static void
not_writable(void)
{
	char *err = NULL;

	assert_null(suppress_store_open(dir, &err));
	assert_non_null(strstr(err, "cannot be used"));
	free(err);
}

static void
fill(unsigned n)
{
	struct suppress_store *st = store();
	unsigned i;

	assert_int_equal(suppress_store_begin(st), 0);
	for (i = 0; i < n; i++) {
		char address[64];
		struct suppress_row r;

		snprintf(address, sizeof(address), "user%06u@many.example", i);
		r = row(address, SUPPRESS_GLOBAL, NULL, SUPPRESS_IMPORTED);
		assert_int_equal(suppress_store_put(st, &r, NOW), SUPPRESS_ADDED);
		suppress_row_clear(&r);
	}
	assert_int_equal(suppress_store_commit(st), 0);
	suppress_store_close(&st);
}

/* Whatever the bytes are: an answer, never a signal; and a row that is lost is not one that was never there. */
static void
test_damage(void **state)
{
	uint8_t junk[4096];
	struct suppress *l;
	const char *why = NULL;
	char address[64];
	off_t size, page;
	unsigned i, unreadable = 0;

	(void)state;
	fill(5000);
	size = file_size();
	memset(junk, 0xff, sizeof(junk));
	l = suppress_open(dir);
	for (page = 2; page * 4096 < size; page += 3) {
		memset(junk, (int)page * 37, sizeof(junk));
		damage(page * 4096 + 8, junk, 4000);
	}
	for (i = 0; i < 5000; i++) {
		snprintf(address, sizeof(address), "user%06u@many.example", i);
		switch (suppress_look_up(l, address, NULL, NULL, NOW, NULL, &why)) {
		case SUPPRESS_UNREADABLE:
			unreadable++;
			assert_non_null(strstr(why, "cannot be read"));
			break;
		case SUPPRESS_NOT:
			fail_msg("%s is mailed again", address);
			break;
		case SUPPRESS_IS:
			break;
		}
	}
	assert_true(unreadable > 0);
	suppress_close(&l);
	not_writable();
}

static void
test_no_list(void **state)
{
	struct suppress *l;
	const char *why = NULL;

	(void)state;
	fill(10);
	cut_file(0);
	l = suppress_open(dir);
	assert_non_null(suppress_trouble(l));
	assert_int_equal(suppress_look_up(l, "a@b.example", NULL, NULL, NOW, NULL, &why), SUPPRESS_UNREADABLE);
	assert_non_null(strstr(why, "damaged"));
	suppress_close(&l);
	not_writable();
	cut_file(8192);
	l = suppress_open(dir);
	assert_non_null(suppress_trouble(l));
	suppress_close(&l);
	not_writable();
}

/* What the writer cannot lose: an environment that was emptied by deleting its rows is not ours. */
static void
test_every_bit(void **state)
{
	static const off_t meta = 4096;
	struct suppress *l;
	uint8_t byte, old[152];
	char path[128];
	off_t i, at;
	int fd;

	(void)state;
	fill(300);
	snprintf(path, sizeof(path), "%s/suppress/data.mdb", dir);
	fd = open(path, O_RDONLY);
	for (at = 0; at <= meta; at += meta) {
		assert_int_equal(pread(fd, old, sizeof(old), at), sizeof(old));
		for (i = 0; i < (off_t)sizeof(old); i++) {
			byte = (uint8_t)(old[i] ^ 0xff);
			damage(at + i, &byte, 1);
			l = suppress_open(dir);
			(void)ask(l, "user000100@many.example", NULL, NULL);
			suppress_close(&l);
			damage(at + i, &old[i], 1);
		}
	}
	l = suppress_open(dir);
	assert_int_equal(ask(l, "user000100@many.example", NULL, NULL), SUPPRESS_IS);
	suppress_close(&l);
	close(fd);
}

/* Rows of addresses, of domains, of neither, over many pages: each look-up asks for both. */
static void
test_address_and_domain(void **state)
{
	struct suppress_store *st = store();
	struct suppress *l = suppress_open(dir);
	char domain[64], address[80];
	unsigned i;

	(void)state;
	assert_int_equal(suppress_store_begin(st), 0);
	for (i = 0; i < 3000; i++) {
		struct suppress_row r;

		snprintf(domain, sizeof(domain), "d%04u.example", i);
		snprintf(address, sizeof(address), "u@%s", domain);
		if (i % 3 == 2)
			continue;
		r = row(i % 3 == 0 ? domain : address, i % 3 == 0 ? SUPPRESS_GLOBAL : SUPPRESS_TENANT,
		    i % 3 == 0 ? NULL : "acme", SUPPRESS_MANUAL);
		assert_int_equal(suppress_store_put(st, &r, NOW), SUPPRESS_ADDED);
		suppress_row_clear(&r);
	}
	assert_int_equal(suppress_store_commit(st), 0);
	for (i = 0; i < 3000; i++) {
		snprintf(address, sizeof(address), "u@d%04u.example", i);
		assert_int_equal(ask(l, address, "acme", "x.example"), i % 3 == 2 ? SUPPRESS_NOT : SUPPRESS_IS);
		assert_int_equal(ask(l, address, "other", NULL), i % 3 == 0 ? SUPPRESS_IS : SUPPRESS_NOT);
		assert_int_equal(ask(l, address, NULL, NULL), i % 3 == 0 ? SUPPRESS_IS : SUPPRESS_NOT);
	}
	suppress_close(&l);
	suppress_store_close(&st);
}

/* A tree that shares its leaves would have no end. */
static void
test_rows_twice(void **state)
{
	static const char key[] = "many.example\0user000001\0\1";
	uint8_t page[4096], copy[64];
	const uint8_t *at, *second;
	char path[128];
	off_t i, size;
	int fd, n = 0;

	(void)state;
	fill(50);
	snprintf(path, sizeof(path), "%s/suppress/data.mdb", dir);
	fd = open(path, O_RDONLY);
	size = file_size();
	for (i = 2 * 4096; i < size; i += 4096) {
		assert_int_equal(pread(fd, page, sizeof(page), i), sizeof(page));
		at = memmem(page, sizeof(page), key, sizeof(key) - 1);
		memcpy(copy, "many.example\0user000002\0\1", sizeof(key) - 1);
		second = memmem(page, sizeof(page), copy, sizeof(key) - 1);
		if (at == NULL || second == NULL)
			continue;
		damage(i + (second - page), key, sizeof(key) - 1);
		n++;
	}
	close(fd);
	assert_true(n > 0);
	not_writable();
}

/* Whose list it is may have been taken over, and root opens it: links lead root to nobody else's files. */
static void
test_links(void **state)
{
	char victim[128], lock[128], data[128], list[128], away[128], text[32] = "";
	struct stat before, after;
	char *err = NULL;
	int fd, n;

	(void)state;
	fill(3);
	snprintf(victim, sizeof(victim), "%s/victim", dir);
	snprintf(lock, sizeof(lock), "%s/suppress/lock.mdb", dir);
	snprintf(data, sizeof(data), "%s/suppress/data.mdb", dir);
	snprintf(list, sizeof(list), "%s/suppress", dir);
	snprintf(away, sizeof(away), "%s/away", dir);
	fd = open(victim, O_RDWR | O_CREAT, 0640);
	assert_int_equal(write(fd, "precious", 8), 8);
	close(fd);
	assert_int_equal(stat(victim, &before), 0);
	for (n = 0; n < 2; n++) {
		assert_int_equal(unlink(lock), 0);
		assert_int_equal(n == 0 ? symlink(victim, lock) : link(victim, lock), 0);
		err = NULL;
		assert_null(suppress_store_open(dir, &err));
		assert_non_null(strstr(err, "a link"));
		free(err);
		assert_int_equal(stat(victim, &after), 0);
		assert_int_equal(after.st_uid, before.st_uid);
		assert_int_equal(after.st_mode, before.st_mode);
		assert_int_equal(after.st_size, 8);
	}
	fd = open(victim, O_RDONLY);
	assert_int_equal(read(fd, text, sizeof(text)), 8);
	assert_string_equal(text, "precious");
	close(fd);
	/* The directory itself. */
	assert_int_equal(unlink(lock), 0);
	assert_int_equal(rename(list, away), 0);
	assert_int_equal(symlink("away", list), 0);
	not_writable();
	assert_int_equal(unlink(list), 0);
	assert_int_equal(rename(away, list), 0);
	/* What an operator put back is given to the daemon; and a FIFO is waited for by nobody. */
	assert_int_equal(chmod(data, 0444), 0);
	assert_int_equal(chown(data, geteuid(), getegid()), 0);
	fill(0);
	assert_int_equal(unlink(data), 0);
	assert_int_equal(mkfifo(data, 0600), 0);
	{
		struct suppress *l = suppress_open(dir);

		assert_non_null(suppress_trouble(l));
		suppress_close(&l);
	}
	not_writable();
}

/* What LMDB writes meta pages with: the one that writes through. */
static int
meta_fd(void)
{
	char path[64], to[128];
	ssize_t n;
	int fd;

	for (fd = 3; fd < 64; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, to, sizeof(to) - 1);
		to[n < 0 ? 0 : n] = '\0';
		if (strstr(to, "/suppress/data.mdb") != NULL && (fcntl(fd, F_GETFL) & O_DSYNC) != 0)
			return fd;
	}
	return -1;
}

/* A meta page that cannot be written: LMDB takes nothing any more, and the process goes. */
static void
test_half_written(void **state)
{
	struct suppress_row r = row("a@b.example", SUPPRESS_GLOBAL, NULL, SUPPRESS_MANUAL);
	struct suppress_store *st;
	int status, rc, full;
	pid_t pid;

	(void)state;
	fill(1);
	fflush(NULL);
	if ((pid = fork()) == 0) {
		st = store();
		full = open("/dev/full", O_WRONLY);
		if (meta_fd() == -1 || dup2(full, meta_fd()) == -1 || suppress_store_begin(st) == -1 ||
		    suppress_store_put(st, &r, NOW) != SUPPRESS_ADDED)
			_exit(10);
		rc = suppress_store_commit(st);
		if (rc == 0)
			_exit(11);
		rc = suppress_store_begin(st);
		_exit(12);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	/* The successor. */
	st = store();
	assert_int_equal(put(st, "a@b.example", SUPPRESS_GLOBAL, NULL, SUPPRESS_MANUAL), SUPPRESS_ADDED);
	suppress_store_close(&st);
	suppress_row_clear(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_address),
		cmocka_unit_test(test_keys_of_any_length),
		cmocka_unit_test(test_value),
		cmocka_unit_test_setup_teardown(test_scopes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_expiry_and_rank, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_threshold, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_many, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reading_while_writing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_damage, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_list, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_address_and_domain, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_rows_twice, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_links, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_half_written, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_every_bit, set_up, tear_down),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	log_init("suppress", LOG_LVL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
