/* The public suffix list: under which names do strangers register theirs? By it the organizational domain of a name is
 * found (RFC 7489 section 3.2): one label more than its public suffix. */
#ifndef MAIL_SUFFIX_H
#define MAIL_SUFFIX_H

#include <stdbool.h>
#include <stddef.h>

#define SUFFIX_LIST_FILE "/usr/share/publicsuffix/public_suffix_list.dat" /* Debian: package publicsuffix */

struct suffix_list;

/* Reads the file. NULL, and a sentence to be freed in *err_r. */
struct suffix_list *suffix_list_load(const char *path, char **err_r) __attribute__((warn_unused_result));
/* The same of text, which is kept and freed (malloced, NUL behind it). */
struct suffix_list *suffix_list_read(char *text);
void suffix_list_free(struct suffix_list **);
size_t suffix_list_count(const struct suffix_list *);
/* The organizational domain within `domain` (a tail of it); the whole if it is itself a public suffix. Without a list:
 * the whole, so that nothing is taken for one organization's that is not. */
const char *suffix_organization(const struct suffix_list *, const char *domain);

#endif
