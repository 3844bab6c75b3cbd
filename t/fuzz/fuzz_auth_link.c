/* The worker-auth link. First byte: 0, 1 a decoder (what is accepted encodes to the same bytes); 2 the auth role
 * against a worker that sends anything: it answers each question once, and AUTH_OK is no answer to a wrong password;
 * 3 a worker against an auth role that says anything: each asker hears once, or not at all if it has given up. */
#include <crypt.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "smtpd/auth.h"
#include "smtpd/authd.h"
#include "t/fuzz/frames.h"
#include "t/fuzz/turn.h"

#define PASSWORD "secret"
#define ASKERS 4

/* In the place of crypt(3), which is slow on purpose. */
char *
crypt_r(const char *phrase, const char *setting, struct crypt_data *data)
{
	(void)snprintf(data->output, sizeof(data->output), "%s", strcmp(phrase, PASSWORD) == 0 ? setting : "$x$other");
	return data->output;
}

char *
crypt_gensalt_rn(const char *prefix, unsigned long count, const char *rbytes, int nrbytes, char *output, int size)
{
	(void)prefix, (void)count, (void)rbytes, (void)nrbytes;
	(void)snprintf(output, (size_t)size, "$x$unknown");
	return output;
}

static void
decode_ask(const uint8_t *data, size_t size)
{
	struct auth_ask ask;
	struct rbuf r;
	struct wbuf w;

	rbuf_init(&r, data, size);
	if (auth_ask_decode(&r, &ask) == -1) {
		FUZZ_ASSERT(ask.name == NULL && ask.password == NULL);
		return;
	}
	wbuf_init(&w);
	auth_ask_encode(&ask, &w);
	FUZZ_ASSERT(w.len == size && memcmp(w.p, data, size) == 0 && w.len <= AUTH_ASK_MAX);
	wbuf_clear(&w);
	auth_ask_clear(&ask);
}

static void
decode_answer(const uint8_t *data, size_t size)
{
	struct auth_answer answer;
	struct rbuf r;
	struct wbuf w;

	rbuf_init(&r, data, size);
	if (auth_answer_decode(&r, &answer) == -1) {
		FUZZ_ASSERT(answer.user.name == NULL);
		return;
	}
	wbuf_init(&w);
	auth_answer_encode(&answer, &w);
	FUZZ_ASSERT(w.len == size && memcmp(w.p, data, size) == 0 && w.len <= AUTH_ANSWER_MAX);
	wbuf_clear(&w);
	auth_answer_clear(&answer);
}

static struct passwd_file *
users(void)
{
	struct passwd_file *f = xcalloc(1, sizeof(*f));
	const char *err;

	f->v = xcalloc(2, sizeof(*f->v));
	f->n = 2;
	FUZZ_ASSERT(passwd_parse_line("app:$x$1:tenant=t domains=a.example,.b.example rate=5/s "
	    "envelope_from_return_path=yes", &f->v[0], &err) == 1);
	FUZZ_ASSERT(passwd_parse_line("plain:$x$2", &f->v[1], &err) == 1);
	return f;
}

struct worker {
	struct auth_ask ask[256]; /* the last of each id */
	unsigned due[256];
	bool is_raw; /* the frames are not known */
	struct ipc *ipc;
};

static void
on_answer(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct worker *w = arg;
	struct auth_answer a;
	const struct auth_ask *ask = &w->ask[m->id & 0xff];

	(void)ipc;
	FUZZ_ASSERT(auth_answer_decode(&m->body, &a) == 0);
	FUZZ_ASSERT(a.status == AUTH_OK || a.user.tenant == NULL);
	FUZZ_ASSERT(w->is_raw || (m->id < 256 && w->due[m->id]-- > 0));
	if (a.status == AUTH_OK && !w->is_raw && w->due[m->id] == 0 && ask->name != NULL) {
		FUZZ_ASSERT(strcmp(ask->name, a.user.name) == 0);
		FUZZ_ASSERT(ask->kind == AUTH_LOOKUP || strcmp(ask->password, PASSWORD) == 0);
	}
	auth_answer_clear(&a);
}

static const struct ipc_rule answer_rules[] = { { AUTH_ANSWER, false, AUTH_ANSWER_MAX, "ANSWER", on_answer } };

static void
note_ask(struct worker *w, const struct fuzz_frame *f)
{
	struct auth_ask ask;
	struct rbuf r;

	rbuf_init(&r, f->body, f->len);
	if (f->type != AUTH_ASK || auth_ask_decode(&r, &ask) == -1)
		return;
	auth_ask_clear(&w->ask[f->id]);
	w->ask[f->id] = ask;
	if (w->due[f->id]++ > 0) /* which of them is answered first is not known here */
		auth_ask_clear(&w->ask[f->id]);
}

static void
on_role_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct worker *w = arg;

	(void)ipc, (void)why;
	w->ipc = NULL;
}

static void
as_worker(struct fuzz_in *in)
{
	static const struct ipc_ops ops = { answer_rules, 1, on_role_gone };
	struct worker w = { 0 };
	struct loop *loop = loop_new();
	struct authd *d = authd_new(loop, users());
	struct fuzz_fd fd = fuzz_fd_new();
	struct fuzz_frame f;
	int pair[2], ours, i;

	fuzz_socketpair(pair);
	authd_set_worker(d, pair[0]);
	/* Answers are read as a worker reads them, questions go past it. */
	FUZZ_ASSERT((ours = dup(pair[1])) != -1);
	w.ipc = ipc_new(loop, ours, &ops, &w);
	while (fuzz_frame_next(in, &f)) {
		w.is_raw = w.is_raw || f.type == FUZZ_FRAME_RAW;
		note_ask(&w, &f);
		fuzz_frame_send(pair[1], &f, fd.writer);
	}
	shutdown(pair[1], SHUT_WR);
	for (i = 0; i < 8; i++)
		fuzz_turn(loop);
	ipc_close(&w.ipc);
	authd_free(&d);
	loop_free(&loop);
	close(pair[1]);
	fuzz_fd_end(&fd);
	for (i = 0; i < 256; i++)
		auth_ask_clear(&w.ask[i]);
}

struct asker {
	struct auth_request *request;
	bool is_heard, is_gone;
};

static void
on_heard(enum auth_status status, const struct user *user, void *arg)
{
	struct asker *a = arg;

	FUZZ_ASSERT(!a->is_heard && !a->is_gone);
	FUZZ_ASSERT(status >= AUTH_OK && status <= AUTH_BUSY && (user != NULL) == (status == AUTH_OK));
	FUZZ_ASSERT(user == NULL || user->name != NULL);
	a->is_heard = true;
}

static void
as_auth_role(struct fuzz_in *in)
{
	struct asker askers[ASKERS] = { 0 };
	struct loop *loop = loop_new();
	struct auth *auth = auth_new(loop);
	struct fuzz_fd fd = fuzz_fd_new();
	struct fuzz_frame f;
	int pair[2], i;

	fuzz_socketpair(pair);
	auth_set_partner(auth, pair[0]);
	for (i = 0; i < ASKERS; i++)
		askers[i].request = auth_ask(auth, i == 0 ? AUTH_LOOKUP : AUTH_CHECK, "app", PASSWORD, on_heard,
		    &askers[i]);
	fuzz_turn(loop);
	askers[1].is_gone = true;
	auth_cancel(auth, &askers[1].request);
	while (fuzz_frame_next(in, &f))
		fuzz_frame_send(pair[1], &f, fd.writer);
	for (i = 0; i < 4; i++)
		fuzz_turn(loop);
	close(pair[1]);
	fuzz_turn(loop);
	fuzz_turn(loop);
	for (i = 0; i < ASKERS; i++)
		FUZZ_ASSERT(askers[i].is_heard != askers[i].is_gone);
	auth_free(&auth);
	loop_free(&loop);
	fuzz_fd_end(&fd);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };

	log_init("fuzz", LOG_LVL_ERROR);
	switch (fuzz_u8(&in) & 3) {
	case 0: decode_ask(in.p, in.left); break;
	case 1: decode_answer(in.p, in.left); break;
	case 2: as_worker(&in); break;
	default: as_auth_role(&in); break;
	}
	return 0;
}
