/* What a look-up in the suppression list costs: suppress QUEUE_DIRECTORY ROWS ROUNDS. The list is that of
 * parts/suppress.pl: "userNNNNNNNN@dN.example", N the number modulo 100003. Asked in the order of a hash, half of them
 * on the list. A line of JSON for each round. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "mail/suppress.h"

#define LOOK_UPS 200000u
#define DOMAINS 100003u
#define ADDRESS_TEXT 64

static double
now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* A look-up each; how many were on the list. */
static unsigned
round_of(struct suppress *l, char (*v)[ADDRESS_TEXT], unsigned n)
{
	unsigned i, hits = 0;

	for (i = 0; i < n; i++)
		hits += suppress_look_up(l, v[i], "acme", "shop.example", INT64_C(1790000000000), NULL, NULL) ==
		    SUPPRESS_IS;
	return hits;
}

int
main(int argc, char **argv)
{
	unsigned long rows = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
	unsigned long rounds = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
	char (*v)[ADDRESS_TEXT] = calloc(LOOK_UPS, sizeof(*v));
	struct suppress *l;
	unsigned hits, i;
	uint64_t h = 1;
	double start;

	log_init("suppress", LOG_LVL_ERROR);
	if (v == NULL || rows == 0 || rounds == 0)
		return 2;
	for (i = 0; i < LOOK_UPS; i++) {
		h = h * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		snprintf(v[i], sizeof(v[i]), "user%08lu@d%lu.example", (unsigned long)((h >> 33) % (2 * rows)) + 1,
		    ((unsigned long)((h >> 33) % (2 * rows)) + 1) % DOMAINS);
	}
	l = suppress_open(argv[1]);
	(void)round_of(l, v, LOOK_UPS); /* warm */
	while (rounds-- > 0) {
		start = now_us();
		hits = round_of(l, v, LOOK_UPS);
		printf("{\"lookup_us\":%.3f,\"hits\":%u}\n", (now_us() - start) / LOOK_UPS, hits);
	}
	suppress_close(&l);
	free(v);
	return 0;
}
