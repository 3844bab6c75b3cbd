/* Once a day, if tls_report_contact is set: `posthorn tlsrpt --send` for the day before, as a child that gives up root
 * by itself. When is drawn each day, so that not all senders of the world report at midnight (RFC 8460 section 3). What
 * was sent before a restart is not sent again: that is noted by the child. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/roles.h"
#include "base/wait_text.h"
#include "base/xalloc.h"

#include "supervise.h"

#define LOOK_MS 1000
#define DAY_MS 86400000ll
#define AGAIN_MS 3600000 /* after a failure */

static void
report_start(struct supervisor *sup)
{
	char exe[4096], dash_c[] = "-c", verb[] = "tlsrpt", option[] = "--send", *dir = xstrdup(sup->config_dir);
	char *argv[] = { exe, dash_c, dir, verb, option, NULL };
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (n > 0) {
		exe[n] = '\0';
		sup->report_pid = spawn(argv, NULL, 0, NULL, NULL);
	}
	if (n <= 0 || sup->report_pid == -1) {
		log_error("cannot start posthorn tlsrpt: %m");
		sup->report_pid = 0;
		sup->report_due += AGAIN_MS;
	}
	free(dir);
}

static void
on_look(void *arg)
{
	struct supervisor *sup = arg;
	int64_t now = loop_wall(sup->loop), today = now / DAY_MS, spread = sup->params->tls_report_spread;

	timer_set(&sup->report, LOOK_MS);
	if (sup->phase != PHASE_SERVE || sup->params->tls_report_contact[0] == '\0' || sup->report_pid != 0)
		return;
	if (sup->report_day != today) {
		sup->report_day = today;
		sup->report_due = today * DAY_MS + (spread > 0 ? arc4random_uniform((uint32_t)spread) : 0);
	}
	if (sup->report_due != 0 && now >= sup->report_due)
		report_start(sup);
}

bool
sup_report_gone(struct supervisor *sup, pid_t pid, int status)
{
	char *how;

	if (pid != sup->report_pid)
		return false;
	sup->report_pid = 0;
	if (status == 0) {
		sup->report_due = 0; /* until tomorrow */
		return true;
	}
	how = wait_text(status);
	log_error("posthorn tlsrpt: %s; again in an hour", how);
	free(how);
	sup->report_due = loop_wall(sup->loop) + AGAIN_MS;
	return true;
}

void
sup_report_open(struct supervisor *sup)
{
	timer_init(&sup->report, sup->loop, on_look, sup);
	timer_set(&sup->report, LOOK_MS);
}
