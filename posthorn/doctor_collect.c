/* What is to be checked: the sources of the policy, and the domains that mail is sent for. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cidr.h"
#include "base/suggest.h"
#include "base/xalloc.h"

#include "admin.h"
#include "check.h"
#include "doctor.h"
#include "passwd_file.h"

static void
source_add(struct doctor *d, const struct pool_source *from)
{
	struct doctor_source *s;
	char text[INET6_ADDRSTRLEN];

	d->sources = xreallocarray(d->sources, d->n_sources + 1, sizeof(*d->sources));
	s = &d->sources[d->n_sources++];
	*s = (struct doctor_source){ .name = xstrdup(from->name) };
	s->ehlo = xstrdup(from->ehlo[0] != '\0' ? from->ehlo : d->params->myhostname);
	if (sockaddr_parse(from->address, 0, &s->sa, &s->sa_len) == -1) {
		s->sa = (struct sockaddr_storage){ .ss_family = AF_INET };
		s->address = xstrdup("");
		return;
	}
	sockaddr_text((const struct sockaddr *)&s->sa, text);
	s->address = xstrdup(text);
	s->is_public = sockaddr_is_public((const struct sockaddr *)&s->sa);
}

static bool
is_wanted(const struct conf_strs *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++)
		if (strcmp(names->v[i], name) == 0)
			return true;
	return names->n == 0;
}

static int
names_are_known(const struct conf_strs *names, const struct pool_list *pools)
{
	struct suggest near;
	size_t i, k;

	for (i = 0; i < names->n; i++) {
		suggest_init(&near, names->v[i]);
		for (k = 0; k < pools->n_sources && strcmp(pools->sources[k].name, names->v[i]) != 0; k++)
			suggest_consider(&near, pools->sources[k].name);
		if (k < pools->n_sources)
			continue;
		(void)adm_fail("no pool has a source `%s'" SUGGEST_FMT, names->v[i], SUGGEST_ARGS(near.best));
		return -1;
	}
	return 0;
}

static int
sources_collect(struct doctor *d, const struct conf_strs *names)
{
	struct conf_errors errors = { NULL, 0 }, warnings = { NULL, 0 };
	struct pool_list pools = { NULL, 0, NULL, 0 };
	int rv = check_config(d->config_dir, &pools, NULL, &errors, &warnings);

	if (rv == -1)
		adm_print_errors(&errors);
	else
		rv = names_are_known(names, &pools);
	for (size_t i = 0; rv == 0 && i < pools.n_sources; i++)
		if (is_wanted(names, pools.sources[i].name))
			source_add(d, &pools.sources[i]);
	pool_list_clear(&pools);
	conf_errors_clear(&errors);
	conf_errors_clear(&warnings);
	return rv;
}

/* Lower case, without a final dot; each once. */
static void
domain_add(struct doctor *d, const char *name, size_t len)
{
	char *copy = xmemdup0(name, len);

	if (len > 1 && copy[len - 1] == '.')
		copy[len - 1] = '\0';
	for (char *c = copy; *c != '\0'; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c += 'a' - 'A';
	for (size_t i = 0; i < d->n_domains; i++) {
		if (strcmp(d->domains[i].name, copy) == 0) {
			free(copy);
			return;
		}
	}
	d->domains = xreallocarray(d->domains, d->n_domains + 1, sizeof(*d->domains));
	d->domains[d->n_domains++] = (struct doctor_domain){ .name = copy };
}

/* Users' domains; ".b.example" stands for all below b.example. */
static void
domains_of_users(struct doctor *d)
{
	struct passwd_lines lines;
	const char *p, *end;
	char *list;

	if (d->params->passwd_file == NULL || passwd_read(d->params->passwd_file, &lines) == -1)
		return;
	for (size_t i = 0; i < lines.n; i++) {
		if (lines.v[i][0] == '#' || (list = passwd_line_attr(lines.v[i], "domains")) == NULL)
			continue;
		for (p = list; *p != '\0'; p = *end == ',' ? end + 1 : end) {
			p += *p == '.';
			end = p + strcspn(p, ",");
			if (end > p)
				domain_add(d, p, (size_t)(end - p));
		}
		free(list);
	}
	passwd_lines_clear(&lines);
}

int
doctor_collect(struct doctor *d, const struct conf_strs *sources, const struct conf_strs *domains)
{
	for (size_t i = 0; i < domains->n; i++) {
		if (!dns_name_valid(domains->v[i])) {
			(void)adm_fail("`%s' is not a domain name", domains->v[i]);
			return -1;
		}
		domain_add(d, domains->v[i], strlen(domains->v[i]));
	}
	if (domains->n == 0)
		domains_of_users(d);
	return sources_collect(d, sources);
}

void
doctor_clear(struct doctor *d)
{
	for (size_t i = 0; i < d->n_sources; i++) {
		free(d->sources[i].name);
		free(d->sources[i].address);
		free(d->sources[i].ehlo);
	}
	free(d->sources);
	for (size_t i = 0; i < d->n_domains; i++)
		free(d->domains[i].name);
	free(d->domains);
	for (size_t i = 0; i < d->n_findings; i++) {
		free(d->findings[i].text);
		free(d->findings[i].publish);
	}
	free(d->findings);
	doctor_forget(d);
}
