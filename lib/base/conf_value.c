/* The types of configuration values: text to field, bounds, and the sentences that say what is wrong. Any process at
 * start-up and reload. A parser here changes the target only when the whole value is right. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/conf_private.h"
#include "base/suggest.h"
#include "base/xalloc.h"

#define SEPARATORS ", \t"

struct unit {
	const char *name;
	int64_t factor;
};

/* The first name of a factor is the one used in sentences. */
static const struct unit time_units[] = {
	{ "ms", 1 }, { "msec", 1 }, { "millisecond", 1 }, { "milliseconds", 1 },
	{ "s", 1000 }, { "sec", 1000 }, { "secs", 1000 }, { "second", 1000 }, { "seconds", 1000 },
	{ "m", 60000 }, { "min", 60000 }, { "mins", 60000 }, { "minute", 60000 }, { "minutes", 60000 },
	{ "h", 3600000 }, { "hr", 3600000 }, { "hour", 3600000 }, { "hours", 3600000 },
	{ "d", 86400000 }, { "day", 86400000 }, { "days", 86400000 },
	{ "w", 604800000 }, { "week", 604800000 }, { "weeks", 604800000 },
	{ NULL, 0 }
};

static const struct unit size_units[] = {
	{ "k", 1ll << 10 }, { "M", 1ll << 20 }, { "G", 1ll << 30 }, { "T", 1ll << 40 }, { NULL, 0 }
};

/* Digits, optional blanks, optional unit. */
static int
number_parse(const char *s, const struct unit *units, int64_t none, int64_t *out)
{
	int64_t v = 0, factor = none;

	if (!isdigit((unsigned char)*s))
		return -1;
	for (; isdigit((unsigned char)*s); s++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *s - '0', &v))
			return -1;
	while (*s == ' ' || *s == '\t')
		s++;
	if (*s != '\0') {
		while (units->name != NULL && strcasecmp(units->name, s) != 0)
			units++;
		if (units->name == NULL)
			return -1;
		factor = units->factor;
	}
	return __builtin_mul_overflow(v, factor, out) ? -1 : 0;
}

int
conf_time_parse(const char *s, int64_t *ms_r)
{
	return number_parse(s, time_units, 1000, ms_r);
}

int
conf_size_parse(const char *s, int64_t *bytes_r)
{
	return number_parse(s, size_units, 1, bytes_r);
}

/* The shortest notation: 86400000 is "1d". */
static void
number_text(int64_t v, const struct unit *units, const char *none, char *out, size_t size)
{
	const struct unit *u, *best = NULL;

	for (u = units; v != 0 && u->name != NULL; u++)
		if (v % u->factor == 0 && (best == NULL || u->factor > best->factor))
			best = u;
	if (best != NULL)
		snprintf(out, size, "%" PRId64 "%s", v / best->factor, best->name);
	else
		snprintf(out, size, "%" PRId64 "%s", v, none);
}

void
conf_time_text(int64_t ms, char *out, size_t size)
{
	number_text(ms, time_units, "", out, size);
}

static void
bound_text(const struct conf_param *p, int64_t v, char *out, size_t size)
{
	if (p->type == CONF_TIME)
		number_text(v, time_units, "", out, size);
	else if (p->type == CONF_SIZE)
		number_text(v, size_units, "", out, size);
	else
		snprintf(out, size, "%" PRId64, v);
}

static char *
number_set(const struct conf_param *p, const char *text, void *field)
{
	static const struct unit no_units[] = { { NULL, 0 } };
	const char *kind = "number";
	char least[32], most[32];
	int64_t v;
	int rc;

	if (p->type == CONF_TIME) {
		kind = "time (examples: 30s, 5m, 2h, 5d, 200ms)";
		rc = conf_time_parse(text, &v);
	} else if (p->type == CONF_SIZE) {
		kind = "size (examples: 1000, 64k, 50M, 2G)";
		rc = conf_size_parse(text, &v);
	} else {
		rc = number_parse(text, no_units, 1, &v);
	}
	if (rc != 0)
		return xasprintf("'%.60s' is not a %s", text, kind);
	bound_text(p, p->min, least, sizeof(least));
	bound_text(p, p->max, most, sizeof(most));
	if (v < p->min)
		return xasprintf("%.60s is too small; the least is %s", text, least);
	if (v > p->max)
		return xasprintf("%.60s is too large; the most is %s", text, most);
	*(int64_t *)field = v;
	return NULL;
}

static char *
bool_set(const char *text, bool *field)
{
	if (strcasecmp(text, "yes") == 0)
		*field = true;
	else if (strcasecmp(text, "no") == 0)
		*field = false;
	else
		return xasprintf("'%.60s' is neither yes nor no", text);
	return NULL;
}

static char *
enum_set(const struct conf_param *p, const char *text, int *field)
{
	const char *near;
	char list[256];
	size_t len = 0;
	int i;

	for (i = 0; p->words[i] != NULL; i++)
		if (strcasecmp(p->words[i], text) == 0) {
			*field = i;
			return NULL;
		}
	list[0] = '\0';
	for (i = 0; p->words[i] != NULL && len < sizeof(list); i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", i > 0 ? ", " : "", p->words[i]);
	near = suggest_nearest(text, p->words);
	return xasprintf("'%.60s' is not one of: %s" SUGGEST_FMT, text, list, SUGGEST_ARGS(near));
}

/* Steps through a list: a malloced word, or NULL at its end. */
static char *
word_next(const char **p)
{
	size_t len;
	char *word;

	*p += strspn(*p, SEPARATORS);
	if ((len = strcspn(*p, SEPARATORS)) == 0)
		return NULL;
	word = xmemdup0(*p, len);
	*p += len;
	return word;
}

static void
strs_clear(struct conf_strs *l)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	memset(l, 0, sizeof(*l));
}

static char *
strs_set(const char *text, struct conf_strs *field)
{
	struct conf_strs l = { NULL, 0 };
	char *word;

	while ((word = word_next(&text)) != NULL) {
		l.v = xreallocarray(l.v, l.n + 1, sizeof(*l.v));
		l.v[l.n++] = word;
	}
	*field = l;
	return NULL;
}

/* Copies "[addr]/bits" or "[addr]" without its brackets, other text as it is. 0 or -1. */
static int
unbracket(const char *s, char *out, size_t size)
{
	const char *close;
	size_t len = strlen(s);

	if (*s == '[') {
		if ((close = strchr(s, ']')) == NULL || (close[1] != '/' && close[1] != '\0') || len - 2 >= size)
			return -1;
		memcpy(out, s + 1, (size_t)(close - s - 1));
		memcpy(out + (close - s - 1), close + 1, strlen(close + 1) + 1);
		return 0;
	}
	if (len >= size)
		return -1;
	memcpy(out, s, len + 1);
	return 0;
}

const char *
conf_cidr_parse(const char *s, struct cidr *out)
{
	struct sockaddr_storage sa;
	socklen_t salen;
	char buf[64], *slash;

	if (unbracket(s, buf, sizeof(buf)) != 0)
		return "is not an address range (examples: 192.0.2.0/24, [2001:db8::]/32)";
	if (cidr_parse(buf, out) == 0)
		return NULL;
	if ((slash = strchr(buf, '/')) != NULL)
		*slash = '\0';
	if (slash == NULL || sockaddr_parse(buf, 0, &sa, &salen) != 0)
		return "is not an address range (examples: 192.0.2.0/24, [2001:db8::]/32)";
	return "has a prefix length that is wrong, or too short for its address: all bits behind the prefix "
	    "must be zero";
}

static char *
cidrs_set(const char *text, struct cidr_list *field)
{
	struct cidr_list l = { NULL, 0 };
	const char *why;
	char *word, *err;

	while ((word = word_next(&text)) != NULL) {
		l.v = xreallocarray(l.v, l.n + 1, sizeof(*l.v));
		if ((why = conf_cidr_parse(word, &l.v[l.n])) != NULL) {
			err = xasprintf("'%.60s' %s", word, why);
			free(word);
			free(l.v);
			return err;
		}
		free(word);
		l.n++;
	}
	*field = l;
	return NULL;
}

static void
addrs_clear(struct conf_addrs *l)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		free(l->v[i].text);
	free(l->v);
	memset(l, 0, sizeof(*l));
}

static int
listen_parse(const char *word, struct conf_addr *out)
{
	const char *colon = strrchr(word, ':');
	char addr[64];
	int64_t port = 0;
	size_t len;
	const char *p;

	if (colon == NULL || (len = (size_t)(colon - word)) == 0 || len >= sizeof(addr))
		return -1;
	for (p = colon + 1; isdigit((unsigned char)*p) && port <= 65535; p++)
		port = port * 10 + (*p - '0');
	if (*p != '\0' || p == colon + 1 || port < 1 || port > 65535)
		return -1;
	memcpy(addr, word, len);
	addr[len] = '\0';
	/* Without brackets "::1:25" could mean two things. */
	if (strchr(addr, ':') != NULL && (addr[0] != '[' || addr[len - 1] != ']'))
		return -1;
	return sockaddr_parse(addr, (uint16_t)port, &out->sa, &out->len);
}

static char *
listen_set(const char *text, struct conf_addrs *field)
{
	struct conf_addrs l = { NULL, 0 };
	struct conf_addr a;
	const char *why;
	char *word, *err;
	size_t i;

	while ((word = word_next(&text)) != NULL) {
		memset(&a, 0, sizeof(a));
		why = listen_parse(word, &a) == 0 ? NULL :
		    "is not a numeric address and port (examples: 192.0.2.1:25, [2001:db8::1]:25, 0.0.0.0:587)";
		for (i = 0; why == NULL && i < l.n; i++)
			if (l.v[i].len == a.len && memcmp(&l.v[i].sa, &a.sa, a.len) == 0)
				why = "is listed twice";
		if (why != NULL) {
			err = xasprintf("'%.60s' %s", word, why);
			free(word);
			addrs_clear(&l);
			return err;
		}
		a.text = word;
		l.v = xreallocarray(l.v, l.n + 1, sizeof(*l.v));
		l.v[l.n++] = a;
	}
	*field = l;
	return NULL;
}

char *
conf_value_set(const struct conf_param *p, const char *text, void *target)
{
	void *field = (char *)target + p->offset;

	switch (p->type) {
	case CONF_STR:
		*(char **)field = xstrdup(text);
		return NULL;
	case CONF_STRS:
		return strs_set(text, field);
	case CONF_BOOL:
		return bool_set(text, field);
	case CONF_INT:
	case CONF_SIZE:
	case CONF_TIME:
		return number_set(p, text, field);
	case CONF_ENUM:
		return enum_set(p, text, field);
	case CONF_CIDRS:
		return cidrs_set(text, field);
	case CONF_LISTEN:
		return listen_set(text, field);
	}
	return xstrdup("has a type that this program does not know");
}

void
conf_value_clear(const struct conf_param *p, void *target)
{
	void *field = (char *)target + p->offset;
	struct cidr_list *cidrs;
	char **str;

	switch (p->type) {
	case CONF_STR:
		str = field;
		free(*str);
		*str = NULL;
		break;
	case CONF_STRS:
		strs_clear(field);
		break;
	case CONF_CIDRS:
		cidrs = field;
		free(cidrs->v);
		memset(cidrs, 0, sizeof(*cidrs));
		break;
	case CONF_LISTEN:
		addrs_clear(field);
		break;
	case CONF_BOOL:
	case CONF_INT:
	case CONF_SIZE:
	case CONF_TIME:
	case CONF_ENUM:
		break;
	}
}
