/* The admin command against a queued or supervisor that answers anything: each row is a JSON object, the verdict comes
 * with a sentence, and no descriptor is kept. First byte: which of the two. */
#include "base/log.h"
#include "posthorn/adm_client.h"
#include "t/fuzz/dir.h"
#include "t/fuzz/frames.h"

static bool
on_row(json_t *row, const char *text, void *arg)
{
	unsigned *n = arg;

	FUZZ_ASSERT(json_is_object(row) && *text != '\0');
	return ++*n < 16;
}

static int
listener(const char *name)
{
	char path[300];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", fuzz_dir(), name);
	FUZZ_ASSERT((fd = ipc_listen(path, 0600)) != -1);
	return fd;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int listeners[2] = { -1, -1 };
	struct fuzz_in in = { data, size };
	enum adm_peer peer = (fuzz_u8(&in) & 1) != 0 ? ADM_SUPERVISOR : ADM_QUEUED;
	struct fuzz_fd fd = fuzz_fd_new();
	struct adm_client *c;
	struct ql_admin req;
	struct fuzz_frame f;
	char *sentence = NULL;
	unsigned n_rows = 0;
	int sock, rv;

	log_init("fuzz", LOG_LVL_ERROR);
	if (listeners[0] == -1) {
		listeners[0] = listener(QL_SOCKET);
		listeners[1] = listener("posthorn.sock");
	}
	FUZZ_ASSERT((c = adm_connect(fuzz_dir(), peer, NULL, &sentence)) != NULL);
	FUZZ_ASSERT((sock = accept4(listeners[peer], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) != -1);
	while (fuzz_frame_next(&in, &f))
		fuzz_frame_send(sock, &f, fd.writer);
	shutdown(sock, SHUT_WR);
	adm_request_init(&req, "queue.list");
	adm_request_add(&req, "domain", "d.example");
	rv = adm_ask(c, &req, ADM_TIMEOUT, on_row, &n_rows, &sentence);
	FUZZ_ASSERT(rv >= -1 && rv <= 1 && sentence != NULL && (rv != -1 || *sentence != '\0'));
	ql_admin_clear(&req);
	free(sentence);
	adm_disconnect(&c);
	close(sock);
	fuzz_fd_end(&fd);
	return 0;
}
