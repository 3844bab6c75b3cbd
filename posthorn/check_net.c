/* Addresses of the configuration that this host must have: those that are listened on (start would fail) and those
 * that mail leaves from (nothing could be sent). Found out by binding a socket to each, without a port; so it needs
 * no rights, and nothing is sent. Network namespaces and net.ipv4.ip_nonlocal_bind answer as they would later. */
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "mail/policy.h"

#include "check.h"

static bool
address_is_here(const struct sockaddr *sa, socklen_t len)
{
	struct sockaddr_storage any;
	int fd, rv;

	memcpy(&any, sa, len);
	if (sa->sa_family == AF_INET6)
		((struct sockaddr_in6 *)&any)->sin6_port = 0;
	else
		((struct sockaddr_in *)&any)->sin_port = 0;
	if ((fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0)) == -1)
		return errno != EAFNOSUPPORT;
	rv = bind(fd, (struct sockaddr *)&any, len);
	if (rv == -1 && errno != EADDRNOTAVAIL)
		rv = 0; /* no answer to this question */
	close(fd);
	return rv == 0;
}

void
check_listen(const struct params *p, struct conf_errors *errors)
{
	const struct {
		const char *name;
		const struct conf_addrs *addrs;
	} lists[] = { { "smtpd_listen", &p->smtpd_listen }, { "submission_listen", &p->submission_listen },
		{ "submissions_listen", &p->submissions_listen } };

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		for (size_t k = 0; k < lists[i].addrs->n; k++) {
			const struct conf_addr *a = &lists[i].addrs->v[k];

			if (!address_is_here((const struct sockaddr *)&a->sa, a->len))
				conf_error_add(errors, NULL, 0, "%s: the address of %s is not on this host",
				    lists[i].name, a->text);
		}
	}
}

static bool
source_is_here(const struct policy_source *source)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM }, *ai = NULL;
	bool is_here = true;

	if (source->source_address != NULL && getaddrinfo(source->source_address, NULL, &hints, &ai) == 0) {
		is_here = address_is_here(ai->ai_addr, ai->ai_addrlen);
		freeaddrinfo(ai);
	}
	return is_here;
}

void
check_sources(const char *file, const struct policy *policy, struct conf_errors *warnings)
{
	size_t n = policy_pool_count(policy);

	if (n == 0)
		conf_error_add(warnings, file, 0, "no pool is defined: all mail would wait in the queue");
	for (size_t i = 0; i < n; i++) {
		const struct policy_pool *pool = policy_pool_at(policy, i);

		for (size_t k = 0; k < pool->n_entries; k++) {
			const struct policy_source *source = pool->entries[k].source;

			if (!source_is_here(source))
				conf_error_add(warnings, file, 0, "the source '%s' has the address %s, which is not on "
				    "this host: nothing can be sent from it",
				    source->name, source->source_address);
		}
	}
}
