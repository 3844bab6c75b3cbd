/* Which providers and sites a path may belong to: their match rules by the end of a name they want, in a hash, so that
 * a path costs as many look-ups as its names have labels, however many blocks there are. What is found is only a
 * candidate: shaping_meets() decides. */
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/xalloc.h"
#include "mail/mx.h"
#include "mail/shaping_private.h"

enum ref_kind { REF_PROVIDER_MX, REF_PROVIDER_DOMAIN, REF_SITE_MX, REF_SITE_NAME };

struct ref {
	enum ref_kind kind;
	size_t at; /* in the shaping's providers or sites */
};

struct suffix {
	UT_hash_handle hh;
	const char *text; /* the block's */
	struct ref *refs;
	size_t n;
};

static void
ref_add(struct suffix **index, const char *text, enum ref_kind kind, size_t at)
{
	struct suffix *x;

	HASH_FIND_STR(*index, text, x);
	if (x == NULL) {
		x = xcalloc(1, sizeof(*x));
		x->text = text;
		HASH_ADD_KEYPTR(hh, *index, x->text, strlen(x->text), x);
	}
	x->refs = xreallocarray(x->refs, x->n + 1, sizeof(*x->refs));
	x->refs[x->n++] = (struct ref){ kind, at };
}

void
shaping_index_build(struct shaping *s)
{
	const struct match_rule *m;
	size_t i, k;

	for (i = 0; i < s->providers.n; i++)
		for (k = 0; k < s->providers.v[i]->n_match; k++) {
			m = &s->providers.v[i]->match[k];
			ref_add(&s->index, m->text, m->kind == MATCH_DOMAIN_SUFFIX ? REF_PROVIDER_DOMAIN :
			    REF_PROVIDER_MX, i);
		}
	for (i = 0; i < s->sites.n; i++) {
		ref_add(&s->index, s->sites.v[i]->name, REF_SITE_NAME, i);
		for (k = 0; k < s->sites.v[i]->n_match; k++)
			ref_add(&s->index, s->sites.v[i]->match[k].text, REF_SITE_MX, i);
	}
}

void
shaping_index_free(struct shaping *s)
{
	struct suffix *x, *next;

	HASH_ITER(hh, s->index, x, next) {
		HASH_DEL(s->index, x);
		free(x->refs);
		free(x);
	}
}

/* A name in lower case without final dot, or NULL: too long to be one. */
static const char *
name_take(const char *name, char buf[MX_NAME_MAX + 2])
{
	size_t i;

	if (name == NULL || strlen(name) > MX_NAME_MAX + 1)
		return NULL;
	for (i = 0; name[i] != '\0'; i++)
		buf[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] + ('a' - 'A')) : name[i];
	if (i > 0 && buf[i - 1] == '.')
		i--;
	buf[i] = '\0';
	return buf;
}

/* Each ref of that kind at the name's end, the longest first; whole: at the name itself alone. */
static void
refs_each(const struct shaping *s, const char *name, enum ref_kind kind, bool whole,
    void (*each)(size_t at, void *arg), void *arg)
{
	char buf[MX_NAME_MAX + 2] = "";
	const char *p = name_take(name, buf), *dot;
	const struct suffix *x;
	size_t i;

	while (p != NULL) {
		HASH_FIND_STR(s->index, p, x);
		for (i = 0; x != NULL && i < x->n; i++)
			if (x->refs[i].kind == kind)
				each(x->refs[i].at, arg);
		dot = whole ? NULL : strchr(p, '.');
		p = dot != NULL ? dot + 1 : NULL;
	}
}

struct best {
	const struct shaping *s;
	const struct shaping_path *path;
	const struct block *block;
	size_t n, at;
};

/* The most specific; of two alike the one said last. */
static void
provider_consider(size_t at, void *arg)
{
	struct best *b = arg;
	size_t n = shaping_meets(b->s->providers.v[at], b->path);

	if (n > 0 && (n > b->n || (n == b->n && at > b->at))) {
		b->block = b->s->providers.v[at];
		b->n = n;
		b->at = at;
	}
}

const struct block *
shaping_index_provider(const struct shaping *s, const struct shaping_path *path)
{
	struct best best = { .s = s, .path = path };

	refs_each(s, path->domain, REF_PROVIDER_DOMAIN, false, provider_consider, &best);
	if (path->n_mx > 0) /* all hosts must meet it: so does the first */
		refs_each(s, path->mx[0], REF_PROVIDER_MX, false, provider_consider, &best);
	return best.block;
}

struct sites {
	const struct shaping *s;
	const struct shaping_path *path; /* NULL: what is given is met */
	size_t *at;
	size_t n, max;
};

/* In the order in which they are said, each once. */
static void
site_consider(size_t at, void *arg)
{
	struct sites *l = arg;
	size_t i;

	if (l->path != NULL && shaping_meets(l->s->sites.v[at], l->path) == 0)
		return;
	for (i = l->n; i > 0 && l->at[i - 1] > at; i--)
		;
	if (l->n == l->max || (i > 0 && l->at[i - 1] == at))
		return;
	memmove(&l->at[i + 1], &l->at[i], (l->n - i) * sizeof(l->at[0]));
	l->at[i] = at;
	l->n++;
}

size_t
shaping_index_sites(const struct shaping *s, const struct shaping_path *path, size_t *at, size_t max)
{
	struct sites l = { .s = s, .at = at, .max = max };

	refs_each(s, path->site, REF_SITE_NAME, true, site_consider, &l);
	l.path = path;
	if (path->n_mx > 0)
		refs_each(s, path->mx[0], REF_SITE_MX, false, site_consider, &l);
	return l.n;
}
