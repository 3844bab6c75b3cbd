/* Whose prose a bounce is in, and what it says on the whole: tables of phrases, in lower case, looked for in flat text
 * (dsnp_flat). The first that is there decides, so what is particular stands before what is common. */
#include <string.h>

#include "mail/dsn_parse_private.h"

struct shape_phrase {
	const char *shape;
	const char *phrase;
	bool is_strong; /* no other writer says so */
};

static const struct shape_phrase shapes[] = {
	{ "qmail", "this is the qmail-send program", true },
	{ "qmail", "sorry, i wasn't able to establish an smtp connection", true },
	{ "qmail", "i'm afraid i wasn't able to deliver your message to the following addresses", true },
	{ "qmail", "i wasn't able to deliver your message to the following addresses", true },
	{ "qmail", "--- below this line is a copy of the message", true },
	{ "yahoo", "sorry, we were unable to deliver your message to the following address", true },
	{ "yahoo", "unable to deliver message to the following address(es)", true },
	{ "exim", "this message was created automatically by mail delivery software", true },
	{ "exim", "this message was created automatically by the smtp relay", true },
	{ "exim", "a message that you sent could not be delivered to one or more of its recipients", true },
	{ "exim", "a message that you sent could not be delivered to all of its recipients", true },
	{ "exim", "a message that you have sent could not be delivered to one or more recipients", true },
	{ "gmail", "delivery to the following recipient failed permanently", true },
	{ "gmail", "delivery to the following recipients failed permanently", true },
	{ "gmail", "delivery to the following recipient has been delayed", true },
	{ "gmail", "technical details of permanent failure", true },
	{ "gmail", "this is an automatically generated delivery status notification", false },
	{ "gmail", "your message wasn't delivered to", false },
	{ "google-groups", "we're writing to let you know that the group you tried to contact", true },
	{ "google-groups", "you do not have permission to post messages to the group", false },
	{ "opensmtpd", "hi! this is the mailer-daemon", true },
	{ "dragonfly", "this is the dragonfly mail agent", true },
	{ "postfix", "this is the postfix program at host", true },
	{ "postfix", "this is the mail system at host", true },
	{ "mimecast", "mimecast", false },
	{ "courier", "this is a delivery status notification from", true },
	{ "courier", "uibcdb failed to deliver", false },
	{ "courier", "the original message was received on", false },
	{ "exchange-2003", "did not reach the following recipient(s)", true },
	{ "exchange-2003", "your message did not reach some or all of the intended recipients", true },
	{ "exchange", "diagnostic information for administrators", true },
	{ "exchange", "informations de diagnostic pour les administrateurs", true },
	{ "exchange", "diagnoseinformationen f\u00fcr administratoren", true },
	{ "exchange", "informaci\u00f3n de diagn\u00f3stico para los administradores", true },
	{ "exchange", "informazioni di diagnostica per gli amministratori", true },
	{ "exchange", "delivery has failed to these recipients or", true },
	{ "exchange", "\u00e9chec de la remise pour ces destinataires", true },
	{ "exchange", "fehler bei der nachrichtenzustellung an folgende empf\u00e4nger", true },
	{ "exchange", "la entrega a estos destinatarios", true },
	{ "exchange", "couldn't be delivered", false },
	{ "domino", "your message was not delivered to", false },
	{ "notes", "user not listed in domino directory", false },
	{ "notes", "not listed in public name & address book", false },
	{ "notes", "delivery failure report", false },
	{ "notes", "was not delivered to:", false },
	{ "sendmail", "transcript of session follows", true },
	{ "sendmail", "the following addresses had permanent fatal errors", true },
	{ "sendmail", "the following addresses had transient non-fatal errors", true },
	{ "sendmail", "the following addresses had delivery problems", true },
	{ "sendmail", "this is a warning message only", true },
	{ "sendmail", "unsent message follows", true },
	{ "messagingserver", "this report relates to a message you sent with the following header fields", true },
	{ "messagingserver", "your message cannot be delivered to the following recipients", true },
	{ "mail.ru", "this message was created automatically by mail delivery software.", true },
	{ "mdaemon", "the following addresses had errors", false },
	{ "mdaemon", "mdaemon", false },
	{ "groupwise", "the message that you sent was undeliverable to the following", true },
	{ "imail", "undeliverable to", false },
	{ "imail", "original message follows.", false },
	{ "gmx", "this message was created automatically by", false },
	{ "gmx", "diese nachricht wurde automatisch", false },
	{ "gmx", "die nachricht konnte an folgende adresse nicht zugestellt werden", true },
	{ "amazon-ses", "an error occurred while trying to deliver the mail to the following recipients", true },
	{ "amazon-workmail", "an error occurred while trying to deliver this message", false },
	{ "zoho", "this message was created automatically by mail delivery software. a message that you sent", true },
	{ "mxlogic", "this message was created automatically by the mxlogic", true },
	{ "mailmarshal", "your message could not be delivered to the recipients listed below", false },
	{ "surfcontrol", "your message could not be sent", false },
	{ "barracuda", "barracuda", false },
	{ "kddi", "the user(s) account is", false },
	{ "x.400", "x.400", false },
	{ "generic", "could not be delivered", false },
	{ "generic", "couldn't be delivered", false },
	{ "generic", "cannot be delivered", false },
	{ "generic", "can't be delivered", false },
	{ "generic", "could not deliver", false },
	{ "generic", "was not delivered", false },
	{ "generic", "has not been delivered", false },
	{ "generic", "not been delivered", false },
	{ "generic", "wasn't delivered", false },
	{ "generic", "unable to deliver", false },
	{ "generic", "not able to deliver", false },
	{ "generic", "failed to deliver", false },
	{ "generic", "undeliverable", false },
	{ "generic", "undelivered", false },
	{ "generic", "delivery failed", false },
	{ "generic", "delivery failure", false },
	{ "generic", "delivery of the following", false },
	{ "generic", "returned to sender", false },
	{ "generic", "successfully delivered", false },
	{ "generic", "has been delivered", false },
	{ "generic", "successfully relayed", false },
	{ "generic", "nicht zugestellt", false },
	{ "generic", "nicht zustellbar", false },
	{ "generic", "unzustellbar", false },
	{ "generic", "n'a pas pu \u00eatre", false },
	{ "generic", "n'a pas \u00e9t\u00e9 remis", false },
	{ "generic", "impossible de remettre", false },
	{ "generic", "non remis", false },
	{ "generic", "no se pudo entregar", false },
	{ "generic", "no se ha podido entregar", false },
	{ "generic", "no pudo ser entregado", false },
	{ "generic", "non \u00e8 stato possibile", false },
	{ "generic", "non \u00e8 stato recapitato", false },
	{ "generic", "impossibile recapitare", false },
	{ "generic", "n\u00e3o p\u00f4de ser entregue", false },
	{ "generic", "n\u00e3o foi poss\u00edvel entregar", false },
	{ "generic", "kon niet worden", false },
	{ "generic", "niet worden afgeleverd", false },
	{ "generic", "nie zosta\u0142a dostarczona", false },
	{ "generic", "nie mo\u017cna dostarczy\u0107", false },
	{ "generic", "kunne ikke leveres", false },
	{ "generic", "kunde inte levereras", false },
	{ "generic", "nelze doru\u010dit", false },
	{ "generic", "\u043d\u0435 \u0434\u043e\u0441\u0442\u0430\u0432\u043b\u0435\u043d\u043e", false },
	{ "generic", "\u043d\u0435 \u043c\u043e\u0436\u0435\u0442 \u0431\u044b\u0442\u044c "
		     "\u0434\u043e\u0441\u0442\u0430\u0432\u043b\u0435\u043d\u043e", false },
	{ "generic", "\u914d\u4fe1\u3067\u304d\u307e\u305b\u3093", false },
	{ "generic", "\u9001\u4fe1\u3067\u304d\u307e\u305b\u3093", false },
	{ "generic", "\u65e0\u6cd5\u9001\u8fbe", false },
	{ "generic", "\u9000\u4fe1", false },
	{ "generic", "\u65e0\u6cd5\u6295\u9012", false },
};

static bool
has_any(const char *text, const char *const *phrases)
{
	for (; *phrases != NULL; phrases++)
		if (strstr(text, *phrases) != NULL)
			return true;
	return false;
}

const char *
dsnp_shape(const char *flat, bool *is_strong)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		if (strstr(flat, shapes[i].phrase) != NULL) {
			*is_strong = shapes[i].is_strong;
			return shapes[i].shape;
		}
	}
	*is_strong = false;
	return NULL;
}

bool
dsnp_is_daemon(const char *flat_from)
{
	static const char *const names[] = { "mailer-daemon", "mailerdaemon", "mailer_daemon", "mail-daemon",
		"mdaemon@", "postmaster", "mail delivery", "mail deliver", "maildelivery", "mail system",
		"mail administrator", "mail-administrator", "system administrator", "systemadministrator",
		"administrateur syst", "administrador del sistema", "amministratore", "microsoftexchange",
		"microsoft exchange", "microsoft outlook", "internet mail delivery", "delivery subsystem",
		"delivery system", "delivery notification", "delivery service", "bounce", "mmdf", "daemon@",
		"mailservice", "mail router", "mail server", "zustellsystem", NULL };

	return has_any(flat_from, names);
}

bool
dsnp_is_bounce_subject(const char *flat_subject)
{
	static const char *const phrases[] = { "undeliver", "delivery status notification", "returned mail",
		"failure notice", "mail delivery failed", "mail delivery failure", "mail delivery problem",
		"mail delivery error", "failed mail", "delivery failed", "delivery failure", "delivery error",
		"delivery problem", "delivery report", "delivery notification", "mail system error",
		"returned to sender", "return to sender", "mail delivery", "message delivery", "delivery delayed",
		"delayed mail", "delayed delivery", "could not send message", "couldn't be delivered",
		"could not be delivered", "cannot be delivered", "not delivered", "nondeliverable", "non-deliver",
		"non deliverable", "permanent error", "permanent failure", "warning: message",
		"warning - delayed mail", "error sending", "bounced", "message status - undeliverable",
		"unable to deliver", "failed to deliver", "delivery incomplete", "recipient unknown",
		"unknown user", "user unknown", "no such user", "ndn:", "unzustellbar", "nicht zustellbar",
		"nicht zugestellt", "zustellfehler", "zustellung fehlgeschlagen", "fehler bei der zustellung",
		"mailzustellung", "non remis", "non distribu", "non d\u00e9livr", "\u00e9chec de la remise",
		"\u00e9chec de remise", "\u00e9chec d'envoi", "\u00e9chec de livraison", "avis de non",
		"no se puede entregar", "no se pudo entregar", "no entregado", "no entregable",
		"error de entrega", "devuelto", "non recapitabile", "recapito non riuscito", "mancato recapito",
		"mancata consegna", "onbestelbaar", "niet bezorgd", "niet afgeleverd", "n\u00e3o entregue",
		"n\u00e3o entreg", "falha na entrega", "nie mo\u017cna dostarczy\u0107", "niedostarczaln",
		"niedor\u0119czaln", "nedoru\u010diteln", "k\u00e9zbes\u00edthetetlen", "uleverbar",
		"kunne ikke leveres", "ikke leveret", "olevererbar", "gick inte att leverera",
		"kan inte levereras", "ei voida toimittaa", "ei voitu toimittaa", "teslim edilemedi",
		"\u03bc\u03b7 \u03c0\u03b1\u03c1\u03b1\u03b4", "\u043d\u0435\u0434\u043e\u0441\u0442\u0430\u0432",
		"\u043d\u0435 \u0434\u043e\u0441\u0442\u0430\u0432", "\u914d\u4fe1\u4e0d\u80fd",
		"\u914d\u4fe1\u3067\u304d", "\u9000\u4fe1", "\u65e0\u6cd5\u9001\u8fbe", "\u672a\u9001\u8fbe",
		"\u7121\u6cd5\u50b3\u905e", "\ubc30\ub2ec\ub418\uc9c0", NULL };

	return has_any(flat_subject, phrases);
}

static const char *const reply_prefixes[] = { "re:", "re :", "fw:", "fwd:", "aw:", "wg:", "sv:", "vs:", "tr:",
	"rv:", "rif:", "i:", "r:", "odp:", "antw:", "doorst:", "enc:", "res:", "ha:", "\u56de\u590d:",
	"\u8f6c\u53d1:", "\u7b54\u590d:", NULL };

static size_t
prefix_len(const char *text, const char *const *prefixes)
{
	for (; *prefixes != NULL; prefixes++)
		if (strncmp(text, *prefixes, strlen(*prefixes)) == 0)
			return strlen(*prefixes);
	return 0;
}

bool
dsnp_is_reply_subject(const char *flat_subject)
{
	return prefix_len(flat_subject, reply_prefixes) > 0;
}

bool
dsnp_is_auto_subject(const char *flat_subject, bool *is_sure)
{
	static const char *const sure[] = { "out of office", "out of the office", "out-of-office", "ooo:", "ooo ",
		"[ooo]", "automatic reply", "automatic response", "automated reply", "automated response",
		"auto reply", "autoreply", "auto-reply", "auto:", "auto response", "auto-response",
		"autoresponse", "auto responder", "autoresponder", "[auto", "i am out of", "i'm out of",
		"i am away", "i'm away", "i am currently away", "abwesenheit", "automatische antwort",
		"autom. antwort", "au\u00dfer haus", "ausser haus", "nicht im b\u00fcro", "nicht im haus",
		"bin im urlaub", "r\u00e9ponse automatique", "r\u00e9ponse auto", "absence du bureau",
		"absent du bureau", "je suis absent", "message d'absence", "notification d'absence",
		"respuesta autom\u00e1tica", "respuesta automatica", "fuera de la oficina", "fuera de oficina",
		"contestaci\u00f3n autom\u00e1tica", "resposta autom", "fora do escrit\u00f3rio",
		"risposta automatica", "fuori sede", "fuori ufficio", "automatisch antwoord",
		"automatische reactie", "niet aanwezig", "ik ben afwezig", "automatisk svar", "autosvar",
		"fr\u00e5nvaro", "frav\u00e6r", "ikke til stede", "ude af kontoret", "p\u00e5 semester",
		"automaattinen", "autom. vastaus", "odpowied\u017a automatyczna", "autoodpowied\u017a",
		"automatyczna odpowied\u017a", "poza biurem", "automatick\u00e1 odpov", "mimo kancel",
		"nep\u0159\u00edtomn", "automatikus v\u00e1lasz", "h\u00e1zon k\u00edv", "r\u0103spuns automat",
		"automatski odgovor", "samodejni odgovor", "otomatik yan\u0131t", "ofis d\u0131\u015f\u0131nda",
		"\u03b1\u03c5\u03c4\u03cc\u03bc\u03b1\u03c4\u03b7 \u03b1\u03c0\u03ac\u03bd\u03c4\u03b7\u03c3\u03b7",
		"\u0430\u0432\u0442\u043e\u043e\u0442\u0432\u0435\u0442",
		"\u0430\u0432\u0442\u043e\u043c\u0430\u0442\u0438\u0447\u0435\u0441\u043a",
		"\u043d\u0435\u0442 \u043d\u0430 \u0440\u0430\u0431\u043e\u0442\u0435",
		"\u0430\u0432\u0442\u043e\u043c\u0430\u0442\u0438\u0447\u043d\u0430",
		"\u0432 \u043e\u0442\u043f\u0443\u0441\u043a\u0435", "\u81ea\u52d5\u8fd4\u4fe1",
		"\u81ea\u52d5\u5fdc\u7b54", "\u81ea\u52a8\u56de\u590d", "\u81ea\u52a8\u7b54\u590d",
		"\u81ea\u52d5\u56de\u8986", "\uc790\ub3d9 \ud68c\uc2e0", "\uc790\ub3d9\uc751\ub2f5",
		"\u05ea\u05e9\u05d5\u05d1\u05d4 \u05d0\u05d5\u05d8\u05d5\u05de\u05d8\u05d9\u05ea",
		"\u0631\u062f \u062a\u0644\u0642\u0627\u0626\u064a", NULL };
	static const char *const maybe[] = { "vacation", "on vacation", "away from", "on leave", "on holiday",
		"annual leave", "maternity leave", "parental leave", "abwesend", "urlaub", "absence", "absent",
		"en cong", "ausente", "ausencia", "aus\u00eancia", "f\u00e9rias", "assente", "assenza", "afwezig",
		"semester", "poissa", "nieobecno", "\u4e0d\u5728", "\u5916\u51fa", "\ubd80\uc7ac", NULL };

	for (size_t skip; (skip = prefix_len(flat_subject, reply_prefixes)) > 0;) {
		flat_subject += skip;
		flat_subject += strspn(flat_subject, " ");
	}
	*is_sure = prefix_len(flat_subject, sure) > 0;
	return *is_sure || prefix_len(flat_subject, maybe) > 0;
}

/* Somebody's filter wants the sender to prove that he is a person. */
bool
dsnp_is_challenge(const char *flat)
{
	static const char *const phrases[] = { "your address added to the", "recipient's allowed list",
		"to my guest list", "verify that you are a", "confirm that you are a", "confirm that you sent",
		"prove that you are", "to release your message", "your message is being held",
		"your email is being held", "sender verification", "challenge-response", "challenge/response",
		"approved senders list", NULL };

	return has_any(flat, phrases);
}

enum dsn_kind
dsnp_text_kind(const char *flat_subject, const char *flat)
{
	static const char *const late_subjects[] = { "delay", "warning: message", "warning: could not send",
		"delivery incomplete", "still being retried", "verz\u00f6ger", "retard", "retras", "ritardo",
		"vertraag", "\u0437\u0430\u0434\u0435\u0440\u0436", NULL };
	static const char *const late[] = { "will continue to try", "will keep trying", "will be retried",
		"will retry for", "still being retried", "not yet been delivered", "has not been delivered yet",
		"do not need to resend", "no action is required on your part", "this is a warning message only",
		"has been delayed", "will attempt to deliver", "wird weiterhin versucht", "noch nicht zugestellt",
		"n'a pas encore \u00e9t\u00e9", "todav\u00eda no se ha", "is still queued",
		"delivery attempts will continue", "attempts to deliver the message will continue", NULL };
	static const char *const ended[] = { "giving up", "given up", "gave up", "permanent error", "permanently",
		"i'm not going to try again", "will not be retried", "has been delayed too long", "expired",
		"timed out after", "no further attempts", "will not try again", "aufgegeben", NULL };
	static const char *const relayed[] = { "(relay)", "successfully relayed", "has been relayed",
		"but the destination mail system does not support delivery",
		"no delivery notification was sent by the destination", NULL };
	static const char *const delivered[] = { "(success)", "successful mail delivery",
		"successfully delivered", "your message has been delivered to the following",
		"was successfully delivered", "was delivered to the following", "message was delivered to",
		"erfolgreich zugestellt", NULL };

	if (has_any(flat_subject, late_subjects))
		return DSN_KIND_DELAYED;
	if (has_any(flat, late) && !has_any(flat, ended))
		return DSN_KIND_DELAYED;
	if (dsnp_is_bounce_subject(flat_subject) && strstr(flat_subject, "fail") != NULL)
		return DSN_KIND_FAILED;
	if (has_any(flat_subject, relayed) || has_any(flat, relayed))
		return DSN_KIND_RELAYED;
	if (has_any(flat_subject, delivered) || has_any(flat, delivered))
		return DSN_KIND_DELIVERED;
	return DSN_KIND_FAILED;
}
