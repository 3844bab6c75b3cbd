/* The directory of DKIM keys as the admin command sees it: DIR/DOMAIN/SELECTOR.key, and in DIR/DOMAIN the files
 * `current` and `next`, which name the selector that signs where policy names none, and the one that is to. */
#ifndef POSTHORN_DKIM_FILES_H
#define POSTHORN_DKIM_FILES_H

#include "mail/dkim_key.h"

#define DKIM_SIGN_USER "posthorn-sign" /* of the role that signs */

struct dkim_file {
	char *domain, *selector, *path;
	struct dkim_key *key; /* NULL: it cannot be used */
	char *problem;        /* why */
	bool is_current, is_next;
};

struct dkim_files {
	struct dkim_file *v;
	size_t n;
};

/* Those of the domain, or of all (NULL), by name; of one selector if it is not NULL. 0, or -1 and errno: the directory
 * cannot be read. */
int dkim_files_read(const char *dir, const char *domain, const char *selector, struct dkim_files *)
    __attribute__((warn_unused_result));
void dkim_files_clear(struct dkim_files *);
/* What `name` (current, next) says in the domain's directory: malloced, or NULL. */
char *dkim_word_read(const char *dir, const char *domain, const char *name);
/* Written beside and renamed. 0, or -1 and errno. */
int dkim_word_write(const char *dir, const char *domain, const char *name, const char *selector)
    __attribute__((warn_unused_result));
int dkim_word_remove(const char *dir, const char *domain, const char *name) __attribute__((warn_unused_result));
/* A new file, mode 0600, for the user that signs if we are root and there is one; directories are made. 0, or -1 and
 * errno. */
int dkim_key_store(const char *dir, const char *domain, const char *selector, const struct dkim_key *,
    bool *is_new_dir_r) __attribute__((warn_unused_result));

#endif
