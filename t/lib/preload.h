/* For what is preloaded into daemons (LD_PRELOAD): the call that ours stands before. */
#ifndef T_LIB_PRELOAD_H
#define T_LIB_PRELOAD_H

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* Into *pointer, a pointer to a function: POSIX lets it be copied from a pointer to data, ISO C does not let it be
 * converted. */
static inline void
preload_resolve(void *pointer, const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);

	if (p == NULL)
		abort();
	memcpy(pointer, &p, sizeof(p));
}

#endif
