/* The other half of "no daemon outlives its supervisor": `posthorn start` gives each daemon the read end of a pipe
 * that nobody writes to and names it in $POSTHORN_PARENT_FD. When the supervisor is gone, also by kill -9, the kernel
 * closes the write end and the daemon sees end of file. PR_SET_PDEATHSIG cannot do this: the kernel clears it when
 * the daemon changes its user.
 *
 * Started by anything else (systemd, a shell) the variable is not set and nothing is watched. */
#ifndef BASE_PARENT_WATCH_H
#define BASE_PARENT_WATCH_H

#include "base/loop.h"

#define PARENT_WATCH_ENV "POSTHORN_PARENT_FD"

struct parent_watch;

/* Calls stop(arg) once, from the loop, when the supervisor is gone. NULL if there is none to watch. Call it before the
 * jail; needs nothing but read() afterwards. Unsets the variable and marks the descriptor close-on-exec: a parent of
 * roles watches for itself, its roles watch their parent. */
struct parent_watch *parent_watch_new(struct loop *, loop_fn *stop, void *arg);
void parent_watch_free(struct parent_watch **);

#endif
