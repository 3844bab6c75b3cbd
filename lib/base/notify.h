/* systemd's notification protocol (sd_notify(3)) without libsystemd: READY=1, WATCHDOG=1, STOPPING=1 to
 * $NOTIFY_SOCKET, and readiness for our own supervisor, which speaks the same protocol. */
#ifndef BASE_NOTIFY_H
#define BASE_NOTIFY_H

#define NOTIFY_GENERATION "X_POSTHORN_GENERATION"

/* Connects to $NOTIFY_SOCKET if set; before the jail. */
void notify_open(void);
void notify_ready(void);
/* The number of the configuration, said with every READY=1 from now on (our own supervisor reads it). */
void notify_generation(unsigned);
void notify_reloading(void);
void notify_stopping(void);
void notify_watchdog(void);
/* Sockets passed as by sd_listen_fds(3): the index of the first (3), count in *n_r; names in order, split on ':'.
 * Unsets the variables. n = 0 if none. names_r: NULL-terminated array that the caller frees with free() each and
 * whole. */
int notify_listen_fds(int *n_r, char ***names_r);

#endif
