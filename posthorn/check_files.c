/* What daemons will need of the file system: certificate, key, passwd file, directories, executables, users. The
 * checks tell the administrator before a daemon fails on it; each daemon checks for itself again. */
#include <sys/stat.h>

#include <errno.h>
#include <glob.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/tls.h"
#include "base/xalloc.h"

#include "check.h"
#include "passwd_file.h"

#define CERT_WARN_DAYS 14

static bool
check_readable(const char *file, const char *what, struct conf_errors *errors)
{
	if (file == NULL || *file == '\0' || access(file, R_OK) == 0)
		return true;
	conf_error_add(errors, file, 0, "the %s cannot be read: %s", what, strerror(errno));
	return false;
}

/* How long it lasts, and for whom it is. */
static void
check_cert(const struct params *p, const X509 *cert, struct conf_errors *warnings)
{
	int days = 0, secs = 0;
	char kind[64];

	if (cert == NULL)
		return;
	(void)snprintf(kind, sizeof(kind), "smtpd_tls_cert_file (%.30s)",
	    OBJ_nid2sn(EVP_PKEY_get_base_id(X509_get0_pubkey(cert))));
	if (ASN1_TIME_diff(&days, &secs, NULL, X509_get0_notAfter(cert)) == 1) {
		if (days < 0 || secs < 0)
			conf_error_add(warnings, NULL, 0, "%s: the certificate has expired", kind);
		else if (days < CERT_WARN_DAYS)
			conf_error_add(warnings, NULL, 0, "%s: the certificate expires in %d day%s", kind, days,
			    days == 1 ? "" : "s");
	}
	if (p->myhostname != NULL && X509_check_host((X509 *)(uintptr_t)cert, p->myhostname, 0, 0, NULL) != 1)
		conf_error_add(warnings, NULL, 0, "%s: the certificate is not for myhostname (%s)", kind,
		    p->myhostname);
}

struct certificates {
	const struct params *params;
	const struct conf_strs *certs, *keys;
};

static void
load_certificates(void *arg, struct conf_errors *errors, struct conf_errors *warnings)
{
	const struct certificates *c = arg;
	char *err = NULL;
	SSL_CTX *ctx;
	long set;

	if ((ctx = tls_server_ctx_of(c->certs, c->keys, "check", &err)) == NULL) {
		conf_error_add(errors, NULL, 0, "%s", err);
		free(err);
		return;
	}
	for (set = SSL_CERT_SET_FIRST; SSL_CTX_set_current_cert(ctx, set) == 1; set = SSL_CERT_SET_NEXT)
		check_cert(c->params, SSL_CTX_get0_certificate(ctx), warnings);
	SSL_CTX_free(ctx);
}

/* Certificates and keys as smtpd will load them. */
void
check_certificate(const struct params *p, struct conf_errors *errors, struct conf_errors *warnings)
{
	const struct conf_strs *certs = &p->smtpd_tls_cert_file, *keys = &p->smtpd_tls_key_file;
	struct certificates c = { p, certs, keys };
	bool is_readable = true;
	size_t i;

	/* OpenSSL's words for a missing file are "system lib". */
	for (i = 0; i < certs->n; i++)
		is_readable = check_readable(certs->v[i], "certificate", errors) && is_readable;
	for (i = 0; i < keys->n; i++)
		is_readable = check_readable(keys->v[i], "private key", errors) && is_readable;
	if (certs->n == 0 && p->submission_listen.n + p->submissions_listen.n > 0)
		conf_error_add(errors, NULL, 0, "smtpd_tls_cert_file is not set, but submission needs TLS");
	if (certs->n == 0 || !is_readable)
		return;
	check_apart(load_certificates, &c, errors, warnings);
}

static void
check_secret(const char *file, const char *what, struct conf_errors *errors)
{
	struct stat st;

	if (file == NULL || *file == '\0' || stat(file, &st) == -1)
		return;
	if ((st.st_mode & S_IRWXO) != 0)
		conf_error_add(errors, file, 0, "the %s is open to everybody (mode %04o): chmod o= it", what,
		    (unsigned)st.st_mode & 07777);
	else if ((st.st_mode & S_IWGRP) != 0)
		conf_error_add(errors, file, 0, "the %s is writable by its group (mode %04o): chmod g-w it", what,
		    (unsigned)st.st_mode & 07777);
}

/* smtpd leaves wrong lines out and goes on: one user's line is no reason to refuse the mail of all others. */
static void
check_passwd_lines(const char *file, struct conf_errors *errors, struct conf_errors *warnings)
{
	struct passwd_lines lines;

	if (passwd_read(file, &lines) == -1)
		conf_error_add(errors, file, 0, "the passwd file cannot be read: %s", strerror(errno));
	for (size_t i = 0; i < lines.n; i++) {
		const char *err = passwd_line_check(&lines, i);

		if (err != NULL)
			conf_error_add(warnings, file, (unsigned)i + 1, "%s: the line is left out", err);
	}
	passwd_lines_clear(&lines);
}

static void
check_passwd(const struct params *p, struct conf_errors *errors, struct conf_errors *warnings)
{
	struct stat st;

	if (p->passwd_file == NULL || *p->passwd_file == '\0')
		return;
	if (stat(p->passwd_file, &st) == -1) {
		if (errno != ENOENT)
			conf_error_add(errors, p->passwd_file, 0, "%s", strerror(errno));
		else if (p->submission_listen.n + p->submissions_listen.n > 0)
			conf_error_add(warnings, p->passwd_file, 0,
			    "does not exist, so nobody can log in; `posthorn passwd USER' makes it");
		return;
	}
	if (!S_ISREG(st.st_mode)) {
		conf_error_add(errors, p->passwd_file, 0, "the passwd file is not a regular file");
		return;
	}
	check_secret(p->passwd_file, "passwd file", errors);
	check_passwd_lines(p->passwd_file, errors, warnings);
}

/* A directory that is not there must be possible to make. */
static void
check_directory(const char *name, const char *path, struct conf_errors *errors)
{
	char parent[PATH_MAX];
	struct stat st;

	if (stat(path, &st) == 0)
		return;
	if (errno != ENOENT) {
		conf_error_add(errors, path, 0, "%s: %s", name, strerror(errno));
		return;
	}
	snprintf(parent, sizeof(parent), "%s", path);
	while (stat(dirname(parent), &st) == -1 && errno == ENOENT && strcmp(parent, "/") != 0)
		;
	if (access(parent, W_OK | X_OK) == -1)
		conf_error_add(errors, path, 0, "%s does not exist and %s is not writable", name, parent);
}

/* What queued set aside is evidence: somebody should look at the disk, and then remove it. */
static void
check_index(const struct params *p, struct conf_errors *warnings)
{
	char *pattern = xasprintf("%s/index.bad-*", p->queue_directory);
	glob_t found;

	if (glob(pattern, GLOB_NOSORT, NULL, &found) == 0)
		conf_error_add(warnings, p->queue_directory, 0,
		    "%zu damaged index%s set aside as index.bad-*: look at the disk and the log, then remove %s",
		    found.gl_pathc, found.gl_pathc == 1 ? " was" : "es were", found.gl_pathc == 1 ? "it" : "them");
	globfree(&found);
	free(pattern);
}

static void
check_daemons(const struct params *p, struct conf_errors *errors)
{
	static const char *const names[] = { "queued", "bouncerd", "fblproc", "deliverd", "smtpd" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char *path = xasprintf("%s/%s", p->daemon_directory, names[i]);

		if (access(path, X_OK) == -1)
			conf_error_add(errors, path, 0, "%s (see daemon_directory)", strerror(errno));
		free(path);
	}
}

static void
check_users(const struct params *p, struct conf_errors *warnings)
{
	if (geteuid() == 0 && !suite_has_users())
		conf_error_add(warnings, NULL, 0, "the users posthorn-* do not exist: every daemon will run as nobody, "
		    "without separation (systemd-sysusers makes them)");
	if (p->admin_group != NULL && *p->admin_group != '\0' && getgrnam(p->admin_group) == NULL && geteuid() == 0)
		conf_error_add(warnings, NULL, 0, "admin_group `%s' does not exist: only root may use the admin "
		    "sockets",
		    p->admin_group);
}

static void
check_names(const struct params *p, const struct conf *conf, struct conf_errors *errors, struct conf_errors *warnings)
{
	bool is_set = false;

	if (strchr(p->myhostname, '.') == NULL)
		conf_error_add(warnings, NULL, 0,
		    "myhostname is %s: receivers distrust a name without a domain; set the real one", p->myhostname);
	/* The default may be missing (Debian's package dns-root-data has it); what was asked for may not. */
	(void)conf_text(conf, "dns_trust_anchor_file", &is_set);
	if (is_set)
		(void)check_readable(p->dns_trust_anchor_file, "trust anchor (dns_trust_anchor_file)", errors);
}

void
check_files(const struct params *p, const struct conf *conf, struct conf_errors *errors, struct conf_errors *warnings)
{
	check_certificate(p, errors, warnings);
	check_environment(p, conf, errors, warnings);
}

void
check_environment(const struct params *p, const struct conf *conf, struct conf_errors *errors,
    struct conf_errors *warnings)
{
	size_t i;

	check_daemons(p, errors);
	check_index(p, warnings);
	check_names(p, conf, errors, warnings);
	for (i = 0; i < p->smtpd_tls_key_file.n; i++)
		check_secret(p->smtpd_tls_key_file.v[i], "private key", errors);
	check_passwd(p, errors, warnings);
	check_directories(p, errors);
	check_directory("queue_directory", p->queue_directory, errors);
	check_directory("log_directory", p->log_directory, errors);
	check_directory("run_directory", p->run_directory, errors);
	check_listen(p, errors);
	check_users(p, warnings);
	if (p->smtpd_listen.n + p->submission_listen.n + p->submissions_listen.n == 0)
		conf_error_add(warnings, NULL, 0, "no listen address is set: no mail can come in");
}
