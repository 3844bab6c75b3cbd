/* What a domain says about MTA-STS (RFC 8461): the TXT record at _mta-sts, which names a policy, and the policy itself,
 * which its web host serves. Pure; both are a stranger's. */
#ifndef MAIL_STS_POLICY_H
#define MAIL_STS_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STS_ID_MAX 32
#define STS_POLICY_MAX (64u << 10) /* octets (section 3.3) */
#define STS_MAX_AGE_MAX 31557600   /* seconds (section 3.2) */

enum sts_mode { STS_MODE_NONE, STS_MODE_TESTING, STS_MODE_ENFORCE };
extern const char *const sts_mode_names[];

struct sts_policy {
	enum sts_mode mode;
	uint32_t max_age; /* seconds; what is above STS_MAX_AGE_MAX is that */
	char **mx;        /* lower case: host names, and "*.example.com" */
	size_t n_mx;
};

/* Whether a TXT record is one of MTA-STS at all: others at the same name do not count (section 3.1). */
bool sts_txt_is_ours(const char *txt, size_t len);
bool sts_id_valid(const char *, size_t len);
/* Its id. False: malformed, which is as if there were none. */
bool sts_txt_parse(const char *txt, size_t len, char id[STS_ID_MAX + 1]);
/* 0, or -1 and *err_r (static): the policy is invalid, which is as if it had not been got. */
int sts_policy_parse(const char *text, size_t len, struct sts_policy *, const char **err_r)
    __attribute__((warn_unused_result));
void sts_policy_clear(struct sts_policy *);
/* Section 4.1: '*' stands for exactly one label, the leftmost. */
bool sts_policy_has_mx(const struct sts_policy *, const char *host);

#endif
