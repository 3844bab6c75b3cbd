/* A configuration file of `name = value` lines in Postfix's syntax (main.cf(5)): a line that starts with white
 * space continues the last; # at the start of a line is a comment; $name and ${name} expand. A table says type,
 * default and bounds of each parameter. All errors are collected with file and line, with a suggestion for unknown
 * names; one is enough to reject the whole. */
#ifndef BASE_CONF_H
#define BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cidr.h"

enum conf_type {
	CONF_STR,      /* char * */
	CONF_STRS,     /* struct conf_strs: comma or white space separated */
	CONF_BOOL,     /* bool: yes/no */
	CONF_INT,      /* int64_t */
	CONF_SIZE,     /* int64_t bytes: 10M, 64k */
	CONF_TIME,     /* int64_t milliseconds: 30s, 5m, 2h, 5d, 200ms; a bare number is seconds */
	CONF_ENUM,     /* int, index in `words` */
	CONF_CIDRS,    /* struct cidr_list */
	CONF_LISTEN    /* struct conf_addrs: address:port, ... */
};

struct conf_strs {
	char **v;
	size_t n;
};

struct conf_addr {
	struct sockaddr_storage sa;
	socklen_t len;
	char *text;
};

struct conf_addrs {
	struct conf_addr *v;
	size_t n;
};

struct conf_param {
	const char *name;
	size_t offset;            /* in the target struct */
	const char *def;          /* default, in file syntax; may refer to $others */
	int64_t min, max;         /* INT, SIZE, TIME */
	const char *const *words; /* ENUM, NULL-terminated */
	enum conf_type type;
	bool is_restart;          /* a change needs a restart of the suite, not a reload */
};

struct conf_error {
	char *file;
	unsigned line; /* 0: none */
	char *text;
};

struct conf_errors {
	struct conf_error *v;
	size_t n;
};

void conf_error_add(struct conf_errors *, const char *file, unsigned line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void conf_errors_clear(struct conf_errors *);
/* "main.cf:12: sentence", malloced; the line is left out where there is none. */
char *conf_error_text(const struct conf_error *);
/* Each as a line of the program log (level error). */
void conf_errors_log(const struct conf_errors *);

/* Built-in names that any value may refer to: $config_directory (where the file is, resolved) and $system_hostname
 * (the host's name; ".localdomain" is appended if it has no dot, as Postfix does). */
struct conf; /* the texts: what was set where, for `posthorn conf` */
/* Fills target from file (and defaults). Returns NULL if there are errors. */
struct conf *conf_load(const char *file, const struct conf_param *table, size_t n, void *target, struct conf_errors *);
void conf_free(struct conf **);
void conf_target_clear(const struct conf_param *table, size_t n, void *target);
/* The value in file syntax after expansion; NULL if there is no such parameter. is_set: given in the file. */
const char *conf_text(const struct conf *, const char *name, bool *is_set);
/* Where it was set: the line in the file, 0 if it was not. */
unsigned conf_line(const struct conf *, const char *name);
const char *conf_file(const struct conf *);

/* The value syntaxes, for others that read the same notations (policy). 0 or -1. Units of time: ms, s, m, h, d, w
 * or the words ("20 min", "5 days"); none: seconds. Units of size: k, M, G, T (powers of 1024); none: bytes. */
int conf_time_parse(const char *, int64_t *ms_r) __attribute__((warn_unused_result));
int conf_size_parse(const char *, int64_t *bytes_r) __attribute__((warn_unused_result));
/* The shortest notation of a time: "5m", "1500ms". */
void conf_time_text(int64_t ms, char *out, size_t size);
/* A range as in main.cf: like cidr_parse, and brackets around an IPv6 address ("[::1]/128"). NULL, or a sentence
 * (static). */
const char *conf_cidr_parse(const char *, struct cidr *) __attribute__((warn_unused_result));

#endif
