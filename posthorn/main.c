/* posthorn(8): the admin command, and the supervisor as its verb `start`; sendmail(1) and mailq(1) when called by
 * those names. Runs as the caller; arguments are the caller's own. */
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#include "admin.h"

/* --json, --help and --version are taken wherever they stand, up to "--": nobody should have to remember which side of
 * the verb. */
static int
take_global_options(int argc, char **argv, bool *json, bool *help, bool *version)
{
	int n = 0;

	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			while (i < argc)
				argv[n++] = argv[i++];
			break;
		}
		if (strcmp(argv[i], "--json") == 0)
			*json = true;
		else if (strcmp(argv[i], "--help") == 0)
			*help = true;
		else if (strcmp(argv[i], "--version") == 0)
			*version = true;
		else
			argv[n++] = argv[i];
	}
	argv[n] = NULL;
	return n;
}

static int
run_verb(struct admin *adm, int argc, char **argv)
{
	const struct admin_verb *verb;
	bool help = false, version = false;
	int opt;

	argc = take_global_options(argc, argv, &adm->json, &help, &version);
	if (version)
		return cmd_version(adm, 1, argv);
	while ((opt = getopt(argc, argv, "+c:hV")) != -1) {
		switch (opt) {
		case 'c':
			adm->config_dir = optarg;
			break;
		case 'h':
			help = true;
			break;
		case 'V':
			return cmd_version(adm, 1, argv);
		default:
			adm_print_help(stderr);
			return ADM_USAGE;
		}
	}
	argc -= optind;
	argv += optind;
	optind = 0; /* verbs scan their own options from the start */
	if (argc == 0) {
		adm_print_help(help ? stdout : stderr);
		return help ? ADM_OK : ADM_USAGE;
	}
	if (strcmp(argv[0], "help") == 0) {
		adm_print_help(stdout);
		return ADM_OK;
	}
	if ((verb = adm_verb_find(argv[0])) == NULL)
		return adm_verb_unknown(argv[0]);
	if (help) {
		printf("usage: posthorn [-c DIR] [--json] %s%s%s\n%s\n", verb->name, *verb->args != '\0' ? " " : "",
		    verb->args, verb->what);
		return ADM_OK;
	}
	return verb->run(adm, argc, argv);
}

/* A full disk behind standard output is a failure like any other; a reader that went away is not. */
static int
output_done(int rv)
{
	if (fflush(stdout) == EOF && errno != EPIPE && rv == ADM_OK)
		return adm_fail("standard output: %s", strerror(errno));
	return rv;
}

int
main(int argc, char **argv)
{
	struct admin adm = { params_default_dir, false };
	const char *env = getenv("POSTHORN_CONFIG"), *base;

	setlocale(LC_CTYPE, "");
	log_init("posthorn", LOG_LVL_INFO);
	signal(SIGPIPE, SIG_IGN);
	if (env != NULL && *env != '\0')
		adm.config_dir = env;
	base = argc > 0 && strrchr(argv[0], '/') != NULL ? strrchr(argv[0], '/') + 1 : argc > 0 ? argv[0] : "posthorn";
	if (strcmp(base, "sendmail") == 0)
		return cmd_sendmail(&adm, argc, argv);
	if (strcmp(base, "mailq") == 0)
		return output_done(cmd_mailq(&adm, 1, argv));
	/* sendmail's options look like ours and more: everything behind that verb is its own. */
	if (argc > 1 && strcmp(argv[1], "sendmail") == 0)
		return cmd_sendmail(&adm, argc - 1, argv + 1);
	if (argc > 3 && strcmp(argv[1], "-c") == 0 && strcmp(argv[3], "sendmail") == 0) {
		adm.config_dir = argv[2];
		return cmd_sendmail(&adm, argc - 3, argv + 3);
	}
	return output_done(run_verb(&adm, argc, argv));
}
