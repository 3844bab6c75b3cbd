/* sendmail(1) for programs that know no other way to send mail: cron, PHP's mail(), scripts. Runs as the caller,
 * without any right beyond: it speaks SMTP to our own smtpd over loopback. Options and exit statuses are sendmail's. */
#include <sys/param.h>

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/xalloc.h"

#include "admin.h"
#include "human.h"
#include "sendmail.h"

enum sendmail_mode { MODE_DELIVER, MODE_SMTP, MODE_LIST, MODE_NOTHING };

int
sendmail_fail(int status, const char *fmt, ...)
{
	char *text, *clean;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n == -1)
		return status;
	clean = human_clean(text); /* it may quote the peer */
	fprintf(stderr, "sendmail: %s\n", clean);
	free(clean);
	free(text);
	return status;
}

/* -N never | success,failure,delay */
static bool
notify_is_valid(const char *s)
{
	static const char *const words[] = { "success", "failure", "delay" };

	if (strcasecmp(s, "never") == 0)
		return true;
	for (const char *p = s;;) {
		size_t n = strcspn(p, ","), i;

		for (i = 0; i < 3 && (strlen(words[i]) != n || strncasecmp(p, words[i], n) != 0); i++)
			;
		if (i == 3)
			return false;
		if (p[n] == '\0')
			return true;
		p += n + 1;
	}
}

static int
sendmail_mode(char c, enum sendmail_mode *mode)
{
	switch (c) {
	case 's':
		*mode = MODE_SMTP;
		return EX_OK;
	case 'p':
		*mode = MODE_LIST;
		return EX_OK;
	case 'm':
		*mode = MODE_DELIVER;
		return EX_OK;
	case 'i': /* newaliases: there are no aliases here */
		*mode = MODE_NOTHING;
		return EX_OK;
	default:
		return sendmail_fail(EX_USAGE, "-b%c is not supported", c);
	}
}

static int
sendmail_option(struct sendmail *sm, enum sendmail_mode *mode, int opt, char *arg)
{
	switch (opt) {
	case 'f':
	case 'r':
		free(sm->sender);
		sm->sender = xstrdup(arg);
		return EX_OK;
	case 'F':
		sm->full_name = arg;
		return EX_OK;
	case 'C':
		sm->config_dir = arg;
		return EX_OK;
	case 't':
		sm->take_recipients = true;
		return EX_OK;
	case 'i':
		sm->ignore_dots = true;
		return EX_OK;
	case 'o': /* -oi; the other single-letter options change nothing here */
		sm->ignore_dots = sm->ignore_dots || strcmp(arg, "i") == 0;
		return EX_OK;
	case 'b':
		return arg[1] == '\0' ? sendmail_mode(arg[0], mode) : sendmail_fail(EX_USAGE, "-b%s is not supported",
		    arg);
	case 'N':
		sm->notify = arg;
		return notify_is_valid(arg) ? EX_OK : sendmail_fail(EX_USAGE,
		    "-N is never, or of success,failure,delay");
	case 'R':
		sm->ret = arg;
		return strcasecmp(arg, "full") == 0 || strcasecmp(arg, "hdrs") == 0 ? EX_OK :
		    sendmail_fail(EX_USAGE, "-R is full or hdrs");
	case 'V':
		sm->envid = arg;
		return EX_OK;
	case 'q': /* queue run: it runs by itself */
		*mode = MODE_NOTHING;
		return EX_OK;
	case 'A': case 'B': case 'D': case 'G': case 'L': case 'O': case 'U': case 'X': case 'd': case 'e': case 'h':
	case 'm': case 'n': case 'p': case 'v':
		return EX_OK; /* taken for compatibility, without effect */
	default:
		return sendmail_fail(EX_USAGE, "usage: sendmail [-t] [-i] [-f sender] [-F name] [-N dsn] [-R ret] "
		    "[-V envid] "
		    "[-bs | -bp] [recipient ...]");
	}
}

/* "-f ''", "-f '<>'", "-f 'Name <a@b>'", or nothing: the user's name here. */
static int
sendmail_sender(struct sendmail *sm, const char *hostname)
{
	struct addrlist list = { NULL, 0 };
	const struct passwd *pw;
	const char *err = NULL, *name;

	if (sm->sender != NULL && (*sm->sender == '\0' || strcmp(sm->sender, "<>") == 0)) {
		*sm->sender = '\0';
		return EX_OK;
	}
	if (sm->sender == NULL) {
		pw = getpwuid(getuid());
		name = pw != NULL ? pw->pw_name : getenv("LOGNAME");
		sm->sender = xasprintf("%s@%s", name != NULL ? name : "nobody", hostname);
		return EX_OK;
	}
	if (addrlist_parse(sm->sender, hostname, &list, &err) == -1 || list.n != 1) {
		addrlist_clear(&list);
		return sendmail_fail(EX_USAGE, "-f %s: %s", sm->sender, err != NULL ? err : "one address, please");
	}
	free(sm->sender);
	sm->sender = xstrdup(list.v[0]);
	addrlist_clear(&list);
	return EX_OK;
}

static int
sendmail_deliver(struct sendmail *sm, const struct params *p, char **argv)
{
	struct wbuf in, message;
	const char *err;
	int rv = sendmail_sender(sm, p->myhostname);

	for (; rv == EX_OK && *argv != NULL; argv++) {
		if (addrlist_parse(*argv, p->myhostname, &sm->rcpts, &err) == -1)
			rv = sendmail_fail(EX_NOUSER, "%s: %s", *argv, err);
	}
	if (rv == EX_OK && sm->rcpts.n == 0 && !sm->take_recipients)
		rv = sendmail_fail(EX_USAGE, "no recipients were given");
	wbuf_init(&in);
	wbuf_init(&message);
	if (rv == EX_OK)
		rv = sendmail_read(stdin, sm->ignore_dots, p->message_size_limit, &in);
	if (rv == EX_OK)
		rv = sendmail_headers(sm, p->myhostname, wall_ms(), &in, &message);
	if (rv == EX_OK && sm->rcpts.n == 0)
		rv = sendmail_fail(EX_USAGE, "the message names no recipients in To, Cc or Bcc");
	if (rv == EX_OK)
		rv = sendmail_submit(sm, p, &message);
	wbuf_clear(&in);
	wbuf_clear(&message);
	return rv;
}

static int
sendmail_run(struct admin *adm, struct sendmail *sm, enum sendmail_mode mode, char **argv)
{
	struct params *params;
	struct conf *conf = NULL;
	int rv;

	adm->config_dir = sm->config_dir;
	if (mode == MODE_NOTHING)
		return EX_OK;
	if (mode == MODE_LIST)
		return cmd_mailq(adm, 1, argv);
	if ((params = adm_params(adm, &conf)) == NULL)
		return EX_CONFIG;
	rv = mode == MODE_SMTP ? sendmail_relay(params) : sendmail_deliver(sm, params, argv);
	params_free(&params);
	conf_free(&conf);
	return rv;
}

int
cmd_sendmail(struct admin *adm, int argc, char **argv)
{
	struct sendmail sm = { .config_dir = adm->config_dir };
	enum sendmail_mode mode = MODE_DELIVER;
	int opt, rv = EX_OK;

	opterr = 0;
	optind = 0;
	while (rv == EX_OK && (opt = getopt(argc, argv, "+A:B:C:D:F:GL:N:O:R:UV:X:b:d:e:f:h:imno:p:q::r:tv")) != -1)
		rv = sendmail_option(&sm, &mode, opt, optarg);
	if (rv == EX_OK)
		rv = sendmail_run(adm, &sm, mode, argv + optind);
	free(sm.sender);
	addrlist_clear(&sm.rcpts);
	return rv;
}
