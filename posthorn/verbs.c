/* The verbs of posthorn(8), and how they are used. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/suggest.h"

#include "admin.h"

static const struct admin_verb verbs[] = {
	{ "start", cmd_start, "", "run the suite in the foreground; prints `ready` when it serves" },
	{ "stop", cmd_stop, "", "stop the running suite" },
	{ "reload", cmd_reload, "", "check the configuration, then put it in force" },
	{ "restart", cmd_restart, "DAEMON", "restart one daemon: smtpd, queued, bouncerd, fblproc, deliverd/POOL" },
	{ "status", cmd_status, "", "daemons and queue at a glance" },
	{ "check", cmd_check, "", "check the configuration and what it refers to" },
	{ "doctor", cmd_doctor, "[--domain D] ... [--source S] ... [--probe D]",
	    "what receivers would hold against the mail of sources and domains" },
	{ "dns", cmd_dns, "DOMAIN", "the records to publish for a sender domain" },
	{ "shaping", cmd_shaping, "check [--live] [FILE ...] | show DOMAIN [--mx HOST] ... [--source NAME]",
	    "what is dead in shaping data; what it says of a destination" },
	{ "simulate", cmd_simulate, "--policy FILE [--main-cf FILE] [--all] [--max-queues N] EVENTS.jsonl ...",
	    "which logged mail another policy would send elsewhere" },
	{ "conf", cmd_conf, "[-n | -d] [NAME ...]", "parameters: all, those set (-n), defaults (-d), or by name" },
	{ "queue", cmd_queue, "[summary | list | show ID | hold | release | retry | bounce | delete | rebind] "
	    "[filters]",
	    "look at queued mail and act on it" },
	{ "explain", cmd_explain, "ADDRESS [--tenant T] [--campaign C] [--source S] [--sender-domain D] [--all]",
	    "what would happen to mail for an address now, and why" },
	{ "suspend", cmd_suspend, "SCOPE [--duration T | --until cancelled] [--reason TEXT]",
	    "send nothing of a tenant, campaign, domain, path, provider ... for a while" },
	{ "resume", cmd_resume, "SCOPE", "end suspensions of exactly that scope" },
	{ "limit", cmd_limit, "SETTING=VALUE ... SCOPE [--duration T | --until cancelled] [--reason TEXT]",
	    "stricter settings of paths for a while" },
	{ "bounce", cmd_bounce, "SCOPE [--quiet] [--duration T | --until cancelled] [--reason TEXT] | "
	    "classify TEXT [--provider P] [--phase P] | check [FILE ...] | parse [--header NAME] FILE ...",
	    "give up what is queued, and what arrives for a while; what replies and bounces mean" },
	{ "feedback", cmd_feedback, "parse [--header NAME] FILE ...", "what a complaint says" },
	{ "suppress", cmd_suppress, "add ADDRESS ... | remove ADDRESS ... | check ADDRESS | list | stats | report | "
	    "import FILE ... | export [--tenant T | --sender-domain D] [--reason R] ...",
	    "addresses and domains that are not to be mailed" },
	{ "token", cmd_token, "TOKEN",
	    "the message and recipient that a token of List-Unsubscribe or X-Posthorn-Ref names" },
	{ "overrides", cmd_overrides, "[list | show ID ... | cancel ID ... | cancel --rule RULE]",
	    "what was suspended, limited or bounced, by people or rules" },
	{ "events", cmd_events, "[-f] [-n N] [--since T] [filters]", "what happened to messages; -f follows" },
	{ "passwd", cmd_passwd, "USER [--tenant T] [--domains A,B] [--rate N/h] | USER --delete | --list",
	    "users that may submit mail" },
	{ "dkim", cmd_dkim, "keygen DOMAIN [--selector S] [--bits N] [--type rsa|ed25519] [--rotate] | "
	    "record DOMAIN [--selector S] | check [DOMAIN] [--selector S]",
	    "keys for DKIM, their DNS records, whether these are published" },
	{ "sendmail", cmd_sendmail, "[sendmail(1) options] [RECIPIENT ...]", "submit a message from standard input" },
	{ "mailq", cmd_mailq, "", "the queue as mailq(1) shows it" },
	{ "tlsrpt", cmd_tlsrpt, "[--date YYYY-MM-DD] [--send]",
	    "the reports on TLS to receivers who want them (RFC 8460)" },
	{ "version", cmd_version, "", "versions of the suite and of its libraries" },
};
#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

const struct admin_verb *
adm_verb_find(const char *name)
{
	for (size_t i = 0; i < N_VERBS; i++) {
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	}
	return NULL;
}

int
adm_verb_unknown(const char *name)
{
	struct suggest near;

	suggest_init(&near, name);
	for (size_t i = 0; i < N_VERBS; i++)
		suggest_consider(&near, verbs[i].name);
	adm_fail("there is no verb `%s'" SUGGEST_FMT "; posthorn --help lists them", name, SUGGEST_ARGS(near.best));
	return ADM_USAGE;
}

int
adm_usage(const char *name, const char *fmt, ...)
{
	const struct admin_verb *verb = adm_verb_find(name);
	va_list ap;

	if (fmt != NULL) {
		fputs("posthorn: ", stderr);
		va_start(ap, fmt);
		vfprintf(stderr, fmt, ap);
		va_end(ap);
		fputc('\n', stderr);
	}
	if (verb != NULL)
		fprintf(stderr, "usage: posthorn [-c DIR] [--json] %s%s%s\n", verb->name,
		    *verb->args != '\0' ? " " : "",
		    verb->args);
	if (verb != NULL && strstr(verb->args, "SCOPE") != NULL)
		fprintf(stderr, "SCOPE: one or more of --source, --site, --path 'SOURCE->SITE', --provider, --pool, "
		    "--domain, --tenant, --campaign; or --everything\n");
	return ADM_USAGE;
}

void
adm_print_help(FILE *f)
{
	fputs("usage: posthorn [-c DIR] [--json] VERB ...\n\n", f);
	for (size_t i = 0; i < N_VERBS; i++)
		fprintf(f, "  %-9s %s\n", verbs[i].name, verbs[i].what);
	fputs("\nposthorn VERB --help prints the usage of a verb; posthorn(8) has the rest.\n", f);
}
