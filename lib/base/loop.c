/* The loop of every daemon: our own `while` around libevent, because the steps before sleep are where a turn's work
 * is paid for once (one fdatasync, one write a link, one writev a connection) instead of per message.
 *
 * The clock is read at most once a turn, when somebody first asks. A timer whose deadline moves later (the usual
 * case: progress was made) is not told to libevent: when the old deadline fires early, the rest is armed then. */
#include <bsd/sys/queue.h>
#include <sys/time.h>

#include <event2/event.h>

#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/notify.h"
#include "base/xalloc.h"

struct hook {
	loop_fn *fn;
	void *arg;
};

struct step {
	struct hook *v;
	size_t n;
};

struct loop_sig {
	SLIST_ENTRY(loop_sig) next;
	struct event *ev;
	struct hook hook;
};

struct watchdog {
	struct timer timer;
	unsigned seconds, cpu_seconds;
	int64_t period;      /* ms between two signs of life */
	int64_t notify_every;/* 0: systemd does not ask */
	int64_t notify_next;
};

struct attachment {
	SLIST_ENTRY(attachment) next;
	const void *key;
	void *state;
	loop_fn *destroy;
};

struct loop {
	struct event_base *base;
	struct step steps[LOOP_STEPS];
	SLIST_HEAD(attachment_list, attachment) attachments;
	SLIST_HEAD(loop_sig_list, loop_sig) signals;
	struct watchdog dog;
	int64_t now;
	int64_t wall;
	bool has_now; /* now and wall were read in this turn */
	bool running;
	bool stop;
	bool again;
};

static int64_t
clock_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t
mono_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

int64_t
mono_ms(void)
{
	return mono_us() / 1000;
}

int64_t
wall_ms(void)
{
	return clock_us(CLOCK_REALTIME) / 1000;
}

struct loop *
loop_new(void)
{
	struct event_config *cfg;
	struct loop *l = xcalloc(1, sizeof(*l));

	/* A peer that goes away is an error code, never a signal. */
	signal(SIGPIPE, SIG_IGN);
	SLIST_INIT(&l->signals);
	SLIST_INIT(&l->attachments);
	if ((cfg = event_config_new()) == NULL)
		fatal("out of memory");
	/* One thread: no locks. The environment does not choose how we wait. */
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
	if ((l->base = event_base_new_with_config(cfg)) == NULL)
		fatal("cannot create an event base: %m");
	event_config_free(cfg);
	return l;
}

static void
arm_itimer(int which, int64_t first_ms, int64_t every_ms)
{
	struct itimerval v = {
		.it_value = { .tv_sec = first_ms / 1000, .tv_usec = first_ms % 1000 * 1000 },
		.it_interval = { .tv_sec = every_ms / 1000, .tv_usec = every_ms % 1000 * 1000 }
	};

	if (setitimer(which, &v, NULL) == -1)
		panic("cannot arm the watchdog");
}

void
loop_free(struct loop **lp)
{
	struct loop *l = *lp;
	struct loop_sig *s;
	struct attachment *a;

	if (l == NULL)
		return;
	*lp = NULL;
	while ((a = SLIST_FIRST(&l->attachments)) != NULL) {
		SLIST_REMOVE_HEAD(&l->attachments, next);
		a->destroy(a->state);
		free(a);
	}
	while ((s = SLIST_FIRST(&l->signals)) != NULL) {
		SLIST_REMOVE_HEAD(&l->signals, next);
		event_free(s->ev);
		free(s);
	}
	if (l->dog.seconds > 0) {
		timer_cancel(&l->dog.timer);
		arm_itimer(ITIMER_REAL, 0, 0);
	}
	if (l->dog.cpu_seconds > 0)
		arm_itimer(ITIMER_PROF, 0, 0);
	for (size_t i = 0; i < LOOP_STEPS; i++)
		free(l->steps[i].v);
	event_base_free(l->base);
	free(l);
}

struct event_base *
loop_base(struct loop *l)
{
	return l->base;
}

static void
loop_clock(struct loop *l)
{
	if (l->has_now)
		return;
	l->now = mono_ms();
	l->wall = wall_ms();
	l->has_now = l->running;
}

int64_t
loop_now(struct loop *l)
{
	loop_clock(l);
	return l->now;
}

int64_t
loop_wall(struct loop *l)
{
	loop_clock(l);
	return l->wall;
}

static void
loop_run_steps(struct loop *l)
{
	for (size_t i = 0; i < LOOP_STEPS; i++)
		for (size_t k = 0; k < l->steps[i].n; k++) {
			loop_progress();
			l->steps[i].v[k].fn(l->steps[i].v[k].arg);
		}
}

int
loop_run(struct loop *l)
{
	int flags, rc = 0;

	l->running = true;
	l->stop = false;
	for (;;) {
		loop_run_steps(l);
		if (l->stop)
			break;
		flags = EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY;
		if (l->again)
			flags |= EVLOOP_NONBLOCK;
		l->again = false;
		l->has_now = false;
		if (event_base_loop(l->base, flags) == -1) {
			rc = -1;
			break;
		}
	}
	l->running = false;
	l->has_now = false;
	return rc;
}

void
loop_stop(struct loop *l)
{
	l->stop = true;
}

void
loop_before_sleep(struct loop *l, enum loop_step which, loop_fn *fn, void *arg)
{
	struct step *s = &l->steps[which];

	s->v = xreallocarray(s->v, s->n + 1, sizeof(*s->v));
	s->v[s->n++] = (struct hook){ fn, arg };
}

void *
loop_attached(struct loop *l, const void *key, void *(*make)(struct loop *), loop_fn *destroy)
{
	struct attachment *a;

	SLIST_FOREACH(a, &l->attachments, next)
		if (a->key == key)
			return a->state;
	a = xcalloc(1, sizeof(*a));
	a->key = key;
	a->destroy = destroy;
	a->state = make(l);
	SLIST_INSERT_HEAD(&l->attachments, a, next);
	return a->state;
}

void
loop_again(struct loop *l)
{
	l->again = true;
}

static void
on_signal(evutil_socket_t signo, short what, void *arg)
{
	struct loop_sig *s = arg;

	(void)signo;
	(void)what;
	s->hook.fn(s->hook.arg);
}

void
loop_signal(struct loop *l, int signo, loop_fn *fn, void *arg)
{
	struct loop_sig *s = xcalloc(1, sizeof(*s));

	s->hook = (struct hook){ fn, arg };
	s->ev = evsignal_new(l->base, signo, on_signal, s);
	if (s->ev == NULL || event_add(s->ev, NULL) == -1)
		fatal("cannot watch signal %d", signo);
	SLIST_INSERT_HEAD(&l->signals, s, next);
}

/* How often systemd wants to hear from us (sd_watchdog_enabled(3)): half the limit. 0: not, or it means another
 * process. */
static int64_t
watchdog_notify_ms(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	unsigned long long v;
	char *end;

	if (usec == NULL || (pid != NULL && strtol(pid, NULL, 10) != (long)getpid()))
		return 0;
	v = strtoull(usec, &end, 10);
	if (end == usec || *end != '\0' || v == 0 || v > (unsigned long long)INT64_MAX)
		return 0;
	return v < 4000 ? 1 : (int64_t)(v / 2000);
}

/* What the handlers of SIGALRM and SIGPROF know; a process watches one loop. */
static volatile sig_atomic_t progress, progress_seen, n_idle_ticks;

/* Half the time is over: if the second half is no better, the signal's default action ends the process. Two halves,
 * because a process that was stopped (SIGSTOP, a frozen machine) finds its timer run out when it goes on, and must have
 * time to turn. */
static void
on_alarm(int signo)
{
	signal(signo, SIG_DFL);
}

/* One event has used this process's CPU for two ticks. */
static void
on_cpu_tick(int signo)
{
	if (progress != progress_seen) {
		progress_seen = progress;
		n_idle_ticks = 0;
	} else if (++n_idle_ticks == 2) {
		signal(signo, SIG_DFL);
		raise(signo);
	}
}

void
loop_progress(void)
{
	progress = (progress + 1) & 0xffffff;
}

static void
watch_signal(int signo, void (*handler)(int))
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };
	sigset_t set;

	/* Being ignored or blocked is inherited by exec. */
	sigemptyset(&sa.sa_mask);
	sigaction(signo, &sa, NULL);
	sigemptyset(&set);
	sigaddset(&set, signo);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void
on_watchdog(void *arg)
{
	struct loop *l = arg;
	int64_t now = loop_now(l), half = (int64_t)l->dog.seconds * 500;

	signal(SIGALRM, on_alarm);
	arm_itimer(ITIMER_REAL, half, half);
	if (l->dog.notify_every > 0 && now >= l->dog.notify_next) {
		notify_watchdog();
		l->dog.notify_next = now + l->dog.notify_every;
	}
	timer_set(&l->dog.timer, l->dog.period);
}

void
loop_watchdog(struct loop *l, unsigned seconds)
{
	if (seconds == 0)
		return;
	if (l->dog.seconds == 0)
		timer_init(&l->dog.timer, l, on_watchdog, l);
	watch_signal(SIGALRM, on_alarm);
	l->dog.seconds = seconds;
	l->dog.period = seconds > 3 ? 1000 : 250;
	l->dog.notify_every = watchdog_notify_ms();
	if (l->dog.notify_every > 0 && l->dog.notify_every < l->dog.period)
		l->dog.period = l->dog.notify_every;
	l->dog.notify_next = 0;
	on_watchdog(l);
}

void
loop_watchdog_cpu(struct loop *l, unsigned seconds)
{
	int64_t tick = (int64_t)seconds * 400;

	if (seconds == 0)
		return;
	l->dog.cpu_seconds = seconds;
	n_idle_ticks = 0;
	watch_signal(SIGPROF, on_cpu_tick);
	arm_itimer(ITIMER_PROF, tick, tick);
}

static void
timer_arm(struct timer *t, int64_t now)
{
	int64_t ms = t->deadline > now ? t->deadline - now : 0;
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000 };

	if (event_add(&t->ev, &tv) == -1)
		panic("cannot add a timer");
	t->armed = t->deadline;
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct timer *t = arg;
	int64_t now = loop_now(t->loop);

	(void)fd;
	(void)what;
	t->armed = 0;
	if (t->deadline == 0)
		return;
	if (t->deadline > now) {
		timer_arm(t, now);
		return;
	}
	t->deadline = 0;
	loop_progress();
	t->fn(t->arg);
}

void
timer_init(struct timer *t, struct loop *l, loop_fn *fn, void *arg)
{
	t->loop = l;
	t->fn = fn;
	t->arg = arg;
	t->deadline = 0;
	t->armed = 0;
	if (evtimer_assign(&t->ev, l->base, on_timer, t) == -1)
		panic("cannot make a timer");
}

void
timer_set(struct timer *t, int64_t ms_from_now)
{
	int64_t now = loop_now(t->loop);

	t->deadline = now + (ms_from_now > 0 ? ms_from_now : 0);
	if (t->armed == 0 || t->deadline < t->armed)
		timer_arm(t, now);
}

void
timer_cancel(struct timer *t)
{
	t->deadline = 0;
	if (t->armed != 0)
		event_del(&t->ev);
	t->armed = 0;
}

bool
timer_is_set(const struct timer *t)
{
	return t->deadline != 0;
}
