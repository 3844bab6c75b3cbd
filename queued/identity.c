/* One line a row, name and value in hexadecimal, and a checksum behind them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "base/slurp.h"
#include "base/xalloc.h"

#include "queued/identity.h"
#include "queued/queued.h"
#include "queued/store.h"

#define COPY_MAX 65536 /* 256 keys and some */
#define VALUE_MAX 64
#define CRC_LINE 17 /* "crc32c 0123abcd\n" and NUL */

static char *
path_of(const struct queued *q, const char *suffix)
{
	return xasprintf("%s/identity%s", q->params->queue_directory, suffix);
}

bool
identity_exists(const struct queued *q)
{
	char *path = path_of(q, "");
	bool r = access(path, F_OK) == 0;

	free(path);
	return r;
}

/* Of `meta`, what is the node's own: "nodeid", "token" and "token-NNN". */
static bool
is_ours(const char *name, size_t len)
{
	return (len == 6 && memcmp(name, "nodeid", 6) == 0) || (len >= 5 && len <= 9 && memcmp(name, "token", 5) == 0);
}

static char *
describe(struct queued *q)
{
	char *text = xmalloc(COPY_MAX), key[16] = "\0";
	size_t len = 0, keylen = 1, i;
	MDB_val k, v;

	store_read_begin(q->store);
	while (store_seek(q->store, DB_META, key, keylen, true, &k, &v)) {
		if (k.mv_size >= sizeof(key))
			break;
		memcpy(key, k.mv_data, k.mv_size);
		keylen = k.mv_size;
		if (!is_ours(key, keylen) || v.mv_size > VALUE_MAX ||
		    len + keylen + 2 * v.mv_size + 2 + CRC_LINE > COPY_MAX)
			continue;
		len += (size_t)snprintf(text + len, COPY_MAX - len, "%.*s ", (int)keylen, key);
		for (i = 0; i < v.mv_size; i++)
			len += (size_t)snprintf(text + len, COPY_MAX - len, "%02x",
			    ((const uint8_t *)v.mv_data)[i]);
		text[len++] = '\n';
	}
	store_read_end(q->store);
	(void)snprintf(text + len, COPY_MAX - len, "crc32c %08x\n", crc32c(0, text, len));
	return text;
}

static int
write_durably(const char *path, const char *text)
{
	size_t len = strlen(text);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600), r;

	if (fd == -1)
		return -1;
	r = write(fd, text, len) == (ssize_t)len ? fsync(fd) : -1;
	close(fd);
	return r;
}

static void
sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd == -1 || fsync(fd) == -1)
		log_warn("%s: %s", path, strerror(errno));
	if (fd != -1)
		close(fd);
}

void
identity_save(struct queued *q)
{
	char *text = describe(q), *path = path_of(q, ""), *made = path_of(q, ".new");

	if (write_durably(made, text) == -1 || rename(made, path) == -1)
		log_warn("%s: %s: node id and token keys are in the index only", path, strerror(errno));
	else
		sync_directory(q->params->queue_directory);
	explicit_bzero(text, strlen(text));
	free(text);
	free(path);
	free(made);
}

static bool
is_whole(const char *text, size_t len)
{
	char line[CRC_LINE];

	if (len < CRC_LINE - 1)
		return false;
	(void)snprintf(line, sizeof(line), "crc32c %08x\n", crc32c(0, text, len - (CRC_LINE - 1)));
	return memcmp(text + len - (CRC_LINE - 1), line, CRC_LINE - 1) == 0;
}

/* The checksum was right: these are the digits that we wrote. */
static uint8_t
hex_digit(char c)
{
	return (uint8_t)(c >= 'a' ? c - 'a' + 10 : c - '0');
}

/* "name hex": 0, or an LMDB code. */
static int
put_line(struct store *st, const char *line, size_t len)
{
	const char *space = memchr(line, ' ', len);
	uint8_t value[VALUE_MAX];
	size_t namelen, n, i;

	if (space == NULL || !is_ours(line, (size_t)(space - line)))
		return 0;
	namelen = (size_t)(space - line);
	n = (len - namelen - 1) / 2;
	if (n > sizeof(value))
		return 0;
	for (i = 0; i < n; i++)
		value[i] = (uint8_t)(hex_digit(space[1 + 2 * i]) << 4 | hex_digit(space[2 + 2 * i]));
	return store_put(st, DB_META, line, namelen, value, n);
}

static int
put_all(struct store *st, const char *text)
{
	const char *end;
	int rc;

	if ((rc = store_begin(st)) != 0)
		return rc;
	for (; (end = strchr(text, '\n')) != NULL; text = end + 1)
		if ((rc = put_line(st, text, (size_t)(end - text))) != 0) {
			store_abort(st);
			return rc;
		}
	return store_commit(st);
}

bool
identity_restore(struct queued *q)
{
	char *path = path_of(q, ""), *text;
	size_t len = 0;
	bool ok = false;

	if ((text = slurp(path, COPY_MAX, &len)) != NULL) {
		ok = strlen(text) == len && is_whole(text, len) && put_all(q->store, text) == 0;
		if (ok)
			log_warn("node id and token keys are taken over from %s", path);
		else
			log_error("%s is damaged: the node gets a new id and new token keys", path);
		explicit_bzero(text, len);
		free(text);
	}
	free(path);
	return ok;
}
