/* Mailboxes of RFC 5321 4.1.2, SMTPUTF8 of RFC 6531, xtext of RFC 3461: pure parsers. An address is kept once, in
 * canonical form: local part unquoted where quoting is not needed, quoted minimally where it is; domain
 * lower-cased, A-labels kept, literal with its brackets. */
#ifndef MAIL_ADDRESS_H
#define MAIL_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#define ADDRESS_MAX 320 /* room for 64@255 */

struct path_arg {
	char address[ADDRESS_MAX]; /* canonical; "" for the null reverse-path */
	const char *rest;          /* what follows '>' : parameters, after one space; "" if none */
	bool is_utf8;              /* needs SMTPUTF8 */
};

enum path_kind { PATH_REVERSE, PATH_FORWARD };

/* Parses "<...> params" as it follows "FROM:" or "TO:" (optional spaces before '<' are tolerated; a source route
 * is stripped; <postmaster> without domain is allowed forward). 0, or -1 with a reply text "5.1.7 Bad sender
 * address syntax" in *err_r (static). */
int address_parse_path(const char *s, enum path_kind, bool allow_utf8, struct path_arg *out, const char **err_r)
    __attribute__((warn_unused_result));
/* A bare addr-spec ("a@b", no brackets). 0 or -1. */
int address_parse(const char *s, bool allow_utf8, char out[ADDRESS_MAX]) __attribute__((warn_unused_result));
/* The part after the last unquoted '@', or "" (for the null sender, and postmaster). Points into address. */
const char *address_domain(const char *address);
/* The characters before that '@'. */
size_t address_local_len(const char *address);
/* Host name syntax (letters, digits, hyphens, dots, underscore tolerated; labels of 63, 253 in all; UTF-8 if
 * allowed) or address literal in brackets. */
bool address_domain_valid(const char *domain, bool allow_utf8);
/* The argument of HELO/EHLO: domain or literal; tolerant like Postfix (any printable word without controls), 255
 * characters. */
bool address_helo_valid(const char *);
/* xtext of RFC 3461 section 4. Decoded text with controls is refused. 0 or -1. */
int xtext_decode(const char *in, size_t inlen, char *out, size_t outsize) __attribute__((warn_unused_result));
int xtext_encode(const char *in, char *out, size_t outsize) __attribute__((warn_unused_result));
bool utf8_valid(const char *, size_t);
bool is_ascii(const char *, size_t);

#endif
