/* What the files of the sandbox share; nobody else includes this. */
#ifndef BASE_SANDBOX_IMPL_H
#define BASE_SANDBOX_IMPL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/sandbox.h"

/* A sanitizer's runtime reads /proc, maps and traces itself: it could not work in the full jail. */
#if defined(__SANITIZE_ADDRESS__)
#define SANDBOX_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANDBOX_SANITIZED 1
#endif
#endif
#ifndef SANDBOX_SANITIZED
#define SANDBOX_SANITIZED 0
#endif

/* The highest Landlock ABI of this kernel, 0 if it has none. */
int landlock_abi(void);
/* A ruleset for sb's paths, opened with the rights of now (a path that cannot be opened is logged and counted in
 * *missing_r). A descriptor, or -1 with errno. */
int landlock_prepare(const struct sandbox *sb, int abi, size_t *missing_r);
/* Puts the ruleset in force and closes it. 0 or -1 with errno. Needs no_new_privs. */
int landlock_enforce(int ruleset);

/* Loads the system-call filter for these groups. 0, or a negative errno. */
int filter_load(unsigned allow);

#endif
