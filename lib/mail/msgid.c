/* Message ids (see msgid.h) and UUIDs. Every process that makes ids uses this; nothing here is hostile but the text
 * given to msgid_parse, which comes from the admin socket and from tokens.
 *
 * Randomness is taken from the kernel 32 ids at a time: a getrandom(2) per message is measurable. A pool must not be
 * shared by two processes; ours never fork without exec. */

#include <sys/random.h>

#include <errno.h>
#include <string.h>

#include "base/log.h"

#include "mail/msgid.h"

#define POOL_SIZE 256

static const char hex_digits[] = "0123456789abcdef";

static void
random_bytes(uint8_t *out, size_t len)
{
	static uint8_t pool[POOL_SIZE];
	static size_t left;
	size_t have = 0;

	if (left < len) {
		while (have < sizeof(pool)) {
			ssize_t n = getrandom(pool + have, sizeof(pool) - have, 0);

			if (n > 0)
				have += (size_t)n;
			else if (errno != EINTR)
				panic("getrandom: %s", strerror(errno));
		}
		left = sizeof(pool);
	}
	left -= len;
	memcpy(out, pool + left, len);
	memset(pool + left, 0, len);
}

void
msgid_new(struct msgid *id, int64_t wall_ms)
{
	/* The last id of this process: order must hold although the clock does not. */
	static uint64_t last_ms;
	static uint16_t sequence;
	uint64_t ms = wall_ms > 0 ? (uint64_t)wall_ms & 0xffffffffffffu : 0;

	if (ms > last_ms) {
		last_ms = ms;
		sequence = 0;
	} else if (++sequence == 0) {
		last_ms++;
	}
	for (int i = 0; i < 6; i++)
		id->b[i] = (uint8_t)(last_ms >> (40 - 8 * i));
	id->b[6] = (uint8_t)(sequence >> 8);
	id->b[7] = (uint8_t)sequence;
	random_bytes(id->b + 8, 8);
}

void
msgid_hex(const struct msgid *id, char out[MSGID_HEX])
{
	for (int i = 0; i < MSGID_LEN; i++) {
		out[2 * i] = hex_digits[id->b[i] >> 4];
		out[2 * i + 1] = hex_digits[id->b[i] & 15];
	}
	out[MSGID_HEX - 1] = '\0';
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int
msgid_parse(const char *s, struct msgid *out)
{
	struct msgid id;

	for (int i = 0; i < MSGID_LEN; i++) {
		int high = hex_value(s[2 * i]);
		int low = high < 0 ? -1 : hex_value(s[2 * i + 1]);

		if (low < 0)
			return -1;
		id.b[i] = (uint8_t)(high << 4 | low);
	}
	if (s[2 * MSGID_LEN] != '\0')
		return -1;
	*out = id;
	return 0;
}

int64_t
msgid_time(const struct msgid *id)
{
	int64_t ms = 0;

	for (int i = 0; i < 6; i++)
		ms = ms << 8 | id->b[i];
	return ms;
}

int
msgid_cmp(const struct msgid *a, const struct msgid *b)
{
	return memcmp(a->b, b->b, MSGID_LEN);
}

void
uuid_new(char out[37])
{
	uint8_t b[16];
	char *p = out;

	random_bytes(b, sizeof(b));
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* version 4 */
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80); /* variant of RFC 4122 */
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = hex_digits[b[i] >> 4];
		*p++ = hex_digits[b[i] & 15];
	}
	*p = '\0';
}
