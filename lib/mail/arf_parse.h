/* Complaints: feedback reports in the Abuse Reporting Format (RFC 5965, 6591, 6650) and in the shapes of those who
 * send something like it (Microsoft's feed before June 2026 and since, fields in a part of another type). Hostile
 * input; time and memory are linear and bounded (mime.h), nothing fails. Reading, not believing: see dsn_parse.h.
 *
 * * All strings are valid UTF-8 without control characters; the headers of the original have LF. */
#ifndef MAIL_ARF_PARSE_H
#define MAIL_ARF_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mail/dsn_parse.h"

enum {
	ARF_MAX_VALUES = 50,   /* of one field */
	ARF_MAX_EXTENSIONS = 100,
	ARF_MAX_TEXT = 1000,
	ARF_MAX_HEADERS = 64 << 10
};

struct arf_list {
	char **values;
	unsigned n;
};

struct arf_extension {
	char *name;
	char *value;
};

/* Strings are NULL where the report does not say. *_by: which header of the original a value was taken from that the
 * report itself does not have; NULL: the report says it. */
struct arf_report {
	bool is_report;
	const char *shape; /* "arf", "jmrp" (Microsoft until June 2026), "untyped", "none"; static */
	char *feedback_type; /* lower case */
	char *user_agent;
	char *version;
	char *arrival_date;
	const char *arrival_date_by;
	char *source_ip; /* an address in its usual form */
	const char *source_ip_by;
	char *original_mail_from; /* "": the null sender */
	const char *original_mail_from_by;
	char *original_envelope_id;
	char *reporting_mta_type, *reporting_mta;
	uint32_t incidents; /* 0: not said */
	struct arf_list original_rcpt_to, reported_domain, reported_uri, authentication_results;
	struct arf_extension *extensions; /* the other fields */
	unsigned n_extensions;
	/* The recipient, if one is named and neither hidden nor hashed. */
	char *recipient;
	const char *recipient_by; /* the header or field */
	bool is_redacted; /* a recipient is named, but not to be read */
	/* The message complained about. */
	char *headers;
	size_t headers_len;
	char *message_id; /* without brackets */
	char *from, *subject, *feedback_id;
	struct dsn_wanted *wanted;
	unsigned n_wanted;
};

void arf_parse(struct arf_report *, const char *message, size_t len, const char *const *wanted, unsigned n_wanted);
void arf_report_clear(struct arf_report *);

#endif
