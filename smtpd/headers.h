/* What smtpd does to the header block of a message, in one pass over it. */
#ifndef SMTPD_HEADERS_H
#define SMTPD_HEADERS_H

#include "mail/address.h"
#include "mail/names.h"
#include "mail/schedule.h"

#include "smtpd/message.h"

#define MESSAGE_ID_MAX 998

/* Found while copying. */
struct header_facts {
	unsigned hops;                /* Received fields */
	bool has_date, has_message_id, has_tenant, has_campaign, has_return_path;
	bool has_schedule, has_two_schedules;
	bool has_unsubscribe, has_unsubscribe_https, has_unsubscribe_post;
	bool has_two_tenants;         /* fields that contradict each other */
	char tenant[TENANT_MAX + 2];  /* one more than allowed: tells "too long" */
	char campaign[CAMPAIGN_MAX + 1];
	char schedule[SCHEDULE_TEXT_MAX + 2]; /* likewise */
	char return_path[ADDRESS_MAX + 3];
	char message_id[MESSAGE_ID_MAX + 1];
};

/* Appends to out the fields of the block that stay (Return-Path and the scheduling header go; tenant and campaign
 * header as configured). The end of the block, blank line or not, stays as it was. */
void headers_copy(const struct params *, const char *block, size_t len, struct header_facts *, struct wbuf *out);
/* Appends a Received field. rcpt: NULL unless there is exactly one. */
void headers_received(const struct message_context *, const struct msgid *, const char *rcpt, struct wbuf *out);
/* RFC 5322 date-time in UTC. */
void headers_date(int64_t wall_ms, char out[40]);

#endif
