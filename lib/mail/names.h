/* Names that decide where mail waits: tenants, campaigns, queues ("campaign:tenant@domain", missing parts left out).
 * They come from headers and from policy and are part of keys, logs and file names everywhere. */
#ifndef MAIL_NAMES_H
#define MAIL_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TENANT_MAX 64
#define CAMPAIGN_MAX 128
#define QUEUE_NAME_TEXT 512 /* room for the longest */

/* Letters, digits and "._+-" only, not empty. */
bool tenant_valid(const char *);
/* Makes a campaign such a name: everything else becomes '_'. */
void campaign_clean(char *);
/* KumoMTA's order: campaign:tenant@domain, tenant@domain, campaign:@domain, domain. NULL and "": no such part. */
void queue_name_make(char *out, size_t size, const char *campaign, const char *tenant, const char *domain);
/* Where mail can be sent: a domain in lower case, or an address literal; a port may follow, ":2525". */
bool destination_valid(const char *);
/* The length of its host, without the port; 0 into *port_r if there is none. */
size_t destination_host(const char *, uint16_t *port_r);
/* Whether it is one: its parts valid, its domain a destination. */
bool queue_name_valid(const char *);
/* Its parts, malloced, as policy is asked about it; NULL: no such part (there is always a domain). */
void queue_name_split(const char *name, char **campaign_r, char **tenant_r, char **domain_r);

#endif
