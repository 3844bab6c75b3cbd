/* A second opinion on the SPF records of our own domains: libspf2, which some receivers use, must come to the same
 * result as our evaluator for each source. Debian's build has a known overflow in the macros of explanations
 * (CVE-2023-42118), so it is kept from them (get_exp), sees no record that is unusual, and runs in a child that may
 * neither open a file nor a socket. The child has the answers that the parent knows when it begins; it writes which
 * ones it lacks, the parent asks for them, and another child begins anew. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <spf2/spf.h>
#include <spf2/spf_dns.h>

#include "base/cidr.h"
#include "base/log.h"
#include "base/sandbox.h"

#include "doctor.h"

#define ROUNDS_MAX 24
#define CHILD_SECONDS 10u
#define CHILD_MEMORY ((size_t)256 << 20)
#define OUTPUT_MAX 8192
#define TXT_MAX 1024     /* beyond this the library is not asked */
#define PERCENTS_MAX 40
#define LACKING_MAX 16   /* of one round */

/* ---- the child ---- */

static const struct doctor *child_doctor;
static unsigned n_lacking;

static void
say(const char *line)
{
	size_t len = strlen(line);

	if (write(STDOUT_FILENO, line, len) != (ssize_t)len)
		_exit(1);
}

static SPF_errcode_t
no_explanation(SPF_server_t *server, const char *domain, char **buf, size_t *len)
{
	(void)server;
	(void)domain;
	(void)buf;
	(void)len;
	return SPF_E_NOT_SPF;
}

/* The record into slot i; false: it cannot be of that type. */
static bool
record_add(SPF_dns_rr_t *rr, int i, uint16_t type, const struct dns_record *r)
{
	if (SPF_dns_rr_buf_realloc(rr, i, r->len + sizeof(struct in6_addr) + 1) != SPF_E_SUCCESS)
		_exit(1);
	switch (type) {
	case DNS_TYPE_A:
		return inet_pton(AF_INET, r->text, &rr->rr[i]->a) == 1;
	case DNS_TYPE_AAAA:
		return inet_pton(AF_INET6, r->text, &rr->rr[i]->aaaa) == 1;
	default: /* names and texts: each has the same place in the union */
		memcpy(rr->rr[i]->txt, r->text, r->len);
		rr->rr[i]->txt[r->len] = '\0';
		return true;
	}
}

static SPF_dns_rr_t *
lookup(SPF_dns_server_t *server, const char *domain, ns_type type, int should_cache)
{
	const struct dns_reply *r = doctor_known(child_doctor, domain, (uint16_t)type);
	char line[320];
	SPF_dns_rr_t *rr;

	(void)should_cache;
	if (r == NULL && strlen(domain) <= SPF_NAME_MAX && n_lacking++ < LACKING_MAX) {
		snprintf(line, sizeof(line), "? %d %s\n", (int)type, domain);
		say(line);
	}
	rr = SPF_dns_rr_new_init(server, domain, type, 0, r == NULL || r->status == DNS_TEMPORARY ? TRY_AGAIN :
	    r->status == DNS_NXDOMAIN ? HOST_NOT_FOUND : r->n_records == 0 ? NO_DATA : NETDB_SUCCESS);
	if (rr == NULL)
		_exit(1);
	for (unsigned i = 0; r != NULL && i < r->n_records; i++)
		if (record_add(rr, rr->num_rr, (uint16_t)type, &r->records[i]))
			rr->num_rr++;
	return rr;
}

/* What the library calls a result, in the words of RFC 7208. */
static enum spf_result
result_of(const SPF_response_t *response, SPF_errcode_t err)
{
	static const enum spf_result results[] = { [SPF_RESULT_INVALID] = SPF_PERMERROR,
		[SPF_RESULT_NEUTRAL] = SPF_NEUTRAL, [SPF_RESULT_PASS] = SPF_PASS, [SPF_RESULT_FAIL] = SPF_FAIL,
		[SPF_RESULT_SOFTFAIL] = SPF_SOFTFAIL, [SPF_RESULT_NONE] = SPF_NONE,
		[SPF_RESULT_TEMPERROR] = SPF_TEMPERROR, [SPF_RESULT_PERMERROR] = SPF_PERMERROR };
	unsigned r = response != NULL ? (unsigned)response->result : SPF_RESULT_INVALID;

	if (r == SPF_RESULT_INVALID && err == SPF_E_DNS_ERROR)
		return SPF_TEMPERROR;
	return r < sizeof(results) / sizeof(results[0]) ? results[r] : SPF_PERMERROR;
}

static _Noreturn void
child_run(const struct doctor *d, const struct doctor_source *s)
{
	struct sandbox box = { .role = "posthorn/spf2", .mode = (enum sandbox_mode)d->params->sandbox,
		.user = geteuid() == 0 ? "nobody" : NULL };
	SPF_dns_server_t dns = { .lookup = lookup, .get_exp = no_explanation, .name = "doctor" };
	SPF_server_t *server = SPF_server_new_dns(&dns, 0);
	SPF_request_t *request = server != NULL ? SPF_request_new(server) : NULL;
	SPF_response_t *response = NULL;
	char address[46], from[320], line[32];
	SPF_errcode_t err;

	if (request == NULL)
		_exit(1);
	sockaddr_text((const struct sockaddr *)&s->sa, address);
	snprintf(from, sizeof(from), "postmaster@%s", d->domain->name);
	(void)SPF_server_set_rec_dom(server, d->params->myhostname);
	(void)(s->sa.ss_family == AF_INET6 ? SPF_request_set_ipv6_str(request, address) :
	    SPF_request_set_ipv4_str(request, address));
	(void)SPF_request_set_helo_dom(request, s->ehlo);
	(void)SPF_request_set_env_from(request, from);
#ifndef __SANITIZE_ADDRESS__
	box.max_memory = CHILD_MEMORY;
#endif
	log_set_level(LOG_LVL_WARN);
	child_doctor = d;
	(void)alarm(CHILD_SECONDS);
	sandbox_enter(&box);
	err = SPF_request_query_mailfrom(request, &response);
	snprintf(line, sizeof(line), "= %d\n", (int)result_of(response, err));
	say(line);
	_exit(0);
}

/* ---- the parent ---- */

/* What the child writes until it ends, as a string. */
static void
output_read(int fd, char out[OUTPUT_MAX])
{
	size_t n = 0;
	ssize_t got;

	while (n + 1 < OUTPUT_MAX && ((got = read(fd, out + n, OUTPUT_MAX - 1 - n)) > 0 ||
	    (got == -1 && errno == EINTR)))
		n += got > 0 ? (size_t)got : 0;
	out[n] = '\0';
}

/* 0, or -1: there was no child, or it died. */
static int
child_ask(struct doctor *d, const struct doctor_source *s, char out[OUTPUT_MAX])
{
	int fds[2], status = -1;
	pid_t pid;

	out[0] = '\0';
	if (pipe(fds) == -1)
		return -1;
	fflush(NULL);
	if ((pid = fork()) == 0) {
		close(fds[0]);
		if (dup2(fds[1], STDOUT_FILENO) == -1)
			_exit(1);
		child_run(d, s);
	}
	close(fds[1]);
	if (pid != -1)
		output_read(fds[0], out);
	close(fds[0]);
	if (pid == -1)
		return -1;
	(void)kill(pid, SIGKILL); /* one that writes without end */
	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		;
	/* It may have been on its way out: what counts is that it said everything. */
	return strncmp(out, "= ", 2) == 0 || strstr(out, "\n= ") != NULL ? 0 : -1;
}

/* A record as most are, and whose evaluation is known to do no harm. */
static bool
is_usual(const struct dns_reply *r)
{
	for (unsigned i = 0; i < r->n_records; i++) {
		size_t percents = 0;

		for (size_t k = 0; k < r->records[i].len; k++)
			percents += r->records[i].text[k] == '%';
		if (r->records[i].len > TXT_MAX || percents > PERCENTS_MAX)
			return false;
	}
	return true;
}

/* Asks what the child lacked. How much that was, or -1: it is nothing to be handed to it. */
static int
answers_get(struct doctor *d, char *out)
{
	char *line, *save = NULL, *end;
	long type;
	int n = 0;

	for (line = strtok_r(out, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, "? ", 2) != 0)
			continue;
		type = strtol(line + 2, &end, 10);
		if (*end != ' ' || type <= 0 || type > 255 || ++n > LACKING_MAX ||
		    !is_usual(doctor_ask(d, end + 1, (uint16_t)type)))
			return -1;
	}
	return n;
}

/* 0: it gives no opinion. */
static enum spf_result
second_opinion(struct doctor *d, const struct doctor_source *s)
{
	char out[OUTPUT_MAX], *result;

	if (!is_usual(doctor_ask(d, d->domain->name, DNS_TYPE_TXT)))
		return 0;
	for (unsigned round = 0; round < ROUNDS_MAX; round++) {
		if (child_ask(d, s, out) == -1)
			return 0;
		result = strrchr(out, '=');
		if (strstr(out, "? ") == NULL)
			return (enum spf_result)strtol(result + 1, NULL, 10);
		if (answers_get(d, out) <= 0)
			return 0;
	}
	return 0;
}

void
doctor_spf_second(struct doctor *d)
{
	unsigned n = 0, n_other = 0, n_none = 0;
	struct spf_verdict v = { 0 };
	enum spf_result other;
	struct spf_query q;

	for (size_t i = 0; d->domain->has_spf && i < d->n_sources; i++) {
		const struct doctor_source *s = &d->sources[i];

		if (!s->is_public)
			continue;
		q = (struct spf_query){ .client = (const struct sockaddr *)&s->sa, .sender = d->domain->name,
			.helo = s->ehlo, .receiver = d->params->myhostname };
		doctor_spf(d, &q, &v);
		if (v.result == SPF_TEMPERROR)
			continue;
		n++;
		other = second_opinion(d, s);
		n_none += other == 0;
		if (other == 0 || other == v.result || n_other++ > 0)
			continue;
		doctor_say(d, DOCTOR_WARNING, NULL, "for %s its SPF record means %s, but libspf2, which some receivers "
		    "use, makes %s of it: write it in a simpler way", s->address, spf_result_name(v.result),
		    spf_result_name(other));
	}
	if (n_none > 0 && n_other == 0)
		doctor_say(d, DOCTOR_WARNING, NULL, "libspf2, which some receivers use, cannot evaluate its SPF "
		    "record: write it in a simpler way");
	else if (n > 0 && n_other == 0)
		doctor_say(d, DOCTOR_OK, NULL, "libspf2 makes the same of its SPF record for %u source%s", n,
		    n == 1 ? "" : "s");
}
