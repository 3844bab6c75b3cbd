/* posthorn doctor: what receivers would hold against the mail that this configuration sends. A table of checks
 * (cmd_doctor.c), each run once, for every source, for every sender domain, or for every pair of them; one file for
 * each group. A check asks what it needs (doctor_ask.c) and says what it found; the answers are strangers' words. */
#ifndef POSTHORN_DOCTOR_H
#define POSTHORN_DOCTOR_H

#include "base/loop.h"
#include "mail/dns_answer.h"
#include "mail/dns_client.h"
#include "mail/params.h"
#include "mail/spf.h"

enum doctor_level { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_FAILURE };

struct doctor_source {
	char *name, *address, *ehlo; /* address "": the kernel chooses, so nothing can be checked */
	struct sockaddr_storage sa;
	socklen_t sa_len;
	bool is_public; /* receivers see it as it is */
};

struct doctor_domain {
	char *name;
	bool has_spf; /* a record that can be evaluated; a check of its own says so if not */
};

struct doctor_finding {
	const char *check;
	enum doctor_level level;
	const char *source, *domain; /* of the names of those; NULL */
	char *text;
	char *publish; /* records for a zone file, a line each; NULL */
};

struct doctor_reply;

struct doctor {
	const char *config_dir;
	const struct params *params;
	const struct conf *conf;
	const char *probe; /* a domain that takes mail: whether it can be reached */
	struct doctor_source *sources;
	size_t n_sources;
	struct doctor_domain *domains;
	size_t n_domains;
	/* doctor_ask.c */
	struct loop *loop;
	struct dns_client *dns;
	struct doctor_reply *replies;
	bool is_deaf; /* the resolver does not answer: what needs it is left out */
	/* What is being checked, for doctor_say(); NULL. */
	const char *check;
	struct doctor_source *source;
	struct doctor_domain *domain;
	struct doctor_finding *findings;
	size_t n_findings;
};

/* publish, malloced, is taken over; NULL: nothing is to be published. */
void doctor_say(struct doctor *, enum doctor_level, char *publish, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* doctor_ask.c. The answer is valid until the end. */
const struct dns_reply *doctor_ask(struct doctor *, const char *name, uint16_t type);
/* The answer if it was asked already, NULL if not. */
const struct dns_reply *doctor_known(const struct doctor *, const char *name, uint16_t type);
/* Whether the name has that address; *failed_r: nobody knows. */
bool doctor_has_address(struct doctor *, const char *name, const struct doctor_source *, bool *failed_r);
void doctor_spf(struct doctor *, const struct spf_query *, struct spf_verdict *);
void doctor_forget(struct doctor *);

/* doctor_records.c: what is to be published, malloced. */
char *doctor_record_ptr(const struct doctor_source *);
char *doctor_record_address(const struct doctor_source *);
/* have: the record that there is, or NULL; what lacks in it for those sources is put in. */
char *doctor_record_spf(const char *domain, const char *have, const struct doctor_source *, size_t n);
char *doctor_record_dmarc(const char *domain);
/* A TXT record in zone-file form; longer ones in several strings. */
char *doctor_record_txt(const char *name, const char *text);
const unsigned char *doctor_source_ip(const struct doctor_source *);

/* The DMARC record for a domain: its own, else that of its organisational domain. *n_r: how many were found there.
 * NULL: none; *failed_r: nobody knows. */
const char *doctor_dmarc_find(struct doctor *, const char *domain, const char **at_r, unsigned *n_r, bool *failed_r);

/* The sources of the policy and the sender domains: those given, else those of the passwd file. 0, or -1 and errors
 * printed. */
int doctor_collect(struct doctor *, const struct conf_strs *sources, const struct conf_strs *domains);
void doctor_clear(struct doctor *);

/* Checks. doctor_host.c */
void doctor_resolver(struct doctor *); /* first: without it the others have nothing to go by */
void doctor_dnssec(struct doctor *);
void doctor_clock(struct doctor *);
void doctor_certificate(struct doctor *);
void doctor_files(struct doctor *);
/* doctor_source.c */
void doctor_address(struct doctor *);
void doctor_ptr(struct doctor *);
void doctor_dnsbl_zones(struct doctor *);
void doctor_dnsbl(struct doctor *);
void doctor_spf_helo(struct doctor *);
/* doctor_domain.c */
void doctor_mx(struct doctor *);
void doctor_spf_record(struct doctor *);
void doctor_dmarc(struct doctor *);
void doctor_spf_source(struct doctor *);
void doctor_extras(struct doctor *);
/* doctor_dkim.c */
void doctor_dkim(struct doctor *);
/* doctor_smtp.c */
void doctor_postmaster(struct doctor *);
void doctor_port25(struct doctor *);
/* doctor_ports.c */
void doctor_ports(struct doctor *);
/* doctor_align.c */
void doctor_alignment(struct doctor *);
/* doctor_spf2.c */
void doctor_spf_second(struct doctor *);

#endif
