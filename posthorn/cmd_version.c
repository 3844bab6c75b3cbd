/* posthorn version: what a bug report needs. */
#include <event2/event.h>
#include <jansson.h>
#include <lmdb.h>
#include <lua.h>
#include <openssl/crypto.h>
#include <seccomp.h>
#include <stdio.h>
#include <unbound.h>

#include "base/json.h"

#include "admin.h"

int
cmd_version(struct admin *adm, int argc, char **argv)
{
	const struct scmp_version *seccomp = seccomp_version();
	char seccomp_text[48], lmdb_text[48];
	const struct {
		const char *name, *text;
	} libs[] = {
		{ "libevent", event_get_version() },
		{ "openssl", OpenSSL_version(OPENSSL_VERSION_STRING) },
		{ "lmdb", lmdb_text },
		{ "lua", LUA_VERSION_MAJOR "." LUA_VERSION_MINOR "." LUA_VERSION_RELEASE },
		{ "unbound", ub_version() },
		{ "seccomp", seccomp_text },
		{ "jansson", jansson_version_str() },
	};
	int major, minor, patch;
	struct json j;

	(void)argv;
	if (argc > 1)
		return adm_usage("version", "version takes no arguments");
	mdb_version(&major, &minor, &patch);
	snprintf(lmdb_text, sizeof(lmdb_text), "%d.%d.%d", major, minor, patch);
	snprintf(seccomp_text, sizeof(seccomp_text), "%u.%u.%u", seccomp->major, seccomp->minor, seccomp->micro);
	if (!adm->json) {
		printf("posthorn %s\n", POSTHORN_VERSION);
		for (size_t i = 0; i < sizeof(libs) / sizeof(libs[0]); i++)
			printf("%-9s %s\n", libs[i].name, libs[i].text);
		return ADM_OK;
	}
	json_init(&j);
	json_obj(&j, NULL);
	json_str(&j, "posthorn", POSTHORN_VERSION);
	for (size_t i = 0; i < sizeof(libs) / sizeof(libs[0]); i++)
		json_str(&j, libs[i].name, libs[i].text);
	json_obj_end(&j);
	printf("%.*s\n", (int)j.out.len, (const char *)j.out.p);
	json_clear(&j);
	return ADM_OK;
}
