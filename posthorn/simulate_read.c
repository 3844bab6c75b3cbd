/* Event records for a simulation (simulate.h): lines of events(5), also those of other versions and of KumoMTA, as far
 * as they have what is needed. What is no record is counted and the first of it kept for the report. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/names.h"

#include "simulate.h"

#define LINE_MAX_LEN (4u << 20)
#define RECORD_START "{\"type\":\""

static const char *
text_of(const json_t *event, const char *key)
{
	const char *s = json_string_value(json_object_get(event, key));

	return s != NULL ? s : "";
}

/* tenant and campaign are ours; KumoMTA has them among the metadata only. */
static const char *
part_of(const json_t *event, const char *key)
{
	const char *s = text_of(event, key);

	return *s != '\0' ? s : text_of(json_object_get(event, "meta"), key);
}

static const char *
sim_recipient(struct simulate *s, const json_t *event, const json_t *recipient)
{
	const char *address = json_string_value(recipient), *at = address != NULL ? strrchr(address, '@') : NULL;
	char name[QUEUE_NAME_TEXT], domain[256];
	size_t i, len = at != NULL ? strlen(at + 1) : 0;

	if (len == 0 || len >= sizeof(domain))
		return "a recipient without a domain";
	for (i = 0; i <= len; i++)
		domain[i] = at[i + 1] >= 'A' && at[i + 1] <= 'Z' ? (char)(at[i + 1] + 32) : at[i + 1];
	queue_name_make(name, sizeof(name), part_of(event, "campaign"), part_of(event, "tenant"), domain);
	sim_count(s, name, 1);
	s->recipients++;
	return NULL;
}

static const char *
sim_reception(struct simulate *s, const json_t *event, const char *queue)
{
	const json_t *recipient = json_object_get(event, "recipient");
	size_t n = json_is_array(recipient) ? json_array_size(recipient) : 1;
	const char *wrong = NULL;

	if (n == 0 || (!json_is_array(recipient) && !json_is_string(recipient)))
		return "a Reception without recipient";
	s->messages++;
	if (*queue != '\0') { /* all of them are there, wherever policy has put it */
		sim_count(s, queue, n);
		s->recipients += n;
		return NULL;
	}
	for (size_t i = 0; i < n; i++) {
		const char *w = sim_recipient(s, event,
		    json_is_array(recipient) ? json_array_get(recipient, i) : recipient);

		wrong = wrong != NULL ? wrong : w;
	}
	return wrong;
}

const char *
sim_record(struct simulate *s, const json_t *event)
{
	const char *type = text_of(event, "type"), *queue = text_of(event, "queue");
	const char *pool = text_of(event, "egress_pool");

	if (!json_is_object(event) || *type == '\0')
		return "not a record";
	if (strlen(queue) >= QUEUE_NAME_TEXT)
		return "the name of the queue is too long";
	s->records++;
	if (strcmp(type, "Reception") == 0)
		return sim_reception(s, event, queue);
	if (*queue != '\0' && *pool != '\0' && strlen(pool) < QUEUE_NAME_TEXT)
		sim_seen(s, queue, pool, json_integer_value(json_object_get(event, "timestamp")));
	return NULL;
}

static void
sim_bad(struct simulate *s, const char *name, uint64_t number, const char *wrong)
{
	if (s->bad++ == 0)
		s->first_bad = xasprintf("%s:%llu: %s", name, (unsigned long long)number, wrong);
}

/* What follows the last start of a record in a line is whole, even where a full disk left a fragment before it. */
static json_t *
sim_parse(char *line, size_t len)
{
	json_t *event = json_loadb(line, len, 0, NULL);
	char *start = NULL, *p = line;

	if (event != NULL)
		return event;
	while ((p = memmem(p, (size_t)(line + len - p), RECORD_START, sizeof(RECORD_START) - 1)) != NULL)
		start = p++;
	return start != NULL && start != line ? json_loadb(start, (size_t)(line + len - start), 0, NULL) : NULL;
}

static void
sim_line(struct simulate *s, char *line, size_t len, const char *name, uint64_t number)
{
	const char *wrong = "too long";
	json_t *event;

	if (len == 0)
		return;
	s->lines++;
	if (len <= LINE_MAX_LEN) {
		event = sim_parse(line, len);
		wrong = event == NULL ? "not JSON" : sim_record(s, event);
		json_decref(event);
	}
	if (wrong != NULL)
		sim_bad(s, name, number, wrong);
	sim_progress(s, "lines read", s->lines, false);
}

int
sim_read(struct simulate *s, FILE *f, const char *name)
{
	char *line = xmalloc(LINE_MAX_LEN + 1); /* only what is used takes memory */
	uint64_t number = 0;
	size_t len = 0;
	int c, saved;

	flockfile(f);
	while ((c = getc_unlocked(f)) != EOF) {
		if (c == '\n') {
			sim_line(s, line, len, name, ++number);
			len = 0;
		} else if (len <= LINE_MAX_LEN) {
			line[len < LINE_MAX_LEN ? len : LINE_MAX_LEN] = (char)c;
			len++;
		}
	}
	saved = errno;
	/* A writer may be in the middle of the last line, so it counts only if it is whole. */
	if (len > 0 && !ferror_unlocked(f))
		sim_line(s, line, len, name, ++number);
	c = ferror_unlocked(f);
	funlockfile(f);
	sim_progress(s, "", 0, true);
	free(line);
	errno = saved;
	return c != 0 ? -1 : 0;
}
