/* DATA and BDAT (RFC 5321 4.1.1.4, RFC 3030): two ways into the same content path. Octets are hostile, and so is their
 * pace. A chunk that is refused is still read to its announced end, because what follows it is commands; a chunk whose
 * length cannot be read leaves no such end, and the connection with it. */
#include <string.h>
#include <strings.h>

#include "smtpd/session_private.h"

#define DISCARD_SLACK (1 << 20)
#define RATE_AFTER_MS 30000

bool
data_is_too_slow(struct session *s)
{
	const struct params *p = s->worker->params;
	int64_t elapsed = loop_now(s->worker->loop) - s->tx.data_start;

	if (elapsed > p->smtpd_data_time_limit) {
		reply_drop(s, PHASE_DOT, "421 4.4.2 The message takes too long");
		return true;
	}
	if (p->smtpd_data_min_rate > 0 && elapsed > RATE_AFTER_MS &&
	    s->tx.data_octets < (uint64_t)(elapsed / 1000 * p->smtpd_data_min_rate)) {
		reply_drop(s, PHASE_DOT, "421 4.4.2 The message comes too slowly");
		return true;
	}
	return false;
}

/* All input was used: the next piece has its own time, within the time of the whole. */
static void
rearm(struct session *s)
{
	int64_t left = s->tx.data_start + s->worker->params->smtpd_data_time_limit - loop_now(s->worker->loop) + 1;
	int64_t ms = session_command_timeout(s);

	io_timeout(s->io, left < ms ? left : ms);
}

static bool
discards_too_much(struct session *s)
{
	uint64_t limit = (uint64_t)s->worker->params->message_size_limit + DISCARD_SLACK;

	if (s->tx.content.discarded <= limit)
		return false;
	reply_drop(s, PHASE_DOT, content_error_reply(s->tx.content.error));
	return true;
}

static const char *
missing(const struct session *s)
{
	if (s->tx.env == NULL)
		return "503 5.5.1 Send MAIL first";
	if (s->tx.env->n_rcpts == 0)
		return s->tx.n_refused > 0 ? "554 5.5.1 No valid recipients" : "503 5.5.1 Send RCPT first";
	return NULL;
}

void
cmd_data(struct session *s, const char *args)
{
	const char *line = missing(s);

	if (*args != '\0')
		line = "501 5.5.4 Syntax: DATA";
	else if (s->tx.is_bdat || s->tx.is_bdat_failed)
		line = "503 5.5.1 DATA and BDAT do not mix";
	if (line != NULL) {
		reply_reject(s, PHASE_DATA, NULL, line);
		return;
	}
	tx_content_begin(s);
	session_set_state(s, ST_DATA);
	reply_plain(s, "354 End data with <CR><LF>.<CR><LF>");
}

bool
data_step(struct session *s)
{
	struct evbuffer *in = io_input(s->io);
	struct evbuffer_iovec v;
	bool is_end = false;
	size_t used;

	while (evbuffer_get_length(in) > 0 && evbuffer_peek(in, -1, NULL, &v, 1) > 0) {
		used = content_data(&s->tx.content, v.iov_base, v.iov_len, &is_end);
		evbuffer_drain(in, used);
		s->tx.data_octets += used;
		if (is_end) {
			tx_finish(s);
			return true;
		}
		if (!tx_stream(s) || discards_too_much(s))
			return false;
	}
	if (!data_is_too_slow(s))
		rearm(s);
	return false;
}

/* "BDAT 100", "BDAT 100 LAST". 0 or -1. */
static int
parse_bdat(const char *args, uint64_t *n_r, bool *is_last_r)
{
	uint64_t n = 0;
	const char *p = args;

	for (; *p >= '0' && *p <= '9'; p++) {
		if (n > (UINT64_MAX >> 1) / 10)
			return -1;
		n = n * 10 + (uint64_t)(*p - '0');
	}
	if (p == args || (*p != '\0' && *p != ' '))
		return -1;
	while (*p == ' ')
		p++;
	*n_r = n;
	*is_last_r = strcasecmp(p, "LAST") == 0;
	return *p == '\0' || *is_last_r ? 0 : -1;
}

/* A reason to refuse the chunk before its first octet, or NULL. */
static const char *
refusal(const struct session *s, uint64_t n)
{
	const struct tx *tx = &s->tx;
	const char *line = s->helo == NULL ? "503 5.5.1 Send HELO or EHLO first" : missing(s);
	uint64_t limit = (uint64_t)s->worker->params->message_size_limit;

	if (line != NULL)
		return line;
	if (tx->is_bdat_failed)
		return "503 5.5.1 A chunk was refused: send RSET";
	if (n > limit || (tx->is_bdat && tx->content.size + n > limit))
		return "552 5.3.4 Message is too big";
	return NULL;
}

void
cmd_bdat(struct session *s, const char *args)
{
	struct tx *tx = &s->tx;
	bool is_last;
	uint64_t n;

	if (parse_bdat(args, &n, &is_last) == -1) {
		reply_drop(s, PHASE_DATA, "521 5.5.4 Bad chunk size, closing connection");
		return;
	}
	if ((n == 0 && !is_last && !reply_junk(s)) || (tx->is_bdat && data_is_too_slow(s)))
		return;
	tx->chunk_reply = refusal(s, n);
	if (tx->chunk_reply != NULL && n > (uint64_t)s->worker->params->message_size_limit + DISCARD_SLACK) {
		reply_drop(s, PHASE_DATA, tx->chunk_reply);
		return;
	}
	tx->chunk_left = n;
	tx->is_bdat_last = is_last;
	if (tx->chunk_reply == NULL && !tx->is_bdat) {
		tx_content_begin(s);
		tx->is_bdat = true;
	} else if (tx->data_start == 0) {
		tx->data_start = loop_now(s->worker->loop);
	}
	session_set_state(s, ST_BDAT);
}

static void
chunk_done(struct session *s)
{
	struct tx *tx = &s->tx;
	const char *line = tx->chunk_reply;

	session_set_state(s, ST_COMMAND);
	if (line == NULL && tx->content.error != CONTENT_GOOD)
		line = content_error_reply(tx->content.error);
	if (line != NULL) {
		reply_reject(s, PHASE_DATA, NULL, line);
		if (tx->is_bdat_last || tx->env == NULL) {
			tx_reset(s);
			return;
		}
		/* Sender and recipients stay only to be refused until RSET. */
		tx->is_bdat_failed = true;
		tx->chunk_reply = NULL;
		if (tx->large != NULL)
			spool_large_abandon(&tx->large);
		if (tx->has_content)
			content_clear(&tx->content);
		tx->has_content = false;
		return;
	}
	if (tx->is_bdat_last) {
		content_chunks_end(&tx->content);
		tx_finish(s);
	} else {
		reply_plain(s, "250 2.0.0 Ok");
	}
}

bool
bdat_step(struct session *s)
{
	struct evbuffer *in = io_input(s->io);
	struct tx *tx = &s->tx;
	struct evbuffer_iovec v;
	size_t n;

	while (tx->chunk_left > 0 && evbuffer_get_length(in) > 0 && evbuffer_peek(in, -1, NULL, &v, 1) > 0) {
		n = v.iov_len < tx->chunk_left ? v.iov_len : (size_t)tx->chunk_left;
		if (tx->chunk_reply == NULL)
			content_chunk(&tx->content, v.iov_base, n);
		evbuffer_drain(in, n);
		tx->chunk_left -= n;
		tx->data_octets += n;
		if (tx->has_content && !tx_stream(s))
			return false;
	}
	if (tx->chunk_left > 0) {
		if (!data_is_too_slow(s))
			rearm(s);
		return false;
	}
	chunk_done(s);
	return true;
}
