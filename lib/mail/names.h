/* Names that decide where mail waits: tenants, campaigns, queues ("campaign:tenant@domain", missing parts left out).
 * They come from headers and from policy and are part of keys, logs and file names everywhere. */
#ifndef MAIL_NAMES_H
#define MAIL_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#define TENANT_MAX 64
#define CAMPAIGN_MAX 128
#define QUEUE_NAME_TEXT 512 /* room for the longest */

/* Letters, digits and "._+-" only, not empty. */
bool tenant_valid(const char *);
/* Makes a campaign such a name: everything else becomes '_'. */
void campaign_clean(char *);
/* NULL: no such part. */
void queue_name_make(char *out, size_t size, const char *campaign, const char *tenant, const char *domain);
/* Whether it is one: its parts valid, its domain in lower case. */
bool queue_name_valid(const char *);

#endif
