/* Files of bounce rules, bounce_rules(5). The administrator's: whatever is wrong is said with file and line, all of it
 * at once. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/slurp.h"
#include "base/suggest.h"
#include "base/xalloc.h"
#include "mail/bounce_private.h"
#include "mail/queue_link.h"

#define FILE_SIZE_MAX (4u << 20)
#define RULES_MAX 20000
#define SAMPLES_MAX 100
#define CONDITIONS_MAX 100 /* of one kind */
#define CAUSES_MAX 128     /* that one line is about */
#define MATCH_STEPS 20000u /* from one start */
#define MATCH_DEPTH 1000u
#define MATCH_HEAP_KIB 1024u

struct reader {
	struct bounce_rules *rs;
	struct conf_errors *errs;
	const char *file;
	unsigned line;
	struct bounce_rule *last; /* whose samples follow; NULL: none */
	bool has_said;            /* suppress= */
	bool is_on;               /* the line is one of "on ..." */
};

#define COMPLAIN(r, ...) conf_error_add((r)->errs, (r)->file, (r)->line, __VA_ARGS__)

void
bounce_rule_clear(struct bounce_rule *rule)
{
	size_t i;

	pattern_clear(&rule->pattern);
	free(rule->codes);
	free(rule->statuses);
	for (i = 0; i < rule->n_providers; i++)
		free(rule->providers[i]);
	free(rule->providers);
	for (i = 0; i < rule->n_samples; i++)
		free(rule->samples[i].text);
	free(rule->samples);
	memset(rule, 0, sizeof(*rule));
}

/* A number at *s, stepped over. -1: none, or too large. */
static int
number_take(const char **s)
{
	char *end;
	unsigned long n;

	if (**s < '0' || **s > '9')
		return -1;
	n = strtoul(*s, &end, 10);
	*s = end;
	return n > 999 ? -1 : (int)n;
}

/* "550", "5xx", "550-554" */
static bool
code_read(const char *s, struct code_range *out)
{
	int from, to;

	if (s[0] >= '4' && s[0] <= '5' && strcmp(s + 1, "xx") == 0) {
		out->from = (uint16_t)((s[0] - '0') * 100);
		out->to = (uint16_t)(out->from + 99);
		return true;
	}
	from = to = number_take(&s);
	if (*s == '-') {
		s++;
		to = number_take(&s);
	}
	out->from = (uint16_t)from;
	out->to = (uint16_t)to;
	return *s == '\0' && from >= 200 && to >= from && to <= 599;
}

/* "5.1.1", "x.1.1", "5.x.x", "5.7.x", "5.7.606-649" */
static bool
status_read(const char *s, struct status_range *out)
{
	int n;

	memset(out, 0, sizeof(*out));
	if (s[0] == '4' || s[0] == '5')
		out->class = (uint8_t)(s[0] - '0');
	else if (s[0] != 'x')
		return false;
	if (s[1] != '.')
		return false;
	s += 2;
	if (*s == 'x') {
		out->is_any_subject = true;
		s++;
	} else if ((n = number_take(&s)) == -1) {
		return false;
	} else {
		out->subject = (uint16_t)n;
	}
	if (*s++ != '.')
		return false;
	if (strcmp(s, "x") == 0) {
		out->to = UINT16_MAX;
		return true;
	}
	if ((n = number_take(&s)) == -1)
		return false;
	out->from = out->to = (uint16_t)n;
	if (*s == '-') {
		s++;
		if ((n = number_take(&s)) < (int)out->from)
			return false;
		out->to = (uint16_t)n;
	}
	return *s == '\0';
}

static bool
phase_read(const char *s, uint32_t *out)
{
	for (unsigned i = 1; i < PHASES; i++)
		if (strcmp(s, phase_names[i]) == 0) {
			*out |= 1u << i;
			return true;
		}
	return false;
}

/* One value of a condition's list. */
static void
condition_add(struct reader *r, struct bounce_rule *rule, const char *key, const char *value)
{
	bool is_good;

	if (strcmp(key, "code") == 0) {
		rule->codes = xreallocarray(rule->codes, rule->n_codes + 1, sizeof(*rule->codes));
		is_good = rule->n_codes < CONDITIONS_MAX && code_read(value, &rule->codes[rule->n_codes]);
		rule->n_codes += is_good;
	} else if (strcmp(key, "status") == 0) {
		rule->statuses = xreallocarray(rule->statuses, rule->n_statuses + 1, sizeof(*rule->statuses));
		is_good = rule->n_statuses < CONDITIONS_MAX && status_read(value, &rule->statuses[rule->n_statuses]);
		rule->n_statuses += is_good;
	} else if (strcmp(key, "phase") == 0) {
		is_good = phase_read(value, &rule->phases);
	} else if (strcmp(key, "provider") == 0) {
		rule->providers = xreallocarray(rule->providers, rule->n_providers + 1, sizeof(*rule->providers));
		is_good = rule->n_providers < CONDITIONS_MAX && *value != '\0';
		if (is_good)
			rule->providers[rule->n_providers++] = xstrdup(value);
	} else if (strcmp(key, "suppress") == 0 && rule->cause != NULL && !r->is_on) {
		is_good = strcmp(value, "no") == 0 ||
		    (strcmp(value, "yes") == 0 && rule->cause->action == BOUNCE_SUPPRESS);
		rule->is_suppressing = is_good && *value == 'y';
		r->has_said = true;
	} else {
		COMPLAIN(r, "'%.40s' is not a condition: those are code, status, phase, provider%s", key,
		    rule->cause != NULL && !r->is_on ? ", suppress" : "");
		return;
	}
	if (!is_good)
		COMPLAIN(r, "%s=%.80s: '%.40s' is wrong", key, value, value);
}

static void
condition_read(struct reader *r, struct bounce_rule *rule, char *word)
{
	char *value = strchr(word, '='), *next;

	if (value == NULL) {
		COMPLAIN(r, "'%.80s' is neither a condition (code=550) nor a pattern (/text/)", word);
		return;
	}
	for (*value++ = '\0'; value != NULL; value = next) {
		if ((next = strchr(value, ',')) != NULL)
			*next++ = '\0';
		condition_add(r, rule, word, value);
	}
}

/* From its / to the last of the line: what is between needs no escapes. */
static void
pattern_read(struct reader *r, struct bounce_rule *rule, char *s)
{
	char *end = strrchr(s, '/'), *folded, *err;

	if (end == s || end[1 + strspn(end + 1, " \t")] != '\0') {
		COMPLAIN(r, "the pattern must be between / and a / at the end of the line");
		return;
	}
	*end = '\0';
	if (s[1] == '\0') {
		COMPLAIN(r, "the pattern is empty");
		return;
	}
	folded = bounce_text_fold_pattern(s + 1);
	if ((err = pattern_compile(&rule->pattern, folded, PCRE2_CASELESS)) != NULL) {
		COMPLAIN(r, "%s", err);
		free(err);
	}
	free(folded);
}

static void
rule_finish(struct reader *r, struct bounce_rule *rule)
{
	struct bounce_rules *rs = r->rs;
	bool is_veto = rule->cause == NULL;
	struct bounce_rule **list = is_veto ? &rs->vetoes : &rs->rules;
	size_t *n = is_veto ? &rs->n_vetoes : &rs->n_rules;

	if (rule->pattern.text == NULL && (is_veto || (rule->n_codes == 0 && rule->n_statuses == 0)))
		COMPLAIN(r, "%s", is_veto ? "a veto needs a pattern" : "a rule needs a pattern, a code or a status");
	if (*n >= RULES_MAX) {
		COMPLAIN(r, "there are more than %d rules", RULES_MAX);
		bounce_rule_clear(rule);
		return;
	}
	/* Doubling: many lines are read at each start. */
	if ((*n & (*n - 1)) == 0)
		*list = xreallocarray(*list, *n == 0 ? 1 : *n * 2, sizeof(**list));
	(*list)[*n] = *rule;
	r->last = &(*list)[(*n)++];
}

/* "CAUSE [condition ...] [/pattern/]", "veto ..." */
static void
rule_read(struct reader *r, char *line)
{
	struct bounce_rule rule = { .file = r->file, .line = r->line };
	char *word, *save = line;
	const char *name;

	name = strsep(&save, " \t");
	if (strcmp(name, "veto") != 0) {
		if ((rule.cause = bounce_cause_find(name)) == NULL) {
			const char *near = bounce_cause_near(name);

			COMPLAIN(r, "'%.60s' is no cause" SUGGEST_FMT, name, SUGGEST_ARGS(*near != '\0' ? near : NULL));
			r->last = NULL;
			return;
		}
	}
	r->has_said = false;
	while (save != NULL) {
		save += strspn(save, " \t");
		if (*save == '/') {
			pattern_read(r, &rule, save);
			break;
		}
		word = strsep(&save, " \t");
		if (*word != '\0')
			condition_read(r, &rule, word);
	}
	/* Codes alone mean too many things. */
	if (!r->has_said && rule.cause != NULL && (rule.pattern.text != NULL || rule.n_providers > 0))
		rule.is_suppressing = rule.cause->action == BOUNCE_SUPPRESS;
	rule_finish(r, &rule);
}

/* The causes that an `on' line is about. False: there is no such cause or class. */
static bool
on_target(struct bounce_on *on, const char *name, const struct bounce_cause **causes, size_t *n)
{
	const struct bounce_cause *c;
	size_t i;

	*n = 0;
	for (i = 0; (c = bounce_cause_at(i)) != NULL && *n < CAUSES_MAX; i++) {
		if (strcmp(c->name, name) == 0)
			on->when.cause = c;
		else if (strcmp(c->class, name) == 0)
			on->class = c->class;
		else if (strcmp(name, "*") != 0)
			continue;
		causes[(*n)++] = c;
	}
	return *n > 0;
}

static void
on_add(struct reader *r, const struct bounce_on *on)
{
	struct bounce_rules *rs = r->rs;

	if ((rs->n_ons & (rs->n_ons - 1)) == 0)
		rs->ons = xreallocarray(rs->ons, rs->n_ons == 0 ? 1 : rs->n_ons * 2, sizeof(*rs->ons));
	rs->ons[rs->n_ons++] = *on;
}

/* "on CAUSE [condition ...] what ...": s is what follows "on". */
static void
on_read(struct reader *r, char *s)
{
	const struct bounce_cause *causes[CAUSES_MAX];
	struct bounce_on on = { .when = { .file = r->file, .line = r->line } };
	char *name, *word, *err;
	size_t n;

	r->last = NULL;
	s += strspn(s, " \t");
	name = strsep(&s, " \t");
	if (!on_target(&on, name, causes, &n)) {
		const char *near = bounce_cause_near(name);

		COMPLAIN(r, "'%.60s' is neither a cause nor a class" SUGGEST_FMT, name,
		    SUGGEST_ARGS(*near != '\0' ? near : NULL));
		return;
	}
	/* Conditions up to the first word of what is to be done. */
	while (s != NULL && *(s += strspn(s, " \t")) != '\0' && memchr(s, '=', strcspn(s, " \t")) != NULL) {
		word = strsep(&s, " \t");
		condition_read(r, &on.when, word);
	}
	if ((err = bounce_todo_parse(s == NULL ? "" : s, name, causes, n, &on.todo)) != NULL) {
		COMPLAIN(r, "%s", err);
		free(err);
		bounce_rule_clear(&on.when);
		return;
	}
	if (r->rs->n_ons < RULES_MAX) {
		on_add(r, &on);
		return;
	}
	COMPLAIN(r, "there are more than %d lines with on", RULES_MAX);
	bounce_todo_clear(&on.todo);
	bounce_rule_clear(&on.when);
}

/* "    550 text" and "    ! 550 text" */
static void
sample_read(struct reader *r, const char *s)
{
	struct bounce_rule *rule = r->last;
	struct bounce_sample sample = { .line = r->line };

	if (*s == '!') {
		sample.is_counter = true;
		s += 1 + strspn(s + 1, " \t");
	}
	if (rule == NULL || rule->n_samples >= SAMPLES_MAX) {
		COMPLAIN(r, "%s", rule == NULL ? "a sample without a rule in front of it" :
		    "a rule has too many samples");
		return;
	}
	sample.text = xstrdup(s);
	rule->samples = xreallocarray(rule->samples, rule->n_samples + 1, sizeof(*rule->samples));
	rule->samples[rule->n_samples++] = sample;
}

static void
line_read(struct reader *r, char *line)
{
	size_t blank = strspn(line, " \t"), len = strlen(line), i;

	while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t' || line[len - 1] == '\r'))
		line[--len] = '\0';
	for (i = 0; i < len; i++)
		if (((unsigned char)line[i] < ' ' && line[i] != '\t') || line[i] == 0x7f) {
			COMPLAIN(r, "the line has a control character");
			r->last = NULL;
			return;
		}
	if (blank >= len || line[blank] == '#')
		return;
	if (blank > 0) {
		sample_read(r, line + blank);
	} else if (strncmp(line, "on", 2) == 0 && (line[2] == ' ' || line[2] == '\t')) {
		r->is_on = true;
		on_read(r, line + 3);
		r->is_on = false;
	} else {
		rule_read(r, line);
	}
}

static void
file_read(struct reader *r)
{
	size_t len;
	char *text = slurp(r->file, FILE_SIZE_MAX, &len), *s, *next;

	r->line = 0;
	r->last = NULL;
	if (text == NULL) {
		COMPLAIN(r, "%s", errno == EFBIG ? "the file is larger than 4 MiB" : strerror(errno));
		return;
	}
	if (memchr(text, '\0', len) != NULL) {
		COMPLAIN(r, "the file has a NUL byte: it is not a text");
		free(text);
		return;
	}
	for (s = text; s != NULL && *s != '\0'; s = next) {
		if ((next = strchr(s, '\n')) != NULL)
			*next++ = '\0';
		r->line++;
		line_read(r, s);
	}
	free(text);
}

struct bounce_rules *
bounce_rules_load(const struct conf_strs *files, struct conf_errors *errs)
{
	struct bounce_rules *rs = xcalloc(1, sizeof(*rs));
	struct reader r = { .rs = rs, .errs = errs };
	size_t before = errs->n, i;

	pattern_matcher_init(&rs->matcher, MATCH_STEPS, MATCH_DEPTH, MATCH_HEAP_KIB);
	rs->files = xcalloc(files->n + 1, sizeof(*rs->files));
	for (i = 0; i < files->n; i++) {
		r.file = rs->files[rs->n_files++] = xstrdup(files->v[i]);
		file_read(&r);
	}
	if (errs->n > before)
		bounce_rules_free(&rs);
	return rs;
}

void
bounce_rules_free(struct bounce_rules **rsp)
{
	struct bounce_rules *rs = *rsp;
	size_t i;

	*rsp = NULL;
	if (rs == NULL)
		return;
	for (i = 0; i < rs->n_rules; i++)
		bounce_rule_clear(&rs->rules[i]);
	for (i = 0; i < rs->n_vetoes; i++)
		bounce_rule_clear(&rs->vetoes[i]);
	for (i = 0; i < rs->n_ons; i++) {
		bounce_rule_clear(&rs->ons[i].when);
		bounce_todo_clear(&rs->ons[i].todo);
	}
	for (i = 0; i < rs->n_files; i++)
		free(rs->files[i]);
	free(rs->ons);
	free(rs->rules);
	free(rs->vetoes);
	free(rs->files);
	pattern_matcher_clear(&rs->matcher);
	free(rs);
}
