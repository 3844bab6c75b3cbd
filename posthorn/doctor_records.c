/* The records that would mend what a check found, as they stand in a zone file: also what `posthorn dns' prints. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/wire.h"
#include "base/xalloc.h"
#include "mail/dns_reverse.h"
#include "mail/spf_private.h"

#include "doctor.h"

#define STRING_MAX 255 /* of a TXT record */

char *
doctor_record_ptr(const struct doctor_source *s)
{
	char name[128];

	dns_reverse_name(s->sa.ss_family == AF_INET6, doctor_source_ip(s), NULL, name, sizeof(name));
	return xasprintf("%s. IN PTR %s.", name, s->ehlo);
}

char *
doctor_record_address(const struct doctor_source *s)
{
	return xasprintf("%s. IN %s %s", s->ehlo, s->sa.ss_family == AF_INET6 ? "AAAA" : "A", s->address);
}

char *
doctor_record_txt(const char *name, const char *text)
{
	struct wbuf w;
	size_t i;

	wbuf_init(&w);
	wbuf_raw(&w, name, strlen(name));
	wbuf_raw(&w, ". IN TXT \"", 10);
	for (i = 0; text[i] != '\0'; i++) {
		if (i > 0 && i % STRING_MAX == 0)
			wbuf_raw(&w, "\" \"", 3);
		if (text[i] == '"' || text[i] == '\\')
			wbuf_u8(&w, '\\');
		wbuf_u8(&w, (uint8_t)text[i]);
	}
	wbuf_raw(&w, "\"", 2); /* and the NUL */
	return (char *)w.p;
}

/* Where in a record the sources go: before "all" or redirect, whichever comes first. */
static size_t
spf_end(const char *have)
{
	struct slice record = { have, strlen(have) };
	struct spf_term t;
	const char *why;
	size_t pos = 6;

	while (spf_term_next(record, &pos, &t, &why) == 1)
		if (t.kind == SPF_ALL || t.kind == SPF_REDIRECT)
			return (size_t)(t.text.base - have);
	return record.len;
}

char *
doctor_record_spf(const char *domain, const char *have, const struct doctor_source *sources, size_t n)
{
	const char *head = have != NULL ? have : "v=spf1 ", *tail = "-all";
	size_t head_len = strlen(head), i;
	struct wbuf w;
	char *text;

	if (have != NULL) {
		head_len = spf_end(have);
		tail = have + head_len;
	}
	wbuf_init(&w);
	wbuf_raw(&w, head, head_len);
	if (head_len > 0 && head[head_len - 1] != ' ')
		wbuf_u8(&w, ' ');
	for (i = 0; i < n; i++) {
		if (!sources[i].is_public)
			continue;
		wbuf_raw(&w, sources[i].sa.ss_family == AF_INET6 ? "ip6:" : "ip4:", 4);
		wbuf_raw(&w, sources[i].address, strlen(sources[i].address));
		wbuf_u8(&w, ' ');
	}
	wbuf_raw(&w, tail, strlen(tail) + 1);
	if (*tail == '\0' && w.len > 1 && w.p[w.len - 2] == ' ')
		w.p[w.len - 2] = '\0';
	text = doctor_record_txt(domain, (const char *)w.p);
	wbuf_clear(&w);
	return text;
}

char *
doctor_record_dmarc(const char *domain)
{
	return xasprintf("_dmarc.%s. IN TXT \"v=DMARC1; p=quarantine; rua=mailto:postmaster@%s\"", domain, domain);
}
