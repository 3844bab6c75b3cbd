/* The queue at a glance (see the header): what waits, what was done since the start, and whatever is wrong, said as a
 * warning. The rest is in --json. */
#include <stdio.h>

#include "human.h"
#include "rows.h"
#include "status_queue.h"

static const struct row_col consumer_cols[] = {
	{ "POOL", "pool", NULL, ROW_TEXT },
	{ ">DELIVERING", "outstanding", NULL, ROW_COUNT },
	{ ">CREDIT", "credit", NULL, ROW_COUNT },
	{ ">QUEUES WAITING", "queues_waiting", NULL, ROW_COUNT },
	{ NULL, NULL, NULL, ROW_TEXT },
};

static int64_t
int_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

/* "12 waiting, 3 held" from keys and words; zeros are left out after the first. */
static void
print_counts(const char *title, const json_t *object, const char *const (*items)[2])
{
	char text[HUMAN_TEXT];

	printf("%-12s", title);
	for (size_t i = 0; items[i][0] != NULL; i++) {
		int64_t n = int_of(object, items[i][0]);

		if (n == 0 && i > 0)
			continue;
		human_count(n, text);
		printf("%s%s %s", i > 0 ? ", " : "", text, items[i][1]);
	}
	putchar('\n');
}

static void
print_spool(const json_t *spool)
{
	char size[HUMAN_TEXT];

	human_size(int_of(spool, "index_bytes"), size);
	printf("%-12s%lld segments, index %s (%lld%% of its limit)%s\n", "spool", (long long)int_of(spool, "segments"),
	    size,
	    (long long)int_of(spool, "index_percent"),
	    json_is_true(json_object_get(spool, "scanning")) ? ", scanning" : "");
}

/* "3 in get_egress_pool (queued)" for each event of each daemon. */
static void
print_policy_errors(const json_t *errors)
{
	size_t i;

	for (i = 0; i < json_array_size(errors); i++) {
		const json_t *e = json_array_get(errors, i);
		const char *event = json_string_value(json_object_get(e, "event"));
		const char *daemon = json_string_value(json_object_get(e, "daemon"));

		printf("%s%lld in %s (%s)", i == 0 ? "warning: errors of policy since start: " : ", ",
		    (long long)int_of(e, "errors"), event != NULL ? event : "?", daemon != NULL ? daemon : "?");
	}
	if (i > 0)
		printf("; the program log says where\n");
}

static void
print_warnings(const json_t *queue)
{
	int64_t damaged = int_of(json_object_get(queue, "since_start"), "damaged");
	int64_t waiting = int_of(json_object_get(queue, "outbox"), "suppressions");

	if (json_is_true(json_object_get(queue, "disk_full")))
		printf("warning: the disk is full: no new mail is accepted\n");
	if (json_is_true(json_object_get(queue, "holding_back")))
		printf("warning: smtpd is being slowed down: mail comes in faster than it goes out\n");
	if (int_of(queue, "queues_without_pool") > 0)
		printf("warning: %lld queues wait because the policy names no pool for them; see `posthorn queue'\n",
		    (long long)int_of(queue, "queues_without_pool"));
	print_policy_errors(json_object_get(queue, "policy_errors"));
	if (int_of(queue, "overrides") > 0)
		printf("note: %lld overrides are in force; see `posthorn overrides'\n",
		    (long long)int_of(queue, "overrides"));
	if (waiting > 0 && !json_is_true(json_object_get(json_object_get(queue, "outbox"), "bouncerd")))
		printf("warning: bouncerd is away: %lld addresses that are to be suppressed wait for it\n",
		    (long long)waiting);
	if (damaged > 0)
		printf("warning: %lld damaged pieces of segments were set aside\n", (long long)damaged);
}

void
status_queue_print(const json_t *queue)
{
	static const char *const now[][2] = { { "messages", "recipients" }, { "outstanding", "being delivered" },
		{ "ready", "ready" },
		{ "waiting", "waiting" }, { "held", "held" }, { NULL, NULL } };
	static const char *const since[][2] = { { "received", "received" }, { "delivered", "delivered" },
		{ "failed_attempts", "failed attempts" }, { "bounced", "bounced" }, { "expired", "expired" },
		{ "removed", "removed" },
		{ NULL, NULL } };
	const json_t *consumers = json_object_get(queue, "consumers");
	struct rows *rows = rows_new(consumer_cols, 0);

	putchar('\n');
	print_counts("queue", queue, now);
	print_counts("since start", json_object_get(queue, "since_start"), since);
	print_spool(json_object_get(queue, "spool"));
	for (size_t i = 0; i < json_array_size(consumers); i++)
		rows_add(rows, json_array_get(consumers, i));
	if (json_array_size(consumers) > 0)
		putchar('\n');
	(void)rows_end(&rows);
	print_warnings(queue);
}
