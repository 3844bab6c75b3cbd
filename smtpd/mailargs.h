/* The parameters of MAIL and RCPT (RFC 1870, 6152, 6531, 3461, 4954): pure parsers. */
#ifndef SMTPD_MAILARGS_H
#define SMTPD_MAILARGS_H

#include <stdbool.h>
#include <stdint.h>

struct mail_args {
	bool has_size;
	uint64_t size;
	bool is_8bit;
	bool is_utf8;
	uint8_t ret;       /* RET_* */
	bool has_envid;
	char envid[101];   /* decoded */
};

struct rcpt_args {
	bool has_notify;
	uint8_t notify;    /* NOTIFY_* */
	bool has_orcpt;
	char orcpt[501];   /* decoded, "rfc822;a@b" */
};

/* 0, or -1 and a whole reply text in *err_r (static): "501 5.5.4 ...". */
int mail_args_parse(const char *s, struct mail_args *, const char **err_r) __attribute__((warn_unused_result));
int rcpt_args_parse(const char *s, bool allow_utf8, struct rcpt_args *,
    const char **err_r) __attribute__((warn_unused_result));

#endif
