/* One event loop per process over libevent, with what a daemon needs beside it: a clock read once a turn, steps
 * that run before the loop sleeps (group commit, then log, then IPC, then socket output), timers, signals, a
 * watchdog. */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;

typedef void loop_fn(void *arg);

/* The order of the steps before sleep. A later step sees what an earlier one wrote. */
enum loop_step { LOOP_COMMIT, LOOP_LOG, LOOP_IPC, LOOP_OUTPUT, LOOP_REAP, LOOP_STEPS };

struct loop *loop_new(void);
void loop_free(struct loop **);
struct event_base *loop_base(struct loop *);
/* Runs until loop_stop(). 0, or -1 if libevent failed. */
int loop_run(struct loop *);
void loop_stop(struct loop *);
/* Adds fn to a step; called on every turn; never removed but by loop_free. A step may queue more work for later
 * steps only. */
void loop_before_sleep(struct loop *, enum loop_step, loop_fn *, void *arg);
/* A module's own state for this loop: made by make() at the first call with this key (the address of something
 * static), later calls return the same; destroyed by loop_free() before the event base. */
void *loop_attached(struct loop *, const void *key, void *(*make)(struct loop *), loop_fn *destroy);
/* Makes the next turn happen without waiting (a step left work over because it bounds itself). */
void loop_again(struct loop *);

/* Monotonic milliseconds, read once a turn; wall clock likewise (ms since the epoch). */
int64_t loop_now(struct loop *);
int64_t loop_wall(struct loop *);
/* Uncached. */
int64_t mono_ms(void);
int64_t mono_us(void);
int64_t wall_ms(void);

/* fn runs in the loop, not in the handler. */
void loop_signal(struct loop *, int signo, loop_fn *, void *arg);
/* If the loop does not turn for `seconds`, SIGALRM ends the process (its parent restarts it): the cure for whatever
 * no instruction hook stops. Also sends WATCHDOG=1 to systemd when asked to by the environment (base/notify.h). */
void loop_watchdog(struct loop *, unsigned seconds);
/* If one event, timer or step takes about that much CPU time, SIGPROF ends the process: sooner than the other, since
 * waiting for a slow disk, or being stopped, is not counted. Who handles many events in one callback says
 * loop_progress() between them; connections (base/io.h), timers and steps do. */
void loop_watchdog_cpu(struct loop *, unsigned seconds);
void loop_progress(void);

/* A timer embedded in its owner. Setting is cheap and may be repeated: a later deadline only moves a number. */
struct timer {
	struct event ev;
	struct loop *loop;
	loop_fn *fn;
	void *arg;
	int64_t deadline; /* loop_now() milliseconds; 0: not set */
	int64_t armed;    /* what libevent was told */
};

void timer_init(struct timer *, struct loop *, loop_fn *, void *arg);
void timer_set(struct timer *, int64_t ms_from_now);
void timer_cancel(struct timer *);
bool timer_is_set(const struct timer *);

#endif
