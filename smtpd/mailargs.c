/* Parses what follows the path in MAIL and RCPT. Every byte is hostile; what xtext decodes to is checked again, because
 * "+0D+0A" is a header injection (RFC 3461 section 4).
 *
 *   esmtp-param = keyword ["=" value] ; value without white space, "=" or controls (RFC 5321 4.1.2)
 */
#include <string.h>
#include <strings.h>

#include "mail/address.h"
#include "mail/envelope.h"

#include "smtpd/mailargs.h"

#define KEYWORD_MAX 32
#define VALUE_MAX 1600 /* ORCPT: 500 characters, each up to three in xtext, and the type */

struct param {
	char keyword[KEYWORD_MAX];
	char value[VALUE_MAX];
	bool has_value;
};

/* 1: *p filled; 0: nothing left; -1: malformed. */
static int
next_param(const char **sp, struct param *p)
{
	const char *s = *sp;
	size_t n = 0;

	while (*s == ' ')
		s++;
	if (*s == '\0')
		return 0;
	for (; *s != '\0' && *s != ' ' && *s != '='; s++) {
		if (n == KEYWORD_MAX - 1 || (unsigned char)*s <= ' ' || (unsigned char)*s >= 0x7f)
			return -1;
		p->keyword[n++] = *s;
	}
	p->keyword[n] = '\0';
	p->value[0] = '\0';
	p->has_value = *s == '=';
	if (n == 0)
		return -1;
	n = 0;
	if (p->has_value) {
		for (s++; *s != '\0' && *s != ' '; s++) {
			if (n == VALUE_MAX - 1 || (unsigned char)*s < ' ' || *s == 0x7f)
				return -1;
			p->value[n++] = *s;
		}
		p->value[n] = '\0';
		if (n == 0)
			return -1;
	}
	*sp = s;
	return 1;
}

static int
parse_size(const char *s, uint64_t *out)
{
	uint64_t n = 0;

	if (*s == '\0' || strlen(s) > 20)
		return -1;
	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '9')
			return -1;
		/* RFC 1870 allows 20 digits; what is beyond 2^63 is too large in any case. */
		n = n > UINT64_MAX / 20 ? UINT64_MAX / 2 : n * 10 + (uint64_t)(*s - '0');
	}
	*out = n;
	return 0;
}

static int
mail_param(const struct param *p, struct mail_args *a, const char **err_r)
{
	if (strcasecmp(p->keyword, "SIZE") == 0) {
		if (a->has_size || parse_size(p->value, &a->size) == -1) {
			*err_r = "501 5.5.4 Bad SIZE parameter";
			return -1;
		}
		a->has_size = true;
	} else if (strcasecmp(p->keyword, "BODY") == 0) {
		if (strcasecmp(p->value, "8BITMIME") == 0) {
			a->is_8bit = true;
		} else if (strcasecmp(p->value, "7BIT") != 0) {
			*err_r = "501 5.5.4 Unsupported BODY type";
			return -1;
		}
	} else if (strcasecmp(p->keyword, "SMTPUTF8") == 0 && !p->has_value) {
		a->is_utf8 = true;
	} else if (strcasecmp(p->keyword, "RET") == 0) {
		if (a->ret != RET_DEFAULT || (strcasecmp(p->value, "FULL") != 0 && strcasecmp(p->value, "HDRS") != 0)) {
			*err_r = "501 5.5.4 Bad RET parameter";
			return -1;
		}
		a->ret = strcasecmp(p->value, "FULL") == 0 ? RET_FULL : RET_HDRS;
	} else if (strcasecmp(p->keyword, "ENVID") == 0) {
		if (a->has_envid || xtext_decode(p->value, strlen(p->value), a->envid, sizeof a->envid) == -1 ||
		    a->envid[0] == '\0' || !is_ascii(a->envid, strlen(a->envid))) {
			*err_r = "501 5.5.4 Bad ENVID parameter";
			return -1;
		}
		a->has_envid = true;
	} else if (strcasecmp(p->keyword, "AUTH") == 0 && p->has_value) {
		/* RFC 4954 section 5: who first sent it. We do not pass it on, but the syntax is the client's duty. */
		char who[ADDRESS_MAX];

		if (xtext_decode(p->value, strlen(p->value), who, sizeof who) == -1) {
			*err_r = "501 5.5.4 Bad AUTH parameter";
			return -1;
		}
	} else {
		*err_r = "555 5.5.4 Unsupported parameter of MAIL";
		return -1;
	}
	return 0;
}

int
mail_args_parse(const char *s, struct mail_args *a, const char **err_r)
{
	struct param p;
	int rc;

	memset(a, 0, sizeof *a);
	while ((rc = next_param(&s, &p)) == 1) {
		if (mail_param(&p, a, err_r) == -1)
			return -1;
	}
	if (rc == -1)
		*err_r = "501 5.5.4 Syntax error in the parameters of MAIL";
	return rc;
}

static int
parse_notify(const char *s, uint8_t *out)
{
	static const struct {
		const char *word;
		uint8_t bit;
	} words[] = { { "NEVER", NOTIFY_NEVER }, { "SUCCESS", NOTIFY_SUCCESS }, { "FAILURE", NOTIFY_FAILURE },
		{ "DELAY", NOTIFY_DELAY } };
	const char *end;
	uint8_t bits = 0;
	size_t i;

	for (;; s = end + 1) {
		end = strchrnul(s, ',');
		for (i = 0; i < sizeof words / sizeof words[0]; i++) {
			if (strlen(words[i].word) == (size_t)(end - s) &&
			    strncasecmp(s, words[i].word, (size_t)(end - s)) == 0)
				break;
		}
		if (i == sizeof words / sizeof words[0] || (bits & words[i].bit) != 0)
			return -1;
		bits |= words[i].bit;
		if (*end == '\0')
			break;
	}
	/* RFC 3461 4.1: NEVER stands alone. */
	if ((bits & NOTIFY_NEVER) != 0 && bits != NOTIFY_NEVER)
		return -1;
	*out = bits;
	return 0;
}

/* ORCPT=addr-type;xtext. The type stays, the address is decoded. */
static int
parse_orcpt(const char *s, bool allow_utf8, char *out, size_t outsize)
{
	const char *semi = strchr(s, ';');
	size_t type, i;

	if (semi == NULL || semi == s || semi[1] == '\0')
		return -1;
	type = (size_t)(semi - s) + 1;
	if (type >= 32)
		return -1;
	for (i = 0; i < type - 1; i++) {
		if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= '0' && s[i] <= '9') ||
		    s[i] == '-'))
			return -1;
	}
	memcpy(out, s, type);
	/* RFC 6533 3: type utf-8 may come as it is, in UTF-8. */
	if (xtext_decode(semi + 1, strlen(semi + 1), out + type, outsize - type) == 0) {
		if (!is_ascii(out + type, strlen(out + type)) && !allow_utf8)
			return -1;
		return 0;
	}
	if (!allow_utf8 || is_ascii(semi + 1, strlen(semi + 1)) || !utf8_valid(semi + 1, strlen(semi + 1)) ||
	    strlen(semi + 1) >= outsize - type)
		return -1;
	memcpy(out + type, semi + 1, strlen(semi + 1) + 1);
	return 0;
}

int
rcpt_args_parse(const char *s, bool allow_utf8, struct rcpt_args *a, const char **err_r)
{
	struct param p;
	int rc;

	memset(a, 0, sizeof *a);
	while ((rc = next_param(&s, &p)) == 1) {
		if (strcasecmp(p.keyword, "NOTIFY") == 0) {
			if (a->has_notify || parse_notify(p.value, &a->notify) == -1) {
				*err_r = "501 5.5.4 Bad NOTIFY parameter";
				return -1;
			}
			a->has_notify = true;
		} else if (strcasecmp(p.keyword, "ORCPT") == 0) {
			if (a->has_orcpt || parse_orcpt(p.value, allow_utf8, a->orcpt, sizeof a->orcpt) == -1) {
				*err_r = "501 5.5.4 Bad ORCPT parameter";
				return -1;
			}
			a->has_orcpt = true;
		} else {
			*err_r = "555 5.5.4 Unsupported parameter of RCPT";
			return -1;
		}
	}
	if (rc == -1)
		*err_r = "501 5.5.4 Syntax error in the parameters of RCPT";
	return rc;
}
