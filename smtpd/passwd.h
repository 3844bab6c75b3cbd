/* The passwd file: `user:hash:key=value key=value`. Pure parsing; checking a password is authd.c's. */
#ifndef SMTPD_PASSWD_H
#define SMTPD_PASSWD_H

#include <stddef.h>

#include "smtpd/user.h"

struct passwd_entry {
	struct user user;
	char *hash; /* crypt(5) */
};

struct passwd_file {
	struct passwd_entry *v; /* sorted by name */
	size_t n;
};

/* One line without its newline. 1 and *out; 0: blank or comment; -1 and *err_r (static). */
int passwd_parse_line(const char *line, struct passwd_entry *out,
    const char **err_r) __attribute__((warn_unused_result));
/* "100/h", "5/s", "2000/d", "10/m" */
int passwd_parse_rate(const char *text, uint64_t *n_r, uint64_t *per_ms_r) __attribute__((warn_unused_result));
void passwd_entry_clear(struct passwd_entry *);
/* Reads the file at start-up. Faulty and repeated lines are logged with their number and left out: one typing error
 * must not lock every other user out. NULL and errno if the file cannot be read. */
struct passwd_file *passwd_load(const char *path);
void passwd_free(struct passwd_file **);
const struct passwd_entry *passwd_find(const struct passwd_file *, const char *name);

#endif
