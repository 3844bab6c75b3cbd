/* The process of a daemon that takes reports (report_role.h): its parent, which starts the roles and reads no byte of
 * anybody's mail, and the start of each role up to its jail. */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/roles.h"
#include "base/xalloc.h"
#include "mail/bounce_rules.h"
#include "mail/config.h"
#include "mail/report_role.h"

#define MAIN_ROLE "main"
#define PARSE_ROLE "parse"
#define MAIN_FDS 4096 /* segments, the log, links */
#define WATCHDOG_SECONDS 20
#define PATHS_MAX 8

struct args {
	const struct report_spec *spec;
	const char *config_dir, *role;
	unsigned number; /* of the configuration last looked at */
};

struct start {
	struct params *params;
	struct policy *policy;
	struct bounce_rules *bounce_rules;
	uint32_t number;
	uint64_t digest;
};

/* NULL policy and an error log line if the configuration cannot be used. */
static struct start
load(const struct args *a)
{
	struct config *config = config_load_logged(a->config_dir);
	struct start s = { NULL, NULL, NULL, 0, 0 };
	struct shaping *shaping;

	if (config == NULL)
		return s;
	s.number = config->number;
	s.digest = config->digest;
	s.bounce_rules = config_take_bounce_rules(config);
	config_take(&config, &s.params, &s.policy, &shaping);
	shaping_free(&shaping);
	return s;
}

static struct start
load_or_die(const struct args *a)
{
	struct start s = load(a);

	if (s.policy == NULL)
		fatal("the configuration in %s has errors", a->config_dir);
	return s;
}

static void
start_clear(struct start *s)
{
	bounce_rules_free(&s->bounce_rules);
	policy_free(&s->policy);
	params_free(&s->params);
}

struct main_role {
	struct report_role *r;
	struct role_link *link;
};

static void
on_word(enum role_word word, void *arg)
{
	struct main_role *m = arg;

	if (word != ROLE_RELOAD)
		report_role_stop(m->r);
	else if (report_role_reload(m->r))
		role_link_ready(m->link); /* for this generation */
}

static void
on_partner(int fd, void *arg)
{
	struct main_role *m = arg;

	m->r->spec->parser(m->r, fd);
}

/* The policy file need not lie in the configuration directory. */
static char *
dir_of(const char *file)
{
	const char *slash = strrchr(file, '/');

	return slash == NULL ? xstrdup(".") : slash == file ? xstrdup("/") : xmemdup0(file, (size_t)(slash - file));
}

static void
enter_jail(const struct args *a, struct report_role *r)
{
	char *policy_dir = dir_of(r->params->policy_file), image[PATH_MAX];
	struct sandbox_path paths[PATHS_MAX] = { { a->config_dir, false }, { policy_dir, false },
	    { config_image_directory(a->config_dir, image, sizeof(image)), false } };
	struct sandbox box = { .role = MAIN_ROLE, .user = a->spec->user, .mode = (enum sandbox_mode)r->params->sandbox,
		.allow = REPORT_ALLOW, .paths = paths, .n_paths = 3, .max_fds = MAIN_FDS };

	if (a->spec->open != NULL)
		a->spec->open(r, &box);
	sandbox_enter(&box);
	free(policy_dir);
}

static int
main_role(const struct args *a)
{
	struct start s = load_or_die(a);
	struct main_role m = { NULL, NULL };
	struct loop *loop = loop_new();
	int status;

	m.r = report_role_new(loop, a->spec, a->config_dir, s.params, s.policy);
	m.r->bounce_rules = s.bounce_rules;
	m.r->config_number = s.number;
	m.r->config_digest = s.digest;
	enter_jail(a, m.r);
	report_role_connect(m.r);
	if (a->spec->start != NULL)
		a->spec->start(m.r);
	if (a->spec->parse_main != NULL)
		a->spec->parser(m.r, ROLE_PARTNER_FD);
	m.link = role_link_new(loop, on_word, a->spec->parse_main != NULL ? on_partner : NULL, &m);
	m.r->roles = m.link;
	loop_watchdog(loop, WATCHDOG_SECONDS);
	role_link_ready(m.link);
	status = loop_run(loop);
	report_role_free(&m.r);
	role_link_free(&m.link);
	loop_free(&loop);
	return status == 0 ? 0 : 1;
}

static int
parse_role(const struct args *a)
{
	struct start s = load_or_die(a);
	int status;

	bounce_rules_free(&s.bounce_rules);
	policy_free(&s.policy);
	status = a->spec->parse_main(s.params, a->spec->user);
	params_free(&s.params);
	return status;
}

static bool
check_reload(struct role_spec *specs, void *arg)
{
	struct args *a = arg;
	struct start s = load(a);
	bool is_good = s.policy != NULL;

	(void)specs;
	a->number = s.number;
	start_clear(&s);
	return is_good;
}

static int
parent_main(const struct args *a)
{
	struct role_spec specs[] = { { .name = MAIN_ROLE, .instances = 1 }, { .name = PARSE_ROLE, .instances = 1 } };
	char dash_c[] = "-c", exe[PATH_MAX], *dir = xstrdup(a->config_dir);
	struct args copy = *a;
	struct start s = load_or_die(a);
	char *const extra[] = { dash_c, dir, NULL };
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	struct roles_config rc = { .exe = exe, .extra_argv = extra, .specs = specs, .n_specs = 1, .reload = ROLES_TELL,
		.check = check_reload, .arg = &copy, .number = &copy.number };
	int status;

	if (n <= 0)
		fatal("cannot find my own executable");
	exe[n] = '\0';
	if (a->spec->parse_main != NULL) {
		specs[0].partner = PARSE_ROLE;
		rc.n_specs = 2;
	}
	copy.number = s.number;
	start_clear(&s);
	status = roles_run(&rc);
	free(dir);
	return status;
}

static void
usage(const char *name)
{
	fprintf(stderr, "usage: %s [-c config_dir]\n", name);
	exit(2);
}

int
report_main(const struct report_spec *spec, int argc, char **argv)
{
	const char *env = getenv("POSTHORN_CONFIG");
	struct args a = { spec, env != NULL ? env : params_default_dir, NULL, 0 };
	char ident[64];
	int ch;

	while ((ch = getopt(argc, argv, "c:r:n:")) != -1) {
		switch (ch) {
		case 'c':
			a.config_dir = optarg;
			break;
		case 'r':
			a.role = optarg;
			break;
		case 'n':
			break; /* one instance of each role */
		default:
			usage(spec->name);
		}
	}
	if (optind != argc)
		usage(spec->name);
	snprintf(ident, sizeof(ident), "%s%s%s", spec->name, a.role != NULL ? "/" : "", a.role != NULL ? a.role : "");
	log_init(ident, LOG_LVL_INFO);
	if (a.role == NULL)
		return parent_main(&a);
	if (strcmp(a.role, MAIN_ROLE) == 0)
		return main_role(&a);
	if (strcmp(a.role, PARSE_ROLE) == 0 && spec->parse_main != NULL)
		return parse_role(&a);
	fatal("there is no role '%s'", a.role);
}
