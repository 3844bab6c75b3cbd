/* Recipients and reasons in prose. There are many writers and one habit: the address stands where the eye finds it,
 * at the beginning of a line, alone on it or behind a label, and the reason follows. Each address in the text gets
 * a rank by the place where it stands; those of the best rank are the recipients. */
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "base/xalloc.h"

#include "mail/dsn_parse_private.h"

enum {
	LOCAL_MAX = 128,
	DOMAIN_MAX = 255,
	PLACES_MAX = 1000,
	ABOUT_MAX = 4096, /* of text that is about one recipient */
	LINE_MAX_USED = 1000
};

enum rank {
	RANK_NONE,
	RANK_ANYWHERE,
	RANK_PHRASE,  /* "could not be delivered to addr" */
	RANK_REPLY,   /* "550 addr" */
	RANK_RCPT_TO, /* "RCPT TO:<addr>" */
	RANK_LABEL,   /* "Recipient: addr" */
	RANK_LINE,    /* "addr (reason)" */
	RANK_ALONE,   /* on its line */
	RANK_COLON    /* "<addr>: reason" */
};

struct place {
	size_t from, to; /* of the address */
	size_t end;      /* behind its closing bracket and colon */
	enum rank rank;
};

struct places {
	struct place *p;
	unsigned n;
	/* The first reply anywhere in the text, looked for once. */
	bool has_reply;
	size_t reply_from, reply_to;
	char status[12];
};

/* One step of lower case for what the phrases are made of: Latin-1, Latin Extended-A, Greek, Cyrillic. */
static void
fold(const unsigned char *from, size_t seq, unsigned char *to)
{
	unsigned c;

	memcpy(to, from, seq);
	if (seq == 1) {
		to[0] = (unsigned char)(from[0] >= 'A' && from[0] <= 'Z' ? from[0] - 'A' + 'a' : from[0]);
		return;
	}
	if (seq != 2)
		return;
	c = (from[0] & 31u) << 6 | (from[1] & 63u);
	if ((c >= 0xc0 && c <= 0xde && c != 0xd7) || (c >= 0x391 && c <= 0x3a9) || (c >= 0x410 && c <= 0x42f))
		c += 0x20;
	else if (c >= 0x400 && c <= 0x40f)
		c += 0x50;
	else if ((c >= 0x100 && c <= 0x137 && c % 2 == 0 && c != 0x130) || (c >= 0x139 && c <= 0x147 && c % 2 == 1) ||
	    (c >= 0x14a && c <= 0x177 && c % 2 == 0) || c == 0x179 || c == 0x17b || c == 0x17d)
		c++;
	to[0] = (unsigned char)(0xc0 | c >> 6);
	to[1] = (unsigned char)(0x80 | (c & 63));
}

/* A line of somebody's quotation; three brackets are a transcript of SMTP. */
static bool
is_quoted(const char *line, size_t len)
{
	size_t at = 0;

	while (at < len && (line[at] == ' ' || line[at] == '\t'))
		at++;
	return at < len && line[at] == '>' && !(at + 2 < len && line[at + 1] == '>' && line[at + 2] == '>');
}

char *
dsnp_flat(const char *text, size_t len, size_t max)
{
	char *out = xmalloc(max + 8);
	bool is_start = true;
	size_t n = 0;

	for (size_t i = 0, seq; i < len && n < max; i += seq) {
		unsigned char c = (unsigned char)text[i];

		seq = 1;
		if (is_start && is_quoted(text + i, len - i)) {
			const char *nl = memchr(text + i, '\n', len - i);

			seq = nl == NULL ? len - i : (size_t)(nl + 1 - (text + i));
			continue;
		}
		is_start = c == '\n';
		if (c <= ' ') {
			if (n > 0 && out[n - 1] != ' ')
				out[n++] = ' ';
			continue;
		}
		if ((seq = utf8_seq_len((const uint8_t *)text + i, len - i)) == 0) {
			seq = 1;
			continue;
		}
		/* A typographic apostrophe is one. */
		if (seq == 3 && memcmp(text + i, "\u2019", 3) == 0)
			out[n++] = '\'';
		else if (seq == 2 && memcmp(text + i, "\u00a0", 2) == 0)
			out[n++] = ' ';
		else {
			fold((const unsigned char *)text + i, seq, (unsigned char *)out + n);
			n += seq;
		}
	}
	out[n] = '\0';
	return out;
}

static size_t
eol(const char *text, size_t len, size_t at)
{
	const char *nl = at < len ? memchr(text + at, '\n', len - at) : NULL;

	return nl == NULL ? len : (size_t)(nl - text);
}

/* Which of the fields of any message the line is; 0: none, 2: one that only headers have. */
static unsigned
header_weight(const char *line, size_t len)
{
	static const struct {
		const char *name;
		unsigned weight;
	} names[] = { { "received:", 3 }, { "message-id:", 3 }, { "return-path:", 2 }, { "dkim-signature:", 3 },
		{ "mime-version:", 2 }, { "content-type:", 2 }, { "from:", 1 }, { "to:", 1 }, { "subject:", 1 },
		{ "date:", 1 }, { "x-mailer:", 2 }, { "reply-to:", 1 } };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (len >= strlen(names[i].name) && strncasecmp(line, names[i].name, strlen(names[i].name)) == 0)
			return names[i].weight;
	return 0;
}

/* Name and colon of a field. */
static bool
looks_like_field(const char *line, size_t len)
{
	size_t n = 0;

	while (n < len && (isalnum((unsigned char)line[n]) || line[n] == '-' || line[n] == '_'))
		n++;
	return n > 1 && n < len && line[n] == ':' && (n + 1 == len || line[n + 1] == ' ' || line[n + 1] == '\t');
}

size_t
dsnp_find_headers(const char *text, size_t len)
{
	size_t start = len;
	unsigned weight = 0;

	for (size_t at = 0, end; at < len; at = end + 1) {
		const char *line = text + at;

		end = eol(text, len, at);
		if (looks_like_field(line, end - at)) {
			if (start == len) {
				start = at;
				weight = 0;
			}
			weight += header_weight(line, end - at);
			if (weight >= 4)
				return start;
		} else if (start < len && end > at && (*line == ' ' || *line == '\t'))
			continue;
		else
			start = len;
	}
	return len;
}

/* ---- replies ---- */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Length of an enhanced status code at `at`; 0. Not part of a longer number, as in an IP address. */
static size_t
status_at(const char *text, size_t len, size_t at)
{
	size_t n = at;
	unsigned dots = 0, digits = 1;

	if ((text[at] != '4' && text[at] != '5') || (at > 0 && (isalnum((unsigned char)text[at - 1]) ||
	    strchr("._", text[at - 1]) != NULL)))
		return 0;
	/* "550-5.1.1", but not "name-5.1.1". */
	if (at > 0 && text[at - 1] == '-' && !(at >= 4 && is_digit(text[at - 2]) && is_digit(text[at - 3])))
		return 0;
	for (n = at + 1; n < len; n++) {
		if (text[n] == '.' && digits > 0 && dots < 2) {
			dots++;
			digits = 0;
		} else if (is_digit(text[n]) && dots > 0 && ++digits <= 3)
			continue;
		else
			break;
	}
	if (dots != 2 || digits == 0 || digits > 3 || (n < len && (is_digit(text[n]) || text[n] == '-' ||
	    isalpha((unsigned char)text[n]) || (text[n] == '.' && n + 1 < len && isalnum((unsigned char)text[n + 1])))))
		return 0;
	return n - at;
}

bool
dsnp_find_status(const char *text, size_t len, char out[12])
{
	for (size_t at = 0; at < len; at++) {
		size_t n;

		if ((text[at] == '4' || text[at] == '5') && (n = status_at(text, len, at)) > 0 && n < 12) {
			memcpy(out, text + at, n);
			out[n] = '\0';
			return true;
		}
	}
	out[0] = '\0';
	return false;
}

/* How sure it is that a reply begins here: 0 no, 3 with an enhanced code. */
static unsigned
reply_at(const char *text, size_t len, size_t at)
{
	size_t n = at + 3;
	char before = at > 0 ? text[at - 1] : '\n';

	if (len - at < 5 || (text[at] != '4' && text[at] != '5') || text[at + 1] > '5' || !is_digit(text[at + 1]) ||
	    !is_digit(text[at + 2]) || isalnum((unsigned char)before) || strchr(".-_@+/", before) != NULL)
		return 0;
	if (text[n] != ' ' && text[n] != '-' && text[n] != '\t' && text[n] != '\n')
		return 0;
	while (n < len && strchr(" -\t\n#", text[n]) != NULL)
		n++;
	if (n < len && status_at(text, len, n) > 0 && text[n] == text[at])
		return 3;
	if (text[at + 3] == '\n' || n == len ||
	    (!isalnum((unsigned char)text[n]) && strchr("<\"'([#*", text[n]) == NULL))
		return 0;
	if (before == '\n' || before == '(' || before == '"' || before == '\'' || before == '<' || before == '#')
		return 2;
	/* Behind "said: ", "<<< ", "smtp; ", or indented. */
	if (before == ' ' || before == '\t') {
		size_t b = at - 1;

		while (b > 0 && (text[b] == ' ' || text[b] == '\t'))
			b--;
		return strchr(":<>;\n(", text[b]) != NULL ? 2 : 1;
	}
	return 0;
}

/* The end of a paragraph: a blank line, or a line of dashes. */
static size_t
paragraph_end(const char *text, size_t len, size_t at, size_t max)
{
	size_t end = eol(text, len, at);

	while (end < len && end - at < max) {
		size_t next = eol(text, len, end + 1), i = end + 1;

		while (i < next && strchr(" \t", text[i]) != NULL)
			i++;
		if (i == next || (next - i > 3 && memcmp(text + i, "---", 3) == 0) ||
		    (next - i > 3 && memcmp(text + i, ">>>", 3) == 0))
			break;
		end = next;
	}
	return end - at > max ? at + max : end;
}

bool
dsnp_find_reply(const char *text, size_t len, size_t *from, size_t *to)
{
	unsigned best = 0, sure;
	size_t where = 0;

	for (size_t at = 0; at < len && best < 3; at++) {
		if ((text[at] == '4' || text[at] == '5') && (sure = reply_at(text, len, at)) > best) {
			best = sure;
			where = at;
		}
	}
	if (best < 2)
		return false;
	if (from != NULL)
		*from = where;
	if (to != NULL)
		*to = paragraph_end(text, len, where, DSN_MAX_DIAGNOSTIC);
	return true;
}

/* ---- addresses ---- */

static bool
is_local_char(char c)
{
	return isalnum((unsigned char)c) || (unsigned char)c >= 0x80 ||
	    (c != '\0' && strchr(".!#$%&'*+/=?^_`{|}~-", c) != NULL);
}

static bool
is_domain_char(char c)
{
	return isalnum((unsigned char)c) || (unsigned char)c >= 0x80 || c == '-' || c == '.';
}

/* The first octet of a sequence of a script without blanks between words: what stands before or behind an address in
 * Latin letters is not part of it. */
static bool
is_wide(char c)
{
	unsigned char u = (unsigned char)c;

	return u >= 0xe3 && u <= 0xef;
}

/* The address around the "@" at `at`. */
static bool
address_around(const char *text, size_t len, size_t at, struct place *out)
{
	size_t from = at, to = at + 1;
	bool has_dot = false;

	if (at > 1 && text[at - 1] == '"') {
		from--;
		while (from > 0 && text[from - 1] != '"' && text[from - 1] != '\n' && at - from < LOCAL_MAX)
			from--;
		if (from == 0 || text[from - 1] != '"')
			return false;
		from--;
	} else {
		while (from > 0 && at - from < LOCAL_MAX && is_local_char(text[from - 1]))
			from--;
		for (size_t i = from; i + 3 < at; i++)
			if (is_wide(text[i]) && (unsigned char)text[i + 3] < 0x80)
				from = i + 3;
		while (from < at && strchr("'*`|=/.", text[from]) != NULL)
			from++;
	}
	if (to < len && text[to] == '[') {
		while (to < len && to - at < 60 && text[to] != ']' && text[to] != '\n')
			to++;
		if (to == len || text[to] != ']')
			return false;
		to++;
		has_dot = true;
	} else {
		while (to < len && to - at < DOMAIN_MAX && is_domain_char(text[to]) &&
		    !(has_dot && is_wide(text[to]) && (unsigned char)text[to - 1] < 0x80))
			has_dot |= text[to++] == '.' && to > at + 2;
		while (to > at + 1 && (text[to - 1] == '.' || text[to - 1] == '-'))
			to--;
	}
	if (from == at || to - at < 3 || !has_dot || memchr(text + at, '.', to - at) == NULL ||
	    to - from > DSN_MAX_ADDRESS)
		return false;
	out->from = from;
	out->to = to;
	out->end = to;
	while (out->end < len && out->end < to + 4 && strchr(">'\")]*", text[out->end]) != NULL)
		out->end++;
	return true;
}

/* Whether text[from..to) holds one of the phrases, in lower case. */
static bool
span_has(const char *text, size_t from, size_t to, const char *const *phrases)
{
	char lower[200];
	size_t n = 0;

	if (to - from >= sizeof(lower))
		from = to - sizeof(lower) + 1;
	for (; from < to; from++)
		lower[n++] = text[from] == '\n' ? ' ' : (char)tolower((unsigned char)text[from]);
	lower[n] = '\0';
	for (; *phrases != NULL; phrases++)
		if (strstr(lower, *phrases) != NULL)
			return true;
	return false;
}

/* "deliver your message to " right before it. */
static bool
is_object(const char *text, size_t line, size_t from)
{
	static const char *const verbs[] = { "message to ", "mail to ", "deliver to ", "delivered to ",
		"delivery to ", "was addressed, ", "addressed to ", NULL };

	while (from > line && strchr("<\"'", text[from - 1]) != NULL)
		from--;
	for (size_t i = 0; verbs[i] != NULL; i++) {
		size_t len = strlen(verbs[i]);

		if (from - line >= len && strncasecmp(text + from - len, verbs[i], len) == 0)
			return true;
	}
	return false;
}

static enum rank
rank_by_words(const char *text, size_t line, size_t from)
{
	static const char *const rcpt_to[] = { "rcpt to:", "rcpt to: ", "recipient address:", NULL };
	static const char *const labels[] = { "recipient:", "recipients:", "recipient(s):", "addressee:",
		"address:", "to:", "e-mail:", "email:", "empf\u00e4nger:", "adresse:", "destinataire",
		"destinatario", "destinat\u00e1rio", "odbiorca", "ontvanger:", "\u0430\u0434\u0440\u0435\u0441",
		"\u53d7\u4fe1\u8005", "\u6536\u4ef6\u4eba", "\u5b9b\u5148", "user:", "mailbox:", "account:",
		NULL };
	static const char *const phrases[] = { "delivered to", "deliver to", "delivery to", "deliver mail to",
		"deliver your message to", "deliver the message to", "recipient", "addressed to", "message to",
		"mail to", "sent to", "reach", "send to", "zugestellt", "empf\u00e4nger", " an ", "utente",
		"usuario", "destin", " \u00e0 ", " a ", "for ", "account", "mailbox", "user ", " do ", " aan ",
		"voor ", " \u043d\u0430 ", "address", "entregar", "remis", NULL };
	static const char *const not[] = { "mail from:", "from:<", "from:", "message-id", "contact", "sender:",
		"sent by", "reply-to", "id <", "write to", "questions", "postmaster at", "forward this",
		"help desk", "helpdesk", "return-path", "please send", "assistance", NULL };

	if (span_has(text, line, from, rcpt_to))
		return RANK_RCPT_TO;
	/* The line before belongs to the sentence. */
	if (span_has(text, line, from, not))
		return RANK_NONE;
	if (span_has(text, line, from, labels) || is_object(text, line, from))
		return RANK_LABEL;
	for (size_t back = 0; line > 1 && back < 100 && text[line - 2] != '\n'; back++, line--)
		;
	if (span_has(text, line, from, not))
		return RANK_NONE;
	return span_has(text, line, from, phrases) ? RANK_PHRASE : RANK_ANYWHERE;
}

/* "A message sent by", blank lines, and the address. */
static bool
is_sender(const char *text, size_t line)
{
	size_t end = line, from;

	while (end > 0 && line - end < 20 && strchr(" \t\n", text[end - 1]) != NULL)
		end--;
	from = end > 40 ? end - 40 : 0;
	return span_has(text, from, end, (const char *const[]){ "sent by", "sent from", "message from", NULL });
}

static enum rank
rank_of(const char *text, size_t len, size_t line, const struct place *p)
{
	size_t first = line, end = eol(text, len, p->to), rest = p->end;
	bool begins;

	while (first < p->from && first < line + LINE_MAX_USED && strchr(" \t<*-'\"\u2022(", text[first]) != NULL)
		first++;
	begins = first == p->from;
	while (rest < end && (text[rest] == ' ' || text[rest] == '\t'))
		rest++;
	if (begins && rest == p->end && rest < end && text[rest] == ':')
		return RANK_COLON;
	if (begins && is_sender(text, line))
		return RANK_NONE;
	if (begins && (rest == end || (strchr(".,;", text[rest]) != NULL && rest + 1 == end)))
		return RANK_ALONE;
	/* "<addr> (reason: ...)", "addr on Thu ...", "<addr>... User unknown". */
	if (begins && (text[rest] == '(' || text[rest] == '.' || text[rest] == ':' || rest > p->end))
		return RANK_LINE;
	/* "smtp:addr", "Name <addr>" alone, "Name (addr)". */
	if (p->from > line && (text[p->from - 1] == '<' || text[p->from - 1] == '(') && rest == end && p->end > p->to &&
	    p->from - first < 60 && memchr(text + first, ':', p->from - first) == NULL && !span_has(text, line, p->from,
	    (const char *const[]){ "from", " by ", "sender", "contact", NULL }))
		return RANK_LINE;
	if (reply_at(text, len, first) > 0 && first < p->from)
		return RANK_REPLY;
	return rank_by_words(text, line, p->from);
}

static bool
same(const char *text, const struct place *p, const char *address)
{
	size_t len = p->to - p->from;

	return address != NULL && strlen(address) == len && strncasecmp(text + p->from, address, len) == 0;
}

/* Those whose name says that they are not who was written to: only at the best places. */
static bool
is_office(const char *text, const struct place *p)
{
	static const char *const names[] = { "postmaster@", "mailer-daemon@", "abuse@", "support@", "helpdesk@",
		"admin@", "hostmaster@", "noreply@", "no-reply@", "webmaster@", NULL };

	for (size_t i = 0; names[i] != NULL; i++)
		if (p->to - p->from > strlen(names[i]) && strncasecmp(text + p->from, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static void
places_find(struct places *all, const char *text, size_t len, const char *const own[], unsigned n_own)
{
	size_t line = 0;
	unsigned n_seen = 0;

	all->p = xcalloc(PLACES_MAX, sizeof(*all->p));
	all->n = 0;
	all->has_reply = dsnp_find_reply(text, len, &all->reply_from, &all->reply_to);
	(void)dsnp_find_status(text, len, all->status);
	for (size_t at = 0; at < len && n_seen < PLACES_MAX; at++) {
		struct place *p = &all->p[all->n];

		if (text[at] == '\n')
			line = at + 1;
		if (text[at] != '@' || !address_around(text, len, at, p))
			continue;
		n_seen++;
		at = p->to - 1;
		p->rank = rank_of(text, len, line, p);
		if (p->rank < RANK_LINE && is_office(text, p))
			p->rank = RANK_NONE;
		for (unsigned i = 0; i < n_own; i++)
			if (same(text, p, own[i]))
				p->rank = p->rank >= RANK_ALONE ? RANK_PHRASE : RANK_NONE;
		if (p->rank != RANK_NONE)
			all->n++;
	}
}

char *
dsnp_first_address(const char *text)
{
	size_t len = strlen(text);
	struct place p;

	for (size_t at = 0; at < len; at++)
		if (text[at] == '@' && address_around(text, len, at, &p))
			return mime_clean(text + p.from, p.to - p.from, DSN_MAX_ADDRESS);
	return NULL;
}

/* ---- reasons ---- */

/* "host mx.example [192.0.2.1] said:", "mx.example does not like recipient" before the reply. */
static char *
find_remote(const char *text, size_t from, size_t to)
{
	static const char *const words[] = { "host", "server", "connected to", "talking to", "from", NULL };

	for (size_t at = from; at < to; at++) {
		for (unsigned i = 0; words[i] != NULL; i++) {
			size_t n = strlen(words[i]), name = at + n, end;

			if (to - at <= n || (at > 0 && isalpha((unsigned char)text[at - 1])) ||
			    strncasecmp(text + at, words[i], n) != 0)
				continue;
			while (name < to && strchr(" \t\n", text[name]) != NULL)
				name++;
			if (name == at + n)
				continue;
			end = name;
			while (end < to && end - name < DOMAIN_MAX && (is_domain_char(text[end]) || text[end] == ':'))
				end++;
			while (end > name && strchr(".:", text[end - 1]) != NULL)
				end--;
			if (end > name + 3 && memchr(text + name, '.', end - name) != NULL)
				return mime_clean(text + name, end - name, DSN_MAX_TEXT);
		}
	}
	return NULL;
}

/* Fills what is missing from a reason: text[begin..end), found in the text from `from` on. */
static void
take_reason(struct dsn_report_rcpt *rcpt, const char *text, size_t from, size_t begin, size_t end)
{
	if (*rcpt->status == '\0')
		(void)dsnp_find_status(text + begin, end - begin, rcpt->status);
	if (rcpt->remote_mta == NULL)
		rcpt->remote_mta = find_remote(text, begin - from > LINE_MAX_USED ? begin - LINE_MAX_USED : from,
		    begin);
	/* The closing of what the reply was found in. */
	while (end > begin && (strchr(" \t\n\"'<", text[end - 1]) != NULL ||
	    (text[end - 1] == '>' && memchr(text + begin, '<', end - begin) == NULL)))
		end--;
	if (rcpt->diagnostic == NULL && end > begin)
		rcpt->diagnostic = mime_clean(text + begin, end - begin, DSN_MAX_DIAGNOSTIC);
}

/* A reply between from and to. */
static bool
reason_reply(struct dsn_report_rcpt *rcpt, const char *text, size_t from, size_t to)
{
	size_t begin, end;

	if (!dsnp_find_reply(text + from, to - from, &begin, &end))
		return false;
	take_reason(rcpt, text, from, from + begin, from + end);
	return true;
}

/* The first paragraph between from and to. */
static void
reason_prose(struct dsn_report_rcpt *rcpt, const char *text, size_t from, size_t to)
{
	while (from < to && strchr(" \t\n:.-,;", text[from]) != NULL)
		from++;
	if (from < to)
		take_reason(rcpt, text, from, from, paragraph_end(text, to, from, DSN_MAX_DIAGNOSTIC));
}

/* The first place from `from` on that is of the same rank and another address; NULL. */
static const struct place *
other_place(const struct places *all, const struct place *p, const struct place *from, const char *text)
{
	size_t len = p->to - p->from;

	for (const struct place *q = from; q < all->p + all->n; q++)
		if (q->rank == p->rank &&
		    !(q->to - q->from == len && strncasecmp(text + q->from, text + p->from, len) == 0))
			return q;
	return NULL;
}

static size_t
least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static bool
is_known(const struct dsn_report *r, const char *text, const struct place *p)
{
	for (unsigned i = 0; i < r->n_rcpts; i++)
		if (same(text, p, r->rcpts[i].address))
			return true;
	return false;
}

/* Recipient of place i with its reason: beside the address, else the first reply anywhere, else the prose beside it. */
static void
add_place(struct dsn_report *r, const struct notice *t, const struct places *all, unsigned i)
{
	const struct place *p = &all->p[i];
	struct dsn_report_rcpt *rcpt = dsnp_rcpt_add(r);
	const struct place *next = other_place(all, p, p + 1, t->text);
	bool is_one_of_several = other_place(all, p, all->p, t->text) != NULL;
	size_t end = least(t->original, p->end + ABOUT_MAX), line = p->from;

	if (rcpt == NULL)
		return;
	rcpt->address = mime_clean(t->text + p->from, p->to - p->from, DSN_MAX_ADDRESS);
	while (line > 0 && p->from - line < LINE_MAX_USED && t->text[line - 1] != '\n')
		line--;
	if (next != NULL && next->from < end)
		end = next->from > p->end ? next->from : p->end; /* "a@b.example'c@d.example" */
	if ((p->rank <= RANK_REPLY || p->rank == RANK_RCPT_TO) && reason_reply(rcpt, t->text, line, end))
		return;
	if (!reason_reply(rcpt, t->text, p->end, end)) {
		/* What stands beside one of several is its own; a reply elsewhere would be another's. */
		if (p->rank == RANK_COLON || is_one_of_several)
			reason_prose(rcpt, t->text, p->end, end);
		if (rcpt->diagnostic == NULL && all->has_reply)
			take_reason(rcpt, t->text, 0, all->reply_from, all->reply_to);
		else if (rcpt->diagnostic == NULL)
			reason_prose(rcpt, t->text, p->end, end);
	}
	if (*rcpt->status == '\0' && !dsnp_find_status(t->text + p->end, end - p->end, rcpt->status) &&
	    !is_one_of_several)
		memcpy(rcpt->status, all->status, sizeof(rcpt->status));
}

/* From a header: "a@b, c@d". */
static void
add_failed(struct dsn_report *r, const struct notice *t, const struct places *all, const char *failed)
{
	size_t len = strlen(failed);
	struct place p;

	for (size_t at = 0; at < len; at++) {
		unsigned best = all->n;
		char *address;

		if (failed[at] != '@' || !address_around(failed, len, at, &p))
			continue;
		at = p.to - 1;
		if (is_known(r, failed, &p))
			continue;
		address = mime_clean(failed + p.from, p.to - p.from, DSN_MAX_ADDRESS);
		for (unsigned i = 0; i < all->n; i++)
			if (same(t->text, &all->p[i], address) &&
			    (best == all->n || all->p[i].rank > all->p[best].rank))
				best = i;
		if (best < all->n)
			add_place(r, t, all, best);
		else {
			struct dsn_report_rcpt *rcpt = dsnp_rcpt_add(r);

			if (rcpt != NULL) {
				rcpt->address = xstrdup(address);
				if (all->has_reply)
					take_reason(rcpt, t->text, 0, all->reply_from, all->reply_to);
			}
		}
		free(address);
	}
}

void
dsnp_text_rcpts(struct dsn_report *r, const struct notice *t, const char *failed, const char *const own[],
    unsigned n_own)
{
	struct places all;
	enum rank best = RANK_NONE;

	places_find(&all, t->text, t->original, own, n_own);
	if (failed != NULL)
		add_failed(r, t, &all, failed);
	if (r->n_rcpts == 0) {
		for (unsigned i = 0; i < all.n; i++)
			if (all.p[i].rank > best)
				best = all.p[i].rank;
		for (unsigned i = 0; i < all.n; i++) {
			if (all.p[i].rank != best || is_known(r, t->text, &all.p[i]))
				continue;
			add_place(r, t, &all, i);
			/* In running text the first is meant; the others explain. */
			if (best <= RANK_PHRASE)
				break;
		}
	}
	free(all.p);
}

void
dsnp_text_reasons(struct dsn_report *r, const struct notice *t)
{
	size_t from, to;

	/* Of several recipients it cannot be told whose it is. */
	if (r->n_rcpts == 1 && r->rcpts[0].diagnostic == NULL && dsnp_find_reply(t->text, t->original, &from, &to))
		take_reason(&r->rcpts[0], t->text, 0, from, to);
}
