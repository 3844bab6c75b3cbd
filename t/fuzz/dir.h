/* For targets whose subject opens files by name: a directory of their own below $TMPDIR, gone when the process ends.
 * After a crash it stays; `make fuzz` and t/40-fuzz-corpus.t make $TMPDIR and remove it. */
#ifndef FUZZ_DIR_H
#define FUZZ_DIR_H

#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

#include "t/fuzz/fuzz.h"

static char fuzz_dir_path[200];

static inline int
fuzz_dir_remove_one(const char *path, const struct stat *sb, int flag, struct FTW *ftw)
{
	(void)sb;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static inline void
fuzz_dir_remove(void)
{
	(void)nftw(fuzz_dir_path, fuzz_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline const char *
fuzz_dir(void)
{
	char *base;

	if (fuzz_dir_path[0] == '\0') {
		/* main.cf wants absolute names. */
		FUZZ_ASSERT((base = realpath(getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp", NULL)) != NULL);
		(void)snprintf(fuzz_dir_path, sizeof(fuzz_dir_path), "%s/fuzz-XXXXXX", base);
		free(base);
		FUZZ_ASSERT(mkdtemp(fuzz_dir_path) != NULL);
		atexit(fuzz_dir_remove);
	}
	return fuzz_dir_path;
}

static inline void
fuzz_dir_write(const char *name, const void *data, size_t len)
{
	char path[300];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", fuzz_dir(), name);
	FUZZ_ASSERT((f = fopen(path, "we")) != NULL);
	FUZZ_ASSERT(fwrite(data, 1, len, f) == len);
	FUZZ_ASSERT(fclose(f) == 0);
}

#endif
