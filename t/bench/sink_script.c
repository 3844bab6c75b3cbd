/* Answers that were asked for: by an address's local part (see the head of sink.c), by percentages, by -s rules. */
#include <ctype.h>
#include <err.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "base/crc32c.h"
#include "base/xalloc.h"
#include "t/bench/prng.h"
#include "t/bench/sink.h"

const char *const stage_names[STAGES] = { "banner", "ehlo", "mail", "rcpt", "data", "dot" };

struct attempts {
	char *key;
	unsigned count;
	UT_hash_handle hh;
};

struct rule {
	struct rule *next;
	enum stage stage;
	unsigned long left; /* how often still */
	char *listener;     /* NULL: all */
	struct answer answer;
};

/* A word at the beginning of a local part. */
struct word {
	const char *word;
	enum stage stage;
	enum refusal kind;
	const char *text; /* NULL: dropped; %s: the address */
	bool always;      /* not counted */
	bool close;
};

static const struct word words[] = {
	{ "421mail-", AT_MAIL, REF_CLOSED, "421 4.3.2 closing at MAIL", false, true },
	{ "421rcpt-", AT_RCPT, REF_CLOSED, "421 4.7.0 closing at RCPT", false, true },
	{ "421data-", AT_DATA, REF_CLOSED, "421 4.3.2 closing at DATA", false, true },
	{ "421dot-", AT_DOT, REF_CLOSED, "421 4.3.2 closing at end of data", false, true },
	{ "dropmail-", AT_MAIL, REF_DROPPED, NULL, false, true },
	{ "droprcpt-", AT_RCPT, REF_DROPPED, NULL, false, true },
	{ "dropdata-", AT_DATA, REF_DROPPED, NULL, false, true },
	{ "dropdot-", AT_DOT, REF_DROPPED, NULL, false, true },
	{ "dropafter-", AT_DOT, REF_DROPPED, "", false, true },
	{ "defermail-", AT_MAIL, REF_DEFERRED, "451 4.7.1 <%s>: try again later", false, false },
	{ "defer-", AT_RCPT, REF_DEFERRED, "451 4.7.1 <%s>: greylisted, try again later", false, false },
	{ "deferdata-", AT_DATA, REF_DEFERRED, "451 4.3.0 try again", false, false },
	{ "deferdot-", AT_DOT, REF_DEFERRED_DOT, "451 4.3.0 try again", false, false },
	{ "full-", AT_RCPT, REF_FULL, "452 4.2.2 <%s>: mailbox full", true, false },
	{ "unknown", AT_RCPT, REF_UNKNOWN, "550 5.1.1 <%s>: Recipient address rejected: User unknown", true, false },
	{ "rejectmail-", AT_MAIL, REF_REJECTED, "550 5.7.1 <%s>: sender refused", true, false },
	{ "rejectdata-", AT_DATA, REF_REJECTED, "554 5.7.1 refused at DATA", true, false },
	{ "reject-dot", AT_DOT, REF_REJECTED_DOT, "554 5.7.1 content refused", true, false },
};

static const struct {
	const char *word;
	enum stage stage;
} slow_words[] = { { "slowmail-", AT_MAIL }, { "slowrcpt-", AT_RCPT }, { "slowdata-", AT_DATA }, { "slow-", AT_DOT } };

static struct attempts *
attempts_of(struct sink *s, const char *what, const char *key, bool make)
{
	char text[700];
	struct attempts *e;

	snprintf(text, sizeof(text), "%s %s", what, key);
	HASH_FIND_STR(s->attempts, text, e);
	if (e == NULL && make) {
		e = xcalloc(1, sizeof(*e));
		e->key = xstrdup(text);
		HASH_ADD_KEYPTR(hh, s->attempts, e->key, strlen(e->key), e);
	}
	return e;
}

static void
attempts_forget(struct sink *s, struct attempts *e)
{
	HASH_DEL(s->attempts, e);
	free(e->key);
	free(e);
}

static void
say_no(struct answer *a, enum refusal kind, const char *text)
{
	a->kind = kind;
	snprintf(a->text, sizeof(a->text), "%s", text);
}

static void
word_says(const struct word *w, const char *addr, struct answer *a)
{
	a->kind = w->kind;
	a->close = w->close;
	a->after = w->text != NULL && w->text[0] == '\0';
	a->drop = w->text == NULL;
	if (w->text != NULL && strstr(w->text, "%s") != NULL) {
		const char *at = strstr(w->text, "%s");

		snprintf(a->text, sizeof(a->text), "%.*s%s%s", (int)(at - w->text), w->text, addr, at + 2);
	} else if (w->text != NULL)
		snprintf(a->text, sizeof(a->text), "%s", w->text);
}

static bool
refuses(const struct answer *a)
{
	return a->drop || a->after || a->text[0] != '\0';
}

/* Whether the address begins with a word, even if that asks for nothing here. */
static bool
by_local_part(struct sink *s, enum stage stage, const char *addr, struct answer *a)
{
	bool found = false;

	for (size_t i = 0; i < sizeof(slow_words) / sizeof(slow_words[0]); i++) {
		size_t n = strlen(slow_words[i].word);

		if (addr[0] != 's' || strncmp(addr, slow_words[i].word, n) != 0)
			continue;
		found = true;
		if (slow_words[i].stage == stage)
			a->slow_ms = (unsigned)strtoul(addr + n, NULL, 10);
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		const struct word *w = &words[i];
		size_t n;
		unsigned times = 1;

		/* Most addresses are told apart from most words here. */
		if (addr[0] != w->word[0] || strncmp(addr, w->word, n = strlen(w->word)) != 0)
			continue;
		found = true;
		if (w->stage != stage)
			continue;
		if (isdigit((unsigned char)addr[n]))
			times = (unsigned)strtoul(addr + n, NULL, 10);
		if (w->always || attempts_of(s, w->word, addr, true)->count++ < times)
			word_says(w, addr, a);
	}
	return found;
}

/* For every attempt anew: by hash of the key and the number of the attempt. */
static void
by_attempt(struct sink *s, const struct percents *pc, const char *what, const char *key, struct answer *a)
{
	struct attempts *e;
	double h;

	if (pc->defer <= 0 && pc->refuse <= 0)
		return;
	e = attempts_of(s, what, key, false);
	h = prng_unit(crc32c(0, key, strlen(key)), e == NULL ? 0 : e->count) * 100;
	if (h < pc->defer) {
		attempts_of(s, what, key, true)->count++;
		say_no(a, *what == 'd' ? REF_DEFERRED_DOT : REF_DEFERRED, "451 4.7.1 try again later");
		return;
	}
	/* Final: what is remembered is what may still come again. */
	if (e != NULL)
		attempts_forget(s, e);
	if (h >= 100 - pc->refuse)
		say_no(a, *what == 'd' ? REF_REJECTED_DOT : REF_REJECTED, "550 5.7.1 refused");
}

static void
by_address(struct sink *s, const char *addr, struct answer *a)
{
	uint32_t h;

	if (s->unknown_percent == 0 && s->defer_percent == 0 && s->forever_percent == 0)
		return;
	h = crc32c(0, addr, strlen(addr)) % 100;
	if (h >= 100 - s->unknown_percent) {
		a->kind = REF_UNKNOWN;
		snprintf(a->text, sizeof(a->text), "550 5.1.1 <%s>: Recipient address rejected: User unknown", addr);
	} else if (h < s->defer_percent + s->forever_percent) {
		if (h < s->defer_percent && attempts_of(s, "percent", addr, true)->count++ > 0)
			return;
		a->kind = REF_DEFERRED;
		snprintf(a->text, sizeof(a->text), "451 4.7.1 <%s>: greylisted, try again later", addr);
	}
}

static void
by_rule(struct sink *s, enum stage stage, const char *listener, struct answer *a)
{
	for (struct rule *r = s->rules; r != NULL; r = r->next) {
		if (r->stage != stage || r->left == 0 || (r->listener != NULL && strcmp(r->listener, listener) != 0))
			continue;
		if (r->answer.slow_ms == 0 && refuses(a))
			continue;
		r->left--;
		if (r->answer.slow_ms != 0)
			a->slow_ms = r->answer.slow_ms;
		else {
			unsigned ms = a->slow_ms;

			*a = r->answer;
			a->slow_ms = ms;
		}
	}
}

void
script_answer(struct sink *s, enum stage stage, const char *listener, const char *addr, const char *id,
    struct answer *a)
{
	bool has_word = stage >= AT_MAIL && by_local_part(s, stage, addr, a);

	if (!has_word && stage == AT_RCPT) {
		by_address(s, addr, a);
		if (!refuses(a))
			by_attempt(s, &s->at_rcpt, "rcpt", addr, a);
	}
	if (!has_word && stage == AT_DOT)
		by_attempt(s, &s->at_dot, "dot", id[0] != '\0' ? id : addr, a);
	if (s->rules != NULL)
		by_rule(s, stage, listener, a);
}

static void
rule_action(struct rule *r, const char *action, const char *spec)
{
	r->answer.kind = REF_RULE;
	if (strcmp(action, "drop") == 0)
		r->answer.drop = r->answer.close = true;
	else if (strncmp(action, "slow ", 5) == 0)
		r->answer.slow_ms = (unsigned)strtoul(action + 5, NULL, 10);
	else if (isdigit((unsigned char)action[0]) && strlen(action) > 4 && action[0] >= '4' && action[0] <= '5') {
		say_no(&r->answer, REF_RULE, action);
		r->answer.close = r->stage == AT_BANNER || strncmp(action, "421", 3) == 0;
	} else
		errx(2, "sink: -s %s: want drop, \"slow MS\" or a reply after =", spec);
}

void
rule_add(struct sink *s, const char *spec)
{
	struct rule *r = xcalloc(1, sizeof(*r)), **at = &s->rules;
	const char *action = strchr(spec, '=');
	char *where, *sep;
	unsigned stage = 0;

	if (action == NULL)
		errx(2, "sink: -s %s: want stage[*times][@listener]=action", spec);
	where = xmemdup0(spec, (size_t)(action - spec));
	if ((sep = strchr(where, '@')) != NULL) {
		*sep = '\0';
		r->listener = xstrdup(sep + 1);
	}
	r->left = ~0UL;
	if ((sep = strchr(where, '*')) != NULL) {
		*sep = '\0';
		r->left = strtoul(sep + 1, NULL, 10);
	}
	while (stage < STAGES && strcmp(where, stage_names[stage]) != 0)
		stage++;
	if (stage == STAGES)
		errx(2, "sink: -s %s: no such stage", spec);
	free(where);
	r->stage = (enum stage)stage;
	rule_action(r, action + 1, spec);
	while (*at != NULL)
		at = &(*at)->next;
	*at = r;
}
