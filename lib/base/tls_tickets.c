/* Ticket keys in shared memory (tls_tickets.h). One writer, readers without locks: a counter that is odd while the
 * writer is at work tells a reader that it has read nonsense and should read again. A writer killed at that moment
 * leaves it odd: no ticket is made or opened then, until the next writer makes a new table. */
#include <sys/mman.h>
#include <sys/stat.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/tls_tickets.h"
#include "base/xalloc.h"

#define MAGIC UINT64_C(0x70687469636b6574)
#define TRIES 100

struct key {
	unsigned char name[16], aes[32], mac[32];
};

struct table {
	uint64_t magic;
	_Atomic uint64_t turn;
	struct key now, before;
};

struct tls_tickets {
	struct table *table;
};

static void
key_make(struct key *k)
{
	arc4random_buf(k, sizeof(*k));
}

/* The maker's mapping stays writable, no other can become so. */
static int
seal(int fd)
{
	char path[64];
	int ro;

	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == -1)
		return -1;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	return ro;
}

struct tls_tickets *
tls_tickets_make(int *fd_r)
{
	int fd = memfd_create("posthorn-tickets", MFD_CLOEXEC | MFD_ALLOW_SEALING), saved;
	struct tls_tickets *t;
	struct table *table;

	*fd_r = -1;
	if (fd == -1)
		return NULL;
	table = ftruncate(fd, sizeof(*table)) == -1 ? MAP_FAILED
	    : mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (table == MAP_FAILED || (*fd_r = seal(fd)) == -1) {
		saved = errno;
		if (table != MAP_FAILED)
			munmap(table, sizeof(*table));
		close(fd);
		errno = saved;
		return NULL;
	}
	close(fd);
	table->magic = MAGIC;
	key_make(&table->now);
	key_make(&table->before);
	t = xcalloc(1, sizeof(*t));
	t->table = table;
	return t;
}

struct tls_tickets *
tls_tickets_map(int fd)
{
	struct tls_tickets *t;
	struct table *table;
	struct stat st;

	if (fstat(fd, &st) == -1)
		return NULL;
	if (st.st_size != sizeof(*table)) {
		errno = EINVAL;
		return NULL;
	}
	table = mmap(NULL, sizeof(*table), PROT_READ, MAP_SHARED, fd, 0);
	if (table == MAP_FAILED)
		return NULL;
	if (table->magic != MAGIC) {
		munmap(table, sizeof(*table));
		errno = EINVAL;
		return NULL;
	}
	t = xcalloc(1, sizeof(*t));
	t->table = table;
	return t;
}

void
tls_tickets_free(struct tls_tickets **tp)
{
	struct tls_tickets *t = *tp;

	*tp = NULL;
	if (t == NULL)
		return;
	munmap(t->table, sizeof(*t->table));
	free(t);
}

void
tls_tickets_rotate(struct tls_tickets *t)
{
	struct key fresh;

	key_make(&fresh);
	atomic_fetch_add(&t->table->turn, 1);
	t->table->before = t->table->now;
	t->table->now = fresh;
	atomic_fetch_add(&t->table->turn, 1);
	OPENSSL_cleanse(&fresh, sizeof(fresh));
}

/* Both keys as of one moment. */
static bool
read_keys(const struct tls_tickets *t, struct key *now, struct key *before)
{
	uint64_t turn;
	int i;

	for (i = 0; i < TRIES; i++) {
		turn = atomic_load(&t->table->turn);
		*now = t->table->now;
		*before = t->table->before;
		atomic_thread_fence(memory_order_acquire);
		if (turn % 2 == 0 && atomic_load(&t->table->turn) == turn)
			return true;
	}
	return false;
}

static int
use_key(const struct key *k, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int is_new)
{
	unsigned char copy[sizeof(k->mac)];
	char digest[] = "SHA256";
	OSSL_PARAM params[] = { OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, copy, sizeof(copy)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_construct_end() };
	int ok;

	memcpy(copy, k->mac, sizeof(copy));
	ok = EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->aes, iv, is_new) == 1 &&
	    EVP_MAC_CTX_set_params(mac, params) == 1;
	OPENSSL_cleanse(copy, sizeof(copy));
	return ok;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3): 1 use it, 2 use it and make a new ticket, 0 a full handshake, -1 error. */
static int
on_ticket(SSL *ssl, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int is_new)
{
	struct tls_tickets *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	struct key now, before;
	int rv = 0;

	if (!read_keys(t, &now, &before))
		return 0;
	if (is_new) {
		memcpy(name, now.name, sizeof(now.name));
		arc4random_buf(iv, (size_t)EVP_CIPHER_get_iv_length(EVP_aes_256_cbc()));
		rv = use_key(&now, iv, cipher, mac, 1) ? 1 : -1;
	} else if (memcmp(name, now.name, sizeof(now.name)) == 0) {
		rv = use_key(&now, iv, cipher, mac, 0) ? 1 : -1;
	} else if (memcmp(name, before.name, sizeof(before.name)) == 0) {
		rv = use_key(&before, iv, cipher, mac, 0) ? 2 : -1;
	}
	OPENSSL_cleanse(&now, sizeof(now));
	OPENSSL_cleanse(&before, sizeof(before));
	return rv;
}

void
tls_tickets_use(SSL_CTX *ctx, struct tls_tickets *t)
{
	SSL_CTX_set_app_data(ctx, t);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
	SSL_CTX_set_timeout(ctx, TLS_TICKETS_EVERY_MS / 1000);
}
