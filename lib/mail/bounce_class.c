/* The tables of classes and causes (bounce_class.h). */
#include <string.h>

#include "base/suggest.h"
#include "mail/bounce_class.h"
#include "mail/queue_link.h"

const char *const bounce_kind_names[BOUNCE_KINDS] = {
	"unknown", "hard", "soft", "block", "policy", "challenge", "auto-reply"
};

const char *const bounce_scope_names[BOUNCE_SCOPES] = {
	"unknown", "recipient", "recipient-domain", "sender", "content", "source-ip", "sender-domain", "infrastructure"
};

const char *const bounce_action_names[BOUNCE_ACTIONS] = {
	"by-code", "retry", "give-up", "suppress", "slow", "suspend", "alert"
};

/* The first cause of a class stands for it. */
#define C(n, c, k, s, a) { n, c, BOUNCE_##k, BOUNCE_OF_##s, BOUNCE_##a }
static const struct bounce_cause causes[] = {
	/* The address is no good. */
	C("rcpt_unknown",        "InvalidRecipient",     HARD,       RECIPIENT,        SUPPRESS),
	C("address_syntax",      "InvalidRecipient",     HARD,       RECIPIENT,        SUPPRESS),
	C("rcpt_disabled",       "InactiveMailbox",      HARD,       RECIPIENT,        SUPPRESS),
	C("rcpt_moved",          "InactiveMailbox",      HARD,       RECIPIENT,        SUPPRESS),
	C("domain_unknown",      "BadDomain",            HARD,       RECIPIENT_DOMAIN, SUPPRESS),
	C("domain_no_mail",      "BadDomain",            HARD,       RECIPIENT_DOMAIN, SUPPRESS),
	/* The address is good, and yet. */
	C("mailbox_full",        "QuotaIssues",          SOFT,       RECIPIENT,        RETRY),
	C("policy_rcpt",         "PolicyRelated",        POLICY,     RECIPIENT,        GIVE_UP),
	C("rcpt_refused",        "PolicyRelated",        POLICY,     RECIPIENT,        GIVE_UP),
	C("policy_other",        "PolicyRelated",        POLICY,     UNKNOWN,          ALERT),
	/* Reputation. */
	C("block_ip_local",      "SpamBlock",            BLOCK,      SOURCE_IP,        SUSPEND),
	C("block_dnsbl",         "SpamBlock",            BLOCK,      SOURCE_IP,        SUSPEND),
	C("block_domain",        "SpamBlock",            BLOCK,      SENDER_DOMAIN,    SUSPEND),
	C("bad_hit_rate",        "SpamBlock",            BLOCK,      SOURCE_IP,        SUSPEND),
	C("throttle_reputation", "SpamBlock",            BLOCK,      SOURCE_IP,        SUSPEND),
	C("remote_temp",         "TransientFailure",     SOFT,       INFRASTRUCTURE,   RETRY),
	C("remote_full",         "TransientFailure",     SOFT,       INFRASTRUCTURE,   RETRY),
	C("greylist",            "TransientFailure",     SOFT,       INFRASTRUCTURE,   RETRY),
	C("rcpt_rate",           "TransientFailure",     SOFT,       RECIPIENT,        RETRY),
	C("throttle_volume",     "TransientFailure",     SOFT,       SOURCE_IP,        SLOW),
	C("throttle_domain",     "TransientFailure",     SOFT,       SENDER_DOMAIN,    SLOW),
	C("throttle_sender",     "TransientFailure",     SOFT,       SENDER,           SLOW),
	C("conn_limit",          "BadConnection",        SOFT,       SOURCE_IP,        SLOW),
	C("conn_fail",           "BadConnection",        SOFT,       INFRASTRUCTURE,   RETRY),
	C("no_answer",           "NoAnswerFromHost",     SOFT,       INFRASTRUCTURE,   RETRY),
	/* Content. */
	C("spam_content",        "SpamContent",          BLOCK,      CONTENT,          ALERT),
	C("block_url",           "SpamContent",          BLOCK,      CONTENT,          ALERT),
	C("throttle_content",    "SpamContent",          BLOCK,      CONTENT,          SLOW),
	C("spam_other",          "SpamRelated",          BLOCK,      UNKNOWN,          ALERT),
	C("virus",               "VirusRelated",         BLOCK,      CONTENT,          ALERT),
	C("attachment",          "ProhibitedAttachment", POLICY,     CONTENT,          GIVE_UP),
	C("too_big",             "ContentRelated",       POLICY,     CONTENT,          GIVE_UP),
	C("content_other",       "ContentRelated",       POLICY,     CONTENT,          GIVE_UP),
	C("protocol",            "ProtocolErrors",       POLICY,     INFRASTRUCTURE,   ALERT),
	C("rfc_fault",           "ProtocolErrors",       POLICY,     CONTENT,          ALERT),
	/* The sender has something to mend. */
	C("auth_missing",        "AuthenticationFailed", POLICY,     SENDER_DOMAIN,    ALERT),
	C("auth_spf",            "AuthenticationFailed", POLICY,     SENDER_DOMAIN,    ALERT),
	C("auth_dkim",           "AuthenticationFailed", POLICY,     SENDER_DOMAIN,    ALERT),
	C("auth_dmarc",          "AuthenticationFailed", POLICY,     SENDER_DOMAIN,    ALERT),
	C("auth_align",          "AuthenticationFailed", POLICY,     SENDER_DOMAIN,    ALERT),
	C("auth_smtp",           "AuthenticationFailed", POLICY,     INFRASTRUCTURE,   ALERT),
	C("auth_ptr",            "BadConfiguration",     POLICY,     SOURCE_IP,        ALERT),
	C("helo_fault",          "BadConfiguration",     POLICY,     SOURCE_IP,        ALERT),
	C("tls_required",        "BadConfiguration",     POLICY,     INFRASTRUCTURE,   ALERT),
	C("tls_fault",           "BadConfiguration",     SOFT,       INFRASTRUCTURE,   RETRY),
	C("mailer_error",        "BadConfiguration",     SOFT,       INFRASTRUCTURE,   RETRY),
	C("sender_invalid",      "InvalidSender",        POLICY,     SENDER,           ALERT),
	C("auth_dns",            "InvalidSender",        POLICY,     SENDER_DOMAIN,    ALERT),
	C("too_many_rcpts",      "TooManyRecipients",    SOFT,       INFRASTRUCTURE,   RETRY),
	/* Routes. */
	C("domain_dns_temp",     "DNSFailure",           SOFT,       RECIPIENT_DOMAIN, RETRY),
	C("relay_denied",        "RelayDenied",          POLICY,     INFRASTRUCTURE,   GIVE_UP),
	C("relaying",            "RelayingIssues",       POLICY,     INFRASTRUCTURE,   GIVE_UP),
	C("routing",             "RoutingErrors",        SOFT,       INFRASTRUCTURE,   BY_CODE),
	C("mail_loop",           "RoutingErrors",        SOFT,       INFRASTRUCTURE,   GIVE_UP),
	C("expired",             "MessageExpired",       SOFT,       INFRASTRUCTURE,   GIVE_UP),
	/* Not failures. */
	C("auto_reply",          "AutoReply",            AUTO_REPLY, RECIPIENT,        BY_CODE),
	C("challenge",           "ChallengeResponse",    CHALLENGE,  RECIPIENT,        GIVE_UP),
	C("subscribe",           "Subscribe",            AUTO_REPLY, RECIPIENT,        BY_CODE),
	C("unsubscribe",         "Unsubscribe",          HARD,       RECIPIENT,        SUPPRESS),
	C("unclassified",        "Uncategorized",        UNKNOWN,    UNKNOWN,          BY_CODE),
};
#undef C
#define N_CAUSES (sizeof(causes) / sizeof(causes[0]))

const struct bounce_cause *
bounce_cause_at(size_t i)
{
	return i < N_CAUSES ? &causes[i] : NULL;
}

const struct bounce_cause *
bounce_cause_find(const char *name)
{
	size_t i;

	for (i = 0; i < N_CAUSES; i++)
		if (strcmp(causes[i].name, name) == 0 || strcmp(causes[i].class, name) == 0)
			return &causes[i];
	return NULL;
}

const char *
bounce_cause_near(const char *name)
{
	struct suggest near;
	size_t i;

	suggest_init(&near, name);
	for (i = 0; i < N_CAUSES; i++) {
		suggest_consider(&near, causes[i].name);
		suggest_consider(&near, causes[i].class);
	}
	return near.best != NULL ? near.best : "";
}

/* By the codes that deliverd gives: where the phase does not say it all. NULL: it does. */
static const char *
local_by_status(const struct enhanced_code *e)
{
	static const struct {
		uint16_t subject, detail;
		const char *cause;
	} statuses[] = {
		{ 1, 10, "domain_no_mail" }, { 3, 4, "too_big" }, { 3, 5, "mailer_error" }, { 4, 2, "conn_fail" },
		{ 4, 4, "routing" }, { 4, 6, "mail_loop" }, { 5, 0, "protocol" }, { 6, 0, "rfc_fault" },
		{ 6, 3, "content_other" }, { 6, 7, "content_other" }
	};

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (e->subject == statuses[i].subject && e->detail == statuses[i].detail)
			return statuses[i].cause;
	return NULL;
}

const struct bounce_cause *
bounce_cause_of_local(uint8_t phase, uint16_t code, const struct enhanced_code *status)
{
	const char *name = local_by_status(status);

	if (name == NULL && phase == PHASE_DNS)
		name = code >= 500 && code <= 599 ? "domain_unknown" : "domain_dns_temp";
	else if (name == NULL)
		name = phase == PHASE_CONNECT ? "no_answer" : phase == PHASE_STARTTLS ? "tls_fault" :
		    phase == PHASE_AUTH ? "auth_smtp" : phase == PHASE_BANNER || phase == PHASE_EHLO ? "conn_fail" :
		    "mailer_error";
	return bounce_cause_find(name);
}
