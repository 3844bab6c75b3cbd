/* mailq(1), also sendmail -bp: the queue in the form that Postfix prints, because scripts read it. One entry a
 * message; queued lists one row for each recipient, those of a message together. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/xalloc.h"

#include "adm_client.h"
#include "admin.h"
#include "human.h"

#define MAILQ_TIMEOUT 60000 /* ms of silence */

struct mailq {
	bool json;
	char *id; /* of the entry that is being printed */
	uint64_t messages;
	uint64_t bytes;
};

static const char *
text_of(const json_t *row, const char *key)
{
	const char *s = json_string_value(json_object_get(row, key));

	return s != NULL ? s : "";
}

static int64_t
int_of(const json_t *row, const char *key)
{
	return json_integer_value(json_object_get(row, key));
}

/* '*': being delivered, '!': on hold, as Postfix marks them. */
static char
mailq_mark(const json_t *row)
{
	const char *state = text_of(row, "state");

	if (strcmp(state, "held") == 0)
		return '!';
	return strcmp(state, "outstanding") == 0 ? '*' : ' ';
}

static void
mailq_message(struct mailq *mq, const json_t *row)
{
	const char *sender = text_of(row, "sender");
	char when[64] = "", *clean = human_clean(*sender != '\0' ? sender : "MAILER-DAEMON");
	time_t t = (time_t)(int_of(row, "received") / 1000);
	struct tm tm;

	if (localtime_r(&t, &tm) != NULL)
		strftime(when, sizeof(when), "%a %b %e %H:%M:%S", &tm);
	if (mq->messages == 0)
		printf("-Queue ID-                        --Size-- ----Arrival Time---- -Sender/Recipient-------\n");
	else
		putchar('\n');
	printf("%s%c %8" PRId64 " %s  %s\n", text_of(row, "id"), mailq_mark(row), int_of(row, "size"), when, clean);
	free(clean);
	free(mq->id);
	mq->id = xstrdup(text_of(row, "id"));
	mq->messages++;
	mq->bytes += (uint64_t)int_of(row, "size");
}

static bool
mailq_on_row(json_t *row, const char *text, void *arg)
{
	struct mailq *mq = arg;
	char *clean;

	if (mq->json) {
		printf("%s\n", text);
		return true;
	}
	if (mq->id == NULL || strcmp(mq->id, text_of(row, "id")) != 0)
		mailq_message(mq, row);
	if (*text_of(row, "last_failure") != '\0') {
		clean = human_clean(text_of(row, "last_failure"));
		printf("    (%s)\n", clean);
		free(clean);
	}
	clean = human_clean(text_of(row, "recipient"));
	printf("%66s%s\n", "", clean);
	free(clean);
	return true;
}

int
cmd_mailq(struct admin *adm, int argc, char **argv)
{
	struct mailq mq = { .json = adm->json };
	char *dir, *text = NULL;
	struct adm_client *c;
	struct ql_admin req;
	int rv;

	(void)argv;
	if (argc > 1)
		return adm_usage("mailq", "mailq takes no arguments");
	if ((dir = adm_run_directory(adm)) == NULL)
		return ADM_FAILED;
	c = adm_connect(dir, ADM_QUEUED, NULL, &text);
	free(dir);
	if (c == NULL) {
		rv = adm_fail("%s", text);
		free(text);
		return rv;
	}
	adm_request_init(&req, "queue.list");
	rv = adm_ask(c, &req, MAILQ_TIMEOUT, mailq_on_row, &mq, &text);
	if (rv != 0)
		rv = adm_fail("mailq: %s", text);
	else if (!mq.json && mq.messages == 0)
		printf("Mail queue is empty\n");
	else if (!mq.json)
		printf("\n-- %" PRIu64 " Kbytes in %" PRIu64 " Request%s.\n", (mq.bytes + 1023) / 1024, mq.messages,
		    mq.messages == 1 ? "" : "s");
	ql_admin_clear(&req);
	adm_disconnect(&c);
	free(mq.id);
	free(text);
	return rv;
}
