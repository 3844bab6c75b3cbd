/* MTA-STS records and policies (sts_policy.h), in the roles of deliverd that read them and in the one that reports.
 * Hostile: every octet. RFC 8461 sections 3.1, 3.2 and 4.1. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/dns_link.h"
#include "mail/sts_policy.h"

#define VERSION "STSv1"
#define TXT_VERSION "v=" VERSION
#define FIELD_NAME_MAX 32
#define MAX_AGE_DIGITS 10

const char *const sts_mode_names[] = { [STS_MODE_NONE] = "none", [STS_MODE_TESTING] = "testing",
	[STS_MODE_ENFORCE] = "enforce", NULL };

static bool
is_wsp(char c)
{
	return c == ' ' || c == '\t';
}

static bool
is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static void
trim(const char **p, const char **end)
{
	while (*p < *end && is_wsp(**p))
		(*p)++;
	while (*end > *p && is_wsp((*end)[-1]))
		(*end)--;
}

bool
sts_txt_is_ours(const char *txt, size_t len)
{
	size_t n = sizeof(TXT_VERSION) - 1;

	if (len < n || memcmp(txt, TXT_VERSION, n) != 0)
		return false;
	while (n < len && is_wsp(txt[n]))
		n++;
	return n < len && txt[n] == ';';
}

static bool
is_field_name(const char *p, size_t len)
{
	size_t i;

	if (len == 0 || len > FIELD_NAME_MAX || !is_alnum(p[0]))
		return false;
	for (i = 1; i < len; i++)
		if (!is_alnum(p[i]) && p[i] != '_' && p[i] != '-' && p[i] != '.')
			return false;
	return true;
}

bool
sts_id_valid(const char *p, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (!is_alnum(p[i]))
			return false;
	return len > 0 && len <= STS_ID_MAX;
}

/* "id=20160831085700Z", or an extension. */
static bool
txt_field(const char *p, const char *end, char id[STS_ID_MAX + 1])
{
	const char *eq = memchr(p, '=', (size_t)(end - p));
	size_t len, i;

	if (eq == NULL || !is_field_name(p, (size_t)(eq - p)) || eq + 1 == end)
		return false;
	len = (size_t)(end - eq - 1);
	if (eq - p != 2 || memcmp(p, "id", 2) != 0) {
		for (i = 1; i <= len; i++)
			if (eq[i] < 0x21 || eq[i] > 0x7e || eq[i] == '=')
				return false;
		return true;
	}
	if (!sts_id_valid(eq + 1, len) || id[0] != '\0')
		return false;
	memcpy(id, eq + 1, len);
	id[len] = '\0';
	return true;
}

bool
sts_txt_parse(const char *txt, size_t len, char id[STS_ID_MAX + 1])
{
	const char *p = txt + sizeof(TXT_VERSION) - 1, *end = txt + len, *from, *to, *semi;

	id[0] = '\0';
	if (!sts_txt_is_ours(txt, len))
		return false;
	p = (const char *)memchr(p, ';', (size_t)(end - p)) + 1;
	for (; p < end; p = semi < end ? semi + 1 : end) {
		semi = memchr(p, ';', (size_t)(end - p));
		if (semi == NULL)
			semi = end;
		from = p;
		to = semi;
		trim(&from, &to);
		if (from == to && semi == end) /* a delimiter may stand at the end */
			break;
		if (!txt_field(from, to, id))
			return false;
	}
	return id[0] != '\0';
}

/* What a policy has said so far: of a field that is said twice, but for mx, the first counts. */
struct reading {
	struct sts_policy *p;
	bool has_version, has_mode, has_max_age;
	const char *err;
};

static bool
is_word(const char *p, size_t len, const char *word)
{
	return len == strlen(word) && memcmp(p, word, len) == 0;
}

static void
read_version(struct reading *r, const char *p, size_t len)
{
	if (!r->has_version && !is_word(p, len, VERSION))
		r->err = "its version is not STSv1";
	r->has_version = true;
}

static void
read_mode(struct reading *r, const char *p, size_t len)
{
	int i;

	if (r->has_mode)
		return;
	r->has_mode = true;
	for (i = 0; sts_mode_names[i] != NULL; i++)
		if (is_word(p, len, sts_mode_names[i])) {
			r->p->mode = (enum sts_mode)i;
			return;
		}
	r->err = "its mode is none of enforce, testing and none";
}

static void
read_max_age(struct reading *r, const char *p, size_t len)
{
	uint64_t n = 0;
	size_t i;

	if (r->has_max_age)
		return;
	r->has_max_age = true;
	if (len == 0 || len > MAX_AGE_DIGITS)
		r->err = "its max_age is no number of seconds";
	for (i = 0; i < len && r->err == NULL; i++) {
		if (p[i] < '0' || p[i] > '9')
			r->err = "its max_age is no number of seconds";
		n = n * 10 + (uint64_t)(p[i] - '0');
	}
	r->p->max_age = (uint32_t)(n < STS_MAX_AGE_MAX ? n : STS_MAX_AGE_MAX);
}

static void
read_mx(struct reading *r, const char *p, size_t len)
{
	char *mx = xmemdup0(p, len), *c;
	const char *host = strncmp(mx, "*.", 2) == 0 ? mx + 2 : mx;

	if (strlen(mx) != len || !dns_name_valid(host)) {
		r->err = "an mx of it is no host name";
		free(mx);
		return;
	}
	for (c = mx; *c != '\0'; c++)
		*c = (char)(*c >= 'A' && *c <= 'Z' ? *c + ('a' - 'A') : *c);
	r->p->mx = xreallocarray(r->p->mx, r->p->n_mx + 1, sizeof(*r->p->mx));
	r->p->mx[r->p->n_mx++] = mx;
}

static void
read_line(struct reading *r, const char *p, const char *end)
{
	static const struct {
		const char *name;
		void (*read)(struct reading *, const char *, size_t);
	} fields[] = { { "version", read_version }, { "mode", read_mode }, { "max_age", read_max_age },
		{ "mx", read_mx } };
	const char *colon, *value;
	size_t i;

	while (end > p && is_wsp(end[-1]))
		end--;
	if (p == end) /* nobody is harmed by an empty line */
		return;
	colon = memchr(p, ':', (size_t)(end - p));
	if (colon == NULL || !is_field_name(p, (size_t)(colon - p))) {
		r->err = "a line of it is not 'name: value'";
		return;
	}
	value = colon + 1;
	trim(&value, &end);
	for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (is_word(p, (size_t)(colon - p), fields[i].name)) {
			fields[i].read(r, value, (size_t)(end - value));
			return;
		}
}

static const char *
what_is_missing(const struct reading *r)
{
	if (!r->has_version)
		return "it says no version";
	if (!r->has_mode)
		return "it says no mode";
	if (!r->has_max_age)
		return "it says no max_age";
	return r->p->mode != STS_MODE_NONE && r->p->n_mx == 0 ? "it names no mx" : NULL;
}

int
sts_policy_parse(const char *text, size_t len, struct sts_policy *policy, const char **err_r)
{
	struct reading r = { .p = policy };
	const char *p = text, *all_end = text + len, *lf, *end;

	memset(policy, 0, sizeof(*policy));
	if (len > STS_POLICY_MAX)
		r.err = "it is too long";
	for (; p < all_end && r.err == NULL; p = lf + 1) {
		lf = memchr(p, '\n', (size_t)(all_end - p));
		if (lf == NULL)
			lf = all_end;
		end = lf > p && lf < all_end && lf[-1] == '\r' ? lf - 1 : lf;
		read_line(&r, p, end);
	}
	if (r.err == NULL)
		r.err = what_is_missing(&r);
	if (r.err == NULL)
		return 0;
	*err_r = r.err;
	sts_policy_clear(policy);
	return -1;
}

void
sts_policy_clear(struct sts_policy *p)
{
	while (p->n_mx > 0)
		free(p->mx[--p->n_mx]);
	free(p->mx);
	p->mx = NULL;
}

bool
sts_policy_has_mx(const struct sts_policy *p, const char *host)
{
	const char *dot = strchr(host, '.');
	size_t i;

	for (i = 0; i < p->n_mx; i++)
		if (p->mx[i][0] == '*' ? dot != NULL && dot != host && strcasecmp(dot + 1, p->mx[i] + 2) == 0 :
		    strcasecmp(host, p->mx[i]) == 0)
			return true;
	return false;
}
