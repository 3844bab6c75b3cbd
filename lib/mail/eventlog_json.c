/* The fields of an event (events(5)), in KumoMTA's order, then ours. Whoever adds or removes a key here does the same
 * in man/events.5: t/30-events-manual.t compares them. Hostile: nearly every string; json.c escapes, lengths are cut
 * here.
 *
 * No inner object begins with "type": together with the escaping of quotes this makes the bytes {"type":" mark the
 * beginning of a record and nothing else, which events(5) promises to readers of torn lines. */

#include <string.h>

#include "mail/eventlog_json.h"
#include "mail/report_json.h"

#define STRING_MAX 2048
#define CONTENT_MAX 4096
#define SCHEMA_VERSION 1

const char *const event_type_names[EV_TYPES] = {
	[EV_RECEPTION] = "Reception",
	[EV_DELIVERY] = "Delivery",
	[EV_TRANSIENT_FAILURE] = "TransientFailure",
	[EV_BOUNCE] = "Bounce",
	[EV_EXPIRATION] = "Expiration",
	[EV_ADMIN_BOUNCE] = "AdminBounce",
	[EV_ADMIN_REBIND] = "AdminRebind",
	[EV_REJECTION] = "Rejection",
	[EV_DELAYED] = "Delayed",
	[EV_SOURCE_OUT] = "SourceOut",
	[EV_SOURCE_IN] = "SourceIn",
	[EV_OVERRIDE] = "Override",
	[EV_ALERT] = "Alert",
	[EV_FEEDBACK] = "Feedback",
	[EV_TLS_SESSION] = "TlsSession",
	[EV_OOB] = "OOB",
};

/* NULL is written as null. */
static void
put_string(struct json *j, const char *key, const char *s)
{
	if (s == NULL)
		json_none(j, key);
	else
		json_slice(j, key, (struct slice){ s, strlen(s) }, STRING_MAX);
}

/* KumoMTA leaves some keys out instead. */
static void
put_if_any(struct json *j, const char *key, const char *s)
{
	if (s != NULL)
		put_string(j, key, s);
}

static const char *
or_empty(const char *s)
{
	return s == NULL ? "" : s;
}

static void
put_recipient(struct json *j, const struct event_record *ev)
{
	if (ev->recipient != NULL || ev->n_recipients == 0) {
		put_string(j, "recipient", or_empty(ev->recipient));
	} else if (ev->n_recipients == 1) {
		put_string(j, "recipient", ev->recipients[0]);
	} else {
		json_arr(j, "recipient");
		for (uint32_t i = 0; i < ev->n_recipients; i++)
			put_string(j, NULL, ev->recipients[i]);
		json_arr_end(j);
	}
}

static void
put_response(struct json *j, const struct event_record *ev)
{
	const char *content = or_empty(ev->content);

	json_obj(j, "response");
	json_int(j, "code", ev->code);
	if (ev->enhanced.class == 0) {
		json_none(j, "enhanced_code");
	} else {
		json_obj(j, "enhanced_code");
		json_int(j, "class", ev->enhanced.class);
		json_int(j, "subject", ev->enhanced.subject);
		json_int(j, "detail", ev->enhanced.detail);
		json_obj_end(j);
	}
	json_slice(j, "content", (struct slice){ content, strlen(content) }, CONTENT_MAX);
	put_string(j, "command", ev->command);
	json_obj_end(j);
}

static void
put_peer(struct json *j, const struct event_record *ev)
{
	if (ev->peer_name == NULL && ev->peer_addr == NULL) {
		json_none(j, "peer_address");
		return;
	}
	json_obj(j, "peer_address");
	put_string(j, "name", or_empty(ev->peer_name));
	put_string(j, "addr", or_empty(ev->peer_addr));
	json_obj_end(j);
}

static void
put_source_address(struct json *j, const struct event_record *ev)
{
	if (ev->source_address == NULL) {
		json_none(j, "source_address");
		return;
	}
	json_obj(j, "source_address");
	put_string(j, "address", ev->source_address);
	json_obj_end(j);
}

static bool
has_key(const struct event_record *ev, const char *key)
{
	for (uint32_t i = 0; i < ev->n_meta; i++)
		if (strcmp(ev->meta[i].key, key) == 0)
			return true;
	return false;
}

/* What policy set, and what is always there under KumoMTA's names, which policy cannot contradict. */
static void
put_meta(struct json *j, const struct event_record *ev)
{
	json_obj(j, "meta");
	/* A key "type" of policy's must not come first (see above). */
	if (ev->tenant == NULL && ev->campaign == NULL && ev->auth_user == NULL && has_key(ev, "type"))
		json_none(j, "tenant");
	put_if_any(j, "tenant", ev->tenant);
	put_if_any(j, "campaign", ev->campaign);
	put_if_any(j, "authn_id", ev->auth_user);
	for (uint32_t i = 0; i < ev->n_meta; i++) {
		const char *key = ev->meta[i].key;

		if (*key != '@' && strcmp(key, "tenant") != 0 && strcmp(key, "campaign") != 0 &&
		    strcmp(key, "authn_id") != 0)
			put_string(j, key, ev->meta[i].value);
	}
	json_obj_end(j);
}

static void
put_timing(struct json *j, const struct ql_timing *timing)
{
	if (timing == NULL) {
		json_none(j, "timing");
		return;
	}
	json_obj(j, "timing");
	json_int(j, "queue", timing->queue);
	json_int(j, "dns", timing->dns);
	json_int(j, "connect", timing->connect);
	json_int(j, "tls", timing->tls);
	json_int(j, "transfer", timing->transfer);
	json_obj_end(j);
}

static void
put_override(struct json *j, const struct event_override *o)
{
	json_obj(j, "override");
	json_str(j, "action", o->action);
	json_int(j, "id", (int64_t)o->id);
	json_str(j, "kind", o->kind);
	put_string(j, "scope", o->scope);
	put_string(j, "setting", o->setting);
	put_string(j, "value", o->value);
	put_string(j, "reason", o->reason);
	put_string(j, "made_by", o->made_by);
	put_string(j, "evidence", o->evidence);
	if (o->expires != 0)
		json_time(j, "expires", o->expires);
	else
		json_none(j, "expires");
	json_bool(j, "dry_run", o->is_dry_run);
	json_obj_end(j);
}

static void
put_bounce(struct json *j, const struct event_bounce *b)
{
	json_obj(j, "bounce");
	put_string(j, "cause", b->cause);
	put_string(j, "kind", b->kind);
	put_string(j, "scope", b->scope);
	put_string(j, "action", b->action);
	json_bool(j, "policy", b->is_of_policy);
	json_obj_end(j);
}

static void
put_alert(struct json *j, const struct event_alert *a)
{
	json_obj(j, "alert");
	json_str(j, "kind", a->kind);
	put_string(j, "action", a->action);
	put_string(j, "made_by", a->made_by);
	put_string(j, "reason", a->reason);
	put_string(j, "author_domain", a->author);
	json_obj_end(j);
}

static void
put_feedback(struct json *j, const struct event_feedback *f)
{
	char id[MSGID_HEX];

	json_obj(j, "feedback");
	json_bool(j, "trusted", f->is_trusted);
	put_string(j, "why", f->why);
	put_string(j, "source", f->source);
	put_string(j, "source_by", f->source_by);
	put_string(j, "proof", f->proof);
	if (f->message != NULL)
		msgid_hex(f->message, id);
	json_str(j, "message", f->message != NULL ? id : NULL);
	put_string(j, "recipient", f->recipient);
	put_string(j, "recipient_by", f->recipient_by);
	json_bool(j, "duplicate", f->is_duplicate);
	put_string(j, "suppressed", f->suppressed);
	json_obj_end(j);
}

static void
put_oob(struct json *j, const struct event_oob *o)
{
	char id[MSGID_HEX];

	json_obj(j, "oob");
	put_string(j, "kind", o->kind);
	put_string(j, "shape", o->shape);
	json_bool(j, "trusted", o->is_trusted);
	put_string(j, "proof", o->proof);
	put_string(j, "why", o->why);
	if (o->message != NULL)
		msgid_hex(o->message, id);
	json_str(j, "message", o->message != NULL ? id : NULL);
	put_string(j, "to", o->to);
	put_string(j, "recipient_by", o->recipient_by);
	put_string(j, "reported", o->reported);
	put_string(j, "reporting_mta", o->reporting_mta);
	put_string(j, "remote_mta", o->remote_mta);
	json_bool(j, "duplicate", o->is_duplicate);
	put_string(j, "suppressed", o->suppressed);
	json_obj_end(j);
}

/* KumoMTA's record. */
static void
put_kumomta(struct json *j, const struct event_record *ev, const struct event_origin *origin)
{
	int64_t created = ev->created != 0 ? ev->created : origin->now;
	char id[MSGID_HEX] = "";

	if (ev->id != NULL)
		msgid_hex(ev->id, id);
	json_str(j, "type", event_type_names[ev->type]);
	json_str(j, "id", id);
	put_string(j, "sender", or_empty(ev->sender));
	put_recipient(j, ev);
	put_string(j, "queue", or_empty(ev->queue));
	put_string(j, "site", or_empty(ev->site));
	json_int(j, "size", (int64_t)ev->size);
	put_response(j, ev);
	put_peer(j, ev);
	json_int(j, "timestamp", origin->now / 1000);
	json_time(j, "event_time", origin->now);
	json_int(j, "created", created / 1000);
	json_time(j, "created_time", created);
	json_int(j, "num_attempts", ev->num_attempts);
	put_string(j, "bounce_classification",
	    ev->bounce_classification == NULL ? "Uncategorized" : ev->bounce_classification);
	put_string(j, "egress_pool", ev->egress_pool);
	put_string(j, "egress_source", ev->egress_source);
	put_source_address(j, ev);
	if (ev->feedback != NULL)
		feedback_report_json(j, "feedback_report", ev->feedback);
	else
		json_none(j, "feedback_report");
	put_meta(j, ev);
	json_obj(j, "headers");
	json_obj_end(j);
	put_string(j, "delivery_protocol", ev->delivery_protocol);
	put_string(j, "reception_protocol", ev->reception_protocol);
	json_str(j, "nodeid", origin->nodeid);
	put_if_any(j, "tls_cipher", ev->tls_cipher);
	put_if_any(j, "tls_protocol_version", ev->tls_version);
	put_if_any(j, "tls_verified", ev->tls_verified);
	put_if_any(j, "tls_policy", ev->tls_policy);
	put_if_any(j, "tls_result", ev->tls_result);
	put_if_any(j, "provider_name", ev->provider);
	put_if_any(j, "session_id", ev->session);
}

void
eventlog_format(struct json *j, const struct event_record *ev, const struct event_origin *origin)
{
	j->comma = false;
	json_obj(j, NULL);
	put_kumomta(j, ev, origin);
	json_int(j, "v", SCHEMA_VERSION);
	json_str(j, "writer", origin->writer);
	json_int(j, "seq", (int64_t)origin->seq);
	put_string(j, "domain", ev->domain);
	put_string(j, "tenant", ev->tenant);
	put_string(j, "campaign", ev->campaign);
	put_string(j, "message_id", ev->message_id);
	if (ev->next_attempt != 0)
		json_time(j, "next_attempt", ev->next_attempt);
	else
		json_none(j, "next_attempt");
	json_str(j, "phase", ev->phase > PHASE_NONE && ev->phase < PHASES ? phase_names[ev->phase] : NULL);
	json_str(j, "generated", ev->is_local ? "local" : "remote");
	put_timing(j, ev->timing);
	if (ev->override != NULL)
		put_override(j, ev->override);
	if (ev->feedback != NULL)
		put_feedback(j, ev->feedback);
	if (ev->bounce != NULL)
		put_bounce(j, ev->bounce);
	if (ev->oob != NULL)
		put_oob(j, ev->oob);
	if (ev->alert != NULL)
		put_alert(j, ev->alert);
	json_obj_end(j);
	j->comma = false;
	wbuf_u8(&j->out, '\n');
}
