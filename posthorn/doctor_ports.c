/* The check of open ports: what is configured to be listened on is, while the suite runs, and nobody else's mail server
 * is beside it. The kernel's tables of sockets say so (proc(5)); a port in use is no proof of who uses it. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/xalloc.h"

#include "doctor.h"

#define STATE_LISTEN 0x0A

struct open_ports {
	struct sockaddr_storage *v;
	size_t n;
	bool is_known; /* the tables could be read */
};

/* NOLINTBEGIN(cert-err34-c): the kernel's own words, and each conversion has a width that its type holds. */

/* "0100007F:0019": words of the address in the byte order of this machine, then the port. */
static bool
address_read(const char *text, int family, struct sockaddr_storage *ss)
{
	uint32_t words[4] = { 0 };
	unsigned port;
	int n = family == AF_INET ? sscanf(text, "%8x:%4x", &words[0], &port) - 1 :
	    sscanf(text, "%8x%8x%8x%8x:%4x", &words[0], &words[1], &words[2], &words[3], &port) - 1;

	memset(ss, 0, sizeof(*ss));
	ss->ss_family = (sa_family_t)family;
	if (family == AF_INET) {
		memcpy(&((struct sockaddr_in *)ss)->sin_addr, words, 4);
		((struct sockaddr_in *)ss)->sin_port = htons((uint16_t)port);
		return n == 1;
	}
	memcpy(&((struct sockaddr_in6 *)ss)->sin6_addr, words, 16);
	((struct sockaddr_in6 *)ss)->sin6_port = htons((uint16_t)port);
	return n == 4;
}

static void
table_read(struct open_ports *o, const char *file, int family)
{
	struct sockaddr_storage ss;
	char line[512], local[64];
	unsigned state;
	FILE *f;

	if ((f = fopen(file, "re")) == NULL)
		return;
	o->is_known = true;
	while (fgets(line, sizeof(line), f) != NULL) {
		if (sscanf(line, " %*u: %63s %*s %4x", local, &state) != 2 || state != STATE_LISTEN ||
		    !address_read(local, family, &ss))
			continue;
		o->v = xreallocarray(o->v, o->n + 1, sizeof(*o->v));
		o->v[o->n++] = ss;
	}
	fclose(f);
}

/* NOLINTEND(cert-err34-c) */

static unsigned
port_of(const struct sockaddr_storage *ss)
{
	return ntohs(ss->ss_family == AF_INET ? ((const struct sockaddr_in *)ss)->sin_port :
	    ((const struct sockaddr_in6 *)ss)->sin6_port);
}

static bool
is_any(const struct sockaddr_storage *ss)
{
	if (ss->ss_family == AF_INET)
		return ((const struct sockaddr_in *)ss)->sin_addr.s_addr == htonl(INADDR_ANY);
	return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)ss)->sin6_addr);
}

/* Whether a socket at `open` takes what comes for `wanted`. */
static bool
takes(const struct sockaddr_storage *open, const struct sockaddr_storage *wanted)
{
	if (port_of(open) != port_of(wanted))
		return false;
	if (is_any(open) && (open->ss_family == AF_INET6 || wanted->ss_family == AF_INET))
		return true;
	return sockaddr_equal_addr((const struct sockaddr *)open, (const struct sockaddr *)wanted);
}

/* The supervisor answers on its socket. */
static bool
suite_runs(const struct params *p)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd, n = snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/posthorn.sock", p->run_directory);
	bool runs;

	if (n < 0 || (size_t)n >= sizeof(sun.sun_path) || (fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) == -1)
		return false;
	runs = connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0;
	close(fd);
	return runs;
}

struct listeners {
	const char *name;
	const struct conf_addrs *addrs;
};

/* How many findings. */
static unsigned
check_configured(struct doctor *d, const struct open_ports *o, const struct listeners *l, bool runs)
{
	unsigned n = 0;
	bool is_open;

	for (size_t i = 0; i < l->addrs->n; i++) {
		is_open = false;
		for (size_t k = 0; k < o->n && !is_open; k++)
			is_open = takes(&o->v[k], &l->addrs->v[i].sa);
		if (is_open == runs)
			continue;
		n++;
		if (runs)
			doctor_say(d, DOCTOR_FAILURE, NULL, "nothing listens on %s (%s), though the suite runs: "
			    "posthorn reload, and see its log", l->addrs->v[i].text, l->name);
		else
			doctor_say(d, DOCTOR_WARNING, NULL, "another program listens on %s (%s), so the suite, which "
			    "does not run, could not start", l->addrs->v[i].text, l->name);
	}
	return n;
}

static bool
is_configured(const struct listeners *l, size_t n, const struct sockaddr_storage *open)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < l[i].addrs->n; k++)
			if (takes(&l[i].addrs->v[k].sa, open) || takes(open, &l[i].addrs->v[k].sa))
				return true;
	return false;
}

/* Another mail server beside ours, where others reach it. */
static unsigned
check_others(struct doctor *d, const struct open_ports *o, const struct listeners *l, size_t n_lists)
{
	char text[56];
	unsigned n = 0, port;

	for (size_t i = 0; i < o->n; i++) {
		port = port_of(&o->v[i]);
		if ((port != 25 && port != 465 && port != 587) ||
		    (!is_any(&o->v[i]) && !sockaddr_is_public((const struct sockaddr *)&o->v[i])) ||
		    is_configured(l, n_lists, &o->v[i]))
			continue;
		n++;
		sockaddr_port_text((const struct sockaddr *)&o->v[i], text);
		doctor_say(d, DOCTOR_WARNING, NULL, "%s is open, and not configured here: another mail server runs on "
		    "this host", text);
	}
	return n;
}

void
doctor_ports(struct doctor *d)
{
	const struct params *p = d->params;
	const struct listeners lists[] = { { "smtpd_listen", &p->smtpd_listen },
		{ "submission_listen", &p->submission_listen }, { "submissions_listen", &p->submissions_listen } };
	const size_t n_lists = sizeof(lists) / sizeof(lists[0]);
	struct open_ports o = { NULL, 0, false };
	bool runs = suite_runs(p);
	unsigned n = 0;

	table_read(&o, "/proc/net/tcp", AF_INET);
	table_read(&o, "/proc/net/tcp6", AF_INET6);
	for (size_t i = 0; o.is_known && i < n_lists; i++)
		n += check_configured(d, &o, &lists[i], runs);
	if (o.is_known && runs)
		n += check_others(d, &o, lists, n_lists);
	if (!o.is_known)
		doctor_say(d, DOCTOR_WARNING, NULL, "which ports are open is not known: /proc/net/tcp cannot be read");
	else if (n == 0)
		doctor_say(d, DOCTOR_OK, NULL, runs ? "what is configured is listened on, and no other mail server is" :
		    "the suite does not run, and what it is to listen on is free");
	free(o.v);
}
