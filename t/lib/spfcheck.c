/* Reads zone data and questions to SPF on standard input and answers on standard output, a line each, for
 * t/40-spf.t. Words are separated by spaces, and all but the first are in hexadecimal:
 *	rr NAME TYPE PREF VALUE     a record of the zone; the type TIMEOUT answers what the name has none of before it
 *	check IP HELO SENDER        -> result lookups voids explanation, the last in hexadecimal
 *	survey IP HELO SENDER       the same
 *	end                         forgets the zone */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cidr.h"
#include "base/xalloc.h"
#include "mail/dns_answer.h"
#include "mail/spf.h"

#define WORDS_MAX 6

static struct rr {
	char *name, *type, *value;
	size_t len;
	uint16_t pref;
} *zone;
static unsigned n_zone;

static const struct {
	const char *name;
	uint16_t type;
} types[] = { { "A", DNS_TYPE_A }, { "AAAA", DNS_TYPE_AAAA }, { "MX", DNS_TYPE_MX }, { "TXT", DNS_TYPE_TXT },
	{ "PTR", DNS_TYPE_PTR } };

static char *
unhex(const char *s, size_t *len_r)
{
	size_t n = strlen(s) / 2, i;
	char *out = xcalloc(n + 1, 1);
	unsigned c;

	for (i = 0; i < n; i++) {
		if (sscanf(s + 2 * i, "%2x", &c) != 1)
			exit(2);
		out[i] = (char)c;
	}
	*len_r = n;
	return out;
}

static const char *
type_name(uint16_t type)
{
	size_t i;

	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (types[i].type == type)
			return types[i].name;
	exit(2);
}

static void
zone_answer(const char *name, const char *type, unsigned hops, struct dns_reply *reply)
{
	unsigned i;

	for (i = 0; i < n_zone; i++) {
		if (strcasecmp(zone[i].name, name) != 0)
			continue;
		if (reply->status == DNS_NXDOMAIN)
			reply->status = DNS_OK;
		if (strcmp(zone[i].type, "CNAME") == 0 && hops < 9) {
			zone_answer(zone[i].value, type, hops + 1, reply);
			return;
		}
		if (strcmp(zone[i].type, "TIMEOUT") == 0 || strcmp(zone[i].type, "CNAME") == 0) {
			if (reply->n_records == 0)
				reply->status = DNS_TEMPORARY;
			return;
		}
		if (strcmp(zone[i].type, type) == 0)
			dns_reply_add(reply, zone[i].pref, xmemdup0(zone[i].value, zone[i].len), zone[i].len);
	}
}

static void
check(bool survey, const char *ip, const char *helo, const char *sender)
{
	struct sockaddr_storage ss;
	struct spf_query query = { .client = (struct sockaddr *)&ss, .sender = sender, .helo = helo, .survey = survey };
	const struct spf_question *q;
	const struct spf_verdict *v;
	struct dns_reply reply;
	struct spf *spf;
	socklen_t len;
	const char *c;

	if (sockaddr_parse(ip, 0, &ss, &len) == -1)
		exit(2);
	spf = spf_new(&query);
	while ((q = spf_question(spf)) != NULL) {
		memset(&reply, 0, sizeof(reply));
		reply.status = DNS_NXDOMAIN;
		zone_answer(q->name, type_name(q->type), 0, &reply);
		spf_answer(spf, &reply);
		dns_reply_clear(&reply);
	}
	v = spf_verdict(spf);
	printf("%s %u %u ", spf_result_name(v->result), v->lookups, v->voids);
	for (c = v->explanation; *c != '\0'; c++)
		printf("%02x", (unsigned char)*c);
	printf(" %s\n", v->problem);
	spf_free(&spf);
}

static void
zone_add(char **words)
{
	struct rr *rr;

	zone = xreallocarray(zone, n_zone + 1, sizeof(*zone));
	rr = &zone[n_zone++];
	rr->name = xstrdup(words[1]);
	rr->type = xstrdup(words[2]);
	rr->pref = (uint16_t)atoi(words[3]);
	rr->value = unhex(words[4], &rr->len);
}

static void
zone_clear(void)
{
	for (; n_zone > 0; n_zone--) {
		free(zone[n_zone - 1].name);
		free(zone[n_zone - 1].type);
		free(zone[n_zone - 1].value);
	}
}

static void
act(char *line)
{
	char *words[WORDS_MAX] = { NULL }, *hex;
	size_t n = 0, i, len;

	hex = line;
	do {
		words[n] = strsep(&hex, " \n");
		/* The value of a record stays as it is, for its length. */
		words[n] = n == 0 || (n == 4 && strcmp(words[0], "rr") == 0) ? xstrdup(words[n]) :
		    unhex(words[n], &len);
		n++;
	} while (hex != NULL && n < WORDS_MAX);
	if (n >= 5 && strcmp(words[0], "rr") == 0)
		zone_add(words);
	else if (n >= 4 && (strcmp(words[0], "check") == 0 || strcmp(words[0], "survey") == 0))
		check(words[0][0] == 's', words[1], words[2], words[3]);
	else if (strcmp(words[0], "end") == 0)
		zone_clear();
	else
		exit(2);
	for (i = 0; i < n; i++)
		free(words[i]);
}

int
main(void)
{
	char *line = NULL;
	size_t size = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (getline(&line, &size, stdin) > 0)
		act(line);
	zone_clear();
	free(zone);
	free(line);
	return 0;
}
