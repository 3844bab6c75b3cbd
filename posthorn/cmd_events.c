/* posthorn events: what happened to messages, from the event log's files. Needs no daemon, only the right to read
 * $log_directory. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/xalloc.h"

#include "admin.h"
#include "events_files.h"
#include "events_filter.h"

#define DEFAULT_LINES 20
#define MAX_LINES 1000000
#define FOLLOW_STEP_MS 200

struct events_run {
	struct events_filter filter;
	bool json, color, follow;
	bool has_n;
	size_t max;
	char **lines; /* newest first */
	size_t n, cap;
};

static bool
events_wanted(const struct events_run *run, const char *line, size_t len, json_t **event_r)
{
	*event_r = NULL;
	if (run->json && events_filter_is_empty(&run->filter))
		return len > 0;
	*event_r = json_loadb(line, len, 0, NULL);
	return json_is_object(*event_r) && events_match(&run->filter, *event_r);
}

static void
events_show(const struct events_run *run, const char *line, size_t len, json_t *event)
{
	if (run->json) {
		fwrite(line, 1, len, stdout);
		putchar('\n');
	} else if (event != NULL) {
		events_print(stdout, event, run->color);
	}
}

/* Backwards: kept, to be shown in the order of time. */
static bool
events_collect(const char *line, size_t len, void *arg)
{
	struct events_run *run = arg;
	json_t *event;
	bool is_wanted = events_wanted(run, line, len, &event);

	json_decref(event);
	if (!is_wanted)
		return false;
	if (run->n == run->cap) {
		run->cap = run->cap == 0 ? 64 : run->cap * 2;
		run->lines = xreallocarray(run->lines, run->cap, sizeof(*run->lines));
	}
	run->lines[run->n++] = xmemdup0(line, len);
	return true;
}

/* Whether everything before this line is too old. Writers differ by moments, so a minute is granted. */
static bool
events_is_older(const char *line, void *arg)
{
	const struct events_run *run = arg;
	bool is_older = false;
	json_t *event;

	if (run->filter.since == 0)
		return false;
	event = json_loads(line, 0, NULL);
	if (json_is_object(event))
		is_older = events_time(event) < run->filter.since - 60000;
	json_decref(event);
	return is_older;
}

static bool
events_on_new(const char *line, size_t len, void *arg)
{
	struct events_run *run = arg;
	json_t *event;
	bool is_wanted = events_wanted(run, line, len, &event);

	if (is_wanted)
		events_show(run, line, len, event);
	json_decref(event);
	return is_wanted;
}

static void
events_show_collected(struct events_run *run)
{
	for (size_t i = run->n; i-- > 0;) {
		json_t *event = run->json ? NULL : json_loads(run->lines[i], 0, NULL);

		events_show(run, run->lines[i], strlen(run->lines[i]), event);
		json_decref(event);
		free(run->lines[i]);
	}
	free(run->lines);
	run->lines = NULL;
}

static int
events_run(struct events_run *run, const char *dir)
{
	struct events_tail *tail = NULL;
	int rv = events_last(dir, run->max, events_collect, events_is_older, run, &tail);

	events_show_collected(run);
	if (rv == -1 && errno == ENOENT && !run->follow)
		return adm_fail("there is no event log yet (%s)", dir);
	if (rv == -1)
		return adm_fail("%s: %s", dir, strerror(errno));
	while (run->follow) {
		struct timespec step = { 0, FOLLOW_STEP_MS * 1000000L };

		/* Ends by a signal, or when nobody reads any more. */
		if (fflush(stdout) == EOF)
			break;
		nanosleep(&step, NULL);
		if (events_more(tail, events_on_new, run) == -1) {
			rv = adm_fail("%s: %s", dir, strerror(errno));
			break;
		}
	}
	events_tail_free(&tail);
	return rv == 0 ? ADM_OK : ADM_FAILED;
}

static int
events_lines_option(struct events_run *run, const char *text)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || *text == '-' || n > MAX_LINES)
		return adm_usage("events", "-n wants a number up to %d", MAX_LINES);
	run->max = n;
	run->has_n = true;
	return ADM_OK;
}

static int
events_option(struct events_run *run, int opt)
{
	struct events_filter *f = &run->filter;
	char *bad = NULL;

	switch (opt) {
	case 'f':
		run->follow = true;
		return ADM_OK;
	case 'n':
		return events_lines_option(run, optarg);
	case 'T':
		f->types = optarg;
		if (events_types_valid(optarg, &bad))
			return ADM_OK;
		adm_usage("events", "there is no event type `%s'", bad);
		free(bad);
		return ADM_USAGE;
	case 'S':
		if (events_parse_since(optarg, wall_ms(), &f->since) == 0)
			return ADM_OK;
		return adm_usage("events", "--since wants 2h, 30m, 2026-11-23 or 2026-11-23T17:00");
	default: {
		const char **const targets[] = { &f->domain, &f->tenant, &f->campaign, &f->recipient, &f->sender,
			&f->id, &f->pool };

		if (opt < 256 || opt >= 256 + (int)(sizeof(targets) / sizeof(targets[0])))
			return adm_usage("events", NULL);
		*targets[opt - 256] = optarg;
		return ADM_OK;
	}
	}
}

int
cmd_events(struct admin *adm, int argc, char **argv)
{
	static const struct option options[] = {
		{ "type", required_argument, NULL, 'T' },
		{ "since", required_argument, NULL, 'S' },
		{ "domain", required_argument, NULL, 256 },
		{ "tenant", required_argument, NULL, 257 },
		{ "campaign", required_argument, NULL, 258 },
		{ "recipient", required_argument, NULL, 259 },
		{ "sender", required_argument, NULL, 260 },
		{ "id", required_argument, NULL, 261 },
		{ "pool", required_argument, NULL, 262 },
		{ NULL, 0, NULL, 0 },
	};
	struct events_run run = { .json = adm->json, .max = DEFAULT_LINES };
	struct params *params;
	char *dir;
	int opt, rv;

	while ((opt = getopt_long(argc, argv, "fn:", options, NULL)) != -1) {
		if ((rv = events_option(&run, opt)) != ADM_OK)
			return rv;
	}
	if (optind != argc)
		return adm_usage("events", "unexpected argument `%s'", argv[optind]);
	if (run.filter.since != 0 && !run.has_n)
		run.max = MAX_LINES;
	if ((params = adm_params(adm, NULL)) == NULL)
		return ADM_FAILED;
	run.color = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL;
	dir = xasprintf("%s/events", params->log_directory);
	rv = events_run(&run, dir);
	free(dir);
	params_free(&params);
	return rv;
}
