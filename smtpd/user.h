/* What a line of the passwd file says of a user beside the password hash. The auth role reads it and tells the worker
 * after a successful login; the worker never sees a hash. */
#ifndef SMTPD_USER_H
#define SMTPD_USER_H

#include <stdbool.h>
#include <stdint.h>

enum { RETURN_PATH_DEFAULT, RETURN_PATH_NO, RETURN_PATH_YES };
enum { SUPPRESSED_DEFAULT, SUPPRESSED_ACCEPT, SUPPRESSED_REJECT };

struct user {
	char *name;
	char *tenant;       /* NULL: not bound to one */
	char *domains;      /* comma-separated sender domains, ".d" with all below d; NULL: any */
	uint64_t rate;      /* messages in each rate_per; 0: no limit */
	uint64_t rate_per;  /* ms */
	uint8_t return_path;/* RETURN_PATH_* */
	uint8_t suppressed; /* SUPPRESSED_*: what RCPT of a suppressed recipient is answered */
};

void user_clear(struct user *);
void user_copy(struct user *dst, const struct user *src);
/* Whether the user may send with this envelope sender; the null sender is everybody's. */
bool user_may_send_as(const struct user *, const char *address);

#endif
