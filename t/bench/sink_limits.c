/* What a provider allows each domain: connections at a time, messages a second, messages a connection. A connection
 * belongs to its listener's domain, or else to that of its latest recipient. */
#include <ctype.h>
#include <err.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "base/xalloc.h"
#include "t/bench/sink.h"

struct allowed {
	unsigned connections, per_connection; /* UINT_MAX: any number */
	double rate;                          /* a second; below 0: any */
};

struct domain {
	char name[256];
	struct allowed allowed;
	unsigned connections, connections_peak;
	unsigned long messages, over_connections, over_rate, over_messages;
	double tokens; /* a bucket that holds a second's messages */
	int64_t tokens_at;
	int64_t second; /* messages in it */
	unsigned in_second, rate_peak;
	UT_hash_handle hh;
};

struct limits {
	struct domain *domains;
	struct allowed others; /* the line for "*" */
	bool rate_closes;
};

static void
no(struct answer *a, enum refusal kind, bool closes, const char *text)
{
	a->kind = kind;
	a->close = closes;
	snprintf(a->text, sizeof(a->text), "%s", text);
}

struct domain *
limits_domain(struct sink *s, const char *name)
{
	struct domain *d;
	char key[sizeof(d->name)] = "";
	size_t n = 0;

	if (s->limits == NULL)
		return NULL;
	/* It goes into JSON as it is. */
	for (; n < sizeof(key) - 1 && name[n] != '\0'; n++)
		key[n] = isalnum((unsigned char)name[n]) || name[n] == '-' || name[n] == '_' || name[n] == '.' ?
		    (char)tolower((unsigned char)name[n]) : '?';
	key[n] = '\0';
	HASH_FIND_STR(s->limits->domains, key, d);
	if (d != NULL)
		return d;
	d = xcalloc(1, sizeof(*d));
	memcpy(d->name, key, n + 1);
	d->allowed = s->limits->others;
	d->tokens = d->allowed.rate > 1 ? d->allowed.rate : 1;
	HASH_ADD_STR(s->limits->domains, name, d);
	return d;
}

static unsigned
count_or_any(const char *text)
{
	return strcmp(text, "-") == 0 ? UINT_MAX : (unsigned)strtoul(text, NULL, 10);
}

void
limits_load(struct sink *s, const char *file, bool rate_closes)
{
	FILE *f = fopen(file, "re");
	char line[512], name[256], conns[32], rate[32], per[32];

	if (f == NULL)
		err(1, "sink: %s", file);
	s->limits = xcalloc(1, sizeof(*s->limits));
	s->limits->others = (struct allowed){ UINT_MAX, UINT_MAX, -1 };
	s->limits->rate_closes = rate_closes;
	for (unsigned n = 1; fgets(line, sizeof(line), f) != NULL; n++) {
		struct allowed a;

		if (line[strspn(line, " \t\r\n")] == '\0' || line[0] == '#')
			continue;
		strcpy(per, "-");
		if (sscanf(line, "%255s %31s %31s %31s", name, conns, rate, per) < 3)
			errx(2, "sink: %s:%u: want: domain connections rate [messages a connection]", file, n);
		a.connections = count_or_any(conns);
		a.per_connection = count_or_any(per);
		a.rate = strcmp(rate, "-") == 0 ? -1 : strtod(rate, NULL);
		if (strcmp(name, "*") == 0)
			s->limits->others = a;
		else {
			struct domain *d = limits_domain(s, name);

			d->allowed = a;
			d->tokens = a.rate > 1 ? a.rate : 1;
		}
	}
	fclose(f);
}

void
limits_leave(struct peer *p)
{
	if (p->domain != NULL)
		p->domain->connections--;
	p->domain = NULL;
	p->domain_messages = 0;
}

bool
limits_connect(struct peer *p, struct domain *d, struct answer *a)
{
	if (d == NULL || d == p->domain)
		return true;
	limits_leave(p);
	p->domain = d;
	if (++d->connections > d->connections_peak)
		d->connections_peak = d->connections;
	if (d->connections <= d->allowed.connections)
		return true;
	d->over_connections++;
	no(a, REF_CONNECTION_LIMIT, true, "421 4.7.0 too many connections for this domain");
	return false;
}

bool
limits_mail(struct peer *p, struct answer *a)
{
	if (p->domain == NULL || p->domain_messages < p->domain->allowed.per_connection)
		return true;
	p->domain->over_messages++;
	no(a, REF_MESSAGE_LIMIT, true, "421 4.7.0 too many messages on this connection");
	return false;
}

static bool
rate_allows(struct domain *d)
{
	int64_t now = mono_us();
	double size = d->allowed.rate > 1 ? d->allowed.rate : 1;

	if (d->allowed.rate < 0)
		return true;
	if (d->tokens_at != 0)
		d->tokens += (double)(now - d->tokens_at) * d->allowed.rate / 1e6;
	d->tokens_at = now;
	if (d->tokens > size)
		d->tokens = size;
	if (d->tokens < 1)
		return false;
	d->tokens -= 1;
	return true;
}

bool
limits_rcpt(struct peer *p, const char *addr, struct answer *a)
{
	struct sink *s = p->sink;
	const char *at = strrchr(addr, '@');
	struct domain *d = p->listener->domain;

	if (s->limits == NULL)
		return true;
	if (d == NULL)
		d = limits_domain(s, at == NULL ? "" : at + 1);
	if (!limits_connect(p, d, a))
		return false;
	/* A message counts once, however many recipients it has. */
	if (!p->admitted && !rate_allows(d)) {
		d->over_rate++;
		no(a, REF_RATE_LIMIT, s->limits->rate_closes, s->limits->rate_closes ?
		    "421 4.7.1 too many messages for this domain" : "451 4.7.1 too many messages for this domain");
		return false;
	}
	p->admitted = true;
	return true;
}

void
limits_taken(struct peer *p)
{
	struct domain *d = p->domain;
	int64_t second = wall_ms() / 1000;

	if (d == NULL)
		return;
	d->messages++;
	p->domain_messages++;
	if (d->second != second)
		d->in_second = 0;
	d->second = second;
	if (++d->in_second > d->rate_peak)
		d->rate_peak = d->in_second;
}

void
limits_json(struct sink *s, FILE *f)
{
	const char *comma = "";

	if (s->limits == NULL)
		return;
	fprintf(f, ",\"domains\":{");
	for (struct domain *d = s->limits->domains; d != NULL; d = d->hh.next) {
		fprintf(f, "%s\"%s\":{\"messages\":%lu,\"connections\":%u,\"connections_peak\":%u,\"rate_peak\":%u,"
		    "\"over_connections\":%lu,\"over_rate\":%lu,\"over_messages\":%lu}", comma, d->name, d->messages,
		    d->connections, d->connections_peak, d->rate_peak, d->over_connections, d->over_rate,
		    d->over_messages);
		comma = ",";
	}
	fprintf(f, "}");
}
