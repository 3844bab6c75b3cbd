/* What a message is: recipient, header fields, size and body, each a function of the message's number and the seed. A
 * message that is sent again is the same again. */
#include <err.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/xalloc.h"
#include "t/bench/load.h"
#include "t/bench/prng.h"

#define HEADERS_MAX 16
#define VALUES_MAX 64
#define RCPTS_MAX 64
#define LINE 78             /* with CRLF */
#define POOL_LINES 1000     /* a random body begins at one of so many places */
#define SALT_DOMAIN UINT64_C(0x646f6d61696e)
#define SALT_SIZE UINT64_C(0x73697a65)
#define SALT_BODY UINT64_C(0x626f6479)
#define SALT_HEADER UINT64_C(0x686561646572)

/* "text", or "before%{low-high}after" */
struct value {
	const char *before, *after;
	uint64_t low, span; /* span 0: no number */
};

struct header {
	const char *name;
	struct value values[VALUES_MAX];
	unsigned n_values;
};

struct domain {
	char *name;
	uint64_t upto; /* the sum of the weights up to this one */
};

struct mix {
	const char *sender, *prefix;
	uint64_t seed;
	size_t min, max;
	bool random;
	char *rcpts[RCPTS_MAX];
	unsigned n_rcpts;
	struct domain *domains;
	size_t n_domains;
	struct header headers[HEADERS_MAX];
	unsigned n_headers;
	char *pool;
};

static unsigned
split(char *s, const char *sep, char **out, unsigned max)
{
	unsigned n = 0;

	for (char *w; n < max && (w = strsep(&s, sep)) != NULL; n++)
		out[n] = w;
	return n;
}

struct mix *
mix_new(void)
{
	static char rcpt[] = "user%u@example.com";
	struct mix *m = xcalloc(1, sizeof(*m));

	m->min = m->max = 4000;
	m->rcpts[0] = rcpt;
	m->n_rcpts = 1;
	return m;
}

void
mix_sizes(struct mix *m, size_t min, size_t max)
{
	m->min = min;
	m->max = max;
}

void
mix_random_bodies(struct mix *m)
{
	m->random = true;
}

void
mix_recipients(struct mix *m, char *list)
{
	m->n_rcpts = split(list, ",", m->rcpts, RCPTS_MAX);
}

void
mix_domains(struct mix *m, const char *file)
{
	FILE *f = fopen(file, "re");
	char line[512], name[256];
	unsigned long weight;
	uint64_t sum = 0;

	if (f == NULL)
		err(1, "load: %s", file);
	for (unsigned n = 1; fgets(line, sizeof(line), f) != NULL; n++) {
		if (line[strspn(line, " \t\r\n")] == '\0' || line[0] == '#')
			continue;
		if (sscanf(line, "%255s %lu", name, &weight) != 2)
			errx(2, "load: %s:%u: want: domain weight", file, n);
		m->domains = xreallocarray(m->domains, m->n_domains + 1, sizeof(*m->domains));
		sum += weight;
		m->domains[m->n_domains++] = (struct domain){ xstrdup(name), sum };
	}
	fclose(f);
	if (sum == 0)
		errx(2, "load: %s: no domain with a weight", file);
}

static struct value
parse_value(char *text)
{
	struct value v = { .before = text, .after = "" };
	char *range = strstr(text, "%{"), *end;
	uint64_t high;

	if (range == NULL)
		return v;
	v.low = strtoull(range + 2, &end, 10);
	if (*end != '-')
		errx(2, "load: want %%{low-high} in %s", text);
	high = strtoull(end + 1, &end, 10);
	if (*end != '}' || high < v.low)
		errx(2, "load: want %%{low-high} in %s", text);
	*range = '\0';
	v.after = end + 1;
	v.span = high - v.low + 1;
	return v;
}

void
mix_header(struct mix *m, char *spec)
{
	struct header *h = &m->headers[m->n_headers];
	char *colon = strstr(spec, ": "), *values[VALUES_MAX];

	if (colon == NULL)
		errx(2, "load: -h \"Name: a|b\"");
	if (m->n_headers++ == HEADERS_MAX)
		errx(2, "load: more than %d -h", HEADERS_MAX);
	*colon = '\0';
	h->name = spec;
	h->n_values = split(colon + 2, "|", values, VALUES_MAX);
	for (unsigned i = 0; i < h->n_values; i++)
		h->values[i] = parse_value(values[i]);
}

/* The plain body is the alphabet over and over, that of every message the same; random ones are slices of lines of
 * base64 digits. */
void
mix_ready(struct mix *m, uint64_t seed, const char *sender, const char *prefix)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t size = m->max + (m->random ? POOL_LINES * LINE : 0);

	m->seed = seed;
	m->sender = sender;
	m->prefix = prefix;
	m->pool = xmalloc(size + 1);
	for (size_t i = 0; i < size; i++) {
		size_t column = i % LINE;

		if (column >= LINE - 2)
			m->pool[i] = "\r\n"[column - (LINE - 2)];
		else
			m->pool[i] = m->random ? digits[prng(m->seed ^ SALT_BODY, i) % 64] : (char)('a' + i % 26);
	}
}

/* A line with an address in it; %u in that is the message's number. Returns as snprintf(3). */
static int
put_address(const char *before, const char *address, unsigned long number, char *out, size_t size)
{
	const char *u = strstr(address, "%u");

	if (u == NULL)
		return snprintf(out, size, "%s<%s>\r\n", before, address);
	return snprintf(out, size, "%s<%.*s%lu%s>\r\n", before, (int)(u - address), address, number, u + 2);
}

int
mix_envelope(const struct mix *m, unsigned long number, char *out, size_t size)
{
	if (m->n_domains > 0) {
		uint64_t r = prng(m->seed ^ SALT_DOMAIN, number) % m->domains[m->n_domains - 1].upto;
		size_t low = 0, high = m->n_domains - 1;

		while (low < high) {
			size_t mid = (low + high) / 2;

			if (r < m->domains[mid].upto)
				high = mid;
			else
				low = mid + 1;
		}
		return snprintf(out, size, "RCPT TO:<u%lu@%s>\r\n", number, m->domains[low].name);
	}
	return put_address("RCPT TO:", m->rcpts[number % m->n_rcpts], number, out, size);
}

int
mix_sender(const struct mix *m, const char *before, unsigned long number, char *out, size_t size)
{
	return put_address(before, m->sender, number, out, size);
}

static size_t
size_of(const struct mix *m, unsigned long number)
{
	double low, high;

	if (m->min == m->max)
		return m->max;
	low = log((double)m->min);
	high = log((double)m->max + 1);
	return (size_t)exp(low + prng_unit(m->seed ^ SALT_SIZE, number) * (high - low));
}

/* The alternatives of several fields are gone through in all combinations. */
static void
write_headers(const struct mix *m, unsigned long number, struct evbuffer *out)
{
	unsigned long turn = number;

	for (unsigned i = 0; i < m->n_headers; i++) {
		const struct header *h = &m->headers[i];
		const struct value *v = &h->values[turn % h->n_values];

		turn /= h->n_values;
		if (v->span == 0)
			evbuffer_add_printf(out, "%s: %s\r\n", h->name, v->before);
		else
			evbuffer_add_printf(out, "%s: %s%" PRIu64 "%s\r\n", h->name, v->before,
			    v->low + prng(m->seed ^ SALT_HEADER ^ i, number) % v->span, v->after);
	}
}

struct body {
	char first[160];
	size_t n_first;
	const char *rest;
	size_t n_rest;
	bool mend; /* the last line would end with half a CRLF */
};

static struct body
body_of(const struct mix *m, unsigned long number)
{
	struct body b = { .rest = m->pool };
	size_t size = size_of(m, number);

	if (m->random) {
		b.n_first = (size_t)snprintf(b.first, sizeof(b.first), "%.100s-%lu\r\n", m->prefix, number);
		if (b.n_first > size)
			b.n_first = 0;
		b.rest += prng(m->seed ^ SALT_BODY, number) % POOL_LINES * LINE;
	}
	b.n_rest = size - b.n_first;
	if (b.n_rest > 0 && b.rest[b.n_rest - 1] == '\r') {
		b.mend = true;
		b.n_rest--;
	}
	return b;
}

/* As the sink counts it: with the empty line before the body. */
static uint32_t
body_crc(const struct body *b)
{
	uint32_t crc = crc32c(0, "\r\n", 2);

	crc = crc32c(crc, b->first, b->n_first);
	crc = crc32c(crc, b->rest, b->n_rest);
	return crc32c(crc, "x\r\n" + !b->mend, b->mend ? 3 : 2);
}

size_t
mix_content(const struct mix *m, unsigned long number, int64_t time_us, struct io *io)
{
	struct evbuffer *out = io_output(io);
	size_t before = evbuffer_get_length(out);
	struct body b = body_of(m, number);
	char head[1400];
	int n = mix_sender(m, "From: ", number, head, sizeof(head));

	if (n < 0 || (size_t)n >= sizeof(head))
		errx(2, "load: the sender is too long");
	evbuffer_add(out, head, (size_t)n);
	n = snprintf(head, sizeof(head), "Subject: test %lu\r\nX-Test-Id: %.500s-%lu\r\nX-Test-Time: %lld\r\n", number,
	    m->prefix, number, (long long)time_us);
	evbuffer_add(out, head, (size_t)n);
	if (m->random)
		evbuffer_add_printf(out, "X-Test-Crc: %08x\r\n", body_crc(&b));
	write_headers(m, number, out);
	evbuffer_add(out, "\r\n", 2);
	if (b.n_first > 0)
		evbuffer_add(out, b.first, b.n_first);
	evbuffer_add(out, b.rest, b.n_rest);
	evbuffer_add(out, "x\r\n.\r\n" + !b.mend, b.mend ? 6 : 5);
	io_dirty(io);
	return evbuffer_get_length(out) - before - 3;
}
