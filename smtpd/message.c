/* Turns the content and the envelope of a finished transaction into a message for the spool (worker role): trace
 * header, tenant and campaign, envelope sender, flags for the next hop. Everything that comes from the header block is
 * a stranger's and is validated here, before it becomes part of an envelope that other processes read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/author.h"
#include "mail/token.h"

#include "smtpd/headers.h"

void
message_free(struct message **mp)
{
	struct message *m = *mp;

	if (m == NULL)
		return;
	if (m->large != NULL)
		panic("message freed with its segment attached");
	wbuf_clear(&m->body);
	wbuf_clear(&m->head);
	wbuf_clear(&m->env);
	envelope_free(&m->envelope);
	free(m);
	*mp = NULL;
}

void
message_seal(struct message *m, bool note_author)
{
	char line[AUTHOR_MAX];

	if (note_author) {
		author_write((const char *)m->head.p, m->head.len, line);
		envelope_set_meta(m->envelope, AUTHOR_META, line);
	}
	envelope_encode(m->envelope, &m->env);
	m->rec.envelope_len = (uint32_t)m->env.len;
}

uint64_t
message_content_len(const struct message *m)
{
	return m->rec.headers_len + m->rec.body_len;
}

static void
replace(char **p, const char *value)
{
	free(*p);
	*p = value != NULL ? xstrdup(value) : NULL;
}

/* Who pays for it: the user's binding first, then the header, which counts only from those whom we relay for. */
static const char *
bind_tenant(const struct message_context *c, const struct header_facts *f, struct envelope *e)
{
	const char *bound = c->user != NULL ? c->user->tenant : NULL;
	char campaign[CAMPAIGN_MAX + 1];

	if (!c->is_trusted)
		return NULL;
	if (bound != NULL) {
		if (f->has_tenant && (f->has_two_tenants || strcmp(f->tenant, bound) != 0) &&
		    c->params->tenant_mismatch == TENANT_REJECT)
			return "550 5.7.1 The tenant header names a tenant that is not yours";
		replace(&e->tenant, bound);
	} else if (f->has_two_tenants) {
		return "550 5.6.0 The tenant headers name different tenants";
	} else if (f->has_tenant) {
		if (!tenant_valid(f->tenant))
			return "550 5.6.0 The tenant header does not hold a valid tenant name";
		replace(&e->tenant, f->tenant);
	}
	if (f->has_campaign && *f->campaign != '\0') {
		memcpy(campaign, f->campaign, sizeof campaign);
		campaign_clean(campaign);
		replace(&e->campaign, campaign);
	}
	return NULL;
}

/* Some applications leave the address for bounces only in the Return-Path field. What does not parse, or is not the
 * user's to use, leaves the sender of the MAIL command in place. */
static void
take_return_path(const struct message_context *c, const struct header_facts *f, struct envelope *e)
{
	char address[ADDRESS_MAX], copy[ADDRESS_MAX + 3];
	bool want = c->params->envelope_from_return_path;
	size_t len;

	if (c->user != NULL && c->user->return_path != RETURN_PATH_DEFAULT)
		want = c->user->return_path == RETURN_PATH_YES;
	if (!want || !c->is_trusted || !f->has_return_path || *e->sender == '\0')
		return;
	len = strlen(f->return_path);
	if (len > 2 && f->return_path[0] == '<' && f->return_path[len - 1] == '>') {
		memcpy(copy, f->return_path + 1, len - 2);
		copy[len - 2] = '\0';
	} else {
		memcpy(copy, f->return_path, len + 1);
	}
	if (address_parse(copy, c->is_utf8, address) == -1)
		return;
	if (c->user != NULL && !user_may_send_as(c->user, address))
		return;
	replace(&e->sender, address);
}

/* Inserts before the blank line that ends the block, if there is one. */
static void
add_field(struct wbuf *head, bool has_blank, const char *text)
{
	if (has_blank)
		head->len -= 2;
	wbuf_raw(head, text, strlen(text));
	if (has_blank)
		wbuf_raw(head, "\r\n", 2);
}

/* RFC 6409 section 8: a submission server completes what the composer left out. */
static void
complete_header(const struct message_context *c, const struct msgid *id, struct header_facts *f, bool is_single,
    bool has_blank,
    struct wbuf *head)
{
	char text[MESSAGE_ID_MAX + 32], date[40], left[TOKEN_TEXT > MSGID_HEX ? TOKEN_TEXT : MSGID_HEX];
	struct envid eid = { .msg = *id, .rcpt = is_single ? 0 : TOKEN_MANY };

	if (!f->has_date) {
		headers_date(c->now, date);
		snprintf(text, sizeof text, "Date: %s\r\n", date);
		add_field(head, has_blank, text);
	}
	if (!f->has_message_id) {
		if (c->token != NULL)
			token_make(c->token, &eid, left);
		else
			msgid_hex(id, left);
		snprintf(f->message_id, sizeof f->message_id, "<%s@%s>", left, c->params->myhostname);
		f->has_message_id = true;
		snprintf(text, sizeof text, "Message-ID: %s\r\n", f->message_id);
		add_field(head, has_blank, text);
	}
}

/* RFC 8058, for tenants so configured. The URI must tell who it is that wants no more of it (section 3.1), so what goes
 * to several people in one copy gets none. False: not now, there is no key for the token. */
static bool
add_unsubscribe(const struct message_context *c, const struct header_facts *f, const struct envelope *e,
    bool has_blank, struct wbuf *head)
{
	const struct policy_unsubscribe *u = c->policy != NULL ? policy_unsubscribe_of(c->policy, e->tenant) : NULL;
	struct envid eid = { .msg = e->id, .rcpt = 0 };
	char token[TOKEN_TEXT], *url, *mailto = NULL, *text;

	if (u == NULL || e->n_rcpts != 1)
		return true;
	if (!f->has_unsubscribe) {
		if (c->token == NULL)
			return false;
		token_make(c->token, &eid, token);
		url = policy_unsubscribe_fill(u->url, token);
		if (u->mailto != NULL)
			mailto = policy_unsubscribe_fill(u->mailto, token);
		text = xasprintf("List-Unsubscribe: <%s>%s%s%s\r\n", url, mailto != NULL ? ",\r\n\t<mailto:" : "",
		    mailto != NULL ? mailto : "", mailto != NULL ? ">" : "");
		add_field(head, has_blank, text);
		free(text);
		free(url);
		free(mailto);
	}
	if (!f->has_unsubscribe_post && (!f->has_unsubscribe || (u->complete && f->has_unsubscribe_https)))
		add_field(head, has_blank, "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n");
	return true;
}

static uint32_t
flags_of(const struct message_context *c, const struct content *content, const struct envelope *e)
{
	uint32_t flags = 0, i;
	bool needs = content->head_has_8bit || !is_ascii(e->sender, strlen(e->sender));

	if (content->has_8bit)
		flags |= MSG_8BIT;
	if (content->has_dots)
		flags |= MSG_HAS_DOTS;
	if (content->added_eol)
		flags |= MSG_NO_EOL;
	for (i = 0; i < e->n_rcpts && !needs; i++)
		needs = !is_ascii(e->rcpts[i].address, strlen(e->rcpts[i].address));
	if (c->is_utf8 && needs)
		flags |= MSG_SMTPUTF8;
	return flags;
}

static void
fill_envelope(const struct message_context *c, const struct header_facts *f, struct envelope *e)
{
	e->received = c->now;
	replace(&e->auth_user, c->user != NULL ? c->user->name : NULL);
	replace(&e->client, c->client);
	replace(&e->helo, c->helo);
	replace(&e->session, c->session);
	replace(&e->message_id, f->has_message_id && *f->message_id != '\0' ? f->message_id : NULL);
}

static struct message *
assemble(struct content *content, struct envelope **ep, struct wbuf *head)
{
	struct message *m = xcalloc(1, sizeof *m);

	m->body = content->body;
	wbuf_init(&content->body);
	m->head = *head;
	m->envelope = *ep;
	*ep = NULL;
	wbuf_init(&m->env);
	m->rec.id = m->envelope->id;
	m->rec.body_len = m->body.len;
	m->rec.headers_len = (uint32_t)m->head.len;
	m->rec.flags = m->envelope->flags;
	m->rec.n_rcpts = m->envelope->n_rcpts;
	return m;
}

struct draft {
	struct header_facts facts;
	struct wbuf head;      /* the block as it will be written, trace first */
	struct policy_msg msg;
};

struct draft *
draft_new(void)
{
	return xcalloc(1, sizeof(struct draft));
}

static void
draft_clear(struct draft *d)
{
	wbuf_clear(&d->head);
	policy_msg_clear(&d->msg);
}

void
draft_free(struct draft **dp)
{
	if (*dp == NULL)
		return;
	draft_clear(*dp);
	free(*dp);
	*dp = NULL;
}

struct policy_msg *
draft_msg(struct draft *d)
{
	return &d->msg;
}

static const char *
take_schedule(const struct message_context *c, const struct header_facts *f, struct envelope *e)
{
	static char line[256];
	const char *err = "there are two of them";
	struct schedule s;

	if (!f->has_schedule || !c->is_trusted)
		return NULL;
	if (f->has_two_schedules || schedule_parse(f->schedule, strlen(f->schedule), c->now, &s, &err) == -1) {
		snprintf(line, sizeof line, "550 5.6.0 Bad %.80s header: %s", c->params->scheduling_header, err);
		return line;
	}
	e->first_attempt = s.first_attempt;
	e->expires = s.expires;
	return NULL;
}

/* Trace and the fields that stay. */
static void
head_write(struct draft *d, const struct message_context *c, const struct envelope *e, const char *block, size_t len)
{
	wbuf_reserve(&d->head, len + 512 + (c->auth != NULL ? c->auth->len : 0));
	if (c->auth != NULL && c->auth->len > 0)
		wbuf_raw(&d->head, c->auth->p, c->auth->len);
	headers_received(c, &e->id, e->n_rcpts == 1 ? e->rcpts[0].address : NULL, &d->head);
	headers_copy(c->params, block, len, &d->facts, &d->head);
}

int
draft_begin(struct draft *d, const struct message_context *c, struct content *content, struct envelope *e,
    const char **reply_r)
{
	if (content->error != CONTENT_GOOD) {
		*reply_r = content_error_reply(content->error);
		return -1;
	}
	msgid_new(&e->id, c->now);
	head_write(d, c, e, (const char *)content->head.p, content->head.len);
	if (d->facts.hops >= c->params->hopcount_limit)
		*reply_r = "554 5.4.6 Too many hops: the message is looping";
	else if ((*reply_r = bind_tenant(c, &d->facts, e)) == NULL)
		*reply_r = take_schedule(c, &d->facts, e);
	if (*reply_r != NULL)
		return -1;
	take_return_path(c, &d->facts, e);
	fill_envelope(c, &d->facts, e);
	return 0;
}

void
draft_content(struct draft *d, const struct content *content)
{
	d->msg.head = content->head.len > 0 ? (const char *)content->head.p : "";
	d->msg.head_len = content->head.len;
	d->msg.body = content->body.p != NULL ? content->body.p : (const uint8_t *)"";
	d->msg.body_len = content->body.len;
}

/* A block that policy has made or chosen. */
static void
head_again(struct draft *d, const struct message_context *c, struct content *content, struct envelope *e)
{
	const char *block = d->msg.head;
	size_t len = d->msg.head_len;

	wbuf_reset(&d->head);
	head_write(d, c, e, block, len);
	replace(&e->message_id, d->facts.has_message_id && *d->facts.message_id != '\0' ? d->facts.message_id : NULL);
	content->head_has_8bit = !is_ascii(block, len);
	content->has_8bit = content->has_8bit || content->head_has_8bit;
	/* A field whose name begins with a dot is a line that is to be stuffed. */
	content->has_dots = content->has_dots || (len > 0 && block[0] == '.') || memmem(block, len, "\n.", 2) != NULL;
}

struct message *
draft_end(struct draft *d, const struct message_context *c, struct content *content, struct envelope **ep,
    const char **reply_r)
{
	struct envelope *e = *ep;
	struct wbuf head;

	if (d->msg.head != NULL && (d->msg.changed & (POLICY_MSG_HEAD | POLICY_MSG_RCPTS)) != 0)
		head_again(d, c, content, e);
	if (c->is_trusted) {
		complete_header(c, &e->id, &d->facts, e->n_rcpts == 1, content->in_body, &d->head);
		replace(&e->message_id, *d->facts.message_id != '\0' ? d->facts.message_id : NULL);
		if (!add_unsubscribe(c, &d->facts, e, content->in_body, &d->head)) {
			*reply_r = "451 4.3.0 The queue is not available, try again later";
			return NULL;
		}
	}
	e->flags = (e->flags & MSG_LARGE) | flags_of(c, content, e);
	head = d->head;
	wbuf_init(&d->head);
	return assemble(content, ep, &head);
}

struct message *
message_new(const struct message_context *c, struct content *content, struct envelope **ep, const char **reply_r)
{
	struct draft d = { .head = { NULL, 0, 0 } };
	struct message *m = NULL;

	if (draft_begin(&d, c, content, *ep, reply_r) == 0)
		m = draft_end(&d, c, content, ep, reply_r);
	draft_clear(&d);
	return m;
}
