/* Images of a configuration and loading from them (config.h). The supervisor writes images, as root; every daemon reads
 * them, before its jail and at reload. What is parsed here was written by the supervisor; it is checked all the same,
 * since a disk can be full or a file be replaced. */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/wire.h"
#include "base/xalloc.h"
#include "mail/config.h"

#define IMAGE_MAGIC 0x50484346u /* "PHCF" */
#define IMAGE_VERSION 1
#define IMAGE_MAX (64u << 20)
#define IMAGE_FILES_MAX 256
#define FILE_MAX (16u << 20)

static bool
image_has(const struct config_image *im, const char *file)
{
	for (size_t i = 0; i < im->n; i++)
		if (strcmp(im->files[i].file, file) == 0)
			return true;
	return false;
}

static bool
image_add(struct config_image *im, const char *file)
{
	size_t len;
	char *text;

	if (image_has(im, file))
		return true;
	if (im->n >= IMAGE_FILES_MAX || (text = slurp(file, FILE_MAX, &len)) == NULL)
		return false;
	im->files = xreallocarray(im->files, im->n + 1, sizeof(*im->files));
	im->files[im->n++] = (struct slurp_copy){ xstrdup(file), text, len };
	return true;
}

/* Names count too: the same bytes at another place may refer to other files. */
static void
image_digest(struct config_image *im)
{
	unsigned char md[SHA256_DIGEST_LENGTH];
	struct wbuf w;

	wbuf_init(&w);
	for (size_t i = 0; i < im->n; i++) {
		wbuf_str(&w, im->files[i].file);
		wbuf_bytes(&w, im->files[i].text, im->files[i].len);
	}
	(void)SHA256(w.p != NULL ? w.p : (const unsigned char *)"", w.len, md);
	wbuf_clear(&w);
	memcpy(&im->digest, md, sizeof(im->digest));
}

struct config_image *
config_image_read(const char *config_dir)
{
	struct config_image *im = xcalloc(1, sizeof(*im));
	struct conf_errors errs = { NULL, 0 };
	char *file = xasprintf("%s/main.cf", config_dir);
	struct params *p;
	bool is_whole;

	(void)image_add(im, file);
	free(file);
	/* Which files it names is read from the copy, not from the disk again. */
	config_image_enter(im);
	p = params_load(config_dir, NULL, &errs);
	config_image_leave();
	conf_errors_clear(&errs);
	/* A main.cf with errors is not going to be in force; the policy is looked at for its own errors. */
	file = p != NULL ? xstrdup(p->policy_file) : xasprintf("%s/policy.lua", config_dir);
	is_whole = image_add(im, file) && p != NULL;
	free(file);
	for (size_t i = 0; p != NULL && i < p->shaping_files.n; i++)
		is_whole = image_add(im, p->shaping_files.v[i]) && is_whole;
	for (size_t i = 0; p != NULL && i < p->bounce_rules_files.n; i++)
		is_whole = image_add(im, p->bounce_rules_files.v[i]) && is_whole;
	im->is_whole = is_whole;
	params_free(&p);
	image_digest(im);
	return im;
}

void
config_image_free(struct config_image **imp)
{
	struct config_image *im = *imp;

	*imp = NULL;
	if (im == NULL)
		return;
	for (size_t i = 0; i < im->n; i++) {
		free(im->files[i].file);
		free(im->files[i].text);
	}
	free(im->files);
	free(im);
}

void
config_image_enter(const struct config_image *im)
{
	slurp_use_copies(im->files, im->n, im->is_whole);
}

void
config_image_leave(void)
{
	slurp_use_copies(NULL, 0, false);
}

static void
image_encode(const struct config_image *im, struct wbuf *w)
{
	wbuf_u32(w, IMAGE_MAGIC);
	wbuf_u32(w, IMAGE_VERSION);
	wbuf_u32(w, im->number);
	wbuf_u64(w, im->digest);
	wbuf_u32(w, (uint32_t)im->n);
	for (size_t i = 0; i < im->n; i++) {
		wbuf_str(w, im->files[i].file);
		wbuf_bytes(w, im->files[i].text, im->files[i].len);
	}
}

static int
write_all(int fd, const struct wbuf *w)
{
	size_t done = 0;

	while (done < w->len) {
		ssize_t n = write(fd, w->p + done, w->len - done);

		if (n == -1 && errno != EINTR)
			return -1;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int
config_image_save(const struct config_image *im, const char *path, mode_t mode, gid_t group)
{
	char *tmp = xasprintf("%s.new", path);
	int fd, rv = -1, saved;
	struct wbuf w;

	wbuf_init(&w);
	image_encode(im, &w);
	(void)unlink(tmp);
	if ((fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)) != -1) {
		if (write_all(fd, &w) == 0 && (group == (gid_t)-1 || fchown(fd, (uid_t)-1, group) == 0) &&
		    fchmod(fd, mode) == 0 && rename(tmp, path) == 0)
			rv = 0;
		saved = errno;
		close(fd);
		if (rv == -1)
			unlink(tmp);
		errno = saved;
	}
	wbuf_clear(&w);
	free(tmp);
	return rv;
}

static bool
image_decode(struct rbuf *r, struct config_image *im)
{
	bool is_ours = rbuf_u32(r) == IMAGE_MAGIC && rbuf_u32(r) == IMAGE_VERSION;
	uint64_t digest;
	uint32_t n;

	im->number = rbuf_u32(r);
	digest = rbuf_u64(r);
	n = rbuf_u32(r);
	if (!is_ours || r->bad || n > IMAGE_FILES_MAX)
		return false;
	im->files = xcalloc(n + 1, sizeof(*im->files));
	for (; im->n < n && !r->bad; im->n++) {
		struct slurp_copy *f = &im->files[im->n];
		struct slice text;

		f->file = rbuf_strdup(r, PATH_MAX);
		text = rbuf_bytes(r, FILE_MAX);
		f->text = xmemdup0(text.base != NULL ? text.base : (const void *)"", text.len);
		f->len = text.len;
	}
	image_digest(im);
	im->is_whole = true;
	return rbuf_done(r) && im->digest == digest;
}

struct config_image *
config_image_open(const char *path)
{
	struct config_image *im;
	struct rbuf r;
	size_t len;
	char *text = slurp(path, IMAGE_MAX, &len);

	if (text == NULL)
		return NULL;
	im = xcalloc(1, sizeof(*im));
	rbuf_init(&r, text, len);
	if (!image_decode(&r, im)) {
		config_image_free(&im);
		errno = EINVAL;
	}
	free(text);
	return im;
}

static struct config *
load_from(const struct config_image *im, const char *config_dir, struct conf_errors *errs)
{
	struct config *c = xcalloc(1, sizeof(*c));
	size_t before = errs->n;

	c->number = im->number;
	c->digest = im->digest;
	config_image_enter(im);
	if ((c->params = params_load(config_dir, &c->conf, errs)) != NULL)
		c->policy = policy_load(c->params->policy_file, errs);
	if (c->params != NULL)
		c->shaping = shaping_load(&c->params->shaping_files, errs);
	if (c->params != NULL)
		c->bounce_rules = bounce_rules_load(&c->params->bounce_rules_files, errs);
	config_image_leave();
	if (errs->n > before || c->policy == NULL || c->shaping == NULL || c->bounce_rules == NULL)
		config_free(&c);
	return c;
}

/* The sockets are where the supervisor made them when it started, whatever main.cf says by now: a change takes a
 * restart of the suite. */
static void
keep_run_directory(struct params *p, const char *image)
{
	static const char tail[] = "/" CONFIG_IMAGE_DIR "/" CONFIG_IMAGE_NAME;
	size_t n = strlen(image);

	if (n < sizeof(tail) || strcmp(image + n - (sizeof(tail) - 1), tail) != 0)
		return;
	free(p->run_directory);
	p->run_directory = xmemdup0(image, n - (sizeof(tail) - 1));
}

struct config *
config_load(const char *config_dir, struct conf_errors *errs)
{
	const char *path = getenv(CONFIG_IMAGE_ENV);
	struct config_image *im = path != NULL ? config_image_open(path) : config_image_read(config_dir);
	struct config *c;

	if (im == NULL) {
		conf_error_add(errs, path, 0, "the configuration in force cannot be read: %s", strerror(errno));
		return NULL;
	}
	c = load_from(im, config_dir, errs);
	config_image_free(&im);
	if (c != NULL && path != NULL)
		keep_run_directory(c->params, path);
	return c;
}

struct config *
config_load_logged(const char *config_dir)
{
	struct conf_errors errs = { NULL, 0 };
	struct config *c = config_load(config_dir, &errs);

	conf_errors_log(&errs);
	conf_errors_clear(&errs);
	if (c != NULL)
		log_set_level((enum log_level)c->params->log_level);
	return c;
}

void
config_free(struct config **cp)
{
	struct config *c = *cp;

	*cp = NULL;
	if (c == NULL)
		return;
	policy_free(&c->policy);
	shaping_free(&c->shaping);
	bounce_rules_free(&c->bounce_rules);
	params_free(&c->params);
	conf_free(&c->conf);
	free(c);
}

struct bounce_rules *
config_take_bounce_rules(struct config *c)
{
	struct bounce_rules *rules = c->bounce_rules;

	c->bounce_rules = NULL;
	return rules;
}

void
config_take(struct config **cp, struct params **params_r, struct policy **policy_r,
    struct shaping **shaping_r)
{
	*params_r = (*cp)->params;
	*policy_r = (*cp)->policy;
	*shaping_r = (*cp)->shaping;
	(*cp)->params = NULL;
	(*cp)->policy = NULL;
	(*cp)->shaping = NULL;
	config_free(cp);
}

const char *
config_image_directory(const char *config_dir, char *buf, size_t size)
{
	const char *path = getenv(CONFIG_IMAGE_ENV);

	snprintf(buf, size, "%s", path != NULL ? path : "");
	return path != NULL ? dirname(buf) : config_dir;
}
