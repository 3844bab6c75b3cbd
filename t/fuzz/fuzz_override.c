/* The decoder of overrides: rows of the index and frames. What is accepted encodes to the same bytes, makes sense, and
 * can be laid over a configuration, raised and matched. */
#include <stdlib.h>
#include <string.h>

#include "mail/override.h"
#include "t/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct override_target target = { .source = "s", .site = "mx.example", .domain = "example.net", .tenant = "t" };
	struct policy_path_config config;
	struct override o;
	struct rbuf r;
	struct wbuf w;
	char *text;

	rbuf_init(&r, data, size);
	if (override_decode(&r, &o) == -1)
		return 0;
	wbuf_init(&w);
	override_encode(&o, &w);
	FUZZ_ASSERT(w.len == size && memcmp(w.p, data, size) == 0);
	wbuf_clear(&w);
	FUZZ_ASSERT(override_check(&o) == NULL);
	text = override_scope_text(&o.scope);
	FUZZ_ASSERT(*text != '\0');
	free(text);
	(void)override_matches(&o.scope, &target);
	policy_path_config_init(&config);
	FUZZ_ASSERT(override_apply(&o, &config) == (o.kind == OVERRIDE_LIMIT));
	if (override_raise(&o))
		FUZZ_ASSERT(!override_is_stricter(&o, &config));
	policy_path_config_clear(&config);
	override_clear(&o);
	return 0;
}
