/* Tags (tags.h). The lists are strangers' words. */
#include <string.h>
#include <strings.h>

#include "mail/tags.h"

void
tag_value(const char *list, const char *tag, char *out, size_t size)
{
	const char *p = list, *end, *eq;
	size_t n = 0, len;

	out[0] = '\0';
	for (; p != NULL && *p != '\0'; p = *end == ';' ? end + 1 : NULL) {
		p += strspn(p, " \t");
		end = p + strcspn(p, ";");
		eq = memchr(p, '=', (size_t)(end - p));
		if (eq == NULL)
			continue;
		for (len = (size_t)(eq - p); len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\t');)
			len--;
		if (len != strlen(tag) || strncasecmp(p, tag, len) != 0)
			continue;
		for (eq++; eq < end && n + 1 < size; eq++)
			if (*eq != ' ' && *eq != '\t')
				out[n++] = *eq >= 'A' && *eq <= 'Z' ? (char)(*eq + 32) : *eq;
		out[n] = '\0';
		return;
	}
}

bool
tags_are_dmarc(const char *text, size_t len)
{
	return len >= 8 && strncmp(text, "v=DMARC1", 8) == 0 && (text[8] == '\0' || strchr("; \t", text[8]) != NULL);
}
