/* Loading main.cf and the policy in a child that has given up what it can (see check.h). The policy is code: of the
 * administrator's, but often edited by people with fewer rights than root, so it never runs as root. The result comes
 * back as text lines over a pipe, bounded, and the child has 10 seconds. */
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/wire.h"
#include "base/xalloc.h"
#include "mail/bounce_rules.h"
#include "mail/dkim.h"
#include "mail/policy.h"
#include "mail/shaping.h"

#include "check.h"

#define CHECK_TIME_LIMIT 10000
#define CHECK_MAX_BYTES (1u << 20)
#define CHECK_MAX_TEXT 4096
#define CHECK_MAX_KEYS 1000 /* looked at */

enum check_item { CHECK_ERROR = 1, CHECK_WARNING, CHECK_POOL, CHECK_SOURCE, CHECK_KEY, CHECK_END, CHECK_SECRET };

const char *const suite_users[] = { "posthorn-smtpd", SUITE_QUEUE_USER, SUITE_DELIVER_USER, "posthorn-bouncerd",
	"posthorn-fblproc", NULL };

bool
suite_has_users(void)
{
	if (geteuid() != 0 || getgrnam(SUITE_GROUP) == NULL)
		return false;
	for (size_t i = 0; suite_users[i] != NULL; i++) {
		if (getpwnam(suite_users[i]) == NULL)
			return false;
	}
	return true;
}

void
pool_list_clear(struct pool_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	l->v = NULL;
	l->n = 0;
	for (size_t i = 0; i < l->n_sources; i++) {
		free(l->sources[i].name);
		free(l->sources[i].address);
		free(l->sources[i].ehlo);
	}
	free(l->sources);
	l->sources = NULL;
	l->n_sources = 0;
}

/* Root becomes nobody, keeping the suite's group so that a policy readable by that group can be read. */
void
check_drop(void)
{
	const struct passwd *pw;
	const struct group *gr;
	gid_t groups[1];
	size_t n = 0;

	if (geteuid() == 0) {
		if ((gr = getgrnam(SUITE_GROUP)) != NULL)
			groups[n++] = gr->gr_gid;
		pw = getpwnam("nobody");
		if (pw == NULL || setgroups(n, groups) == -1 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) == -1 ||
		    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) == -1 || setuid(0) == 0)
			_exit(101);
	}
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* Root can read what the daemons cannot, so that a bare "Permission denied" would puzzle: names the directory or file
 * that is closed to them, and what opens it. */
static bool
check_reach(const char *file, struct conf_errors *errors)
{
	char *path = xstrdup(file);
	bool is_dir = false;

	if (access(file, R_OK) == 0 || errno != EACCES || getgrnam(SUITE_GROUP) == NULL) {
		free(path);
		return true; /* or the loader says what is wrong */
	}
	for (char *p = strchr(path + 1, '/'); p != NULL && !is_dir; p = strchr(p + 1, '/')) {
		*p = '\0';
		is_dir = access(path, X_OK) == -1 && errno == EACCES;
		if (!is_dir)
			*p = '/';
	}
	conf_error_add(errors, path, 0, "closed to the daemons, which read the configuration as members of the group "
	    "%s, not as root: chgrp %s it, and chmod g+%s",
	    SUITE_GROUP, SUITE_GROUP, is_dir ? "x" : "r");
	free(path);
	return false;
}

static void
check_report(struct wbuf *out, enum check_item item, const struct conf_errors *errors)
{
	for (size_t i = 0; i < errors->n; i++) {
		wbuf_u8(out, (uint8_t)item);
		wbuf_str(out, errors->v[i].file);
		wbuf_u32(out, errors->v[i].line);
		wbuf_str(out, errors->v[i].text);
	}
}

static void
check_shaping(const struct params *params, struct wbuf *out, struct conf_errors *errors, struct conf_errors *warnings)
{
	struct shaping *shaping;
	size_t i;

	if (params->shaping_files.n == 0)
		conf_error_add(warnings, NULL, 0, "there is no shaping data: every provider is sent to with the same "
		    "limits; see posthorn-shaping(5)");
	for (i = 0; i < params->shaping_files.n; i++)
		if (!check_reach(params->shaping_files.v[i], errors))
			return;
	shaping = shaping_load(&params->shaping_files, errors);
	if (shaping != NULL)
		check_secrets_tell(shaping, params->smtp_secret_directory, CHECK_SECRET, out);
	shaping_free(&shaping);
}

static void
report_keys(struct wbuf *out, const char *file, const struct policy *policy)
{
	const struct dkim_signer *s;
	unsigned line;

	for (size_t i = 0; i < policy_dkim_count(policy) && i < CHECK_MAX_KEYS; i++) {
		s = policy_dkim_at(policy, i, &line);
		wbuf_u8(out, CHECK_KEY);
		wbuf_str(out, s->domain);
		wbuf_str(out, s->selector);
		wbuf_str(out, s->key);
		wbuf_str(out, s->key_dir);
		wbuf_str(out, file);
		wbuf_u32(out, line);
	}
}

static void
check_bounce_rules(const struct params *params, struct conf_errors *errors, struct conf_errors *warnings)
{
	struct bounce_rules *rules;
	size_t i;

	if (params->bounce_rules_files.n == 0)
		conf_error_add(warnings, NULL, 0, "there are no bounce rules: what the replies to failures mean is not "
		    "known; see bounce_rules(5)");
	for (i = 0; i < params->bounce_rules_files.n; i++)
		if (!check_reach(params->bounce_rules_files.v[i], errors))
			return;
	rules = bounce_rules_load(&params->bounce_rules_files, errors);
	bounce_rules_free(&rules);
}

static void
check_tell_pool(struct wbuf *out, const struct policy_pool *pool)
{
	wbuf_u8(out, CHECK_POOL);
	wbuf_str(out, pool->name);
	for (size_t i = 0; i < pool->n_entries; i++) {
		wbuf_u8(out, CHECK_SOURCE);
		wbuf_str(out, pool->entries[i].source->name);
		wbuf_str(out, pool->entries[i].source->source_address);
		wbuf_str(out, pool->entries[i].source->ehlo_domain);
	}
}

static void
check_load(const char *config_dir, struct wbuf *out, struct conf_errors *errors, struct conf_errors *warnings)
{
	char *file = xasprintf("%s/main.cf", config_dir);
	struct conf *conf = NULL;
	struct params *params;
	struct policy *policy;

	if (!check_reach(file, errors)) {
		free(file);
		return;
	}
	free(file);
	params = params_load(config_dir, &conf, errors);
	if (params != NULL)
		params_warn(params, conf, warnings);
	/* A broken main.cf is no reason to keep the errors of the policy for the next time. */
	file = params != NULL ? xstrdup(params->policy_file) : xasprintf("%s/policy.lua", config_dir);
	if ((params != NULL || access(file, R_OK) == 0) && check_reach(file, errors) &&
	    (policy = policy_load(file, errors)) != NULL) {
		check_sources(file, policy, warnings);
		for (size_t i = 0; i < policy_pool_count(policy); i++)
			check_tell_pool(out, policy_pool_at(policy, i));
		report_keys(out, file, policy);
		policy_free(&policy);
	}
	if (params != NULL) {
		check_shaping(params, out, errors, warnings);
		check_bounce_rules(params, errors, warnings);
	}
	free(file);
	params_free(&params);
	conf_free(&conf);
}

static void __attribute__((noreturn))
check_child(int fd, const char *config_dir)
{
	struct conf_errors errors = { NULL, 0 }, warnings = { NULL, 0 };
	struct rlimit none = { 0, 0 };
	struct wbuf out;
	size_t done = 0;

	setrlimit(RLIMIT_CORE, &none);
	setrlimit(RLIMIT_FSIZE, &none);
	check_drop();
	wbuf_init(&out);
	check_load(config_dir, &out, &errors, &warnings);
	check_report(&out, CHECK_ERROR, &errors);
	check_report(&out, CHECK_WARNING, &warnings);
	wbuf_u8(&out, CHECK_END);
	while (done < out.len) {
		ssize_t n = write(fd, out.p + done, out.len - done);

		if (n == -1)
			_exit(102);
		done += (size_t)n;
	}
	_exit(0);
}

/* Everything the child writes until it closes, within the limits of bytes and time. */
static int
check_collect(int fd, struct wbuf *in)
{
	int64_t deadline = mono_ms() + CHECK_TIME_LIMIT;

	for (;;) {
		struct pollfd pfd = { fd, POLLIN, 0 };
		int64_t left = deadline - mono_ms();
		char buf[4096];
		ssize_t n;

		if (left <= 0 || in->len > CHECK_MAX_BYTES)
			return -1;
		if (poll(&pfd, 1, (int)left) == -1 && errno != EINTR)
			return -1;
		if ((pfd.revents & (POLLIN | POLLHUP | POLLERR)) == 0)
			continue;
		if ((n = read(fd, buf, sizeof(buf))) == 0)
			return 0;
		if (n == -1 && errno != EINTR)
			return -1;
		if (n > 0)
			wbuf_raw(in, buf, (size_t)n);
	}
}

static void
check_decode_error(struct rbuf *r, struct conf_errors *errors)
{
	char *file = rbuf_strdup(r, CHECK_MAX_TEXT);
	unsigned line = rbuf_u32(r);
	char *text = rbuf_strdup(r, CHECK_MAX_BYTES);

	conf_error_add(errors, *file != '\0' ? file : NULL, line, "%s", text);
	free(file);
	free(text);
}

static char *
absent_if_empty(char *s)
{
	if (*s != '\0')
		return s;
	free(s);
	return NULL;
}

static void
check_decode_key(struct rbuf *r, struct key_list *keys)
{
	struct key_ref k = { .domain = rbuf_strdup(r, CHECK_MAX_TEXT) };

	k.selector = absent_if_empty(rbuf_strdup(r, CHECK_MAX_TEXT));
	k.key = absent_if_empty(rbuf_strdup(r, CHECK_MAX_TEXT));
	k.key_dir = absent_if_empty(rbuf_strdup(r, CHECK_MAX_TEXT));
	k.file = rbuf_strdup(r, CHECK_MAX_TEXT);
	k.line = rbuf_u32(r);
	keys->v = xreallocarray(keys->v, keys->n + 1, sizeof(*keys->v));
	keys->v[keys->n++] = k;
}

void
key_list_clear(struct key_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].domain);
		free(l->v[i].selector);
		free(l->v[i].key);
		free(l->v[i].key_dir);
		free(l->v[i].file);
	}
	free(l->v);
	*l = (struct key_list){ NULL, 0 };
}

static void
check_decode_source(struct rbuf *r, struct pool_list *pools)
{
	struct pool_source *s;

	pools->sources = xreallocarray(pools->sources, pools->n_sources + 1, sizeof(*pools->sources));
	s = &pools->sources[pools->n_sources++];
	s->name = rbuf_strdup(r, CHECK_MAX_TEXT);
	s->address = rbuf_strdup(r, CHECK_MAX_TEXT);
	s->ehlo = rbuf_strdup(r, CHECK_MAX_TEXT);
}

static int
check_decode(const struct wbuf *in, struct pool_list *pools, struct key_list *keys, struct conf_errors *errors,
    struct conf_errors *warnings)
{
	struct rbuf r;

	rbuf_init(&r, in->p, in->len);
	while (!r.bad && rbuf_left(&r) > 0) {
		switch (rbuf_u8(&r)) {
		case CHECK_ERROR:
			check_decode_error(&r, errors);
			break;
		case CHECK_WARNING:
			check_decode_error(&r, warnings);
			break;
		case CHECK_POOL:
			pools->v = xreallocarray(pools->v, pools->n + 1, sizeof(*pools->v));
			pools->v[pools->n++] = rbuf_strdup(&r, CHECK_MAX_TEXT);
			break;
		case CHECK_SOURCE:
			check_decode_source(&r, pools);
			break;
		case CHECK_KEY:
			check_decode_key(&r, keys);
			break;
		case CHECK_SECRET:
			check_secret_decode(&r, errors);
			break;
		case CHECK_END:
			return rbuf_done(&r) ? 0 : -1;
		default:
			return -1;
		}
	}
	return -1;
}

int
check_config(const char *config_dir, struct pool_list *pools, struct key_list *keys, struct conf_errors *errors,
    struct conf_errors *warnings)
{
	struct key_list unused = { NULL, 0 };
	struct wbuf in;
	int fds[2], status = 0, rv;
	size_t before = errors->n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) == -1 || (fflush(NULL), pid = fork()) == -1) {
		conf_error_add(errors, NULL, 0, "cannot start a process to check the configuration: %s",
		    strerror(errno));
		return -1;
	}
	if (pid == 0) {
		close(fds[0]);
		check_child(fds[1], config_dir);
	}
	close(fds[1]);
	wbuf_init(&in);
	rv = check_collect(fds[0], &in);
	close(fds[0]);
	if (rv == -1)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		;
	if (rv == -1)
		conf_error_add(errors, NULL, 0, "checking the configuration took more than %d s: does the policy loop?",
		    CHECK_TIME_LIMIT / 1000);
	else if (check_decode(&in, pools, keys != NULL ? keys : &unused, errors, warnings) == -1 && errors->n == before)
		conf_error_add(errors, NULL, 0, "checking the configuration failed (%s %d)",
		    WIFSIGNALED(status) ? "signal" : "status",
		    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	wbuf_clear(&in);
	key_list_clear(&unused);
	return errors->n == before ? 0 : -1;
}
