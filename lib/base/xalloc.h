/* Allocation that succeeds or does not return (Postfix mymalloc's rule): no caller has a half-built object to unwind.
 * Sizes that a peer chooses are bounded before they get here. */
#ifndef BASE_XALLOC_H
#define BASE_XALLOC_H

#include <stddef.h>

void *xmalloc(size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));
void *xreallocarray(void *p, size_t n, size_t size) __attribute__((returns_nonnull, warn_unused_result));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull, warn_unused_result));
/* Copies len bytes and appends a NUL. */
char *xmemdup0(const void *p, size_t len) __attribute__((malloc, returns_nonnull, warn_unused_result));
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull, warn_unused_result));

#endif
