/* The words that say what is to be done after a failure (bounce_todo.h). They are the administrator's, in a file or in
 * the answer of an event: what is wrong is said in a sentence. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/suggest.h"
#include "base/wire.h"
#include "base/xalloc.h"
#include "mail/bounce_todo.h"
#include "mail/policy_path.h"

#define WORDS_MAX 4096 /* bytes */
#define COUNT_MAX 100000
#define KEEP_MAX (100ll * 366 * 86400000)
#define STEP_MAX (366ll * 86400000)
#define ALERT_AGAIN_MS 3600000

enum word { WORD_BY_CODE, WORD_RETRY, WORD_GIVE_UP, WORD_HOLD, WORD_SUPPRESS, WORD_SUSPEND, WORD_SLOW, WORD_ALERT,
	WORDS };

static const char *const words[WORDS] = {
	"by-code", "retry", "give-up", "hold", "suppress", "suspend", "slow", "alert"
};

/* What a step covers. */
static const struct {
	const char *name;
	enum shaping_scope scope;
	enum shaping_action_type suspend;
} covers[] = {
	{ "path", SCOPE_PATH, ACTION_SUSPEND },
	{ "provider", SCOPE_PROVIDER, ACTION_SUSPEND },
	{ "provider-total", SCOPE_PROVIDER_TOTAL, ACTION_SUSPEND },
	{ "domain", SCOPE_DOMAIN, ACTION_SUSPEND },
	{ "tenant", SCOPE_PROVIDER, ACTION_SUSPEND_TENANT },
	{ "campaign", SCOPE_PROVIDER, ACTION_SUSPEND_CAMPAIGN },
};
#define N_COVERS (sizeof(covers) / sizeof(covers[0]))

struct todo_reader {
	const char *name;
	struct bounce_todo *todo;
	enum word word;         /* whose options are read */
	bool has_word, has_mail;
	struct bounce_step *step; /* NULL: the word has none */
	char *err;
};

#define WRONG(r, ...) ((r)->err = (r)->err != NULL ? (r)->err : xasprintf(__VA_ARGS__))

bool
bounce_todo_is_word(const char *s)
{
	size_t i;

	for (i = 0; i < WORDS; i++)
		if (strcmp(s, words[i]) == 0)
			return true;
	return false;
}

static void
step_free(struct bounce_step *s)
{
	size_t i;

	for (i = 0; i < s->rule.n_actions; i++)
		free(s->values[i]);
	free(s->id);
	free(s);
}

void
bounce_todo_clear(struct bounce_todo *t)
{
	size_t i;

	for (i = 0; i < t->n_steps; i++)
		step_free(t->steps[i]);
	memset(t, 0, sizeof(*t));
}

static struct bounce_step *
step_new(struct todo_reader *r, enum word word)
{
	struct bounce_todo *t = r->todo;
	struct bounce_step *s;

	if (t->n_steps == BOUNCE_STEPS_MAX) {
		WRONG(r, "there are more than %d of suspend, slow and alert", BOUNCE_STEPS_MAX);
		return NULL;
	}
	s = t->steps[t->n_steps++] = xcalloc(1, sizeof(*s));
	s->id = xasprintf("%s/%s", r->name, words[word]);
	s->rule.name = s->rule.id = s->id;
	s->rule.is_verdict = true;
	s->rule.trigger_count = 1;
	s->rule.scope = SCOPE_PATH;
	s->rule.is_gradual = true;
	s->rule.actions = s->actions;
	if (word == WORD_SUSPEND || word == WORD_ALERT) {
		s->actions[0].type = word == WORD_ALERT ? ACTION_ALERT : ACTION_SUSPEND;
		s->rule.n_actions = 1;
	}
	if (word == WORD_ALERT)
		s->rule.duration = ALERT_AGAIN_MS;
	return s;
}

/* ---- options ---- */

/* "3/14d" */
static bool
count_read(const char *s, uint64_t *count, int64_t *period)
{
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	*count = strtoull(s, &end, 10);
	return *end == '/' && *count >= 1 && *count <= COUNT_MAX && conf_time_parse(end + 1, period) == 0 &&
	    *period > 0 && *period <= STEP_MAX;
}

static bool
time_read(const char *s, int64_t least, int64_t most, int64_t *out)
{
	return conf_time_parse(s, out) == 0 && *out >= least && *out <= most;
}

static bool
covers_read(struct todo_reader *r, const char *value)
{
	size_t i;

	for (i = 0; i < N_COVERS; i++) {
		if (strcmp(value, covers[i].name) != 0)
			continue;
		if (covers[i].suspend != ACTION_SUSPEND && r->word != WORD_SUSPEND)
			return false;
		r->step->rule.scope = covers[i].scope;
		if (r->word == WORD_SUSPEND)
			r->step->actions[0].type = covers[i].suspend;
		return true;
	}
	return false;
}

/* Of slow: a setting of the path. */
static void
setting_read(struct todo_reader *r, const char *key, const char *value)
{
	struct shaping_rule *rule = &r->step->rule;
	struct policy_path_config config;
	int field = policy_path_find(key);
	char *err;

	if (field == -1) {
		WRONG(r, "slow has no option %.40s, nor has a path such a setting", key);
		return;
	}
	if (rule->n_actions == BOUNCE_SETTINGS_MAX) {
		WRONG(r, "slow has more than %d settings", BOUNCE_SETTINGS_MAX);
		return;
	}
	policy_path_config_init(&config);
	if ((err = policy_path_set(&config, (size_t)field, value)) != NULL) {
		WRONG(r, "%s", err);
		free(err);
	} else {
		r->step->values[rule->n_actions] = xstrdup(value);
		r->step->actions[rule->n_actions].type = ACTION_SET_CONFIG;
		r->step->actions[rule->n_actions].field = field;
		r->step->actions[rule->n_actions].value = r->step->values[rule->n_actions];
		rule->n_actions++;
	}
	policy_path_config_clear(&config);
}

static void
step_option(struct todo_reader *r, const char *key, const char *value)
{
	struct shaping_rule *rule = &r->step->rule;
	bool is_good;

	if (strcmp(key, "after") == 0)
		is_good = count_read(value, &rule->trigger_count, &rule->trigger_period);
	else if (strcmp(key, "for") == 0)
		is_good = time_read(value, 1000, STEP_MAX, &rule->duration);
	else if (strcmp(key, "of") == 0)
		is_good = covers_read(r, value);
	else if (r->word == WORD_SLOW) {
		setting_read(r, key, value);
		return;
	} else {
		WRONG(r, "%s has no option %.40s: those are after, for, of", words[r->word], key);
		return;
	}
	if (!is_good)
		WRONG(r, "%s=%.40s of %s is wrong", key, value, words[r->word]);
}

static bool
scope_read(const char *value, uint8_t *out)
{
	for (unsigned i = 1; i < SUPPRESS_SCOPES; i++)
		if (strcmp(value, suppress_scope_names[i]) == 0) {
			*out = (uint8_t)i;
			return true;
		}
	return false;
}

static void
suppress_option(struct todo_reader *r, const char *key, const char *value)
{
	struct bounce_todo *t = r->todo;
	uint64_t count;
	bool is_good;

	if (strcmp(key, "scope") == 0)
		is_good = scope_read(value, &t->scope);
	else if (strcmp(key, "for") == 0)
		is_good = strcmp(value, "ever") == 0 || time_read(value, 1000, KEEP_MAX, &t->keep);
	else if (strcmp(key, "spread") == 0)
		is_good = time_read(value, 0, STEP_MAX, &t->spread);
	else if (strcmp(key, "what") == 0) {
		t->is_domain = strcmp(value, "domain") == 0;
		is_good = t->is_domain || strcmp(value, "address") == 0;
	} else if (strcmp(key, "after") == 0) {
		is_good = count_read(value, &count, &t->within) && count <= SUPPRESS_THRESHOLD_MAX;
		t->threshold = is_good ? (uint16_t)count : 0;
	} else {
		WRONG(r, "suppress has no option %.40s: those are scope, for, after, spread, what", key);
		return;
	}
	if (!is_good)
		WRONG(r, "%s=%.40s of suppress is wrong", key, value);
}

static void
option_read(struct todo_reader *r, char *word)
{
	char *value = strchr(word, '=');

	*value++ = '\0';
	if (!r->has_word)
		WRONG(r, "%.40s= stands in front of what is to be done", word);
	else if (r->word == WORD_SUPPRESS)
		suppress_option(r, word, value);
	else if (r->step != NULL)
		step_option(r, word, value);
	else if (r->word != WORD_RETRY || strcmp(word, "in") != 0)
		WRONG(r, "%s has no option %.40s", words[r->word], word);
	else if (!time_read(value, 1000, STEP_MAX, &r->todo->delay))
		WRONG(r, "in=%.40s of retry is wrong", value);
}

/* ---- words ---- */

static void
word_read(struct todo_reader *r, const char *word)
{
	struct suggest near;
	size_t i;

	suggest_init(&near, word);
	for (i = 0; i < WORDS && strcmp(word, words[i]) != 0; i++)
		suggest_consider(&near, words[i]);
	if (i == WORDS) {
		WRONG(r, "'%.40s' is nothing that can be done" SUGGEST_FMT, word, SUGGEST_ARGS(near.best));
		return;
	}
	r->word = (enum word)i;
	r->has_word = true;
	r->step = NULL;
	if (i <= (size_t)WORD_HOLD) {
		if (r->has_mail)
			WRONG(r, "only one of by-code, retry, give-up and hold can be said");
		r->has_mail = true;
		r->todo->mail = (enum bounce_mail)i;
	} else if (i == WORD_SUPPRESS) {
		if (r->todo->is_suppressing)
			WRONG(r, "suppress is said twice");
		r->todo->is_suppressing = true;
	} else {
		r->step = step_new(r, r->word);
	}
}

static bool
is_of_recipient(const struct bounce_cause *c)
{
	return c->scope == BOUNCE_OF_RECIPIENT || c->scope == BOUNCE_OF_RECIPIENT_DOMAIN;
}

/* Good addresses are not to be lost for what is the sender's or a network's fault. */
static void
suppress_check(struct todo_reader *r, const struct bounce_cause *const *causes, size_t n)
{
	const struct bounce_todo *t = r->todo;
	size_t i;

	for (i = 0; i < n; i++) {
		if (!is_of_recipient(causes[i]) || causes[i]->kind == BOUNCE_BLOCK) {
			WRONG(r, "%s says nothing of the recipient: it cannot suppress", causes[i]->name);
			return;
		}
		if (causes[i]->action != BOUNCE_SUPPRESS && t->threshold < 2) {
			WRONG(r, "%s once is no reason to suppress: say how often, after=3/14d", causes[i]->name);
			return;
		}
		if (t->is_domain && causes[i]->scope != BOUNCE_OF_RECIPIENT_DOMAIN) {
			WRONG(r, "%s says nothing of the whole domain", causes[i]->name);
			return;
		}
	}
	if (t->spread > 0 && (t->threshold < 2 || t->spread > t->within))
		WRONG(r, "spread is the least time between the first and the last that after counts, and less than "
		    "its period");
}

static void
steps_check(struct todo_reader *r)
{
	size_t i;

	for (i = 0; i < r->todo->n_steps; i++) {
		const struct shaping_rule *rule = &r->todo->steps[i]->rule;

		if (rule->n_actions == 0)
			WRONG(r, "slow needs a setting of the path, max_message_rate=100/min");
		if (rule->duration == 0)
			WRONG(r, "%s needs a time, for=2h", rule->n_actions > 0 &&
			    rule->actions[0].type == ACTION_SET_CONFIG ? "slow" : "suspend");
	}
}

char *
bounce_todo_parse(const char *said, const char *name, const struct bounce_cause *const *causes, size_t n,
    struct bounce_todo *out)
{
	struct todo_reader r = { .name = name, .todo = out };
	char *copy, *save, *word;

	memset(out, 0, sizeof(*out));
	out->scope = SUPPRESS_GLOBAL;
	if (strlen(said) > WORDS_MAX)
		return xasprintf("what is to be done is longer than %d bytes", WORDS_MAX);
	copy = save = xstrdup(said);
	while (r.err == NULL && (word = strsep(&save, " \t")) != NULL) {
		if (*word == '\0')
			continue;
		if (strchr(word, '=') != NULL)
			option_read(&r, word);
		else
			word_read(&r, word);
	}
	free(copy);
	if (r.err == NULL && !r.has_word)
		WRONG(&r, "nothing is said that is to be done");
	if (r.err == NULL && out->is_suppressing)
		suppress_check(&r, causes, n);
	if (r.err == NULL)
		steps_check(&r);
	if (r.err != NULL)
		bounce_todo_clear(out);
	return r.err;
}

/* ---- as text ---- */

static void
put(struct wbuf *w, const char *key, const char *value)
{
	if (w->len > 0)
		wbuf_u8(w, ' ');
	wbuf_raw(w, key, strlen(key));
	if (value != NULL) {
		wbuf_u8(w, '=');
		wbuf_raw(w, value, strlen(value));
	}
}

static void
put_time(struct wbuf *w, const char *key, int64_t ms)
{
	char text[40];

	conf_time_text(ms, text, sizeof(text));
	put(w, key, text);
}

static void
put_count(struct wbuf *w, uint64_t count, int64_t period)
{
	char text[40];
	char *both;

	conf_time_text(period, text, sizeof(text));
	both = xasprintf("%" PRIu64 "/%s", count, text);
	put(w, "after", both);
	free(both);
}

static void
put_suppress(struct wbuf *w, const struct bounce_todo *t)
{
	put(w, words[WORD_SUPPRESS], NULL);
	put(w, "scope", suppress_scope_names[t->scope]);
	if (t->is_domain)
		put(w, "what", "domain");
	if (t->threshold > 1)
		put_count(w, t->threshold, t->within);
	if (t->spread > 0)
		put_time(w, "spread", t->spread);
	if (t->keep > 0)
		put_time(w, "for", t->keep);
	else
		put(w, "for", "ever");
}

static void
put_step(struct wbuf *w, const struct bounce_step *s)
{
	const struct shaping_rule *rule = &s->rule;
	enum shaping_action_type type = rule->actions[0].type, kind;
	size_t i;

	kind = type == ACTION_SUSPEND_TENANT || type == ACTION_SUSPEND_CAMPAIGN ? type : ACTION_SUSPEND;
	put(w, words[type == ACTION_ALERT ? WORD_ALERT : type == ACTION_SET_CONFIG ? WORD_SLOW : WORD_SUSPEND], NULL);
	for (i = 0; i < N_COVERS; i++)
		if (covers[i].suspend == kind && covers[i].scope == rule->scope)
			put(w, "of", covers[i].name);
	if (rule->trigger_count > 1)
		put_count(w, rule->trigger_count, rule->trigger_period);
	for (i = 0; type == ACTION_SET_CONFIG && i < rule->n_actions; i++)
		put(w, policy_path_name((size_t)rule->actions[i].field), rule->actions[i].value);
	put_time(w, "for", rule->duration);
}

char *
bounce_todo_text(const struct bounce_todo *t)
{
	struct wbuf w;
	size_t i;

	wbuf_init(&w);
	put(&w, words[t->mail], NULL);
	if (t->delay > 0)
		put_time(&w, "in", t->delay);
	if (t->is_suppressing)
		put_suppress(&w, t);
	for (i = 0; i < t->n_steps; i++)
		put_step(&w, t->steps[i]);
	wbuf_u8(&w, '\0');
	return (char *)w.p;
}
