/* One configuration as a whole: the bytes of main.cf, policy.lua and what else they name (an image), and what loading
 * them gives. Used by every daemon, by `posthorn check' and by the supervisor, so that all mean the same by "the
 * configuration in force".
 *
 * The supervisor reads the files once, has a child validate these bytes, and puts them into one file,
 * $run_directory/config/in-force, by rename(2): a generation, with a number for people and a digest that tells
 * configurations apart. Its daemons find the file's name in $POSTHORN_CONFIG_IMAGE and load nothing else, so that an
 * edit half done, or done a moment later, is nobody's configuration. run_directory is the image's, whatever its main.cf
 * says: a change takes a restart of the suite. Messages name the original files;
 * $config_directory is the original directory. A daemon without supervisor reads the directory: number 0. */
#ifndef MAIL_CONFIG_H
#define MAIL_CONFIG_H

#include <sys/types.h>

#include <stdint.h>

#include "base/slurp.h"
#include "mail/bounce_rules.h"
#include "mail/params.h"
#include "mail/policy.h"
#include "mail/shaping.h"

#define CONFIG_IMAGE_ENV "POSTHORN_CONFIG_IMAGE"
#define CONFIG_IMAGE_DIR "config"
#define CONFIG_IMAGE_NAME "in-force"

struct config_image {
	uint32_t number;
	uint64_t digest;
	struct slurp_copy *files; /* the first is main.cf */
	size_t n;
	bool is_whole; /* all that was named could be read: else what is missing is looked for on the disk */
};

struct config {
	uint32_t number;
	uint64_t digest;
	struct params *params;
	struct conf *conf;
	struct policy *policy;
	struct shaping *shaping;
	struct bounce_rules *bounce_rules;
};

/* What the files of the directory hold now. Files that cannot be read are left out (loading says so): never NULL. */
struct config_image *config_image_read(const char *config_dir);
/* 0, or -1 and errno. owner_group: who may read it beside the owner; -1: everybody. */
int config_image_save(const struct config_image *, const char *path, mode_t mode, gid_t group)
    __attribute__((warn_unused_result));
/* NULL and errno (EINVAL: not such a file). */
struct config_image *config_image_open(const char *path);
void config_image_free(struct config_image **);
/* Everything from here to config_image_leave() is loaded from the image. */
void config_image_enter(const struct config_image *);
void config_image_leave(void);

/* Loads the configuration in force: that of $POSTHORN_CONFIG_IMAGE, or what config_dir has. NULL, and all errors. */
struct config *config_load(const char *config_dir, struct conf_errors *) __attribute__((warn_unused_result));
/* The same, with errors logged and the level of logging set. */
struct config *config_load_logged(const char *config_dir) __attribute__((warn_unused_result));
void config_free(struct config **);
/* The bounce rules, for who wants them: then they are the caller's. */
struct bounce_rules *config_take_bounce_rules(struct config *);
/* Hands params, policy and shaping over to the caller and frees the rest. */
void config_take(struct config **, struct params **params_r, struct policy **policy_r,
    struct shaping **shaping_r);
/* The folder of the image, for the jail of who will load again; config_dir where there is none. */
const char *config_image_directory(const char *config_dir, char *buf, size_t size);

#endif
