/* Replies against the rules that are shipped: whatever a stranger says costs bounded time and fits. First byte: the
 * provider. */
#include "base/xalloc.h"
#include "mail/shaping.h"
#include "t/fuzz/fuzz.h"

static const char *const hosts[] = { "smtp.google.com", "mta5.am0.yahoodns.net", "x.olc.protection.outlook.com",
	"mx01.mail.icloud.com", "smtp-in.orange.fr", "mx00.emig.gmx.net", "mx1.qq.com", "mx.mxmail.netease.com" };

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct shaping *shaping;
	struct conf_errors errs = { NULL, 0 };
	struct conf_strs files = { (char *[]){ (char[]){ "conf/shaping.lua" } }, 1 };
	const struct shaping_rule *hits[8];
	struct shaping_path path = { .n_mx = 1 };
	char *reply;
	size_t n;

	if (shaping == NULL)
		shaping = shaping_load(&files, &errs);
	FUZZ_ASSERT(shaping != NULL);
	if (size == 0)
		return 0;
	path.mx = &hosts[data[0] % (sizeof(hosts) / sizeof(hosts[0]))];
	reply = xmalloc(size);
	memcpy(reply, data + 1, size - 1);
	reply[size - 1] = '\0';
	n = shaping_match(shaping, &path, reply, data[0] > 127, hits, 8);
	FUZZ_ASSERT(n <= 8);
	while (n-- > 0)
		FUZZ_ASSERT(shaping_rule_find(shaping, hits[n]->id) == hits[n]);
	free(reply);
	return 0;
}
