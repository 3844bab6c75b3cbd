/* Editing the passwd file of smtpd: `user:hash:key=value key=value`. Lines that are not touched stay byte for byte,
 * comments too. */
#ifndef POSTHORN_PASSWD_FILE_H
#define POSTHORN_PASSWD_FILE_H

#include <sys/types.h>

#include <stdbool.h>
#include <stddef.h>

struct passwd_lines {
	char **v; /* without newlines */
	size_t n;
};

/* What is to be known of a user; NULL leaves an attribute out. */
struct passwd_user {
	const char *name;
	const char *hash;
	const char *tenant, *domains, *rate;
	const char *return_path; /* "yes", "no" */
	const char *suppressed;  /* "accept", "reject" */
};

/* A missing file is an empty one. 0, or -1 and errno. */
int passwd_read(const char *path, struct passwd_lines *) __attribute__((warn_unused_result));
void passwd_lines_clear(struct passwd_lines *);
/* Index of the user's line, or -1. */
ssize_t passwd_line_find(const struct passwd_lines *, const char *name);
/* NULL, or what is wrong with it (static). */
const char *passwd_user_check(const struct passwd_user *);
/* NULL, or what is wrong with that line of a file (static). */
const char *passwd_line_check(const struct passwd_lines *, size_t at);
/* The line; the caller frees. */
char *passwd_user_line(const struct passwd_user *);
/* An attribute of a line, malloced, or NULL. */
char *passwd_line_attr(const char *line, const char *key);
void passwd_set(struct passwd_lines *, const char *name, char *line); /* takes over line */
bool passwd_remove(struct passwd_lines *, const char *name);
/* Writes a new file beside the old one and renames it: readers see the one or the other. Mode 0640 root:group if we
 * are root and the group exists, else 0600. 0, or -1 and errno. */
int passwd_write(const char *path, const struct passwd_lines *, const char *group) __attribute__((warn_unused_result));
/* Holds a lock on the file's directory while it is edited, so that two editors do not lose each other's user. The
 * descriptor, or -1 and errno. */
int passwd_lock(const char *path) __attribute__((warn_unused_result));

#endif
