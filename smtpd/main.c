/* smtpd(8): SMTP in. This file is the parent (root, if the suite was started so): it takes or binds the listening
 * sockets, starts workers and their auth helpers, replaces them on reload, and never reads a network byte. With -r it
 * is one of those roles instead. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/roles.h"
#include "base/sandbox.h"
#include "base/tls.h"
#include "mail/config.h"
#include "mail/dnsd.h"
#include "mail/policy_call.h"

#include "smtpd/authd.h"
#include "smtpd/keyd.h"
#include "smtpd/listen.h"
#include "smtpd/rates.h"
#include "smtpd/checkd.h"
#include "smtpd/signd.h"
#include "smtpd/users.h"
#include "smtpd/worker.h"

#define WORKERS_MAX 256

static void
usage(void)
{
	fprintf(stderr, "usage: smtpd [-c config_dir]\n");
	exit(2);
}

/* One for two processors unless told otherwise: smtpd takes half of the processor time that a message costs, and fewer
 * workers commit more messages at a time. */
static unsigned
worker_count(const struct params *p)
{
	long n = p->smtpd_processes > 0 ? (long)p->smtpd_processes : (sysconf(_SC_NPROCESSORS_ONLN) + 1) / 2;

	return n < 1 ? 1 : n > WORKERS_MAX ? WORKERS_MAX : (unsigned)n;
}

/* In a process of its own: of keys that were read once something stays in memory, whatever is wiped. */
static bool
are_keys_usable(const struct params *p)
{
	char *err = NULL;
	int status = -1;
	SSL_CTX *tls;
	pid_t pid;

	if ((pid = fork()) == -1) {
		log_error("cannot start the check of certificates: %m");
		return false;
	}
	if (pid == 0) {
		tls = tls_server_ctx_of(&p->smtpd_tls_cert_file, &p->smtpd_tls_key_file, "check", &err);
		if (tls == NULL)
			log_error("TLS: %s", err);
		_exit(tls == NULL ? 1 : 0);
	}
	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* What a new worker would stumble over: found out before the old ones are told to go. */
static bool
is_usable(const struct params *p)
{
	if (p->smtpd_tls_cert_file.n == 0) {
		if (p->submissions_listen.n > 0)
			log_error("submissions_listen needs smtpd_tls_cert_file");
		return p->submissions_listen.n == 0;
	}
	return are_keys_usable(p);
}

struct parent {
	const char *dir;
	struct tls_tickets *tickets;
	unsigned number; /* of the configuration last looked at */
};

/* A worker has an auth helper; a dns helper if anybody could ask it: policy that answers events of a session, or the
 * check of mail for a listener domain; one that signs, if policy says that anything is to be signed; one that checks,
 * if there is such a domain or policy asks; and one that holds the keys of certificates, if any. */
static void
set_instances(struct role_spec *specs, const struct config *c)
{
	bool is_checking = policy_has_listeners(c->policy) || policy_asks_auth(c->policy);

	specs[0].instances = specs[1].instances = worker_count(c->params);
	specs[2].instances = policy_answers_any(c->policy) || is_checking ? specs[0].instances : 0;
	specs[3].instances = policy_may_sign(c->policy) ? specs[0].instances : 0;
	specs[4].instances = is_checking ? specs[0].instances : 0;
	specs[5].instances = c->params->smtpd_tls_cert_file.n > 0 ? specs[0].instances : 0;
}

static bool
check_reload(struct role_spec *specs, void *arg)
{
	struct parent *parent = arg;
	struct config *c = config_load_logged(parent->dir);
	bool ok = c != NULL && is_usable(c->params);

	if (ok) {
		set_instances(specs, c);
		parent->number = c->number;
	}
	config_free(&c);
	return ok;
}

static void
rotate_tickets(void *arg)
{
	struct parent *parent = arg;

	tls_tickets_rotate(parent->tickets);
}

static int
parent_main(char *dir)
{
	struct config *c = config_load_logged(dir);
	const struct params *p = c != NULL ? c->params : NULL;
	struct parent parent = { dir, NULL, c != NULL ? c->number : 0 };
	struct role_spec specs[] = { { .name = "worker", .partner = "auth", .others = { [PLACE_DNS] = "dns",
	    [PLACE_SIGN] = "sign", [PLACE_CHECK] = "check", [PLACE_KEY] = "key" }, .keeps_listeners = true },
	    { .name = "auth" }, { .name = "dns" }, { .name = "sign" }, { .name = "check" }, { .name = "key" } };
	char exe[4096], option[] = "-c";
	char *const extra[] = { option, dir, NULL };
	struct roles_config config = { .exe = exe, .extra_argv = extra, .specs = specs, .n_specs = 6, .reload =
	    ROLES_REPLACE,
		.check = check_reload, .arg = &parent, .number = &parent.number, .every = rotate_tickets,
		.every_ms = TLS_TICKETS_EVERY_MS };
	struct listeners l;
	int status, rates, tickets;
	ssize_t n;

	if (p == NULL || !is_usable(p))
		fatal("the configuration in %s cannot be used", dir);
	if (listeners_open(p, &l) == -1)
		return 1;
	if ((rates = rates_make()) == -1)
		fatal("cannot make the table of rates: %m");
	listeners_add(&l, RATES_NAME, rates);
	if ((parent.tickets = tls_tickets_make(&tickets)) == NULL)
		fatal("cannot make the keys of TLS tickets: %m");
	listeners_add(&l, TICKETS_NAME, tickets);
	if ((n = readlink("/proc/self/exe", exe, sizeof exe - 1)) == -1)
		fatal("cannot find my own executable");
	exe[n] = '\0';
	set_instances(specs, c);
	config.listeners = l.fds;
	config.listener_names = (const char *const *)l.names;
	config.n_listeners = l.n;
	sandbox_enter(&(struct sandbox){ .role = "smtpd", .mode = (enum sandbox_mode)p->sandbox, .allow = SB_SPAWN });
	config_free(&c);
	status = roles_run(&config);
	listeners_clear(&l);
	tls_tickets_free(&parent.tickets);
	return status;
}

static int
role_main(const char *dir, const char *role, unsigned instance)
{
	struct config *c = config_load_logged(dir);
	int status = 1;

	if (c == NULL)
		fatal("the configuration in %s cannot be used", dir);
	/* Its maps may be large. */
	if (strcmp(role, "worker") != 0)
		policy_free(&c->policy);
	if (strcmp(role, "worker") == 0)
		status = worker_main(c->params, &c->policy, instance, worker_count(c->params));
	else if (strcmp(role, "auth") == 0)
		status = authd_main(c->params, instance);
	else if (strcmp(role, "dns") == 0)
		status = dnsd_main(c->params, "smtpd/dns", SMTPD_USER, false);
	else if (strcmp(role, "sign") == 0)
		status = signd_main(c->params);
	else if (strcmp(role, "check") == 0)
		status = checkd_main(c->params);
	else if (strcmp(role, "key") == 0)
		status = keyd_main(c->params);
	else
		fatal("there is no role '%s'", role);
	config_free(&c);
	return status;
}

int
main(int argc, char **argv)
{
	const char *env = getenv("POSTHORN_CONFIG"), *role = NULL;
	char *dir = strdup(env != NULL ? env : params_default_dir), ident[64];
	unsigned instance = 0;
	int c, status;

	while ((c = getopt(argc, argv, "c:r:n:")) != -1) {
		switch (c) {
		case 'c':
			free(dir);
			dir = strdup(optarg);
			break;
		case 'r':
			role = optarg;
			break;
		case 'n':
			instance = (unsigned)strtoul(optarg, NULL, 10);
			break;
		default:
			usage();
		}
	}
	if (optind != argc || dir == NULL)
		usage();
	if (role == NULL)
		snprintf(ident, sizeof ident, "smtpd");
	else
		snprintf(ident, sizeof ident, "smtpd/%.20s-%u", role, instance);
	log_init(ident, LOG_LVL_INFO);
	status = role == NULL ? parent_main(dir) : role_main(dir, role, instance);
	free(dir);
	return status;
}
