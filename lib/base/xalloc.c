/* Memory or death. A daemon without memory has nothing better to do than to end and be restarted: every message that
 * it answered for is on disk (promise 1). Used by every process; sizes that a peer chooses were bounded before. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"

static void no_memory(size_t) __attribute__((noreturn, cold));

static void
no_memory(size_t size)
{
	fatal("out of memory size=%zu", size);
}

void *
xmalloc(size_t size)
{
	void *p;

	if (size == 0)
		size = 1;
	if ((p = malloc(size)) == NULL)
		no_memory(size);
	return p;
}

void *
xcalloc(size_t n, size_t size)
{
	void *p;

	if (n == 0 || size == 0)
		n = size = 1;
	if ((p = calloc(n, size)) == NULL)
		no_memory(size);
	return p;
}

void *
xreallocarray(void *p, size_t n, size_t size)
{
	void *q;

	/* Zero would free p, and the caller would hold a dangling pointer. */
	if (n == 0 || size == 0)
		n = size = 1;
	if ((q = reallocarray(p, n, size)) == NULL)
		no_memory(size);
	return q;
}

char *
xstrdup(const char *s)
{
	return xmemdup0(s, strlen(s));
}

char *
xmemdup0(const void *p, size_t len)
{
	char *q;

	if (len == SIZE_MAX)
		no_memory(len);
	q = xmalloc(len + 1);
	if (len > 0)
		memcpy(q, p, len);
	q[len] = '\0';
	return q;
}

char *
xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *s = NULL;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0 || s == NULL)
		no_memory(0);
	return s;
}
