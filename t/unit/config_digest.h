/* The digest of the configuration in a directory: what a consumer says after it has read it. */
#ifndef T_UNIT_CONFIG_DIGEST_H
#define T_UNIT_CONFIG_DIGEST_H

#include "mail/config.h"

/* Of what the directory holds now; 0 if it has errors. */
static inline uint64_t
config_digest(const char *dir)
{
	struct conf_errors errs = { NULL, 0 };
	struct config *c = config_load(dir, &errs);
	uint64_t digest = c != NULL ? c->digest : 0;

	conf_errors_clear(&errs);
	if (c != NULL)
		config_free(&c);
	return digest;
}

#endif
