/* The SMTP dialogue of sink. A handler of a command returns GO_ON, WAIT (the answer comes later, or TLS starts) or
 * END. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cidr.h"
#include "base/xalloc.h"
#include "t/bench/sink.h"

#define COMMAND_MAX 4096
#define INPUT_MAX (1u << 20)
#define RCPTS_MAX 2000

enum next { GO_ON, WAIT, END };

static void
peer_free(struct peer *p)
{
	timer_cancel(&p->delay);
	limits_leave(p);
	p->sink->stats.now--;
	if (p->body != NULL)
		fclose(p->body);
	io_finish(&p->io, 1000);
	free(p->rcpts);
	free(p);
}

static void
tx_reset(struct peer *p)
{
	p->n_rcpts = 0;
	p->rcpts_len = 0;
	p->sender[0] = '\0';
	p->id[0] = '\0';
	p->sent_at = 0;
	p->crc = 0;
	p->has_crc_told = false;
	p->size = 0;
	p->admitted = false;
}

static void
say(struct peer *p, const char *text)
{
	io_write(p->io, text, strlen(text));
	io_write(p->io, "\r\n", 2);
}

static void
delay_over(void *arg)
{
	struct peer *p = arg;

	if (!p->delayed.drop)
		say(p, p->delayed.text);
	if (p->delayed.close)
		peer_free(p);
	else
		io_resume(p->io);
}

/* The answer that was found, or else success in these words. */
static enum next
answer(struct peer *p, const struct answer *a, const char *success)
{
	if (a->slow_ms > 0) {
		p->delayed = *a;
		if (a->text[0] == '\0')
			snprintf(p->delayed.text, sizeof(p->delayed.text), "%s", success);
		io_pause(p->io);
		timer_set(&p->delay, a->slow_ms);
		return WAIT;
	}
	if (!a->drop)
		say(p, a->text[0] == '\0' ? success : a->text);
	return a->close ? END : GO_ON;
}

static bool
refuses(struct peer *p, const struct answer *a)
{
	if (a->text[0] == '\0' && !a->drop)
		return false;
	p->sink->stats.refused[a->kind]++;
	return true;
}

static enum next
syntax(struct peer *p, const char *text)
{
	p->sink->stats.refused[REF_SYNTAX]++;
	io_write(p->io, text, strlen(text));
	return GO_ON;
}

static bool
extract_path(const char *s, char *out, size_t outsize)
{
	const char *lt = strchr(s, '<'), *gt = lt == NULL ? NULL : strrchr(lt, '>');

	if (gt == NULL || (size_t)(gt - lt) > outsize)
		return false;
	memcpy(out, lt + 1, (size_t)(gt - lt) - 1);
	out[gt - lt - 1] = '\0';
	return true;
}

static enum next
cmd_ehlo(struct peer *p)
{
	struct answer a = { .kind = REF_RULE };
	bool tls = p->sink->tls != NULL && !io_is_tls(p->io);

	script_answer(p->sink, AT_EHLO, p->listener->text, "", "", &a);
	(void)refuses(p, &a);
	if (p->sink->plain_ehlo)
		return answer(p, &a, "250 sink.example");
	return answer(p, &a, tls ? "250-sink.example\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-STARTTLS\r\n"
	    "250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES" :
	    "250-sink.example\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n"
	    "250 ENHANCEDSTATUSCODES");
}

static enum next
cmd_mail(struct peer *p, const char *arg)
{
	struct answer a = { .kind = REF_RULE };

	tx_reset(p);
	if (!extract_path(arg, p->sender, sizeof(p->sender)))
		return syntax(p, "501 5.1.7 bad sender\r\n");
	if (limits_mail(p, &a))
		script_answer(p->sink, AT_MAIL, p->listener->text, p->sender, "", &a);
	(void)refuses(p, &a);
	return answer(p, &a, "250 2.1.0 ok");
}

static void
rcpt_add(struct peer *p, const char *addr)
{
	size_t n = strlen(addr) + 1;

	if (p->rcpts_len + n > p->rcpts_size) {
		p->rcpts_size = (p->rcpts_len + n) * 2;
		p->rcpts = xreallocarray(p->rcpts, p->rcpts_size, 1);
	}
	memcpy(p->rcpts + p->rcpts_len, addr, n);
	p->rcpts_len += n;
	p->n_rcpts++;
}

static enum next
cmd_rcpt(struct peer *p, const char *arg)
{
	struct answer a = { .kind = REF_RULE };
	char addr[512];

	if (!extract_path(arg, addr, sizeof(addr)) || p->n_rcpts == RCPTS_MAX)
		return syntax(p, "501 5.1.3 bad recipient\r\n");
	script_answer(p->sink, AT_RCPT, p->listener->text, addr, "", &a);
	if (a.text[0] == '\0' && !a.drop)
		(void)limits_rcpt(p, addr, &a);
	if (!refuses(p, &a))
		rcpt_add(p, addr);
	return answer(p, &a, "250 2.1.5 ok");
}

static enum next
cmd_data(struct peer *p)
{
	struct answer a = { .kind = REF_RULE };

	if (p->n_rcpts == 0)
		return syntax(p, "554 5.5.1 no valid recipients\r\n");
	script_answer(p->sink, AT_DATA, p->listener->text, p->rcpts, "", &a);
	if (!refuses(p, &a))
		content_start(p);
	return answer(p, &a, "354 go ahead");
}

static void
ledger_write(struct peer *p)
{
	struct sink *s = p->sink;
	const char *rcpt = p->rcpts;
	long long now = wall_ms();

	if (s->ledger == NULL)
		return;
	for (unsigned i = 0; i < p->n_rcpts; i++, rcpt += strlen(rcpt) + 1)
		line_file_printf(s->ledger, "%lld.%03lld %s %s <%s> <%s> %s %zu %08x %d\n", now / 1000, now % 1000,
		    p->client, p->listener->text, p->sender, rcpt, p->id[0] != '\0' ? p->id : "-", p->size, p->crc,
		    io_is_tls(p->io));
}

static enum next
end_of_data(struct peer *p)
{
	struct answer a = { .kind = REF_RULE };

	p->in_data = false;
	if (p->body != NULL)
		fclose(p->body);
	p->body = NULL;
	a.slow_ms = p->sink->delay_ms;
	script_answer(p->sink, AT_DOT, p->listener->text, p->rcpts, p->id, &a);
	if (!refuses(p, &a)) {
		ledger_write(p);
		stats_taken(p);
		limits_taken(p);
		snprintf(a.text, sizeof(a.text), "250 2.0.0 ok: taken <%.200s>", p->rcpts);
	}
	if (a.after) {
		a.drop = true;
		p->sink->stats.refused[a.kind]++;
	}
	tx_reset(p);
	return answer(p, &a, "");
}

static enum next
cmd_starttls(struct peer *p)
{
	io_write(p->io, "220 2.0.0 go ahead\r\n", 20);
	return io_tls_accept(p->io, p->sink->tls) == -1 ? END : WAIT;
}

static enum next
command(struct peer *p, const char *line)
{
	if (strncasecmp(line, "MAIL FROM:", 10) == 0)
		return cmd_mail(p, line + 10);
	if (strncasecmp(line, "RCPT TO:", 8) == 0)
		return cmd_rcpt(p, line + 8);
	if (strcasecmp(line, "DATA") == 0)
		return cmd_data(p);
	if (strncasecmp(line, "EHLO", 4) == 0)
		return cmd_ehlo(p);
	if (strcasecmp(line, "STARTTLS") == 0 && p->sink->tls != NULL)
		return cmd_starttls(p);
	if (strcasecmp(line, "RSET") == 0)
		tx_reset(p);
	if (strcasecmp(line, "NOOP") == 0)
		p->sink->stats.noops++;
	if (strcasecmp(line, "QUIT") == 0) {
		io_write(p->io, "221 2.0.0 bye\r\n", 15);
		return END;
	}
	io_write(p->io, "250 2.0.0 ok\r\n", 14);
	return GO_ON;
}

static void
peer_on_data(struct peer *p)
{
	struct evbuffer *in = io_input(p->io);
	enum next next = GO_ON;
	char line[COMMAND_MAX];

	while (next == GO_ON) {
		if (p->in_data) {
			if (!content_read(p))
				break;
			next = end_of_data(p);
		} else if (line_take(in, line, sizeof(line)))
			next = command(p, line);
		else
			break;
	}
	/* A line without end. */
	if (next == END || (next == GO_ON && evbuffer_get_length(in) >= INPUT_MAX))
		peer_free(p);
}

static void
peer_on_io(struct io *io, enum io_event ev, void *arg)
{
	struct peer *p = arg;

	switch (ev) {
	case IO_DATA:
		peer_on_data(p);
		break;
	case IO_TLS_READY:
		p->sink->stats.handshakes++;
		if (SSL_session_reused(io_ssl(io)) == 1)
			p->sink->stats.resumed++;
		break;
	case IO_EOF:
	case IO_ERROR:
	case IO_TIMEOUT:
		peer_free(p);
		break;
	default:
		break;
	}
}

void
peer_new(struct listener *l, int fd, const struct sockaddr *client)
{
	struct peer *p = xcalloc(1, sizeof(*p));
	struct answer a = { .kind = REF_RULE };
	struct stats *t = &l->sink->stats;

	p->sink = l->sink;
	p->listener = l;
	sockaddr_text(client, p->client);
	p->io = io_new(l->sink->loop, fd, peer_on_io, p);
	io_input_limit(p->io, INPUT_MAX);
	timer_init(&p->delay, l->sink->loop, delay_over, p);
	t->connections++;
	if (++t->now > t->peak)
		t->peak = t->now;
	if (limits_connect(p, l->domain, &a))
		script_answer(p->sink, AT_BANNER, l->text, "", "", &a);
	(void)refuses(p, &a);
	if (answer(p, &a, "220 sink.example ESMTP") == END)
		peer_free(p);
}
