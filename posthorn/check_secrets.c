/* Passwords, certificates and keys that shaping data name, before the configuration is in force. The child that reads
 * the data is nobody and says what they name; whoever asked is root, reads the files, and says whether they are good
 * for anything. What an event answers is known only when it is asked: deliverd looks at that. */
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "base/xalloc.h"
#include "mail/credentials.h"
#include "mail/keysource.h"
#include "mail/shaping.h"

#include "check.h"

#define TEXT_MAX (KEYSOURCE_MAX + 16)

struct telling {
	struct wbuf *out;
	const char *dir;
	uint8_t item;
};

/* What belongs together is looked at if the same table says both: the other part may be in another layer. */
static void
tell(const struct policy_path_config *c, const struct shaping_origin *o, void *arg)
{
	const struct telling *t = arg;
	bool has_password = c->smtp_auth_plain_username != NULL && c->smtp_auth_plain_password != NULL;
	bool has_cert = c->tls_certificate != NULL && c->tls_private_key != NULL;

	if (!has_password && !has_cert)
		return;
	wbuf_u8(t->out, t->item);
	wbuf_str(t->out, t->dir);
	wbuf_str(t->out, has_password ? c->smtp_auth_plain_username : NULL);
	wbuf_str(t->out, has_password ? c->smtp_auth_plain_password : NULL);
	wbuf_str(t->out, has_cert ? c->tls_certificate : NULL);
	wbuf_str(t->out, has_cert ? c->tls_private_key : NULL);
	wbuf_str(t->out, o->file);
	wbuf_u32(t->out, o->line);
}

void
check_secrets_tell(const struct shaping *shaping, const char *dir, uint8_t item, struct wbuf *out)
{
	struct telling t = { out, dir, item };

	shaping_each_config(shaping, tell, &t);
}

/* Of another process, which ran a policy: only what keysource.h makes is taken. */
static char *
source_get(struct rbuf *r)
{
	char *text = rbuf_strdup(r, TEXT_MAX);

	if (strncmp(text, "file:", 5) == 0 || strncmp(text, "text:", 5) == 0)
		return text;
	if (*text != '\0')
		r->bad = true;
	free(text);
	return NULL;
}

struct secret {
	struct policy_path_config config;
	char *dir, *file;
	unsigned line;
};

static void
secret_load(void *arg, struct conf_errors *errors, struct conf_errors *warnings)
{
	const struct secret *s = arg;
	struct credentials found;
	char *err = credentials_load(&found, &s->config, s->dir);

	(void)warnings;
	if (err != NULL)
		conf_error_add(errors, s->file, s->line, "%s", err);
	free(err);
	credentials_clear(&found);
}

void
check_secret_decode(struct rbuf *r, struct conf_errors *errors)
{
	struct secret s = { .dir = rbuf_strdup(r, TEXT_MAX) };
	char *user = rbuf_strdup(r, TEXT_MAX);

	policy_path_config_init(&s.config);
	s.config.smtp_auth_plain_password = source_get(r);
	if (s.config.smtp_auth_plain_password != NULL)
		s.config.smtp_auth_plain_username = xstrdup(user);
	s.config.tls_certificate = source_get(r);
	s.config.tls_private_key = source_get(r);
	s.file = rbuf_strdup(r, TEXT_MAX);
	s.line = rbuf_u32(r);
	if (!r->bad)
		check_apart(secret_load, &s, errors, errors);
	policy_path_config_clear(&s.config);
	free(s.file);
	free(user);
	free(s.dir);
}
