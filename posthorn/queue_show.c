/* queue show (see the header). Which fields there are is queued's affair: what it tells is shown. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#include "human.h"
#include "queue_show.h"

#define INDENT 4
#define NAME_WIDTH 16
#define DEPTH_MAX 5

static const char *const time_keys[] = { "received", "created", "expires", "next_attempt", "due", "last_attempt",
	NULL };

static bool
is_time(const char *key)
{
	for (size_t i = 0; time_keys[i] != NULL; i++) {
		if (strcmp(key, time_keys[i]) == 0)
			return true;
	}
	return false;
}

static void
show_integer(const char *key, json_int_t v, int64_t now)
{
	char text[HUMAN_TEXT], age[HUMAN_TEXT];

	if (is_time(key) && v > 0) {
		human_time(v, text);
		human_age(v > now ? v - now : now - v, age);
		printf("%s (%s%s%s)\n", text, v > now ? "in " : "", age, v > now ? "" : " ago");
	} else if (strcmp(key, "size") == 0 || strstr(key, "bytes") != NULL) {
		human_size(v, text);
		printf("%s (%lld)\n", text, (long long)v);
	} else {
		printf("%lld\n", (long long)v);
	}
}

/* The header block of the message, a line each. */
static void
show_headers(const char *block)
{
	while (*block != '\0') {
		size_t n = strcspn(block, "\n");
		char *line = xmemdup0(block, n > 0 && block[n - 1] == '\r' ? n - 1 : n), *clean = human_clean(line);

		if (*clean != '\0')
			printf("    %s\n", clean);
		free(clean);
		free(line);
		block += n + (block[n] == '\n');
	}
}

static void show_value(const char *key, const json_t *v, unsigned depth, int64_t now);

static void
show_object(const json_t *object, unsigned depth, int64_t now)
{
	void *it = json_object_iter((json_t *)(uintptr_t)object);

	for (; it != NULL; it = json_object_iter_next((json_t *)(uintptr_t)object, it))
		show_value(json_object_iter_key(it), json_object_iter_value(it), depth, now);
}

static void
show_array(const json_t *array, unsigned depth, int64_t now)
{
	for (size_t i = 0; i < json_array_size(array); i++) {
		char name[24];

		snprintf(name, sizeof(name), "%zu", i + 1);
		show_value(name, json_array_get(array, i), depth, now);
	}
}

static void
show_value(const char *key, const json_t *v, unsigned depth, int64_t now)
{
	char *name, *text;

	if (json_is_null(v) || depth > DEPTH_MAX || (json_is_string(v) && json_string_length(v) == 0))
		return;
	name = human_clean(key);
	printf("%*s%-*s", (int)(depth * INDENT), "", NAME_WIDTH, name);
	free(name);
	if (json_is_string(v) && strcmp(key, "headers") == 0) {
		putchar('\n');
		show_headers(json_string_value(v));
	} else if (json_is_string(v)) {
		text = human_clean(json_string_value(v));
		printf(" %s\n", text);
		free(text);
	} else if (json_is_integer(v)) {
		putchar(' ');
		show_integer(key, json_integer_value(v), now);
	} else if (json_is_boolean(v)) {
		printf(" %s\n", json_is_true(v) ? "yes" : "no");
	} else if (json_is_object(v)) {
		putchar('\n');
		show_object(v, depth + 1, now);
	} else if (json_is_array(v)) {
		putchar('\n');
		show_array(v, depth + 1, now);
	} else {
		putchar('\n');
	}
}

static const char *
text_of(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s != NULL ? s : "";
}

/* Why it is still here, in one sentence. */
static void
show_sentence(const json_t *object, int64_t now)
{
	const char *reason = text_of(object, "reason"), *last = text_of(object, "last_failure");
	int64_t next = json_integer_value(json_object_get(object, "next_attempt"));
	char age[HUMAN_TEXT], *text, *clean;

	if (*reason == '\0')
		return;
	human_age(next > now ? next - now : 0, age);
	text = xasprintf("It is still here: %s%s%s%s%s.", reason, next > 0 ? ", next attempt in " : "",
	    next > 0 ? age : "", *last != '\0' ? ", last reply: " : "", last);
	clean = human_clean(text);
	puts(clean);
	free(clean);
	free(text);
}

void
queue_show_print(const json_t *object, bool is_first, int64_t now)
{
	if (!is_first)
		putchar('\n');
	show_sentence(object, now);
	show_object(object, 0, now);
}
