/* bouncerd(8): bounces that come as mail. The process is mail/report_main, the role's loop mail/report_role; what is
 * done with a report is in bounce.c. */
#include "mail/report_role.h"
#include "bouncerd/bounce.h"

static const struct report_spec spec = { .name = "bouncerd", .user = "posthorn-bouncerd", .consumer = QL_BOUNCERD,
	.work = bounce_work };

int
main(int argc, char **argv)
{
	return report_main(&spec, argc, argv);
}
