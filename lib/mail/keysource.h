/* Where a secret (or a certificate) of policy is: in a file, or in the policy itself ({ key_data = '...' }), as
 * KumoMTA's keysources. Kept as one string, so that it can be copied and laid over another like any other setting;
 * what it holds is never shown. */
#ifndef MAIL_KEYSOURCE_H
#define MAIL_KEYSOURCE_H

#include <stddef.h>

#define KEYSOURCE_MAX (64u << 10)

/* *out is malloced, what was there is freed. NULL, or why not (static, without the value). */
const char *keysource_of_file(const char *name, char **out);
const char *keysource_of_text(const char *text, char **out);
/* For people: the file's name, or that it is not shown. */
const char *keysource_shown(const char *source);
/* The text, malloced and NUL-terminated, to be cleared by keysource_free(). A file lies below `dir` (absolute) and is
 * looked at anew. is_secret: it must be closed to everybody else. NULL and *err_r (malloced sentence). */
char *keysource_text(const char *source, const char *dir, int is_secret, size_t *len_r, char **err_r);
void keysource_free(char **text);

#endif
