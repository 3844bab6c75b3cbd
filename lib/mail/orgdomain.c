/* Organisational domains by libpsl (orgdomain.h). Domains are a stranger's or an author's; the library only searches a
 * compiled automaton for them. */
#include <libpsl.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "mail/orgdomain.h"

#define DOMAIN_MAX 253

static psl_ctx_t *list;

void
orgdomain_load(void)
{
	if (list == NULL)
		list = psl_latest(NULL);
	if (list == NULL)
		log_warn("there is no public-suffix list: each domain counts as an organisation of its own");
}

void
orgdomain_unload(void)
{
	psl_free(list);
	list = NULL;
}

const char *
orgdomain_of(const char *domain)
{
	const char *found = list != NULL ? psl_registrable_domain(list, domain) : NULL;

	return found != NULL ? found : domain;
}

static bool
lower(const char *in, char out[DOMAIN_MAX + 1])
{
	size_t len = strlen(in), i;

	if (len > 0 && in[len - 1] == '.')
		len--;
	if (len == 0 || len > DOMAIN_MAX)
		return false;
	for (i = 0; i < len; i++)
		out[i] = in[i] >= 'A' && in[i] <= 'Z' ? (char)(in[i] + 32) : in[i];
	out[len] = '\0';
	return true;
}

bool
orgdomain_aligned(const char *author, const char *authenticated, bool is_strict)
{
	char a[DOMAIN_MAX + 1], b[DOMAIN_MAX + 1];

	if (!lower(author, a) || !lower(authenticated, b))
		return false;
	if (is_strict)
		return strcmp(a, b) == 0;
	return strcmp(orgdomain_of(a), orgdomain_of(b)) == 0;
}
