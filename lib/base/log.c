/* The program log. Used by every process of the suite, before and inside the jail: so it opens nothing, asks no time
 * zone, allocates nothing, and each line is one write(2) of at most PIPE_BUF bytes (lines of several processes on
 * one pipe do not mix). What peers sent appears in arguments: control characters (C0, DEL, C1) and invalid UTF-8
 * leave as \xNN.
 *
 * Under systemd (JOURNAL_STREAM names our descriptor 2) the journal has the time; the priority goes in front, as
 * sd-daemon(3) wants. */
#include <sys/stat.h>

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/timefmt.h"
#include "base/utf8.h"

struct severity {
	const char *word;
	char priority; /* syslog(3) */
};

static const struct severity severities[] = {
	[LOG_LVL_ERROR] = { "error", '3' },
	[LOG_LVL_WARN] = { "warn", '4' },
	[LOG_LVL_INFO] = { "info", '6' },
	[LOG_LVL_DEBUG] = { "debug", '7' },
};
static const struct severity severity_fatal = { "fatal", '2' };
static const struct severity severity_panic = { "panic", '0' };

static struct {
	const char *ident;
	enum log_level level;
	bool journal;
} logger = { "posthorn", LOG_LVL_INFO, false };

/* The variable is inherited by everything a unit starts, also with another descriptor 2: so compare
 * (systemd.exec(5)). */
static bool
stderr_is_journal(void)
{
	const char *s = getenv("JOURNAL_STREAM");
	struct stat st;
	char mine[64];

	if (s == NULL || fstat(STDERR_FILENO, &st) == -1)
		return false;
	snprintf(mine, sizeof(mine), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	return strcmp(s, mine) == 0;
}

void
log_init(const char *ident, enum log_level level)
{
	int saved = errno;

	logger.ident = ident;
	logger.level = level;
	logger.journal = stderr_is_journal();
	errno = saved;
}

void
log_set_level(enum log_level level)
{
	logger.level = level;
}

bool
log_enabled(enum log_level level)
{
	return level <= logger.level;
}

int
log_level_parse(const char *word, enum log_level *level_r)
{
	for (size_t i = 0; i < sizeof(severities) / sizeof(severities[0]); i++)
		if (strcmp(word, severities[i].word) == 0) {
			*level_r = (enum log_level)i;
			return 0;
		}
	return -1;
}

/* True for C1 controls too: some terminals obey U+009B like ESC [. */
static bool
is_printable(const char *p, size_t seq)
{
	const uint8_t *u = (const uint8_t *)p;

	if (seq == 1)
		return u[0] >= 0x20 && u[0] != 0x7f;
	return seq > 1 && !(u[0] == 0xc2 && u[1] < 0xa0);
}

/* Copies with escapes; what does not fit is cut on a boundary and marked. Returns the end of what was written. */
static char *
put_sanitised(char *out, const char *end, const char *in, size_t len)
{
	static const char hex[] = "0123456789abcdef", cut[] = "...";
	size_t seq;

	end -= sizeof(cut) - 1;
	for (size_t i = 0; i < len; i += seq) {
		seq = utf8_seq_len((const uint8_t *)in + i, len - i);
		if (end - out < 4) {
			memcpy(out, cut, sizeof(cut) - 1);
			return out + sizeof(cut) - 1;
		}
		if (is_printable(in + i, seq)) {
			memcpy(out, in + i, seq);
			out += seq;
			continue;
		}
		seq = 1;
		*out++ = '\\';
		*out++ = 'x';
		*out++ = hex[(uint8_t)in[i] >> 4];
		*out++ = hex[(uint8_t)in[i] & 15];
	}
	return out;
}

static void log_line(const struct severity *, const char *, va_list) __attribute__((format(printf, 2, 0)));

static void
log_line(const struct severity *sev, const char *fmt, va_list ap)
{
	char text[PIPE_BUF], line[PIPE_BUF], front[TIME_RFC3339_LEN + 2];
	struct timespec ts;
	int saved = errno, n;
	ssize_t written;
	size_t head;
	char *p;

	n = vsnprintf(text, sizeof(text), fmt, ap); /* errno is still the caller's: %m */
	if (n < 0)
		n = snprintf(text, sizeof(text), "cannot format \"%.200s\"", fmt);
	n = n < (int)sizeof(text) ? n : (int)sizeof(text) - 1;
	if (logger.journal)
		snprintf(front, sizeof(front), "<%c>", sev->priority);
	else {
		clock_gettime(CLOCK_REALTIME, &ts);
		time_rfc3339((int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000, front);
		front[TIME_RFC3339_LEN] = ' ';
		front[TIME_RFC3339_LEN + 1] = '\0';
	}
	head = (size_t)snprintf(line, 256, "%s%s[%d] %s: ", front, logger.ident, (int)getpid(), sev->word);
	if (head > 255)
		head = 255;
	p = put_sanitised(line + head, line + sizeof(line) - 1, text, (size_t)n);
	*p++ = '\n';
	do
		written = write(STDERR_FILENO, line, (size_t)(p - line));
	while (written == -1 && errno == EINTR);
	errno = saved;
}

#define LOG_AT(level)                                         \
	do {                                                  \
		va_list ap;                                   \
		if (!log_enabled(level))                      \
			return;                               \
		va_start(ap, fmt);                            \
		log_line(&severities[level], fmt, ap);        \
		va_end(ap);                                   \
	} while (0)

void
log_debug(const char *fmt, ...)
{
	LOG_AT(LOG_LVL_DEBUG);
}

void
log_info(const char *fmt, ...)
{
	LOG_AT(LOG_LVL_INFO);
}

void
log_warn(const char *fmt, ...)
{
	LOG_AT(LOG_LVL_WARN);
}

void
log_error(const char *fmt, ...)
{
	LOG_AT(LOG_LVL_ERROR);
}

void
fatal(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line(&severity_fatal, fmt, ap);
	va_end(ap);
	/* Not exit(3): a jailed role must not run handlers that libraries left, which might do what the filter
	 * forbids. */
	_exit(1);
}

void
panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line(&severity_panic, fmt, ap);
	va_end(ap);
	abort();
}
