/* See dkim_record.h. What comes from DNS is a stranger's: any octets, of bounded length. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#include "dkim_record.h"

static char *
public_text(const struct dkim_key *k)
{
	struct wbuf w;
	char *text;

	wbuf_init(&w);
	dkim_key_public(k, &w);
	text = xcalloc(w.len / 3 + 2, 4);
	EVP_EncodeBlock((uint8_t *)text, w.p, (int)w.len);
	wbuf_clear(&w);
	return text;
}

char *
dkim_record_text(const struct dkim_key *k)
{
	char *key = public_text(k), *text;

	text = xasprintf("v=DKIM1; k=%s; p=%s", dkim_key_algorithm(k) == DKIM_RSA ? "rsa" : "ed25519", key);
	free(key);
	return text;
}

char *
dkim_record_name(const char *selector, const char *domain)
{
	return xasprintf("%s._domainkey.%s", selector, domain);
}

/* The value of a tag, white space left out; malloced, or NULL. */
static char *
tag_get(const char *record, const char *tag)
{
	const char *p = record, *end;
	char *value = NULL, *to;

	while (*p != '\0' && value == NULL) {
		p += strspn(p, " \t\r\n");
		end = p + strcspn(p, ";");
		if (strncmp(p, tag, strlen(tag)) == 0 && p[strlen(tag) + strspn(p + strlen(tag), " \t\r\n")] == '=') {
			to = value = xcalloc((size_t)(end - p) + 1, 1);
			for (p = strchr(p, '=') + 1; p < end; p++)
				if (strchr(" \t\r\n", *p) == NULL)
					*to++ = *p;
		}
		p = *end != '\0' ? end + 1 : end;
	}
	return value;
}

/* In a list such as "sha1:sha256". NULL is a list of everything. */
static bool
has_word(const char *list, const char *word)
{
	size_t len = strlen(word), n;

	for (; list != NULL && *list != '\0'; list += n + (list[n] == ':')) {
		n = strcspn(list, ":");
		if (n == len && strncmp(list, word, n) == 0)
			return true;
	}
	return list == NULL;
}

static char *
record_judge(const struct dkim_key *k, const char *record, bool *is_testing_r)
{
	char *own = public_text(k), *p = tag_get(record, "p"), *type = tag_get(record, "k"), *why = NULL;
	char *hashes = tag_get(record, "h"), *flags = tag_get(record, "t"), *services = tag_get(record, "s");
	const char *want = dkim_key_algorithm(k) == DKIM_RSA ? "rsa" : "ed25519";

	*is_testing_r = flags != NULL && has_word(flags, "y");
	if (p == NULL)
		why = xstrdup("the record has no p=");
	else if (*p == '\0')
		why = xstrdup("the record says that the key is revoked (its p= is empty)");
	else if (strcmp(type != NULL ? type : "rsa", want) != 0)
		why = xasprintf("the record is of a key of another type (k=%.20s, not %s)", type != NULL ? type : "rsa",
		    want);
	else if (strcmp(p, own) != 0)
		why = xstrdup("another key is published there");
	else if (!has_word(hashes, "sha256"))
		why = xstrdup("the record does not allow sha256 (its h=)");
	else if (!has_word(services, "email") && !has_word(services, "*"))
		why = xstrdup("the record is not for mail (its s=)");
	free(own);
	free(p);
	free(type);
	free(hashes);
	free(flags);
	free(services);
	return why;
}

char *
dkim_record_compare(const struct dkim_key *k, const struct dns_reply *reply, bool *is_testing_r)
{
	const char *record = NULL;
	unsigned i, n = 0;
	char *tag;

	*is_testing_r = false;
	if (reply->status != DNS_OK && reply->status != DNS_NXDOMAIN && reply->status != DNS_NO_ADDRESS)
		return xasprintf("the name service gave no answer: %s", reply->text != NULL ? reply->text : "");
	for (i = 0; i < reply->n_records; i++) {
		if (strlen(reply->records[i].text) != reply->records[i].len)
			continue;
		if ((tag = tag_get(reply->records[i].text, "p")) != NULL) {
			record = reply->records[i].text;
			n++;
		}
		free(tag);
	}
	if (n == 0)
		return xstrdup("nothing is published there");
	if (n > 1)
		return xasprintf("there are %u key records, and which one counts is not defined", n);
	return record_judge(k, record, is_testing_r);
}
