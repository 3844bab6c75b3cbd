/* fblproc(8): complaints that come as mail. The process is mail/report_main, the role's loop mail/report_role; what is
 * done with a report is in complaint.c. */
#include "mail/report_role.h"
#include "fblproc/complaint.h"

int
main(int argc, char **argv)
{
	static const struct report_spec spec = { .name = "fblproc", .user = "posthorn-fblproc", .consumer = QL_FBLPROC,
		.start = complaint_start, .work = complaint_work, .rules = complaint_rules,
		.n_rules = &n_complaint_rules, .up = complaint_up, .parser = complaint_parser, .close = complaint_close,
		.parse_main = complaint_parse_main };

	return report_main(&spec, argc, argv);
}
