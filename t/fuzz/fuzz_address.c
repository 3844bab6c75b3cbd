/* Addresses and xtext. First byte: options. What is accepted is canonical (parses to itself) and clean. */
#include <stdio.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/address.h"
#include "t/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct path_arg arg, again;
	char path[ADDRESS_MAX + 2], decoded[600], *text;
	const char *err;
	enum path_kind kind;

	if (size == 0)
		return 0;
	kind = data[0] & 1 ? PATH_FORWARD : PATH_REVERSE;
	text = xmemdup0(data + 1, size - 1);
	if (address_parse_path(text, kind, data[0] & 2, &arg, &err) == 0) {
		snprintf(path, sizeof(path), "<%s>", arg.address);
		FUZZ_ASSERT(address_parse_path(path, kind, data[0] & 2, &again, &err) == 0);
		FUZZ_ASSERT(strcmp(arg.address, again.address) == 0 && arg.is_utf8 == again.is_utf8);
		FUZZ_ASSERT(arg.address + address_local_len(arg.address) <= address_domain(arg.address));
		FUZZ_ASSERT(utf8_valid(arg.address, strlen(arg.address)));
		for (const char *p = arg.address; *p != '\0'; p++)
			FUZZ_ASSERT((unsigned char)*p >= ' ' && *p != 0x7f);
	}
	if (xtext_decode(text, strlen(text), decoded, sizeof(decoded)) == 0)
		FUZZ_ASSERT(strpbrk(decoded, "\r\n") == NULL && strlen(decoded) <= strlen(text));
	address_helo_valid(text);
	address_domain_valid(text, true);
	free(text);
	return 0;
}
