/* Filters of `posthorn events` and the line that a person reads (see the header). The text of events comes from
 * strangers: it is cleaned before it reaches a terminal. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/xalloc.h"

#include "events_filter.h"
#include "human.h"

static const char *const event_types[] = { "Reception", "Delivery", "TransientFailure", "Bounce", "Expiration",
	"AdminBounce", "AdminRebind", "Rejection", "Delayed", "Override", "OOB", "Feedback", "TlsSession",
	NULL };

static const char *
text_of(const json_t *event, const char *key)
{
	const char *s = json_string_value(json_object_get(event, key));

	return s != NULL ? s : "";
}

static bool
in_list(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = list; *p != '\0';) {
		size_t n = strcspn(p, ",");

		if (n == len && strncasecmp(p, word, n) == 0)
			return true;
		p += n + (p[n] == ',');
	}
	return false;
}

bool
events_types_valid(const char *types, char **bad_r)
{
	for (const char *p = types; *p != '\0';) {
		size_t n = strcspn(p, ",");
		bool is_known = false;

		for (size_t i = 0; event_types[i] != NULL; i++)
			is_known = is_known || (strlen(event_types[i]) == n && strncasecmp(p, event_types[i], n) == 0);
		if (!is_known) {
			*bad_r = xmemdup0(p, n);
			return false;
		}
		p += n + (p[n] == ',');
	}
	return true;
}

bool
events_filter_is_empty(const struct events_filter *f)
{
	return f->types == NULL && f->domain == NULL && f->tenant == NULL && f->campaign == NULL &&
	    f->recipient == NULL &&
	    f->sender == NULL && f->pool == NULL && f->id == NULL && f->since == 0;
}

/* Calls match for each recipient of an event: `recipient` is a string, or an array. */
static bool
any_recipient(const json_t *event, bool (*match)(const char *recipient, const char *wanted), const char *wanted)
{
	const json_t *r = json_object_get(event, "recipient");

	if (json_is_string(r))
		return match(json_string_value(r), wanted);
	for (size_t i = 0; i < json_array_size(r); i++) {
		const char *s = json_string_value(json_array_get(r, i));

		if (s != NULL && match(s, wanted))
			return true;
	}
	return false;
}

static bool
recipient_is(const char *recipient, const char *wanted)
{
	return strcasecmp(recipient, wanted) == 0;
}

static bool
recipient_at(const char *recipient, const char *wanted)
{
	const char *at = strrchr(recipient, '@');

	return at != NULL && strcasecmp(at + 1, wanted) == 0;
}

int64_t
events_time(const json_t *event)
{
	const char *s = text_of(event, "event_time");
	struct tm tm = { 0 };
	const char *end = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
	int64_t ms = 0;

	if (end == NULL)
		return json_integer_value(json_object_get(event, "timestamp")) * 1000;
	if (*end == '.') {
		int64_t unit = 100;

		for (end++; isdigit((unsigned char)*end); end++) {
			ms += (*end - '0') * unit;
			unit /= 10;
		}
	}
	return (int64_t)timegm(&tm) * 1000 + ms;
}

bool
events_match(const struct events_filter *f, const json_t *event)
{
	size_t id_len = f->id != NULL ? strlen(f->id) : 0;

	if (f->types != NULL && !in_list(f->types, text_of(event, "type")))
		return false;
	if (f->id != NULL && strncasecmp(text_of(event, "id"), f->id, id_len) != 0)
		return false;
	if (f->tenant != NULL && strcasecmp(text_of(event, "tenant"), f->tenant) != 0)
		return false;
	if (f->campaign != NULL && strcasecmp(text_of(event, "campaign"), f->campaign) != 0)
		return false;
	if (f->sender != NULL && strcasecmp(text_of(event, "sender"), f->sender) != 0)
		return false;
	if (f->pool != NULL && strcasecmp(text_of(event, "egress_pool"), f->pool) != 0)
		return false;
	if (f->domain != NULL && strcasecmp(text_of(event, "domain"), f->domain) != 0 &&
	    !any_recipient(event, recipient_at, f->domain))
		return false;
	if (f->recipient != NULL && !any_recipient(event, recipient_is, f->recipient))
		return false;
	return f->since == 0 || events_time(event) >= f->since;
}

int
events_parse_since(const char *s, int64_t now, int64_t *since_r)
{
	static const char *const formats[] = { "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M",
		"%Y-%m-%d %H:%M", "%Y-%m-%d" };
	int64_t age;

	if (human_parse_age(s, &age) == 0) {
		*since_r = now - age;
		return 0;
	}
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		struct tm tm = { .tm_isdst = -1 };
		const char *end = strptime(s, formats[i], &tm);

		if (end == NULL || (*end != '\0' && strcmp(end, "Z") != 0))
			continue;
		*since_r = (int64_t)(*end == 'Z' ? timegm(&tm) : mktime(&tm)) * 1000;
		return 0;
	}
	return -1;
}

/* Green, yellow, red: at a glance. */
static const char *
event_color(const char *type)
{
	if (strcmp(type, "Delivery") == 0)
		return "\033[32m";
	if (strcmp(type, "TransientFailure") == 0 || strcmp(type, "Delayed") == 0 || strcmp(type, "Rejection") == 0)
		return "\033[33m";
	if (strcmp(type, "Reception") == 0)
		return "\033[36m";
	return "\033[31m";
}

static void
print_clean(FILE *f, const char *before, const char *text, const char *after)
{
	char *clean;

	if (*text == '\0')
		return;
	clean = human_clean(text);
	fprintf(f, "%s%s%s", before, clean, after);
	free(clean);
}

static void
print_recipients(FILE *f, const json_t *event)
{
	const json_t *r = json_object_get(event, "recipient");
	const char *s = json_is_array(r) ? json_string_value(json_array_get(r, 0)) : json_string_value(r);

	print_clean(f, "", s != NULL && *s != '\0' ? s : "-", "");
	if (json_array_size(r) > 1)
		fprintf(f, " (+%zu)", json_array_size(r) - 1);
}

static void
print_response(FILE *f, const json_t *event)
{
	const json_t *resp = json_object_get(event, "response"), *enh = json_object_get(resp, "enhanced_code");
	int code = (int)json_integer_value(json_object_get(resp, "code"));

	if (code != 0)
		fprintf(f, "  %d", code);
	if (json_is_object(enh))
		fprintf(f, " %d.%d.%d", (int)json_integer_value(json_object_get(enh, "class")),
		    (int)json_integer_value(json_object_get(enh, "subject")),
		    (int)json_integer_value(json_object_get(enh, "detail")));
	print_clean(f, " ", text_of(resp, "content"), "");
}

static void
print_route(FILE *f, const json_t *event)
{
	const json_t *peer = json_object_get(event, "peer_address");
	const char *pool = text_of(event, "egress_pool"), *source = text_of(event, "egress_source");

	if (*pool != '\0')
		print_clean(f, "  ", pool, "");
	if (*source != '\0')
		print_clean(f, "/", source, "");
	if (json_is_object(peer)) {
		bool is_out = *pool != '\0' || *source != '\0';
		const char *name = text_of(peer, "name");

		print_clean(f, is_out ? " -> " : "  from ", *name != '\0' ? name : text_of(peer, "addr"), "");
		if (*name != '\0')
			print_clean(f, "[", text_of(peer, "addr"), "]");
	}
}

void
events_print(FILE *f, const json_t *event, bool use_color)
{
	const char *type = text_of(event, "type"), *id = text_of(event, "id");
	int64_t t = events_time(event), attempts = json_integer_value(json_object_get(event, "num_attempts"));
	char when[HUMAN_TEXT];

	human_time(t, when);
	fprintf(f, "%s.%03d  %s", when, (int)(t % 1000), use_color ? event_color(type) : "");
	print_clean(f, "", type, "");
	fprintf(f, "%s%*s", use_color ? "\033[0m" : "", (int)(strlen(type) < 16 ? 16 - strlen(type) : 0), "");
	print_clean(f, "  ", *id != '\0' ? id : "-", "  ");
	if (strcmp(type, "Reception") == 0 || strcmp(type, "Rejection") == 0) {
		print_clean(f, "<", text_of(event, "sender"), ">");
		fputs(*text_of(event, "sender") != '\0' ? " to " : "<> to ", f);
	}
	print_recipients(f, event);
	print_clean(f, "  tenant=", text_of(event, "tenant"), "");
	print_clean(f, " campaign=", text_of(event, "campaign"), "");
	print_route(f, event);
	print_response(f, event);
	if (attempts > 1)
		fprintf(f, "  (attempt %d)", (int)attempts);
	fputc('\n', f);
}
