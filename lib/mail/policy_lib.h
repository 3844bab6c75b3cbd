/* Helpers for authors of policy, one subject a file, as tables in the module: posthorn.regex, posthorn.serde. What they
 * are given comes from strangers: each is bounded in time and memory and none can block. t/30-policy-manual.t finds
 * functions and methods by their luaL_Reg tables. */
#ifndef MAIL_POLICY_LIB_H
#define MAIL_POLICY_LIB_H

#include <lauxlib.h>
#include <lua.h>

#include "mail/policy_private.h"

#define POLICY_LIB_JSON_MAX (512u << 10) /* bytes of text that json_parse takes */
#define POLICY_LIB_DEPTH_MAX 64

/* policy_lib.c. Module table at the top of the stack: adds everything. */
void policy_lib_install(lua_State *);
/* Puts a table that cannot be changed, and whose unknown members are errors with a suggestion, in place of the table at
 * the top of the stack. `what`: "posthorn.regex". */
void policy_lib_seal(lua_State *, const char *what);
/* The metatable of an object with these methods; index: instead of the look-up of methods, NULL: none. */
void policy_lib_class(lua_State *, const char *name, const luaL_Reg *methods, lua_CFunction gc);

extern const luaL_Reg policy_lib_regex[], policy_lib_string[], policy_lib_serde[], policy_lib_time[], policy_lib_encode[],
    policy_lib_digest[], policy_lib_domain_map[];
void policy_lib_regex_open(lua_State *);
void policy_lib_serde_open(lua_State *);
void policy_lib_map_open(lua_State *);
void policy_lib_domain_map_open(lua_State *);
int policy_lib_json_parse(lua_State *);
int policy_lib_json_encode(lua_State *);
int policy_lib_map(lua_State *);
int policy_lib_log_info(lua_State *);
int policy_lib_log_warn(lua_State *);
int policy_lib_log_error(lua_State *);
/* JSON text to a value on the stack; raises. */
void policy_lib_json_push(lua_State *, const char *text, size_t len);
/* Hexadecimal, base64 of bytes as a string on the stack. */
void policy_lib_hex_push(lua_State *, const void *, size_t);
void policy_lib_base64_push(lua_State *, const void *, size_t);

#endif
