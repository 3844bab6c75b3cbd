/* The known domains of providers, resolved (shaping_live.h). Asked by dns_ask.h. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/dns_answer.h"

#include "dns_ask.h"
#include "shaping_live.h"

static void
strs_add(struct conf_strs *l, const char *s)
{
	l->v = xreallocarray(l->v, l->n + 1, sizeof(char *));
	l->v[l->n++] = xstrdup(s);
}

static int
name_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
on_records(size_t i_domain, const struct dns_reply *reply, void *arg)
{
	struct live_domain *d = &((struct live *)arg)->v[i_domain];
	size_t len = strlen(d->known.domain);
	const char *text = reply->text != NULL ? reply->text : "no answer";
	unsigned i;

	free(d->problem);
	d->problem = NULL;
	if (reply->status != DNS_OK) {
		/* It begins with the domain, which our own sentence has. */
		if (strncmp(text, d->known.domain, len) == 0 && strncmp(text + len, ": ", 2) == 0)
			text += len + 2;
		d->problem = xstrdup(text);
	} else if (reply->n_records == 0) {
		d->problem = xstrdup("has no MX");
	} else {
		for (i = 0; i < reply->n_records; i++)
			if (dns_name_valid(reply->records[i].text))
				strs_add(&d->mx, reply->records[i].text);
		if (d->mx.n > 0)
			qsort(d->mx.v, d->mx.n, sizeof(char *), name_cmp);
		else
			d->problem = xstrdup("does not accept mail");
	}
}

static void
known_collect(const struct shaping *s, struct live *live)
{
	struct shaping_known k;
	size_t i;

	for (i = 0; shaping_known(s, i, &k); i++) {
		live->v = xreallocarray(live->v, live->n + 1, sizeof(*live->v));
		live->v[live->n++] = (struct live_domain){ .known = k,
			.problem = xstrdup("the name service gave no answer in time") };
	}
}

static void
domain_judge(const struct shaping *s, struct live_domain *d, struct conf_errors *f)
{
	struct shaping_path path = { .domain = d->known.domain, .mx = (const char *const *)d->mx.v, .n_mx = d->mx.n };
	const struct shaping_origin *o = d->known.origin;

	if (d->problem != NULL) {
		conf_error_add(f, o->file, o->line, "%s: its known domain %s: %s", o->layer, d->known.domain,
		    d->problem);
		return;
	}
	d->found = shaping_provider(s, &path);
	if (d->found == NULL || strcmp(d->found, d->known.provider) != 0)
		conf_error_add(f, o->file, o->line, "%s: its known domain %s now has %s%s as MX and falls to %s",
		    o->layer, d->known.domain, d->mx.v[0], d->mx.n > 1 ? " and others" : "",
		    d->found != NULL ? d->found : "no provider");
}

int
live_check(const struct params *params, const struct shaping *s, struct live *live, struct conf_errors *findings)
{
	const char **names;
	size_t i;
	int rv;

	*live = (struct live){ NULL, 0 };
	known_collect(s, live);
	names = xcalloc(live->n + 1, sizeof(*names));
	for (i = 0; i < live->n; i++)
		names[i] = live->v[i].known.domain;
	rv = dns_ask_all(params, DNS_TYPE_MX, names, live->n, on_records, live); /* what has no answer then says so */
	free(names);
	if (rv == -1)
		return -1;
	for (i = 0; i < live->n; i++)
		domain_judge(s, &live->v[i], findings);
	return 0;
}

void
live_clear(struct live *live)
{
	size_t i, j;

	for (i = 0; i < live->n; i++) {
		for (j = 0; j < live->v[i].mx.n; j++)
			free(live->v[i].mx.v[j]);
		free(live->v[i].mx.v);
		free(live->v[i].problem);
	}
	free(live->v);
	*live = (struct live){ NULL, 0 };
}
