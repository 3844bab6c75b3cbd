/* posthorn.encode and posthorn.digest: base64, hexadecimal, hashes, by OpenSSL. For names of queues and keys, not for
 * secrets. Any process that loads policy; what is encoded comes from strangers. */
#include <openssl/evp.h>
#include <stdint.h>
#include <string.h>

#include "mail/policy_lib.h"

#define TEXT_MAX (8u << 20)

static const char *
text_arg(lua_State *L, size_t *len)
{
	const char *s = luaL_checklstring(L, 1, len);

	luaL_argcheck(L, *len <= TEXT_MAX, 1, "longer than 8 MiB");
	return s;
}

void
policy_lib_hex_push(lua_State *L, const void *data, size_t len)
{
	const unsigned char *s = data;
	luaL_Buffer b;
	char *out = luaL_buffinitsize(L, &b, 2 * len);
	size_t i;

	for (i = 0; i < len; i++) {
		out[2 * i] = "0123456789abcdef"[s[i] >> 4];
		out[2 * i + 1] = "0123456789abcdef"[s[i] & 15];
	}
	luaL_pushresultsize(&b, 2 * len);
}

void
policy_lib_base64_push(lua_State *L, const void *data, size_t len)
{
	luaL_Buffer b;
	unsigned char *out = (unsigned char *)luaL_buffinitsize(L, &b, (len + 2) / 3 * 4 + 1);

	luaL_pushresultsize(&b, (size_t)EVP_EncodeBlock(out, data, (int)len));
}

static int
encode_hex_encode(lua_State *L)
{
	size_t len;
	const char *s = text_arg(L, &len);

	policy_lib_hex_push(L, s, len);
	return 1;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 32) >= 'a' && (c | 32) <= 'f')
		return (c | 32) - 'a' + 10;
	return -1;
}

static int
encode_hex_decode(lua_State *L)
{
	size_t len, i;
	const char *s = text_arg(L, &len);
	luaL_Buffer b;
	char *out;

	luaL_argcheck(L, len % 2 == 0, 1, "an odd number of hexadecimal digits");
	out = luaL_buffinitsize(L, &b, len / 2 + 1);
	for (i = 0; i < len; i += 2) {
		if (hex_digit(s[i]) < 0 || hex_digit(s[i + 1]) < 0)
			return luaL_error(L, "not a hexadecimal digit at character %d", (int)i + 1);
		out[i / 2] = (char)(hex_digit(s[i]) << 4 | hex_digit(s[i + 1]));
	}
	luaL_pushresultsize(&b, len / 2);
	return 1;
}

static int
encode_base64_encode(lua_State *L)
{
	size_t len;
	const char *s = text_arg(L, &len);

	policy_lib_base64_push(L, s, len);
	return 1;
}

/* Strict: whole groups of four, padding at the end only, no white space (EVP_DecodeBlock takes more). */
static int
encode_base64_decode(lua_State *L)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t len, pad, i;
	const char *s = text_arg(L, &len);
	luaL_Buffer b;
	unsigned char *out;

	for (pad = 0; pad < 2 && pad < len && s[len - 1 - pad] == '='; pad++)
		;
	for (i = 0; i + pad < len && s[i] != '\0' && strchr(alphabet, s[i]) != NULL; i++)
		;
	if (len % 4 != 0 || i + pad != len)
		return luaL_error(L, "not base64 at character %d", (int)i + 1);
	out = (unsigned char *)luaL_buffinitsize(L, &b, len / 4 * 3 + 1);
	if (EVP_DecodeBlock(out, (const unsigned char *)s, (int)len) < 0)
		return luaL_error(L, "not base64");
	luaL_pushresultsize(&b, len / 4 * 3 - pad);
	return 1;
}

/* As KumoMTA: a table with the hash in three notations. */
static int
result_push(lua_State *L, const unsigned char *md, size_t len)
{
	lua_createtable(L, 0, 3);
	lua_pushlstring(L, (const char *)md, len);
	lua_setfield(L, -2, "bytes");
	policy_lib_hex_push(L, md, len);
	lua_setfield(L, -2, "hex");
	policy_lib_base64_push(L, md, len);
	lua_setfield(L, -2, "base64");
	return 1;
}

static int
digest(lua_State *L, const EVP_MD *type)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	size_t len;
	const char *s = text_arg(L, &len);

	if (EVP_Digest(s, len, md, &n, type, NULL) != 1)
		return luaL_error(L, "this hash is not available on this host");
	policy_clock_check(L, 1);
	return result_push(L, md, n);
}

static int
digest_md5(lua_State *L)
{
	return digest(L, EVP_md5());
}

static int
digest_sha1(lua_State *L)
{
	return digest(L, EVP_sha1());
}

static int
digest_sha256(lua_State *L)
{
	return digest(L, EVP_sha256());
}

static int
digest_sha512(lua_State *L)
{
	return digest(L, EVP_sha512());
}

/* That of zip and Ethernet, most significant byte first. */
static int
digest_crc32(lua_State *L)
{
	uint32_t crc = UINT32_MAX;
	unsigned char md[4];
	size_t len, i;
	const char *s = text_arg(L, &len);
	int bit;

	for (i = 0; i < len; i++)
		for (crc ^= (unsigned char)s[i], bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
	crc = ~crc;
	for (i = 0; i < 4; i++)
		md[i] = (unsigned char)(crc >> (24 - 8 * i));
	policy_clock_check(L, 1);
	return result_push(L, md, sizeof(md));
}

const luaL_Reg policy_lib_encode[] = {
	{ "base64_decode", encode_base64_decode },
	{ "base64_encode", encode_base64_encode },
	{ "hex_decode", encode_hex_decode },
	{ "hex_encode", encode_hex_encode },
	{ NULL, NULL }
};

const luaL_Reg policy_lib_digest[] = {
	{ "crc32", digest_crc32 },
	{ "md5", digest_md5 },
	{ "sha1", digest_sha1 },
	{ "sha256", digest_sha256 },
	{ "sha512", digest_sha512 },
	{ NULL, NULL }
};
