/* The worker-key link. First byte: 0, 1 a decoder (what is accepted encodes to the same bytes); 2 the key role against
 * a worker that sends anything: each question has one answer, and with RSA nothing is signed that is neither a padded
 * DigestInfo nor a message of PSS; 3 a worker against a key role that says anything. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "smtpd/key_client.h"
#include "smtpd/keyd.h"
#include "t/fuzz/frames.h"
#include "t/fuzz/turn.h"

static EVP_PKEY *key;
static uint8_t id[KEY_ID];

static void
decode_ask(const uint8_t *data, size_t size)
{
	struct key_ask ask;
	struct rbuf r;
	struct wbuf w;

	rbuf_init(&r, data, size);
	if (key_ask_decode(&r, &ask) == -1)
		return;
	wbuf_init(&w);
	key_ask_encode(&ask, &w);
	FUZZ_ASSERT(w.len == size && memcmp(w.p, data, size) == 0 && w.len <= KEY_ASK_MAX);
	wbuf_clear(&w);
}

static void
decode_answer(const uint8_t *data, size_t size)
{
	struct slice signature;
	struct rbuf r;
	struct wbuf w;

	rbuf_init(&r, data, size);
	if (key_answer_decode(&r, &signature) == -1)
		return;
	wbuf_init(&w);
	key_answer_encode(signature.base, signature.len, &w);
	FUZZ_ASSERT(w.len == size && memcmp(w.p, data, size) == 0 && w.len <= KEY_ANSWER_MAX);
	wbuf_clear(&w);
}

static char file[] = "/tmp/fuzz-key-XXXXXX";

static void
file_remove(void)
{
	unlink(file);
}

/* One key for all runs, by way of a file, as the role reads it. */
static struct keyd *
role_new(struct loop *loop)
{
	char *name = file;
	struct conf_strs list = { &name, 1 };
	struct keyd *d;
	char *err;
	FILE *f;

	if (key == NULL) {
		key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);
		FUZZ_ASSERT(key != NULL && key_id(key, id) && (f = fdopen(mkstemp(file), "w")) != NULL);
		FUZZ_ASSERT(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(f) == 0);
		atexit(file_remove);
	}
	d = keyd_new(loop, &list, &err);
	FUZZ_ASSERT(d != NULL);
	return d;
}

struct worker {
	unsigned n_answers;
	struct ipc *ipc;
};

/* What was signed, by the public key: PKCS #1 padding, or the end of PSS. */
static void
on_answer(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct worker *w = arg;
	struct slice s;
	uint8_t em[128];
	size_t len = sizeof(em);
	EVP_PKEY_CTX *ctx;

	(void)ipc;
	FUZZ_ASSERT(key_answer_decode(&m->body, &s) == 0);
	w->n_answers++;
	if (s.len == 0)
		return;
	ctx = EVP_PKEY_CTX_new(key, NULL);
	FUZZ_ASSERT(EVP_PKEY_verify_recover_init(ctx) == 1 &&
	    EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING) == 1 &&
	    EVP_PKEY_verify_recover(ctx, em, &len, (const uint8_t *)s.base, s.len) == 1);
	FUZZ_ASSERT((em[0] == 0 && em[1] == 1 && em[2] == 0xff) || em[len - 1] == 0xbc);
	EVP_PKEY_CTX_free(ctx);
}

static const struct ipc_rule answer_rules[] = { { KEY_ANSWER, false, KEY_ANSWER_MAX, "ANSWER", on_answer } };

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
	struct loop *loop = loop_new();
	struct keyd *d = role_new(loop);
	struct worker w = { 0 };
	struct fuzz_fd fd = fuzz_fd_new();
	struct fuzz_frame f;
	unsigned n_frames = 0;
	bool is_raw = false;
	struct rbuf r;
	struct key_ask ask;
	uint8_t *body;
	int pair[2], ours, i;

	fuzz_socketpair(pair);
	keyd_set_worker(d, pair[0]);
	FUZZ_ASSERT((ours = dup(pair[1])) != -1);
	w.ipc = ipc_new(loop, ours, &ops, &w);
	while (fuzz_frame_next(in, &f)) {
		is_raw = is_raw || f.type == FUZZ_FRAME_RAW;
		n_frames++;
		rbuf_init(&r, f.body, f.len);
		/* A question about our key, which no input knows. */
		body = (uint8_t *)xmemdup0(f.body, f.len);
		if (f.type == KEY_ASK && key_ask_decode(&r, &ask) == 0 && (ask.id[0] & 1) == 0)
			memcpy(body, id, KEY_ID);
		f.body = body;
		fuzz_frame_send(pair[1], &f, fd.writer);
		free(body);
	}
	shutdown(pair[1], SHUT_WR);
	for (i = 0; i < 8; i++)
		fuzz_turn(loop);
	FUZZ_ASSERT(is_raw || w.n_answers <= n_frames);
	ipc_close(&w.ipc);
	keyd_free(&d);
	loop_free(&loop);
	close(pair[1]);
	fuzz_fd_end(&fd);
}

/* The role has said all it will before it is asked, and has gone. */
static void
as_key_role(struct fuzz_in *in)
{
	struct key_client *client = key_client_new();
	struct fuzz_fd fd = fuzz_fd_new();
	uint8_t sig[KEY_SIGNATURE_MAX], data[32] = { 0 };
	struct fuzz_frame f;
	int pair[2];

	fuzz_socketpair(pair);
	while (fuzz_frame_next(in, &f))
		fuzz_frame_send(pair[1], &f, fd.writer);
	shutdown(pair[1], SHUT_WR);
	key_client_set_peer(client, pair[0]);
	FUZZ_ASSERT(key_client_sign(client, id, KEY_ECDSA, data, sizeof(data), sig) <= sizeof(sig));
	(void)key_client_is_there(client);
	FUZZ_ASSERT(key_client_sign(client, id, KEY_ECDSA, data, sizeof(data), sig) <= sizeof(sig));
	key_client_free(&client);
	close(pair[1]);
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
	default: as_key_role(&in); break;
	}
	return 0;
}
