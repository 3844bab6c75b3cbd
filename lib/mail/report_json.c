/* See report_json.h. */
#include <string.h>
#include <strings.h>

#include "mail/report_json.h"

static void
str_or_null(struct json *j, const char *key, const char *value)
{
	json_str(j, key, value != NULL && *value != '\0' ? value : NULL);
}

static void
wanted_json(struct json *j, const struct dsn_wanted *wanted, unsigned n)
{
	json_obj(j, "headers");
	for (unsigned i = 0; i < n; i++)
		if (wanted[i].value != NULL)
			json_str(j, wanted[i].name, wanted[i].value);
	json_obj_end(j);
}

void
dsn_report_json(struct json *j, const char *key, const struct dsn_report *r)
{
	json_obj(j, key);
	json_str(j, "kind", dsn_kind_name(r->kind));
	json_str(j, "shape", r->shape);
	json_bool(j, "standard", r->is_standard);
	json_str(j, "reporting_mta", r->reporting_mta);
	json_str(j, "original_envelope_id", r->envelope_id);
	json_str(j, "arrival_date", r->arrival_date);
	json_arr(j, "recipients");
	for (unsigned i = 0; i < r->n_rcpts; i++) {
		const struct dsn_report_rcpt *rcpt = &r->rcpts[i];

		json_obj(j, NULL);
		json_str(j, "recipient", rcpt->address);
		json_str(j, "original_recipient", rcpt->original);
		json_str(j, "action", dsn_kind_name(rcpt->action));
		str_or_null(j, "status", rcpt->status);
		json_str(j, "diagnostic", rcpt->diagnostic);
		json_str(j, "remote_mta", rcpt->remote_mta);
		json_obj_end(j);
	}
	json_arr_end(j);
	json_obj(j, "original");
	json_str(j, "message_id", r->message_id);
	json_str(j, "from", r->from);
	json_str(j, "to", r->to);
	json_str(j, "subject", r->subject);
	wanted_json(j, r->wanted, r->n_wanted);
	json_obj_end(j);
	json_obj_end(j);
}

static void
list_json(struct json *j, const char *key, const struct arf_list *l)
{
	json_arr(j, key);
	for (unsigned i = 0; i < l->n; i++)
		json_str(j, NULL, l->values[i]);
	json_arr_end(j);
}

/* One member a name, with all its values. */
static void
extensions_json(struct json *j, const struct arf_report *r)
{
	json_obj(j, "extensions");
	for (unsigned i = 0; i < r->n_extensions; i++) {
		unsigned first = 0;

		while (strcasecmp(r->extensions[first].name, r->extensions[i].name) != 0)
			first++;
		if (first < i)
			continue;
		json_arr(j, r->extensions[i].name);
		for (unsigned k = i; k < r->n_extensions; k++)
			if (strcasecmp(r->extensions[k].name, r->extensions[i].name) == 0)
				json_str(j, NULL, r->extensions[k].value);
		json_arr_end(j);
	}
	json_obj_end(j);
}

/* As KumoMTA's; the id is ours, and first: no other name may begin the object (eventlog_json.c). */
static void
trace_json(struct json *j, const struct event_feedback *f)
{
	char id[MSGID_HEX] = "";

	if (f == NULL || f->n_trace == 0) {
		json_none(j, "supplemental_trace");
		return;
	}
	if (f->message != NULL)
		msgid_hex(f->message, id);
	json_obj(j, "supplemental_trace");
	json_str(j, "id", id);
	for (uint32_t i = 0; i < f->n_trace; i++)
		json_str(j, f->trace[i].key, f->trace[i].value);
	json_obj_end(j);
}

static void
kumomta_json(struct json *j, const struct arf_report *r)
{
	json_str(j, "feedback_type", r->feedback_type);
	json_str(j, "user_agent", r->user_agent);
	json_str(j, "version", r->version);
	json_str(j, "arrival_date", r->arrival_date);
	if (r->incidents > 0)
		json_int(j, "incidents", r->incidents);
	else
		json_none(j, "incidents");
	json_str(j, "original_envelope_id", r->original_envelope_id);
	json_str(j, "original_mail_from", r->original_mail_from);
	if (r->reporting_mta != NULL) {
		json_obj(j, "reporting_mta");
		json_str(j, "mta_type", r->reporting_mta_type == NULL ? "dns" : r->reporting_mta_type);
		json_str(j, "name", r->reporting_mta);
		json_obj_end(j);
	} else
		json_none(j, "reporting_mta");
	json_str(j, "source_ip", r->source_ip);
	list_json(j, "authentication_results", &r->authentication_results);
	list_json(j, "original_rcpto_to", &r->original_rcpt_to);
	list_json(j, "reported_domain", &r->reported_domain);
	list_json(j, "reported_uri", &r->reported_uri);
	extensions_json(j, r);
	json_str(j, "original_message", r->headers);
}

/* Beyond KumoMTA's. */
static void
more_json(struct json *j, const struct arf_report *r)
{
	json_bool(j, "report", r->is_report);
	json_str(j, "shape", r->shape);
	json_str(j, "recipient", r->recipient);
	json_str(j, "recipient_by", r->recipient_by);
	json_bool(j, "redacted", r->is_redacted);
	json_obj(j, "derived");
	if (r->source_ip_by != NULL)
		json_str(j, "source_ip", r->source_ip_by);
	if (r->arrival_date_by != NULL)
		json_str(j, "arrival_date", r->arrival_date_by);
	if (r->original_mail_from_by != NULL)
		json_str(j, "original_mail_from", r->original_mail_from_by);
	json_obj_end(j);
	json_obj(j, "original");
	json_str(j, "message_id", r->message_id);
	json_str(j, "from", r->from);
	json_str(j, "subject", r->subject);
	json_str(j, "feedback_id", r->feedback_id);
	wanted_json(j, r->wanted, r->n_wanted);
	json_obj_end(j);
}

void
arf_report_json(struct json *j, const char *key, const struct arf_report *r)
{
	json_obj(j, key);
	kumomta_json(j, r);
	more_json(j, r);
	json_obj_end(j);
}

void
feedback_report_json(struct json *j, const char *key, const struct event_feedback *f)
{
	json_obj(j, key);
	kumomta_json(j, f->report);
	trace_json(j, f);
	more_json(j, f->report);
	json_obj_end(j);
}
