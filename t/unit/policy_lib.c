/* The helpers of policy (mail/policy_lib_*.c) as an author sees them: each script checks itself with assert, and mistakes
 * are errors with the expected words. Hostile: patterns that take for ever, deep JSON, NUL bytes, invalid UTF-8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/policy.h"

#include <cmocka.h>

static char dir[] = "/tmp/posthorn-policy-lib-XXXXXX";

static char *
path_of(const char *name)
{
	return xasprintf("%s/%s", dir, name);
}

/* As an editor does it: a new file in place of the old. */
static void
put(const char *name, const char *text, size_t len)
{
	char *file = path_of(name), *tmp = xasprintf("%s.new", file);
	FILE *f = fopen(tmp, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rename(tmp, file), 0);
	free(file);
	free(tmp);
}

#define PUT(name, text) put(name, text, sizeof(text) - 1)

static struct policy *
load(const char *text, char **err_r)
{
	struct conf_errors errs = { NULL, 0 };
	char *file = path_of("policy.lua");
	struct policy *p;

	put("policy.lua", text, strlen(text));
	p = policy_load(file, &errs);
	*err_r = errs.n > 0 ? xstrdup(errs.v[0].text) : NULL;
	conf_errors_clear(&errs);
	free(file);
	return p;
}

/* NULL: it must load; otherwise words of the error. */
static void
check(const char *text, const char *words)
{
	char *err;
	struct policy *p = load(text, &err);

	if (words == NULL && err != NULL)
		fail_msg("%s\n%s", text, err);
	if (words != NULL && (err == NULL || strstr(err, words) == NULL))
		fail_msg("%s\nexpected: %s\ngot: %s", text, words, err == NULL ? "no error" : err);
	free(err);
	policy_free(&p);
}

static void
test_regex(void **state)
{
	(void)state;
	check("local r = kumo.regex.compile('(?<user>[a-z]+)@(\\\\w+)')\n"
	    "assert(r:is_match('x bob@host y') and not r:is_match('-'))\n"
	    "assert(r:find('x bob@host y') == 'bob@host' and r:find('') == nil)\n"
	    "local c = r:captures('x bob@host')\n"
	    "assert(c[0] == 'bob@host' and c.user == 'bob' and c[1] == 'bob' and c[2] == 'host')\n"
	    "assert(r:captures('-') == nil)\n"
	    "assert(r:replace('a@b c@d', '$2.${user}$$') == 'b.a$ c@d')\n"
	    "assert(r:replace_all('a@b c@d', '<$0>') == '<a@b> <c@d>')\n"
	    "local s = kumo.regex.compile(', *'):split('a, b,c')\n"
	    "assert(#s == 3 and s[1] == 'a' and s[3] == 'c')\n"
	    "local a = kumo.regex.compile('\\\\d+'):find_all('1 22 333')\n"
	    "assert(#a == 3 and a[3] == '333')\n"
	    "assert(#kumo.regex.compile('x*'):find_all('axb') == 3)\n"
	    "assert(kumo.regex.compile('x*'):replace_all('axb', '-') == '-a-b-')\n"
	    "local odd = 'a.b\\0c\\n\\xff($^'\n"
	    "assert(kumo.regex.compile('^' .. kumo.regex.escape(odd) .. '\\\\z'):is_match(odd))\n"
	    "assert(kumo.regex.compile('b.c'):is_match('b\\xffc'))\n", NULL);
	check("kumo.regex.compile('(')", "the pattern is wrong at character 2");
	check("kumo.regex.compile('(*UTF)a')", "the pattern is wrong");
	check("kumo.regex.compile()", "bad argument #1 to 'compile' (string expected, got no value)");
	check("kumo.regex.complie('a')", "posthorn.regex.complie does not exist; did you mean posthorn.regex.compile?");
	check("kumo.regex.compile('a'):ismatch('a')", "did you mean regex.is_match?");
	check("kumo.regex.compile('a'):replace('a', '$x')", "names the group 'x'");
	check("kumo.regex.compile('a'):replace('a', '$')", "a $ without a group");
	check("kumo.regex.compile('a').is_match('a')", "regex expected, got string");
	check("kumo.regex = nil", "cannot be changed");
	check("kumo.regex.compile = nil", "cannot be changed");
	check("getmetatable(kumo.regex.compile('a')).x = 1", "");
}

static void
test_regex_hostile(void **state)
{
	static const char *const slow[] = {
		"kumo.regex.compile('(a+)+$'):is_match(string.rep('a', 40) .. '!')",
		"kumo.regex.compile('(x+x+)+y'):find(string.rep('x', 5000))",
		"kumo.regex.compile('[^b]*c'):find(string.rep('a', 1000000))",
		"kumo.regex.compile('(a|b|ab)*?c'):find(string.rep('ab', 100000))",
		"while true do pcall(kumo.regex.compile, '(a+)+$') end",
		"local r = kumo.regex.compile('(a+)+$') while true do pcall(r.is_match, r, string.rep('a', 40)..'!') end",
		"local r = kumo.regex.compile('(.)(?1)*(.)') r:find_all(string.rep('ab', 400000))",
		NULL
	};
	size_t i;

	(void)state;
	for (i = 0; slow[i] != NULL; i++) {
		char *err;
		struct policy *p = load(slow[i], &err);

		policy_free(&p); /* that it ends is the test; a fast machine may even find the answer */
		free(err);
	}
	check("local t = {} for i = 1, 100000 do t[i] = kumo.regex.compile('abc' .. i) end", "used more than");
	check("kumo.regex.compile(string.rep('(', 60000))", "the pattern is wrong");
	check("kumo.regex.compile(string.rep('a', 70000))", "longer than 64 KiB");
}

static void
test_string(void **state)
{
	(void)state;
	check("local s = kumo.string\n"
	    "local t = s.split('a,b,,c', ',') assert(#t == 4 and t[3] == '' and t[4] == 'c')\n"
	    "t = s.splitn('a,b,c', 2, ',') assert(#t == 2 and t[2] == 'b,c')\n"
	    "t = s.split_ascii_whitespace('  a \\t b\\n') assert(#t == 2 and t[2] == 'b')\n"
	    "assert(s.trim(' a ') == 'a' and s.trim_start(' a ') == 'a ' and s.trim_end(' a ') == ' a')\n"
	    "assert(s.trim('   ') == '' and s.trim('') == '')\n"
	    "assert(s.starts_with('abc', 'ab') and not s.starts_with('a', 'ab') and s.ends_with('abc', 'bc'))\n"
	    "assert(s.contains('abc', '') and s.contains('a%b', '%') and not s.contains('', 'x'))\n"
	    "assert(s.to_lowercase('AbC\\xc4') == 'abc\\xc4' and s.to_uppercase('abz1') == 'ABZ1')\n"
	    "assert(s.eq_ignore_ascii_case('ABC', 'abc') and not s.eq_ignore_ascii_case('@', '`'))\n"
	    "assert(s.replace('aXbXc', 'X', '%1') == 'a%1b%1c' and s.replacen('aaa', 'a', 'b', 2) == 'bba')\n", NULL);
	check("kumo.string.split('a', '')", "the separator is empty");
	check("kumo.string.strats_with('a', 'b')", "did you mean posthorn.string.starts_with?");
	check("kumo.string.split(nil, ',')", "bad argument #1 to 'split' (string expected, got nil)");
	check("kumo.string.split(string.rep('a,', 100000), ',')", NULL);
}

static void
test_serde(void **state)
{
	(void)state;
	check("local v = kumo.serde.json_parse('{\"a\":[1,2.0,\"x\",null,true],\"n\":null,\"u\":\"\\\\u00e4\"}')\n"
	    "assert(math.type(v.a[1]) == 'integer' and math.type(v.a[2]) == 'float' and v.a[4] == false and #v.a == 5)\n"
	    "assert(v.n == nil and v.u == 'ä')\n"
	    "assert(kumo.json_parse('3') == 3 and kumo.json_parse('null') == nil)\n"
	    "assert(kumo.json_encode({ b = 1, a = { 1, 2.5, 'x' } }) == '{\"a\":[1,2.5,\"x\"],\"b\":1}')\n"
	    "assert(kumo.json_encode({}) == '{}' and kumo.json_encode('a') == '\"a\"')\n"
	    "assert(kumo.serde.json_encode_pretty({ a = 1 }) == '{\\n  \"a\": 1\\n}')\n", NULL);
	check("kumo.json_parse('{\"a\":')", "not JSON: line 1");
	check("kumo.json_parse(string.rep('[', 100000))", "nested deeper than 64");
	check("kumo.json_parse(string.rep(' ', 600000))", "longer than 512 KiB");
	check("kumo.json_parse('99999999999999999999')", "not JSON");
	check("kumo.json_parse('\"\\xff\"')", "not JSON");
	check("local t = {} t.t = t kumo.json_encode(t)", "contains itself");
	check("kumo.json_encode({ print })", "a function cannot be written as JSON");
	check("kumo.json_encode(0/0)", "no number such as inf or nan");
	check("kumo.json_encode('\\xff')", "not UTF-8");
	check("kumo.json_encode({ 1, 2, x = 3 })", "only strings as keys");
	check("kumo.json_encode()", "value expected");
	check("kumo.json_parse({})", "string expected, got table");
}

static void
test_time_and_digest(void **state)
{
	(void)state;
	check("local t = kumo.time\n"
	    "assert(t.now() > 1.7e9)\n"
	    "assert(t.parse_rfc3339('2026-05-01T12:00:00Z') == 1777636800)\n"
	    "assert(t.parse_rfc3339('2026-05-01T14:00:00.25+02:00') == 1777636800.25)\n"
	    "assert(t.parse_rfc2822('Fri, 1 May 2026 12:00:00 +0000') == 1777636800)\n"
	    "assert(t.parse_rfc2822('1 May 2026 07:00 -0500') == 1777636800)\n"
	    "assert(t.rfc3339(1777636800) == '2026-05-01T12:00:00Z')\n"
	    "assert(t.rfc2822(1777636800) == 'Fri, 01 May 2026 12:00:00 +0000')\n"
	    "assert(t.format(0, '%H:%M %Y') == '00:00 1970')\n"
	    "assert(t.parse_duration('20 min') == 1200 and t.parse_duration(5) == 5)\n", NULL);
	check("kumo.time.parse_rfc3339('2026-02-30T12:00:00Z')", "is not a time such as");
	check("kumo.time.parse_rfc3339('2026')", "is not a time such as");
	check("kumo.time.parse_rfc2822('x')", "is not a date such as");
	check("kumo.time.format(1e300, '%Y')", "not a time from 1970 to 9999");
	check("kumo.time.format(0, '%9999999d')", "more than 511 characters");
	check("kumo.time.parse_duration('soon')", "'soon' is not a time");
	check("local d, e = kumo.digest, kumo.encode\n"
	    "assert(d.sha256('').hex == 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')\n"
	    "assert(d.md5('a').hex == '0cc175b9c0f1b6a831c399e269772661' and d.crc32('123456789').hex == 'cbf43926')\n"
	    "assert(#d.sha1('').bytes == 20 and #d.sha512('').bytes == 64 and d.md5('').base64 == '1B2M2Y8AsgTpgAmY7PhCfg==')\n"
	    "assert(e.base64_encode('a\\0b') == 'YQBi' and e.base64_decode('YQBi') == 'a\\0b')\n"
	    "assert(e.base64_decode('YQ==') == 'a' and e.base64_decode('') == '')\n"
	    "assert(e.hex_encode('\\xff\\0') == 'ff00' and e.hex_decode('FF00') == '\\xff\\0')\n", NULL);
	check("kumo.encode.base64_decode('YQ=')", "not base64");
	check("kumo.encode.base64_decode('Y Q=')", "not base64 at character 2");
	check("kumo.encode.hex_decode('0g')", "not a hexadecimal digit");
}

static void
test_domain_map(void **state)
{
	(void)state;
	check("local m = kumo.domain_map.new { ['example.com'] = 1, ['*.Example.com'] = 2 }\n"
	    "m['*.b.example.com'] = 3\n"
	    "assert(m['EXAMPLE.com'] == 1 and m['a.example.com'] == 2 and m['x.b.example.com.'] == 3)\n"
	    "assert(m['b.example.com'] == 2 and m['org'] == nil and m[nil] == nil and m[string.rep('a.', 4000)] == nil)\n",
	    NULL);
	check("local m = kumo.domain_map.new() m[1] = 2", "a domain such as");
	check("kumo.domain_map.new('x')", "table expected, got string");
	check("for i = 1, 5 do kumo.log_info('hello', 1, nil) kumo.log_warn('w') kumo.log_error('e') end", NULL);
}

#define MAPPED(args, more) "local m = posthorn.map { " args " }\n" more

static void
test_map(void **state)
{
	(void)state;
	PUT("c.csv", "\xef\xbb\xbfid,pool,\"no\"\"te\"\r\nacme,p1,\"a,\r\nb\"\n\nother,p2,\n");
	PUT("m.json", " { \"a\" : \"x\", \"b\": {\"n\": [1, \"}\"]}, \"c\":7 , \"\\u0000\": true}\n");
	check(MAPPED("name = 'c', file = 'c.csv', key = 'id', value = 'pool'",
	    "assert(m:get('acme') == 'p1' and m['other'] == 'p2' and m.nobody == nil and m[nil] == nil and m:count() == 2)"),
	    NULL);
	check(MAPPED("file = 'c.csv'", "local r = m.acme assert(r.pool == 'p1' and r['no\"te'] == 'a,\\r\\nb' and r.id == 'acme')"),
	    NULL);
	check(MAPPED("file = 'm.json'", "assert(m.a == 'x' and m.b.n[2] == '}' and m.c == 7 and m['\\0'] == true)"), NULL);
	check(MAPPED("file = 'c.csv', key = 'idd'", ""), "c.csv:1: there is no column 'idd'; did you mean 'id'?");
	check(MAPPED("fiel = 'c.csv'", ""), "unknown key 'fiel'; did you mean 'file'?");
	check(MAPPED("file = 'none.csv'", ""), "none.csv cannot be read: No such file");
	check(MAPPED("file = '/etc/passwd', format = 'csv'", ""), "is outside");
	check(MAPPED("file = '../../etc/passwd', format = 'csv'", ""), "is outside");
	check(MAPPED("file = 'policy.lua'", ""), "format is missing");
	check(MAPPED("file = 'm.json', key = 'a'", ""), "JSON has none");
	check("posthorn.map('c.csv')", "table expected, got string");
	check(MAPPED("file = 'c.csv'", "m:get({})"), "string expected, got table");
	PUT("c.csv", "id,pool\na,1\nb\n");
	check(MAPPED("file = 'c.csv'", ""), "c.csv:3: 1 fields, but the header line has 2");
	PUT("c.csv", "id,pool\na,1\na,2\n");
	check(MAPPED("file = 'c.csv'", ""), "c.csv:3: the key 'a' is there twice");
	PUT("c.csv", "id,pool\na,\"1\n");
	check(MAPPED("file = 'c.csv'", ""), "a quote is not closed");
	PUT("c.csv", "");
	check(MAPPED("file = 'c.csv'", ""), "c.csv:1: no header line");
	PUT("m.json", "{\"a\":1,\n\"b\":}");
	check(MAPPED("file = 'm.json'", ""), "m.json:2: not JSON");
	PUT("m.json", "{\"a\":1");
	check(MAPPED("file = 'm.json'", ""), "the object does not end");
	PUT("m.json", "[]");
	check(MAPPED("file = 'm.json'", ""), "not a JSON object");
}

/* The pool of acme, which policy has from the map. */
static bool
pool_is(struct policy *p, const char *expected)
{
	char *pool, *err;
	bool is_same;

	assert_int_equal(policy_get_egress_pool(p, "example.com", "acme", NULL, &pool, &err), 1);
	is_same = strcmp(pool, expected) == 0;
	free(pool);
	return is_same;
}

static void
until(struct policy *p, const char *pool)
{
	int i;

	for (i = 0; i < 3000 && !pool_is(p, pool); i++)
		usleep(10000);
	assert_true(i < 3000);
}

static void
test_map_reload(void **state)
{
	char *err;
	struct policy *p;

	(void)state;
	PUT("c.csv", "id,pool\nacme,p1\n");
	p = load("for _, n in ipairs { '1', '2', '3' } do posthorn.source { name = 's' .. n, source_address = '192.0.2.' .. n }\n"
	    "posthorn.pool { name = 'p' .. n, entries = { { name = 's' .. n } } } end\n"
	    "local m = posthorn.map { file = 'c.csv', value = 'pool' }\n"
	    "posthorn.on('get_egress_pool', function(domain, tenant) return m[tenant] end)\n", &err);
	if (err != NULL)
		fail_msg("%s", err);
	assert_true(pool_is(p, "p1"));
	PUT("c.csv", "id,pool\nacme,p2\n");
	until(p, "p2");
	/* Broken: the old stays, until it is right again. */
	PUT("c.csv", "id,pool\nacme,p3\nx\n");
	for (int i = 0; i < 120; i++) {
		assert_true(pool_is(p, "p2"));
		usleep(10000);
	}
	PUT("c.csv", "id,pool\nacme,p3\n");
	until(p, "p3");
	policy_free(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_regex), cmocka_unit_test(test_regex_hostile), cmocka_unit_test(test_string),
		cmocka_unit_test(test_serde), cmocka_unit_test(test_time_and_digest), cmocka_unit_test(test_domain_map),
		cmocka_unit_test(test_map), cmocka_unit_test(test_map_reload),
	};

	static const char *const files[] = { "policy.lua", "c.csv", "m.json", NULL };
	int rc;

	log_init("test", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	assert_non_null(mkdtemp(dir));
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	for (int i = 0; files[i] != NULL; i++) {
		char *file = path_of(files[i]);

		unlink(file);
		free(file);
	}
	rmdir(dir);
	return rc;
}
