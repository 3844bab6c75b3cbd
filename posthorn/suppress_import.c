/* posthorn suppress import: reads lists of other services (mail/suppress_csv.h), sorts what it read, and hands it to
 * bouncerd in batches. In the order of the list neighbours are written together: a batch changes few pages. A batch
 * that was answered is on disk; one that was not is sent again, which changes nothing if it was written. */
#include <sys/mman.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/xalloc.h"
#include "mail/suppress_csv.h"
#include "mail/suppress_rows.h"

#include "human.h"
#include "suppress.h"

#define RUN_BYTES (384u << 20) /* rows that are sorted together */
#define BAD_SHOWN 20
#define SHOW_EVERY 50000  /* rows */
#define RECONNECT_TRIES 300 /* of 100 ms: bouncerd starts again */

struct import {
	const struct admin *adm;
	struct adm_client *c;
	struct wbuf rows;    /* encoded, one behind the other */
	uint32_t *at;        /* where each begins */
	size_t n, cap;
	struct wbuf scratch;
	const char *file;
	bool is_tty;
	uint64_t n_rows, n_soft, n_bad, added, updated, unchanged;
	uint64_t total;      /* octets of the file */
};

static int
by_key(const void *a, const void *b, void *rows)
{
	const uint8_t *x = (const uint8_t *)rows + *(const uint32_t *)a;
	const uint8_t *y = (const uint8_t *)rows + *(const uint32_t *)b;
	size_t xl = (size_t)x[0] << 8 | x[1], yl = (size_t)y[0] << 8 | y[1];
	int r = memcmp(x + 2, y + 2, xl < yl ? xl : yl);

	return r != 0 ? r : xl < yl ? -1 : xl > yl;
}

static bool
on_counts(json_t *row, const char *text, void *arg)
{
	struct import *im = arg;

	(void)text;
	im->added += (uint64_t)json_integer_value(json_object_get(row, "added"));
	im->updated += (uint64_t)json_integer_value(json_object_get(row, "updated"));
	im->unchanged += (uint64_t)json_integer_value(json_object_get(row, "unchanged"));
	return true;
}

/* bouncerd went away, and is started again by the supervisor. */
static int
reconnect(struct import *im)
{
	char *dir = adm_run_directory(im->adm), *text = NULL;
	int i;

	adm_disconnect(&im->c);
	for (i = 0; dir != NULL && im->c == NULL && i < RECONNECT_TRIES; i++) {
		(void)usleep(100000);
		free(text);
		text = NULL;
		im->c = adm_connect(dir, ADM_BOUNCERD, NULL, &text);
	}
	if (im->c == NULL && text != NULL)
		adm_fail("%s", text);
	free(text);
	free(dir);
	return im->c == NULL ? -1 : 0;
}

static int
send_batch(struct import *im, const struct wbuf *frame)
{
	char *text = NULL;
	int rv, tries = 0;

	while ((rv = adm_ask_frame(im->c, QL_SUPPRESS_ROWS, frame, SUPPRESS_TIMEOUT, on_counts, im, &text)) == -1 &&
	    tries++ < 3) {
		if (reconnect(im) == -1)
			break;
		free(text);
		text = NULL;
	}
	if (rv != 0)
		rv = adm_fail("%s%s: %s; what was said to be added is on disk, the same import again adds the rest",
		    im->is_tty ? "\n" : "", im->file, text == NULL ? "" : text);
	free(text);
	return rv;
}

static void
show(const struct import *im, const struct suppress_csv *csv)
{
	uint64_t left = (uint64_t)(csv->end - csv->p);

	if (im->is_tty)
		fprintf(stderr, "\r\033[K%s: %llu rows, %llu%%", im->file, (unsigned long long)im->n_rows,
		    (unsigned long long)(im->total == 0 ? 100 : (im->total - left) * 100 / im->total));
}

/* Everything that was gathered. */
static int
flush(struct import *im)
{
	struct wbuf frame;
	size_t i, len, vlen;
	const uint8_t *p;
	int rv = ADM_OK;

	qsort_r(im->at, im->n, sizeof(im->at[0]), by_key, im->rows.p);
	wbuf_init(&frame);
	for (i = 0; i < im->n && rv == ADM_OK; i++) {
		p = im->rows.p + im->at[i];
		len = 2 + ((size_t)p[0] << 8 | p[1]);
		vlen = (size_t)p[len] << 8 | p[len + 1];
		wbuf_raw(&frame, p, len + 2 + vlen);
		if (frame.len >= SUPPRESS_ROWS_MAX) {
			rv = send_batch(im, &frame);
			wbuf_reset(&frame);
		}
	}
	if (rv == ADM_OK && frame.len > 0)
		rv = send_batch(im, &frame);
	wbuf_clear(&frame);
	wbuf_reset(&im->rows);
	im->n = 0;
	return rv;
}

static void
complain(struct import *im, const struct suppress_csv *csv, const char *why)
{
	json_t *o;

	im->n_bad++;
	if (im->adm->json) {
		o = json_pack("{s:s, s:I, s:s}", "file", im->file, "line", (json_int_t)csv->line, "error", why);
		if (o != NULL)
			json_dumpf(o, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(o);
	} else if (im->n_bad <= BAD_SHOWN) {
		fprintf(stderr, "%s%s:%llu: %s\n", im->is_tty ? "\r\033[K" : "", im->file,
		    (unsigned long long)csv->line, why);
	} else if (im->n_bad == BAD_SHOWN + 1) {
		fprintf(stderr, "%s: more lines are bad; they are counted\n", im->file);
	}
}

static void
gather(struct import *im, const struct suppress_row *row)
{
	if (im->n == im->cap) {
		im->cap = im->cap == 0 ? 4096 : im->cap * 2;
		im->at = xreallocarray(im->at, im->cap, sizeof(im->at[0]));
	}
	im->at[im->n++] = (uint32_t)im->rows.len;
	suppress_rows_add(&im->rows, row, &im->scratch);
	im->n_rows++;
}

static int
import_rows(struct import *im, struct suppress_csv *csv)
{
	struct suppress_row row;
	const char *why = NULL;
	enum suppress_csv_got got;
	int rv = ADM_OK;

	while (rv == ADM_OK && (got = suppress_csv_next(csv, &row, &why)) != CSV_END) {
		if (got == CSV_SOFT) {
			im->n_soft++;
		} else if (got == CSV_BAD) {
			complain(im, csv, why);
		} else {
			gather(im, &row);
			suppress_row_clear(&row);
			if (im->n_rows % SHOW_EVERY == 0)
				show(im, csv);
			if (im->rows.len >= RUN_BYTES)
				rv = flush(im);
		}
	}
	return rv == ADM_OK ? flush(im) : rv;
}

static int
import_text(struct import *im, const struct suppress_args *a, const char *p, size_t len)
{
	unsigned reason = a->reason == NULL ? 0 : suppress_word(suppress_reason_names, SUPPRESS_REASONS, a->reason);
	struct suppress_csv csv;
	const char *why = NULL;
	int rv;

	im->total = len;
	if (suppress_csv_open(&csv, p, len, reason, &why) == -1) {
		rv = adm_fail("%s: %s", im->file, why);
	} else {
		csv.now = wall_ms();
		csv.expires = a->expires;
		csv.scope = a->tenant != NULL ? SUPPRESS_TENANT : a->sender_domain != NULL ? SUPPRESS_SENDER_DOMAIN :
		    SUPPRESS_GLOBAL;
		csv.scope_value = a->tenant != NULL ? a->tenant : a->sender_domain;
		rv = import_rows(im, &csv);
		if (im->is_tty)
			fputs("\r\033[K", stderr);
	}
	suppress_csv_clear(&csv);
	return rv;
}

/* What cannot be mapped (a pipe) is read whole. */
static char *
read_all(int fd, size_t *len_r)
{
	char *p = NULL;
	size_t len = 0, cap = 0;
	ssize_t n;

	for (;;) {
		if (cap - len < 65536) {
			cap = cap == 0 ? 1 << 20 : cap * 2;
			p = xreallocarray(p, cap, 1);
		}
		n = read(fd, p + len, cap - len);
		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	*len_r = len;
	if (n == 0)
		return p;
	free(p);
	return NULL;
}

static int
import_file(struct import *im, const struct suppress_args *a, const char *path)
{
	bool is_stdin = strcmp(path, "-") == 0;
	int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC), rv;
	struct stat sb;
	size_t len = 0;
	char *text;
	void *map;

	im->file = is_stdin ? "standard input" : path;
	if (fd == -1 || fstat(fd, &sb) == -1)
		return adm_fail("%s: %s", im->file, strerror(errno));
	if (S_ISREG(sb.st_mode) && sb.st_size > 0 && lseek(fd, 0, SEEK_CUR) == 0 &&
	    (map = mmap(NULL, (size_t)sb.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) != MAP_FAILED) {
		(void)madvise(map, (size_t)sb.st_size, MADV_SEQUENTIAL);
		rv = import_text(im, a, map, (size_t)sb.st_size);
		(void)munmap(map, (size_t)sb.st_size);
	} else if ((text = read_all(fd, &len)) == NULL) {
		rv = adm_fail("%s: %s", im->file, strerror(errno));
	} else {
		rv = import_text(im, a, text, len);
		free(text);
	}
	if (!is_stdin)
		close(fd);
	return rv;
}

static void
summary(const struct import *im)
{
	if (im->adm->json)
		printf("{\"rows\":%llu,\"added\":%llu,\"updated\":%llu,\"unchanged\":%llu,\"soft_bounces\":%llu,"
		    "\"bad_lines\":%llu}\n", (unsigned long long)im->n_rows, (unsigned long long)im->added,
		    (unsigned long long)im->updated, (unsigned long long)im->unchanged, (unsigned long long)im->n_soft,
		    (unsigned long long)im->n_bad);
	else
		printf("%llu added, %llu updated, %llu there already, %llu soft bounces left out, %llu bad lines\n",
		    (unsigned long long)im->added, (unsigned long long)im->updated, (unsigned long long)im->unchanged,
		    (unsigned long long)im->n_soft, (unsigned long long)im->n_bad);
}

int
suppress_import(const struct admin *adm, const struct suppress_args *a, int argc, char **argv)
{
	struct import im = { .adm = adm, .is_tty = isatty(STDERR_FILENO) == 1 && !adm->json };
	int i, rv = ADM_OK;

	if (argc == 0)
		return adm_usage("suppress", "import which files? `-' is standard input");
	if ((im.c = suppress_connect(adm)) == NULL)
		return ADM_FAILED;
	wbuf_init(&im.rows);
	wbuf_init(&im.scratch);
	for (i = 0; i < argc && rv == ADM_OK; i++)
		rv = import_file(&im, a, argv[i]);
	summary(&im);
	adm_disconnect(&im.c);
	wbuf_clear(&im.rows);
	wbuf_clear(&im.scratch);
	free(im.at);
	return rv == ADM_OK && im.n_bad > 0 ? ADM_FAILED : rv;
}
