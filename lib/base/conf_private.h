/* Between the parts of the configuration reader: conf.c (the table and the whole), conf_read.c (lines),
 * conf_expand.c ($names), conf_value.c (types and bounds). */
#ifndef BASE_CONF_PRIVATE_H
#define BASE_CONF_PRIVATE_H

#include "base/conf.h"

#define CONF_FILE_MAX (1u << 20)  /* bytes in a file */
#define CONF_VALUE_MAX (1u << 16) /* bytes in a value after expansion */
#define CONF_DEPTH_MAX 16         /* $names within $names */
#define CONF_ERRORS_MAX 100       /* a file with more is not a configuration: stop reading */

enum conf_entry_state { CONF_ENTRY_RAW, CONF_ENTRY_EXPANDING, CONF_ENTRY_DONE, CONF_ENTRY_BAD };

struct conf_entry { /* one a parameter of the table, in its order */
	const struct conf_param *param;
	const char *raw; /* as written, or the default; not owned */
	char *set;       /* as written in the file; NULL: not set */
	char *text;      /* expanded */
	unsigned line;   /* 0: not set */
	enum conf_entry_state state;
};

struct conf {
	char *file;
	char *directory;
	char *hostname;
	struct conf_entry *entries;
	size_t n;
};

struct conf_entry *conf_entry_find(const struct conf *, const char *name, size_t len);

/* Called for each logical line that is well-formed; name and value are valid only during the call. */
typedef void conf_line_fn(void *arg, char *name, char *value, unsigned line);
/* Splits a file into logical lines. 0, or -1 if it could not be read; syntax errors are only added. */
int conf_read(const char *file, conf_line_fn *, void *arg, struct conf_errors *);

/* Fills e->text. On error adds it and marks the entry bad. */
void conf_expand(struct conf *, struct conf_entry *, struct conf_errors *);

/* Parses text into the target's field. NULL, or a malloced sentence about the value. The field is untouched then. */
char *conf_value_set(const struct conf_param *, const char *text, void *target);
void conf_value_clear(const struct conf_param *, void *target);

#endif
