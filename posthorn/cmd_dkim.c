/* posthorn dkim: keys, their DNS records, whether these are published, and a change of keys that no message notices. */
#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/dns_answer.h"

#include "admin.h"
#include "dkim_files.h"
#include "dkim_record.h"
#include "dns_ask.h"

#define STRING_MAX 255 /* octets of one string of a TXT record */
#define BITS_ADVISED 2048

struct dkim_args {
	const char *domain, *selector;
	enum dkim_algorithm type;
	unsigned bits;
	bool is_rotation;
	const struct params *params;
};

/* What DNS has said of each key. */
struct published {
	const struct dkim_files *files;
	char **problems; /* NULL: all is well */
	bool *is_testing;
};

/* ---- records ---- */

/* A zone file's line; the text is ours and needs no quoting. */
static void
record_print(const struct dkim_file *f)
{
	char *name = dkim_record_name(f->selector, f->domain), *text = dkim_record_text(f->key);
	const char *p;

	printf("%s. IN TXT (", name);
	for (p = text; *p != '\0'; p += strlen(p) > STRING_MAX ? STRING_MAX : strlen(p))
		printf(" \"%.*s\"", STRING_MAX, p);
	printf(" )\n");
	free(name);
	free(text);
}

static void
record_json(struct json *j, const struct dkim_file *f)
{
	char *name = dkim_record_name(f->selector, f->domain), *text = f->key != NULL ? dkim_record_text(f->key) : NULL;

	json_str(j, "domain", f->domain);
	json_str(j, "selector", f->selector);
	json_str(j, "file", f->path);
	json_str(j, "name", name);
	json_str(j, "record", text);
	json_bool(j, "current", f->is_current);
	json_bool(j, "next", f->is_next);
	free(name);
	free(text);
}

static int
files_get(const struct dkim_args *a, struct dkim_files *l)
{
	const char *dir = a->params->dkim_key_directory;

	if (dkim_files_read(dir, a->domain, a->selector, l) == -1)
		return adm_fail("%s%s%s: %s", dir, a->domain != NULL ? "/" : "", a->domain != NULL ? a->domain : "",
		    strerror(errno));
	if (l->n == 0)
		return adm_fail("there is no such key in %s", dir);
	return ADM_OK;
}

static int
dkim_record(const struct admin *adm, const struct dkim_args *a)
{
	struct dkim_files l = { NULL, 0 };
	int rv = files_get(a, &l);
	struct json j;
	size_t i;

	json_init(&j);
	json_arr(&j, NULL);
	for (i = 0; i < l.n; i++) {
		if (l.v[i].key == NULL) {
			rv = adm_fail("%s", l.v[i].problem);
		} else if (adm->json) {
			json_obj(&j, NULL);
			record_json(&j, &l.v[i]);
			json_obj_end(&j);
		} else {
			record_print(&l.v[i]);
		}
	}
	json_arr_end(&j);
	if (adm->json)
		printf("%.*s\n", (int)j.out.len, (const char *)j.out.p);
	json_clear(&j);
	dkim_files_clear(&l);
	return rv;
}

/* ---- DNS ---- */

static void
on_record(size_t i, const struct dns_reply *reply, void *arg)
{
	struct published *p = arg;

	free(p->problems[i]);
	p->problems[i] = dkim_record_compare(p->files->v[i].key, reply, &p->is_testing[i]);
}

/* 0 or -1 after a sentence. Of each file that has a key. */
static int
published_get(const struct params *params, const struct dkim_files *l, struct published *p)
{
	char **names = xcalloc(l->n, sizeof(*names));
	size_t i;
	int rv;

	*p = (struct published){ l, xcalloc(l->n, sizeof(char *)), xcalloc(l->n, sizeof(bool)) };
	for (i = 0; i < l->n; i++) {
		p->problems[i] = xstrdup("the name service gave no answer in time");
		names[i] = dkim_record_name(l->v[i].selector, l->v[i].domain);
	}
	rv = dns_ask_all(params, DNS_TYPE_TXT, (const char *const *)names, l->n, on_record, p);
	for (i = 0; i < l->n; i++)
		free(names[i]);
	free(names);
	return rv;
}

static void
published_clear(struct published *p)
{
	size_t i;

	for (i = 0; p->problems != NULL && i < p->files->n; i++)
		free(p->problems[i]);
	free(p->problems);
	free(p->is_testing);
}

/* What is worth knowing of a key that is published as it should be; NULL: nothing. */
static const char *
warning_of(const struct dkim_file *f, bool is_testing)
{
	if (is_testing)
		return "the record has t=y: receivers may treat mail as if it were not signed";
	if (dkim_key_algorithm(f->key) == DKIM_RSA && dkim_key_bits(f->key) < BITS_ADVISED)
		return "the key has fewer than 2048 bits";
	return NULL;
}

static void
check_print(const struct dkim_file *f, const char *problem, const char *warning, bool is_json, struct json *j)
{
	if (is_json) {
		json_obj(j, NULL);
		record_json(j, f);
		json_bool(j, "published", problem == NULL);
		json_str(j, "problem", problem);
		json_str(j, "warning", warning);
		json_obj_end(j);
		return;
	}
	printf("%s %s._domainkey.%s%s: %s\n", problem != NULL ? "failure" : warning != NULL ? "warning" : "ok     ",
	    f->selector, f->domain, f->is_current ? " (current)" : f->is_next ? " (next)" : "",
	    problem != NULL ? problem : warning != NULL ? warning : "published");
}

/* Keys that cannot be read are set aside first: they are problems without a question. */
static int
dkim_check(const struct admin *adm, const struct dkim_args *a)
{
	struct dkim_files l = { NULL, 0 }, usable = { NULL, 0 };
	struct published p = { NULL, NULL, NULL };
	int rv = files_get(a, &l);
	struct json j;
	size_t i;

	json_init(&j);
	json_arr(&j, NULL);
	usable.v = xcalloc(l.n + 1, sizeof(*usable.v));
	for (i = 0; i < l.n; i++) {
		if (l.v[i].key != NULL) {
			usable.v[usable.n++] = l.v[i];
			continue;
		}
		check_print(&l.v[i], l.v[i].problem, NULL, adm->json, &j);
		rv = ADM_FAILED;
	}
	if (published_get(a->params, &usable, &p) == -1)
		rv = ADM_FAILED;
	for (i = 0; i < usable.n; i++) {
		check_print(&usable.v[i], p.problems[i], warning_of(&usable.v[i], p.is_testing[i]), adm->json, &j);
		if (p.problems[i] != NULL)
			rv = ADM_FAILED;
	}
	json_arr_end(&j);
	if (adm->json)
		printf("%.*s\n", (int)j.out.len, (const char *)j.out.p);
	published_clear(&p);
	free(usable.v);
	json_clear(&j);
	dkim_files_clear(&l);
	return rv;
}

/* ---- keys ---- */

/* By type and month, and a letter if there was one this month. */
static char *
selector_new(const struct dkim_args *a)
{
	time_t now = time(NULL);
	struct dkim_files l;
	char month[16], letter[2] = "", *s;
	struct tm tm;
	bool is_free;

	gmtime_r(&now, &tm);
	strftime(month, sizeof(month), "%Y%m", &tm);
	for (;;) {
		s = xasprintf("%c%s%s", a->type == DKIM_ED25519 ? 'e' : 's', month, letter);
		is_free = dkim_files_read(a->params->dkim_key_directory, a->domain, s, &l) == -1 || l.n == 0;
		dkim_files_clear(&l);
		if (is_free || *letter == 'z')
			return s;
		free(s);
		*letter = *letter == '\0' ? 'b' : (char)(*letter + 1);
	}
}

/* Of the key that was just made; what is to be done next. */
static void
made_print(const struct admin *adm, const struct dkim_args *a, const char *selector, const char *word, bool is_new_dir)
{
	struct dkim_files l;
	struct json j;

	if (dkim_files_read(a->params->dkim_key_directory, a->domain, selector, &l) == -1 || l.n == 0 ||
	    l.v[0].key == NULL)
		return;
	if (adm->json) {
		json_init(&j);
		json_obj(&j, NULL);
		record_json(&j, &l.v[0]);
		json_obj_end(&j);
		printf("%.*s\n", (int)j.out.len, (const char *)j.out.p);
		json_clear(&j);
	} else {
		printf("; %s\n; to be published:\n", l.v[0].path);
		record_print(&l.v[0]);
		if (strcmp(word, "next") == 0)
			printf("; then run `posthorn dkim keygen %s --rotate' again: the key signs from then on\n",
			    a->domain);
		if (geteuid() == 0 && getpwnam(DKIM_SIGN_USER) == NULL)
			printf("; there is no user " DKIM_SIGN_USER " yet, to whom the key should belong\n");
		if (is_new_dir)
			printf("; the directory is new: `posthorn reload' shows it to smtpd\n");
	}
	dkim_files_clear(&l);
}

/* word: current, next, or "". */
static int
key_make(const struct admin *adm, const struct dkim_args *a, const char *word)
{
	const char *dir = a->params->dkim_key_directory;
	char *selector = a->selector != NULL ? xstrdup(a->selector) : selector_new(a);
	struct dkim_key *k = dkim_key_generate(a->type, a->bits);
	bool is_new_dir = false;
	int rv = ADM_OK;

	if (k == NULL)
		rv = adm_fail("OpenSSL made no key");
	else if (dkim_key_store(dir, a->domain, selector, k, &is_new_dir) == -1)
		rv = adm_fail("%s/%s/%s.key: %s", dir, a->domain, selector, strerror(errno));
	else if (*word != '\0' && dkim_word_write(dir, a->domain, word, selector) == -1)
		rv = adm_fail("%s/%s/%s: %s", dir, a->domain, word, strerror(errno));
	else
		made_print(adm, a, selector, word, is_new_dir);
	dkim_key_free(&k);
	free(selector);
	return rv;
}

/* The second half of a rotation: if DNS shows the next key, it signs. */
static int
key_switch(const struct admin *adm, const struct dkim_args *a, const char *next)
{
	struct dkim_args of = { .domain = a->domain, .selector = next, .params = a->params };
	const char *dir = a->params->dkim_key_directory;
	char *before = dkim_word_read(dir, a->domain, "current");
	struct dkim_files l = { NULL, 0 };
	struct published p = { NULL, NULL, NULL };
	int rv = files_get(&of, &l);

	if (rv == ADM_OK && l.v[0].key == NULL)
		rv = adm_fail("%s", l.v[0].problem);
	if (rv == ADM_OK && published_get(a->params, &l, &p) == -1)
		rv = ADM_FAILED;
	if (rv == ADM_OK && p.problems[0] != NULL)
		rv = adm_fail("%s does not sign yet: %s._domainkey.%s: %s", next, next, a->domain, p.problems[0]);
	if (rv == ADM_OK && (dkim_word_write(dir, a->domain, "current", next) == -1 ||
	    dkim_word_remove(dir, a->domain, "next") == -1))
		rv = adm_fail("%s/%s/current: %s", dir, a->domain, strerror(errno));
	if (rv == ADM_OK && !adm->json)
		printf("%s: %s signs now%s%s%s\n", a->domain, next, before != NULL ? "; leave the record of " : "",
		    before != NULL ? before : "", before != NULL ? " published for a week, until all mail that it "
		    "signed has arrived" : "");
	published_clear(&p);
	dkim_files_clear(&l);
	free(before);
	return rv;
}

static int
dkim_keygen(const struct admin *adm, const struct dkim_args *a)
{
	const char *dir = a->params->dkim_key_directory;
	char *current = dkim_word_read(dir, a->domain, "current"), *next = dkim_word_read(dir, a->domain, "next");
	int rv;

	if (a->is_rotation && next != NULL)
		rv = key_switch(adm, a, next);
	else if (a->is_rotation)
		rv = key_make(adm, a, "next");
	else
		rv = key_make(adm, a, current == NULL && a->type == DKIM_RSA ? "current" : "");
	free(current);
	free(next);
	return rv;
}

/* ---- the command ---- */

static int
options_take(struct dkim_args *a, int argc, char **argv)
{
	static const struct option options[] = {
		{ "selector", required_argument, NULL, 's' },
		{ "bits", required_argument, NULL, 'b' },
		{ "type", required_argument, NULL, 't' },
		{ "rotate", no_argument, NULL, 'r' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	optind = 0;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 's':
			a->selector = optarg;
			if (!dkim_selector_valid(optarg))
				return adm_usage("dkim", "`%s' is not a selector", optarg);
			break;
		case 'b':
			a->bits = (unsigned)strtoul(optarg, NULL, 10);
			if (a->bits != 1024 && a->bits != 2048 && a->bits != 3072 && a->bits != 4096)
				return adm_usage("dkim", "--bits is 1024, 2048, 3072 or 4096");
			break;
		case 't':
			if (strcmp(optarg, "rsa") != 0 && strcmp(optarg, "ed25519") != 0)
				return adm_usage("dkim", "--type is rsa or ed25519");
			a->type = strcmp(optarg, "rsa") == 0 ? DKIM_RSA : DKIM_ED25519;
			break;
		case 'r':
			a->is_rotation = true;
			break;
		default:
			return adm_usage("dkim", NULL);
		}
	}
	return ADM_OK;
}

/* In lower case, which is how smtpd looks for it. */
static char *
domain_take(const char *s)
{
	char *domain, *p;

	if (!address_domain_valid(s, false) || *s == '[')
		return NULL;
	domain = xstrdup(s);
	for (p = domain; *p != '\0'; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p + 32);
	return domain;
}

int
cmd_dkim(struct admin *adm, int argc, char **argv)
{
	struct dkim_args a = { .type = DKIM_RSA, .bits = 2048 };
	const char *verb = argc >= 2 ? argv[1] : "";
	bool is_check = strcmp(verb, "check") == 0, is_keygen = strcmp(verb, "keygen") == 0;
	struct params *params;
	char *domain = NULL;
	int rv;

	if (!is_check && !is_keygen && strcmp(verb, "record") != 0)
		return adm_usage("dkim", "dkim wants keygen, record or check");
	if ((rv = options_take(&a, argc - 1, argv + 1)) != ADM_OK)
		return rv;
	argc -= 1 + optind;
	argv += 1 + optind;
	if (argc > 1 || (argc == 0 && !is_check))
		return adm_usage("dkim", "one domain, please");
	if (argc == 1 && (domain = domain_take(argv[0])) == NULL)
		return adm_usage("dkim", "`%s' is not a domain", argv[0]);
	if ((params = adm_params(adm, NULL)) == NULL) {
		free(domain);
		return ADM_FAILED;
	}
	a.domain = domain;
	a.params = params;
	rv = is_keygen ? dkim_keygen(adm, &a) : is_check ? dkim_check(adm, &a) : dkim_record(adm, &a);
	params_free(&params);
	free(domain);
	return rv;
}
