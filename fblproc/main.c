/* fblproc(8): complaints that come as mail. The process is mail/report_main, the role's loop mail/report_role; what is
 * done with a report is in complaint.c. */
#include "mail/report_role.h"
#include "fblproc/complaint.h"

static const struct report_spec spec = { .name = "fblproc", .user = "posthorn-fblproc", .consumer = QL_FBLPROC,
	.work = complaint_work };

int
main(int argc, char **argv)
{
	return report_main(&spec, argc, argv);
}
