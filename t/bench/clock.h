/* What load and sink ask about time. */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <stdint.h>

/* Wall clock, microseconds since the epoch. */
int64_t wall_us(void);
/* CPU time of this process so far, user and system. */
double cpu_ms(void);

#endif
