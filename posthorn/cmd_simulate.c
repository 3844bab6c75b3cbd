/* posthorn simulate: what another policy would do with the mail that the event log tells of. Reads and prints, and
 * that is all: no daemon is asked, no file is written. Root gives up its rights before any policy is run. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/policy.h"

#include "admin.h"
#include "check.h"
#include "human.h"
#include "simulate.h"

struct simulate_args {
	const char *policy, *main_cf;
	size_t max_queues;
	bool is_all;
};

static struct policy *
simulate_load(const char *file)
{
	struct conf_errors errors = { NULL, 0 };
	struct policy *policy = policy_load(file, &errors);

	if (policy == NULL) {
		adm_print_errors(&errors);
		adm_fail("the policy %s has errors", file);
	}
	conf_errors_clear(&errors);
	return policy;
}

/* The policy in force is only the second witness, after the records: without it, what they do not tell is unknown.
 * Of main.cf only the one parameter matters, so it need not be good in all else. */
static struct policy *
simulate_load_old(const struct admin *adm, const char *main_cf)
{
	char *file = main_cf != NULL ? xstrdup(main_cf) : xasprintf("%s/main.cf", adm->config_dir);
	struct conf_errors errors = { NULL, 0 };
	struct params *params = xcalloc(1, sizeof(*params));
	struct conf *conf = conf_load(file, params_table, params_count, params, &errors);
	struct policy *policy = NULL;

	if (conf != NULL)
		policy = simulate_load(params->policy_file);
	else
		adm_print_errors(&errors);
	if (policy == NULL)
		adm_fail("so the old pool is known only of queues for which a record names it");
	conf_errors_clear(&errors);
	conf_free(&conf);
	params_free(&params);
	free(file);
	return policy;
}

static void
simulate_file(struct simulate *s, const char *name)
{
	bool is_stdin = strcmp(name, "-") == 0;
	FILE *f = is_stdin ? stdin : fopen(name, "re");

	if (f == NULL || sim_read(s, f, is_stdin ? "standard input" : name) == -1)
		adm_fail("%s: %s", name, strerror(errno));
	else
		s->files++;
	if (f != NULL && !is_stdin)
		fclose(f);
}

static int
simulate_run(const struct admin *adm, const struct simulate_args *args, char **files, int n)
{
	struct simulate s;
	int rv = ADM_OK;

	check_drop();
	log_set_level(LOG_LVL_ERROR); /* what fails in a policy is in the report, once for each reason */
	sim_init(&s, args->max_queues);
	s.is_tty = isatty(STDERR_FILENO);
	if ((s.new = simulate_load(args->policy)) == NULL) {
		sim_clear(&s);
		return ADM_FAILED;
	}
	s.old = simulate_load_old(adm, args->main_cf);
	for (int i = 0; i < n; i++)
		simulate_file(&s, files[i]);
	if (s.files == 0) {
		rv = adm_fail("no event record could be read");
	} else if (s.records == 0 && s.bad > 0) {
		char *clean = human_clean(s.first_bad);

		rv = adm_fail("no event record could be read; the first line that is none is %s", clean);
		free(clean);
	} else {
		sim_ask(&s);
		if (adm->json)
			sim_print_json(&s, args->is_all);
		else
			sim_print(&s, args->is_all);
	}
	sim_clear(&s);
	return rv;
}

int
cmd_simulate(struct admin *adm, int argc, char **argv)
{
	static const struct option options[] = {
		{ "policy", required_argument, NULL, 'p' },
		{ "main-cf", required_argument, NULL, 'm' },
		{ "all", no_argument, NULL, 'a' },
		{ "max-queues", required_argument, NULL, 'q' },
		{ NULL, 0, NULL, 0 },
	};
	struct simulate_args args = { .max_queues = SIM_MAX_QUEUES };
	unsigned long n;
	char *end;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			args.policy = optarg;
			break;
		case 'm':
			args.main_cf = optarg;
			break;
		case 'a':
			args.is_all = true;
			break;
		case 'q':
			n = strtoul(optarg, &end, 10);
			if (end == optarg || *end != '\0' || *optarg == '-' || n < 1 || n > 100000000)
				return adm_usage("simulate", "--max-queues wants a number up to 100000000");
			args.max_queues = n;
			break;
		default:
			return adm_usage("simulate", NULL);
		}
	}
	if (args.policy == NULL)
		return adm_usage("simulate", "simulate wants a policy to try (--policy)");
	if (optind == argc)
		return adm_usage("simulate", "simulate wants files of the event log, or - for standard input");
	return simulate_run(adm, &args, argv + optind, argc - optind);
}
