/* Says which messages are whole in spool segments: `records FILE...`, named NNNNNNNNNNNNNNNN.seg, prints a line "id
 * segment offset" for each record whose header and content have the right checksums, wherever in the file it is. For
 * t/crash/cutpoints.pl, and for whoever looks at a spool by hand. */
#include <sys/stat.h>

#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mail/msgid.h"
#include "mail/record.h"

static void
print_records(const char *path)
{
	const char *slash = strrchr(path, '/'), *why;
	uint64_t number = strtoull(slash == NULL ? path : slash + 1, NULL, 16), at = 0;
	char hex[MSGID_HEX];
	struct record rec;
	struct stat sb;
	int fd;

	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) == -1 || fstat(fd, &sb) == -1)
		err(1, "%s", path);
	while (record_resync(fd, number, at, (uint64_t)sb.st_size, &at) == 1 &&
	    record_verify(fd, number, at, &rec, &why) == 1) {
		msgid_hex(&rec.id, hex);
		printf("%s %" PRIu64 " %" PRIu64 "\n", hex, number, at);
		at += record_len(&rec);
	}
	close(fd);
}

int
main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		print_records(argv[i]);
	return 0;
}
