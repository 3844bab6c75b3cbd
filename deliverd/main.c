/* deliverd(8): the delivery agent of one egress pool. This file is the process side: the parent, which starts the
 * three roles and never reads a network byte, and the start of each role up to its jail. What they do: net.c,
 * mail/dnsd.c, stsd.c. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/roles.h"
#include "base/sandbox.h"
#include "base/tls.h"
#include "base/xalloc.h"
#include "mail/config.h"
#include "mail/orgdomain.h"
#include "mail/dnsd.h"
#include "mail/shaping.h"
#include "deliverd/net.h"
#include "deliverd/resolve.h"
#include "deliverd/stsd.h"

#define USER "posthorn-deliverd"
#define WATCHDOG_SECONDS 20
#define WATCHDOG_CPU_SECONDS 5 /* no turn takes that much, but for a policy event that no instruction hook stops */
#define NET_MAX_FDS 65536

struct args {
	const char *config_dir, *pool, *role;
	unsigned number; /* of the configuration last looked at */
};

struct start {
	struct params *params;
	struct conf *conf;
	struct policy *policy;
	struct shaping *shaping;
	uint32_t number;
	uint64_t digest;
};

static void
start_clear(struct start *s)
{
	shaping_free(&s->shaping);
	policy_free(&s->policy);
	conf_free(&s->conf);
	params_free(&s->params);
}

/* NULL policy and an error log line if the configuration cannot be used. */
static struct start
load(const struct args *a)
{
	struct config *config = config_load_logged(a->config_dir);
	struct start s = { NULL, NULL, NULL, NULL, 0, 0 };

	if (config == NULL)
		return s;
	s.number = config->number;
	s.digest = config->digest;
	s.conf = config->conf;
	config->conf = NULL;
	config_take(&config, &s.params, &s.policy, &s.shaping);
	return s;
}

static struct start
load_or_die(const struct args *a)
{
	struct start s = load(a);

	if (s.policy == NULL)
		fatal("the configuration in %s has errors", a->config_dir);
	if (policy_pool_find(s.policy, a->pool) == NULL)
		fatal("there is no pool '%s' in %s", a->pool, s.params->policy_file);
	return s;
}

/* The policy file need not lie in the configuration directory. */
static char *
dir_of(const char *file)
{
	const char *slash = strrchr(file, '/');

	return slash == NULL ? xstrdup(".") : slash == file ? xstrdup("/") : xmemdup0(file, (size_t)(slash - file));
}

struct net_role {
	struct loop *loop;
	struct net *net;
	struct role_link *link;
};

static void
on_net_stopped(struct net *net, void *arg)
{
	struct net_role *r = arg;

	(void)net;
	loop_stop(r->loop);
}

static void
on_net_word(enum role_word word, void *arg)
{
	struct net_role *r = arg;

	if (word == ROLE_RELOAD) {
		if (net_reload(r->net))
			role_link_ready(r->link); /* for this generation */
	} else {
		net_stop(r->net, on_net_stopped, r);
	}
}

static void
on_net_partner(int fd, void *arg)
{
	struct net_role *r = arg;

	resolver_set_peer(r->net->resolver, fd);
}

static void
on_net_sts(int fd, void *arg)
{
	struct net_role *r = arg;

	resolver_set_sts_peer(r->net->resolver, fd);
}

static int
net_role_main(const struct args *a)
{
	struct net_role r = { NULL, NULL, NULL };
	struct start s = load_or_die(a);
	char *policy_dir = dir_of(s.params->policy_file), *err = NULL, image[4096];
	struct sandbox_path paths[] = { { a->config_dir, false }, { policy_dir, false },
	    { config_image_directory(a->config_dir, image, sizeof(image)), false },
	    { s.params->smtp_secret_directory, false } };
	struct sandbox box = { .role = "net", .user = USER, .mode = (enum sandbox_mode)s.params->sandbox,
		.allow = SB_CONNECT_IN | SB_CONNECT_UN | SB_FILES_RO | SB_FLOCK, .paths = paths,
		.n_paths = access(s.params->smtp_secret_directory, F_OK) == 0 ? 4 : 3,
		.max_fds = NET_MAX_FDS };
	SSL_CTX *tls = tls_client_ctx(&err);
	int status;

	if (tls == NULL)
		fatal("TLS: %s", err);
	if (s.params->smtp_tls_CAfile[0] != '\0' && tls_client_trust(tls, s.params->smtp_tls_CAfile, &err) == -1) {
		log_warn("TLS: %s: no server can be verified, and no mail sent where that is required", err);
		free(err);
	}
	orgdomain_load();
	r.loop = loop_new();
	sandbox_enter(&box);
	r.net = net_new(r.loop, a->config_dir, a->pool, s.params, s.policy, tls);
	net_set_shaping(r.net, s.shaping);
	r.net->conf = s.conf;
	r.net->config_number = s.number;
	r.net->config_digest = s.digest;
	resolver_set_peer(r.net->resolver, ROLE_PARTNER_FD);
	r.link = role_link_new(r.loop, on_net_word, on_net_partner, &r);
	role_link_on_other(r.link, 0, on_net_sts);
	loop_watchdog(r.loop, WATCHDOG_SECONDS);
	loop_watchdog_cpu(r.loop, WATCHDOG_CPU_SECONDS);
	role_link_ready(r.link);
	status = loop_run(r.loop);
	net_free(&r.net);
	role_link_free(&r.link);
	loop_free(&r.loop);
	orgdomain_unload();
	free(policy_dir);
	return status == 0 ? 0 : 1;
}

/* Those that need no more than parameters. */
static int
side_role_main(const struct args *a, bool is_sts)
{
	struct start s = load_or_die(a);
	int status;

	policy_free(&s.policy);
	shaping_free(&s.shaping);
	conf_free(&s.conf);
	status = is_sts ? stsd_main(s.params, USER) : dnsd_main(s.params, "dns", USER, true);
	params_free(&s.params);
	return status;
}

static bool
check_reload(struct role_spec *specs, void *arg)
{
	struct start s = load(arg);
	bool is_good = s.policy != NULL;

	(void)specs;
	((struct args *)arg)->number = s.number;
	start_clear(&s);
	return is_good;
}

static int
parent_main(const struct args *a)
{
	struct role_spec specs[] = { { .name = "net", .instances = 1, .partner = "dns",
	    .others = { "sts" } }, { .name = "dns", .instances = 1 }, { .name = "sts", .instances = 1 } };
	char dash_c[] = "-c", dash_p[] = "-p", exe[4096];
	struct args copy = *a;
	struct start s = load_or_die(a);
	char *dir = xstrdup(a->config_dir), *pool = xstrdup(a->pool);
	char *const extra[] = { dash_c, dir, dash_p, pool, NULL };
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	int status;
	struct roles_config rc = { .exe = exe, .extra_argv = extra, .specs = specs, .n_specs = 3, .reload = ROLES_TELL,
		.check = check_reload, .arg = &copy, .number = &copy.number };

	if (n <= 0)
		fatal("cannot find my own executable");
	exe[n] = '\0';
	copy.number = s.number;
	start_clear(&s);
	status = roles_run(&rc);
	free(dir);
	free(pool);
	return status;
}

static void
usage(void)
{
	fprintf(stderr, "usage: deliverd [-c config_dir] -p pool\n");
	exit(2);
}

int
main(int argc, char **argv)
{
	const char *env = getenv("POSTHORN_CONFIG");
	struct args a = { env != NULL ? env : params_default_dir, NULL, NULL, 0 };
	char ident[128];
	int ch;

	while ((ch = getopt(argc, argv, "c:p:r:n:")) != -1) {
		switch (ch) {
		case 'c':
			a.config_dir = optarg;
			break;
		case 'p':
			a.pool = optarg;
			break;
		case 'r':
			a.role = optarg;
			break;
		case 'n':
			break; /* one instance of each role */
		default:
			usage();
		}
	}
	if (a.pool == NULL || optind != argc)
		usage();
	snprintf(ident, sizeof(ident), "deliverd/%s%s%s", a.pool, a.role != NULL ? "/" : "",
	    a.role != NULL ? a.role : "");
	log_init(ident, LOG_LVL_INFO);
	if (a.role == NULL)
		return parent_main(&a);
	if (strcmp(a.role, "net") == 0)
		return net_role_main(&a);
	if (strcmp(a.role, "dns") == 0)
		return side_role_main(&a, false);
	if (strcmp(a.role, "sts") == 0)
		return side_role_main(&a, true);
	fatal("there is no role '%s'", a.role);
}
