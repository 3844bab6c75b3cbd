/* What a DSN says to people: what happened, to whom, the reply. The words matter to programs, too: Mautic and its
 * like look for "User unknown" in them, so that phrase stands there when the status says so (5.1.1), and never
 * otherwise: it makes them give up the address for good. */

#include "mail/dsn_write.h"

struct reason {
	uint16_t subject;
	uint16_t detail;
	const char *text;
};

static const struct reason reasons[] = {
	{ 1, 1, "User unknown. The mail system of the recipient does not know this address." },
	{ 1, 2, "The domain of the address does not exist or cannot receive mail." },
	{ 1, 3, "The address is not valid." },
	{ 1, 6, "The mailbox has moved and left no address." },
	{ 1, 10, "The domain of the address declares that it receives no mail." },
	{ 2, 1, "The mailbox is disabled and receives no mail." },
	{ 2, 2, "The mailbox is full." },
	{ 2, 3, "The message is larger than the mailbox allows." },
	{ 3, 4, "The message is larger than the mail system of the recipient allows." },
	{ 4, 1, "The mail system of the recipient could not be reached." },
	{ 4, 4, "No mail system could be found for the domain of the address." },
	{ 4, 6, "The message went in circles." },
	{ 4, 7, "The message could not be delivered in time." },
	{ 6, 7, "The address or the header needs SMTPUTF8, which the mail system of the recipient does not offer." },
};

struct enhanced_code
dsn_status(const struct dsn_rcpt *rcpt)
{
	struct enhanced_code general = { 2, 0, 0 };

	if (rcpt->status.class != 0)
		return rcpt->status;
	if (rcpt->action == DSN_FAILED)
		general.class = 5;
	else if (rcpt->action == DSN_DELAYED)
		general.class = 4;
	return general;
}

static const char *
reason_text(const struct dsn_rcpt *rcpt)
{
	struct enhanced_code status = dsn_status(rcpt);

	switch (rcpt->action) {
	case DSN_DELIVERED:
		return "The message was delivered.";
	case DSN_RELAYED:
		return "The message was handed to a mail system that reports no successful deliveries.";
	case DSN_FAILED:
	case DSN_DELAYED:
		break;
	}
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].subject == status.subject && reasons[i].detail == status.detail)
			return reasons[i].text;
	if (status.subject == 7)
		return "The mail system of the recipient refused the message by its policy.";
	return rcpt->action == DSN_FAILED ? "The message was refused." : "The message was not taken yet.";
}

static void
put_rcpt(struct wbuf *w, const struct dsn_rcpt *rcpt)
{
	dsn_put(w, "\r\n<");
	dsn_put_value(w, rcpt->address, true);
	dsn_put(w, ">\r\n    ");
	dsn_put(w, reason_text(rcpt));
	dsn_put(w, "\r\n");
	if (rcpt->action == DSN_DELAYED)
		dsn_put_date(w, "    Delivery will be tried until ", rcpt->will_retry_until);
	if (rcpt->diagnostic == NULL || rcpt->diagnostic[0] == '\0')
		return;
	if (rcpt->is_local || rcpt->remote_mta == NULL) {
		dsn_put_field(w, rcpt->is_local ? "    Our mail system says: " : "    The reply was: ",
		    rcpt->diagnostic, true);
		return;
	}
	dsn_put(w, "    ");
	dsn_put_value(w, rcpt->remote_mta, true);
	dsn_put_field(w, " said: ", rcpt->diagnostic, true);
}

static bool
has_action(const struct dsn *dsn, enum dsn_action action)
{
	for (unsigned i = 0; i < dsn->n_rcpts; i++)
		if (dsn->rcpts[i].action == action)
			return true;
	return false;
}

void
dsn_put_text(struct wbuf *w, const struct dsn *dsn)
{
	dsn_put_field(w, "This is the mail system at host ", dsn->reporting_mta, true);
	if (has_action(dsn, DSN_FAILED))
		dsn_put(w, "\r\nYour message could not be delivered to the recipients below.\r\n"
			   "It will not be tried again.\r\n");
	else if (has_action(dsn, DSN_DELAYED))
		dsn_put(w, "\r\nYour message has not been delivered yet. YOU DO NOT NEED TO SEND IT AGAIN:\r\n"
			   "delivery is still being tried.\r\n");
	else
		dsn_put(w, "\r\nThis is the report on your message that you asked for.\r\n");
	for (unsigned i = 0; i < dsn->n_rcpts; i++)
		put_rcpt(w, &dsn->rcpts[i]);
	dsn_put(w, "\r\nThe details follow in a form for programs");
	if (dsn->headers.len == 0)
		dsn_put(w, ".\r\n");
	else
		dsn_put(w, dsn->body.len > 0 ? ", then your message.\r\n" : ", then the header of your message.\r\n");
}
