/* Overrides (override.h): matching, their one encoding for the index and for frames, and what a limit does to a
 * configuration. Runs in queued, which keeps them, and in deliverd, which is told of them; the decoder reads a disk and
 * another process, and believes neither. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/codec.h"
#include "mail/override.h"
#include "mail/policy_private.h"

#define PARTS 7
#define VERSION 1

static const struct {
	const char *name;
	size_t offset;
	bool is_name; /* of DNS: case does not matter */
} parts[PARTS] = {
	{ "source", offsetof(struct override_scope, source), false },
	{ "site", offsetof(struct override_scope, site), true },
	{ "provider", offsetof(struct override_scope, provider), false },
	{ "pool", offsetof(struct override_scope, pool), false },
	{ "domain", offsetof(struct override_scope, domain), true },
	{ "tenant", offsetof(struct override_scope, tenant), false },
	{ "campaign", offsetof(struct override_scope, campaign), false },
};

const char *
override_kind_name(enum override_kind kind)
{
	static const char *const names[] = { [OVERRIDE_SUSPEND] = "suspend", [OVERRIDE_LIMIT] = "limit",
		[OVERRIDE_BOUNCE] = "bounce" };

	return kind >= OVERRIDE_SUSPEND && kind <= OVERRIDE_BOUNCE ? names[kind] : "unknown";
}

const char *
override_scope_name(unsigned part)
{
	return part < PARTS ? parts[part].name : NULL;
}

char **
override_scope_part(struct override_scope *s, unsigned part)
{
	return (char **)(void *)((char *)s + parts[part].offset);
}

static const char *
part_of(const struct override_scope *s, unsigned part)
{
	return *(char *const *)(const void *)((const char *)s + parts[part].offset);
}

static bool
part_equals(unsigned part, const char *a, const char *b)
{
	return parts[part].is_name ? strcasecmp(a, b) == 0 : strcmp(a, b) == 0;
}

bool
override_matches(const struct override_scope *s, const struct override_target *t)
{
	const char *const of_target[PARTS] = { t->source, t->site, t->provider, t->pool, t->domain, t->tenant,
		t->campaign };
	unsigned i;

	for (i = 0; i < PARTS; i++)
		if (part_of(s, i) != NULL && (of_target[i] == NULL || !part_equals(i, part_of(s, i), of_target[i])))
			return false;
	return true;
}

bool
override_is_of_queue(const struct override_scope *s)
{
	return s->source == NULL && s->site == NULL && s->provider == NULL;
}

bool
override_scope_is_empty(const struct override_scope *s)
{
	unsigned i;

	for (i = 0; i < PARTS; i++)
		if (part_of(s, i) != NULL)
			return false;
	return true;
}

bool
override_scope_equals(const struct override_scope *a, const struct override_scope *b)
{
	const char *x, *y;
	unsigned i;

	for (i = 0; i < PARTS; i++) {
		x = part_of(a, i);
		y = part_of(b, i);
		if (x == NULL || y == NULL ? x != y : !part_equals(i, x, y))
			return false;
	}
	return true;
}

void
override_scope_copy(struct override_scope *to, const struct override_scope *from)
{
	unsigned i;

	for (i = 0; i < PARTS; i++)
		*override_scope_part(to, i) = part_of(from, i) == NULL ? NULL : xstrdup(part_of(from, i));
}

void
override_scope_clear(struct override_scope *s)
{
	unsigned i;

	for (i = 0; i < PARTS; i++)
		free(*override_scope_part(s, i));
	memset(s, 0, sizeof(*s));
}

char *
override_scope_text(const struct override_scope *s)
{
	const char *separator = "";
	struct wbuf w;
	unsigned i;

	if (override_scope_is_empty(s))
		return xstrdup("everything");
	wbuf_init(&w);
	for (i = 0; i < PARTS; i++) {
		if (part_of(s, i) == NULL)
			continue;
		wbuf_raw(&w, separator, strlen(separator));
		wbuf_raw(&w, parts[i].name, strlen(parts[i].name));
		wbuf_raw(&w, " ", 1);
		wbuf_raw(&w, part_of(s, i), strlen(part_of(s, i)));
		separator = ", ";
	}
	wbuf_u8(&w, 0);
	return (char *)w.p;
}

void
override_clear(struct override *o)
{
	override_scope_clear(&o->scope);
	free(o->setting);
	free(o->value);
	free(o->first_value);
	free(o->reason);
	free(o->made_by);
	free(o->evidence);
	free(o->sample.source);
	free(o->sample.site);
	free(o->sample.domain);
	free(o->sample.host);
	memset(o, 0, sizeof(*o));
}

enum { FLAG_DRY_RUN = 1, FLAG_GRADUAL = 2, FLAG_QUIET = 4, FLAGS = 7 };

void
override_encode(const struct override *o, struct wbuf *w)
{
	unsigned i;

	wbuf_u8(w, VERSION);
	wbuf_u64(w, o->id);
	wbuf_u8(w, o->kind);
	wbuf_u8(w, (uint8_t)((o->is_dry_run ? FLAG_DRY_RUN : 0) | (o->is_gradual ? FLAG_GRADUAL : 0) |
	    (o->is_quiet ? FLAG_QUIET : 0)));
	wbuf_u16(w, o->step);
	for (i = 0; i < PARTS; i++)
		codec_put_opt(w, CODEC_LINE, OVERRIDE_TEXT_MAX, part_of(&o->scope, i));
	codec_put_opt(w, CODEC_LINE, CODEC_MAX_WORD, o->setting);
	codec_put_opt(w, CODEC_LINE, OVERRIDE_TEXT_MAX, o->value);
	codec_put_opt(w, CODEC_LINE, OVERRIDE_TEXT_MAX, o->first_value);
	codec_put(w, CODEC_LINE, OVERRIDE_TEXT_MAX, o->reason);
	codec_put(w, CODEC_LINE, OVERRIDE_TEXT_MAX, o->made_by);
	codec_put_opt(w, CODEC_LINE, OVERRIDE_TEXT_MAX, o->evidence);
	wbuf_u64(w, (uint64_t)o->created);
	wbuf_u64(w, (uint64_t)o->expires);
	wbuf_u64(w, (uint64_t)o->step_every);
	wbuf_u64(w, o->hits);
	codec_put_opt(w, CODEC_LINE, OVERRIDE_TEXT_MAX, o->sample.source);
	codec_put_opt(w, CODEC_LINE, OVERRIDE_TEXT_MAX, o->sample.site);
	codec_put_opt(w, CODEC_LINE, OVERRIDE_TEXT_MAX, o->sample.domain);
	codec_put_opt(w, CODEC_LINE, OVERRIDE_TEXT_MAX, o->sample.host);
}

/* A time, or a span of it: not negative, and nothing that adding to could overflow. */
static int64_t
get_time(struct rbuf *r)
{
	uint64_t v = rbuf_u64(r);

	if (v > INT64_MAX / 4)
		r->bad = true;
	return r->bad ? 0 : (int64_t)v;
}

/* An override of a limit has a setting that exists and a value that it takes; the others have neither. */
static bool
is_whole(const struct override *o)
{
	struct override_scope *s = (struct override_scope *)(uintptr_t)&o->scope;
	unsigned i;
	char *err;

	if (o->id == 0 || o->kind < OVERRIDE_SUSPEND || o->kind > OVERRIDE_BOUNCE)
		return false;
	for (i = 0; i < PARTS; i++)
		if (*override_scope_part(s, i) != NULL && **override_scope_part(s, i) == '\0')
			return false;
	if ((err = override_check(o)) == NULL)
		return true;
	free(err);
	return false;
}

int
override_decode(struct rbuf *r, struct override *o)
{
	uint8_t version = rbuf_u8(r), flags;
	unsigned i;

	memset(o, 0, sizeof(*o));
	o->id = rbuf_u64(r);
	o->kind = rbuf_u8(r);
	flags = rbuf_u8(r);
	o->is_dry_run = (flags & FLAG_DRY_RUN) != 0;
	o->is_gradual = (flags & FLAG_GRADUAL) != 0;
	o->is_quiet = (flags & FLAG_QUIET) != 0;
	o->step = rbuf_u16(r);
	for (i = 0; i < PARTS; i++)
		*override_scope_part(&o->scope, i) = codec_get_opt(r, CODEC_LINE, OVERRIDE_TEXT_MAX);
	o->setting = codec_get_opt(r, CODEC_LINE, CODEC_MAX_WORD);
	o->value = codec_get_opt(r, CODEC_LINE, OVERRIDE_TEXT_MAX);
	o->first_value = codec_get_opt(r, CODEC_LINE, OVERRIDE_TEXT_MAX);
	o->reason = codec_get(r, CODEC_LINE, OVERRIDE_TEXT_MAX);
	o->made_by = codec_get(r, CODEC_LINE, OVERRIDE_TEXT_MAX);
	o->evidence = codec_get_opt(r, CODEC_LINE, OVERRIDE_TEXT_MAX);
	o->created = get_time(r);
	o->expires = get_time(r);
	o->step_every = get_time(r);
	o->hits = rbuf_u64(r);
	o->sample.source = codec_get_opt(r, CODEC_LINE, OVERRIDE_TEXT_MAX);
	o->sample.site = codec_get_opt(r, CODEC_LINE, OVERRIDE_TEXT_MAX);
	o->sample.domain = codec_get_opt(r, CODEC_LINE, OVERRIDE_TEXT_MAX);
	o->sample.host = codec_get_opt(r, CODEC_LINE, OVERRIDE_TEXT_MAX);
	if (rbuf_done(r) && version == VERSION && (flags & ~FLAGS) == 0 && is_whole(o))
		return 0;
	override_clear(o);
	return -1;
}

bool
override_is_queue_rate(const struct override *o)
{
	return o->kind == OVERRIDE_LIMIT && (o->scope.tenant != NULL || o->scope.campaign != NULL);
}

static char *
check_limit(const struct override *o)
{
	struct policy_path_config config;
	char *err;
	int field;

	if (o->setting == NULL || o->value == NULL)
		return xstrdup("a limit needs a setting and its value");
	if ((field = policy_path_find(o->setting)) == -1)
		return xasprintf("there is no setting %.80s of a path", o->setting);
	policy_path_config_init(&config);
	err = policy_path_set(&config, (size_t)field, o->value);
	policy_path_config_clear(&config);
	if (err != NULL || !override_is_queue_rate(o))
		return err;
	if (!override_is_of_queue(&o->scope))
		return xstrdup("a limit is for a tenant or campaign, or for a path (source, site, "
		    "provider): not for both");
	if (strcmp(o->setting, "max_message_rate") != 0)
		return xasprintf("%s is a setting of paths, which all tenants and campaigns share: for one "
		    "of them there is only max_message_rate", o->setting);
	return NULL;
}

char *
override_check(const struct override *o)
{
	if (o->kind == OVERRIDE_LIMIT)
		return check_limit(o);
	if (o->setting != NULL || o->value != NULL || o->first_value != NULL)
		return xstrdup("only a limit has a setting");
	if (o->kind == OVERRIDE_BOUNCE && !override_is_of_queue(&o->scope))
		return xstrdup("what is bounced is said by domain, tenant, campaign or pool: source, site and "
		    "provider are known only when it is sent");
	return NULL;
}

/* --- limits --- */

static const void *
at(const struct policy_path_config *c, size_t field)
{
	return (const char *)c + policy_path_fields[field].offset;
}

/* Of some settings 0 means no limit. */
static int64_t
number(const struct policy_field *f, const struct policy_path_config *c, size_t field)
{
	int64_t v = *(const int64_t *)at(c, field);

	return v == 0 && f->type == FIELD_INT ? INT64_MAX : v;
}

static bool
is_stricter(const struct policy_path_config *a, const struct policy_path_config *b, size_t field)
{
	const struct policy_field *f = &policy_path_fields[field];

	if (!policy_path_is_set(b, field))
		return true;
	switch (f->type) {
	case FIELD_INT:
	case FIELD_TIME:
		return number(f, a, field) < number(f, b, field);
	case FIELD_RATE:
	case FIELD_BUDGET:
		return rate_is_stricter(at(a, field), at(b, field));
	default:
		return true;
	}
}

/* The limit alone, in a configuration of its own. -1: it cannot be set (a row of another release). */
static int
limit_config(const struct override *o, struct policy_path_config *out)
{
	int field = o->kind != OVERRIDE_LIMIT || o->setting == NULL ? -1 : policy_path_find(o->setting);
	char *err = NULL;

	policy_path_config_init(out);
	if (field != -1 && o->value != NULL && (err = policy_path_set(out, (size_t)field, o->value)) == NULL)
		return field;
	free(err);
	return -1;
}

bool
override_is_stricter(const struct override *o, const struct policy_path_config *config)
{
	struct policy_path_config limit;
	int field = limit_config(o, &limit);
	bool yes = field != -1 && is_stricter(&limit, config, (size_t)field);

	policy_path_config_clear(&limit);
	return yes;
}

bool
override_apply(const struct override *o, struct policy_path_config *config)
{
	struct policy_path_config limit;
	int field = limit_config(o, &limit);
	bool yes = field != -1 && is_stricter(&limit, config, (size_t)field);

	if (yes)
		policy_path_merge(config, &limit, (size_t)field);
	policy_path_config_clear(&limit);
	return yes;
}

static char *
raised_text(const struct policy_path_config *limit, size_t field)
{
	const struct policy_field *f = &policy_path_fields[field];
	enum rate_default how = f->type == FIELD_BUDGET ? RATE_BUDGET : RATE_PACED;
	char text[RATE_TEXT], old[RATE_TEXT], *burst;
	struct rate rate;
	int64_t v;

	switch (f->type) {
	case FIELD_INT:
		v = *(const int64_t *)at(limit, field);
		return v == 0 || v > f->max / 2 ? NULL : xasprintf("%" PRId64, 2 * v);
	case FIELD_RATE:
	case FIELD_BUDGET:
		rate = *(const struct rate *)at(limit, field);
		if (rate.quantity > RATE_QUANTITY_MAX / 2)
			return NULL;
		rate_format(&rate, how, old);
		rate.quantity *= 2;
		rate_format(&rate, how, text);
		/* Where no burst was said, that of the new rate comes of itself. */
		if (strchr(old, ',') == NULL && (burst = strchr(text, ',')) != NULL)
			*burst = '\0';
		return xstrdup(text);
	default:
		return NULL;
	}
}

bool
override_raise(struct override *o)
{
	struct policy_path_config limit, again;
	int field = limit_config(o, &limit);
	char *text = field == -1 ? NULL : raised_text(&limit, (size_t)field), *err = NULL;

	policy_path_config_clear(&limit);
	if (text == NULL)
		return false;
	policy_path_config_init(&again);
	err = policy_path_set(&again, (size_t)field, text);
	policy_path_config_clear(&again);
	if (err != NULL) {
		free(err);
		free(text);
		return false;
	}
	if (o->first_value == NULL)
		o->first_value = o->value;
	else
		free(o->value);
	o->value = text;
	o->step++;
	return true;
}
