/* What load and sink ask about time (t/bench/clock.h). */
#include <sys/resource.h>

#include <time.h>

#include "t/bench/clock.h"

int64_t
wall_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

double
cpu_ms(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000 +
	    (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1000;
}
