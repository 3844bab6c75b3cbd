/* Keys that posthorn.dkim names, as the role that signs will find them. We may be root, and read what that role
 * cannot. */
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/loop.h"
#include "mail/dkim_key.h"

#include "check.h"
#include "dkim_files.h"

static bool
is_readable_for_role(const char *path)
{
	const struct passwd *pw = geteuid() == 0 ? getpwnam(DKIM_SIGN_USER) : NULL;
	struct stat st;

	return pw == NULL || stat(path, &st) == -1 || st.st_uid == pw->pw_uid ||
	    (st.st_gid == pw->pw_gid && (st.st_mode & S_IRGRP) != 0);
}

void
check_keys(const struct params *params, const struct key_list *l, struct conf_errors *warnings)
{
	struct dkim_keys *keys = dkim_keys_new(params->dkim_key_directory);
	const char *selector, *err = NULL;
	const struct key_ref *k;
	struct dkim_signer s;
	char *path;
	size_t i;

	if (l->n > 0 && suite_has_users() && getpwnam(DKIM_SIGN_USER) == NULL)
		conf_error_add(warnings, NULL, 0, "the user " DKIM_SIGN_USER " does not exist: the role that signs "
		    "will run as nobody, and read no key (systemd-sysusers makes it)");
	for (i = 0; i < l->n; i++) {
		k = &l->v[i];
		s = (struct dkim_signer){ .domain = k->domain, .selector = k->selector, .key = k->key, .key_dir =
		    k->key_dir };
		if (dkim_keys_find(keys, &s, mono_ms(), &selector, &err) == NULL) {
			conf_error_add(warnings, k->file, k->line, "%s: mail that it is for will be refused", err);
			continue;
		}
		path = dkim_key_path(params->dkim_key_directory, &s, selector);
		if (!is_readable_for_role(path))
			conf_error_add(warnings, k->file, k->line, "the DKIM key %s cannot be read by the user %s "
			    "(chown %s): mail that it is for will be refused", path, DKIM_SIGN_USER, DKIM_SIGN_USER);
		free(path);
	}
	dkim_keys_free(&keys);
}
