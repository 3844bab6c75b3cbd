/* A main for fuzz targets where there is no libFuzzer: gives the target each file of the named directories, in blocks
 * of their exact size so that the address sanitizer sees every read beyond the end. `make test` runs the corpora so. */
#include <dirent.h>
#include <stdio.h>

#include "t/fuzz/fuzz.h"

#define INPUT_MAX (1u << 20)

static unsigned n_run;

static void
run_file(const char *path)
{
	static uint8_t buf[INPUT_MAX];
	FILE *f = fopen(path, "re");
	uint8_t *exact;
	size_t len;

	if (f == NULL) {
		perror(path);
		exit(1);
	}
	len = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	/* The last name before a report is the one that it is about. */
	printf("# %s\n", path);
	fflush(stdout);
	exact = malloc(len > 0 ? len : 1);
	if (exact == NULL)
		exit(1);
	memcpy(exact, buf, len);
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
	n_run++;
}

static int
is_shown(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static void
run_directory(const char *dir)
{
	struct dirent **names;
	char path[4096];
	int i, n = scandir(dir, &names, is_shown, alphasort);

	if (n == -1) {
		perror(dir);
		exit(1);
	}
	for (i = 0; i < n; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
		run_file(path);
		free(names[i]);
	}
	free(names);
}

int
main(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++)
		run_directory(argv[i]);
	printf("ran %u inputs\n", n_run);
	return n_run > 0 ? 0 : 1;
}
