/* What the readers of bounces and complaints found, as JSON: for people and for events. */
#ifndef MAIL_REPORT_JSON_H
#define MAIL_REPORT_JSON_H

#include "base/json.h"

#include "mail/arf_parse.h"
#include "mail/dsn_parse.h"
#include "mail/eventlog.h"

void dsn_report_json(struct json *, const char *key, const struct dsn_report *);
/* The fields and names of KumoMTA's feedback_report (original_message has the headers alone), then ours. */
void arf_report_json(struct json *, const char *key, const struct arf_report *);
/* The same for a Feedback record, with supplemental_trace. */
void feedback_report_json(struct json *, const char *key, const struct event_feedback *);

#endif
