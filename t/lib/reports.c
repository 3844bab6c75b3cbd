/* reports dsn|arf FILE ...: what the readers of bounces and complaints find in each, a line of JSON a file; for
 * t/40-dsn.t and t/40-arf.t. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/slurp.h"

#include "mail/report_json.h"

int
main(int argc, char **argv)
{
	static const char *const wanted[] = { "X-Posthorn-Ref" };
	struct json j;

	json_init(&j);
	for (int i = 2; i < argc; i++) {
		size_t len;
		char *message = slurp(argv[i], 64 << 20, &len);

		if (message == NULL) {
			perror(argv[i]);
			return 1;
		}
		json_reset(&j);
		if (strcmp(argv[1], "dsn") == 0) {
			struct dsn_report r;

			dsn_parse(&r, message, len, NULL, wanted, 1);
			dsn_report_json(&j, NULL, &r);
			dsn_report_clear(&r);
		} else {
			struct arf_report r;

			arf_parse(&r, message, len, wanted, 1);
			arf_report_json(&j, NULL, &r);
			arf_report_clear(&r);
		}
		printf("%.*s\n", (int)j.out.len, (const char *)j.out.p);
		free(message);
	}
	json_clear(&j);
	return 0;
}
